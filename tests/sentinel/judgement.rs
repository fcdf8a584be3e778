//! What is there after a failover, of all that clients were told before and after it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::load::facts::{given_twice, unknown, Fact, Number};
use super::load::{agreement, Position, Told, World};
use super::model::{audit, check, show};
use super::store::Store;
use super::support::{figure, Client};

/// How many facts the former masters told, and how many of them are not so on their successors.
#[derive(Debug, Default)]
pub struct Losses {
    told: usize,
    /// Those that both replicas had confirmed.
    confirmed_by_all: usize,
    /// Those that were written behind what the successor had got, or of which nobody knows where they were written.
    in_doubt: usize,
    lost: usize,
    /// Although one replica had confirmed them: the other one was promoted.
    lost_with_one: usize,
    /// What the former masters gave to one and their successors to another: tokens, claims, versions, event numbers.
    given_by_both: usize,
}

impl Losses {
    pub fn print(&self) {
        println!(
            "{} facts told by former masters, {} of them confirmed by both replicas; {} behind what the successor had \
             got, or unknown where; {} lost, {} of these confirmed by one replica; {} tokens, claims and numbers \
             given by both",
            self.told,
            self.confirmed_by_all,
            self.in_doubt,
            self.lost,
            self.lost_with_one,
            self.given_by_both
        );
    }
}

/// Asserts that the master knows all that it had got from the one before it, and all that it has told since, and that
/// it gave nothing away that was given before. Counts what is lost of the rest, and answers what is so from now on.
pub fn pass(client: &mut Client, world: &World, losses: &mut Losses, when: &str) -> Vec<Told> {
    let info = client.ask("INFO replication");
    let (own, inherited) = (Position::read(&info).history, Inheritance::read(&info));
    let is_sure = |told: &Told| match told.at.history.as_str() {
        // From before the last failover.
        "" => true,
        history if history == own => true,
        history => {
            assert_eq!(history, inherited.from, "{when}: told by a third one: {told:?}");
            // Others may have written between what was confirmed and the question where the master stands.
            told.replicas >= 2 || told.at.offset.is_some_and(|offset| offset <= inherited.up_to)
        }
    };
    let all = world.told();
    let former: Vec<_> = all.iter().filter(|told| told.at.history == inherited.from).collect();
    losses.told += former.len();
    losses.confirmed_by_all += former.iter().filter(|told| told.replicas >= 2).count();
    let (sure, in_doubt): (Vec<Told>, Vec<Told>) = all.into_iter().partition(is_sure);
    losses.in_doubt += in_doubt.len();

    let facts = |told: &[Told]| told.iter().map(|told| told.fact.clone()).collect::<Vec<Fact>>();
    let sure_facts = facts(&sure);
    let missing: Vec<_> = unknown(client, &sure_facts, world.acknowledged()).into_iter().take(5).collect();
    assert!(missing.is_empty(), "{when}: lost of {} that it had got: {missing:#?}", sure.len());
    let twice = given_twice(sure_facts.iter());
    assert!(twice.is_empty(), "{when}: {twice:#?}");

    losses.given_by_both += given_by_both(&sure, &in_doubt);
    let mut known = sure;
    // What was given may be given again, and nobody can say of it whether it was lost.
    let in_doubt: Vec<_> =
        in_doubt.into_iter().filter(|told| !matches!(told.fact, Fact::Given { .. })).collect();
    let doubtful = facts(&in_doubt);
    let lost: HashSet<_> =
        unknown(client, &doubtful, 0).into_iter().map(|(fact, _)| std::ptr::from_ref(fact)).collect();
    for (told, fact) in in_doubt.into_iter().zip(&doubtful) {
        if lost.contains(&std::ptr::from_ref(fact)) {
            losses.lost += 1;
            losses.lost_with_one += usize::from(told.replicas == 1);
        } else {
            known.push(told);
        }
    }
    known.iter_mut().for_each(|told| told.at = Position::default());
    known
}

/// How much of what nobody is sure of was also given to somebody else.
fn given_by_both(sure: &[Told], in_doubt: &[Told]) -> usize {
    let given = |told: &'_ Told| match &told.fact {
        Fact::Given { what, to } => Some((what.clone(), to.clone())),
        _ => None,
    };
    let holders: BTreeMap<_, _> = sure.iter().filter_map(given).collect();
    let others = in_doubt.iter().filter_map(given);
    let both = others.filter(|(what, to)| holders.get(what).is_some_and(|holder| holder != to));
    both.map(|(what, _)| what).collect::<BTreeSet<_>>().len()
}

/// Asserts that everything in a database agrees on the master, that all nodes hold the same, and that the replicas know
/// what they hold.
pub fn expect_agreement(store: &Store, master: usize, database: u8, when: &str) {
    let faults = agreement::faults(&mut store.nodes[master].client_of(database));
    assert!(faults.is_empty(), "{when}: {faults:#?}");
    store.assert_same_data(master, when);
    for replica in store.replicas(master) {
        let mut client = replica.client_of(database);
        let mut faults = check(&mut client, &["miroir"], &mut fastrand::Rng::new()).1;
        faults.extend(
            audit(&mut client, "miroir").iter().map(|(kind, key)| format!("AUDIT: {kind} {}", show(key))),
        );
        assert!(faults.is_empty(), "{when}, on a replica: {faults:#?}");
    }
}

/// Asserts that the next tokens and event numbers are above all that are known, and that old tokens are no good.
pub fn expect_progress(client: &mut Client, known: &[Told], when: &str) {
    let highest = |key: &str, field: &str| {
        let place = Number::field(key, field);
        let numbers = known.iter().filter_map(|told| match &told.fact {
            Fact::AtLeast { what, number } if *what == place => Some(*number),
            _ => None,
        });
        numbers.max().unwrap_or(0)
    };
    for scope in ["leader", "rebalance", "settings"] {
        let before = highest("miroir:lease:_tokens", scope);
        assert!(before > 0, "{when}: nobody had {scope}");
        let lease = format!("miroir:lease:{scope}");
        // The last tenure was one of some milliseconds.
        client.wait_for(&format!("MIROIR.LEASE.GET {lease}"), |answer| answer == "nil");
        let (done, _, _, token): (i64, String, i64, i64) =
            client.read(&format!("MIROIR.LEASE.ACQUIRE {lease} successor 600000"));
        assert!(done == 1 && token > before, "{when}: token {token} of {scope} after {before}");
        let write = |token| {
            format!("MIROIR.PUT miroir:aliases:fenced FENCE {lease} {token} kind single current_uid u")
        };
        assert!(client.ask(&write(before)).starts_with("STALE "), "{when}: an old token of {scope}");
        assert!(client.integer(&write(token)) > 0);
        client.succeed(&format!("MIROIR.LEASE.RELEASE {lease} successor"));
    }
    let before = highest("miroir:cdc:overflow_stat:kafka", "last_seq");
    let pushed: BTreeMap<String, i64> =
        client.read("MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 1000000000 after");
    assert!(pushed["last_seq"] > before, "{when}: an event got {pushed:?} after {before}");
}

/// What a node that has been promoted knows of its predecessor: the name of what that wrote, and up to where it got it.
struct Inheritance {
    from: String,
    up_to: i64,
}

impl Inheritance {
    fn read(info: &str) -> Self {
        let from = info.lines().find_map(|line| line.strip_prefix("master_replid2:")).unwrap();
        Self { from: from.trim().to_owned(), up_to: figure(info, "second_repl_offset").unwrap() - 1 }
    }
}
