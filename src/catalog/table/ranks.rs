//! A table that has lost most of its rows gives their memory back, though rows stay where they are as long as that costs little.

use super::{Facts, Form, Rows};

impl Rows {
    /// Where rows are few for the memory that they take, has some of them move down. Two for each row that goes are enough, even
    /// if those go that are lowest.
    pub(super) fn close_ranks(&mut self) {
        for _ in 0..2 {
            // Rows that are not listed yet are known by their slots elsewhere.
            if self.gathered.is_some() || !self.slab.is_sparse() {
                return;
            }
            let highest = self.slab.slots() - 1;
            let (id, facts) = (self.slab.id(highest).to_vec(), self.facts(highest));
            self.take_out(highest);
            self.slab.trim();
            self.put(&id, &facts);
        }
    }

    /// What is known of the row in a slot.
    fn facts(&self, slot: u32) -> Facts {
        let values = self.slab.values(slot).map(|value| self.lists.bytes_of(value).map(<[u8]>::to_vec));
        let form = if self.dispersed.slots.contains(&slot) {
            Form::Dispersed
        } else if self.large.slots.contains(&slot) {
            Form::Large
        } else {
            Form::Compact
        };
        Facts {
            order: self.slab.order(slot),
            payload: self.slab.payload(slot),
            counted: !self.uncounted.contains(&slot),
            expires_at: self.slab.expires_at(slot),
            // Kept by the key, not by the slot.
            true_until: None,
            ended_at: self.slab.ended_at(slot),
            claim_ends_at: self.slab.claim_ends_at(slot),
            values,
            form,
        }
    }
}
