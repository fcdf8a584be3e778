//! A mixed load for a long time, and all that happens to servers meanwhile: the memory stays what it is, and nothing
//! drifts.
//!
//! `SOAK_MINUTES` says how long; without it each test takes some ten seconds, too few to judge the memory of servers that
//! come and go.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
#[path = "soak/base.rs"]
mod base;
#[path = "load/mod.rs"]
mod load;
#[path = "soak/samples.rs"]
mod samples;
#[path = "sentinel/store.rs"]
mod store;
mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use base::Base;
use fastrand::Rng;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use load::{agreement, wait_until, Asks, Curtain, Link, Worker, World};
use model::send;
use redis::Value;
use samples::Samples;
use store::Store;
use support::audit::{audit, lasting};
use support::{module, patience, Client, Server};

const SHORT: Duration = Duration::from_secs(10);
const LEAST_CYCLES: usize = 2;
const CLIENTS: usize = 6;
/// How many commands are answered before something happens, and after it.
const ENOUGH: usize = 1200;

/// How long clients rest after each step while it happens, in ms.
const REST_MS: u64 = 25;

/// What happens to a server under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    Rewrite,
    Snapshot,
    /// MODULE UNLOAD and MODULE LOAD.
    Reload,
    /// The master is shut down, and started again at once.
    Restart,
    /// The same with `kill -9`.
    Crash,
    /// `kill -9`, and back when there is a successor.
    Death,
    /// A successor for a master that is well.
    Relief,
    /// `kill -9` of a replica, which is started again at once.
    ReplicaCrash,
}

/// How long it is to go on, and how far it is, on a terminal.
struct Watch {
    started: Instant,
    length: Duration,
    bar: ProgressBar,
}

impl Watch {
    fn start() -> Self {
        static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
        let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse::<u64>().ok());
        let length = minutes.map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
        let style = ProgressStyle::with_template("{wide_bar} {elapsed}/{len} s {msg}").unwrap();
        let bar = BARS.add(ProgressBar::new(length.as_secs()).with_style(style));
        Self { started: Instant::now(), length, bar }
    }

    /// Whether there was time enough, and something has happened on a machine with other work, too.
    fn is_over(&self, work: &Work) -> bool {
        self.started.elapsed() >= self.length && work.cycles >= LEAST_CYCLES
    }

    /// Asks everything of a server and compares it with the keys, which takes a while. Nobody may write meanwhile.
    fn expect_agreement(&self, client: &mut Client) {
        if self.length > SHORT {
            let faults = agreement::faults(client);
            assert!(faults.is_empty(), "{faults:#?}");
        }
    }

    fn tell(&self, message: String) {
        self.bar.set_position(self.started.elapsed().as_secs());
        self.bar.set_message(message);
    }
}

/// What the clients did, in all.
#[derive(Debug, Default)]
struct Work {
    cycles: usize,
    commands: usize,
    answered: usize,
    /// Entries of rows that clients wrote while there was no module, which AUDIT had to mend.
    mended: usize,
}

impl Work {
    /// Lets clients work before, during and after something.
    fn around<T>(&mut self, find: &(dyn Fn() -> Option<Link> + Sync), something: impl FnOnce() -> T) -> T {
        let world = World::without_module_at_times();
        let result = std::thread::scope(|scope| {
            let _curtain = Curtain(&world);
            for number in 0..CLIENTS {
                let worker = Worker::new(&world, number, self.cycles, Rng::new(), Asks::Nothing, find);
                scope.spawn(move || worker.work());
            }
            wait_until("work before it", || world.answered.load(SeqCst) > ENOUGH);
            // So that a cycle that takes longer does not leave larger tables behind.
            world.rest.store(REST_MS, SeqCst);
            let result = something();
            world.rest.store(0, SeqCst);
            let so_far = world.answered.load(SeqCst);
            wait_until("work after it", || world.answered.load(SeqCst) > so_far + ENOUGH);
            result
        });
        self.cycles += 1;
        self.commands += world.sent.load(SeqCst);
        self.answered += world.answered.load(SeqCst);
        result
    }

    /// Asserts that AUDIT finds nothing. Rows that were written while the module was away lack their entries.
    fn expect_no_drift(&mut self, client: &mut Client, was_away: bool, when: &str) {
        if was_away {
            client.wait_for("MIROIR.AUDIT miroir 0", |answer| !answer.starts_with("TRYAGAIN"));
            let found = audit(client, "miroir", "COUNT 1000 REPAIR");
            let others: Vec<_> =
                found.iter().filter(|one| one.kind != "not-in-index" || !one.repaired).collect();
            assert!(others.is_empty(), "{when}: {others:#?}");
            self.mended += found.len();
        }
        assert_eq!(lasting(client, "miroir"), [], "{when}");
    }
}

/// Takes the module out as soon as the server lets it go, and brings it back.
fn reload(server: &Server) {
    let mut client = server.client();
    // Redis 8 compares each command with the last one of the same client, whose memory is free by then if it was the
    // module's: it crashes. Nobody else comes between two commands that are sent together.
    let commands = [words!["CLIENT", "KILL", "TYPE", "normal"], words!["MODULE", "UNLOAD", "miroir"]];
    let deadline = Instant::now() + patience();
    while send(&mut client, &commands)[1] != Value::Okay {
        assert!(Instant::now() < deadline, "the module cannot be taken out: {}", server.log());
    }
    assert_eq!(client.call(&["MODULE", "LOAD", module().to_str().unwrap()]), "OK");
}

