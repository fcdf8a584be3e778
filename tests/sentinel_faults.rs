//! Masters that do not know that they have a successor: one that hangs and wakes, one that is cut off from the others but
//! not from its clients. Part of the clients stay with it and write on until it is told.
//!
//! `MIROIR_FAILOVERS` says how often each test loses its master.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
#[path = "sentinel/judgement.rs"]
mod judgement;
#[path = "load/mod.rs"]
mod load;
#[path = "sentinel/rounds.rs"]
mod rounds;
#[path = "sentinel/store.rs"]
mod store;
mod support;
#[path = "sentinel/tenure.rs"]
mod tenure;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use load::{wait_until, Curtain, World};
use rounds::{survive, work, CLIENTS, ENOUGH};
use store::{Store, FAILOVER_PATIENCE};
use support::Server;
use tenure::{End, Tenure};

/// How many clients stay with the old master as long as it answers.
const FAITHFUL: usize = 4;
/// How long clients rest after each step, in ms: nobody has to judge more than that leaves.
const REST_MS: u64 = 3;

/// What a client is told in one step at most.
const MOST_FACTS: usize = 20;

/// Why a master does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Hangs,
    IsCutOff,
}

/// Whom a master needs for a write: `min-replicas-to-write`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nobody,
    Replica,
}

impl Fault {
    fn store(self) -> Store {
        match self {
            Self::Hangs => Store::start(),
            Self::IsCutOff => Store::behind_networks(),
        }
    }

    fn begin(self, store: &Store, master: usize) {
        match self {
            Self::Hangs => store.nodes[master].pause(),
            Self::IsCutOff => store.cut_off(master),
        }
    }

    fn end(self, store: &Store, master: usize) {
        match self {
            Self::Hangs => store.nodes[master].resume(),
            Self::IsCutOff => store.heal(master),
        }
    }
}

/// What an old master has told clients since it was back, until the sentinels told it of its successor.
struct Afterlife {
    facts: usize,
    last: Duration,
    length: Duration,
}

