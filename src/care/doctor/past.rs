//! What has to be remembered to tell what lasts from what passes. Time is an argument; every memory is bounded.

use std::collections::BTreeMap;

/// What a server and the module have counted since they began, or in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Keys that were evicted.
    pub evicted: u64,
    /// Those of them that must not be lost.
    pub lost: u64,
    /// Look-ups that found their key.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Those of them that no client asked for.
    pub own_hits: u64,
    /// The same of the others.
    pub own_misses: u64,
    /// Connections that were turned away.
    pub rejected: u64,
    /// Differences between the catalog and the keys.
    pub drift: u64,
}

impl Counters {
    /// Whether the counters of the server began anew between `before` and these.
    fn began_anew(&self, before: &Self) -> bool {
        self.evicted < before.evicted
            || self.hits < before.hits
            || self.misses < before.misses
            || self.rejected < before.rejected
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            evicted: self.evicted.saturating_sub(before.evicted),
            lost: self.lost.saturating_sub(before.lost),
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            own_hits: self.own_hits.saturating_sub(before.own_hits),
            own_misses: self.own_misses.saturating_sub(before.own_misses),
            rejected: self.rejected.saturating_sub(before.rejected),
            drift: self.drift.saturating_sub(before.drift),
        }
    }
}

/// Counts over one to two windows back: from the older of two moments that are a window apart.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    older: (i64, Counters),
    newer: (i64, Counters),
    last: Counters,
}

impl Window {
    /// Begins at a moment, at which this much had been counted.
    #[must_use]
    pub fn new(now: i64, counters: Counters) -> Self {
        Self { older: (now, counters), newer: (now, counters), last: counters }
    }

    /// Takes over what is counted now. Counters that began anew begin a new window: nobody knows how far they were. That
    /// shows only if there was a look shortly before.
    pub fn note(&mut self, now: i64, length: i64, counters: Counters) {
        if counters.began_anew(&self.last) || now < self.newer.0 {
            *self = Self::new(now, counters);
        } else if now.saturating_sub(self.newer.0) >= length {
            self.older = self.newer;
            self.newer = (now, counters);
        }
        self.last = counters;
    }

    /// What was counted in the window, and its length.
    #[must_use]
    pub fn counted(&self, now: i64, counters: &Counters) -> (Counters, i64) {
        (counters.since(&self.older.1), now.saturating_sub(self.older.0))
    }
}

/// How full a buffer was: now, a window ago and before.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    older: Point,
    newer: Point,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: i64,
    /// The events that nobody has taken: those held and those dropped.
    untaken: i64,
    dropped: i64,
    /// The least of `untaken` since then.
    least: i64,
}

/// How a buffer has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Events that came and were not taken.
    pub came: i64,
    /// How many were dropped.
    pub dropped: i64,
    /// In which time.
    pub over: i64,
}

impl Level {
    /// A buffer that is seen for the first time: the events that it holds, and those that it has dropped in its life.
    #[must_use]
    pub fn new(now: i64, held: i64, dropped: i64) -> Self {
        let untaken = held.saturating_add(dropped);
        let point = Point { at: now, untaken, dropped, least: untaken };
        Self { older: point, newer: point }
    }

    /// Takes over how full it is now.
    pub fn note(&mut self, now: i64, window: i64, held: i64, dropped: i64) {
        let next = Self::new(now, held, dropped).newer;
        self.older.least = self.older.least.min(next.untaken);
        self.newer.least = self.newer.least.min(next.untaken);
        if now.saturating_sub(self.newer.at) >= window {
            *self = Self { older: self.newer, newer: next };
        }
    }

    /// How it has grown over the window. None where it has not, or where it was emptier meanwhile than at the beginning:
    /// somebody takes events.
    #[must_use]
    pub fn growth(&self, now: i64, window: i64, held: i64, dropped: i64) -> Option<Growth> {
        let untaken = held.saturating_add(dropped);
        let (over, came) = (now.saturating_sub(self.older.at), untaken - self.older.untaken);
        let is_growing = over >= window && came > 0 && self.older.least >= self.older.untaken;
        is_growing.then(|| Growth { came, dropped: dropped.saturating_sub(self.older.dropped).max(0), over })
    }
}

/// A lease: when it ends, and for how long it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    expires_at: i64,
    /// For how long, as far as anyone has seen.
    pub granted: i64,
}

impl Tenure {
    /// A lease that is seen for the first time.
    #[must_use]
    pub fn new(now: i64, expires_at: i64) -> Self {
        Self { expires_at, granted: expires_at.saturating_sub(now) }
    }

    /// Takes over when it ends now.
    pub fn note(&mut self, now: i64, expires_at: i64) {
        if expires_at != self.expires_at {
            *self = Self::new(now, expires_at);
        }
    }

    /// Whether its holder is late: less than a third is left. The production guide renews after a third.
    #[must_use]
    pub fn is_lapsing(&self, now: i64) -> bool {
        self.expires_at.saturating_sub(now).saturating_mul(3) < self.granted
    }
}

/// What is remembered of keys, or of namespaces, by database and name.
#[derive(Debug, Clone)]
pub struct Marks<T> {
    marks: BTreeMap<(i32, Vec<u8>), (T, u64)>,
}

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self { marks: BTreeMap::new() }
    }
}

impl<T> Marks<T> {
    /// How many are remembered at most. Those that come later are not.
    pub const MOST: usize = 1000;

    /// Remembers one as seen in this pass: `new` if it was not, `change` if it was.
    pub fn note(&mut self, database: i32, name: &[u8], pass: u64, new: T, change: impl FnOnce(&mut T)) {
        let has_room = self.marks.len() < Self::MOST;
        match self.marks.get_mut(&(database, name.to_vec())) {
            Some((mark, seen)) => {
                change(mark);
                *seen = pass;
            }
            None if has_room => {
                self.marks.insert((database, name.to_vec()), (new, pass));
            }
            None => {}
        }
    }

