//! What the doctor has to have watched before it is asked: how long a queue has been deep, how a buffer has grown, when a
//! lease was renewed, what the server had counted a while ago. A few looks a second, at the catalog and at the buffers.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::audit;
use super::doctor::past::{Counters, Level, Marks, Tenure, Window};
use super::doctor::store::QUEUED;
use super::protection;
use crate::catalog::check::COUNTERS;
use crate::catalog::select::{Filter, Selection};
use crate::catalog::table::Rows;
use crate::catalog::{self, rebuild};
use crate::keyspace::{self, key_in};
use crate::schema::value::integer;
use crate::schema::Table;
use crate::server::config::DOCTOR_WINDOW;
use crate::server::events::DatabaseEvent;
use crate::server::info::ServerInfo;
use crate::server::{key, Context, KeyType};
use crate::store::{buffers, leases};

/// How often there is a look, in ms. A queue that is short for less than that may pass for one that was never.
const EVERY: i64 = 250;
/// In how many tables each look goes. More of them take several looks.
const VISITED: usize = 1000;

/// What is remembered.
#[derive(Default)]
struct Vigil {
    /// When the next look is due.
    next: i64,
    counted: Option<Window>,
    /// Namespaces whose queue is deep, and since when.
    queues: Marks<i64>,
    /// Buffers by their lists.
    buffers: Marks<Level>,
    /// Leases with a TTL.
    leases: Marks<Tenure>,
    /// Where the look goes on, and how often it has been everywhere.
    from: (i32, Vec<u8>),
    pass: u64,
}

static VIGIL: Mutex<Option<Vigil>> = Mutex::new(None);

/// Nothing in `act` may touch a key: that can delete it, and lead back here.
fn vigil<T>(act: impl FnOnce(&mut Vigil) -> T) -> T {
    let begin = || Vigil { from: START, ..Vigil::default() };
    act(VIGIL.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(begin))
}

const START: (i32, Vec<u8>) = (i32::MIN, Vec::new());

/// The time in which something has to last, in ms.
#[must_use]
pub fn window() -> i64 {
    i64::try_from(DOCTOR_WINDOW.get()).unwrap_or(i64::MAX).saturating_mul(1000)
}

/// Has a look, if one is due.
pub fn go_on(context: &Context<'_>) {
    let now = context.now_ms();
    let is_due = vigil(|vigil| {
        // A clock that was set back must not end all looks.
        let is_due = now >= vigil.next || now < vigil.next - EVERY;
        if is_due {
            vigil.next = now + EVERY;
        }
        is_due
    });
    if is_due {
        look(context);
    }
}

/// Has a look now.
pub fn look(context: &Context<'_>) {
    let now = context.now_ms();
    // Only who looks often notices that the server counts anew. What cannot be counted is tried again by the next look.
    let _ = counted(context);
    if !rebuild::is_running() {
        look_at_namespaces(context, now);
    }
}

/// What was counted in the window, and its length in ms.
///
/// # Errors
/// When the server does not tell.
pub fn counted(context: &Context<'_>) -> Result<(Counters, i64), String> {
    let statistics = ServerInfo::section(c"stats").ok_or("the server answers no INFO stats")?;
    let number = |name: &str| -> Result<u64, String> {
        let value = statistics.field(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| format!("INFO stats tells no {name}"))
    };
    let of_audit = [&COUNTERS.missing, &COUNTERS.ghosts, &COUNTERS.different];
    let by_itself: u64 = of_audit.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
    let (own_hits, own_misses) = key::look_ups();
    let counters = Counters {
        evicted: number("evicted_keys")?,
        lost: protection::lost(),
        hits: number("keyspace_hits")?,
        misses: number("keyspace_misses")?,
        own_hits,
        own_misses,
        rejected: number("rejected_connections")?,
        drift: by_itself + audit::found(audit::Kind::CatalogAtOdds),
    };
    let now = context.now_ms();
    Ok(vigil(|vigil| {
        // Of what was counted before the module came nobody can tell how much was another module's.
        let window = vigil.counted.get_or_insert_with(|| Window::new(now, counters));
        window.note(now, self::window(), counters);
        window.counted(now, &counters)
    }))
}

/// A table of a namespace with what is of interest.
enum Met {
    Queue(usize),
    Buffers(Vec<Vec<u8>>),
    Leases(Vec<(Vec<u8>, i64)>),
}

fn look_at_namespaces(context: &Context<'_>, now: i64) {
    let is_ours = |table: &Table| [JOBS, buffers::TABLE, leases::TABLE].contains(&table.name);
    let nothing = catalog::with(|catalog| {
        catalog.sums().filter(|(table, _)| is_ours(table)).all(|(_, sums)| sums.rows == 0)
    });
    let from = vigil(|vigil| {
        if nothing {
            vigil.from = START;
            (vigil.queues, vigil.buffers, vigil.leases) = Default::default();
        }
        vigil.from.clone()
    });
    if nothing {
        return;
    }
    let (mut met, mut left) = (Vec::new(), Marks::<()>::MOST);
    let next = catalog::with(|catalog| {
        for (visited, (database, namespace, rows)) in catalog.tables_from(from.0, &from.1).enumerate() {
            let is_another = met
                .last()
                .is_none_or(|(at, name, _): &(i32, Vec<u8>, Met)| (*at, &name[..]) != (database, namespace));
            if is_another && visited >= VISITED {
                return Some((database, namespace.to_vec()));
            }
            if let Some(found) = meet(namespace, rows, now, &mut left) {
                met.push((database, namespace.to_vec(), found));
            }
        }
        None
    });
    let pass = vigil(|vigil| vigil.pass);
    for (database, namespace, found) in met {
        match found {
            Met::Queue(depth) => note_queue(database, &namespace, depth, now),
            Met::Buffers(lists) => {
                context.in_database(database, || {
                    lists.iter().for_each(|list| note_buffer(context, database, list, now));
                });
            }
            Met::Leases(ends) => vigil(|vigil| {
                for (lease, end) in ends {
                    let note = |tenure: &mut Tenure| tenure.note(now, end);
                    vigil.leases.note(database, &lease, pass, Tenure::new(now, end), note);
                }
            }),
        }
    }
    vigil(|vigil| {
        if next.is_none() {
            vigil.queues.forget_unseen(pass);
            vigil.buffers.forget_unseen(pass);
            vigil.leases.forget_unseen(pass);
            vigil.pass += 1;
        }
        vigil.from = next.unwrap_or(START);
    });
}

