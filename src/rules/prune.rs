//! Which rows are old enough to go.

use crate::schema::Prune;

/// The time that dates a row for pruning, if its state is an end; `time` is the first of the rule's times that it has.
///
/// A row at an end without any of its times counts as the oldest of all.
#[must_use]
pub fn dated(rule: &Prune, state: Option<&[u8]>, time: Option<i64>) -> Option<i64> {
    let state = state?;
    rule.terminal.iter().any(|terminal| terminal.as_bytes() == state).then(|| time.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_are_dated() {
        let jobs = crate::schema::table("jobs").unwrap().prune.unwrap();
        assert_eq!(dated(&jobs, Some(b"completed"), Some(5)), Some(5));
        assert_eq!(dated(&jobs, Some(b"failed"), None), Some(0));
        assert_eq!(dated(&jobs, Some(b"in_progress"), Some(5)), None);
        assert_eq!(dated(&jobs, None, Some(5)), None);
    }
}
