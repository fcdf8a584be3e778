//! The tables whose rows end by themselves, under a namespace without a hash tag: they spread over all masters, end on each of
//! them, and the masters together know exactly what was written.
//!
//! `MIROIR_SPREAD_ROWS` says how many rows each table gets that end soon, and as many that do not.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use miroir::schema::TABLES;
use model::{Ask, Question, Sweep};
use support::audit::audit;
use support::clock::wait_until;
use support::cluster::{masters_and_replicas, move_slot, settle, slot_of, Node, Router};
use support::{patience, variable, Client};

const ROWS: u64 = 150;
const HOUR: u64 = 3_600_000;
const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The tables, how a row of a certain life is written, and the first words of the answer.
const TABLES_THAT_END: &[(&str, &str, &str)] = &[
    ("sessions", "MIROIR.PUT m:session:% PX ^ pinned_group g", "1"),
    ("idempotency_cache", "MIROIR.IDEMP.BEGIN m:idemp:% HASH task PX ^", "[new, task]"),
    ("admin_sessions", "MIROIR.PUT m:admin_session:% PX ^ csrf_token c admin_key_hash h", "1"),
    ("ratelimit_searchui", "MIROIR.RATELIMIT.HIT m:ratelimit:searchui:% 5 ^", "[1, 4, 0, "),
];

/// What tells by one row of each table that it is there, and the answers when it is there and when its time is up.
const PROBES: &[(&str, &str, &str)] = &[
    ("MIROIR.TOUCH m:session:% PX ^", "1", "-2"),
    ("MIROIR.IDEMP.ABORT m:idemp:% other", "0", "-2"),
    ("MIROIR.GET m:admin_session:% csrf_token", "[c]", "nil"),
    ("MIROIR.RATELIMIT.HIT m:ratelimit:searchui:% 5 60000 PEEK", "[1, 4, ", "[1, 5, "),
];

fn rows() -> u64 {
    variable("MIROIR_SPREAD_ROWS").unwrap_or(ROWS)
}

/// Writes a row of each table for each number.
fn write(router: &mut Router, prefix: &str, life: u64) {
    for number in 0..rows() {
        for (_, line, expected) in TABLES_THAT_END {
            let line = spell(line, prefix, number, life);
            let answer = router.ask(&line);
            assert!(answer.starts_with(expected), "{line}: {answer}");
        }
    }
}

fn spell(line: &str, prefix: &str, number: u64, life: u64) -> String {
    let line = line.replace('%', &format!("{prefix}{number}")).replace('^', &life.to_string());
    line.replace("HASH", HASH)
}

/// What a node tells of each table of the namespace, in lines that can be compared, and what it has to tell by its keys.
fn weigh(client: &mut Client) -> (Vec<String>, Vec<String>) {
    let question = Question { namespace: "m", table: &TABLES[0], filter: Vec::new(), ask: Ask::Memory };
    let told = question.told(&client.raw(&question.words()).unwrap());
    (told, question.expected(&Sweep::read(client)))
}

/// Waits until every master knows exactly what it has, and answers how many rows of each table they have, master by master.
fn spread(masters: &mut [Node]) -> Vec<BTreeMap<String, u64>> {
    let deadline = Instant::now() + patience();
    masters
        .iter_mut()
        .map(|master| loop {
            let (told, expected) = weigh(&mut master.client);
            if told == expected {
                break told.iter().map(|line| rows_in(line)).collect();
            }
            // Some may have ended in between.
            assert!(Instant::now() < deadline, "MEMORY says {told:#?}, the keys say {expected:#?}");
        })
        .collect()
}

fn rows_in(line: &str) -> (String, u64) {
    let (table, figures) = line.split_once(" rows=").unwrap();
    (table.to_owned(), figures.split(' ').next().unwrap().parse().unwrap())
}

/// Asserts that the masters have so many rows of each table together, none of them far fewer than its part.
fn assert_sums(masters: &mut [Node], expected: u64, when: &str) {
    let rows = spread(masters);
    for (table, ..) in TABLES_THAT_END {
        let each: Vec<_> = rows.iter().map(|rows| rows[*table]).collect();
        assert_eq!(each.iter().sum::<u64>(), expected, "{when}: {table} {each:?}");
        assert!(each.iter().all(|rows| *rows > expected / 8), "{when}: {table} {each:?}");
    }
    let all: u64 = rows.iter().map(|rows| rows["total"]).sum();
    assert_eq!(all, expected * u64::try_from(TABLES_THAT_END.len()).unwrap(), "{when}");
    println!("{when}: {all} rows on {:?}", rows.iter().map(|rows| rows["total"]).collect::<Vec<_>>());
}

/// Asserts that neither side of the cluster finds anything wrong, and that replicas tell what their masters tell.
fn assert_quiet(nodes: &mut [Node]) {
    settle(nodes);
    let (masters, replicas) = nodes.split_at_mut(3);
    for (master, replica) in masters.iter_mut().zip(replicas) {
        let (told, _) = weigh(&mut master.client);
        replica.order("READONLY");
        assert_eq!(weigh(&mut replica.client), (told.clone(), told));
        for client in [&mut master.client, &mut replica.client] {
            assert_eq!(audit(client, "m", "COUNT 1000"), []);
            let known = client.figure("miroir", "miroir_catalog_rows");
            assert_eq!(known, i64::try_from(Sweep::read(client).entries.len()).unwrap());
        }
    }
}

/// Asserts of every row that it is there, or that it is not, through a client that finds its master.
fn assert_probes(router: &mut Router, prefix: &str, is_there: bool) {
    for number in 0..rows() {
        for (line, there, gone) in PROBES {
            let line = spell(line, prefix, number, HOUR);
            let answer = router.ask(&line);
            assert!(answer.starts_with(if is_there { there } else { gone }), "{line}: {answer}");
        }
    }
}

