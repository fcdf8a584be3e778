//! MIROIR.LIST, COUNT and PRUNE: orders, positions, filters and bounds.

mod support;

use std::collections::HashSet;

use redis::Value;
use support::{assert_refused, Client, Server};

fn put(client: &mut Client, lines: &[&str]) {
    for line in lines {
        assert_eq!(client.ask(&format!("MIROIR.PUT miroir:{line}")), "1", "{line}");
    }
}

/// Asserts the answers to lines, each without its `MIROIR.`.
fn assert_answers(client: &mut Client, cases: &[(&str, &str)]) {
    for (line, answer) in cases {
        assert_eq!(client.ask(&format!("MIROIR.{line}")), *answer, "{line}");
    }
}

/// Eight tasks; the newest is c, and a, b and z are of the same moment.
fn with_tasks() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    put(
        &mut client,
        &[
            "tasks:z created_at 300 status failed index_uid movies",
            "tasks:a created_at 300 status enqueued index_uid movies task_type add",
            "tasks:b created_at 300 status processing index_uid books",
            "tasks:c created_at 1000 status succeeded index_uid books task_type add",
            "tasks:d created_at 20 status canceled index_uid movies",
            "tasks:e created_at 9 status succeeded task_type delete",
            "tasks:f created_at 8 status enqueued",
            "tasks:g created_at 0 status failed index_uid music",
        ],
    );
    (server, client)
}

#[test]
fn tasks_come_newest_first_and_ties_by_id() {
    let (_server, mut client) = with_tasks();
    assert_answers(
        &mut client,
        &[
            ("LIST miroir:tasks IDS", "[c, a, b, z, d, e, f, g]"),
            ("LIST miroir:tasks LIMIT 0 3 IDS", "[c, a, b]"),
            ("LIST miroir:tasks limit 2 3 ids", "[b, z, d]"),
            ("LIST miroir:tasks LIMIT 7 3 IDS", "[g]"),
            ("LIST miroir:tasks LIMIT 8 3 IDS", "[]"),
            ("LIST miroir:tasks LIMIT 9223372036854775807 10000 IDS", "[]"),
            ("LIST miroir:tasks LIMIT 0 0 IDS", "[]"),
            ("LIST miroir:tasks AFTER a IDS", "[b, z, d, e, f, g]"),
            ("LIST miroir:tasks AFTER a LIMIT 1 2 IDS", "[z, d]"),
            ("LIST miroir:tasks AFTER g IDS", "[]"),
            ("LIST other:tasks IDS", "[]"),
            ("COUNT other:tasks", "0"),
        ],
    );
}

#[test]
fn a_position_outlives_its_row_with_at_alone() {
    let (_server, mut client) = with_tasks();
    client.ask("MIROIR.DEL miroir:tasks:b");
    assert_answers(
        &mut client,
        &[
            ("LIST miroir:tasks AFTER b AT 300 IDS", "[z, d, e, f, g]"),
            ("LIST miroir:tasks after never at 300 IDS", "[z, d, e, f, g]"),
            ("LIST miroir:tasks AFTER a AT 300 IDS", "[z, d, e, f, g]"),
            ("LIST miroir:tasks AFTER x AT 0 IDS", "[]"),
        ],
    );
    let answer = client.ask("MIROIR.LIST miroir:tasks AFTER b IDS");
    assert!(answer.starts_with("ERR") && answer.contains("gone") && answer.contains("'b'"), "{answer}");
}

#[test]
fn filters_join_fields_with_and_and_values_with_or() {
    let (_server, mut client) = with_tasks();
    assert_answers(
        &mut client,
        &[
            ("LIST miroir:tasks WHERE status failed IDS", "[z, g]"),
            ("LIST miroir:tasks WHERE status failed WHERE status canceled IDS", "[z, d, g]"),
            ("LIST miroir:tasks WHERE status failed where index_uid movies IDS", "[z]"),
            (
                "LIST miroir:tasks WHERE index_uid movies WHERE status failed WHERE index_uid books WHERE status succeeded IDS",
                "[c, z]",
            ),
            ("LIST miroir:tasks WHERE task_type add WHERE status failed IDS", "[]"),
            ("LIST miroir:tasks WHERE index_uid none IDS", "[]"),
            ("LIST miroir:tasks WHERE status failed AFTER z IDS", "[g]"),
            // A position need not meet the filter itself.
            ("LIST miroir:tasks WHERE status failed AFTER c LIMIT 0 1 IDS", "[z]"),
            ("COUNT miroir:tasks", "8"),
            ("COUNT miroir:tasks WHERE status failed WHERE status enqueued", "4"),
            ("COUNT miroir:tasks WHERE status failed WHERE index_uid movies", "1"),
            ("COUNT miroir:tasks WHERE index_uid none", "0"),
        ],
    );
}

