//! Which rows are old enough to go.

use crate::schema::value::integer;
use crate::schema::Prune;

/// The time that dates a row for pruning, if the row is at an end. `value_of` reads a field of the row.
///
/// A row at an end without any of its times counts as the oldest of all.
pub fn dated<V: AsRef<[u8]>>(prune: &Prune, value_of: impl Fn(&'static str) -> Option<V>) -> Option<i64> {
    let state = value_of(prune.state)?;
    if !prune.terminal.iter().any(|terminal| terminal.as_bytes() == state.as_ref()) {
        return None;
    }
    let time = prune.times.iter().find_map(|field| value_of(field).and_then(|value| integer(value.as_ref())));
    Some(time.unwrap_or(0))
}

/// The oldest `limit` rows dated before `before`, oldest first, ties by id.
#[must_use]
pub fn batch(mut rows: Vec<(i64, Vec<u8>)>, before: i64, limit: usize) -> Vec<Vec<u8>> {
    rows.retain(|(time, _)| *time < before);
    rows.sort();
    rows.truncate(limit);
    rows.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ends_are_dated() {
        let jobs = crate::schema::table("jobs").unwrap().prune.unwrap();
        let date = |row: &[(&str, &'static str)]| {
            dated(&jobs, |name| row.iter().find(|(field, _)| *field == name).map(|(_, value)| *value))
        };
        assert_eq!(date(&[("state", "completed"), ("finished_at", "5"), ("created_at", "1")]), Some(5));
        assert_eq!(date(&[("state", "completed"), ("created_at", "1")]), Some(1));
        assert_eq!(date(&[("state", "failed")]), Some(0));
        assert_eq!(date(&[("state", "in_progress"), ("finished_at", "5")]), None);
        assert_eq!(date(&[("finished_at", "5")]), None);
    }

    #[test]
    fn the_oldest_go_first_and_the_bound_is_exclusive() {
        let rows = vec![(3, b"c".to_vec()), (1, b"b".to_vec()), (1, b"a".to_vec()), (5, b"d".to_vec())];
        assert_eq!(batch(rows.clone(), 5, 10), [b"a", b"b", b"c"]);
        assert_eq!(batch(rows, 5, 2), [b"a", b"b"]);
    }
}
