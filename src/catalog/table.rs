//! The rows of one table in one namespace of one database, with everything that is derived of them at once.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::claims::Claims;
use super::directory::Directory;
use super::facts::{Facts, Form};
use super::gathered::Gathered;
use super::lists::{Direction, Lists, Position, ALL_FIELDS};
use super::ordered::Ordered;
use super::slab::{Entry, Slab, Values};
use crate::schema::{Order, Shape, Table};

/// How many slots are tried for one row of a sample.
const TRIES: usize = 16;

/// The rows of a table, or the structures of another shape.
#[derive(Debug)]
pub struct Rows {
    table: &'static Table,
    slab: Slab,
    directory: Directory,
    lists: Lists,
    /// Rows that are not listed yet, while many come at once.
    gathered: Option<Gathered>,
    /// Rows with an end of life, by it.
    expiring: BTreeSet<(i64, u32)>,
    /// Rows that have come to an end, by what dates them and by id.
    ended: Ordered,
    claims: Claims,
    payload: u64,
    /// Rows whose bytes were not counted since they changed.
    uncounted: BTreeSet<u32>,
    dispersed: Special,
    large: Special,
}

/// Rows of a form that is not the common one.
#[derive(Debug, Default)]
struct Special {
    slots: BTreeSet<u32>,
    payload: u64,
}

/// What a table weighs, as far as the catalog knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows whose time is not up.
    pub rows: usize,
    /// The exact bytes of their keys, fields and values.
    pub payload_bytes: u64,
    /// How many of them have an end of life.
    pub expiring: usize,
}

impl Totals {
    /// Counts what stood for `before` as `after` from here on.
    pub fn replace(&mut self, before: Self, after: Self) {
        self.rows = self.rows + after.rows - before.rows;
        self.payload_bytes = self.payload_bytes + after.payload_bytes - before.payload_bytes;
        self.expiring = self.expiring + after.expiring - before.expiring;
    }
}

impl Rows {
    /// No rows. `many` are about to come at once: nothing can be asked before [`Rows::list_some`] has answered that it is
    /// done.
    #[must_use]
    pub fn new(table: &'static Table, many: bool) -> Self {
        let gathers = many && table.shape == Shape::Row;
        let direction = match table.order {
            Order::Newest(_) => Direction::RisingTiesFalling,
            Order::Oldest(_) | Order::Id => Direction::Rising,
        };
        Self {
            table,
            slab: Slab::new(table.filters.len()),
            directory: Directory::default(),
            lists: Lists::new(direction, table.filters.len(), gathers),
            gathered: gathers.then(Gathered::default),
            expiring: BTreeSet::new(),
            ended: Ordered::default(),
            claims: Claims::default(),
            payload: 0,
            uncounted: BTreeSet::new(),
            dispersed: Special::default(),
            large: Special::default(),
        }
    }

    /// The table that these are the rows of.
    #[must_use]
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// The rows by their slots.
    #[must_use]
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// The sorted lists of the rows. Only tables of rows have them.
    #[must_use]
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The slot of a row.
    #[must_use]
    pub fn find(&self, id: &[u8]) -> Option<u32> {
        self.directory.find(&self.slab, id)
    }

    /// Takes over what is known of a row. Answers whether the row is new.
    pub fn put(&mut self, id: &[u8], facts: &Facts) -> bool {
        let known = self.find(id);
        let slot = match known {
            Some(slot) => {
                self.forget_form(slot);
                self.change(slot, facts);
                slot
            }
            None => {
                let Some(slot) = self.add(id, facts) else { return false };
                slot
            }
        };
        let payload = self.slab.payload(slot);
        match facts.form {
            Form::Compact => {}
            Form::Dispersed => self.dispersed.add(slot, payload),
            Form::Large => self.large.add(slot, payload),
        }
        if facts.counted {
            self.uncounted.remove(&slot);
        } else {
            self.uncounted.insert(slot);
        }
        known.is_none()
    }

    fn forget_form(&mut self, slot: u32) {
        let payload = self.slab.payload(slot);
        self.dispersed.remove(slot, payload);
        self.large.remove(slot, payload);
    }

    fn is_listed(&self) -> bool {
        self.table.shape == Shape::Row
    }

