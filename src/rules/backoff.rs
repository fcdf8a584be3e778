//! Backoff after failed logins: none below a threshold of consecutive failures, then a time that doubles with each.

/// How long the count of failures outlives its backoff, in ms.
pub const MEMORY_MS: i64 = 60_000;

/// When backoff begins, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// From which consecutive failure on there is a backoff; 1 or more.
    pub threshold: i64,
    /// The first backoff in ms; 1 or more.
    pub start_ms: i64,
    /// The longest one in ms; not below the first.
    pub max_ms: i64,
}

impl Steps {
    /// The backoff in ms after so many consecutive failures.
    #[must_use]
    pub fn backoff(&self, failures: i64) -> i64 {
        if failures < self.threshold {
            return 0;
        }
        let doublings = u32::try_from(failures - self.threshold).unwrap_or(u32::MAX);
        let factor = 2i64.checked_pow(doublings);
        factor
            .and_then(|factor| self.start_ms.checked_mul(factor))
            .map_or(self.max_ms, |time| time.min(self.max_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn from_the_fifth_failure_ten_minutes_doubling_up_to_a_day() {
        const MINUTE: i64 = 60_000;
        let steps = Steps { threshold: 5, start_ms: 10 * MINUTE, max_ms: 24 * 60 * MINUTE };
        let minutes: Vec<_> = (1..=14).map(|failures| steps.backoff(failures) / MINUTE).collect();
        assert_eq!(minutes, [0, 0, 0, 0, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
    }

    proptest! {
        #[test]
        fn it_never_falls_and_stays_between_its_ends(
            threshold in prop_oneof![1i64..10, Just(i64::MAX)],
            start_ms in prop_oneof![1i64..100, 1i64..],
            more in prop_oneof![0i64..1000, 0i64..],
            failures in prop_oneof![1i64..100, 1i64..i64::MAX],
        ) {
            let steps = Steps { threshold, start_ms, max_ms: start_ms.saturating_add(more) };
            let (now, next) = (steps.backoff(failures), steps.backoff(failures + 1));
            prop_assert!(next >= now && next <= steps.max_ms);
            let fits = if failures < threshold { now == 0 } else { now >= start_ms };
            prop_assert!(fits);
            if now > 0 && next < steps.max_ms {
                prop_assert_eq!(next, now * 2);
            }
        }
    }
}