impl Afterlife {
    fn watch(old: &Server, told: impl Fn() -> usize) -> Self {
        let (back, before) = (Instant::now(), told());
        let (mut facts, mut last) = (0, Duration::ZERO);
        let mut client = old.client();
        loop {
            if told() > before + facts {
                (facts, last) = (told() - before, back.elapsed());
            }
            match client.ask("ROLE") {
                role if role.starts_with("[slave") => return Self { facts, last, length: back.elapsed() },
                role if role.starts_with("[master") => {}
                // Sentinels close all connections when they tell it.
                _ => client = old.client(),
            }
            assert!(back.elapsed() < FAILOVER_PATIENCE, "it is not told; its log:\n{}", old.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Ends the fault when it goes, also when the test fails: clients would wait for a server that hangs.
struct Remedy<'a>(Fault, &'a Store, usize);

impl Drop for Remedy<'_> {
    fn drop(&mut self) {
        self.0.end(self.1, self.2);
    }
}

/// What happened when, from the moment at which the master was lost.
struct Course {
    /// The fault had begun.
    gone: Duration,
    /// The master refused to write, if it was to do so while it was lost.
    refused: Option<Duration>,
    /// All sentinels announced a new one.
    announced: Duration,
    /// The new one gave the lease to another.
    granted: Duration,
    /// How many facts the old one told before it was back.
    meanwhile: usize,
    afterlife: Afterlife,
}

impl Course {
    fn print(&self, [sure, sure_by_wait]: [Duration; 2]) {
        let Self { refused, announced, granted, meanwhile, afterlife, .. } = self;
        println!(
            "a new master after {announced:.1?}; the old one told {meanwhile} facts meanwhile, refused to write after \
             {refused:.1?}; when it was back, it told {} facts, the last after {:.1?}, and was relieved after {:.1?}; the \
             holder of a lease was sure of it for {sure:.1?}, by WAIT for {sure_by_wait:.1?}, the next one got it after \
             {granted:.1?}",
            afterlife.facts, afterlife.last, afterlife.length
        );
    }

    /// Judges what became of the lease, and what the old master did when it was back.
    fn judge(&self, lost: Instant, tenure: &Tenure, end: &End, fault: Fault, needs: Needs) {
        let held = end.held.saturating_duration_since(lost);
        let [_, sure_by_wait] = end.sure_until();
        assert!(sure_by_wait < lost + self.granted, "two held it of whom one had waited");
        let facts = self.afterlife.facts;
        match (fault, needs) {
            (Fault::Hangs, _) => {
                assert!(held < self.gone, "the lease was renewed when its time had passed");
                let is_told = end.renewal == format!("[0, nil, 0, {}]", tenure.token);
                assert!(is_told && end.write.starts_with("STALE ") || needs == Needs::Replica, "{end:?}");
                // Of each client one command was under way.
                assert!(facts <= FAITHFUL * MOST_FACTS || needs == Needs::Nobody, "{facts} facts");
            }
            (Fault::IsCutOff, Needs::Nobody) => {
                assert!(held > self.granted, "it had one holder only: {end:?}")
            }
            (Fault::IsCutOff, Needs::Replica) => {
                assert!(end.was_refused && Some(held) < self.refused, "{end:?}");
                assert_eq!(facts, 0);
            }
        }
    }
}

/// Lets clients work while the master is away and when it is back. Answers who is the master then.
fn fail_over(store: &Store, world: &World, round: usize, fault: Fault, needs: Needs) -> usize {
    store.configure("min-replicas-max-lag 1");
    store.configure(&format!("min-replicas-to-write {}", usize::from(needs == Needs::Replica)));
    let master = store.master().unwrap();
    let (faithful, impatient) = (store.faithful_finder(master), store.impatient_finder(0));
    let tenure = Tenure::begin(&store.nodes[master]);
    world.rest.store(REST_MS, SeqCst);
    let successor = std::thread::scope(|scope| {
        let _curtain = Curtain(world);
        work(scope, world, round, |number| if number < CLIENTS - FAITHFUL { &impatient } else { &faithful });
        let holder = scope.spawn(|| tenure.hold(&store.nodes[master], || world.is_over()));
        let history = store.history(master);
        let told_by_old = || world.told_by(&history);
        wait_until("enough work before", || told_by_old() > ENOUGH);

        let (before, lost) = (told_by_old(), Instant::now());
        let remedy = Remedy(fault, store, master);
        fault.begin(store, master);
        let gone = lost.elapsed();
        let refused = (fault == Fault::IsCutOff && needs == Needs::Replica).then(|| {
            let mut client = store.nodes[master].client();
            client.wait_for("DEL miroir:nothing", |answer| answer.starts_with("NOREPLICAS "));
            lost.elapsed()
        });
        let successor = store.wait_for_successor(master);
        let announced = lost.elapsed();
        tenure.pass_on(&store.nodes[successor]);
        let granted = lost.elapsed();
        let history = store.history(successor);
        wait_until("enough work after", || world.told_by(&history) > ENOUGH);

        let meanwhile = told_by_old() - before;
        drop(remedy);
        let afterlife = Afterlife::watch(&store.nodes[master], told_by_old);
        assert_eq!(store.wait_until_whole(), successor);
        let so_far = world.told_by(&history);
        wait_until("enough work at last", || world.told_by(&history) > so_far + ENOUGH / 3);

        let end = holder.join().unwrap();
        let course = Course { gone, refused, announced, granted, meanwhile, afterlife };
        print!("{fault:?}, needs {needs:?}: ");
        course.print(end.sure_until().map(|time| time.saturating_duration_since(lost)));
        course.judge(lost, &tenure, &end, fault, needs);
        successor
    });
    store.configure("min-replicas-to-write 0");
    tenure.expect_passed_on(&store.nodes[successor]);
    successor
}

fn survives(fault: Fault, needs: Needs) {
    survive(&mut fault.store(), &[0], |store, worlds, round| {
        fail_over(store, &worlds[0], round, fault, needs)
    });
}

#[test]
fn when_a_master_hangs_and_wakes_its_successor_has_all_that_it_got_and_goes_on_from_there() {
    survives(Fault::Hangs, Needs::Nobody);
}

#[test]
fn a_master_that_wakes_without_the_replicas_that_it_needs_takes_no_more_writes() {
    survives(Fault::Hangs, Needs::Replica);
}

#[test]
fn when_a_master_is_cut_off_its_successor_has_all_that_it_got_and_goes_on_from_there() {
    survives(Fault::IsCutOff, Needs::Nobody);
}

#[test]
fn a_master_that_is_cut_off_from_the_replicas_that_it_needs_takes_no_more_writes() {
    survives(Fault::IsCutOff, Needs::Replica);
}
