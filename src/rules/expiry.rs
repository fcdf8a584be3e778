//! When the life of a row ends.

/// The end of a life of `life_ms` from `now`; None where it is not after now or beyond the clock's range.
#[must_use]
pub fn deadline(now: i64, life_ms: i64) -> Option<i64> {
    if life_ms <= 0 {
        return None;
    }
    now.checked_add(life_ms)
}

/// What is left of a life that ends at `end`, in ms, never below 0.
#[must_use]
pub fn remaining(now: i64, end: i64) -> i64 {
    end.saturating_sub(now).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_deadline_lies_ahead_and_is_exact(now in 0..i64::MAX, life: i64) {
            match deadline(now, life) {
                Some(end) => {
                    prop_assert!(end > now);
                    prop_assert_eq!(remaining(now, end), life);
                }
                None => prop_assert!(life <= 0 || i128::from(now) + i128::from(life) > i128::from(i64::MAX)),
            }
        }

        #[test]
        fn nothing_remains_of_the_past(now: i64, end: i64) {
            prop_assert!(remaining(now, end) >= 0);
        }
    }
}
