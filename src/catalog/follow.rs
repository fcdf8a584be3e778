//! Keeps the catalog true: which keys changed, and a look at each of them as soon as that is safe.
//!
//! A keyspace event only notes its key. While the server loads its data the key is looked at right away: nothing
//! expires then, and there is no later turn to wait for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::facts::Facts;
use super::volatile::Volatile;
use super::{heal, read, rebuild, with};
use crate::errors::Outcome;
use crate::keyspace::{self, Address, Place};
use crate::schema::{Index, Table, TABLES};
use crate::server::events::DatabaseEvent;
use crate::server::{call, Arg, Context};
use crate::store::Target;

/// How long one piece of work may take that could as well be done later.
const PIECE: Duration = Duration::from_millis(1);
/// How long the changes of one turn of the event loop may take. It is about the time that the commands took which
/// made them; only a script or a transaction makes that many at once.
const CHANGES_OF_A_TURN: Duration = Duration::from_millis(5);

/// A key that changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Change {
    database: i32,
    key: Vec<u8>,
    /// Whether someone else changed it, so that its index entries have to be looked at as well.
    foreign: bool,
    /// Whether its time was up: no answer that goes by the time needs to know.
    expired: bool,
}

static VOLATILE: Mutex<Volatile> = Mutex::new(Volatile::new());

static CHANGES: Mutex<Vec<Change>> = Mutex::new(Vec::new());
/// Changes that the catalog has taken over, and whose index entries wait for their turn.
static TO_HEAL: Mutex<Vec<Change>> = Mutex::new(Vec::new());
/// The same of rows that were evicted, which are not made to wait.
static EVICTED_ROWS: Mutex<Vec<Change>> = Mutex::new(Vec::new());
/// Whether the next turn of the event loop will work on the changes.
static IS_PENDING: AtomicBool = AtomicBool::new(false);
/// The bytes of the keys that a command writes and of which it tells itself what is there afterwards; null for none.
static TOLD: [AtomicPtr<u8>; 1 + MOST_SIDES] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; 1 + MOST_SIDES];
/// How many keys beside a row or a structure its commands write at most.
const MOST_SIDES: usize = 2;
static IS_LOADING: AtomicBool = AtomicBool::new(false);
static IS_LOADING_BESIDE: AtomicBool = AtomicBool::new(false);

/// How many rows of each table the server let expire, and evicted, since the module was loaded.
static EXPIRED: [AtomicU64; TABLES.len()] = [const { AtomicU64::new(0) }; TABLES.len()];
static EVICTED: [AtomicU64; TABLES.len()] = [const { AtomicU64::new(0) }; TABLES.len()];

/// How many rows of a table expired, and how many were evicted, as far as the module has seen.
#[must_use]
pub fn lost(table: &Table) -> (u64, u64) {
    let number = |counters: &[AtomicU64; TABLES.len()]| {
        counters.get(table.number()).map_or(0, |counter| counter.load(Ordering::Relaxed))
    };
    (number(&EXPIRED), number(&EVICTED))
}

/// How many changes wait to be looked at.
#[must_use]
pub fn backlog() -> usize {
    changes(|changes| changes.len()) + to_heal(|changes| changes.len()) + evicted(|changes| changes.len())
}

fn changes<T>(act: impl FnOnce(&mut Vec<Change>) -> T) -> T {
    act(&mut CHANGES.lock().unwrap_or_else(PoisonError::into_inner))
}

fn to_heal<T>(act: impl FnOnce(&mut Vec<Change>) -> T) -> T {
    act(&mut TO_HEAL.lock().unwrap_or_else(PoisonError::into_inner))
}

