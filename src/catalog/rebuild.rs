//! Makes the catalog from the keys, where nobody could watch them come: after MODULE LOAD into a server with data, and
//! after a data set that was loaded beside took the place of the old one. A piece at a time; events keep true what
//! was met already.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{follow, with};
use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::server::scan::Walk;
use crate::server::Context;

/// How long a command that needs the whole catalog works on it itself before it gives up.
const PATIENCE: Duration = Duration::from_millis(5);

/// How much of it MODULE LOAD itself does, beside all else that it has to do: enough for a small data set.
const AT_ONCE: Duration = Duration::from_millis(2);

/// How long the server goes on making the lists when it has loaded its data, before it answers clients again.
const AFTER_LOAD: Duration = Duration::from_millis(100);

/// How far it is.
enum Rebuild {
    /// Some keys are met, of all that there were.
    Walking {
        /// The database that is walked.
        database: i32,
        /// Where in it; None before its first key.
        walk: Option<Walk>,
        /// Keys met.
        met: u64,
        /// Keys that there were in the beginning.
        keys: u64,
    },
    /// All keys are met, and their rows are being listed.
    Listing,
}

static REBUILD: Mutex<Option<Rebuild>> = Mutex::new(None);

fn state<T>(act: impl FnOnce(&mut Option<Rebuild>) -> T) -> T {
    act(&mut REBUILD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Begins anew. What can be done in a moment is done when this returns.
pub fn begin(context: &Context<'_>) {
    let keys = (0..).map_while(|database| context.in_database(database, || context.keys_of_database())).sum();
    state(|rebuild| *rebuild = Some(Rebuild::Walking { database: 0, walk: None, met: 0, keys }));
    with(|catalog| catalog.expect_many(true));
    if go_on(context, Instant::now() + AT_ONCE) {
        follow::go_on(context);
    }
}

/// Expects the server to load its data, key by key.
pub(super) fn load_begins() {
    with(|catalog| catalog.expect_many(true));
}

/// Lists what was loaded.
pub(super) fn load_ends(context: &Context<'_>) {
    // A walk that the load came in between goes on to its own end.
    if !is_running() {
        with(|catalog| catalog.expect_many(false));
        state(|rebuild| *rebuild = Some(Rebuild::Listing));
    }
    if go_on(context, Instant::now() + AFTER_LOAD) {
        follow::go_on(context);
    }
}

/// Begins anew if two databases changed places before both were walked.
pub(super) fn databases_swapped(context: &Context<'_>) {
    if is_running() {
        begin(context);
    }
}

/// Whether the catalog is not whole yet.
#[must_use]
pub fn is_running() -> bool {
    state(|rebuild| rebuild.is_some())
}

/// How far the catalog is, in per cent.
#[must_use]
pub fn progress() -> u64 {
    state(|rebuild| match rebuild {
        None => 100,
        // Keys that came meanwhile can make it more than all.
        Some(Rebuild::Walking { met, keys, .. }) => (*met * 100 / (*keys).max(1)).min(99),
        Some(Rebuild::Listing) => 99,
    })
}

/// Goes on until the time is over. Answers whether there is more to do.
pub(super) fn go_on(context: &Context<'_>, end: Instant) -> bool {
    // Taken out meanwhile: a look at a key can lead back here.
    let Some(mut rebuild) = state(Option::take) else { return false };
    while Instant::now() < end {
        if !rebuild.piece(context) {
            return false;
        }
    }
    state(|slot| *slot = Some(rebuild));
    true
}

impl Rebuild {
    /// A little more. Answers whether that was not all.
    fn piece(&mut self, context: &Context<'_>) -> bool {
        const STEPS: usize = 8;
        let Self::Walking { database, walk, met, .. } = self else {
            return with(super::Catalog::list_some);
        };
        let walked = context.in_database(*database, || {
            for _ in 0..STEPS {
                if walk.is_none() {
                    *walk = Walk::new();
                }
                let Some(steps) = walk else { return };
                let is_ours = |key: &[u8]| keyspace::locate(key).is_some();
                let look = |key: &[u8]| {
                    follow::look(context, key);
                };
                match steps.step(context, is_ours, look) {
                    Some(more) => *met += more as u64,
                    None => {
                        *walk = None;
                        *database += 1;
                        return;
                    }
                }
            }
        });
        if walked.is_none() {
            // There is no such database: the one before was the last.
            with(|catalog| catalog.expect_many(false));
            *self = Self::Listing;
        }
        true
    }
}

/// Makes sure that the catalog is whole and holds all changes so far. `namespace` is the one that is asked about, if
/// the command declared a key of it.
///
/// # Errors
/// TRYAGAIN while it is being made.
pub fn ready(context: &Context<'_>, namespace: Option<&[u8]>) -> Outcome<()> {
    follow::catch_up(context, namespace);
    // A command with a declared key must not touch keys of other slots.
    let may_walk = namespace.is_none() || !context.in_cluster();
    if is_running() && (!may_walk || go_on(context, Instant::now() + PATIENCE)) {
        return Err(Failure::catalog_not_ready(progress()));
    }
    Ok(())
}

/// Gives everything back.
pub(super) fn end() {
    state(|rebuild| *rebuild = None);
}
