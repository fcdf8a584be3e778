//! What the server shows of itself around the calls: whether anything changed, what time a call took, and what it logged.

use std::time::Duration;

use redis::Value;

use super::support::{figure, Client, Server};

/// The longest that a call may keep the server busy.
const LONGEST: Duration = Duration::from_millis(50);

/// What the server's log holds when it, or the module, has broken down.
const ALARMS: &[&str] = &["internal error", "BUG REPORT", "ASSERTION FAILED", "crashed by signal", "panic"];

/// What was there between two calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// How far the replication stream is: every change goes into it.
    pub offset: i64,
    /// The digest of all data, where it was asked for.
    pub digest: Option<String>,
}

impl Standing {
    /// From the answers of ROLE and of DEBUG DIGEST.
    pub fn of(role: &Value, digest: Option<&Value>) -> Self {
        let offset = match role {
            Value::Array(parts) => match parts.get(1) {
                Some(Value::Int(offset)) => *offset,
                other => panic!("ROLE: {other:?}"),
            },
            other => panic!("ROLE: {other:?}"),
        };
        let digest = digest.map(|digest| match digest {
            Value::SimpleString(text) => text.clone(),
            other => panic!("DEBUG DIGEST: {other:?}"),
        });
        Self { offset, digest }
    }

    /// What is different, if anything is.
    pub fn difference(&self, later: &Self) -> Option<&'static str> {
        let is_other = match (&self.digest, &later.digest) {
            (Some(before), Some(after)) => before != after,
            _ => false,
        };
        match (is_other, self.offset != later.offset) {
            (false, false) => None,
            (true, false) => Some("the data changed, and the replicas were not told"),
            (false, true) => Some("the replicas were told of changes"),
            (true, true) => Some("the data changed"),
        }
    }
}

/// How many keys and fields the server has deleted because their time was up.
pub fn expired(stats: &str) -> i64 {
    ["expired_keys", "expired_subkeys", "expired_fields"].iter().filter_map(|name| figure(stats, name)).sum()
}

/// Calls that took long, by the server's own measure.
#[derive(Debug)]
pub struct Slow {
    pub took: Duration,
    pub words: Vec<Vec<u8>>,
}

/// What SLOWLOG GET answered.
pub fn slow_calls(answer: &Value) -> Vec<Slow> {
    let Value::Array(entries) = answer else { panic!("SLOWLOG: {answer:?}") };
    let call = |entry: &Value| {
        let Value::Array(parts) = entry else { return None };
        let (Some(Value::Int(micros)), Some(Value::Array(words))) = (parts.get(2), parts.get(3)) else {
            return None;
        };
        let words = words.iter().filter_map(|word| match word {
            Value::BulkString(word) => Some(word.clone()),
            _ => None,
        });
        Some(Slow { took: Duration::from_micros((*micros).try_into().ok()?), words: words.collect() })
    };
    entries.iter().filter_map(call).collect()
}

/// Watches how long calls keep the server busy. A machine that does other things as well makes a call look long: how
/// long the server's thread had to wait for a processor tells these from the others.
pub struct Clock {
    path: String,
    limit: Duration,
    /// How long the server had waited for a processor when this was last asked.
    waited_before: Duration,
    pub longest: Duration,
    /// How many looked too long and were not.
    pub disturbed: usize,
}

impl Clock {
    pub fn new(client: &mut Client) -> Self {
        let process = client.figure("server", "process_id");
        let path = format!("/proc/{process}/task/{process}/schedstat");
        let limit = LONGEST * super::support::slowness();
        Self { path, limit, waited_before: Duration::ZERO, longest: Duration::ZERO, disturbed: 0 }
    }

    /// How long the server's main thread has waited for a processor so far.
    fn waited(&self) -> Duration {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        Duration::from_nanos(text.split(' ').nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0))
    }

    /// The calls that took too long, of all since this was asked last.
    pub fn judge(&mut self, calls: Vec<Slow>) -> Vec<Slow> {
        let waited = self.waited();
        let meanwhile = waited.saturating_sub(std::mem::replace(&mut self.waited_before, waited));
        let mut too_long = Vec::new();
        for mut call in calls {
            let looked = call.took;
            call.took = call.took.saturating_sub(meanwhile);
            self.longest = self.longest.max(call.took);
            if call.took > self.limit {
                too_long.push(call);
            } else if looked > self.limit {
                self.disturbed += 1;
            }
        }
        too_long
    }
}

/// The lines of the server's log that tell of a fault.
pub fn alarms(server: &Server) -> Vec<String> {
    let log = server.log();
    log.lines().filter(|line| ALARMS.iter().any(|alarm| line.contains(alarm))).map(str::to_owned).collect()
}

/// From LATENCY HISTOGRAM: how many calls of the module's commands took up to so many microseconds.
pub fn histogram(client: &mut Client) -> Vec<(u64, u64)> {
    let answer = client.raw(&["LATENCY", "HISTOGRAM"]);
    let mut all = std::collections::BTreeMap::<u64, u64>::new();
    let Ok(Value::Array(commands)) = answer else { return Vec::new() };
    for pair in commands.chunks(2) {
        let [Value::BulkString(name), Value::Array(about)] = pair else { continue };
        let Some(Value::Array(counts)) = about.last() else { continue };
        if !name.to_ascii_uppercase().starts_with(b"MIROIR.") {
            continue;
        }
        // Each bucket counts those of the smaller ones as well.
        let mut below = 0;
        for bucket in counts.chunks(2) {
            if let [Value::Int(micros), Value::Int(count)] = bucket {
                *all.entry(micros.unsigned_abs()).or_default() += count.unsigned_abs() - below;
                below = count.unsigned_abs();
            }
        }
    }
    all.into_iter().collect()
}
