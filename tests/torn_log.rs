//! An append-only file that ends anywhere, as a loss of power leaves it: every command of the module has happened or
//! has not, and so has every transaction and script.
//!
//! `MIROIR_CUTS=all` ends it at every byte.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use fastrand::Rng;
use support::audit::lasting;
use support::effects::{commands, is_error, transaction, AOF};
use support::{Client, Server};

/// How many servers are started again and again at the same time.
const SERVERS: usize = 4;

/// Commands of the module that are more than one native command, one of every kind.
const WRITES: &[&str] = &[
    "MIROIR.PUT miroir:tasks:t index_uid movies",
    "MIROIR.TASK.NODE miroir:tasks:t node-0 UID 41 ERROR full",
    "MIROIR.PUT miroir:tasks:t error again",
    "MIROIR.PUT miroir:tasks:u created_at 5 status failed",
    "MIROIR.PUT miroir:tasks:v created_at 6 status failed",
    "MIROIR.PUT miroir:session:s pinned_group g",
    "MIROIR.TOUCH miroir:session:s PX 87000000",
    "MIROIR.PUT miroir:session:s PX 86400000 last_write_at 5",
    "MIROIR.PUT miroir:admin_session:a csrf_token x admin_key_hash y",
    "MIROIR.ADMIN.REVOKE miroir:admin_session:a",
    "MIROIR.PUT miroir:aliases:movies kind single current_uid v1",
    "MIROIR.ALIAS.FLIP miroir:aliases:movies v2 IFVERSION 1",
    "MIROIR.IDEMP.BEGIN miroir:idemp:k \
     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 t1 LOCK 86400000 PX 87000000",
    "MIROIR.IDEMP.COMPLETE miroir:idemp:k t1 PX 88000000",
    "MIROIR.PUT miroir:jobs:j type dump",
    "MIROIR.PUT miroir:jobs:i type dump",
    "MIROIR.JOB.CLAIM miroir:jobs pod-1 86400000 COUNT 2",
    "MIROIR.JOB.FINISH miroir:jobs:j pod-1 1 queued",
    "MIROIR.JOB.CLAIM miroir:jobs pod-2 86400000",
    "MIROIR.JOB.FINISH miroir:jobs:j pod-2 2 completed",
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 86400000",
    "MIROIR.LEASE.RELEASE miroir:lease:leader pod-1",
    "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-2 86400000",
    "MIROIR.PUT miroir:tasks:fenced FENCE miroir:lease:leader 2 index_uid movies",
    "MIROIR.PUT miroir:canary:c name one index_uid movies interval_s 60 query_json {} assertions_json []",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c 1000 pass 5 KEEP 2",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c 1000 fail 5 KEEP 2",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c 2000 pass 5 KEEP 2",
    "MIROIR.CANARY.RECORD miroir:canary_runs:c 3000 pass 5 KEEP 2",
    "MIROIR.DEL miroir:canary:c",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 30 aaaaaaaaaa bbbbbbbbbb",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 30 cccccccccc dddddddddd",
    "MIROIR.CDC.POP miroir:cdc:overflow:kafka",
    "MIROIR.CDC.ACK miroir:cdc:overflow:kafka 3",
    "MIROIR.CDC.TRIM miroir:cdc:overflow:kafka BUDGET 5",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 30 eee",
    "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 7",
    "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 9 86400000 COST 2",
    "MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:192.0.2.1 9 86400000",
    "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:192.0.2.1 1 86400000 89000000",
    "MIROIR.LOGIN.OK miroir:ratelimit:adminlogin:192.0.2.1",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u1 1 PRIMARYKEY k",
    "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u2 2",
    "MIROIR.SCOPEDKEY.OBSERVE miroir:search_ui_scoped_key:movies pod-1 2 PX 86400000",
    "MIROIR.SCOPEDKEY.RETIRE miroir:search_ui_scoped_key:movies 2 FORCE",
    "MIROIR.POD.BEAT miroir:live_pods pod-1",
    "MIROIR.PRUNE miroir:tasks BEFORE 100",
    "MIROIR.DEL miroir:tasks:t miroir:tasks:fenced miroir:jobs:i",
];

/// What clients put together themselves.
const TRANSACTION: &[&str] = &[
    "MIROIR.PUT miroir:tasks:m index_uid movies",
    "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 30 ffff",
    "MIROIR.LEASE.ACQUIRE miroir:lease:other pod-3 86400000",
    "SET beside 1",
    "MIROIR.DEL miroir:jobs:j",
];
const SCRIPT: &str = "EVAL 'redis.call(\"MIROIR.PUT\", KEYS[1], \"index_uid\", \"movies\") \
     redis.call(\"MIROIR.CDC.PUSH\", KEYS[2], \"BUDGET\", 30, \"ggg\", \"hh\") \
     return redis.call(\"MIROIR.LEASE.RELEASE\", KEYS[3], \"pod-3\")' \
     3 miroir:tasks:n miroir:cdc:overflow:kafka miroir:lease:other";
/// A client without the module: the index entry comes behind its write, from the module.
const RAW: &str = "HSET miroir:tasks:raw miroir_id raw status enqueued created_at 5";

