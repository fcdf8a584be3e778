//! From what the clients recorded to one sequence, and the replay of it.

use std::collections::{BTreeMap, BTreeSet};

use super::recorder::Call;

/// More possible worlds than this can only be a fault of the checker.
const WORLDS: usize = 20_000;

/// How long at most something takes that was not answered, in ms; it is the time from one command of a pipeline to the
/// next.
const WITHOUT_ANSWER: i64 = 50;

/// A call at its place in the sequence.
#[derive(Debug, Clone)]
pub struct Entry {
    pub id: String,
    pub line: String,
    pub looks: Vec<String>,
    /// Within these times (ms, inclusive) the server did it; when it was noted, which is first of all; and whether the
    /// command then had a time of its own, as one without a transaction around it.
    pub since: i64,
    pub noted: i64,
    pub until: i64,
    pub bare: bool,
    /// The answer and what the looks showed. Nothing when the server did it, but the answer was lost.
    pub answer: Option<(String, Vec<String>)>,
    /// Whether what the command did may be lost, although its name is in the history.
    pub cut: bool,
}

impl Entry {
    pub fn words(&self) -> Vec<&str> {
        self.line.split_whitespace().collect()
    }

    pub fn answer(&self) -> Option<&str> {
        self.answer.as_ref().map(|(answer, _)| answer.as_str())
    }
}

/// All calls of one play.
#[derive(Debug)]
pub struct Log {
    /// What lasts, in the order in which the server did it.
    pub entries: Vec<Entry>,
    /// What the first server did until a gap, with what was lost in the failover.
    pub first_life: Vec<Entry>,
    /// How many answered calls are gone, of which no replica had confirmed one.
    pub lost: usize,
    /// How many calls were never answered, and how many of these the server did nevertheless.
    pub unanswered: usize,
    pub done_unanswered: usize,
    pub confirmed: usize,
}

impl Log {
    /// `order` is what the last server holds: ids, and when they were noted. Only a failover may lose what was answered.
    pub fn assemble(calls: &[Call], order: &[(String, i64)], failover: bool) -> Result<Self, String> {
        let places: BTreeMap<&str, usize> =
            order.iter().enumerate().map(|(place, (id, _))| (id.as_str(), place)).collect();
        if places.len() != order.len() {
            return Err("a call is in the history twice".to_owned());
        }
        let mut by_place: BTreeMap<usize, &Call> = BTreeMap::new();
        let mut lost = Vec::new();
        // A replica that has a call has all before it.
        let mut confirmed_until = 0;
        for call in calls {
            let place = places.get(call.id.as_str()).copied();
            if let Some(place) = place {
                by_place.insert(place, call);
            }
            let Some(outcome) = &call.outcome else { continue };
            if outcome.confirmed {
                confirmed_until = confirmed_until.max(outcome.serial);
            }
            match place {
                Some(place) if place + 1 == outcome.serial => {}
                Some(place) => {
                    return Err(format!("{} was call {}, now {}", call.id, outcome.serial, place + 1))
                }
                None if failover && call.life == 0 => lost.push((outcome.serial, call)),
                None => return Err(format!("{} was answered and is lost: {}", call.id, call.line)),
            }
        }
        lost.sort_by_key(|(serial, _)| *serial);
        if let Some((serial, call)) = lost.first().filter(|(serial, _)| *serial <= confirmed_until) {
            return Err(format!("call {serial} ({}) was confirmed by a replica and is lost", call.line));
        }
        if by_place.len() != order.len() {
            return Err("the history holds a call that nobody sent".to_owned());
        }
        let survived = by_place.iter().filter(|(_, call)| call.life == 0).map(|(place, _)| place + 1).max();
        let survived = survived.unwrap_or(0);
        if let Some((serial, call)) = lost.first().filter(|(serial, _)| *serial <= survived) {
            return Err(format!("call {serial} ({}) is lost, and a later one is not", call.line));
        }
        let unanswered: Vec<_> = calls.iter().filter(|call| call.outcome.is_none()).collect();
        let done_unanswered = unanswered.iter().filter(|call| places.contains_key(call.id.as_str())).count();

        let all: Vec<(&Call, i64)> =
            by_place.into_values().zip(order).map(|(call, (_, noted))| (call, *noted)).collect();
        let mut first: Vec<_> = all.iter().copied().filter(|(call, _)| call.life == 0).collect();
        for (serial, call) in &lost {
            if *serial == first.len() + 1 {
                first.extend(call.outcome.as_ref().map(|outcome| (*call, outcome.noted)));
            }
        }
        let mut entries = in_time(&all);
        if let Some(last) = survived.checked_sub(1).filter(|last| failover && all[*last].0.bare) {
            // The replica may have left the master between the name and the command.
            entries[last].answer = None;
            entries[last].cut = true;
        }
        Ok(Self {
            entries,
            first_life: in_time(&first),
            lost: lost.len(),
            unanswered: unanswered.len(),
            done_unanswered,
            confirmed: confirmed_until,
        })
    }
}

