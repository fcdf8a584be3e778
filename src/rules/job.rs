//! Jobs: who may claim one, who holds it, how it ends.
//!
//! A claim is held until its end, by the holder who got its token. Both have to be right for whatever the holder does
//! with the job: the same pod may have claimed it again meanwhile.

use super::row::{present, Changes, Expiry, Stored, Value};
use crate::schema::value::integer;
use crate::schema::Table;

/// The state of a job that waits for a worker.
pub const QUEUED: &str = "queued";
const RUNNING: &str = "in_progress";
/// The states in which a job ends.
const ENDS: &[&str] = &["completed", "failed"];

/// What FINISH can make of a job.
pub const OUTCOMES: &[&str] = &["completed", "failed", QUEUED];

/// A job as it stands, as far as claims are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job<'s> {
    state: Option<&'s [u8]>,
    kind: Option<&'s [u8]>,
    claimed_by: Option<&'s [u8]>,
    claim_ends_at: i64,
    /// The token of the last claim, 0 for none; None for what cannot be read.
    last_token: Option<i64>,
    /// How often it was claimed; None for what cannot be read.
    attempts: Option<i64>,
}

/// What becomes of a job that somebody wants to claim, or to put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is not to be had: it is done, somebody holds it, or its state is none that the module knows.
    Leave,
    /// It is to be had, with these numbers for its next claim.
    Take {
        /// The token of the claim.
        token: i64,
        /// The number of claims with it.
        attempts: i64,
    },
    /// It was tried often enough, or can never be claimed: it fails, for this reason.
    GiveUp(String),
}

impl<'s> Job<'s> {
    /// Reads a stored row.
    #[must_use]
    pub fn of(stored: &Stored<'s>) -> Self {
        let number = |name| match present(stored, name) {
            None => Some(0),
            Some(text) => integer(text).filter(|number| *number >= 0),
        };
        Self {
            state: present(stored, "state"),
            kind: present(stored, "type"),
            claimed_by: present(stored, "claimed_by"),
            // A claim whose end cannot be read ran out before all others: it must not keep its job for ever.
            claim_ends_at: number("claim_expires_at").unwrap_or(0),
            last_token: number("claim_token"),
            attempts: number("attempts"),
        }
    }

    /// Whether it is of one of these types; without any it always is.
    #[must_use]
    pub fn is_of(&self, types: &[&[u8]]) -> bool {
        types.is_empty() || self.kind.is_some_and(|kind| types.contains(&kind))
    }

    /// Whether it has come to an end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        ENDS.iter().any(|end| self.state == Some(end.as_bytes()))
    }

    /// Whether the claim on it has run out at `now`, in ms.
    #[must_use]
    pub fn has_lapsed(&self, now: i64) -> bool {
        self.state == Some(RUNNING.as_bytes()) && self.claim_ends_at <= now
    }

    /// Whether a holder has the claim with this token at `now`, in ms.
    #[must_use]
    pub fn is_held_by(&self, holder: &[u8], token: i64, now: i64) -> bool {
        self.state == Some(RUNNING.as_bytes())
            && self.claimed_by == Some(holder)
            && self.last_token == Some(token)
            && self.claim_ends_at > now
    }

    /// Somebody wants to claim it at `now`, in ms, unless it was claimed `most_attempts` times before.
    #[must_use]
    pub fn claim(&self, now: i64, most_attempts: Option<i64>) -> Verdict {
        if self.state == Some(QUEUED.as_bytes()) || self.has_lapsed(now) {
            self.next_claim(most_attempts)
        } else {
            Verdict::Leave
        }
    }

    /// Somebody wants to put it back into the queue, if its claim has run out at `now`, in ms.
    #[must_use]
    pub fn reclaim(&self, now: i64, most_attempts: Option<i64>) -> Verdict {
        if self.has_lapsed(now) {
            self.next_claim(most_attempts)
        } else {
            Verdict::Leave
        }
    }

    fn next_claim(&self, most_attempts: Option<i64>) -> Verdict {
        let unreadable =
            |field| Verdict::GiveUp(format!("the stored field '{field}' is no number that can rise"));
        let Some(attempts) = self.attempts.filter(|attempts| *attempts < i64::MAX) else {
            return unreadable("attempts");
        };
        if let Some(most) = most_attempts.filter(|most| attempts >= *most) {
            return Verdict::GiveUp(format!("gave up after {attempts} attempts, of at most {most}"));
        }
        let Some(token) = self.last_token.filter(|token| *token < i64::MAX) else {
            return unreadable("claim_token");
        };
        Verdict::Take { token: token + 1, attempts: attempts + 1 }
    }
}

