//! Rows that lose a field by themselves, at a time of its own: from then on the catalog would be wrong about them.

use std::collections::{BTreeMap, BTreeSet};

type Key = (i32, Vec<u8>);

/// When the first field of each such row goes.
#[derive(Debug, Default)]
pub struct Volatile {
    by_time: BTreeSet<(i64, Key)>,
    times: BTreeMap<Key, i64>,
}

impl Volatile {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { by_time: BTreeSet::new(), times: BTreeMap::new() }
    }

    /// Notes when the first field of a row goes, in ms; None if none does, or if there is no row.
    pub fn note(&mut self, database: i32, key: &[u8], time: Option<i64>) {
        // Nearly always there is nothing to note and nothing noted.
        if time.is_none() && self.times.is_empty() {
            return;
        }
        let key = (database, key.to_vec());
        if let Some(old) = self.times.remove(&key) {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(time) = time {
            self.times.insert(key.clone(), time);
            self.by_time.insert((time, key));
        }
    }

    /// Takes out the rows that have lost a field by `now`: database and key of each.
    pub fn lost(&mut self, now: i64) -> Vec<Key> {
        let mut lost = Vec::new();
        while self.by_time.first().is_some_and(|(time, _)| *time < now) {
            if let Some((_, key)) = self.by_time.pop_first() {
                self.times.remove(&key);
                lost.push(key);
            }
        }
        lost
    }

    /// Forgets a database, or all of them.
    pub fn flush(&mut self, database: Option<i32>) {
        self.rename(|of| (database.is_some() && database != Some(of)).then_some(of));
    }

    /// Gives each database another number, or none.
    pub fn rename(&mut self, number: impl Fn(i32) -> Option<i32>) {
        let times = std::mem::take(&mut self.times);
        self.by_time.clear();
        for ((database, key), time) in times {
            self.note(number(database).unwrap_or(database), &key, number(database).map(|_| time));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_one_time() {
        let mut volatile = Volatile::new();
        volatile.note(0, b"a", Some(9));
        volatile.note(0, b"a", Some(5));
        volatile.note(0, b"b", Some(5));
        volatile.note(1, b"a", Some(7));
        volatile.note(0, b"b", None);
        assert_eq!(volatile.lost(5), []);
        volatile.rename(|database| Some(1 - database));
        assert_eq!(volatile.lost(6), [(1, b"a".to_vec())]);
        volatile.flush(Some(1));
        assert_eq!(volatile.lost(100), [(0, b"a".to_vec())]);
        volatile.note(3, b"c", Some(1));
        volatile.flush(None);
        assert!(volatile.times.is_empty() && volatile.by_time.is_empty());
    }
}