    fn add(&mut self, id: &[u8], facts: &Facts) -> Option<u32> {
        let entry = Entry {
            order: facts.order,
            payload: facts.payload,
            expires_at: facts.expires_at,
            ended_at: facts.ended_at,
            claim_ends_at: facts.claim_ends_at,
            values: self.lists.number_all(&facts.values),
        };
        let slot = self.slab.insert(id, &entry)?;
        self.directory.insert(&self.slab, slot);
        self.payload += self.slab.payload(slot);
        self.expiring.extend(facts.expires_at.map(|end| (end, slot)));
        let direction = self.lists.direction();
        let is_gathered =
            self.gathered.as_mut().is_some_and(|gathered| gathered.add(&self.slab, direction, slot));
        if self.is_listed() && !is_gathered {
            self.list(slot);
        }
        Some(slot)
    }

    fn list(&mut self, slot: u32) {
        self.lists.add_to_all(&self.slab, slot);
        self.lists.add(&self.slab, slot, ALL_FIELDS);
        self.list_as_ended(slot);
        self.claims.add(&self.slab, self.lists.direction(), slot);
    }

    /// Lists up to so many of the rows that are not listed yet. Answers whether there are more.
    pub fn list_some(&mut self, count: usize) -> bool {
        let Some(mut gathered) = self.gathered.take() else { return false };
        for _ in 0..count {
            let Some(slot) = gathered.next(&self.slab, self.lists.direction()) else {
                self.lists.forget_unused();
                return false;
            };
            self.list(slot);
        }
        self.gathered = Some(gathered);
        true
    }

    fn change(&mut self, slot: u32, facts: &Facts) {
        self.set_payload(slot, facts.payload);
        let expires_at = self.slab.expires_at(slot);
        if expires_at != facts.expires_at {
            expires_at.into_iter().for_each(|end| {
                self.expiring.remove(&(end, slot));
            });
            self.expiring.extend(facts.expires_at.map(|end| (end, slot)));
            self.slab.set_expiry(slot, facts.expires_at);
        }
        if !self.is_listed() {
            return;
        }
        if self.is_gathered(slot) {
            let values = self.lists.number_all(&facts.values);
            self.slab.set_values(slot, values);
            self.slab.set_order(slot, facts.order);
            self.slab.set_end(slot, facts.ended_at);
            self.slab.set_claim(slot, facts.claim_ends_at);
            return;
        }
        if self.slab.ended_at(slot) != facts.ended_at {
            self.unlist_as_ended(slot);
            self.slab.set_end(slot, facts.ended_at);
            self.list_as_ended(slot);
        }
        // Claims are ordered as the list is: by what the row is ordered by until it changes below.
        self.claims.remove(&self.slab, self.lists.direction(), slot);
        self.relist(slot, facts);
        self.slab.set_claim(slot, facts.claim_ends_at);
        self.claims.add(&self.slab, self.lists.direction(), slot);
    }

    /// Brings a row to where it belongs in the lists.
    fn relist(&mut self, slot: u32, facts: &Facts) {
        let moves = self.slab.order(slot) != facts.order;
        let (old, new) = (self.slab.values(slot), self.lists.number_all(&facts.values));
        let changed = if moves { ALL_FIELDS } else { differences(&old, &new) };
        if changed == 0 {
            return;
        }
        self.lists.remove(&self.slab, slot, changed);
        if moves {
            self.lists.remove_from_all(&self.slab, slot);
            self.slab.set_order(slot, facts.order);
            self.lists.add_to_all(&self.slab, slot);
        }
        // Taking the row out may have forgotten a value that it has still.
        let new = self.lists.number_all(&facts.values);
        self.slab.set_values(slot, new);
        self.lists.add(&self.slab, slot, changed);
    }

    /// Forgets a row. Answers whether it was known.
    pub fn remove(&mut self, id: &[u8]) -> bool {
        let Some(slot) = self.find(id) else { return false };
        self.take_out(slot);
        self.slab.trim();
        self.close_ranks();
        true
    }

