//! Makes the catalog from the keys, where nobody could watch them come: after MODULE LOAD into a server with data, and
//! after a data set that was loaded beside took the place of the old one. A piece at a time; events keep true what
//! was met already.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::follow;
use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::server::scan::Walk;
use crate::server::Context;

/// How long a command that needs the whole catalog works on it itself before it gives up.
const PATIENCE: Duration = Duration::from_millis(5);

/// A walk over all databases.
struct Rebuild {
    database: i32,
    walk: Option<Walk>,
    /// Keys met, of all that there were.
    met: u64,
    keys: u64,
}

static REBUILD: Mutex<Option<Rebuild>> = Mutex::new(None);

fn state<T>(act: impl FnOnce(&mut Option<Rebuild>) -> T) -> T {
    act(&mut REBUILD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Begins anew. What can be done in a moment is done when this returns.
pub fn begin(context: &Context<'_>) {
    let keys = (0..).map_while(|database| context.in_database(database, || context.keys_of_database())).sum();
    state(|rebuild| *rebuild = Some(Rebuild { database: 0, walk: None, met: 0, keys }));
    if go_on(context, Instant::now() + PATIENCE) {
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
        Some(rebuild) => (rebuild.met * 100 / rebuild.keys.max(1)).min(99),
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
    /// Some keys. Answers whether there are more.
    fn piece(&mut self, context: &Context<'_>) -> bool {
        const STEPS: usize = 32;
        let walked = context.in_database(self.database, || {
            for _ in 0..STEPS {
                if self.walk.is_none() {
                    self.walk = Walk::new();
                }
                let Some(walk) = &mut self.walk else { return };
                let is_ours = |key: &[u8]| keyspace::locate(key).is_some();
                let look = |key: &[u8]| {
                    follow::look(context, key);
                };
                match walk.step(context, is_ours, look) {
                    Some(met) => self.met += met as u64,
                    None => {
                        self.walk = None;
                        self.database += 1;
                        return;
                    }
                }
            }
        });
        walked.is_some()
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
