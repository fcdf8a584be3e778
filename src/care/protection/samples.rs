//! How many keys the server picks at random before it evicts one of them.
//!
//! It keeps the 16 best of those that it has seen, with their ages of that time, and takes the best of these. A protected key
//! among them is not taken while there is an evictable row; but when they are used up, as at the first eviction after a start,
//! a pick of nothing but protected keys costs one of them. With the default of 5 that is next to impossible while few keys are
//! protected: the share of the protected ones to the fifth power. Where they are many, the server is told to pick more. So it is
//! where much has to go at once: its hash tables do not shrink as fast, and of one that is nearly empty it picks hardly any key.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::server::Context;

/// How many keys the server picks where protected ones are many: as many as every server takes.
const MANY_SAMPLES: i64 = 64;
/// Protected keys are many when more than one key of so many is protected, and few when less than one of so many is.
const MANY: u64 = 8;
const FEW: u64 = 10;
/// How much the server holds of what it may hold, when much has to go at once.
const FAR_OVER: f32 = 1.1;

/// How many protected keys there were when they were last counted.
static PROTECTED: AtomicU64 = AtomicU64::new(0);
/// How many keys the server picked before it was told to pick many; 0 while it was not.
static BEFORE: AtomicI64 = AtomicI64::new(0);
/// Whether the setting changes by this module's own doing.
static IS_BEING_SET: AtomicBool = AtomicBool::new(false);

/// How many protected keys there were when they were last counted.
#[must_use]
pub fn protected() -> u64 {
    PROTECTED.load(Ordering::Relaxed)
}

/// Whether the server was told to pick more keys than its settings say.
#[must_use]
pub fn are_raised() -> bool {
    BEFORE.load(Ordering::Relaxed) > 0
}

/// Whether a change of the settings is this module's own doing.
#[must_use]
pub fn are_being_set() -> bool {
    IS_BEING_SET.load(Ordering::Relaxed)
}

/// Has the server pick as many keys as the share of the protected ones among all demands, and what has to go.
pub fn follow_share(context: &Context<'_>, protected: u64, all: u64) {
    PROTECTED.store(protected, Ordering::Relaxed);
    if protected.saturating_mul(MANY) > all || context.memory_used() > FAR_OVER {
        raise(context);
    } else if protected.saturating_mul(FEW) < all {
        reset(context);
    }
}

/// Has it pick many keys. A number that somebody sets meanwhile is what it gets back afterwards.
fn raise(context: &Context<'_>) {
    let Some(samples) = context.samples().filter(|samples| *samples < MANY_SAMPLES) else { return };
    if set(context, MANY_SAMPLES) {
        BEFORE.store(samples, Ordering::Relaxed);
        context.warn(&format!(
            "many keys must not be evicted, or much has to be: maxmemory-samples is {MANY_SAMPLES} instead of {samples} until \
             that is over, or memory is not short any more"
        ));
    }
}

/// Has it pick as many as before.
pub fn reset(context: &Context<'_>) {
    let before = BEFORE.swap(0, Ordering::Relaxed);
    if before > 0 && context.samples() == Some(MANY_SAMPLES) {
        set(context, before);
    }
}

fn set(context: &Context<'_>, samples: i64) -> bool {
    IS_BEING_SET.store(true, Ordering::Relaxed);
    let is_done = context.set_samples(samples).is_ok();
    IS_BEING_SET.store(false, Ordering::Relaxed);
    is_done
}