    fn take_out(&mut self, slot: u32) {
        let was_gathered = self.gathered.as_mut().is_some_and(|gathered| gathered.remove(slot));
        if self.is_listed() && !was_gathered {
            self.lists.remove(&self.slab, slot, ALL_FIELDS);
            self.lists.remove_from_all(&self.slab, slot);
            self.unlist_as_ended(slot);
            self.claims.remove(&self.slab, self.lists.direction(), slot);
        }
        self.slab.expires_at(slot).into_iter().for_each(|end| {
            self.expiring.remove(&(end, slot));
        });
        self.uncounted.remove(&slot);
        self.forget_form(slot);
        self.payload -= self.slab.payload(slot);
        self.directory.remove(&self.slab, slot);
        self.slab.remove(slot);
    }

    fn set_payload(&mut self, slot: u32, payload: u64) {
        self.payload -= self.slab.payload(slot);
        self.slab.set_payload(slot, payload);
        self.payload += self.slab.payload(slot);
    }

    fn is_gathered(&self, slot: u32) -> bool {
        self.gathered.as_ref().is_some_and(|gathered| gathered.holds(slot))
    }

    fn list_as_ended(&mut self, slot: u32) {
        if self.slab.ended_at(slot).is_some() {
            self.ended.insert(slot, by_end(&self.slab, slot));
        }
    }

    fn unlist_as_ended(&mut self, slot: u32) {
        if self.slab.ended_at(slot).is_some() {
            self.ended.remove(slot, by_end(&self.slab, slot));
        }
    }

    /// Looks for claims that have run out at `now`.
    pub fn lapse(&mut self, now: i64) {
        self.claims.lapse(&self.slab, self.lists.direction(), now);
    }

    /// The rows that are claimed.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Takes over the bytes of a structure that were counted just now, key and all.
    pub fn count(&mut self, id: &[u8], payload: u64) {
        if let Some(slot) = self.find(id) {
            let is_large = self.large.remove(slot, self.slab.payload(slot));
            self.set_payload(slot, payload);
            if is_large {
                self.large.add(slot, payload);
            }
            self.uncounted.remove(&slot);
        }
    }

    /// The ids of structures whose bytes were not counted since they changed.
    #[must_use]
    pub fn uncounted(&self) -> Vec<Vec<u8>> {
        self.uncounted.iter().map(|slot| self.slab.id(*slot).to_vec()).collect()
    }