    /// What is remembered of one.
    #[must_use]
    pub fn get(&self, database: i32, name: &[u8]) -> Option<&T> {
        self.marks.get(&(database, name.to_vec())).map(|(mark, _)| mark)
    }

    /// Forgets one.
    pub fn forget(&mut self, database: i32, name: &[u8]) {
        self.marks.remove(&(database, name.to_vec()));
    }

    /// Forgets those that were not seen in this pass.
    pub fn forget_unseen(&mut self, pass: u64) {
        self.marks.retain(|_, (_, seen)| *seen == pass);
    }

    /// Gives each database another number, or none.
    pub fn rename(&mut self, number: impl Fn(i32) -> Option<i32>) {
        let marks = std::mem::take(&mut self.marks);
        let renamed = |((database, name), mark)| Some(((number(database)?, name), mark));
        self.marks = marks.into_iter().filter_map(renamed).collect();
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(evicted: u64) -> Counters {
        Counters { evicted, ..Counters::default() }
    }

    #[test]
    fn rates_reach_back_one_to_two_windows() {
        let mut window = Window::new(0, counters(0));
        assert_eq!(
            window.counted(50, &counters(9)),
            (counters(9), 50),
            "all there is, before the first ends"
        );
        window.note(99, 100, counters(10));
        assert_eq!(window.counted(99, &counters(10)), (counters(10), 99));
        window.note(100, 100, counters(10));
        assert_eq!(window.counted(199, &counters(12)), (counters(12), 199));
        window.note(200, 100, counters(12));
        assert_eq!(window.counted(200, &counters(12)), (counters(2), 100));
        window.note(300, 100, counters(12));
        assert_eq!(window.counted(300, &counters(12)), (counters(0), 100), "it has stopped");
    }

    #[test]
    fn counters_that_begin_anew_begin_a_window_as_does_a_clock_that_is_set_back() {
        let mut window = Window::new(0, counters(5));
        window.note(10, 100, counters(1));
        assert_eq!(window.counted(20, &counters(3)), (counters(2), 10));
        window.note(5, 100, counters(3));
        assert_eq!(window.counted(6, &counters(3)), (counters(0), 1));
        // The window began with less than there is now, but there was more in between.
        window.note(50, 100, counters(9));
        window.note(51, 100, counters(4));
        assert_eq!(window.counted(52, &counters(4)), (counters(0), 1));
    }

    /// How a buffer stands after these looks, one a second with a window of three.
    fn growth(looks: &[(i64, i64)]) -> Option<Growth> {
        let (held, dropped) = looks[0];
        let mut level = Level::new(0, held, dropped);
        for (at, (held, dropped)) in looks.iter().enumerate() {
            level.note(at as i64, 3, *held, *dropped);
        }
        let (held, dropped) = looks[looks.len() - 1];
        level.growth(looks.len() as i64 - 1, 3, held, dropped)
    }

    #[test]
    fn a_buffer_grows_when_more_comes_and_nothing_is_taken_for_a_window() {
        assert_eq!(growth(&[(1, 0), (2, 0), (3, 0)]), None, "not long enough");
        let grown = Some(Growth { came: 3, dropped: 0, over: 3 });
        assert_eq!(growth(&[(1, 0), (2, 0), (3, 0), (4, 0)]), grown);
        assert_eq!(growth(&[(4, 0); 9]), None, "nothing comes");
        assert_eq!(growth(&[(4, 10); 9]), None, "nor was anything dropped lately");
        assert_eq!(growth(&[(4, 0), (3, 0), (5, 0), (6, 0)]), None, "somebody takes some");
        assert_eq!(
            growth(&[(1, 0), (9, 0), (9, 0), (9, 0), (8, 0), (7, 0), (6, 0), (5, 0)]),
            None,
            "drained"
        );
        let full = Some(Growth { came: 6, dropped: 6, over: 3 });
        assert_eq!(growth(&[(4, 0), (4, 2), (4, 4), (4, 6)]), full, "it is at its budget");
    }

    #[test]
    fn growth_is_told_for_as_long_as_it_lasts() {
        let looks: Vec<_> = (1..60).map(|held| (held, 0)).collect();
        for length in 4..looks.len() {
            assert!(growth(&looks[..length]).is_some(), "{length}");
        }
    }

    #[test]
    fn a_lease_lapses_when_less_than_a_third_of_it_is_left() {
        let mut tenure = Tenure::new(0, 30_000);
        assert!(!tenure.is_lapsing(20_000) && tenure.is_lapsing(20_001));
        tenure.note(20_001, 50_001);
        assert!(!tenure.is_lapsing(40_001) && tenure.is_lapsing(40_002));
        tenure.note(40_002, 50_001);
        assert!(tenure.is_lapsing(40_002), "a look is no renewal");
    }

    #[test]
    fn marks_are_bounded_move_with_their_database_and_go_when_nobody_sees_them() {
        let mut marks = Marks::default();
        for name in 0..2 * Marks::<i64>::MOST {
            marks.note(0, name.to_string().as_bytes(), 1, 5, |_| {});
        }
        assert_eq!(marks.marks.len(), Marks::<i64>::MOST);
        marks.note(0, b"7", 2, 0, |mark| *mark += 1);
        marks.forget_unseen(2);
        assert_eq!((marks.get(0, b"7"), marks.marks.len()), (Some(&6), 1));
        marks.rename(|database| Some(database + 3));
        assert_eq!((marks.get(0, b"7"), marks.get(3, b"7")), (None, Some(&6)));
        marks.rename(|_| None);
        assert!(marks.is_empty());
    }
}
