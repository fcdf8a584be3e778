//! Checks of a namespace: its buffers, its queue, its leases, and whether the module is right about it.

use super::facts::{Growing, Lapsing};
use super::words::{first, listed, number, seconds, word};
use super::{Facts, Fault, Severity, Verdict};

/// How many queued jobs are no cause for alarm, however long they wait.
pub const QUEUED: usize = 10;
/// The life of a lease in the production guide.
const LEASE_MS: i64 = 30_000;

/// Whether a sink takes its events.
pub(super) fn cdc(facts: &Facts) -> Verdict {
    let growing = facts.store.growing.as_ref()?;
    if growing.count == 0 {
        return Ok(None);
    }
    let loses = growing.some.iter().any(|buffer| buffer.dropped > 0);
    let of = |buffer: &Growing| {
        let Growing { key, events, came, dropped, over } = buffer;
        let lost = if *dropped > 0 { format!(", and has dropped {dropped}") } else { String::new() };
        format!("{} ({came} came within {}, it holds {events}{lost})", word(key), seconds(*over))
    };
    let found = format!(
        "{} faster than events are taken out: {}. A sink is down, or its pump; at the budget events are lost",
        number(growing.count, "CDC buffer grows", "CDC buffers grow"),
        listed(&growing.some, growing.count, of)
    );
    let trim = |buffer: &Growing| format!("MIROIR.CDC.TRIM {} BUDGET 0", word(&buffer.key));
    let advice = format!(
        "Start the sink and its pump again (MIROIR.CDC.PEEK, then ACK); only if the events are needed by nobody: {}",
        first(&growing.some, trim)
    );
    Fault::new(if loses { Severity::Critical } else { Severity::Warning }, found, advice)
}

/// Whether jobs wait for workers.
pub(super) fn queue(facts: &Facts) -> Verdict {
    let queue = facts.store.queue.clone()?;
    let Some(since) = queue.deep_since else { return Ok(None) };
    let time = facts.now.saturating_sub(since);
    if queue.depth <= QUEUED || time <= facts.window {
        return Ok(None);
    }
    let table = word(&[&facts.namespace, &b":jobs"[..]].concat());
    let found = format!(
        "{} jobs are queued, and for {} there have been more than {QUEUED}: there are too few workers, or they have died",
        queue.depth,
        seconds(time)
    );
    let advice = format!(
        "MIROIR.COUNT {table} WHERE state queued BY type shows which; start workers that run MIROIR.JOB.CLAIM {table} <pod> \
         {LEASE_MS} COUNT 10"
    );
    Fault::new(Severity::Warning, found, advice)
}

/// Whether leases end when their holder dies.
pub(super) fn endless(facts: &Facts) -> Verdict {
    let endless = facts.store.endless.as_ref()?;
    if endless.count == 0 {
        return Ok(None);
    }
    let found = format!(
        "{} no TTL: {}. When its holder dies nobody else can ever take over",
        number(endless.count, "lease has", "leases have"),
        listed(&endless.some, endless.count, |key| word(key))
    );
    let advice = first(&endless.some, |key| format!("PEXPIRE {} {LEASE_MS}", word(key)));
    Fault::new(Severity::Warning, found, advice)
}

/// Whether holders renew their leases in time.
pub(super) fn lapsing(facts: &Facts) -> Verdict {
    let lapsing = facts.store.lapsing.as_ref()?;
    if lapsing.count == 0 {
        return Ok(None);
    }
    let of = |lease: &Lapsing| {
        let Lapsing { key, holder, remaining, granted } = lease;
        format!("{} of {} ({remaining} of {granted} ms left)", word(key), word(holder))
    };
    let found = format!(
        "{} about to lapse: {}. Less than a third is left, and a holder that is well renews after a third: it hangs, or it \
         has died. If it lives, renew for it; if not, the next pod takes over by itself",
        number(lapsing.count, "lease is", "leases are"),
        listed(&lapsing.some, lapsing.count, of)
    );
    let renew = |lease: &Lapsing| {
        let granted = if lease.granted > 0 { lease.granted } else { LEASE_MS };
        format!("MIROIR.LEASE.RENEW {} {} {granted}", word(&lease.key), word(&lease.holder))
    };
    Fault::new(Severity::Warning, found, first(&lapsing.some, renew))
}

/// Whether the catalog says what the keys say.
pub(super) fn drift(facts: &Facts) -> Verdict {
    let namespace = word(&facts.namespace);
    let drift = facts.traffic.counted.as_ref()?.drift;
    if drift > 0 {
        let found = format!(
            "the module's catalog was at odds with {} within {}: lists and counts may have been wrong. This should never \
             happen: please report it, and let AUDIT go on from each cursor that it answers",
            number(usize::try_from(drift).unwrap_or(usize::MAX), "key", "keys"),
            seconds(facts.traffic.over)
        );
        let advice = format!("MIROIR.AUDIT {namespace} 0 COUNT 1000 REPAIR");
        return Fault::new(Severity::Warning, found, advice);
    }
    if !facts.store.is_audited {
        let found = "the catalog is not compared with the keys, since miroir.audit-budget-us is 0: nobody would notice if \
                     they were at odds";
        return Fault::new(Severity::Note, found, "CONFIG SET miroir.audit-budget-us 500");
    }
    Ok(None)
}

/// Whether the keys of a namespace are together in a cluster.
pub(super) fn spread(facts: &Facts) -> Verdict {
    let spread = facts.store.spread.clone()?;
    let needs_tag = spread.need > 0 || spread.free == 0;
    if !spread.in_cluster || spread.is_tagged || !needs_tag {
        return Ok(None);
    }
    let here = match spread.need {
        0 => String::new(),
        need => format!(", and {}", number(need, "key here needs one", "keys here need one")),
    };
    let found = format!(
        "{} has no hash tag in a cluster{here}: commands on tasks, jobs, leases, canaries, aliases, policies, CDC buffers \
         and scoped keys are refused with CROSSSLOT",
        word(&facts.namespace)
    );
    let bare = String::from_utf8_lossy(&facts.namespace).replace(['{', '}'], "");
    let severity = if spread.need > 0 { Severity::Warning } else { Severity::Note };
    Fault::new(severity, found, format!("{{{bare}}} as the namespace of all pods"))
}
