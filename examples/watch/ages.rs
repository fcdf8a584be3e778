//! How long the oldest event of a buffer has waited.
//!
//! Events carry no time of their own. But whoever looks now and then knows: an event whose number was given out when we looked
//! an hour ago has waited for an hour at least. The answer is short by no more than the time between two looks, and by all
//! that was before the first.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How many looks are remembered of a buffer. With more, every second one is forgotten: the answer gets coarser, not wrong.
const MOST: usize = 4096;

/// What was seen of the buffers so far.
#[derive(Debug, Default)]
pub struct Ages {
    /// Of each buffer, when which number was the last one, oldest first.
    seen: BTreeMap<(String, String), VecDeque<(Instant, u64)>>,
}

impl Ages {
    /// Takes note of a buffer, and answers how long its oldest event has waited at least; zero when it is empty.
    pub fn look(
        &mut self,
        (namespace, sink): (&str, &str),
        (length, first, last): (u64, u64, u64),
        now: Instant,
    ) -> Duration {
        let seen = self.seen.entry((namespace.to_owned(), sink.to_owned())).or_default();
        // Numbers that go back are those of another buffer, begun anew.
        if seen.back().is_some_and(|(_, newest)| *newest > last) {
            seen.clear();
        }
        if seen.back().is_none_or(|(_, newest)| *newest < last) {
            seen.push_back((now, last));
        }
        while seen.front().is_some_and(|(_, newest)| *newest < first) {
            seen.pop_front();
        }
        if seen.len() > MOST {
            let mut place = 0;
            seen.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        match seen.front() {
            Some((since, _)) if length > 0 => now.duration_since(*since),
            _ => Duration::ZERO,
        }
    }
}
