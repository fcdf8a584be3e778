//! MIROIR.DOCTOR, the pure part: what was looked at, judged by the operators' checklists. docs/doctor.md lists every check
//! with its threshold, its source and what mends it.

pub mod clients;
pub mod eviction;
pub mod facts;
pub mod memory;
pub mod past;
pub mod safety;
pub mod store;
#[cfg(test)]
mod tests;
mod words;

pub use facts::Facts;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is refused or lost, or a limit is passed that the checklists call critical.
    Critical,
    /// A limit of the checklists is passed, or what keeps the data safe is missing.
    Warning,
    /// A recommendation that is not followed, or something that could not be looked at.
    Note,
}

impl Severity {
    /// The name in replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that should be mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Which check found it.
    pub check: &'static str,
    /// What was found, and why it matters.
    pub found: String,
    /// The command, or the line of the configuration, that mends it.
    pub advice: String,
}

/// What a check says: that all is well, what is not, or why it could not look.
pub type Verdict = Result<Option<Fault>, String>;

/// A finding, before it has the name of its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    severity: Severity,
    found: String,
    advice: String,
}

impl Fault {
    fn new(severity: Severity, found: impl Into<String>, advice: impl Into<String>) -> Verdict {
        Ok(Some(Self { severity, found: found.into(), advice: advice.into() }))
    }
}

/// A check by its name in replies, and the command that shows by hand what it looks at.
pub struct Check {
    /// The name.
    pub name: &'static str,
    judge: fn(&Facts) -> Verdict,
    by_hand: &'static str,
}

const fn check(name: &'static str, judge: fn(&Facts) -> Verdict, by_hand: &'static str) -> Check {
    Check { name, judge, by_hand }
}

/// Every check. Each has one finding at most.
pub const CHECKS: &[Check] = &[
    check("maxmemory", memory::limit, "INFO memory"),
    check("maxmemory-policy", eviction::policy, "INFO memory"),
    check("eviction-protection", eviction::protection, "INFO miroir_memory"),
    check("used-memory", memory::used, "INFO memory"),
    check("fragmentation", memory::fragmentation, "INFO memory"),
    check("eviction-rate", eviction::rate, "INFO stats"),
    check("hit-ratio", memory::hits, "INFO stats"),
    check("persistence", safety::persistence, "CONFIG GET save"),
    check("log-replay", safety::replay, "ACL GETUSER default"),
    check("replica", safety::replica, "INFO replication"),
    check("rejected-connections", clients::rejected, "INFO stats"),
    check("maxclients", clients::most, "INFO clients"),
    check("tcp-backlog", clients::backlog, "CONFIG GET tcp-backlog"),
    check("tcp-keepalive", clients::keepalive, "CONFIG GET tcp-keepalive"),
    check("output-buffer-limits", clients::buffers, "CONFIG GET client-output-buffer-limit"),
    check("slow-log", clients::slow, "SLOWLOG GET 10"),
    check("latency-monitor", clients::latency, "CONFIG GET latency-monitor-threshold"),
    check("cdc-overflow", store::cdc, "INFO miroir_catalog"),
    check("queue-depth", store::queue, "INFO miroir_catalog"),
    check("lease-without-ttl", store::endless, "INFO miroir_catalog"),
    check("lease-lapsing", store::lapsing, "INFO miroir_catalog"),
    check("catalog-drift", store::drift, "INFO miroir_audit"),
    check("hash-tag", store::spread, "INFO miroir_catalog"),
];

/// Judges what was found: what matters most first, and otherwise in the order of the checks.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let of = |check: &Check| {
        let fault = match (check.judge)(facts) {
            Ok(fault) => fault?,
            Err(reason) => Fault {
                severity: Severity::Note,
                found: format!("could not look: {reason}"),
                advice: check.by_hand.to_owned(),
            },
        };
        let Fault { severity, found, advice } = fault;
        Some(Finding { severity, check: check.name, found, advice })
    };
    let mut findings: Vec<Finding> = CHECKS.iter().filter_map(of).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}
