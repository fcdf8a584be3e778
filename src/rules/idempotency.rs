//! Idempotency: what a second request with the same key is told.

use super::row::{present, Stored};
use crate::schema::value::integer;

/// The state of an entry whose request is being worked on, under a lock. The life that the entry is to have once it is
/// completed may follow, in ms: the key's TTL is the lock's until then.
const IN_FLIGHT: &[u8] = b"inflight";
/// The state of an entry that was completed.
pub const COMPLETED: &str = "completed";

/// What a request finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The same request has been made before.
    Replay,
    /// The same request is being worked on.
    InFlight,
    /// Another request has used the key.
    Mismatch,
}

/// How a request with a body of this hash, 64 hexadecimal digits, stands to the entry that is there.
#[must_use]
pub fn standing(entry: &Stored<'_>, body_sha256: &[u8]) -> Standing {
    // The digits of a hash can be written in two ways.
    let is_same = present(entry, "body_sha256").is_some_and(|hash| hash.eq_ignore_ascii_case(body_sha256));
    match (is_same, life_in_flight(entry)) {
        (false, _) => Standing::Mismatch,
        (true, Some(_)) => Standing::InFlight,
        (true, None) => Standing::Replay,
    }
}

/// The state of an entry that is begun under a lock; `life_ms` is what it lives once it is completed, if not the default.
#[must_use]
pub fn in_flight(life_ms: Option<i64>) -> Vec<u8> {
    let mut state = IN_FLIGHT.to_vec();
    if let Some(life_ms) = life_ms {
        state.push(b':');
        state.extend_from_slice(life_ms.to_string().as_bytes());
    }
    state
}

/// The life in ms that an entry under a lock is to have once it is completed: `Some(None)` is the default. None for an entry
/// that is under no lock.
#[must_use]
pub fn life_in_flight(entry: &Stored<'_>) -> Option<Option<i64>> {
    let rest = present(entry, "state")?.strip_prefix(IN_FLIGHT)?;
    match rest {
        [] => Some(None),
        [b':', life @ ..] => integer(life).filter(|life| *life > 0).map(Some),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &[u8] = b"AAbb";

    fn entry(state: &[u8]) -> Vec<(&[u8], &[u8])> {
        vec![(b"body_sha256", HASH), (b"miroir_task_id", b"t"), (b"state", state)]
    }

    #[test]
    fn another_body_is_a_mismatch_whatever_the_state() {
        for state in [&b""[..], b"inflight", b"completed", b"strange"] {
            assert_eq!(standing(&entry(state), b"aabc"), Standing::Mismatch);
        }
    }

    #[test]
    fn the_same_body_is_in_flight_under_a_lock_and_else_a_replay() {
        for (state, expected) in [
            (&b"inflight"[..], Standing::InFlight),
            (b"inflight:5", Standing::InFlight),
            (b"inflight:0", Standing::Replay),
            (b"inflights", Standing::Replay),
            (b"completed", Standing::Replay),
            (b"", Standing::Replay),
        ] {
            assert_eq!(standing(&entry(state), b"aaBB"), expected, "{state:?}");
        }
    }

    proptest! {
        #[test]
        fn the_life_of_a_completed_entry_is_remembered(life in proptest::option::of(1i64..)) {
            let state = in_flight(life);
            prop_assert_eq!(life_in_flight(&entry(&state)), Some(life));
        }
    }
}
