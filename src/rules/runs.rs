//! The bounded history of canary runs.

/// The largest `ran_at`: scores are doubles, and from 2^53 on neighbouring whole numbers share one.
pub const MAX_RAN_AT: i64 = (1 << 53) - 1;

/// What has to go from a history that is ordered from the oldest run to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// How many of the oldest runs go, for their age or for their number.
    pub count: i64,
    /// Whether the run that is being recorded is among them.
    pub includes_new: bool,
}

/// Decides about a history of `others` runs besides the one that is being recorded.
///
/// `older` of the others ran before it; `outdated` of the others ran before the oldest time that is kept, and
/// `new_is_outdated` says the same of the new one. `keep` is the most runs that may stay.
#[must_use]
pub fn trim(others: i64, older: i64, outdated: i64, new_is_outdated: bool, keep: i64) -> Trim {
    let total = others.saturating_add(1);
    let by_number = total.saturating_sub(keep).max(0);
    let by_age = outdated.saturating_add(i64::from(new_is_outdated));
    let count = by_number.max(by_age);
    Trim { count, includes_new: count > older }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_newest_stay_and_nothing_outdated_does(
            mut times in proptest::collection::btree_set(0i64..200, 0..50), new in 0i64..200, keep in 1i64..60,
            oldest_kept in 0i64..200
        ) {
            times.remove(&new);
            let others: Vec<i64> = times.iter().copied().collect();
            let count = |test: &dyn Fn(i64) -> bool| others.iter().filter(|at| test(**at)).count() as i64;
            let decided = trim(
                others.len() as i64, count(&|at| at < new), count(&|at| at < oldest_kept), new < oldest_kept, keep,
            );

            times.insert(new);
            let all: Vec<i64> = times.into_iter().collect();
            let kept = &all[usize::try_from(decided.count).unwrap()..];
            prop_assert!(kept.len() as i64 <= keep);
            prop_assert!(kept.iter().all(|at| *at >= oldest_kept));
            prop_assert_eq!(decided.includes_new, !kept.contains(&new));
            if let Some(last_gone) = usize::try_from(decided.count).unwrap().checked_sub(1) {
                let spared = &all[last_gone..];
                prop_assert!(spared.len() as i64 > keep || spared[0] < oldest_kept, "one trimmed too many");
            }
        }
    }
}
