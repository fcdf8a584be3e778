//! Rate limits by fixed windows: a counter that begins with the first hit and is gone when its window ends.

use super::expiry;

/// A counter as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// What was counted; 0 where there is no counter. Never negative.
    pub count: i64,
    /// Whether there is a counter.
    pub is_open: bool,
    /// When the window ends, in ms since the epoch; None where there is no counter, or one that lost its end.
    pub ends_at: Option<i64>,
}

/// What a hit is told. All times are in ms, and never 0 for what is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whether it is within the limit.
    pub allowed: bool,
    /// What is left of the limit afterwards.
    pub remaining: i64,
    /// After which time to try again; 0 when allowed.
    pub retry_after: i64,
    /// After which time the limit is whole again; 0 when it is.
    pub reset: i64,
}

impl Window {
    /// Whether a hit of this cost is within the limit at `now`, and what is to be answered when it is counted, or not counted
    /// because it is only a look. A window is `window_ms` long; all numbers are 0 or more.
    #[must_use]
    pub fn hit(&self, now: i64, limit: i64, window_ms: i64, cost: i64, is_look: bool) -> Answer {
        let left = limit.saturating_sub(self.count).max(0);
        let allowed = cost <= left;
        let counts = allowed && !is_look;
        let running =
            self.is_open.then(|| self.ends_at.map_or(window_ms, |end| expiry::remaining(now, end).max(1)));
        let reset = running.unwrap_or(if counts { window_ms } else { 0 });
        Answer {
            allowed,
            remaining: if counts { left - cost } else { left },
            retry_after: if allowed { 0 } else { running.unwrap_or(window_ms) },
            reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: Window = Window { count: 0, is_open: false, ends_at: None };

    #[test]
    fn a_window_from_its_first_hit_to_its_end() {
        let answer =
            |allowed, remaining, retry_after, reset| Answer { allowed, remaining, retry_after, reset };
        assert_eq!(NONE.hit(100, 2, 60, 1, true), answer(true, 2, 0, 0));
        assert_eq!(NONE.hit(100, 2, 60, 1, false), answer(true, 1, 0, 60));
        let full = Window { count: 2, is_open: true, ends_at: Some(160) };
        assert_eq!(full.hit(130, 2, 60, 1, false), answer(false, 0, 30, 30));
        assert_eq!(full.hit(160, 2, 60, 1, false), answer(false, 0, 1, 1), "the counter is still there");
        assert_eq!(full.hit(130, 3, 60, 2, false), answer(false, 1, 30, 30), "a cheaper hit would pass");
        assert_eq!(full.hit(130, 1, 60, 1, false), answer(false, 0, 30, 30), "the limit was lowered");
        let endless = Window { ends_at: None, ..full };
        assert_eq!(endless.hit(130, 2, 60, 1, false), answer(false, 0, 60, 60));
        assert_eq!(NONE.hit(100, 0, 60, 1, false), answer(false, 0, 60, 0), "nothing is allowed, ever");
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_a_window(
            limit in prop_oneof![0i64..20, Just(i64::MAX)],
            window_ms in prop_oneof![1i64..100, Just(i64::MAX / 2)],
            start in prop_oneof![Just(0i64), Just(i64::MAX / 2)],
            hits in proptest::collection::vec((0i64..40, prop_oneof![1i64..5, Just(i64::MAX)], proptest::bool::weighted(0.2)), 0..60),
        ) {
            let (mut now, mut window) = (start, NONE);
            for (pause, cost, is_look) in hits {
                now += pause;
                if window.ends_at.is_some_and(|end| end < now) {
                    window = NONE;
                }
                let answer = window.hit(now, limit, window_ms, cost, is_look);
                prop_assert_eq!(answer.retry_after == 0, answer.allowed);
                prop_assert!((0..=limit).contains(&answer.remaining) && answer.reset >= 0);
                if let (true, Some(end)) = (window.is_open, window.ends_at) {
                    prop_assert_eq!(answer.reset, (end - now).max(1));
                    prop_assert!(answer.allowed || answer.retry_after == answer.reset);
                }
                if answer.allowed && !is_look {
                    let ends_at = window.ends_at.or(now.checked_add(window_ms));
                    window = Window { count: window.count + cost, is_open: true, ends_at };
                    prop_assert_eq!(answer.remaining, limit - window.count);
                }
                prop_assert!(window.count <= limit);
            }
        }
    }
}
