//! A sorted list of rows, by the numbers of their slots: four bytes a row and a few for the chunks.
//!
//! The list does not know what it is sorted by. Whoever asks for a place says how the row in a slot compares to
//! the place; the answers must agree with the order of the list.

use std::cmp::Ordering;

/// How many slots a chunk holds at most: two kilobytes of them, which move in some tens of nanoseconds.
const CHUNK: usize = 512;

/// The slots of some rows, sorted.
#[derive(Debug, Default)]
pub struct Ordered {
    /// None is empty.
    chunks: Vec<Vec<u32>>,
    length: usize,
}

/// A place between the rows of a list, or before the first or behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    chunk: usize,
    index: usize,
}

impl Ordered {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a row. `compare` tells how the row in a slot compares to the new one.
    pub fn insert(&mut self, slot: u32, compare: impl Fn(u32) -> Ordering) {
        self.length += 1;
        // Most new rows are the last of their list.
        let is_last = self.last().is_none_or(|last| compare(last).is_lt());
        let place = if is_last { self.last_place() } else { self.first_from(compare) };
        let Some(chunk) = self.chunks.get_mut(place.chunk) else {
            // Many lists stay with the one chunk.
            self.chunks.reserve_exact(1);
            self.chunks.push(vec![slot]);
            return;
        };
        if chunk.len() < CHUNK {
            chunk.insert(place.index, slot);
        } else if is_last {
            // A list that grows at its end alone keeps full chunks.
            let mut next = Vec::with_capacity(CHUNK);
            next.push(slot);
            self.chunks.push(next);
        } else {
            let mut upper = Vec::with_capacity(CHUNK);
            upper.extend_from_slice(&chunk[CHUNK / 2..]);
            chunk.truncate(CHUNK / 2);
            match place.index.checked_sub(CHUNK / 2) {
                Some(index) => upper.insert(index, slot),
                None => chunk.insert(place.index, slot),
            }
            self.chunks.insert(place.chunk + 1, upper);
        }
    }

    /// Takes a row out. `compare` tells how the row in a slot compares to it. Answers whether it was there.
    pub fn remove(&mut self, slot: u32, compare: impl Fn(u32) -> Ordering) -> bool {
        let place = self.first_from(compare);
        let Some(chunk) = self.chunks.get_mut(place.chunk) else { return false };
        if chunk.get(place.index) != Some(&slot) {
            return false;
        }
        chunk.remove(place.index);
        self.length -= 1;
        self.tidy(place.chunk);
        true
    }

    /// Drops a chunk that is empty, and joins one that is nearly empty with a neighbour.
    fn tidy(&mut self, at: usize) {
        let length = self.chunks[at].len();
        if length == 0 {
            self.chunks.remove(at);
        } else if length < CHUNK / 4 {
            let fits = |other: usize| {
                self.chunks.get(other).is_some_and(|chunk| chunk.len() + length <= CHUNK * 3 / 4)
            };
            let lower = if fits(at + 1) {
                at
            } else if at > 0 && fits(at - 1) {
                at - 1
            } else {
                return;
            };
            let upper = self.chunks.remove(lower + 1);
            self.chunks[lower].extend_from_slice(&upper);
        }
    }

    fn last(&self) -> Option<u32> {
        self.chunks.last().and_then(|chunk| chunk.last()).copied()
    }

    fn last_place(&self) -> Place {
        match self.chunks.last() {
            Some(chunk) => Place { chunk: self.chunks.len() - 1, index: chunk.len() },
            None => Place::default(),
        }
    }

    /// The place before the first row that compares as equal or greater.
    fn first_from(&self, compare: impl Fn(u32) -> Ordering) -> Place {
        let is_less = |slot: Option<&u32>| slot.is_some_and(|slot| compare(*slot).is_lt());
        // What changes is mostly young: a look at the last chunk alone spares a search through all of them.
        let chunk = match self.chunks.split_last() {
            Some((last, before)) if is_less(last.first()) => {
                if is_less(last.last()) {
                    self.chunks.len()
                } else {
                    before.len()
                }
            }
            _ => self.chunks.partition_point(|chunk| is_less(chunk.last())),
        };
        let index = self.chunks.get(chunk).map_or(0, |slots| near_the_end(slots, &compare));
        Place { chunk, index }
    }

    /// The rows from the first on.
    #[must_use]
    pub fn from_first(&self) -> Walk<'_> {
        Walk { list: self, place: Place::default(), forward: true }
    }

    /// The rows from the last on, backward.
    #[must_use]
    pub fn from_last(&self) -> Walk<'_> {
        Walk { list: self, place: self.last_place(), forward: false }
    }

    /// The rows that compare as greater, from the least on.
    pub fn behind(&self, compare: impl Fn(u32) -> Ordering) -> Walk<'_> {
        Walk { list: self, place: self.first_from(|slot| compare(slot).then(Ordering::Less)), forward: true }
    }

    /// The rows that compare as less, from the greatest on, backward.
    pub fn before(&self, compare: impl Fn(u32) -> Ordering) -> Walk<'_> {
        Walk { list: self, place: self.first_from(compare), forward: false }
    }
}