#[test]
fn count_by_a_field_is_a_map() {
    let (server, mut client) = with_tasks();
    let mut three = server.client_resp3();
    let Value::Map(mut pairs) = three.raw(&["MIROIR.COUNT", "miroir:tasks", "BY", "status"]).unwrap() else {
        panic!("no map");
    };
    pairs.sort_by_key(|(status, _)| format!("{status:?}"));
    let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let wanted = [("canceled", 1), ("enqueued", 2), ("failed", 2), ("processing", 1), ("succeeded", 2)];
    assert_eq!(pairs, wanted.map(|(status, rows)| (bulk(status), Value::Int(rows))));
    assert_answers(
        &mut client,
        &[
            ("COUNT miroir:tasks WHERE index_uid movies WHERE status failed BY status", "[failed, 1]"),
            ("COUNT miroir:tasks by task_type WHERE status canceled WHERE task_type add", "[]"),
            ("COUNT none:tasks BY status", "[]"),
        ],
    );
}

#[test]
fn a_page_holds_whole_rows_and_twenty_of_them() {
    let server = Server::start();
    let (mut two, mut three) = (server.client(), server.client_resp3());
    put(&mut two, &["aliases:a kind single current_uid v1 created_at 5"]);
    let row = two.ask("HGETALL miroir:aliases:a");
    assert_eq!(two.ask("MIROIR.LIST miroir:aliases"), format!("[[a, {row}]]"));
    let row = three.ask("HGETALL miroir:aliases:a");
    assert!(row.starts_with('{'), "{row}");
    assert_eq!(three.ask("MIROIR.LIST miroir:aliases"), format!("[[a, {row}]]"));

    for number in 0..30 {
        put(&mut two, &[&format!("aliases:n{number:02} kind single current_uid v1")]);
    }
    let ids: Vec<_> = std::iter::once("a".to_owned()).chain((0..19).map(|n| format!("n{n:02}"))).collect();
    assert_eq!(two.ask("MIROIR.LIST miroir:aliases IDS"), format!("[{}]", ids.join(", ")));
}

#[test]
fn every_table_has_its_order_and_its_filters() {
    let server = Server::start();
    let mut client = server.client();
    put(
        &mut client,
        &[
            "jobs:b type reshard created_at 5 parent_job_id p",
            "jobs:a type reshard created_at 7",
            "jobs:c type dump created_at 5",
            "aliases:b kind multi target_uids []",
            "aliases:a kind single current_uid x",
            "canary:b name n index_uid movies interval_s 1 query_json {} assertions_json [] enabled 0",
            "canary:a name n index_uid movies interval_s 1 query_json {} assertions_json []",
            "rollover:b write_alias w read_alias r pattern p triggers_json {} retention_json {} template_json {}",
            "rollover:a write_alias w read_alias r pattern p triggers_json {} retention_json {} template_json {} enabled 0",
            "cdc_cursor:s3:movies last_event_seq 1",
            "cdc_cursor:kafka:eu:movies last_event_seq 1",
            "cdc_cursor:kafka:books last_event_seq 1",
            "node_settings_version:movies:node-1 version 1",
            "node_settings_version:books:node-1 version 1",
            "node_settings_version:books:node-0 version 1",
            "session:b pinned_group g1",
            "session:a pinned_group g2",
            "admin_session:a csrf_token c admin_key_hash h created_at 5",
            "admin_session:b csrf_token c admin_key_hash h created_at 9 revoked 1",
            "admin_session:c csrf_token c admin_key_hash h created_at 5",
        ],
    );
    // A raw claim: state and claimant stand in the row alone.
    client.ask("HSET miroir:jobs:d id d type dump state in_progress claimed_by pod-1 created_at 4");
    client.ask("SADD miroir:jobs:_index d");
    assert_answers(
        &mut client,
        &[
            ("LIST miroir:jobs IDS", "[d, b, c, a]"),
            ("LIST miroir:jobs AFTER b IDS", "[c, a]"),
            ("LIST miroir:jobs AFTER bb AT 5 IDS", "[c, a]"),
            ("LIST miroir:jobs WHERE state queued WHERE type reshard IDS", "[b, a]"),
            ("LIST miroir:jobs WHERE claimed_by pod-1 IDS", "[d]"),
            ("LIST miroir:jobs WHERE parent_job_id p IDS", "[b]"),
            ("COUNT miroir:jobs WHERE state in_progress", "1"),
            ("LIST miroir:aliases IDS", "[a, b]"),
            ("LIST miroir:aliases AFTER a IDS", "[b]"),
            ("LIST miroir:aliases WHERE kind multi IDS", "[b]"),
            ("LIST miroir:canary IDS", "[a, b]"),
            ("LIST miroir:canary WHERE enabled 0 WHERE index_uid movies IDS", "[b]"),
            ("LIST miroir:rollover IDS", "[a, b]"),
            ("LIST miroir:rollover WHERE enabled 1 IDS", "[b]"),
            ("LIST miroir:cdc_cursor IDS", "[kafka:books, kafka:eu:movies, s3:movies]"),
            ("LIST miroir:cdc_cursor WHERE sink_name kafka IDS", "[kafka:books]"),
            (
                "LIST miroir:cdc_cursor WHERE sink_name kafka:eu WHERE sink_name s3 IDS",
                "[kafka:eu:movies, s3:movies]",
            ),
            ("COUNT miroir:cdc_cursor BY sink_name", "[kafka, 1, kafka:eu, 1, s3, 1]"),
            ("LIST miroir:node_settings_version IDS", "[books:node-0, books:node-1, movies:node-1]"),
            (
                "LIST miroir:node_settings_version WHERE index_uid books WHERE node_id node-1 IDS",
                "[books:node-1]",
            ),
            ("LIST miroir:session IDS", "[a, b]"),
            ("LIST miroir:session WHERE pinned_group g1 IDS", "[b]"),
            ("LIST miroir:admin_session IDS", "[b, a, c]"),
            ("LIST miroir:admin_session WHERE revoked 0 IDS", "[a, c]"),
            ("LIST miroir:admin_session AFTER a IDS", "[c]"),
        ],
    );
}

