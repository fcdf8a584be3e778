//! What the module remembers of single keys while it is loaded. It is never needed to read the data; it tells
//! what happened to a key between two commands.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::server::events::DatabaseEvent;
use crate::server::Context;

/// By database and key.
type Entries<V> = BTreeMap<i32, HashMap<Vec<u8>, V>>;

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
        self.entries().get(&context.database())?.get(key).copied()
    }

    /// Remembers a value for a key of the selected database.
    pub fn set(&self, context: &Context<'_>, key: &[u8], value: V) {
        let mut entries = self.entries();
        let entries = entries.entry(context.database()).or_default();
        match entries.get_mut(key) {
            Some(known) => *known = value,
            None => {
                entries.insert(key.to_vec(), value);
            }
        }
    }

    /// Changes what is remembered of a key of the selected database, if anything is.
    pub fn change(&self, context: &Context<'_>, key: &[u8], change: impl FnOnce(&mut V)) {
        if let Some(value) = self.entries().get_mut(&context.database()).and_then(|keys| keys.get_mut(key)) {
            change(value);
        }
    }

    /// Forgets a key of the selected database.
    pub fn forget(&self, context: &Context<'_>, key: &[u8]) {
        if let Some(keys) = self.entries().get_mut(&context.database()) {
            keys.remove(key);
        }
    }

    /// Changes what is remembered of every key of the selected database.
    pub fn change_all(&self, context: &Context<'_>, change: impl FnMut(&mut V)) {
        if let Some(keys) = self.entries().get_mut(&context.database()) {
            keys.values_mut().for_each(change);
        }
    }

    /// Follows an event of whole databases.
    pub fn follow(&self, event: DatabaseEvent) {
        let mut entries = self.entries();
        match event {
            DatabaseEvent::Flushed(Some(database)) => drop(entries.remove(&database)),
            DatabaseEvent::Flushed(None)
            | DatabaseEvent::LoadBegins
            | DatabaseEvent::LoadBesideEnds { replaced: true }
            | DatabaseEvent::RoleChanged => entries.clear(),
            DatabaseEvent::LoadEnds
            | DatabaseEvent::LoadBesideBegins
            | DatabaseEvent::LoadBesideEnds { replaced: false }
            | DatabaseEvent::SettingsChanged => {}
            DatabaseEvent::Swapped(first, second) => {
                let (of_first, of_second) = (entries.remove(&first), entries.remove(&second));
                entries.extend(of_second.map(|keys| (first, keys)));
                entries.extend(of_first.map(|keys| (second, keys)));
            }
        }
    }
}

impl<V: Copy> Default for Remembered<V> {
    fn default() -> Self {
        Self::new()
    }
}