/// Gives each call the times within which the server did it.
fn in_time(calls: &[(&Call, i64)]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    // No call begins before the last one has ended, or at least was noted; none ends after the next was noted.
    let mut earliest = i64::MIN;
    for (place, (call, noted)) in calls.iter().enumerate() {
        let next = calls.get(place + 1).map_or(i64::MAX, |(_, noted)| *noted);
        let told = call.outcome.as_ref().map(|outcome| (outcome.since, outcome.until));
        let (since, until) = told.unwrap_or((*noted - WITHOUT_ANSWER, *noted + WITHOUT_ANSWER));
        let (since, until) = (since.max(earliest).min(*noted), until.min(next).max(*noted));
        earliest = if told.is_some() { until } else { *noted };
        let answer = call.outcome.as_ref().map(|outcome| (outcome.answer.clone(), outcome.seen.clone()));
        let (id, line, looks) = (call.id.clone(), call.line.clone(), call.looks.clone());
        let (noted, bare) = (*noted, call.bare);
        entries.push(Entry { id, line, looks, since, noted, until, bare, answer, cut: false });
    }
    entries
}

/// The two times that matter in a call: within a transaction Redis 7.0 decides about the expiry of keys by the time
/// of its beginning, while the module reads the clock. Later servers have one time for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub keys: i64,
    pub clock: i64,
    /// Whether the server has swept away the keys that end in this very millisecond. To a reader they are still there
    /// until it is over, but from Redis 8 on the sweep does not wait for that.
    pub swept: bool,
}

impl Moment {
    /// Whether a key is there that lives until `end`.
    pub fn is_before(self, end: i64) -> bool {
        self.keys < end || self.keys == end && !self.swept
    }
}

/// What the contract says, one call after the other.
pub trait Specification {
    type World: Clone + Ord;
    fn begin(&self) -> Self::World;
    /// Does a call, and answers what the server has to answer; an error as its code and `…`.
    fn step(&self, world: &mut Self::World, words: &[&str], at: Moment) -> String;
    /// What a raw read answers behind it.
    fn look(&self, world: &Self::World, words: &[&str], at: Moment) -> String;
}

fn fits(expected: &str, answer: &str) -> bool {
    expected.strip_suffix('…').map_or(expected == answer, |beginning| answer.starts_with(beginning))
}

/// Replays a sequence. Where a deadline falls into the time that a call took, and where an answer was lost, there are
/// several possible worlds, until an answer tells which of them is the real one. Answers those of the end.
pub fn replay<S: Specification>(specification: &S, entries: &[Entry]) -> Result<BTreeSet<S::World>, String> {
    let mut worlds = BTreeSet::from([specification.begin()]);
    for (place, entry) in entries.iter().enumerate() {
        let words = entry.words();
        let mut next = BTreeSet::new();
        let mut expected = BTreeSet::new();
        if entry.cut {
            next.clone_from(&worlds);
        }
        for world in &worlds {
            for at in moments(entry) {
                let mut world = world.clone();
                let answer = specification.step(&mut world, &words, at);
                let Some((real, seen)) = &entry.answer else {
                    next.insert(world);
                    continue;
                };
                let look = |line: &String| {
                    specification.look(&world, &line.split_whitespace().collect::<Vec<_>>(), at)
                };
                let looks: Vec<String> = entry.looks.iter().map(look).collect();
                let all_fit = looks.iter().zip(seen).all(|(look, seen)| fits(look, seen));
                if fits(&answer, real) && all_fit && looks.len() == seen.len() {
                    next.insert(world);
                } else if expected.len() < 4 {
                    expected.insert(format!("{answer} and then {looks:?}"));
                }
            }
        }
        if next.is_empty() {
            return Err(tell(entries, place, &expected));
        }
        assert!(next.len() < WORLDS, "{} possible worlds after {entry:?}", next.len());
        worlds = next;
    }
    Ok(worlds)
}

fn moments(entry: &Entry) -> Vec<Moment> {
    // The time of a transaction is from its beginning, before the note; that of a command by itself from after the note.
    let keys = if entry.bare { entry.noted..=entry.until } else { entry.since..=entry.noted };
    let clocks = |keys: i64| entry.noted.max(keys)..=entry.until;
    let times = keys.flat_map(|keys| clocks(keys).map(move |clock| (keys, clock)));
    times.flat_map(|(keys, clock)| [false, true].map(|swept| Moment { keys, clock, swept })).collect()
}