#[test]
fn rows_that_spread_end_on_every_master_and_the_sums_are_right() {
    let mut nodes = masters_and_replicas(3);
    let mut router = Router::of(&nodes[..1]);
    let begin = Instant::now();
    write(&mut router, "long", HOUR);
    // Long enough to be counted before they end, however busy the machine is.
    let life = 1000 + 4 * u64::try_from(begin.elapsed().as_millis()).unwrap();
    write(&mut router, "short", life);
    let end =
        nodes.iter_mut().map(|node| node.client.server_ms()).max().unwrap() + i64::try_from(life).unwrap();
    assert_sums(&mut nodes[..3], 2 * rows(), "before the end");
    assert_cannot_be_listed(&mut nodes, &mut router);

    nodes.iter_mut().for_each(|node| wait_until(&mut node.client, end));
    assert_probes(&mut router, "short", false);
    assert_probes(&mut router, "long", true);
    wait_for_expiry(&mut nodes[..3], rows());
    assert_sums(&mut nodes[..3], rows(), "after it");
    assert_quiet(&mut nodes);
    let expired: i64 = nodes[..3].iter_mut().map(|node| expired(&mut node.client)).sum();
    assert_eq!(expired, i64::try_from(rows()).unwrap() * 4, "each is counted once");

    // The names are free again, on the same masters.
    write(&mut router, "short", HOUR);
    assert_sums(&mut nodes[..3], 2 * rows(), "written again");
    assert_quiet(&mut nodes);
}

/// The server ends a row that nobody asks for a moment after its time.
fn wait_for_expiry(masters: &mut [Node], left: u64) {
    let deadline = Instant::now() + patience();
    let all = left * u64::try_from(TABLES_THAT_END.len()).unwrap();
    while spread(masters).iter().map(|rows| rows["total"]).sum::<u64>() != all {
        assert!(Instant::now() < deadline, "rows do not end: {:?}", spread(masters));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// How many rows have expired on a node.
fn expired(client: &mut Client) -> i64 {
    let info = client.ask("INFO miroir");
    let tables = info.lines().filter(|line| line.starts_with("miroir_table_"));
    let counts =
        tables.filter_map(|line| line.split_once("expired=")?.1.split(',').next()?.parse::<i64>().ok());
    counts.sum()
}

/// No node has all rows of such a table, so none answers as if it had; where a hash tag keeps them together they are listed.
fn assert_cannot_be_listed(nodes: &mut [Node], router: &mut Router) {
    for segment in ["session", "idemp", "admin_session"] {
        for line in ["MIROIR.LIST m:%", "MIROIR.LIST m:% IDS LIMIT 0 5", "MIROIR.COUNT m:%"] {
            let line = line.replace('%', segment);
            let answers = nodes[..3].iter_mut().map(|node| node.client.ask(&line));
            let answers: Vec<_> = answers.chain([router.ask(&line)]).collect();
            let is_right = |answer: &String| answer.starts_with("CROSSSLOT ") || answer.starts_with("MOVED ");
            assert!(answers.iter().all(is_right), "{line}: {answers:?}");
            assert!(answers.last().unwrap().starts_with("CROSSSLOT "), "{line}: {answers:?}");
        }
    }
    assert_eq!(router.ask("MIROIR.PUT {m}:session:s pinned_group g"), "1");
    assert_eq!(router.ask("MIROIR.COUNT {m}:session"), "1");
    assert_eq!(router.ask("MIROIR.LIST {m}:session IDS"), "[s]");
    assert_eq!(router.ask("MIROIR.DEL {m}:session:s"), "1");
}

#[test]
fn rows_that_spread_end_where_they_are_when_slots_and_masters_have_changed() {
    const SLOTS: u64 = 20;
    let mut nodes = masters_and_replicas(3);
    let mut router = Router::of(&nodes[..1]);
    let begin = Instant::now();
    write(&mut router, "long", HOUR);
    let life = 3000 + 10 * u64::try_from(begin.elapsed().as_millis()).unwrap();
    write(&mut router, "short", life);
    let end =
        nodes.iter_mut().map(|node| node.client.server_ms()).max().unwrap() + i64::try_from(life).unwrap();
    assert_sums(&mut nodes[..3], 2 * rows(), "before all");

    // Slots of the first master go to the second, and the replica of the third takes its place.
    let mut moved = 0;
    for key in (0..).flat_map(|number| ["long", "short"].map(|prefix| format!("m:session:{prefix}{number}")))
    {
        let slot = slot_of(&mut nodes, &key);
        let [first, second, ..] = &mut nodes[..] else { panic!("six nodes") };
        if first.client.ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}")) != "0" {
            move_slot(first, second, &slot.to_string(), |_, _| ());
            moved += 1;
        }
        if moved == SLOTS {
            break;
        }
    }
    nodes[5].order("CLUSTER FAILOVER");
    nodes[5].client.wait_for("ROLE", |role| role.starts_with("[master"));
    nodes[2].client.wait_for("ROLE", |role| role.starts_with("[slave") && role.contains("connected"));
    nodes.swap(2, 5);
    assert_sums(&mut nodes[..3], 2 * rows(), "moved");
    let now = nodes[0].client.server_ms();
    assert!(now < end, "the rows ended before their slots had moved: {now}, {end}");

    nodes.iter_mut().for_each(|node| wait_until(&mut node.client, end));
    assert_probes(&mut router, "short", false);
    assert_probes(&mut router, "long", true);
    wait_for_expiry(&mut nodes[..3], rows());
    assert_sums(&mut nodes[..3], rows(), "moved and ended");
    assert_quiet(&mut nodes);
}
