//! Checks of connections and of how they fare.

use super::words::{number, seconds};
use super::{Facts, Fault, Severity, Verdict};

/// How much of maxclients may be in use, in per cent: the production guide's share of concurrent requests.
const CLIENTS: u64 = 80;
/// What the tuning guide sets.
const BACKLOG: i64 = 511;
const KEEPALIVE: i64 = 300;
/// How many entries in the slow log are too many.
const SLOW_COMMANDS: i64 = 5;
/// The longest that a command may take, in microseconds.
const SLOW: i64 = 50_000;
/// From where on the tuning guide records, in microseconds.
const SLOW_LOG_FROM: i64 = 10_000;
/// From where on it records events when it diagnoses, in ms.
const LATENCY_FROM: i64 = 10;

/// Whether clients were turned away.
pub(super) fn rejected(facts: &Facts) -> Verdict {
    let rejected = facts.traffic.counted.as_ref()?.rejected;
    if rejected == 0 {
        return Ok(None);
    }
    let most = facts.clients.most.clone().unwrap_or(0);
    let found = format!(
        "{rejected} connections were refused within {}, at {most} clients: a pod that cannot connect can do nothing",
        seconds(facts.traffic.over)
    );
    Fault::new(Severity::Critical, found, twice_the_clients(most))
}

/// Whether nearly all connections are in use.
pub(super) fn most(facts: &Facts) -> Verdict {
    let (connected, most) = (facts.clients.connected.clone()?, facts.clients.most.clone()?);
    if connected.saturating_mul(100) <= most.saturating_mul(CLIENTS) {
        return Ok(None);
    }
    let found = format!(
        "{connected} of {most} clients are connected, more than {CLIENTS} %: after the last one all others are refused. If \
         the number only ever grows, a pool leaks"
    );
    Fault::new(Severity::Warning, found, twice_the_clients(most))
}

fn twice_the_clients(most: u64) -> String {
    format!("CONFIG SET maxclients {}", most.saturating_mul(2).max(100))
}

/// Whether a crowd of clients can connect at once.
pub(super) fn backlog(facts: &Facts) -> Verdict {
    let backlog = facts.clients.backlog.clone()?;
    if backlog >= BACKLOG {
        return Ok(None);
    }
    let found = format!(
        "tcp-backlog is {backlog}, less than {BACKLOG}: when all pods connect again after a failover, some are not heard"
    );
    Fault::new(Severity::Note, found, format!("tcp-backlog {BACKLOG}"))
}

/// Whether connections of pods that vanished go away.
pub(super) fn keepalive(facts: &Facts) -> Verdict {
    let keepalive = facts.clients.keepalive.clone()?;
    if (1..=KEEPALIVE).contains(&keepalive) {
        return Ok(None);
    }
    let found = format!(
        "tcp-keepalive is {keepalive}{}: connections of pods that vanished stay and count towards maxclients",
        if keepalive == 0 { ", which is never" } else { " seconds" }
    );
    Fault::new(Severity::Note, found, format!("CONFIG SET tcp-keepalive {KEEPALIVE}"))
}

/// Whether a client that does not read can fill the memory.
pub(super) fn buffers(facts: &Facts) -> Verdict {
    let is_unlimited = |classes: &[&str]| -> Result<bool, String> {
        let limits = facts.clients.buffers.as_ref()?;
        Ok(limits.iter().any(|limit| classes.contains(&limit.class.as_str()) && limit.hard == 0))
    };
    let (of_replicas, of_subscribers) = (is_unlimited(&["slave", "replica"])?, is_unlimited(&["pubsub"])?);
    let (who, limits) = match (of_replicas, of_subscribers) {
        (false, false) => return Ok(None),
        (true, false) => ("replicas", "replica 256mb 64mb 60"),
        (false, true) => ("subscribers", "pubsub 32mb 8mb 60"),
        (true, true) => ("replicas and subscribers", "replica 256mb 64mb 60 pubsub 32mb 8mb 60"),
    };
    let found = format!(
        "client-output-buffer-limit has no limit for {who}: what piles up for one that has stopped reading fills the \
         memory, and evicts rows"
    );
    Fault::new(Severity::Warning, found, format!("CONFIG SET client-output-buffer-limit '{limits}'"))
}

/// Whether commands were slow.
pub(super) fn slow(facts: &Facts) -> Verdict {
    let log = facts.clients.slow.as_ref()?;
    if log.threshold < 0 {
        let found = "the slow log is off: nobody can tell which command holds up all others";
        return Fault::new(
            Severity::Note,
            found,
            format!("CONFIG SET slowlog-log-slower-than {SLOW_LOG_FROM}"),
        );
    }
    let longest = log.longest.as_ref().filter(|(time, _)| *time > SLOW);
    if log.entries < SLOW_COMMANDS && longest.is_none() {
        return Ok(None);
    }
    let slowest = longest.map_or_else(String::new, |(time, command)| {
        format!(", and one of the newest, {command}, took {} ms", time / 1000)
    });
    let found = format!(
        "the slow log holds {} of {} us and more{slowest}: every client waits as long as one runs",
        number(usize::try_from(log.entries).unwrap_or(0), "command", "commands"),
        log.threshold
    );
    Fault::new(Severity::Warning, found, "SLOWLOG GET 10 shows them; once they are mended: SLOWLOG RESET")
}

/// Whether latency is recorded.
pub(super) fn latency(facts: &Facts) -> Verdict {
    if facts.clients.latency.clone()? > 0 {
        return Ok(None);
    }
    let found = "the latency monitor is off: when forks, the disk or expiry hold the server up, LATENCY LATEST is empty";
    Fault::new(Severity::Note, found, format!("CONFIG SET latency-monitor-threshold {LATENCY_FROM}"))
}
