//! Where the catalog keeps its rows: in chunks of columns. A column that no row of a chunk needs takes no memory,
//! and nothing moves by itself, so that growing never makes the server wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many rows a chunk holds.
const CHUNK: usize = 1024;

/// So many vacant slots are no matter. Tests have fewer rows.
const FEW: usize = if cfg!(test) { 16 } else { CHUNK };

/// The number of filter values of a row at most. A table may have as many filters.
pub const MAX_FILTERS: usize = 4;

/// The number of a filter's value in a table; see [`super::values`].
pub type Value = u32;

/// What stands for the value of a field that a row does not have.
pub const ABSENT: Value = Value::MAX;

/// The values of a row's filter fields, in the order of the table's filters.
pub type Values = [Value; MAX_FILTERS];

/// What every row has.
#[derive(Debug, Clone, Copy)]
struct Core {
    /// Where the id begins among the ids of the chunk.
    id_start: u32,
    id_length: u32,
    /// What orders the list, beside the id: a time, or 0.
    order: i64,
    payload: u64,
}

/// Rows beside each other, one column for each thing to know of them.
#[derive(Debug, Default)]
struct Chunk {
    cores: Vec<Core>,
    /// The ids one behind the other, with gaps where rows were removed.
    ids: Vec<u8>,
    /// The bytes of the gaps.
    gaps: usize,
    /// As many for each row as the table has filters.
    values: Vec<Value>,
    /// When the rows' lives end, in ms; empty as long as none does.
    expiries: Vec<i64>,
    /// What dates the rows that have come to an end, in ms; empty as long as none has.
    ends: Vec<i64>,
    /// When the claims on rows end, in ms; empty as long as none is claimed.
    claims: Vec<i64>,
}

/// The rows of a table, by the numbers of their slots.
#[derive(Debug)]
pub struct Slab {
    filters: usize,
    chunks: Vec<Chunk>,
    /// The lowest comes first, so that the upper chunks empty themselves in time. Those behind the last row are left over from
    /// rows that were there once.
    vacant: BinaryHeap<Reverse<u32>>,
    rows: usize,
}

/// A row to be kept.
#[derive(Debug)]
pub struct Entry {
    /// What orders the list, beside the id.
    pub order: i64,
    /// The exact bytes of key, fields and values.
    pub payload: u64,
    /// The end of its life in ms, if it has one.
    pub expires_at: Option<i64>,
    /// What dates it, if it has come to an end.
    pub ended_at: Option<i64>,
    /// When the claim on it ends in ms, if it is claimed.
    pub claim_ends_at: Option<i64>,
    /// Its filter values.
    pub values: Values,
}

