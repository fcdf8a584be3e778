//! Flipping an alias to other targets.

use crate::schema::json::{self, Flip};

/// How many former targets an alias remembers by default.
pub const DEFAULT_RETAIN: usize = 10;

/// What a flip writes.
#[derive(Debug, PartialEq, Eq)]
pub struct Flipped {
    /// The version after it.
    pub version: i64,
    /// The former targets, oldest first, as JSON.
    pub history: Vec<u8>,
}

/// Puts the old target at the end of the history, keeps its newest `retain` entries and counts the version up.
/// None when the version is at the end of its range.
#[must_use]
pub fn flip(
    mut history: Vec<Flip>,
    old: Option<String>,
    version: i64,
    retain: usize,
    now: i64,
) -> Option<Flipped> {
    if let Some(uid) = old {
        history.push(Flip { uid, flipped_at: u64::try_from(now).unwrap_or(0) });
    }
    history.drain(..history.len().saturating_sub(retain));
    Some(Flipped { version: version.checked_add(1)?, history: json::write(&history) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uid: &str, flipped_at: u64) -> Flip {
        Flip { uid: uid.to_owned(), flipped_at }
    }

    #[test]
    fn the_newest_entries_stay_in_order() {
        let flipped = flip(vec![entry("v1", 1), entry("v2", 2)], Some("v3".to_owned()), 4, 2, 3).unwrap();
        assert_eq!(flipped.version, 5);
        assert_eq!(flipped.history, br#"[{"uid":"v2","flipped_at":2},{"uid":"v3","flipped_at":3}]"#);
    }

    #[test]
    fn retaining_nothing_and_the_end_of_versions() {
        assert_eq!(flip(vec![entry("v1", 1)], Some("v2".to_owned()), 1, 0, 2).unwrap().history, b"[]");
        assert!(flip(Vec::new(), None, i64::MAX, 10, 2).is_none());
    }
}
