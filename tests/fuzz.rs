//! Hostile input: calls of every command with good, damaged and absurd arguments, plain, in transactions and in scripts,
//! among writes of clients that know nothing of the module. The server lives and answers in time, an error means that
//! nothing changed, replicas and the append-only file have what the server has, and the catalog is true.
//!
//! `MIROIR_FUZZ_COMMANDS` says how many calls, `MIROIR_FUZZ_SEED` which ones; `make fuzz` sets both.

#[path = "fuzz/calls.rs"]
mod calls;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/raw.rs"]
mod raw;
#[path = "fuzz/run.rs"]
mod run;
#[path = "fuzz/values.rs"]
mod values;
#[path = "fuzz/watch.rs"]
mod watch;

mod support;

use std::collections::BTreeMap;
use std::time::Instant;

use run::{Run, DATABASES};
use support::{audit, replicate, Client, Server};
use values::NAMESPACES;

/// How many calls a run makes.
const COMMANDS: usize = 25_000;
/// How many calls there are at most between two comparisons with the replica.
const SEGMENT: usize = 25_000;
/// How many comparisons there are at least.
const SEGMENTS: usize = 5;

/// Nothing but writes may go into the replication stream, so that each byte in it tells of a change.
const MASTER: &[&str] = &[
    "--appendonly",
    "yes",
    "--appendfsync",
    "no",
    "--auto-aof-rewrite-percentage",
    "0",
    "--repl-ping-replica-period",
    "3600",
    "--repl-timeout",
    "7200",
    "--client-output-buffer-limit",
    "replica 0 0 0",
    "--slowlog-log-slower-than",
    "20000",
];

/// Deletes what ends within a minute: nobody can compare it in peace.
const DELETE_SHORT_LIVED: &str = "for _, key in ipairs(redis.call('KEYS', '*')) do \
        local left = redis.call('PTTL', key) \
        if left >= 0 and left < 60000 then redis.call('DEL', key) end \
    end \
    return redis.call('DBSIZE')";

/// When each key ends: the digest does not say.
const ENDS: &str = "local ends = {} \
    for _, key in ipairs(redis.call('KEYS', '*')) do \
        ends[#ends + 1] = key .. ' ' .. redis.call('PEXPIRETIME', key) \
    end \
    table.sort(ends) \
    return ends";

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} has to be a number, and is {text:?}")))
}

/// Brings everything that is under way to its end.
fn quiesce(client: &mut Client) {
    run::let_time_pass(client);
    for database in 0..DATABASES {
        client.ask(&format!("SELECT {database}"));
        client.call(&["EVAL", DELETE_SHORT_LIVED, "0"]);
    }
    run::settle(client);
}

/// What two servers must have in common: the digest of the data, and when each key ends.
fn content(client: &mut Client) -> (String, Vec<String>) {
    let ends = |database| {
        client.ask(&format!("SELECT {database}"));
        client.call(&["EVAL", ENDS, "0"])
    };
    let ends = (0..DATABASES).map(ends).collect();
    client.ask("SELECT 0");
    (client.ask("DEBUG DIGEST"), ends)
}

/// Fails with what one server has and the other has not.
fn expect_same(run: &Run, when: &str, one: &mut Client, other: &mut Client) {
    if content(one) == content(other) {
        return;
    }
    let mut faults = Vec::new();
    for database in 0..DATABASES {
        let [here, there]: [BTreeMap<_, _>; 2] = [&mut *one, &mut *other].map(|client| {
            client.ask(&format!("SELECT {database}"));
            client.dump()
        });
        let differ = |(key, value): (&String, &String)| {
            let there = there.get(key);
            (there != Some(value)).then(|| format!("database {database}, {key}: {value}; there {there:?}"))
        };
        faults.extend(here.iter().filter_map(differ));
        let only_there = there.keys().filter(|key| !here.contains_key(*key));
        faults.extend(only_there.map(|key| format!("database {database}, {key}: only there")));
    }
    run.fail(when, &faults);
}

/// Fails if the catalog is not what the keys are, in any of the namespaces.
fn expect_true_catalog(run: &Run, client: &mut Client) {
    let mut faults = Vec::new();
    for database in 0..DATABASES {
        client.ask(&format!("SELECT {database}"));
        for namespace in NAMESPACES {
            let found = audit::audit(client, namespace, "COUNT 1000");
            let at_odds = found.into_iter().filter(|finding| finding.kind == "catalog-at-odds");
            faults.extend(at_odds.map(|finding| format!("database {database}: {finding:?}")));
        }
    }
    client.ask("SELECT 0");
    for name in ["audit_missing", "audit_ghosts", "audit_different"] {
        let number = client.figure("miroir", &format!("miroir_{name}"));
        if number != 0 {
            faults.push(format!("the server's own comparison: {name} is {number}"));
        }
    }
    run.expect_none("the catalog", &faults);
}

#[test]
fn whatever_comes_in_the_server_lives_and_an_error_means_that_nothing_changed() {
    let commands = variable("MIROIR_FUZZ_COMMANDS")
        .map_or(COMMANDS / support::slowness() as usize, |count| usize::try_from(count).unwrap());
    let seed = variable("MIROIR_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut master = Server::start_with(MASTER);
    let replica = Server::bare_replica_of(&master, &["--repl-timeout", "7200"]);
    let (mut client, mut other) = (master.client(), replica.client());
    let mut run = Run::new(seed, &master);
    let begun = Instant::now();
    let segment = commands.div_ceil(SEGMENTS).min(SEGMENT);
    while run.done < commands {
        let end = (run.done + segment).min(commands);
        while run.done < end {
            run.batch(&mut master);
        }
        quiesce(&mut client);
        run.expect_none("the log", &watch::alarms(&master));
        expect_true_catalog(&run, &mut client);
        replicate(&mut client, &mut other);
        expect_same(&run, "the replica", &mut client, &mut other);
        client.rewrite_log();
        if run.done < commands {
            println!("{} calls after {:?}", run.done, begun.elapsed());
        }
    }
    run.conclude(&mut client, begun.elapsed());

    // Something has to be in the file behind the snapshot.
    let end = run.done + segment.min(5_000);
    while run.done < end {
        run.batch(&mut master);
    }
    quiesce(&mut client);
    drop(client);
    replicate(&mut master.client(), &mut other);
    let master = master.kill_and_restart_with(&MASTER[..4]);
    let mut client = master.client();
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    expect_same(&run, "the append-only file, without the module", &mut client, &mut other);
}