impl Slab {
    /// No rows, of a table with so many filters.
    #[must_use]
    pub fn new(filters: usize) -> Self {
        let filters = filters.min(MAX_FILTERS);
        Self { filters, chunks: Vec::new(), vacant: BinaryHeap::new(), rows: 0 }
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// One more than the highest slot that was ever used.
    #[must_use]
    pub fn slots(&self) -> u32 {
        match self.chunks.split_last() {
            Some((last, full)) => (full.len() * CHUNK + last.cores.len()) as u32,
            None => 0,
        }
    }

    /// Whether a slot holds a row. The empty id is one that a row can have; a vacant slot is told by its payload,
    /// which is never 0 for a row: the key's name counts.
    #[must_use]
    pub fn holds(&self, slot: u32) -> bool {
        self.core(slot).is_some_and(|core| core.payload > 0)
    }

    /// Keeps a row with this id in a slot of its own. None when the numbers of slots are used up.
    pub fn insert(&mut self, id: &[u8], entry: &Entry) -> Option<u32> {
        let filters = self.filters;
        let slots = self.slots();
        let slot = match self.vacant.pop() {
            Some(Reverse(slot)) if slot < slots => slot,
            _ => {
                // The lowest is left over, and so are all.
                self.vacant.clear();
                let slot = slots;
                if slot == u32::MAX {
                    return None;
                }
                if (slot as usize).is_multiple_of(CHUNK) {
                    self.chunks.push(Chunk::new(filters, slot > 0));
                }
                slot
            }
        };
        let (chunk, index) = self.chunk_mut(slot)?;
        let (id_start, id_length) = chunk.keep_id(id)?;
        let core = Core { id_start, id_length, order: entry.order, payload: entry.payload.max(1) };
        match chunk.cores.get_mut(index) {
            Some(vacant) => *vacant = core,
            None => {
                chunk.cores.push(core);
                chunk.values.resize(chunk.values.len() + filters, ABSENT);
            }
        }
        self.rows += 1;
        self.set_values(slot, entry.values);
        self.set_expiry(slot, entry.expires_at);
        self.set_end(slot, entry.ended_at);
        self.set_claim(slot, entry.claim_ends_at);
        Some(slot)
    }

    /// Gives a slot back. Answers whether there was a row in it.
    pub fn remove(&mut self, slot: u32) -> bool {
        self.set_expiry(slot, None);
        self.set_end(slot, None);
        self.set_claim(slot, None);
        let Some((chunk, index)) = self.chunk_mut(slot) else { return false };
        let Some(core) = chunk.cores.get_mut(index).filter(|core| core.payload > 0) else { return false };
        core.payload = 0;
        chunk.gaps += core.id_length as usize;
        core.id_length = 0;
        chunk.close_gaps();
        self.rows -= 1;
        self.vacant.push(Reverse(slot));
        true
    }

    /// Gives the vacant slots behind the last row back: that one is in the highest slot afterwards.
    pub fn trim(&mut self) {
        while let Some(chunk) = self.chunks.last_mut() {
            while chunk.cores.last().is_some_and(|core| core.payload == 0) {
                chunk.cores.pop();
            }
            chunk.values.truncate(chunk.cores.len() * self.filters);
            if !chunk.cores.is_empty() {
                break;
            }
            self.chunks.pop();
        }
        let slots = self.slots();
        let vacant = slots as usize - self.rows;
        if self.vacant.len() > 2 * vacant + FEW {
            self.vacant.retain(|Reverse(slot)| *slot < slots);
            self.vacant.shrink_to_fit();
        }
    }

    /// Whether most slots are vacant, so that it is worth while to bring rows from the highest to the lowest.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.slots() as usize > 2 * self.rows + FEW
    }

    /// The id of a row; empty for a slot without one.
    #[must_use]
    pub fn id(&self, slot: u32) -> &[u8] {
        let Some((chunk, index)) = self.chunk(slot) else { return &[] };
        chunk.cores.get(index).map_or(&[], |core| chunk.id(core))
    }

    /// What orders a row.
    #[must_use]
    pub fn order(&self, slot: u32) -> i64 {
        self.core(slot).map_or(0, |core| core.order)
    }

    /// The bytes of a row.
    #[must_use]
    pub fn payload(&self, slot: u32) -> u64 {
        self.core(slot).map_or(0, |core| core.payload)
    }

    /// The end of a row's life in ms, if it has one.
    #[must_use]
    pub fn expires_at(&self, slot: u32) -> Option<i64> {
        let (chunk, index) = self.chunk(slot)?;
        read_column(&chunk.expiries, index)
    }

    /// What dates a row that has come to an end.
    #[must_use]
    pub fn ended_at(&self, slot: u32) -> Option<i64> {
        let (chunk, index) = self.chunk(slot)?;
        read_column(&chunk.ends, index)
    }

    /// When the claim on a row ends in ms, if it is claimed.
    #[must_use]
    pub fn claim_ends_at(&self, slot: u32) -> Option<i64> {
        let (chunk, index) = self.chunk(slot)?;
        read_column(&chunk.claims, index)
    }

    /// The filter values of a row.
    #[must_use]
    pub fn values(&self, slot: u32) -> Values {
        let mut values = [ABSENT; MAX_FILTERS];
        let from = slot as usize % CHUNK * self.filters;
        if let Some((chunk, _)) = self.chunk(slot) {
            let kept = chunk.values.get(from..from + self.filters).unwrap_or_default();
            values.iter_mut().zip(kept).for_each(|(value, kept)| *value = *kept);
        }
        values
    }

    /// Changes what orders a row.
    pub fn set_order(&mut self, slot: u32, order: i64) {
        if let Some((chunk, index)) = self.chunk_mut(slot) {
            chunk.cores[index].order = order;
        }
    }

