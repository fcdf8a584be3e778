//! A store that does not grow: what clients have put into it is taken away between two rounds.

use std::collections::{BTreeMap, BTreeSet};

use super::super::support::Client;
use super::facts::{Fact, Number};
use super::World;

/// Takes the rows away that clients were told about, and keeps what is about the other keys: tokens, numbers, counters.
pub fn clear(world: &World, client: &mut Client) {
    let mut told = world.told();
    let rows: BTreeSet<_> = told
        .iter()
        .filter(|told| matches!(told.fact, Fact::Row { .. } | Fact::Gone { .. } | Fact::Run { .. }))
        .filter_map(|told| told.fact.key().map(str::to_owned))
        .collect();
    // The runs of a canary are no row, and go with it.
    let deleted: Vec<_> =
        rows.iter().filter(|key| !key.starts_with("miroir:canary_runs:")).map(String::as_str).collect();
    for keys in deleted.chunks(500) {
        client.raw(&[&["MIROIR.DEL"], keys].concat()).unwrap();
    }
    // Of a number that never goes back the highest one says it all.
    let mut highest: BTreeMap<Number, i64> = BTreeMap::new();
    for told in &told {
        if let Fact::AtLeast { what, number } = &told.fact {
            let highest = highest.entry(what.clone()).or_insert(*number);
            *highest = (*highest).max(*number);
        }
    }
    let acknowledged = world.acknowledged();
    told.retain(|told| match &told.fact {
        Fact::Event { number, .. } => *number > acknowledged,
        // A pod that is heard of no more is forgotten after some minutes.
        Fact::AtLeast { what: Number::Score(..), .. } => false,
        Fact::AtLeast { what, number } if highest.get(what) == Some(number) => {
            highest.remove(what);
            told.fact.key().is_none_or(|key| !rows.contains(key))
        }
        Fact::AtLeast { .. } => false,
        fact => fact.key().is_none_or(|key| !rows.contains(key)),
    });
    world.keep(told);
}
