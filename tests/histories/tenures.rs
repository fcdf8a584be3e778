//! What leases promise, checked without a model of them: by the answers alone.

use std::collections::BTreeMap;

use super::replay::Entry;

/// The tenure that the last grant in a scope began or went on with.
struct Tenure {
    holder: String,
    token: i64,
    /// The lease ends between these two times, unless it was released.
    ends_since: i64,
    ends_until: i64,
    released: bool,
    /// An answer was lost since: the tenure may be another one by now.
    doubtful: bool,
}

/// One holder at any moment, tokens that rise with each tenure, and no write of a deposed leader.
pub fn check(entries: &[Entry]) -> Result<(), String> {
    let mut scopes: BTreeMap<&str, Tenure> = BTreeMap::new();
    for entry in entries {
        let words = entry.words();
        let fault = |what: &str| Err(format!("{what}: {entry:?}"));
        if let Some(place) = words.iter().position(|word| *word == "FENCE") {
            let Some(answer) = entry.answer() else { continue };
            let token: i64 = words[place + 2].parse().unwrap();
            let tenure = scopes.get(words[place + 1]).filter(|tenure| !tenure.doubtful);
            let Some(tenure) = tenure else { continue };
            let stale = answer.starts_with("STALE ");
            let is_over = tenure.released || entry.since > tenure.ends_until;
            if !stale && (token != tenure.token || is_over) {
                return fault("a fenced write of a deposed leader was accepted");
            }
            if stale && token == tenure.token && !tenure.released && entry.until < tenure.ends_since {
                return fault("the fenced write of the leader was refused");
            }
            continue;
        }
        let (command, key) = match words[..] {
            [command, key, ..] if command.starts_with("MIROIR.LEASE.") => (command, key),
            _ => continue,
        };
        let Some(answer) = entry.answer() else {
            if let Some(tenure) = scopes.get_mut(key) {
                tenure.doubtful = true;
            }
            continue;
        };
        if command == "MIROIR.LEASE.RELEASE" && answer == "1" {
            if let Some(tenure) = scopes.get_mut(key) {
                tenure.released = true;
            }
        }
        let Some(granted) = answer.strip_prefix("[1, ") else { continue };
        let parts: Vec<&str> = granted.trim_end_matches(']').split(", ").collect();
        let [holder, ttl, token] = parts[..] else { return fault("a grant of another shape") };
        let (ttl, token): (i64, i64) = (ttl.parse().unwrap(), token.parse().unwrap());
        if let Some(before) = scopes.get(key) {
            let same = before.token == token;
            if same && before.holder != holder {
                return fault("two holders have one token");
            }
            if same && !before.doubtful && (before.released || entry.since > before.ends_until) {
                return fault("a tenure that was over goes on with its token");
            }
            if token < before.token {
                return fault("a token fell");
            }
            let was_over = before.released || before.doubtful || entry.until >= before.ends_since;
            if !same && !was_over {
                return fault("a second holder at the same moment");
            }
        }
        let (ends_since, ends_until) = (entry.since + ttl, entry.until + ttl);
        let holder = holder.to_owned();
        let tenure = Tenure { holder, token, ends_since, ends_until, released: false, doubtful: false };
        scopes.insert(key, tenure);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::leases::Leases;
    use super::super::replay::{forged, replay};
    use super::check;

    /// The time, the call and its answer.
    type Step = (i64, &'static str, &'static str);

    const A: Step = (1000, "MIROIR.LEASE.ACQUIRE miroir:lease:x a 50", "[1, a, 50, 1]");
    const FLIP: &str = "MIROIR.ALIAS.FLIP miroir:aliases:shared v RETAIN 2 FENCE miroir:lease:x";

    /// The histories that each of the two checkers has to reject at the last call, and what the first one says.
    fn wrong() -> Vec<(&'static str, Vec<Step>)> {
        let acquire_b = "MIROIR.LEASE.ACQUIRE miroir:lease:x b 50";
        let release = (1010, "MIROIR.LEASE.RELEASE miroir:lease:x a TOKEN 1", "1");
        let fenced = "MIROIR.ALIAS.FLIP miroir:aliases:shared v RETAIN 2 FENCE miroir:lease:x 1";
        let wrong_token = "MIROIR.ALIAS.FLIP miroir:aliases:shared v RETAIN 2 FENCE miroir:lease:x 2";
        assert!(fenced.starts_with(FLIP) && wrong_token.starts_with(FLIP));
        vec![
            ("a second holder", vec![A, (1040, acquire_b, "[1, b, 50, 2]")]),
            ("two holders have one token", vec![A, (1100, acquire_b, "[1, b, 50, 1]")]),
            ("a token fell", vec![A, release, (1100, acquire_b, "[1, b, 50, 0]")]),
            (
                "goes on with its token",
                vec![A, (1052, "MIROIR.LEASE.RENEW miroir:lease:x a 50", "[1, a, 50, 1]")],
            ),
            ("goes on with its token", vec![A, release, (1020, A.1, A.2)]),
            ("deposed leader was accepted", vec![A, (1052, fenced, "-2")]),
            ("deposed leader was accepted", vec![A, release, (1020, fenced, "-2")]),
            ("deposed leader was accepted", vec![A, (1020, wrong_token, "-2")]),
            (
                "deposed leader was accepted",
                vec![A, (1100, acquire_b, "[1, b, 50, 2]"), (1101, fenced, "-2")],
            ),
            ("leader was refused", vec![A, (1020, fenced, "STALE the lease")]),
        ]
    }

    #[test]
    fn forged_histories_of_leases_are_rejected() {
        for (what, history) in wrong() {
            let entries = forged(&history);
            let fault = check(&entries).expect_err(what);
            assert!(fault.contains(what), "{fault} instead of {what}");
            assert!(check(&entries[..entries.len() - 1]).is_ok(), "{what}");
            assert!(replay(&Leases, &entries[..entries.len() - 1]).is_ok(), "{what}");
            assert!(replay(&Leases, &entries).is_err(), "the replay accepts: {what}");
        }
    }

    #[test]
    fn an_answer_that_was_lost_leaves_both_possible() {
        let acquire_b = "MIROIR.LEASE.ACQUIRE miroir:lease:x b 50";
        let refused = forged(&[A, (1040, acquire_b, "[0, a, 10, 1]")]);
        assert!(replay(&Leases, &refused).is_ok());
        // Whether a renewed in time, nobody knows; b tells it.
        let mut entries = forged(&[
            A,
            (1040, "MIROIR.LEASE.RENEW miroir:lease:x a 50", ""),
            (1060, acquire_b, "[0, a, 35, 1]"),
        ]);
        assert!(replay(&Leases, &entries).is_err(), "renewed at 1045, when it was asked at 1040");
        entries[1].answer = None;
        entries[1].until = 1050;
        assert!(replay(&Leases, &entries).is_ok() && check(&entries).is_ok());
        entries[2].answer = Some(("[1, b, 50, 2]".to_owned(), Vec::new()));
        assert!(replay(&Leases, &entries).is_err(), "it was renewed, whenever that was");
    }
}
