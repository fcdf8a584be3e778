//! Checks of what goes when memory is full: by which policy, how much of it, and whether that must not be lost.

use super::memory::more_memory;
use super::words::{number, seconds, share, word};
use super::{Facts, Fault, Severity, Verdict};

/// The share of the keys that may be evicted, in per cent.
const EVICTED: u64 = 5;
/// A server of fewer keys is judged as if it had so many: where 19 are left, one that went is more than that share.
const KEYS: u64 = 100;

const NO_EVICTION: &str = "noeviction";
/// What the tuning guide and the capacity planning set.
const BETTER_POLICY: &str = "maxmemory-policy allkeys-lru";
const PROTECT: &str = "miroir.protect-from-eviction yes";

/// What happens at the limit.
pub(super) fn policy(facts: &Facts) -> Verdict {
    let policy = facts.memory.policy.as_ref()?;
    let (severity, why) = match policy.as_str() {
        NO_EVICTION => (
            Severity::Warning,
            "at maxmemory every write is refused with OOM: no lease is renewed, no job claimed, no task recorded",
        ),
        // Of those by which nothing can be protected `protection` speaks.
        "volatile-lru" | "volatile-lfu" => (
            Severity::Note,
            "at maxmemory only keys with a TTL go, which are sessions, idempotency entries, rate limits, and at last leases; \
             when none is left every write is refused with OOM",
        ),
        _ => return Ok(None),
    };
    Fault::new(
        severity,
        format!("maxmemory-policy is {policy}: {why}"),
        format!("CONFIG SET {BETTER_POLICY}"),
    )
}

/// What a policy does to keys that must not be lost, where nothing can be done about it.
fn harm(policy: &str) -> Option<&'static str> {
    match policy {
        NO_EVICTION => None,
        policy if policy.ends_with("-lru") || policy.ends_with("-lfu") => None,
        "volatile-ttl" => Some("what would soon expire goes first, and that is a lease"),
        policy if policy.starts_with("volatile-") => {
            Some("a lease that is held goes as readily as a session")
        }
        _ => Some("a lease that is held goes as readily as a task that nobody asks for"),
    }
}

/// Whether what must not be lost is kept.
pub(super) fn protection(facts: &Facts) -> Verdict {
    let (memory, lost) = (&facts.memory, facts.traffic.counted.as_ref()?.lost);
    let (policy, limit) = (memory.policy.as_ref()?, memory.limit.clone()?);
    let harm = harm(policy);
    let (severity, found) = match (lost, harm) {
        (1.., _) => {
            let reason = match (harm, memory.protects) {
                (Some(_), _) => format!("maxmemory-policy is {policy}, by which nothing can be protected"),
                (None, false) => "miroir.protect-from-eviction is no".to_owned(),
                (None, true) => "they are protected now; if that is new, CONFIG RESETSTAT counts anew, else too little else is \
                                 left to evict"
                    .to_owned(),
            };
            let found = format!(
                "{} within {}, such as leases, jobs, aliases, buffers or index sets: {reason}. MIROIR.AUDIT {} 0 COUNT 1000 \
                 shows rows that their index set has lost",
                number(
                    usize::try_from(lost).unwrap_or(usize::MAX),
                    "key that must not be lost was evicted",
                    "keys that must not be lost were evicted"
                ),
                seconds(facts.traffic.over),
                word(&facts.namespace)
            );
            (Severity::Critical, found)
        }
        (0, Some(harm)) => (
            Severity::Warning,
            format!(
                "maxmemory-policy is {policy}, by which nothing can be protected from eviction: at maxmemory {harm}"
            ),
        ),
        (0, None) if !memory.protects && limit > 0 && policy != NO_EVICTION => {
            let goes = if policy.starts_with("volatile-") {
                "leases are evicted like sessions"
            } else {
                "leases, jobs, aliases, buffers and index sets are evicted like anything else"
            };
            let found = format!(
                "miroir.protect-from-eviction is no, and maxmemory-policy is {policy}: at maxmemory {goes}"
            );
            (Severity::Warning, found)
        }
        (0, None) => return Ok(None),
    };
    let advice = match (harm, memory.protects) {
        (Some(_), true) => format!("CONFIG SET {BETTER_POLICY}"),
        (Some(_), false) => format!("CONFIG SET {BETTER_POLICY} {PROTECT}"),
        (None, false) => format!("CONFIG SET {PROTECT}"),
        (None, true) => more_memory(facts),
    };
    Fault::new(severity, found, advice)
}

/// How many keys were evicted.
pub(super) fn rate(facts: &Facts) -> Verdict {
    let evicted = facts.traffic.counted.as_ref()?.evicted;
    let all = facts.traffic.keys.saturating_add(evicted);
    if evicted.saturating_mul(100) <= all.max(KEYS).saturating_mul(EVICTED) {
        return Ok(None);
    }
    let found = format!(
        "{evicted} of {all} keys ({}) were evicted within {}: memory is short, and what goes is asked for elsewhere, done \
         again, or gone",
        share(evicted, all),
        seconds(facts.traffic.over)
    );
    Fault::new(Severity::Warning, found, more_memory(facts))
}