/// The call that is wrong, and the last ones before it that have a word in common with it.
fn tell(entries: &[Entry], place: usize, expected: &BTreeSet<String>) -> String {
    let entry = &entries[place];
    let mut text = format!("call {} is wrong:\n  {}\n", place + 1, describe(entry));
    for expectation in expected {
        text.push_str(&format!("  expected {expectation}\n"));
    }
    text.push_str("before it:\n");
    let keys: Vec<&str> = entry.words().into_iter().filter(|word| word.contains(':')).collect();
    let concerned = entries[..place].iter().enumerate().filter(|(_, earlier)| {
        earlier.words().iter().any(|word| keys.contains(word)) || earlier.answer.is_none()
    });
    let concerned: Vec<_> = concerned.collect();
    for (place, earlier) in &concerned[concerned.len().saturating_sub(20)..] {
        text.push_str(&format!("  {}: {}\n", place + 1, describe(earlier)));
    }
    text
}

fn describe(entry: &Entry) -> String {
    let answer = entry.answer.as_ref().map_or_else(
        || "the answer was lost".to_owned(),
        |(answer, seen)| format!("{answer}, looks {:?} {seen:?}", entry.looks),
    );
    format!("[{}] {}..{} {} -> {answer}", entry.id, entry.since, entry.until, entry.line)
}

/// A history that never was: the time at the server, the call and its answer.
#[cfg(test)]
pub fn forged(history: &[(i64, &str, &str)]) -> Vec<Entry> {
    let entry = |(place, (time, line, answer)): (usize, &(i64, &str, &str))| Entry {
        id: place.to_string(),
        line: (*line).to_owned(),
        looks: Vec::new(),
        since: *time,
        noted: *time,
        until: *time,
        bare: false,
        answer: Some(((*answer).to_owned(), Vec::new())),
        cut: false,
    };
    history.iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Outcome;
    use super::*;

    fn call(id: &str, life: u32, serial: usize, confirmed: bool) -> Call {
        let outcome = (serial > 0).then(|| Outcome {
            serial,
            since: 0,
            noted: 0,
            until: 0,
            answer: "PONG".to_owned(),
            seen: Vec::new(),
            confirmed,
        });
        let (id, line) = (id.to_owned(), "PING".to_owned());
        Call { id, line, looks: Vec::new(), bare: false, life, outcome }
    }

    fn assemble(calls: &[Call], order: &[&str], failover: bool) -> Result<Log, String> {
        Log::assemble(calls, &order.iter().map(|id| ((*id).to_owned(), 0)).collect::<Vec<_>>(), failover)
    }

    #[test]
    fn what_was_answered_is_neither_lost_nor_moved() {
        let calls = [call("a", 0, 1, false), call("b", 0, 2, false), call("c", 0, 0, false)];
        assert_eq!(assemble(&calls, &["a", "b"], false).unwrap().done_unanswered, 0);
        let log = assemble(&calls, &["a", "b", "c"], false).unwrap();
        assert_eq!((log.entries.len(), log.done_unanswered), (3, 1));
        assert!(assemble(&calls, &["a"], false).unwrap_err().contains("is lost"));
        assert!(assemble(&calls, &["b", "a"], false).unwrap_err().contains("now 2"));
        assert!(assemble(&calls, &["a", "b", "a"], false).unwrap_err().contains("twice"));
        assert!(assemble(&calls, &["a", "b", "x"], false).unwrap_err().contains("nobody sent"));
    }

    #[test]
    fn a_failover_loses_the_end_and_nothing_that_was_confirmed() {
        let calls = |confirmed: usize| {
            let call = |serial: usize| call(&serial.to_string(), 0, serial, serial == confirmed);
            [call(1), call(2), call(3)]
        };
        let log = assemble(&calls(1), &["1"], true).unwrap();
        assert_eq!((log.entries.len(), log.first_life.len(), log.lost, log.confirmed), (1, 3, 2, 1));
        assert!(assemble(&calls(2), &["1"], true).unwrap_err().contains("confirmed by a replica"));
        assert!(assemble(&calls(3), &["1", "2"], true).unwrap_err().contains("confirmed by a replica"));
        assert!(assemble(&calls(1), &["1", "3"], true).is_err(), "a hole");
        assert!(assemble(&calls(1), &["1"], false).unwrap_err().contains("is lost"));
    }
}
