//! What jobs promise, checked without a model of the queue: by the answers alone.

use std::collections::BTreeMap;

use super::replay::Entry;

/// One job in an answer of CLAIM.
#[derive(Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    pub id: &'a str,
    pub token: i64,
    created_at: i64,
}

/// The jobs in `[[id, token, {field: value, …}], …]`.
pub fn claimed(answer: &str) -> Vec<Claim<'_>> {
    let Some(inner) = answer.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) else {
        assert_eq!(answer, "[]");
        return Vec::new();
    };
    let claim = |text| {
        let mut parts = str::splitn(text, 3, ", ");
        let (id, token, row) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let created_at = row.split("created_at: ").nth(1).and_then(|rest| rest.split([',', '}']).next());
        Claim { id, token: token.parse().unwrap(), created_at: created_at.unwrap().parse().unwrap() }
    };
    inner.split("], [").map(claim).collect()
}

/// What is known of one job.
#[derive(Default)]
struct Known {
    holder: String,
    token: i64,
    /// The claim runs out between these two times.
    ends_since: i64,
    ends_until: i64,
    given_back: bool,
    finished: bool,
    /// An answer was lost since, that may have been about it.
    doubtful: bool,
}

/// One holder a job at any moment, tokens that rise, renewals and ends only by the one whose claim is alive, and each
/// job finished at most once, by the last who claimed it.
pub fn check(entries: &[Entry]) -> Result<(), String> {
    let mut jobs: BTreeMap<String, Known> = BTreeMap::new();
    for entry in entries {
        let words = entry.words();
        let fault = |what: &str| Err(format!("{what}: {entry:?}"));
        match (&words[..], entry.answer()) {
            (["MIROIR.JOB.CLAIM", ..] | ["MIROIR.JOB.RECLAIM", ..], None) => {
                jobs.values_mut().for_each(|job| job.doubtful = true);
            }
            (["MIROIR.JOB.CLAIM", _, holder, ttl, ..], Some(answer)) => {
                let ttl: i64 = ttl.parse().unwrap();
                let claims = claimed(answer);
                if !claims.is_sorted_by_key(|claim| (claim.created_at, claim.id)) {
                    return fault("not the oldest first");
                }
                for claim in claims {
                    let known = jobs.entry(claim.id.to_owned()).or_default();
                    if claim.token <= known.token {
                        return fault("a token that did not rise");
                    }
                    if known.finished {
                        return fault("a job that is finished was claimed");
                    }
                    let was_held = !known.given_back && !known.doubtful && entry.until < known.ends_since;
                    if was_held {
                        return fault("a second holder at the same moment");
                    }
                    let (ends_since, ends_until) = (entry.since + ttl, entry.until + ttl);
                    let (holder, token) = ((*holder).to_owned(), claim.token);
                    *known = Known { holder, token, ends_since, ends_until, ..Known::default() };
                }
            }
            ([command @ ("MIROIR.JOB.RENEW" | "MIROIR.JOB.FINISH"), key, holder, token, how, ..], answer) => {
                let id = key.strip_prefix("miroir:jobs:").unwrap();
                let known = jobs.entry(id.to_owned()).or_default();
                let Some(answer) = answer else {
                    known.doubtful = true;
                    continue;
                };
                let theirs =
                    known.holder == *holder && known.token.to_string() == *token && !known.given_back;
                if answer == "1" && known.finished {
                    return fault("a job that is finished was finished or renewed");
                }
                if answer == "1" && !known.doubtful && (!theirs || entry.since >= known.ends_until) {
                    return fault("a claim that is lost was good for something");
                }
                let alive = theirs && !known.finished && !known.doubtful && entry.until < known.ends_since;
                if answer != "1" && alive {
                    return fault("a claim that is alive was refused");
                }
                if answer == "-1" && !known.finished {
                    // Somebody failed it for its attempts, or an answer was lost.
                    known.finished = true;
                }
                if answer == "1" && *command == "MIROIR.JOB.RENEW" {
                    let ttl: i64 = how.parse().unwrap();
                    (known.ends_since, known.ends_until) = (entry.since + ttl, entry.until + ttl);
                } else if answer == "1" {
                    known.given_back = *how == "queued";
                    known.finished = !known.given_back;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::jobs::Jobs;
    use super::super::replay::{forged, replay};
    use super::{check, claimed, Claim};

    const PUT: (i64, &str, &str) = (1, "MIROIR.PUT miroir:jobs:j type dump created_at 7", "1");
    const CLAIM_A: &str = "MIROIR.JOB.CLAIM miroir:jobs a 50";
    const CLAIM_B: &str = "MIROIR.JOB.CLAIM miroir:jobs b 50";

    fn row(holder: &str, time: i64, token: i64, attempts: i64) -> String {
        format!(
            "[[j, {token}, {{attempts: {attempts}, claim_expires_at: {}, claim_token: {token}, claimed_by: \
             {holder}, created_at: 7, id: j, params: {{}}, progress: {{}}, state: in_progress, type: dump}}]]",
            time + 50
        )
    }

    #[test]
    fn answers_of_claim_are_understood() {
        let two = "[[a, 1, {created_at: 7}], [b, 2, {created_at: 8, id: b}]]";
        let claim = |id, token, created_at| Claim { id, token, created_at };
        assert_eq!(claimed(two), [claim("a", 1, 7), claim("b", 2, 8)]);
        assert_eq!(claimed("[]"), []);
    }

    #[test]
    fn forged_histories_of_jobs_are_rejected() {
        let first = row("a", 1000, 1, 1);
        let a = (1000, CLAIM_A, first.as_str());
        let finish = "MIROIR.JOB.FINISH miroir:jobs:j a 1 completed";
        let finish_b = "MIROIR.JOB.FINISH miroir:jobs:j b 2 completed";
        let renew = "MIROIR.JOB.RENEW miroir:jobs:j a 1 50";
        let too_early = row("b", 1040, 2, 2);
        let same_token = row("b", 1060, 1, 2);
        let next = row("b", 1060, 2, 2);
        let b = (1060, CLAIM_B, next.as_str());
        let again = row("b", 1020, 2, 2);
        let cases = [
            ("a second holder", vec![PUT, a, (1040, CLAIM_B, &too_early)]),
            ("did not rise", vec![PUT, a, (1060, CLAIM_B, &same_token)]),
            ("that is finished was claimed", vec![PUT, a, (1010, finish, "1"), (1020, CLAIM_B, &again)]),
            ("finished or renewed", vec![PUT, a, (1010, finish, "1"), (1011, finish, "1")]),
            ("finished or renewed", vec![PUT, a, (1010, finish, "1"), (1011, renew, "1")]),
            ("claim that is lost", vec![PUT, a, (1050, renew, "1")]),
            ("claim that is lost", vec![PUT, a, (1050, finish, "1")]),
            ("claim that is lost", vec![PUT, a, b, (1061, finish, "1")]),
            ("claim that is lost", vec![PUT, a, (1010, finish_b, "1")]),
            ("claim that is alive", vec![PUT, a, (1049, renew, "0")]),
            ("claim that is alive", vec![PUT, a, b, (1061, finish_b, "-1")]),
        ];
        for (what, history) in cases {
            let entries = forged(&history);
            let fault = check(&entries).expect_err(what);
            assert!(fault.contains(what), "{fault} instead of {what}");
            assert!(check(&entries[..entries.len() - 1]).is_ok(), "{what}");
            replay(&Jobs, &entries[..entries.len() - 1]).unwrap();
            assert!(replay(&Jobs, &entries).is_err(), "the replay accepts: {what}");
        }
    }

    /// What only the replay can know.
    #[test]
    fn a_claim_that_leaves_out_an_older_job_is_rejected() {
        let older = (2, "MIROIR.PUT miroir:jobs:i type dump created_at 3", "1");
        let claim = row("a", 1000, 1, 1);
        assert!(replay(&Jobs, &forged(&[PUT, (1000, CLAIM_A, &claim)])).is_ok());
        assert!(replay(&Jobs, &forged(&[PUT, older, (1000, CLAIM_A, &claim)])).is_err());
        assert!(replay(&Jobs, &forged(&[PUT, (1000, CLAIM_A, "[]")])).is_err());
        let mut unsorted = forged(&[(1000, CLAIM_A, "[[b, 1, {created_at: 8}], [a, 1, {created_at: 7}]]")]);
        assert!(check(&unsorted).unwrap_err().contains("oldest"));
        unsorted[0].answer = None;
        assert!(check(&unsorted).is_ok());
    }
}