/// A row that changes.
struct Draft<'a> {
    table: &'static Table,
    changes: Changes<'a>,
}

impl<'a> Draft<'a> {
    fn new(table: &'static Table, state: &'static str) -> Self {
        let changes = Changes {
            set: Vec::with_capacity(6),
            remove: Vec::new(),
            expiry: Expiry::Keep,
            in_subset: Some(state == QUEUED),
            is_listed: true,
        };
        Self { table, changes }.set("state", Value::Given(state.as_bytes()))
    }

    fn set(mut self, name: &str, value: Value<'a>) -> Self {
        self.changes.set.extend(self.table.field(name.as_bytes()).map(|field| (field, value)));
        self
    }

    fn number(self, name: &str, number: i64) -> Self {
        self.set(name, Value::Made(number.to_string().into_bytes()))
    }

    fn set_some(self, name: &str, value: Option<&'a [u8]>) -> Self {
        match value {
            Some(value) => self.set(name, Value::Given(value)),
            None => self,
        }
    }

    fn remove(mut self, names: &[&str]) -> Self {
        self.changes.remove.extend(names.iter().map(|name| name.as_bytes().to_vec()));
        self
    }
}

/// What a claim writes; it ends at `ends_at`, in ms.
#[must_use]
pub fn claimed<'a>(
    table: &'static Table,
    holder: &'a [u8],
    token: i64,
    attempts: i64,
    ends_at: i64,
) -> Changes<'a> {
    Draft::new(table, RUNNING)
        .set("claimed_by", Value::Given(holder))
        .number("claim_token", token)
        .number("claim_expires_at", ends_at)
        .number("attempts", attempts)
        .changes
}

/// What the end of a job at `now`, in ms, writes, or of one attempt: an outcome of [`OUTCOMES`]. Who had it last stays on
/// record; back in the queue only its token does, so that the next claim has a higher one.
#[must_use]
pub fn ended<'a>(
    table: &'static Table,
    outcome: &'static str,
    progress: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
    now: i64,
) -> Changes<'a> {
    let draft = Draft::new(table, outcome)
        .set_some("progress", progress)
        .set_some("error", error)
        .remove(&["claim_expires_at"]);
    let draft = match outcome {
        QUEUED => return draft.remove(&["claimed_by"]).changes,
        // What went wrong in an attempt before is no error of a job that is completed.
        "completed" if error.is_none() => draft.remove(&["error"]),
        _ => draft,
    };
    draft.number("finished_at", now).changes
}

