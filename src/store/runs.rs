//! The history of a canary: a sorted set of runs by the time at which they ran.

use serde::{Deserialize, Serialize};

use crate::errors::Outcome;
use crate::rules::runs;
use crate::schema::json;
use crate::server::{Arg, Context, End, KeyType, Words};

/// Up to how many runs leave one by one. For more a call by rank is cheaper.
const FEW: i64 = 16;

/// The states of a run.
pub const STATUSES: &[&str] = &["pass", "fail", "error"];

/// One run, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The canary.
    pub canary_id: String,
    /// When it ran, in ms since the epoch.
    pub ran_at: i64,
    /// How it went: one of [`STATUSES`].
    pub status: String,
    /// How long it took, in ms.
    pub latency_ms: i64,
    /// What failed, as JSON in a string; null when nothing was said.
    pub failed_assertions_json: Option<String>,
}

/// What recording did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// How many runs the history holds now.
    pub kept: i64,
    /// How many left it, for their age or their number.
    pub trimmed: i64,
    /// When the history's life ends, in ms, where another client has given it an end.
    pub expires_at: Option<i64>,
}

/// Adds a run, or replaces the one of the same time, and trims the history to `keep` runs none of which ran
/// before `oldest_kept`.
///
/// # Errors
/// WRONGTYPE for a foreign value at the key.
pub fn record(
    context: &Context<'_>,
    key: Arg<'_>,
    run: &Run,
    keep: i64,
    oldest_kept: Option<i64>,
) -> Outcome<Recorded> {
    let (held, expires_at, newest, oldest) = {
        let history = context.open(key);
        history.expect(KeyType::SortedSet)?;
        let held = i64::try_from(history.len()).unwrap_or(i64::MAX);
        // Only a limit of age asks for the oldest.
        let oldest = oldest_kept.and_then(|_| history.score_at(End::First));
        (held, history.expires_at(), history.score_at(End::Last), oldest)
    };
    // Runs are recorded one after the other: then nothing has to be counted, and the oldest go one by one.
    let is_newest = newest.is_none_or(|newest| newest < run.ran_at as f64);
    let none_is_outdated = oldest_kept
        .is_none_or(|kept| run.ran_at >= kept && oldest.is_none_or(|oldest| oldest >= kept as f64));
    if is_newest && none_is_outdated {
        let trim = runs::trim(held, held, 0, false, keep);
        if !trim.includes_new && trim.count <= FEW {
            context.add_last(key, run.ran_at, &json::write(run), trim.count)?;
            return Ok(Recorded { kept: held + 1 - trim.count, trimmed: trim.count, expires_at });
        }
    }
    let at = run.ran_at.to_string();
    let same = count(context, key, &at, &at)?;
    let older = count(context, key, "-inf", &format!("({at}"))?;
    let outdated = match oldest_kept {
        Some(oldest) => {
            let outdated = count(context, key, "-inf", &format!("({oldest}"))?;
            outdated - if run.ran_at < oldest { same } else { 0 }
        }
        None => 0,
    };
    let new_is_outdated = oldest_kept.is_some_and(|oldest| run.ran_at < oldest);
    let trim = runs::trim(held - same, older, outdated, new_is_outdated, keep);

    if same > 0 {
        let mut words = Words::with_capacity(3);
        words.arg(key).bytes(at.as_bytes()).bytes(at.as_bytes());
        context.write(c"ZREMRANGEBYSCORE", &words)?;
    }
    if !trim.includes_new {
        let mut words = Words::with_capacity(3);
        words.arg(key).bytes(at.as_bytes()).bytes(&json::write(run));
        context.write(c"ZADD", &words)?;
    }
    let stored = trim.count - i64::from(trim.includes_new);
    if stored > 0 {
        let mut words = Words::with_capacity(3);
        words.arg(key).number(0).number(stored - 1);
        context.write(c"ZREMRANGEBYRANK", &words)?;
    }
    Ok(Recorded { kept: held - same + 1 - trim.count, trimmed: trim.count, expires_at })
}

/// The newest runs, as they are stored, newest first, each with the score of its entry: at most `max` of them,
/// if it is named, and none that ran before `since`.
///
/// # Errors
/// WRONGTYPE for a foreign value at the key.
pub fn newest(
    context: &Context<'_>,
    key: Arg<'_>,
    max: Option<i64>,
    since: Option<i64>,
) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
    let since = since.map_or("-inf".to_owned(), |since| since.to_string());
    let mut words = Words::with_capacity(7);
    // For the server a limit of -1 is no limit.
    words.arg(key).bytes(b"+inf").bytes(since.as_bytes()).bytes(b"WITHSCORES");
    words.bytes(b"LIMIT").number(0).number(max.unwrap_or(-1));
    let reply = context.read(c"ZREVRANGEBYSCORE", &words)?;
    let mut items = reply.root().iter();
    let mut runs = Vec::with_capacity(reply.root().len() / 2);
    while let (Some(member), Some(score)) = (items.next(), items.next()) {
        runs.push((member.bytes().to_vec(), score.bytes().to_vec()));
    }
    Ok(runs)
}

fn count(context: &Context<'_>, key: Arg<'_>, from: &str, to: &str) -> Outcome<i64> {
    let mut words = Words::with_capacity(3);
    words.arg(key).bytes(from.as_bytes()).bytes(to.as_bytes());
    Ok(context.read(c"ZCOUNT", &words)?.root().integer())
}