const JOBS: &str = "jobs";

/// `left` is how many buffers and leases are looked at.
fn meet(namespace: &[u8], rows: &Rows, now: i64, left: &mut usize) -> Option<Met> {
    let table = rows.table();
    let key_of = |slot| key_in(namespace, table, rows.slab().id(slot));
    let some = slots_in_use(rows).take(*left);
    match table.name {
        JOBS => Some(Met::Queue(queued(rows, now))),
        buffers::TABLE => {
            let lists: Vec<_> = some.map(key_of).collect();
            *left -= lists.len();
            Some(Met::Buffers(lists))
        }
        leases::TABLE => {
            let end = |slot| Some((key_of(slot), rows.slab().expires_at(slot)?));
            let ends: Vec<_> = some.filter_map(end).collect();
            *left -= ends.len();
            Some(Met::Leases(ends))
        }
        _ => None,
    }
}

/// The slots of the rows of a table.
pub fn slots_in_use(rows: &Rows) -> impl Iterator<Item = u32> + '_ {
    (0..rows.slab().slots()).filter(|slot| rows.slab().holds(*slot))
}

/// How many jobs wait for a worker.
#[must_use]
pub fn queued(rows: &Rows, now: i64) -> usize {
    let table = rows.table();
    let (Some(state), Some(claim)) = (table.state, table.claim) else { return 0 };
    let Some(field) = table.filters.iter().position(|name| *name == state) else { return 0 };
    let mut filter = Filter::default();
    filter.allow(field, claim.waiting.as_bytes());
    Selection::new(rows, &filter, now).count()
}

/// Takes over how deep a queue is.
pub fn note_queue(database: i32, namespace: &[u8], depth: usize, now: i64) {
    vigil(|vigil| {
        if depth > QUEUED {
            vigil.queues.note(database, namespace, vigil.pass, now, |_| {});
        } else {
            vigil.queues.forget(database, namespace);
        }
    });
}

/// What a buffer holds, and what it has dropped in its life. None where there is none.
#[must_use]
pub fn fill(context: &Context<'_>, list: &[u8]) -> Option<(i64, i64)> {
    let held = {
        let events = context.inspect(list);
        (events.key_type() == KeyType::List).then(|| i64::try_from(events.len()).unwrap_or(i64::MAX))?
    };
    let (address, sink) = keyspace::row(list)?;
    let stat = context.inspect(&keyspace::key(address.namespace, buffers::STAT, sink));
    let dropped = stat.field(c"dropped").and_then(|text| integer(text.bytes()));
    Some((held, dropped.filter(|dropped| *dropped > 0).unwrap_or(0)))
}

fn note_buffer(context: &Context<'_>, database: i32, list: &[u8], now: i64) {
    let Some((held, dropped)) = fill(context, list) else { return };
    vigil(|vigil| {
        let note = |level: &mut Level| level.note(now, window(), held, dropped);
        vigil.buffers.note(database, list, vigil.pass, Level::new(now, held, dropped), note);
    });
}

/// Since when a queue has been deep.
#[must_use]
pub fn deep_since(database: i32, namespace: &[u8]) -> Option<i64> {
    vigil(|vigil| vigil.queues.get(database, namespace).copied())
}

/// How full a buffer was.
#[must_use]
pub fn level(database: i32, list: &[u8]) -> Option<Level> {
    vigil(|vigil| vigil.buffers.get(database, list).copied())
}

/// For how long a lease was given.
#[must_use]
pub fn tenure(database: i32, lease: &[u8]) -> Option<Tenure> {
    vigil(|vigil| vigil.leases.get(database, lease).copied())
}

/// Follows an event of whole databases.
pub fn database_changed(event: DatabaseEvent) {
    let number = |of: i32| match event {
        DatabaseEvent::Flushed(Some(database)) => (of != database).then_some(of),
        DatabaseEvent::Swapped(first, second) if of == first => Some(second),
        DatabaseEvent::Swapped(first, second) if of == second => Some(first),
        DatabaseEvent::Flushed(None) | DatabaseEvent::LoadBesideEnds { replaced: true } => None,
        _ => Some(of),
    };
    vigil(|vigil| {
        vigil.queues.rename(number);
        vigil.buffers.rename(number);
        vigil.leases.rename(number);
    });
}

/// Gives everything back.
pub fn end() {
    drop(VIGIL.lock().unwrap_or_else(PoisonError::into_inner).take());
}