type Data = BTreeMap<String, String>;

/// An append-only file, and the data from each place in it on, until the next place.
struct Log {
    bytes: Vec<u8>,
    states: Vec<(usize, Data)>,
}

impl Log {
    fn write() -> Self {
        let server = Server::start_with(AOF);
        let file = file(&server);
        let mut client = server.client();
        let mut states = vec![(0, client.dump())];
        let mut note = |client: &mut Client, what: &str| {
            let end = std::fs::read(&file).unwrap().len();
            let (before, data) = (states.last().unwrap(), client.dump());
            assert!(end > before.0 && data != before.1, "{what} did nothing");
            states.push((end, data));
        };
        for line in WRITES {
            let answer = client.ask(line);
            assert!(!is_error(answer.split(' ').next().unwrap()), "{line}: {answer}");
            note(&mut client, line);
        }
        let answer = transaction(&mut client, TRANSACTION);
        assert!(!answer.contains("ERR"), "{answer}");
        note(&mut client, "the transaction");
        assert_eq!(client.ask(SCRIPT), "1");
        note(&mut client, "the script");
        client.succeed(RAW);
        client.wait_for("SISMEMBER miroir:tasks:_index raw", |answer| answer == "1");
        note(&mut client, RAW);
        let bytes = std::fs::read(&file).unwrap();
        // The row is there from the end of its own command on, and the module makes up for the entry.
        let (last, before) = (states.len() - 1, states[states.len() - 2].0);
        states[last].0 = commands(&bytes).iter().map(|(end, _)| *end).find(|end| *end > before).unwrap();
        Self { bytes, states }
    }

    /// Where it is cut off: at the end of each native command and somewhere in some of them, or everywhere.
    fn cuts(&self, random: &mut Rng) -> Vec<usize> {
        if std::env::var("MIROIR_CUTS").is_ok_and(|cuts| cuts == "all") {
            return (0..=self.bytes.len()).collect();
        }
        let mut begin = 0;
        let cuts = commands(&self.bytes).into_iter().flat_map(|(end, _)| {
            let inside = (random.u8(..4) == 0).then(|| random.usize(begin + 1..end));
            begin = end;
            inside.into_iter().chain([end])
        });
        cuts.collect()
    }

    fn expected(&self, cut: usize) -> &Data {
        &self.states.iter().rfind(|(end, _)| *end <= cut).unwrap().1
    }
}

/// The file that the server appends to.
fn file(server: &Server) -> PathBuf {
    let files = std::fs::read_dir(server.directory().join("appendonlydir")).unwrap();
    let mut files = files.map(|entry| entry.unwrap().path());
    files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).unwrap()
}

/// Whether the time of what a key holds is up: `hash until 1795280136222: …`, with -1 for never.
fn has_ended(value: &str, now: i64) -> bool {
    let end = value.split_once(" until ").and_then(|(_, rest)| rest.split_once(':')?.0.parse::<i64>().ok());
    (0..=now).contains(&end.unwrap())
}

/// Starts the server on so much of the file, and tells what is wrong then.
fn fault(server: &mut Server, log: &Log, cut: usize) -> Option<String> {
    server.kill();
    std::fs::write(file(server), &log.bytes[..cut]).unwrap();
    server.start_again();
    let mut client = server.client();
    let found = lasting(&mut client, "miroir");
    let (mut data, mut expected) = (client.dump(), log.expected(cut).clone());
    // With many cuts the time of some is up.
    let now = client.server_ms();
    data.retain(|_, value| !has_ended(value, now));
    expected.retain(|_, value| !has_ended(value, now));
    let faults = model::check(&mut client, &["miroir"], &mut Rng::new()).1;
    let is_whole = found.is_empty() && data == expected && faults.is_empty();
    (!is_whole).then(|| {
        let differ = |key: &&String| data.get(*key) != expected.get(*key);
        let keys: Vec<_> = data.keys().chain(expected.keys()).filter(differ).collect();
        let values: Vec<_> = keys.iter().map(|key| (key, data.get(*key), expected.get(*key))).collect();
        format!("cut at {cut} of {}: {found:?} {faults:?} {values:#?}", log.bytes.len())
    })
}

#[test]
fn wherever_the_append_only_file_ends_every_command_has_happened_or_has_not() {
    let log = Log::write();
    let cuts = log.cuts(&mut Rng::new());
    println!("{} bytes, {} states, {} cuts", log.bytes.len(), log.states.len(), cuts.len());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let work = || {
            let mut server = Server::start_with(&[AOF, &["--aof-load-truncated", "yes"]].concat());
            while let Some(cut) = cuts.get(next.fetch_add(1, SeqCst)) {
                if let Some(fault) = fault(&mut server, &log, *cut) {
                    // The others need not go on.
                    next.store(cuts.len(), SeqCst);
                    return Some(fault);
                }
            }
            None
        };
        let workers: Vec<_> = (0..SERVERS).map(|_| scope.spawn(work)).collect();
        let faults: Vec<_> = workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect();
        assert!(faults.is_empty(), "{}", faults[0]);
    });
}
