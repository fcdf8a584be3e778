//! Flipping an alias to other targets.

use serde_json::value::{to_raw_value, RawValue};

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

/// Puts the old target at the end of the history, keeps its newest `retain` entries, each as it was written, and
/// counts the version up. None when the version is at the end of its range.
#[must_use]
pub fn flip(
    mut history: Vec<Box<RawValue>>,
    old: Option<String>,
    version: i64,
    retain: usize,
    now: i64,
) -> Option<Flipped> {
    if let Some(uid) = old {
        history.push(to_raw_value(&Flip { uid, flipped_at: u64::try_from(now).unwrap_or(0) }).ok()?);
    }
    history.drain(..history.len().saturating_sub(retain));
    Some(Flipped { version: version.checked_add(1)?, history: json::write(&history) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(text: &str) -> Vec<Box<RawValue>> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_newest_entries_stay_in_order_and_as_they_were_written() {
        let before = history(r#"[{"uid":"v1","flipped_at":1}, {"uid":"v2","flipped_at":2, "by":"bob"}]"#);
        let flipped = flip(before, Some("v3".to_owned()), 4, 2, 3).unwrap();
        assert_eq!(flipped.version, 5);
        let text = r#"[{"uid":"v2","flipped_at":2, "by":"bob"},{"uid":"v3","flipped_at":3}]"#;
        assert_eq!(String::from_utf8(flipped.history).unwrap(), text);
    }

    #[test]
    fn retaining_nothing_and_the_end_of_versions() {
        let before = history(r#"[{"uid":"v1","flipped_at":1}]"#);
        assert_eq!(flip(before, Some("v2".to_owned()), 1, 0, 2).unwrap().history, b"[]");
        assert!(flip(Vec::new(), None, i64::MAX, 10, 2).is_none());
    }
}
