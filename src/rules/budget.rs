//! The CDC overflow buffer: sequence numbers, and what has to go to keep a byte budget.

/// Where a buffer stands in the sequence of all events that ever went through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The sequence number of the oldest event held; of the next event when none is held.
    pub first_seq: i64,
    /// How many events are held.
    pub length: i64,
}

impl Span {
    /// The sequence number of the newest event; one below the first when none is held.
    #[must_use]
    pub fn last_seq(self) -> i64 {
        self.first_seq.saturating_add(self.length).saturating_sub(1)
    }

    /// The same buffer when it is known that numbers up to `last` have been used: if events vanished at the
    /// tail without a record, the numbers of those that are left move up, never down.
    #[must_use]
    pub fn not_before(self, last: i64) -> Self {
        let missing = last.saturating_sub(self.last_seq()).max(0);
        Self { first_seq: self.first_seq.saturating_add(missing), ..self }
    }

    /// How many of the events held have this number or a lower one.
    #[must_use]
    pub fn up_to(self, seq: i64) -> i64 {
        seq.saturating_sub(self.first_seq).saturating_add(1).clamp(0, self.length)
    }

    /// The same number of events, renumbered above every number up to `used`.
    #[must_use]
    pub fn above(self, used: i64) -> Self {
        Self { first_seq: used.max(self.last_seq()).max(self.first_seq - 1).saturating_add(1), ..self }
    }

    /// The buffer after others changed its list, which holds `length` events now, `used` being the highest number
    /// that anyone has seen. Pushes at the head and pops at the tail leave the other events their numbers; both at
    /// once, as when a list is rotated, show in a length that has not changed. After
    /// anything else nobody knows which event had which, so all get new ones: they may be delivered again, but no
    /// acknowledgement of an older one reaches them.
    #[must_use]
    pub fn after(self, change: Change, length: i64, used: i64) -> Self {
        let now = Self { length, ..self };
        match change {
            Change::HeadPush if length > self.length => now,
            Change::TailPop if length < self.length => self.without(self.length - length),
            _ => Self { length, ..self.above(used) },
        }
    }

    /// The buffer after its oldest `count` events are gone.
    #[must_use]
    pub fn without(self, count: i64) -> Self {
        Self { first_seq: self.first_seq.saturating_add(count), length: self.length - count }
    }
}

/// What others did to a buffer's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They added events at the head.
    HeadPush,
    /// They took events from the tail.
    TailPop,
    /// They did anything else.
    Other,
}

/// Events that leave a buffer together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many.
    pub count: i64,
    /// The sum of their lengths.
    pub bytes: i64,
}

impl Batch {
    fn with(self, size: i64) -> Self {
        Self { count: self.count + 1, bytes: self.bytes.saturating_add(size) }
    }
}

/// Which of the oldest events have to go so that at most `budget` of `held` bytes stay. `sizes` gives their
/// lengths from the oldest on.
pub fn overflowing(held: i64, budget: i64, sizes: impl Iterator<Item = i64>) -> Batch {
    let mut batch = Batch::default();
    for size in sizes {
        if held.saturating_sub(batch.bytes) <= budget {
            break;
        }
        batch = batch.with(size);
    }
    batch
}

/// Which of the oldest events fit into one answer of `max_count` events and `max_bytes`; the first one always
/// does, so that a consumer gets on whatever its limit.
pub fn fitting(max_count: i64, max_bytes: i64, sizes: impl Iterator<Item = i64>) -> Batch {
    let mut batch = Batch::default();
    for size in sizes {
        let next = batch.with(size);
        if next.count > max_count || (next.count > 1 && next.bytes > max_bytes) {
            break;
        }
        batch = next;
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn acknowledging_goes_by_number() {
        let span = Span { first_seq: 11, length: 5 };
        assert_eq!(span.last_seq(), 15);
        assert_eq!(span.up_to(10), 0);
        assert_eq!(span.up_to(12), 2);
        assert_eq!(span.up_to(99), 5);
        assert_eq!(span.up_to(i64::MIN), 0);
        assert_eq!(span.up_to(i64::MAX), 5);
        assert_eq!(span.without(2), Span { first_seq: 13, length: 3 });
        assert_eq!(span.without(5).last_seq(), 15);
    }

    #[test]
    fn a_late_acknowledgement_does_not_reach_events_that_came_after_a_loss() {
        // Events 1 to 10 were there and 15 was the newest ever; someone emptied the list behind our back and
        // one new event came.
        let span = Span { first_seq: 1, length: 1 }.not_before(16);
        assert_eq!(span.last_seq(), 16);
        assert_eq!(span.up_to(15), 0);
    }

    #[test]
    fn what_others_do_to_the_list_moves_the_numbers_the_safe_way() {
        let span = Span { first_seq: 2, length: 3 };
        assert_eq!(span.after(Change::HeadPush, 5, 4), Span { first_seq: 2, length: 5 });
        assert_eq!(span.after(Change::TailPop, 1, 4), Span { first_seq: 4, length: 1 });
        assert_eq!(span.after(Change::TailPop, 0, 4), Span { first_seq: 5, length: 0 });
        assert_eq!(span.after(Change::Other, 3, 4), Span { first_seq: 5, length: 3 });
        assert_eq!(span.after(Change::Other, 0, 9), Span { first_seq: 10, length: 0 });
        assert_eq!(span.after(Change::HeadPush, 2, 4), Span { first_seq: 5, length: 2 });
        assert_eq!(span.after(Change::HeadPush, 3, 4), Span { first_seq: 5, length: 3 });
        assert_eq!(span.after(Change::TailPop, 3, 4), Span { first_seq: 5, length: 3 });
        let unused = Span { first_seq: 1, length: 0 };
        assert_eq!(unused.after(Change::Other, 2, 0), Span { first_seq: 1, length: 2 });
    }

    #[test]
    fn the_first_event_always_fits() {
        assert_eq!(fitting(5, 10, [100, 1].into_iter()), Batch { count: 1, bytes: 100 });
        assert_eq!(fitting(5, 10, [4, 6, 1].into_iter()), Batch { count: 2, bytes: 10 });
        assert_eq!(fitting(0, 10, [4].into_iter()), Batch::default());
        assert_eq!(fitting(2, i64::MAX, [1, 1, 1].into_iter()), Batch { count: 2, bytes: 2 });
    }

    proptest! {
        #[test]
        fn dropping_keeps_the_budget_and_drops_no_more_than_needed(
            sizes in proptest::collection::vec(0i64..1000, 0..50), budget in 0i64..20_000
        ) {
            let held: i64 = sizes.iter().sum();
            let gone = overflowing(held, budget, sizes.iter().copied());
            let count = usize::try_from(gone.count).unwrap();
            prop_assert_eq!(gone.bytes, sizes[..count].iter().sum::<i64>());
            prop_assert!(held - gone.bytes <= budget);
            if let Some(last) = count.checked_sub(1) {
                prop_assert!(held - (gone.bytes - sizes[last]) > budget, "one drop too many");
            }
        }

        #[test]
        fn numbers_never_go_back(first in 1i64..1_000_000, length in 0i64..1000, last in 0i64..2_000_000) {
            let span = Span { first_seq: first, length };
            let mended = span.not_before(last);
            prop_assert_eq!(mended.last_seq(), span.last_seq().max(last));
            prop_assert_eq!(mended.length, length);
        }
    }
}
