//! The edges between the module and its server: panics, loading and unloading, memory limits, clusters, settings.

mod support;

use support::{Client, Server};

fn used_memory(client: &mut Client) -> i64 {
    client.figure("memory", "used_memory")
}

#[test]
fn a_panic_answers_an_error_and_the_connection_and_the_server_go_on() {
    let mut server = Server::start_debug_build();
    let mut client = server.client();
    assert_eq!(client.ask("MIROIR.PUT miroir:tasks:t index_uid movies"), "1");
    let before = client.dump();
    let answer = client.ask("MIROIR.DEBUG PANIC");
    assert!(answer.starts_with("ERR internal"), "{answer}");
    assert!(!answer.contains(['\r', '\n']));
    assert_eq!(client.ask("PING"), "PONG");
    assert_eq!(client.dump(), before);
    assert_eq!(client.ask("MIROIR.GET miroir:tasks:t index_uid"), "[movies]");
    let log = server.log();
    assert!(log.contains("internal error") && log.contains("a panic on demand"), "{log}");

    let script = "local r = redis.pcall('MIROIR.DEBUG', 'PANIC') return r.err or r";
    assert!(client.call(&["EVAL", script, "0"]).contains("internal"));
    client.ask("MULTI");
    client.ask("MIROIR.DEBUG PANIC");
    client.ask("MIROIR.PUT miroir:tasks:u index_uid movies");
    let _ = client.raw(&["EXEC"]);
    assert_eq!(client.ask("MIROIR.COUNT miroir:tasks"), "2");
    assert!(server.is_alive());
}

#[test]
fn a_thousand_panics_leave_no_memory_behind() {
    let mut server = Server::start_debug_build();
    let mut client = server.client();
    let panic_often = |client: &mut Client| {
        for _ in 0..1000 {
            assert!(client.ask("MIROIR.DEBUG PANIC").starts_with("ERR internal"));
        }
    };
    // The first ones fill buffers that the server keeps, and its table of error codes.
    panic_often(&mut client);
    let before = used_memory(&mut client);
    panic_often(&mut client);
    let grown = used_memory(&mut client) - before;
    assert!(grown < 32 * 1024, "{grown} bytes for a thousand panics");
    assert!(server.is_alive());
}

#[test]
fn the_build_that_is_shipped_cannot_be_made_to_panic_on_demand() {
    let server = Server::start();
    let answer = server.client().ask("MIROIR.DEBUG PANIC");
    assert!(answer.contains("unknown command"), "{answer}");
}

#[test]
fn the_module_comes_and_goes_in_a_running_server() {
    let mut server = Server::bare(&[]);
    let mut client = server.client();
    client
        .ask("HSET miroir:tasks:raw miroir_id raw created_at 1 status enqueued node_tasks {} node_errors {}");
    client.ask("SADD miroir:tasks:_index raw");
    client.ask("LPUSH miroir:cdc:overflow:kafka one");
    let module = support::module();
    let load = ["MODULE", "LOAD", module.to_str().unwrap()];
    for round in 1..=3 {
        assert_eq!(client.call(&load), "OK", "round {round}: {}", server.log());
        assert_eq!(client.ask("MIROIR.LIST miroir:tasks WHERE status enqueued IDS"), "[raw]");
        let pushed = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 four");
        let bytes = 3 + 4 * round;
        assert!(pushed.contains(&format!("bytes, {bytes}, ")), "{pushed}");
        let token = client.ask("MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 600000");
        assert_eq!(token, format!("[1, pod-1, 600000, {round}]"));
        client.ask("MIROIR.LEASE.RELEASE miroir:lease:leader pod-1");
        client.ask("MIROIR.PUT miroir:session:s pinned_group g");

        let before = client.dump();
        assert_eq!(client.ask("MODULE UNLOAD miroir"), "OK");
        assert_eq!(client.dump(), before);
        assert!(client.ask("MIROIR.GET miroir:tasks:raw").contains("unknown command"));
        // What the module had subscribed to goes on without it.
        client.ask("SET miroir:tasks:touched x PX 1");
        client.ask("DEL miroir:tasks:touched");
        client.ask("SELECT 1");
        client.ask("SET a b");
        client.ask("SWAPDB 0 1");
        client.ask("SWAPDB 0 1");
        client.ask("FLUSHDB");
        client.ask("SELECT 0");
        assert_eq!(client.dump(), before);
    }
    assert!(server.is_alive());
}

