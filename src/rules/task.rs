//! The statuses of a task and how one follows another.

/// The statuses that never change again.
pub const TERMINAL: &[&str] = &["succeeded", "failed", "canceled"];

/// Whether the status is an end.
#[must_use]
pub fn is_terminal(status: &[u8]) -> bool {
    TERMINAL.iter().any(|terminal| terminal.as_bytes() == status)
}

/// Whether a task in status `from` may be in status `to` next: enqueued → processing → an end, or
/// enqueued → an end. Staying is always allowed.
///
/// A status that is none of these, as a client without the module may have left it, may become any: otherwise
/// such a task could never be mended.
#[must_use]
pub fn may_become(from: &[u8], to: &[u8]) -> bool {
    from == to
        || match from {
            b"enqueued" => to == b"processing" || is_terminal(to),
            b"processing" => is_terminal(to),
            _ => !is_terminal(from),
        }
}

/// The field that dates the arrival in a status, if there is one.
#[must_use]
pub fn dated_by(status: &[u8]) -> Option<&'static str> {
    match status {
        b"processing" => Some("started_at"),
        _ if is_terminal(status) => Some("finished_at"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tables::TASK_STATUSES;

    #[test]
    fn the_whole_table_of_transitions() {
        let allowed = |from: &str, to: &str| may_become(from.as_bytes(), to.as_bytes());
        for from in TASK_STATUSES {
            for to in TASK_STATUSES {
                let expected = match (*from, *to) {
                    (from, to) if from == to => true,
                    ("enqueued", _) => true,
                    ("processing", to) => TERMINAL.contains(&to),
                    _ => false,
                };
                assert_eq!(allowed(from, to), expected, "{from} -> {to}");
            }
        }
        assert!(may_become(b"strange", b"enqueued"));
    }
}
