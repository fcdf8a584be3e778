//! What an audit answers, and how often it did.

use std::sync::atomic::{AtomicU64, Ordering};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row is missing from its index.
    NotInIndex,
    /// An index lists what is no row, or no row of that index.
    EntryWithoutRow,
    /// A hash lacks a field that makes it a row.
    Stub,
    /// The set of queued jobs and the state of a job disagree.
    QueuedAtOdds,
    /// A key that has to expire will not.
    TtlMissing,
    /// The counters beside a buffer are not what the buffer holds.
    CounterOff,
    /// The module's own catalog says something else than the keys.
    CatalogAtOdds,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NotInIndex,
        Self::EntryWithoutRow,
        Self::Stub,
        Self::QueuedAtOdds,
        Self::TtlMissing,
        Self::CounterOff,
        Self::CatalogAtOdds,
    ];

    /// The name in replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotInIndex => "not-in-index",
            Self::EntryWithoutRow => "index-entry-without-row",
            Self::Stub => "stub",
            Self::QueuedAtOdds => "queued-at-odds",
            Self::TtlMissing => "ttl-missing",
            Self::CounterOff => "byte-counter-off",
            Self::CatalogAtOdds => "catalog-at-odds",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Where: the key of the row, of the buffer or of the index.
    pub key: Vec<u8>,
    /// The rest, in words.
    pub detail: String,
    /// Whether it is mended now.
    pub repaired: bool,
}

static FOUND: [AtomicU64; Kind::ALL.len()] = [const { AtomicU64::new(0) }; Kind::ALL.len()];
static REPAIRED: AtomicU64 = AtomicU64::new(0);

/// How many findings of a kind MIROIR.AUDIT has answered since the module was loaded.
#[must_use]
pub fn found(kind: Kind) -> u64 {
    FOUND[kind as usize].load(Ordering::Relaxed)
}

/// How many of all findings were mended.
#[must_use]
pub fn repaired() -> u64 {
    REPAIRED.load(Ordering::Relaxed)
}

/// Counts what was answered.
pub(super) fn count(findings: &[Finding]) {
    for finding in findings {
        FOUND[finding.kind as usize].fetch_add(1, Ordering::Relaxed);
        REPAIRED.fetch_add(u64::from(finding.repaired), Ordering::Relaxed);
    }
}