/// How many slots of a chunk compare as less. Sought from the end on, in steps that double.
fn near_the_end(slots: &[u32], compare: &impl Fn(u32) -> Ordering) -> usize {
    let is_less = |slot: &u32| compare(*slot).is_lt();
    let (mut step, mut end) = (8, slots.len());
    while let Some(start) = end.checked_sub(step) {
        if is_less(&slots[start]) {
            return start + slots[start..end].partition_point(is_less);
        }
        (step, end) = (step * 4, start);
    }
    slots[..end].partition_point(is_less)
}

/// A walk along a list.
#[derive(Debug, Clone)]
pub struct Walk<'l> {
    list: &'l Ordered,
    place: Place,
    forward: bool,
}

impl Walk<'_> {
    /// Passes over so many rows, a chunk at a time.
    pub fn skip_rows(&mut self, mut count: usize) {
        while count > 0 {
            let Some(length) = self.list.chunks.get(self.place.chunk).map(Vec::len) else { return };
            if self.forward {
                let step = count.min(length - self.place.index);
                self.place.index += step;
                count -= step;
                if self.place.index == length {
                    self.place = Place { chunk: self.place.chunk + 1, index: 0 };
                }
            } else {
                let step = count.min(self.place.index);
                self.place.index -= step;
                count -= step;
                if self.place.index == 0 && !self.step_back_a_chunk() {
                    return;
                }
            }
        }
    }

    fn step_back_a_chunk(&mut self) -> bool {
        let Some(chunk) = self.place.chunk.checked_sub(1) else { return false };
        self.place = Place { chunk, index: self.list.chunks[chunk].len() };
        true
    }
}

impl Iterator for Walk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.forward {
            let chunk = self.list.chunks.get(self.place.chunk)?;
            if let Some(slot) = chunk.get(self.place.index) {
                self.place.index += 1;
                return Some(*slot);
            }
            self.place = Place { chunk: self.place.chunk + 1, index: 0 };
            let slot = *self.list.chunks.get(self.place.chunk)?.first()?;
            self.place.index = 1;
            Some(slot)
        } else {
            if self.place.index == 0 && !self.step_back_a_chunk() {
                return None;
            }
            self.place.index -= 1;
            self.list.chunks.get(self.place.chunk)?.get(self.place.index).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A list of numbers that stand for themselves.
    fn list(numbers: impl IntoIterator<Item = u32>) -> Ordered {
        let mut list = Ordered::default();
        numbers.into_iter().for_each(|number| list.insert(number, |other| other.cmp(&number)));
        list
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set(
            steps in proptest::collection::vec((0u32..3000, proptest::bool::weighted(0.6)), 0..4000),
            place in 0u32..3000, skipped in 0usize..3000,
        ) {
            let (mut list, mut model) = (Ordered::default(), std::collections::BTreeSet::new());
            for (number, add) in steps {
                if add && model.insert(number) {
                    list.insert(number, |other| other.cmp(&number));
                } else if !add {
                    prop_assert_eq!(list.remove(number, |other| other.cmp(&number)), model.remove(&number));
                }
            }
            prop_assert_eq!(list.len(), model.len());
            prop_assert!(list.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK));
            prop_assert!(list.from_first().eq(model.iter().copied()));
            prop_assert!(list.from_last().eq(model.iter().rev().copied()));
            prop_assert!(list.behind(|other| other.cmp(&place)).eq(model.range(place + 1..).copied()));
            prop_assert!(list.before(|other| other.cmp(&place)).eq(model.range(..place).rev().copied()));
            let mut walk = list.from_last();
            walk.skip_rows(skipped);
            prop_assert!(walk.eq(model.iter().rev().skip(skipped).copied()));
            let mut walk = list.from_first();
            walk.skip_rows(skipped);
            prop_assert!(walk.eq(model.iter().skip(skipped).copied()));
        }
    }

    #[test]
    fn a_list_that_grows_at_its_end_fills_its_chunks() {
        let list = list(0..10_000);
        assert_eq!(list.chunks.len(), 10_000_usize.div_ceil(CHUNK));
    }

    #[test]
    fn a_list_that_is_emptied_gives_its_chunks_back() {
        let mut list = list(0..10_000);
        for number in (0..10_000).filter(|number| number % 100 != 0) {
            assert!(list.remove(number, |other| other.cmp(&number)));
        }
        assert!(list.chunks.len() <= 2, "{} chunks for {} rows", list.chunks.len(), list.len());
    }
}