fn evicted<T>(act: impl FnOnce(&mut Vec<Change>) -> T) -> T {
    act(&mut EVICTED_ROWS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether the event of a key comes from a write of which the command tells itself what came of it.
#[must_use]
pub fn is_told(key: &[u8]) -> bool {
    TOLD.iter().any(|told| told.load(Ordering::Relaxed).cast_const() == key.as_ptr())
}

/// Follows an event of a key. `address` is what the key names.
pub fn key_changed(context: &Context<'_>, event: &[u8], key: &[u8], address: &Address<'_>) {
    let loading = IS_LOADING.load(Ordering::Relaxed);
    // The keys that are loaded beside are not in the databases yet.
    if IS_LOADING_BESIDE.load(Ordering::Relaxed)
        || (address.place == Place::Table && read::id_of(address).is_none())
    {
        return;
    }
    if let (Some(_), b"expired" | b"evicted") = (read::id_of(address), event) {
        let counters = if event == b"expired" { &EXPIRED } else { &EVICTED };
        if let Some(counter) = counters.get(address.table.number()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
    if loading {
        look(context, key);
        return;
    }
    if event == b"evicted" && context.inspect(key).is_missing() {
        forget(context, key, address);
        return;
    }
    let expired = event == b"expired";
    let (database, foreign) = (context.database(), !call::is_writing());
    changes(|changes| {
        // A command fires several events of a row and of its index.
        let is_known = |known: &Change| {
            known.key == key && (known.database, known.foreign, known.expired) == (database, foreign, expired)
        };
        if !changes.iter().rev().take(2).any(is_known) {
            note(changes, Change { database, key: key.to_vec(), foreign, expired });
        }
    });
    // Most keys expire between the commands, where a timer would be pending for a while and keep the module from being
    // unloaded. The next cron, or the next command that asks, looks at them.
    if !expired {
        go_on(context);
    }
}

/// Forgets a key that was evicted. The server may evict thousands before the next turn of the event loop, and goes on until memory
/// is free: what is kept of them would make it evict everything.
fn forget(context: &Context<'_>, key: &[u8], address: &Address<'_>) {
    let database = context.database();
    volatile(|volatile| volatile.note(database, key, None));
    let Some(id) = read::id_of(address) else {
        with(|catalog| catalog.note_beside(database, address, key, false));
        return;
    };
    with(|catalog| catalog.remove(database, address, id));
    let is_listed = matches!(address.place, Place::Row(_)) && address.table.index != Index::None;
    if is_listed && !context.follows() {
        let change = Change { database, key: key.to_vec(), foreign: true, expired: false };
        evicted(|changes| changes.push(change));
        if !context.after_event(take_out_evicted) {
            go_on(context);
        }
    }
}

/// Runs a command's write of one row of the selected database and of its index entries, or of one structure. `write` answers
/// also what is there afterwards, which the catalog takes over without a look at it. After an error there is a look as after
/// any other change. `sides` are keys of the structure that are there before and after it.
///
/// # Errors
/// Those of the write.
pub fn written<T>(
    context: &Context<'_>,
    target: &Target<'_>,
    sides: &[Arg<'_>],
    write: impl FnOnce() -> Outcome<(T, Option<Facts>)>,
) -> Outcome<T> {
    let (address, id) = (&target.address, target.id.as_bytes());
    let written = {
        let _told = Told::begin([target.key].iter().chain(sides));
        write()
    };
    let database = context.database();
    match &written {
        Ok((_, Some(facts))) => with(|catalog| catalog.put(database, address, id, facts)),
        Ok((_, None)) => {
            with(|catalog| catalog.remove(database, address, id));
        }
        Err(_) => {
            let change = Change { database, key: address.row(id), foreign: false, expired: false };
            changes(|changes| note(changes, change));
            go_on(context);
        }
    }
    written.map(|(value, _)| value)
}

/// Sets the mark for the time of its life.
struct Told;

impl Told {
    fn begin<'k>(keys: impl Iterator<Item = &'k Arg<'k>>) -> Self {
        for (place, key) in TOLD.iter().zip(keys) {
            place.store(key.bytes().as_ptr().cast_mut(), Ordering::Relaxed);
        }
        Self
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        TOLD.iter().for_each(|place| place.store(std::ptr::null_mut(), Ordering::Relaxed));
    }
}

/// From how many changes on those that were noted twice are sought and dropped.
const MANY: usize = 4096;

fn note(changes: &mut Vec<Change>, change: Change) {
    changes.push(change);
    // Without this a script could fill the memory by writing one key for ever.
    if changes.len() >= MANY && changes.len().is_power_of_two() {
        let distinct: HashSet<Change> = changes.drain(..).collect();
        changes.extend(distinct);
    }
}

/// Has the changes looked at in this turn of the event loop.
pub(super) fn go_on(context: &Context<'_>) {
    if !IS_PENDING.load(Ordering::Relaxed) && context.call_later(0, turn) {
        IS_PENDING.store(true, Ordering::Relaxed);
    }
}

/// One turn: a piece of whatever is to be done, and another turn if that was not all.
fn turn(context: &Context<'_>) {
    // Changes that the work itself brings are still part of this turn.
    take_out_evicted(context);
    let now = Instant::now();
    let more = [rebuild::go_on(context, now + PIECE), work_off(context, now + CHANGES_OF_A_TURN)];
    let is_pending = more.contains(&true) && context.call_later(1, turn);
    IS_PENDING.store(is_pending, Ordering::Relaxed);
}

/// Takes the index entries of evicted rows out. That takes less time than the server has taken to evict them.
fn take_out_evicted(context: &Context<'_>) {
    for change in evicted(std::mem::take) {
        refresh(context, &change);
    }
}

/// Looks at changed keys until the time is over. Answers whether any are left.
fn work_off(context: &Context<'_>, end: Instant) -> bool {
    loop {
        const SOME: usize = 64;
        let last = |changes: &mut Vec<Change>| changes.split_off(changes.len().saturating_sub(SOME));
        let mut some = changes(last);
        if some.is_empty() {
            some = to_heal(last);
        }
        if some.is_empty() {
            changes(|changes| changes.shrink_to(MANY));
            to_heal(|changes| changes.shrink_to(MANY));
            return false;
        }
        some.drain(..).for_each(|change| refresh(context, &change));
        if Instant::now() >= end {
            return backlog() > 0;
        }
    }
}

/// Looks at all changed keys; of those whose time was up, which no answer needs, at some. In a cluster a command with a declared key must
/// not touch a key of another slot; those of a namespace with a hash tag are in the same one.
pub fn catch_up(context: &Context<'_>, namespace: Option<&[u8]>) {
    lose_fields(context.now_ms());
    let selective = namespace.filter(|_| context.in_cluster());
    let (mut healed, mut later) = (0, Vec::new());
    let mut expired = 0;
    loop {
        let is_of = |change: &Change, namespace: &[u8]| {
            keyspace::locate(&change.key).is_some_and(|address| address.namespace == namespace)
        };
        let mut matters = |change: &Change| {
            if selective.is_some_and(|namespace| !is_of(change, namespace)) {
                return false;
            }
            expired += usize::from(change.expired);
            !change.expired || expired <= HEALED_AT_ONCE
        };
        let some: Vec<Change> = changes(|changes| changes.extract_if(.., |change| matters(change)).collect());
        if some.is_empty() {
            break;
        }
        // A look can find that a key's time is up, which is another change.
        for change in some {
            if healed < HEALED_AT_ONCE {
                healed += usize::from(change.foreign);
                refresh(context, &change);
            } else {
                // The answer needs no index set.
                context.in_database(change.database, || look(context, &change.key));
                later.push(change);
            }
        }
    }
    if !later.is_empty() {
        to_heal(|changes| changes.extend(later));
        go_on(context);
    }
}

/// How many rows of other clients get their index entries right while a command waits. After a script that wrote more
/// the others get theirs in the following turns of the event loop.
const HEALED_AT_ONCE: usize = 1000;

/// Looks at every key that has changed, also at those whose time was up, and at their index entries.
pub fn catch_up_with_all(context: &Context<'_>) {
    catch_up(context, None);
    take_out_evicted(context);
    while work_off(context, Instant::now() + CHANGES_OF_A_TURN) {}
}

fn refresh(context: &Context<'_>, change: &Change) {
    context.in_database(change.database, || {
        let facts = look(context, &change.key);
        if let (true, Some(address)) = (change.foreign, keyspace::locate(&change.key)) {
            if let (Place::Row(id), true) = (address.place, address.table.index != Index::None) {
                heal::entries(context, &address, id, facts.as_ref());
            }
        }
    });
}

/// Looks at a key of the selected database and takes over what it says.
pub fn look(context: &Context<'_>, key: &[u8]) -> Option<Facts> {
    let address = keyspace::locate(key)?;
    let database = context.database();
    let Some(id) = read::id_of(&address) else {
        let is_there = !context.inspect(key).is_missing();
        with(|catalog| catalog.note_beside(database, &address, key, is_there));
        return None;
    };
    let facts = read::facts(context, address.table, id, key);
    let until = facts.as_ref().and_then(|facts| facts.true_until);
    volatile(|volatile| volatile.note(database, key, until));
    with(|catalog| match &facts {
        Some(facts) => catalog.put(database, &address, id, facts),
        None => {
            catalog.remove(database, &address, id);
        }
    });
    facts
}

fn volatile<T>(act: impl FnOnce(&mut Volatile) -> T) -> T {
    act(&mut VOLATILE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Notes as changed what has lost a field by `now`.
fn lose_fields(now: i64) {
    let change = |(database, key)| Change { database, key, foreign: true, expired: false };
    let lost: Vec<Change> = volatile(|volatile| volatile.lost(now)).into_iter().map(change).collect();
    changes(|changes| changes.extend(lost));
}

/// Follows an event of whole databases.
pub fn database_changed(context: &Context<'_>, event: DatabaseEvent) {
    match event {
        DatabaseEvent::Flushed(database) => {
            with(|catalog| catalog.flush(database));
            volatile(|volatile| volatile.flush(database));
            if database.is_none() {
                heal::end();
            }
        }
        DatabaseEvent::Swapped(first, second) => {
            with(|catalog| catalog.swap(first, second));
            let other = |database| match database {
                database if database == first => second,
                database if database == second => first,
                database => database,
            };
            let rename = |changes: &mut Vec<Change>| {
                changes.iter_mut().for_each(|change| change.database = other(change.database));
            };
            changes(rename);
            to_heal(rename);
            evicted(rename);
            volatile(|volatile| volatile.rename(|database| Some(other(database))));
            rebuild::databases_swapped(context);
        }
        DatabaseEvent::LoadBegins => {
            IS_LOADING.store(true, Ordering::Relaxed);
            rebuild::load_begins();
        }
        DatabaseEvent::LoadEnds => {
            IS_LOADING.store(false, Ordering::Relaxed);
            rebuild::load_ends(context);
        }
        DatabaseEvent::LoadBesideBegins => IS_LOADING_BESIDE.store(true, Ordering::Relaxed),
        DatabaseEvent::LoadBesideEnds { replaced } => {
            IS_LOADING_BESIDE.store(false, Ordering::Relaxed);
            if replaced {
                with(|catalog| catalog.flush(None));
                volatile(|volatile| volatile.flush(None));
                rebuild::begin(context);
            }
        }
        DatabaseEvent::RoleChanged | DatabaseEvent::SettingsChanged => {}
    }
}

/// Work of the server's periodic kind: rows whose time is up leave the catalog, and the server, a few at a time.
pub fn cron(context: &Context<'_>) {
    if IS_LOADING.load(Ordering::Relaxed) {
        return;
    }
    // Without a timer, which would be pending until the next turn.
    let was_pending = IS_PENDING.swap(true, Ordering::Relaxed);
    lose_fields(context.now_ms());
    retire(context);
    take_out_evicted(context);
    work_off(context, Instant::now() + PIECE);
    heal::again(context);
    super::check::go_on(context);
    shed(Instant::now() + PIECE);
    work_off(context, Instant::now() + PIECE);
    IS_PENDING.store(was_pending, Ordering::Relaxed);
    if backlog() > 0 || rebuild::is_running() {
        go_on(context);
    }
}

/// Gives back some of what a flush left behind.
fn shed(end: Instant) {
    while with(super::Catalog::shed) && Instant::now() < end {}
}

/// How many rows are retired at a time, and in how many tables they are sought.
const RETIRED: usize = 1000;
const VISITED: usize = 1000;

/// The database and the namespace where the next rows are sought.
static RETIRE_FROM: Mutex<(i32, Vec<u8>)> = Mutex::new((i32::MIN, Vec::new()));

/// Notes rows whose time is up as changed: the look at them lets a master delete them.
fn retire(context: &Context<'_>) {
    let now = context.now_ms();
    let mut from = RETIRE_FROM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut due = Vec::new();
    let next = with(|catalog| {
        for (visited, (database, namespace, rows)) in catalog.tables_from(from.0, &from.1).enumerate() {
            // The tables of a namespace are visited together, so that the next run can begin with a namespace.
            let is_another = (database, namespace) != (from.0, &from.1[..]);
            if is_another && (visited >= VISITED || due.len() >= RETIRED) {
                return (database, namespace.to_vec());
            }
            due.extend(rows.due(now).take(RETIRED).map(|slot| Change {
                database,
                key: super::key_of(namespace, rows, slot),
                foreign: true,
                expired: true,
            }));
        }
        (i32::MIN, Vec::new())
    });
    *from = next;
    drop(from);
    changes(|changes| changes.extend(due));
}

/// Gives everything back.
pub(super) fn end() {
    changes(|changes| *changes = Vec::new());
    to_heal(|changes| *changes = Vec::new());
    evicted(|changes| *changes = Vec::new());
    volatile(|volatile| volatile.flush(None));
}
