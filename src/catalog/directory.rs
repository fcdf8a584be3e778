//! Ids to slots. Many small hash tables instead of a large one: a table that grows moves all of its entries at
//! once, and the server waits for that.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::slab::Slab;

/// How many entries one hash table may hold before it is divided.
const UNDIVIDED: usize = 4096;
/// Into how many it is divided then.
const SHARDS: usize = 256;

/// One that is less full than one in so many is made smaller.
const ROOMY: usize = 8;

/// The slots of the rows of a table, by their ids. The ids themselves stand in the [`Slab`].
#[derive(Debug)]
pub struct Directory {
    /// Random for each table, so that nobody can choose ids that collide.
    hasher: RandomState,
    /// One, or [`SHARDS`] of them.
    shards: Vec<HashTable<u32>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: vec![HashTable::new()] }
    }
}

impl Directory {
    /// The slot of a row.
    #[must_use]
    pub fn find(&self, rows: &Slab, id: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        self.shards.get(self.shard(hash))?.find(hash, |slot| rows.id(*slot) == id).copied()
    }

    /// Adds a row that is in the slab already and not here yet.
    pub fn insert(&mut self, rows: &Slab, slot: u32) {
        if self.shards.len() == 1 && self.shards[0].len() >= UNDIVIDED {
            let undivided = std::mem::take(&mut self.shards[0]);
            self.shards.resize_with(SHARDS, HashTable::new);
            undivided.into_iter().for_each(|slot| self.put(rows, slot));
        }
        self.put(rows, slot);
    }

    fn put(&mut self, rows: &Slab, slot: u32) {
        let hash = self.hasher.hash_one(rows.id(slot));
        let shard = self.shard(hash);
        let hasher = &self.hasher;
        if let Some(shard) = self.shards.get_mut(shard) {
            shard.insert_unique(hash, slot, |slot| hasher.hash_one(rows.id(*slot)));
        }
    }

    /// Takes a row out, while it is still in the slab.
    pub fn remove(&mut self, rows: &Slab, slot: u32) {
        let hash = self.hasher.hash_one(rows.id(slot));
        let shard = self.shard(hash);
        let hasher = &self.hasher;
        if let Some(shard) = self.shards.get_mut(shard) {
            if let Ok(entry) = shard.find_entry(hash, |other| *other == slot) {
                entry.remove();
            }
            if shard.len() < shard.capacity() / ROOMY {
                shard.shrink_to(2 * shard.len(), |slot| hasher.hash_one(rows.id(*slot)));
            }
        }
    }

    /// Which hash table an id belongs to: by bits that the hash table itself uses last.
    fn shard(&self, hash: u64) -> usize {
        if self.shards.len() == 1 {
            0
        } else {
            (hash >> 40) as usize % SHARDS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::slab::{Entry, ABSENT, MAX_FILTERS};
    use super::*;

    #[test]
    fn every_row_is_found_by_its_id_alone() {
        let (mut rows, mut directory) = (Slab::new(0), Directory::default());
        let entry = Entry {
            order: 0,
            payload: 1,
            expires_at: None,
            ended_at: None,
            claim_ends_at: None,
            values: [ABSENT; MAX_FILTERS],
        };
        let id = |number: u32| number.to_string().into_bytes();
        for number in 0..20_000 {
            let slot = rows.insert(&id(number), &entry).unwrap();
            directory.insert(&rows, slot);
        }
        for number in (0..20_000).step_by(3) {
            let slot = directory.find(&rows, &id(number)).unwrap();
            directory.remove(&rows, slot);
            rows.remove(slot);
        }
        for number in 0..20_001 {
            let expected = number < 20_000 && number % 3 != 0;
            let found = directory.find(&rows, &id(number));
            assert_eq!(found.map(|slot| rows.id(slot).to_vec()), expected.then(|| id(number)));
        }
    }
}
