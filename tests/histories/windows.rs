//! What rate limits promise, checked by the answers alone.

use std::collections::BTreeMap;

use super::replay::Entry;

/// A window in which hits were allowed.
struct Window {
    /// The costs that were allowed in it.
    spent: i64,
    /// It ends between these two times.
    ends_since: i64,
    ends_until: i64,
    /// An answer was lost since, that may have cost something.
    doubtful: bool,
}

/// Never more than the limit in a window, no refusal while there is enough left, and no window that a hit prolongs.
pub fn check(entries: &[Entry]) -> Result<(), String> {
    let mut windows: BTreeMap<&str, Window> = BTreeMap::new();
    for entry in entries {
        let words = entry.words();
        let ["MIROIR.RATELIMIT.HIT", key, limit, length, options @ ..] = &words[..] else { continue };
        let fault = |what: &str| Err(format!("{what}: {entry:?}"));
        let Some(answer) = entry.answer() else {
            let unknown = Window { spent: 0, ends_since: i64::MIN, ends_until: i64::MAX, doubtful: true };
            windows.entry(key).or_insert(unknown).doubtful = true;
            continue;
        };
        let answer: Vec<i64> =
            answer.trim_matches(['[', ']']).split(", ").map(|number| number.parse().unwrap()).collect();
        let [allowed, remaining, retry, reset] = answer[..] else { return fault("another shape") };
        let (limit, length): (i64, i64) = (limit.parse().unwrap(), length.parse().unwrap());
        let cost = options.iter().position(|word| *word == "COST").map_or(1, |place| {
            let cost: i64 = options[place + 1].parse().unwrap();
            cost
        });
        if (allowed == 0) != (retry > 0) || remaining < 0 || remaining > limit {
            return fault("numbers that contradict each other");
        }
        // The same window as before, a new one, or nobody knows.
        let known = windows.get_mut(key);
        let same = known.as_ref().is_some_and(|window| entry.until < window.ends_since);
        if let Some(window) = known.filter(|_| same) {
            if reset > 1
                && (entry.since + reset > window.ends_until || entry.until + reset < window.ends_since)
            {
                return fault("the end of a window moved");
            }
            let charged = if allowed == 1 && !options.contains(&"PEEK") { cost } else { 0 };
            window.spent += charged;
            if charged > 0 && window.spent > limit {
                return fault("more than the limit in a window");
            }
            if allowed == 1 && charged == 0 && window.spent + cost > limit {
                return fault("more than the limit was promised");
            }
            let left = (limit - window.spent).max(0);
            if !window.doubtful && remaining != left {
                return fault("not what remains");
            }
            if window.doubtful && remaining > left {
                return fault("more remains than was left");
            }
            if !window.doubtful && allowed == 0 && cost <= left {
                return fault("a hit within the limit was refused");
            }
            continue;
        }
        let is_over =
            windows.get(key).is_none_or(|window| entry.since > window.ends_until && !window.doubtful);
        if is_over && allowed == 0 && cost <= limit {
            return fault("a hit in a new window was refused");
        }
        if allowed == 1 && cost > limit {
            return fault("more than the limit at once");
        }
        if allowed == 1 && !options.contains(&"PEEK") {
            if is_over && (reset != length || remaining != limit - cost) {
                return fault("a new window that is not whole");
            }
            // What was spent in it before, if it is not new, the answer tells.
            let spent = limit - remaining;
            // In its last moment a window has ended, and says 1 all the same.
            let (ends_since, ends_until) =
                (entry.since + if reset > 1 { reset } else { 0 }, entry.until + reset);
            windows.insert(key, Window { spent, ends_since, ends_until, doubtful: false });
        } else if let Some(window) = windows.get_mut(key).filter(|_| !is_over) {
            window.doubtful = true;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::super::replay::{forged, replay};
    use super::check;

    const HIT: &str = "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:0 5 50";
    const THREE: &str = "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:0 5 50 COST 3";
    const LOOK: &str = "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:0 5 50 COST 3 PEEK";

    #[test]
    fn forged_histories_of_limits_are_rejected() {
        let first = (1000, THREE, "[1, 2, 0, 50]");
        let cases = [
            ("more than the limit in a window", vec![first, (1010, THREE, "[1, 0, 0, 40]")]),
            ("limit was promised", vec![first, (1010, LOOK, "[1, 2, 0, 40]")]),
            ("end of a window moved", vec![first, (1010, HIT, "[1, 1, 0, 50]")]),
            ("end of a window moved", vec![first, (1010, THREE, "[0, 2, 50, 50]")]),
            ("not what remains", vec![first, (1010, HIT, "[1, 0, 0, 40]")]),
            ("not what remains", vec![first, (1010, THREE, "[0, 1, 40, 40]")]),
            ("within the limit was refused", vec![first, (1010, HIT, "[0, 2, 40, 40]")]),
            ("new window was refused", vec![first, (1052, HIT, "[0, 5, 1, 0]")]),
            ("that is not whole", vec![first, (1052, HIT, "[1, 1, 0, 50]")]),
            ("contradict", vec![first, (1010, THREE, "[0, 2, 0, 40]")]),
            ("contradict", vec![first, (1010, HIT, "[1, 1, 40, 40]")]),
        ];
        for (what, history) in cases {
            let entries = forged(&history);
            let fault = check(&entries).expect_err(what);
            assert!(fault.contains(what), "{fault} instead of {what}");
            assert!(check(&entries[..entries.len() - 1]).is_ok(), "{what}");
            replay(&Limits, &entries[..entries.len() - 1]).unwrap();
            assert!(replay(&Limits, &entries).is_err(), "the replay accepts: {what}");
        }
        // A refusal that lasts as long as the window says so, and costs nothing.
        let right = [
            first,
            (1010, THREE, "[0, 2, 40, 40]"),
            (1049, LOOK, "[0, 2, 1, 1]"),
            (1052, LOOK, "[1, 5, 0, 0]"),
        ];
        assert!(check(&forged(&right)).is_ok() && replay(&Limits, &forged(&right)).is_ok());
    }

    #[test]
    fn forged_histories_of_logins_are_rejected() {
        let check = "MIROIR.LOGIN.CHECK miroir:ratelimit:adminlogin:0 6 50";
        let fail = "MIROIR.LOGIN.FAIL miroir:ratelimit:adminlogin:0 3 10 70";
        let failures = [(1000, fail, "[1, 0]"), (1001, fail, "[2, 0]"), (1002, fail, "[3, 10]")];
        let with = |last| replay(&Limits, &forged(&[&failures[..], &[last]].concat()));
        assert!(with((1005, check, "[0, 6, 7]")).is_ok());
        assert!(with((1005, check, "[1, 5, 0]")).is_err(), "allowed during the backoff");
        assert!(with((1005, check, "[0, 5, 7]")).is_err(), "a refusal that costs something");
        assert!(with((1012, check, "[1, 5, 0]")).is_ok());
        assert!(with((1012, check, "[0, 6, 1]")).is_err(), "the backoff is over");
        assert!(with((1012, fail, "[4, 20]")).is_ok(), "the count outlives the backoff");
        assert!(with((1012, fail, "[1, 0]")).is_err());
        assert!(with((1012, fail, "[4, 10]")).is_err(), "it doubles");
    }
}
