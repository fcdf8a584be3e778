//! What the module remembers of single keys while it is loaded. It is never needed to read the data; it tells
//! what happened to a key between two commands.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::server::events::DatabaseEvent;
use crate::server::Context;

type Entries<V> = BTreeMap<(i32, Vec<u8>), V>;

/// A value for each of some keys, database by database.
pub struct Remembered<V> {
    entries: Mutex<Entries<V>>,
}

impl<V: Copy> Remembered<V> {
    /// Nothing remembered.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Mutex::new(BTreeMap::new()) }
    }

    // Only the server's main thread comes here, so nobody ever waits.
    fn entries(&self) -> MutexGuard<'_, Entries<V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a key of the selected database.
    pub fn get(&self, context: &Context<'_>, key: &[u8]) -> Option<V> {
        self.entries().get(&(context.database(), key.to_vec())).copied()
    }

    /// Remembers a value for a key of the selected database.
    pub fn set(&self, context: &Context<'_>, key: &[u8], value: V) {
        self.entries().insert((context.database(), key.to_vec()), value);
    }

    /// Changes what is remembered of a key of the selected database, if anything is.
    pub fn change(&self, context: &Context<'_>, key: &[u8], change: impl FnOnce(&mut V)) {
        if let Some(value) = self.entries().get_mut(&(context.database(), key.to_vec())) {
            change(value);
        }
    }

    /// Forgets a key of the selected database.
    pub fn forget(&self, context: &Context<'_>, key: &[u8]) {
        self.entries().remove(&(context.database(), key.to_vec()));
    }

    /// Follows an event of whole databases.
    pub fn follow(&self, event: DatabaseEvent) {
        let mut entries = self.entries();
        match event {
            DatabaseEvent::Flushed(Some(database)) => entries.retain(|(of, _), _| *of != database),
            DatabaseEvent::Flushed(None)
            | DatabaseEvent::LoadBegins
            | DatabaseEvent::LoadBesideEnds { replaced: true }
            | DatabaseEvent::RoleChanged => entries.clear(),
            DatabaseEvent::LoadEnds
            | DatabaseEvent::LoadBesideBegins
            | DatabaseEvent::LoadBesideEnds { replaced: false } => {}
            DatabaseEvent::Swapped(first, second) => {
                *entries = std::mem::take(&mut *entries)
                    .into_iter()
                    .map(|((database, key), value)| {
                        let database = match database {
                            database if database == first => second,
                            database if database == second => first,
                            database => database,
                        };
                        ((database, key), value)
                    })
                    .collect();
            }
        }
    }
}

impl<V: Copy> Default for Remembered<V> {
    fn default() -> Self {
        Self::new()
    }
}