fn happen(server: &Server, event: Event) {
    let mut client = server.client();
    match event {
        Event::Rewrite => client.rewrite_log(),
        Event::Snapshot => {
            client.succeed("BGSAVE");
            client.wait_for("INFO persistence", |info| info.contains("rdb_bgsave_in_progress:0"));
        }
        Event::Reload => reload(server),
        _ => {}
    }
}

#[test]
fn a_server_that_is_never_restarted_holds_no_more_memory_and_nothing_drifts() {
    const EVENTS: &[Event] = &[Event::Reload, Event::Rewrite, Event::Nothing, Event::Reload, Event::Snapshot];
    let server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let url = format!("redis://127.0.0.1:{}/", server.port());
    let find = move || {
        let connection = redis::Client::open(url.as_str()).ok()?.get_connection().ok()?;
        Some(Box::new(connection) as Link)
    };
    let mut client = server.client();
    let (mut base, mut samples, mut work) =
        (Base::fill(&mut client), Samples::of("used_memory"), Work::default());
    let watch = Watch::start();
    while !watch.is_over(&work) {
        let event = EVENTS[work.cycles % EVENTS.len()];
        let when = format!("cycle {}, {event:?}", work.cycles);
        work.around(&find, || happen(&server, event));
        client = server.client();
        work.expect_no_drift(&mut client, event == Event::Reload, &when);
        base.restore(&mut client, work.cycles % 2 == 0, &when);
        work.expect_no_drift(&mut client, false, &when);
        // What grows only once has grown after the first.
        if work.cycles > 1 {
            let held = samples.take(&mut client);
            watch.tell(format!("{when}: {held} bytes"));
        }
    }
    watch.expect_agreement(&mut client);
    println!("{work:?}");
    samples.expect_flat("a server that is never restarted", 2.0);
}

fn happen_to_store(store: &mut Store, event: Event) {
    let master = store.master().unwrap();
    match event {
        Event::Restart => {
            store.nodes[master].shut_down();
            store.start_master_again(master);
        }
        Event::Crash => {
            store.nodes[master].kill();
            store.start_master_again(master);
        }
        Event::Death => {
            store.nodes[master].kill();
            let successor = store.wait_for_successor(master);
            store.start_again(master, successor);
        }
        Event::Relief => {
            store.relieve();
            store.wait_for_successor(master);
        }
        Event::ReplicaCrash => {
            let replica = (master + 1) % store.nodes.len();
            store.nodes[replica].kill();
            store.start_again(replica, master);
        }
        Event::Reload => {
            store.replicas(master).for_each(reload);
            reload(&store.nodes[master]);
        }
        other => happen(&store.nodes[master], other),
    }
    store.wait_until_whole();
}

#[test]
fn a_store_whose_servers_come_and_go_holds_no_more_memory_and_nothing_drifts() {
    const EVENTS: &[Event] = &[
        Event::Death,
        Event::Reload,
        Event::Crash,
        Event::Relief,
        Event::Restart,
        Event::Rewrite,
        Event::ReplicaCrash,
    ];
    let mut store = Store::start();
    let find = store.finder();
    let mut work = Work::default();
    let mut first_master = store.nodes[0].client();
    let mut base = Base::fill(&mut first_master);
    // A successor has what was confirmed, and replicas confirm once a second at first.
    first_master.wait_for("WAIT 2 1000", |answer| answer == "2");
    // Without what replicas and clients are owed, which depends on when they came.
    let mut samples = [Samples::of("used_memory_dataset"), Samples::of("used_memory_dataset")];
    // So that short runs do not always see the same ones.
    let first = fastrand::usize(..EVENTS.len());
    let watch = Watch::start();
    while !watch.is_over(&work) {
        let event = EVENTS[(first + work.cycles) % EVENTS.len()];
        let when = format!("cycle {}, {event:?}", work.cycles);
        work.around(&find, || happen_to_store(&mut store, event));
        let master = store.wait_until_whole();
        store.settle(master);
        let mut client = store.nodes[master].client();
        work.expect_no_drift(&mut client, event == Event::Reload, &when);
        base.restore(&mut client, work.cycles % 2 == 0, &when);
        work.expect_no_drift(&mut client, false, &when);
        store.assert_same_data(master, &when);
        let mut replica = store.replicas(master).next().unwrap().client();
        assert_eq!(lasting(&mut replica, "miroir"), [], "{when}, on a replica");
        if work.cycles > 1 {
            let held = samples[0].take(&mut client);
            samples[1].take(&mut replica);
            watch.tell(format!("{when}: {held} bytes"));
        }
    }
    let master = store.wait_until_whole();
    watch.expect_agreement(&mut store.nodes[master].client());
    println!("{work:?}");
    // Each of them has another life behind it, and tables of the size that this left: least on a replica that has just
    // got a copy.
    let [masters, replicas] = samples;
    masters.expect_flat("the masters", 5.0);
    replicas.expect_no_more_than(&masters, "a replica", 5.0);
}