    /// Changes the bytes of a row; a row has one at least, its key's.
    pub fn set_payload(&mut self, slot: u32, payload: u64) {
        if let Some((chunk, index)) = self.chunk_mut(slot) {
            chunk.cores[index].payload = payload.max(1);
        }
    }

    /// Changes the filter values of a row.
    pub fn set_values(&mut self, slot: u32, values: Values) {
        let filters = self.filters;
        if let Some((chunk, index)) = self.chunk_mut(slot) {
            if let Some(kept) = chunk.values.get_mut(index * filters..(index + 1) * filters) {
                kept.copy_from_slice(&values[..filters]);
            }
        }
    }

    /// Changes the end of a row's life.
    pub fn set_expiry(&mut self, slot: u32, expires_at: Option<i64>) {
        if let Some((chunk, index)) = self.chunk_mut(slot) {
            set_in_column(&mut chunk.expiries, index, expires_at);
        }
    }

    /// Changes what dates a row.
    pub fn set_end(&mut self, slot: u32, ended_at: Option<i64>) {
        if let Some((chunk, index)) = self.chunk_mut(slot) {
            set_in_column(&mut chunk.ends, index, ended_at);
        }
    }

    /// Changes the end of the claim on a row.
    pub fn set_claim(&mut self, slot: u32, ends_at: Option<i64>) {
        if let Some((chunk, index)) = self.chunk_mut(slot) {
            set_in_column(&mut chunk.claims, index, ends_at);
        }
    }

    /// Drops up to so many rows without a trace, to give back a large table piece by piece. Answers whether any
    /// are left.
    pub fn shed(&mut self, chunks: usize) -> bool {
        self.chunks.truncate(self.chunks.len().saturating_sub(chunks));
        !self.chunks.is_empty()
    }

    fn core(&self, slot: u32) -> Option<&Core> {
        let (chunk, index) = self.chunk(slot)?;
        chunk.cores.get(index)
    }

    fn chunk(&self, slot: u32) -> Option<(&Chunk, usize)> {
        Some((self.chunks.get(slot as usize / CHUNK)?, slot as usize % CHUNK))
    }

    fn chunk_mut(&mut self, slot: u32) -> Option<(&mut Chunk, usize)> {
        Some((self.chunks.get_mut(slot as usize / CHUNK)?, slot as usize % CHUNK))
    }
}

impl Chunk {
    /// An empty chunk. The first of a table grows as it needs to; the others will be full.
    fn new(filters: usize, will_be_full: bool) -> Self {
        if !will_be_full {
            return Self::default();
        }
        Self {
            cores: Vec::with_capacity(CHUNK),
            values: Vec::with_capacity(CHUNK * filters),
            ..Self::default()
        }
    }

    fn id(&self, core: &Core) -> &[u8] {
        let start = core.id_start as usize;
        self.ids.get(start..start + core.id_length as usize).unwrap_or_default()
    }

    /// Puts an id behind the others. Answers where it begins and how long it is; None beyond four gigabytes.
    fn keep_id(&mut self, id: &[u8]) -> Option<(u32, u32)> {
        let place = (u32::try_from(self.ids.len()).ok()?, u32::try_from(id.len()).ok()?);
        let needed = self.ids.len() + id.len();
        if needed > self.ids.capacity() {
            // Doubling would leave a quarter of the memory unused on average.
            let room = needed.max(self.ids.len() / 8 * 9).next_multiple_of(64);
            self.ids.reserve_exact(room - self.ids.len());
        }
        self.ids.extend_from_slice(id);
        Some(place)
    }

    /// Moves the ids together when half of their bytes are gaps.
    fn close_gaps(&mut self) {
        if self.gaps * 2 <= self.ids.len() {
            return;
        }
        let mut ids = Vec::with_capacity(self.ids.len() - self.gaps);
        for core in &mut self.cores {
            let start = core.id_start as usize;
            core.id_start = ids.len() as u32;
            ids.extend_from_slice(self.ids.get(start..start + core.id_length as usize).unwrap_or_default());
        }
        self.ids = ids;
        self.gaps = 0;
    }
}