#[test]
fn coming_and_going_leaves_no_memory_behind() {
    let server = Server::bare(&[]);
    let mut client = server.client();
    let module = support::module();
    let module = module.to_str().unwrap();
    let cycles = |client: &mut Client, count| {
        for cycle in 0..count {
            assert_eq!(client.call(&["MODULE", "LOAD", module]), "OK");
            client.ask(&format!("MIROIR.CDC.PUSH miroir:cdc:overflow:s{cycle} BUDGET 10 x"));
            client.ask(&format!("MIROIR.LEASE.ACQUIRE miroir:lease:l{cycle} pod 600000"));
            assert_eq!(client.ask("MODULE UNLOAD miroir"), "OK");
            client.ask("FLUSHALL");
        }
    };
    // The server's own tables grow to their size first.
    cycles(&mut client, 20);
    let before = used_memory(&mut client);
    cycles(&mut client, 40);
    let grown = used_memory(&mut client) - before;
    assert!(grown < 32 * 1024, "forty times loaded and unloaded, {grown} bytes more");
}

#[test]
fn a_raw_write_while_the_module_was_away_is_counted_when_it_comes_back() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 one three");
    assert_eq!(client.ask("MODULE UNLOAD miroir"), "OK");
    client.ask("LPUSH miroir:cdc:overflow:kafka 1234567");
    let module = support::module();
    assert_eq!(client.call(&["MODULE", "LOAD", module.to_str().unwrap()]), "OK");
    let pushed = client.ask("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 x");
    assert!(pushed.contains("length, 4, bytes, 16, "), "bytes are the sum of what is held: {pushed}");
}

#[test]
fn without_memory_growing_commands_are_refused_and_shrinking_ones_work() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let mut client = server.client();
    for line in [
        "MIROIR.PUT miroir:tasks:t index_uid movies",
        "MIROIR.PUT miroir:tasks:done status succeeded created_at 1",
        "MIROIR.PUT miroir:aliases:a kind single current_uid x",
        "MIROIR.PUT miroir:session:s pinned_group g",
        "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 600000",
        "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 one two three four",
        "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 1",
        "CONFIG SET maxmemory 1",
    ] {
        assert!(!client.ask(line).starts_with("ERR"), "{line}");
    }
    let before = client.dump();
    for line in [
        "MIROIR.PUT miroir:tasks:u index_uid movies",
        "MIROIR.PATCH miroir:tasks:t index_uid books",
        "MIROIR.TASK.STATUS miroir:tasks:t processing",
        "MIROIR.TASK.NODE miroir:tasks:t node UID 1",
        "MIROIR.ALIAS.FLIP miroir:aliases:a y",
        "MIROIR.LEASE.ACQUIRE miroir:lease:other pod-1 600000",
        "MIROIR.LEASE.RENEW miroir:lease:leader pod-1 600000",
        "MIROIR.CANARY.RECORD miroir:canary_runs:c 1 pass 1",
        "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000 five",
        "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 2",
    ] {
        let answer = client.ask(line);
        assert!(answer.starts_with("OOM"), "{line}: {answer}");
        assert_eq!(client.dump(), before, "{line}");
    }
    for (line, expected) in [
        ("MIROIR.GET miroir:tasks:t index_uid", "[movies]"),
        ("MIROIR.COUNT miroir:tasks", "2"),
        ("MIROIR.CDC.POP miroir:cdc:overflow:kafka", "[one]"),
        ("MIROIR.CDC.ACK miroir:cdc:overflow:kafka 2", "1"),
        ("MIROIR.CDC.TRIM miroir:cdc:overflow:kafka BUDGET 4", "[1, 5]"),
        ("MIROIR.PRUNE miroir:tasks BEFORE 5", "1"),
        ("MIROIR.DEL miroir:tasks:t", "1"),
        ("MIROIR.LEASE.RELEASE miroir:lease:leader pod-1", "1"),
        ("GET miroir:cdc:overflow_bytes:kafka", "4"),
        ("SCARD miroir:tasks:_index", "0"),
    ] {
        assert_eq!(client.ask(line), expected, "{line}");
    }
}