#[test]
fn index_entries_without_a_row_are_not_rows() {
    let (_server, mut client) = with_tasks();
    client.ask("SADD miroir:tasks:_index ghost stub text");
    client.ask("HSET miroir:tasks:stub status failed created_at 2");
    client.ask("SET miroir:tasks:text x");
    assert_answers(
        &mut client,
        &[
            ("LIST miroir:tasks IDS", "[c, a, b, z, d, e, f, g]"),
            ("COUNT miroir:tasks", "8"),
            ("COUNT miroir:tasks WHERE status failed", "2"),
            ("PRUNE miroir:tasks BEFORE 5", "1"),
        ],
    );
    assert_eq!(client.ask("EXISTS miroir:tasks:stub miroir:tasks:text miroir:tasks:g"), "2");
}

#[test]
fn prune_takes_the_oldest_ends_before_a_moment() {
    let (_server, mut client) = with_tasks();
    assert_answers(
        &mut client,
        &[
            ("PRUNE miroir:tasks BEFORE 0", "0"),
            ("PRUNE miroir:tasks BEFORE 9", "1"),
            ("LIST miroir:tasks IDS", "[c, a, b, z, d, e, f]"),
            ("PRUNE miroir:tasks LIMIT 1 BEFORE 9223372036854775807", "1"),
            ("LIST miroir:tasks IDS", "[c, a, b, z, d, f]"),
            ("PRUNE miroir:tasks before 1000 limit 2", "2"),
            ("LIST miroir:tasks IDS", "[c, a, b, f]"),
            ("PRUNE miroir:tasks BEFORE 1000", "0"),
            ("PRUNE miroir:tasks BEFORE 1001", "1"),
            ("PRUNE miroir:tasks BEFORE 9223372036854775807", "0"),
        ],
    );
    let keys: Vec<_> = client.dump().into_keys().collect();
    assert_eq!(keys, ["miroir:tasks:_index", "miroir:tasks:a", "miroir:tasks:b", "miroir:tasks:f"]);
    assert_eq!(client.integer("SCARD miroir:tasks:_index"), 3);
}