/// What stands for no time in a column. No time that the server accepts is that early.
const NO_TIME: i64 = i64::MIN;

fn read_column(column: &[i64], index: usize) -> Option<i64> {
    column.get(index).copied().filter(|time| *time != NO_TIME)
}

/// Sets one value of a column, which begins to exist with the first value that is one.
fn set_in_column(column: &mut Vec<i64>, index: usize, value: Option<i64>) {
    if let Some(kept) = column.get_mut(index) {
        *kept = value.unwrap_or(NO_TIME);
    } else if let Some(value) = value {
        column.resize(index, NO_TIME);
        column.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(payload: u64) -> Entry {
        Entry {
            order: 7,
            payload,
            expires_at: None,
            ended_at: None,
            claim_ends_at: None,
            values: [1, 2, ABSENT, ABSENT],
        }
    }

    #[test]
    fn the_lowest_vacant_slot_is_used_first() {
        let mut slab = Slab::new(2);
        for id in 0..3000u32 {
            assert_eq!(slab.insert(&id.to_be_bytes(), &entry(10)), Some(id));
        }
        for slot in [2999, 5, 1500] {
            assert_eq!(slab.id(slot), u32::to_be_bytes(slot));
            assert!(slab.remove(slot) && !slab.remove(slot));
            assert!(!slab.holds(slot));
        }
        assert_eq!(slab.len(), 2997);
        assert_eq!(slab.insert(b"x", &entry(11)), Some(5));
        assert_eq!((slab.id(5), slab.payload(5), slab.order(5)), (&b"x"[..], 11, 7));
        assert_eq!(slab.values(5), [1, 2, ABSENT, ABSENT]);
        assert_eq!(slab.slots(), 3000);
    }

    #[test]
    fn vacant_slots_behind_the_last_row_are_given_back() {
        let mut slab = Slab::new(2);
        for id in 0..5000u32 {
            slab.insert(&id.to_be_bytes(), &entry(1));
        }
        for slot in (10..5000).rev().filter(|slot| *slot != 20) {
            slab.remove(slot);
        }
        assert!(slab.is_sparse());
        slab.trim();
        assert!(!slab.is_sparse());
        assert_eq!((slab.slots(), slab.len(), slab.chunks.len()), (21, 11, 1));
        assert!(slab.vacant.len() < 50, "{} vacant slots are remembered", slab.vacant.len());
        for slot in (10..20).chain(21..3000) {
            assert_eq!(slab.insert(b"again", &entry(2)), Some(slot));
        }
        assert_eq!((slab.id(20), slab.values(2999)), (&20u32.to_be_bytes()[..], [1, 2, ABSENT, ABSENT]));
    }

    #[test]
    fn ids_are_right_when_most_rows_are_gone() {
        let mut slab = Slab::new(0);
        let id = |number: u32| vec![b'a' + (number % 26) as u8; number as usize % 40];
        for number in 0..2000 {
            slab.insert(&id(number), &entry(1));
        }
        for number in (0..2000).filter(|number| number % 7 != 0) {
            slab.remove(number);
        }
        for number in (0..2000).step_by(7) {
            assert_eq!(slab.id(number), id(number));
        }
        let bytes: usize = slab.chunks.iter().map(|chunk| chunk.ids.len()).sum();
        assert!(bytes < 2000 * 20 / 7 * 2, "{bytes} bytes are kept");
        assert_eq!(slab.insert(b"new", &entry(1)).map(|slot| slab.id(slot).to_vec()), Some(b"new".to_vec()));
    }

    #[test]
    fn columns_that_nobody_needs_are_not_there() {
        let mut slab = Slab::new(0);
        let slot = slab.insert(b"", &entry(1)).unwrap();
        assert!(slab.holds(slot) && slab.chunks[0].expiries.capacity() == 0);
        slab.set_expiry(slot, Some(9));
        assert_eq!((slab.expires_at(slot), slab.ended_at(slot)), (Some(9), None));
        slab.remove(slot);
        let slot = slab.insert(b"a", &entry(1)).unwrap();
        assert_eq!(slab.expires_at(slot), None, "left over from the row before");
    }
}
