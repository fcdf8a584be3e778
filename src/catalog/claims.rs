//! Rows that somebody has claimed for a time: by the end of their claims, and those whose claim has run out in the order
//! of LIST as well. So who looks for the oldest row to claim finds it without a look at all claims.

use std::cmp::Ordering;

use super::lists::{by_position, Direction};
use super::ordered::Ordered;
use super::slab::Slab;

/// The claimed rows of a table.
#[derive(Debug, Default)]
pub struct Claims {
    /// All of them, by the end of the claim, ties by id.
    by_end: Ordered,
    /// Those whose claim ends at `seen` or before, in the order of LIST.
    lapsed: Ordered,
    /// Up to when claims were looked through, in ms.
    seen: Option<i64>,
}

impl Claims {
    /// Takes in the row of a slot, if it is claimed.
    pub fn add(&mut self, slab: &Slab, direction: Direction, slot: u32) {
        let Some(end) = slab.claim_ends_at(slot) else { return };
        self.by_end.insert(slot, by_end(slab, slot));
        if self.seen >= Some(end) {
            self.lapsed.insert(slot, by_position(slab, direction, slot));
        }
    }

    /// Takes out the row of a slot, which is as it was when it was taken in.
    pub fn remove(&mut self, slab: &Slab, direction: Direction, slot: u32) {
        let Some(end) = slab.claim_ends_at(slot) else { return };
        self.by_end.remove(slot, by_end(slab, slot));
        if self.seen >= Some(end) {
            self.lapsed.remove(slot, by_position(slab, direction, slot));
        }
    }

    /// Looks for claims that have run out at `now`. O(log N) for each that has since the last time.
    pub fn lapse(&mut self, slab: &Slab, direction: Direction, now: i64) {
        // A clock that was set back changes nothing: whoever claims a row looks at the row itself.
        if self.seen >= Some(now) {
            return;
        }
        let seen = self.seen;
        let is_seen =
            |slot| if slab.claim_ends_at(slot) <= seen { Ordering::Less } else { Ordering::Greater };
        let ran_out = self.by_end.behind(is_seen).take_while(|slot| slab.claim_ends_at(*slot) <= Some(now));
        for slot in ran_out {
            self.lapsed.insert(slot, by_position(slab, direction, slot));
        }
        self.seen = Some(now);
    }

    /// The rows whose claim has run out, in the order of LIST. [`Claims::lapse`] comes first.
    #[must_use]
    pub fn lapsed(&self) -> &Ordered {
        &self.lapsed
    }

    /// The rows whose claim has run out at `now`, the longest first, ties by id.
    pub fn ended<'c>(&'c self, slab: &'c Slab, now: i64) -> impl Iterator<Item = u32> + 'c {
        self.by_end.from_first().take_while(move |slot| slab.claim_ends_at(*slot) <= Some(now))
    }
}

/// How any claimed row stands to the one in a slot.
fn by_end(slab: &Slab, slot: u32) -> impl Fn(u32) -> Ordering + '_ {
    let key = |slot| (slab.claim_ends_at(slot), slab.id(slot));
    let place = key(slot);
    move |other| key(other).cmp(&place)
}