#[test]
fn jobs_are_pruned_by_the_end_of_their_work() {
    let server = Server::start();
    let mut client = server.client();
    for (id, state, created, finished) in [
        ("a", "completed", 1, 50),
        ("b", "failed", 2, 40),
        ("c", "completed", 3, 60),
        ("d", "queued", 1, 1),
        ("e", "in_progress", 1, 1),
    ] {
        client.ask(&format!(
            "HSET miroir:jobs:{id} id {id} type t state {state} created_at {created} finished_at {finished}"
        ));
        client.ask(&format!("SADD miroir:jobs:_index {id}"));
    }
    client.ask("SADD miroir:jobs:_queued d");
    assert_answers(
        &mut client,
        &[
            ("PRUNE miroir:jobs BEFORE 40", "0"),
            ("PRUNE miroir:jobs BEFORE 55 LIMIT 1", "1"),
            ("LIST miroir:jobs IDS", "[a, d, e, c]"),
            ("PRUNE miroir:jobs BEFORE 9999", "2"),
            ("LIST miroir:jobs IDS", "[d, e]"),
        ],
    );
    assert_eq!(client.ask("SMEMBERS miroir:jobs:_queued"), "[d]");
    assert_eq!(client.integer("SCARD miroir:jobs:_index"), 2);
}