    /// The rows whose time is up at `now`, though they are still there. The server deletes them in its own time.
    pub fn due(&self, now: i64) -> impl Iterator<Item = u32> + '_ {
        self.expiring.range(..(now, 0)).map(|(_, slot)| *slot)
    }

    /// Up to `limit` ids of rows that came to an end before `before`, the oldest first, ties by id.
    #[must_use]
    pub fn ended_before(&self, before: i64, limit: usize, now: i64) -> Vec<Vec<u8>> {
        let is_alive = |slot: &u32| self.slab.expires_at(*slot).is_none_or(|end| end >= now);
        let is_old = |slot: &u32| self.slab.ended_at(*slot).is_some_and(|time| time < before);
        let old = self.ended.from_first().take_while(is_old).filter(is_alive);
        old.take(limit).map(|slot| self.slab.id(slot).to_vec()).collect()
    }

    /// What orders a row, unless its time is up.
    #[must_use]
    pub fn position(&self, id: &[u8], now: i64) -> Option<Position<'_>> {
        let slot = self.find(id)?;
        let is_alive = self.slab.expires_at(slot).is_none_or(|end| end >= now);
        is_alive.then(|| Position { order: self.slab.order(slot), id: self.slab.id(slot) })
    }

    /// Whether what is known of a row is what these facts say.
    #[must_use]
    pub fn agrees(&self, id: &[u8], facts: &Facts) -> bool {
        let Some(slot) = self.find(id) else { return false };
        let values = self.slab.values(slot);
        let is_same = |(field, value): (usize, &Option<Vec<u8>>)| {
            let number = value.as_deref().and_then(|value| self.lists.number(field, value));
            number.unwrap_or(super::slab::ABSENT) == values[field] && number.is_some() == value.is_some()
        };
        self.slab.order(slot) == facts.order
            && self.slab.expires_at(slot) == facts.expires_at
            && self.slab.ended_at(slot) == facts.ended_at
            && self.slab.claim_ends_at(slot) == facts.claim_ends_at
            && (!facts.counted || self.slab.payload(slot) == facts.payload)
            && (!self.is_listed()
                || facts.values.iter().enumerate().take(self.table.filters.len()).all(is_same))
    }

    /// What is kept, rows whose time is up included. O(1).
    #[must_use]
    pub fn sums(&self) -> Totals {
        Totals { rows: self.slab.len(), payload_bytes: self.payload, expiring: self.expiring.len() }
    }

    /// What the table weighs at `now`. O(1), and O(rows) whose time is up.
    #[must_use]
    pub fn totals(&self, now: i64) -> Totals {
        let mut totals = self.sums();
        for slot in self.due(now) {
            totals.rows -= 1;
            totals.expiring -= 1;
            totals.payload_bytes -= self.slab.payload(slot);
        }
        totals
    }

    /// The rows form by form: how many, how many bytes, and about `size` of them, spread over all. O(size).
    #[must_use]
    pub fn samples(&self, size: usize) -> [Sample<'_>; 3] {
        let special = [&self.dispersed, &self.large];
        let is_compact = |slot: &u32| {
            self.slab.holds(*slot) && !special.iter().any(|special| special.slots.contains(slot))
        };
        let rows = self.slab.len() - special.map(|special| special.slots.len()).iter().sum::<usize>();
        let payload = self.payload - special.map(|special| special.payload).iter().sum::<u64>();
        let slots = self.slab.slots();
        // Where other forms or vacant slots prevail, a few steps are enough to find one, or to do without.
        let near = |place: u32| (place..slots).take(TRIES).find(is_compact);
        let compact: Vec<u32> = match rows {
            0 => Vec::new(),
            _ if slots as usize <= size => (0..slots).filter(is_compact).collect(),
            _ => spread(slots, size).filter_map(near).collect(),
        };
        let of_special = |special: &Special| {
            let chosen: Vec<u32> = if special.slots.len() <= size {
                special.slots.iter().copied().collect()
            } else {
                spread(slots, size).filter_map(|place| special.slots.range(place..).next().copied()).collect()
            };
            self.sample(special.slots.len(), special.payload, chosen)
        };
        [self.sample(rows, payload, compact), of_special(&self.dispersed), of_special(&self.large)]
    }

    fn sample(&self, rows: usize, payload_bytes: u64, mut slots: Vec<u32>) -> Sample<'_> {
        slots.dedup();
        let picked = slots.into_iter().map(|slot| (self.slab.id(slot), self.slab.payload(slot))).collect();
        Sample { rows, payload_bytes, picked }
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Gives a part of the memory back. Answers whether there is more. Of no use for anything else afterwards.
    pub fn shed(&mut self) -> bool {
        self.slab.shed(1)
    }
}

/// Some rows of one form.
#[derive(Debug)]
pub struct Sample<'r> {
    /// How many there are.
    pub rows: usize,
    /// Their bytes.
    pub payload_bytes: u64,
    /// Those that were picked: id and bytes.
    pub picked: Vec<(&'r [u8], u64)>,
}

impl Special {
    fn add(&mut self, slot: u32, payload: u64) {
        if self.slots.insert(slot) {
            self.payload += payload;
        }
    }

    fn remove(&mut self, slot: u32, payload: u64) -> bool {
        let was_here = !self.slots.is_empty() && self.slots.remove(&slot);
        if was_here {
            self.payload -= payload;
        }
        was_here
    }
}

/// How any row that has come to an end stands to the one in a slot.
fn by_end(rows: &Slab, slot: u32) -> impl Fn(u32) -> Ordering + '_ {
    let key = |slot| (rows.ended_at(slot), rows.id(slot));
    let place = key(slot);
    move |other| key(other).cmp(&place)
}

/// So many places, evenly among the slots.
fn spread(slots: u32, places: usize) -> impl Iterator<Item = u32> {
    (0..places as u64).map(move |place| (place * u64::from(slots) / places as u64) as u32)
}

fn differences(a: &Values, b: &Values) -> u8 {
    (0..a.len()).filter(|field| a[*field] != b[*field]).fold(0, |fields, field| fields | 1 << field)
}

mod ranks;
#[cfg(test)]
mod tests;
