//! Rows that came in a great number and in no order, before they stand in the lists of their table.
//!
//! A row that is listed by itself is sought for in a dozen lists. Rows that come sorted are appended to them. So while a
//! data set is loaded or walked, rows are gathered in short sorted runs, and afterwards listed run by run together.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::lists::{Direction, Position};
use super::slab::Slab;

/// How many rows are sorted at once: some hundred microseconds.
const RUN: usize = 1024;

/// Rows that are not listed yet.
#[derive(Debug, Default)]
pub struct Gathered {
    /// One bit for each slot: whether its row is not listed. A row that was removed is none.
    waiting: Vec<u64>,
    /// Sorted, each with how many of it were taken.
    runs: Vec<(Vec<u32>, usize)>,
    /// Not sorted yet.
    last: Vec<u32>,
    /// The next of each run, once the rows are being listed.
    heads: Option<BinaryHeap<Reverse<Head>>>,
}

impl Gathered {
    /// Whether a row is not listed.
    #[must_use]
    pub fn holds(&self, slot: u32) -> bool {
        self.waiting.get(slot as usize / 64).is_some_and(|bits| bits & bit(slot) != 0)
    }

    /// Adds a row. Answers false when the gathering is over, so that the row has to be listed at once.
    pub fn add(&mut self, rows: &Slab, direction: Direction, slot: u32) -> bool {
        if self.heads.is_some() {
            return false;
        }
        let word = slot as usize / 64;
        if self.waiting.len() <= word {
            self.waiting.resize(word + 1, 0);
        }
        self.waiting[word] |= bit(slot);
        self.last.push(slot);
        if self.last.len() >= RUN {
            self.end_run(rows, direction);
        }
        true
    }

    /// Forgets a row. Answers whether it was here.
    pub fn remove(&mut self, slot: u32) -> bool {
        let was_here = self.holds(slot);
        if let Some(bits) = self.waiting.get_mut(slot as usize / 64) {
            *bits &= !bit(slot);
        }
        was_here
    }

    fn end_run(&mut self, rows: &Slab, direction: Direction) {
        let mut run = std::mem::take(&mut self.last);
        run.sort_unstable_by(|a, b| direction.compare(position(rows, *a), position(rows, *b)));
        self.runs.push((run, 0));
    }

    /// Takes the next row out, in the order of the lists; None at the end. From the first call on nothing is gathered.
    pub fn next(&mut self, rows: &Slab, direction: Direction) -> Option<u32> {
        if self.heads.is_none() {
            self.end_run(rows, direction);
            let first = |(run, (slots, _)): (usize, &(Vec<u32>, usize))| {
                Some(Head::new(rows, direction, run, *slots.first()?))
            };
            self.heads = Some(self.runs.iter().enumerate().filter_map(first).map(Reverse).collect());
        }
        loop {
            let heads = self.heads.as_mut()?;
            let Reverse(head) = heads.pop()?;
            let (slots, taken) = self.runs.get_mut(head.run)?;
            let slot = *slots.get(*taken)?;
            *taken += 1;
            if let Some(next) = slots.get(*taken) {
                heads.push(Reverse(Head::new(rows, direction, head.run, *next)));
            } else {
                *slots = Vec::new();
            }
            // A slot can have been emptied and used again since, or listed from another run.
            if self.remove(slot) {
                return Some(slot);
            }
        }
    }
}

fn bit(slot: u32) -> u64 {
    1 << (slot % 64)
}

fn position(rows: &Slab, slot: u32) -> Position<'_> {
    Position { order: rows.order(slot), id: rows.id(slot) }
}

/// The next row of a run, by where it stood when it came to the front: it may change before it is taken, which costs
/// time but no truth.
#[derive(Debug)]
struct Head {
    direction: Direction,
    order: i64,
    id: Vec<u8>,
    run: usize,
}

impl Head {
    fn new(rows: &Slab, direction: Direction, run: usize, slot: u32) -> Self {
        Self { direction, order: rows.order(slot), id: rows.id(slot).to_vec(), run }
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.direction.compare(
            Position { order: self.order, id: &self.id },
            Position { order: other.order, id: &other.id },
        )
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}