#[test]
fn in_a_cluster_structures_of_several_keys_need_a_hash_tag_and_the_others_do_not() {
    let server = Server::start_with(&["--cluster-enabled", "yes"]);
    let mut client = server.client();
    assert_eq!(client.ask("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    client.wait_for("CLUSTER INFO", |info| info.contains("cluster_state:ok"));
    const TAGGED: &[&str] = &[
        "MIROIR.PUT NS:tasks:t index_uid movies",
        "MIROIR.PATCH NS:tasks:t index_uid books",
        "MIROIR.TASK.STATUS NS:tasks:t processing",
        "MIROIR.TASK.NODE NS:tasks:t node UID 1",
        "MIROIR.LIST NS:tasks",
        "MIROIR.COUNT NS:jobs",
        "MIROIR.PRUNE NS:tasks BEFORE 1",
        "MIROIR.DEL NS:tasks:t",
        "MIROIR.PUT NS:node_settings_version:movies:n version 1",
        "MIROIR.PUT NS:aliases:a kind single current_uid x",
        "MIROIR.ALIAS.FLIP NS:aliases:a y",
        "MIROIR.PUT NS:jobs:j type dump",
        "MIROIR.PUT NS:canary:c name n index_uid i interval_s 1 query_json {} assertions_json []",
        "MIROIR.PUT NS:cdc_cursor:k:i last_event_seq 1",
        "MIROIR.CURSOR.ADVANCE NS:cdc_cursor:k:i 2",
        "MIROIR.PUT NS:rollover:r write_alias w read_alias r pattern p triggers_json {} retention_json {} template_json {}",
        "MIROIR.LEASE.ACQUIRE NS:lease:l pod 600000",
        "MIROIR.LEASE.RENEW NS:lease:l pod 600000",
        "MIROIR.LEASE.RELEASE NS:lease:l pod",
        "MIROIR.CDC.PUSH NS:cdc:overflow:k BUDGET 9 a b",
        "MIROIR.CDC.POP NS:cdc:overflow:k",
        "MIROIR.CDC.ACK NS:cdc:overflow:k 2",
        "MIROIR.CDC.TRIM NS:cdc:overflow:k BUDGET 0",
    ];
    for line in TAGGED {
        let answer = client.ask(&line.replace("NS", "miroir"));
        assert!(answer.starts_with("CROSSSLOT "), "{line}: {answer}");
        assert!(answer.contains("hash tag") && answer.contains("'miroir'"), "{line}: {answer}");
        assert_eq!(client.ask("DBSIZE"), "0", "{line} wrote");
    }
    for line in TAGGED {
        let answer = client.ask(&line.replace("NS", "{miroir}"));
        assert!(!answer.starts_with("CROSSSLOT") && !answer.starts_with("ERR"), "{line}: {answer}");
    }
    assert_ne!(client.ask("DBSIZE"), "0");
    for line in [
        "MIROIR.PUT miroir:session:s pinned_group g",
        "MIROIR.TOUCH miroir:session:s",
        "MIROIR.PUT miroir:idemp:k miroir_task_id t body_sha256 \
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "MIROIR.CANARY.RECORD miroir:canary_runs:c 1 pass 1",
        "MIROIR.PUT miroir:tenant_map:00 tenant_id t",
        "MIROIR.PUT miroir:search_ui_config:i config_json {}",
        "MIROIR.PUT miroir:admin_session:a csrf_token x admin_key_hash y",
        "MIROIR.GET miroir:admin_session:a csrf_token",
        "MIROIR.DEL miroir:session:s",
    ] {
        let answer = client.ask(line);
        assert!(["1", "[1, 0]", "[x]"].contains(&answer.as_str()), "{line}: {answer}");
    }
}

const SETTING: &str = "miroir.max-field-bytes";

/// That a field may have `most` bytes and not one more.
fn assert_limit(client: &mut Client, most: usize) {
    let mut put =
        |length: usize| client.call(&["MIROIR.PUT", "miroir:tasks:t", "error", &"x".repeat(length)]);
    let at = put(most);
    assert!(["1", "2"].contains(&at.as_str()), "{most} bytes: {at}");
    let above = put(most + 1);
    assert!(above.starts_with("ERR field 'error' of table tasks: "), "one byte more: {above}");
    assert!(above.contains(&most.to_string()) && above.len() < 300, "{above}");
}

#[test]
fn the_largest_field_is_a_setting() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask(&format!("CONFIG GET {SETTING}")), format!("[{SETTING}, 1048576]"));
    assert_limit(&mut client, 1 << 20);
    assert_eq!(client.ask(&format!("CONFIG SET {SETTING} 64")), "OK");
    assert_eq!(client.ask(&format!("CONFIG GET {SETTING}")), format!("[{SETTING}, 64]"));
    assert_limit(&mut client, 64);
    for wrong in ["0", "-1", "many", "99999999999999"] {
        let answer = client.ask(&format!("CONFIG SET {SETTING} {wrong}"));
        assert!(answer.starts_with("ERR CONFIG SET failed"), "{wrong}: {answer}");
        assert_eq!(client.ask(&format!("CONFIG GET {SETTING}")), format!("[{SETTING}, 64]"));
    }
    assert_eq!(client.ask(&format!("CONFIG SET {SETTING} 1kb")), "OK");
    assert_limit(&mut client, 1024);
}

#[test]
fn the_setting_can_stand_in_a_file_and_on_the_command_line() {
    let module = support::module();
    let server = Server::start_with(&["--miroir.max-field-bytes", "100"]);
    assert_limit(&mut server.client(), 100);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("more.conf");
    std::fs::write(&file, format!("loadmodule {}\n{SETTING} 200\n", module.display())).unwrap();
    let server = Server::bare(&["--include", file.to_str().unwrap()]);
    assert_limit(&mut server.client(), 200);
}