/// What giving a job up at `now`, in ms, writes.
#[must_use]
pub fn given_up<'a>(table: &'static Table, reason: String, now: i64) -> Changes<'a> {
    Draft::new(table, "failed")
        .number("finished_at", now)
        .set("error", Value::Made(reason.into_bytes()))
        .remove(&["claim_expires_at"])
        .changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use proptest::prelude::*;

    fn fields(row: &[(String, String)]) -> Vec<(&[u8], &[u8])> {
        row.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn row(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// The row after changes.
    fn after(row: &[(String, String)], changes: &Changes<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields = fields(row);
        super::super::row::changed(&fields, changes)
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    #[test]
    fn a_claim_lasts_until_its_end_and_not_a_millisecond_longer() {
        let held = row(&[
            ("type", "t"),
            ("state", "in_progress"),
            ("claimed_by", "a"),
            ("claim_token", "3"),
            ("claim_expires_at", "100"),
        ]);
        let held = fields(&held);
        let job = Job::of(&held);
        assert!(job.is_held_by(b"a", 3, 99) && !job.is_held_by(b"a", 3, 100));
        assert!(!job.is_held_by(b"b", 3, 99) && !job.is_held_by(b"a", 2, 99) && !job.is_held_by(b"a", 4, 99));
        assert_eq!(job.claim(99, None), Verdict::Leave);
        assert_eq!(job.claim(100, None), Verdict::Take { token: 4, attempts: 1 });
        assert_eq!(job.reclaim(99, None), Verdict::Leave);
    }

    #[test]
    fn what_cannot_be_read_ends_instead_of_standing_in_the_way() {
        for (field, value) in [
            ("attempts", "many"),
            ("attempts", "9223372036854775807"),
            ("claim_token", "-1"),
            ("claim_token", "9223372036854775807"),
        ] {
            let row = row(&[("type", "t"), ("state", "queued"), (field, value)]);
            let verdict = Job::of(&fields(&row)).claim(5, None);
            assert!(
                matches!(&verdict, Verdict::GiveUp(reason) if reason.contains(field)),
                "{field} {value}: {verdict:?}"
            );
        }
        let endless = row(&[("type", "t"), ("state", "in_progress"), ("claim_expires_at", "soon")]);
        assert!(Job::of(&fields(&endless)).has_lapsed(0));
        for state in ["", "strange", "completed", "failed"] {
            let row = row(&[("type", "t"), ("state", state)]);
            assert_eq!(Job::of(&fields(&row)).claim(i64::MAX, None), Verdict::Leave);
        }
    }

    #[test]
    fn attempts_are_bounded_where_the_claim_says_so() {
        let tried = row(&[("type", "t"), ("state", "queued"), ("attempts", "3")]);
        let tried = fields(&tried);
        let job = Job::of(&tried);
        assert_eq!(job.claim(0, Some(4)), Verdict::Take { token: 1, attempts: 4 });
        assert!(matches!(job.claim(0, Some(3)), Verdict::GiveUp(reason) if reason.contains("3 attempts")));
        assert_eq!(job.claim(0, None), Verdict::Take { token: 1, attempts: 4 });
    }

    #[derive(Debug, Clone)]
    enum Step {
        Claim(u8),
        Reclaim,
        Finish(u8, usize),
        Wait(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u8..3).prop_map(Step::Claim),
            1 => Just(Step::Reclaim),
            2 => (0u8..3, 0usize..3).prop_map(|(who, outcome)| Step::Finish(who, outcome)),
            3 => (0i64..80).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Each holder believes in the last token that he was given, however long ago.
        #[test]
        fn one_holder_at_a_time_and_tokens_that_rise(steps in steps(), start in prop_oneof![Just(0), Just(i64::MAX / 2)]) {
            const LIFE: i64 = 50;
            let table = schema::table("jobs").unwrap();
            let mut now = start;
            let mut job = row(&[("type", "t"), ("state", "queued")]);
            let mut tokens = [0i64; 3];
            let (mut last, mut holder) = (0, None::<(u8, i64)>);
            for step in steps {
                let before = fields(&job);
                let standing = Job::of(&before);
                let name = |who: u8| [b'a' + who];
                let is_over = standing.is_finished();
                let next = match step {
                    Step::Wait(time) => {
                        now += time;
                        None
                    }
                    Step::Claim(who) => match standing.claim(now, None) {
                        Verdict::Take { token, attempts } => {
                            prop_assert!(token > last && !is_over);
                            prop_assert!(holder.is_none_or(|(_, end)| end <= now), "two holders");
                            (last, tokens[who as usize], holder) = (token, token, Some((who, now + LIFE)));
                            Some(after(&job, &claimed(table, &name(who), token, attempts, now + LIFE)))
                        }
                        verdict => {
                            prop_assert_eq!(verdict, Verdict::Leave);
                            prop_assert!(is_over || holder.is_some_and(|(_, end)| end > now));
                            None
                        }
                    },
                    Step::Reclaim => match standing.reclaim(now, None) {
                        Verdict::Take { .. } => {
                            prop_assert!(holder.is_some_and(|(_, end)| end <= now));
                            holder = None;
                            Some(after(&job, &ended(table, QUEUED, None, None, now)))
                        }
                        _ => None,
                    },
                    Step::Finish(who, outcome) => {
                        let token = tokens[who as usize];
                        let may = standing.is_held_by(&name(who), token, now);
                        prop_assert_eq!(may, holder.is_some_and(|(of, end)| of == who && end > now) && token == last);
                        may.then(|| {
                            holder = None;
                            after(&job, &ended(table, OUTCOMES[outcome], None, None, now))
                        })
                    }
                };
                if let Some(next) = next {
                    job = next;
                }
            }
        }
    }
}
