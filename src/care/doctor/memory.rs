//! Checks of the memory: its limit, its use, and what its lack has cost.

use super::facts::Memory;
use super::words::{room, roomy, seconds, share, size};
use super::{Facts, Fault, Severity, Verdict};
use crate::care::alert::{self, Level};

/// What a server takes for the keys beside what they weigh, by the capacity planning: one and a half times that, as a
/// fraction.
const OVERHEAD: (u64, u64) = (3, 2);
/// The share of look-ups that has to find its key, in per cent: for a warning, and for less than that.
const HITS: (u64, u64) = (95, 80);
/// How many look-ups say something about their share.
const LOOK_UPS: u64 = 100;
/// The ratio of fragmentation that is still good.
const FRAGMENTATION: f64 = 1.5;
/// How many bytes it has to be about: the ratio of a small server says nothing. It is the servers' own limit for their
/// defragmentation.
const FRAGMENTED: i64 = 100 << 20;

fn with_overhead(bytes: u64) -> u64 {
    bytes.saturating_mul(OVERHEAD.0) / OVERHEAD.1
}

/// A limit with room for what is there.
fn advisable(facts: &Facts) -> String {
    let used = facts.memory.used.as_ref().copied().unwrap_or(0);
    let weight = facts.memory.weight.as_ref().copied().unwrap_or(0);
    roomy(with_overhead(used.max(weight)))
}

/// Whether there is a limit, and whether the tables fit in it.
pub(super) fn limit(facts: &Facts) -> Verdict {
    let (limit, weight) = (facts.memory.limit.clone()?, facts.memory.weight.clone());
    let advice = || format!("CONFIG SET maxmemory {}", advisable(facts));
    if limit == 0 {
        let used = facts.memory.used.clone().map_or_else(|reason| reason, size);
        let found = format!(
            "maxmemory is not set, and the server uses {used}: it may grow until the kernel ends it, with all that it \
             holds"
        );
        return Fault::new(Severity::Warning, found, advice());
    }
    let weight = weight?;
    let need = with_overhead(weight);
    if need <= limit {
        return Ok(None);
    }
    let found = format!(
        "maxmemory is {}, and the tables of {} need {}: they weigh {}, times 1.5 for overhead. Rows will be evicted, or \
         writes refused",
        size(limit),
        super::words::word(&facts.namespace),
        size(need),
        size(weight)
    );
    Fault::new(Severity::Warning, found, advice())
}

/// How much memory is used.
pub(super) fn used(facts: &Facts) -> Verdict {
    let memory = &facts.memory;
    let used = memory.used.clone()?;
    let (severity, threshold) = match alert::level(used, memory.warning, memory.critical) {
        Level::None => return thresholds(memory),
        Level::Warning => (Severity::Warning, memory.warning),
        Level::Critical => (Severity::Critical, memory.critical),
    };
    let namespace = super::words::word(&facts.namespace);
    let found = format!(
        "the server uses {}, more than {} ({}): what grows so is nearly always a CDC buffer whose sink is down, or tasks \
         that nobody prunes",
        size(used),
        size(threshold),
        severity.name()
    );
    let week_ago = facts.now.saturating_sub(7 * 24 * 3_600_000);
    let next = used.saturating_add(1);
    let mut raised = format!("miroir.memory-{}-bytes {}", severity.name(), roomy(next));
    // Else nobody would be warned before it is critical.
    if severity == Severity::Warning && memory.critical > 0 && room(next) >= memory.critical {
        raised.push_str(&format!(" miroir.memory-critical-bytes {}", roomy(room(next).saturating_mul(2))));
    }
    let advice = format!(
        "MIROIR.MEMORY {namespace} shows what weighs; MIROIR.PRUNE {namespace}:tasks BEFORE {week_ago}; where it is meant: \
         CONFIG SET {raised}"
    );
    Fault::new(severity, found, advice)
}

/// Whether there is a warning before it is critical. The server takes any order: both can be set at once, and one after the
/// other.
fn thresholds(memory: &Memory) -> Verdict {
    let (warning, critical) = (memory.warning, memory.critical);
    if warning == 0 || critical == 0 || warning < critical {
        return Ok(None);
    }
    let found = format!(
        "miroir.memory-warning-bytes is {}, and miroir.memory-critical-bytes {}: there is no warning before it is critical",
        size(warning),
        size(critical)
    );
    Fault::new(Severity::Note, found, format!("CONFIG SET miroir.memory-warning-bytes {}", critical / 2))
}

/// How much memory lies between the values.
pub(super) fn fragmentation(facts: &Facts) -> Verdict {
    let (ratio, bytes) = (facts.memory.fragmentation.clone()?, facts.memory.fragmented.clone()?);
    if ratio <= FRAGMENTATION || bytes <= FRAGMENTED {
        return Ok(None);
    }
    let found = format!(
        "the ratio of fragmentation is {ratio:.2}: the process holds {} beyond what it uses, which counts towards the \
         memory of the machine or the pod, but not towards maxmemory",
        size(bytes.unsigned_abs())
    );
    let advice =
        "MEMORY PURGE; if it stays: CONFIG SET activedefrag yes (in a server built for it), or a restart";
    Fault::new(Severity::Warning, found, advice)
}

/// Twice the limit, and room for what is there in any case: the limit may have been lifted meanwhile.
pub(super) fn more_memory(facts: &Facts) -> String {
    let limit = facts.memory.limit.as_ref().copied().unwrap_or(0);
    let used = facts.memory.used.as_ref().copied().unwrap_or(0);
    format!("CONFIG SET maxmemory {}", roomy(limit.saturating_mul(2).max(with_overhead(used))))
}

/// How many look-ups found their key.
pub(super) fn hits(facts: &Facts) -> Verdict {
    let counted = facts.traffic.counted.as_ref()?;
    let hits = counted.hits.saturating_sub(counted.own_hits);
    let all = hits.saturating_add(counted.misses.saturating_sub(counted.own_misses));
    let is_below = |per_cent: u64| hits.saturating_mul(100) < all.saturating_mul(per_cent);
    if all < LOOK_UPS || !is_below(HITS.0) {
        return Ok(None);
    }
    let severity = if is_below(HITS.1) { Severity::Critical } else { Severity::Warning };
    let found = format!(
        "{} of {all} look-ups found their key within {}: what is not here is asked for elsewhere, or done again",
        share(hits, all),
        seconds(facts.traffic.over)
    );
    let advice = if counted.evicted > 0 {
        more_memory(facts)
    } else {
        "INFO miroir_tables shows which rows expire: give these a longer life (PX of MIROIR.PUT, TOUCH and IDEMP.BEGIN). \
         CONFIG RESETSTAT counts anew"
            .to_owned()
    };
    Fault::new(severity, found, advice)
}