/// The answer to a LIST of ids.
fn ids(client: &mut Client, line: &str) -> Vec<String> {
    let answer = client.ask(line);
    let inside = answer.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inside = inside.unwrap_or_else(|| panic!("{line}: {answer}"));
    inside.split(", ").filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

#[test]
fn many_rows_agree_with_a_model() {
    const ROWS: u64 = 10_500;
    let server = Server::start();
    let mut client = server.client();
    let mut random = fastrand::Rng::with_seed(7);
    let mut model = Vec::new();
    let mut pipe = redis::pipe();
    for number in 0..ROWS {
        let id = format!("mtask-{:016x}-{number}", random.u64(..));
        let created = random.i64(0..2000);
        let status = *random.choice(&["enqueued", "processing", "succeeded", "failed"]).unwrap();
        pipe.cmd("MIROIR.PUT").arg(format!("miroir:tasks:{id}")).arg("created_at").arg(created);
        pipe.arg("status").arg(status).ignore();
        model.push((created, id, status));
    }
    pipe.query::<()>(&mut client.connection).unwrap();
    model.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let all: Vec<_> = model.iter().map(|(_, id, _)| id.clone()).collect();

    assert_eq!(client.integer("MIROIR.COUNT miroir:tasks"), 10_500);
    assert!(ids(&mut client, "MIROIR.LIST miroir:tasks LIMIT 0 10000 IDS") == all[..10_000]);
    assert!(ids(&mut client, "MIROIR.LIST miroir:tasks LIMIT 10000 10000 IDS") == all[10_000..]);
    assert_eq!(ids(&mut client, "MIROIR.LIST miroir:tasks LIMIT 5000 3 IDS"), all[5000..5003]);

    // Page after page, with the rows behind each position deleted meanwhile.
    let mut seen: Vec<String> = Vec::new();
    let mut deleted = HashSet::new();
    let failed: Vec<_> = model.iter().filter(|row| row.2 == "failed").cloned().collect();
    while seen.len() < failed.len() {
        let after = failed[..seen.len()].last().map_or_else(String::new, |(created, id, _)| {
            assert_eq!(client.ask(&format!("MIROIR.DEL miroir:tasks:{id}")), "1");
            deleted.insert(id.clone());
            format!("AFTER {id} AT {created}")
        });
        let page = ids(
            &mut client,
            &format!("MIROIR.LIST miroir:tasks WHERE status failed {after} LIMIT 0 700 IDS"),
        );
        assert!(!page.is_empty(), "after {} of {} rows", seen.len(), failed.len());
        seen.extend(page);
    }
    assert!(seen.iter().eq(failed.iter().map(|row| &row.1)), "the pages joined are the whole list");

    // A thousand by default, and the oldest of all ends.
    model.retain(|(_, id, _)| !deleted.contains(id));
    let mut ends: Vec<_> = model.iter().filter(|row| ["succeeded", "failed"].contains(&row.2)).collect();
    ends.sort();
    let pruned: HashSet<_> = ends[..1000].iter().map(|row| row.1.clone()).collect();
    assert_eq!(client.integer("MIROIR.PRUNE miroir:tasks BEFORE 9999"), 1000);
    model.retain(|(_, id, _)| !pruned.contains(id));
    let left = ids(&mut client, "MIROIR.LIST miroir:tasks LIMIT 0 10000 IDS");
    assert!(left.iter().eq(model.iter().map(|row| &row.1)), "other rows than the oldest ends are gone");
    assert_eq!(client.ask("SCARD miroir:tasks:_index"), model.len().to_string());
}

#[test]
fn what_lists_refuse() {
    let (_server, mut client) = with_tasks();
    put(&mut client, &["aliases:a kind single current_uid v1"]);
    client.ask("SET miroir:canary:_index x");
    assert_refused(
        &mut client,
        &[
            ("MIROIR.LIST miroir:tasks WHERE error x", "status|index_uid|task_type"),
            ("MIROIR.LIST miroir:tasks WHERE STATUS failed", "status|index_uid|task_type"),
            ("MIROIR.COUNT miroir:jobs BY created_at", "state|type|claimed_by|parent_job_id"),
            ("MIROIR.COUNT miroir:canary WHERE name x", "enabled|index_uid"),
            ("MIROIR.LIST miroir:node_settings_version WHERE version 1", "index_uid|node_id"),
            ("MIROIR.LIST miroir:cdc_cursor WHERE index_uid movies", "sink_name"),
            ("MIROIR.LIST miroir:session WHERE ttl 1", "pinned_group"),
            ("MIROIR.LIST miroir:admin_session WHERE source_ip ::1", "revoked"),
            ("MIROIR.LIST miroir:tasks WHERE status", "status"),
            ("MIROIR.LIST miroir:tasks WHERE", "WHERE"),
            ("MIROIR.LIST miroir:tasks AFTER none", "gone"),
            ("MIROIR.LIST miroir:tasks AFTER", "AFTER"),
            ("MIROIR.LIST miroir:tasks AFTER a AT", "AT"),
            ("MIROIR.LIST miroir:tasks AFTER a AT x", "got 'x'"),
            ("MIROIR.LIST miroir:tasks AFTER a AT 9223372036854775808", "got '9223372036854775808'"),
            ("MIROIR.LIST miroir:tasks AFTER _index", "_index"),
            ("MIROIR.LIST miroir:tasks AFTER a AFTER b", "AFTER"),
            ("MIROIR.LIST miroir:tasks LIMIT 0", "got nothing"),
            ("MIROIR.LIST miroir:tasks LIMIT 0 10001", "10000"),
            ("MIROIR.LIST miroir:tasks LIMIT -1 5", "got '-1'"),
            ("MIROIR.LIST miroir:tasks LIMIT 0 -1", "got '-1'"),
            ("MIROIR.LIST miroir:tasks LIMIT 00 1", "got '00'"),
            ("MIROIR.LIST miroir:tasks LIMIT 0 1 LIMIT 0 1", "LIMIT"),
            ("MIROIR.LIST miroir:tasks IDS IDS", "IDS"),
            ("MIROIR.LIST miroir:tasks FOO", "'FOO'"),
            ("MIROIR.LIST miroir:tasks BY status", "'BY'"),
            ("MIROIR.LIST miroir:tasks:a", "table key"),
            ("MIROIR.LIST miroir:tasks:_index", "table key"),
            ("MIROIR.LIST miroir", "table key"),
            ("MIROIR.LIST miroir:nothing", "table key"),
            ("MIROIR.LIST miroir:lease", "MIROIR.LEASE"),
            ("MIROIR.COUNT miroir:canary_runs", "MIROIR.CANARY"),
            ("MIROIR.COUNT miroir:tasks LIMIT 0 1", "'LIMIT'"),
            ("MIROIR.COUNT miroir:tasks BY", "BY"),
            ("MIROIR.COUNT miroir:tasks BY status BY status", "BY"),
            ("MIROIR.PRUNE miroir:tasks", "wrong number of arguments"),
            ("MIROIR.PRUNE miroir:tasks LIMIT 5", "BEFORE"),
            ("MIROIR.PRUNE miroir:tasks BEFORE x", "got 'x'"),
            ("MIROIR.PRUNE miroir:tasks BEFORE -1", "got '-1'"),
            ("MIROIR.PRUNE miroir:tasks BEFORE 9223372036854775808", "got '9223372036854775808'"),
            ("MIROIR.PRUNE miroir:tasks BEFORE 5000 LIMIT -1", "got '-1'"),
            ("MIROIR.PRUNE miroir:tasks BEFORE 5000 BEFORE 5000", "BEFORE"),
            ("MIROIR.PRUNE miroir:tasks BEFORE 5000 EXTRA", "'EXTRA'"),
            ("MIROIR.PRUNE miroir:aliases BEFORE 5000", "tasks"),
            ("MIROIR.PRUNE miroir:canary_runs BEFORE 5000", "MIROIR.CANARY"),
            ("MIROIR.PRUNE miroir:tasks:a BEFORE 5000", "table key"),
        ],
    );
    assert_eq!(client.ask("PING"), "PONG");
}
