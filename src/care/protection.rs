//! Keeps what must not be lost from being evicted, where the server evicts by age or by use.
//!
//! The server takes the key that seems oldest out of a few that it picks at random, and it tells ages in whole seconds. A
//! flood of new rows can replace all that there is within a second, and is then as old as everything else: to keep the
//! protected keys young is not enough. So two things are done, and only while memory is near its limit. What may be evicted
//! seems older than it is, by a handicap that it gets when it is written. And the protected keys are made young again in
//! turns, far more often than the handicap is long.
//!
//! Only reads are not heard of: a row that a client reads is as young as a protected key, until a walk over the evictable
//! rows adds the handicap again. It visits more rows the more of them it finds young.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::catalog::rebuild;
use crate::keyspace::{self, Address};
use crate::server::config::PROTECT_FROM_EVICTION;
use crate::server::events::DatabaseEvent;
use crate::server::eviction::{self, Policy};
use crate::server::{Arg, Context};

pub mod samples;
mod walks;

use walks::{FullWalk, Kind, Walk};

/// How much of its memory the server holds when the work begins, and when it ends.
const NEAR: f32 = 0.5;
const FAR: f32 = 0.45;
/// From where on the server may evict before the next turn of the event loop.
const NEXT: f32 = 0.9;
/// By how much older than it is something evictable seems: more than a round over the protected keys takes, and not so
/// much that the keys of other applications would never be the oldest.
const HANDICAP_MS: i64 = 3_600_000;
/// The same until protected keys that the server saw before the first walk are gone from among its best: they may not have
/// been used for weeks. The server's clock goes round in 194 days.
const FIRST_HANDICAP_MS: i64 = 90 * 24 * HANDICAP_MS;
/// After how many evictions they are.
const A_NEW_POOL: u64 = 64;

/// How often a round begins, at most: the server tells ages in whole seconds.
const ROUND: Duration = Duration::from_secs(1);
/// How much of the time the rounds over the protected keys take, and those over the evictable rows.
const PART_FOR_PROTECTED: u32 = 100;
const PART_FOR_EVICTABLE: u32 = 400;
/// How long a round may wait for a child of the server to end: every page that is touched meanwhile is copied.
const WAIT_FOR_CHILD: Duration = Duration::from_secs(600);
/// How long a piece of the first walk takes.
const PIECE: Duration = Duration::from_millis(5);
/// How many keys are looked at without a pause where the server may evict with the next command: when another policy or limit was
/// set, or a data set or the module was loaded, on a server that is nearly full. It takes one or two microseconds for each. A busy
/// machine must not cut it short: what is not looked at is not protected for some turns of the event loop.
const AT_ONCE: usize = 1_000_000;

/// How many rows are written before the walk over the evictable ones follows.
const MANY: u32 = 64;
/// The whole of a share.
const WHOLE: u32 = 1024;

/// What the server evicts by, as far as something is to be done about it.
static POLICY: AtomicU8 = AtomicU8::new(Policy::Other as u8);
static IS_AT_WORK: AtomicBool = AtomicBool::new(false);
/// Whether the first walk is over, so that no protected key is older than the last round but one.
static ALL_ARE_YOUNG: AtomicBool = AtomicBool::new(false);
/// Whether the next turn of the event loop will do something.
static IS_PENDING: AtomicBool = AtomicBool::new(false);
/// Events since the memory was looked at.
static EVENTS: AtomicU32 = AtomicU32::new(0);
/// Evictable rows that were written since the walk over them last followed.
static WRITTEN: AtomicU32 = AtomicU32::new(0);
/// The share of the rows visited lately that had lost their handicap.
static READ_SHARE: AtomicU32 = AtomicU32::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
/// Evictions of evictable rows since all protected keys were young.
static EVICTED: AtomicU64 = AtomicU64::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

static WORK: Mutex<Work> = Mutex::new(Work::new());

fn work<T>(act: impl FnOnce(&mut Work) -> T) -> T {
    act(&mut WORK.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Where everything is.
struct Work {
    /// The first walk, over all keys of the server.
    first: Option<FullWalk>,
    protected: Option<Walk>,
    evictable: Option<Walk>,
    /// When the last round over the protected keys began.
    began: Option<Instant>,
    /// When the server's cron last ran.
    ran: Option<Instant>,
    /// Whether the server may evict before the next piece of the first walk.
    is_urgent: bool,
}

impl Work {
    const fn new() -> Self {
        Self { first: None, protected: None, evictable: None, began: None, ran: None, is_urgent: false }
    }
}

/// What is being done, in a word.
#[must_use]
pub fn state() -> &'static str {
    match (PROTECT_FROM_EVICTION.get(), policy(), IS_AT_WORK.load(Ordering::Relaxed)) {
        (false, _, _) => "off",
        (true, Policy::Other, _) => "not-possible",
        (true, _, false) => "resting",
        (true, _, true) if ALL_ARE_YOUNG.load(Ordering::Relaxed) => "working",
        (true, _, true) => "beginning",
    }
}

/// How many rounds over the protected keys were made.
#[must_use]
pub fn rounds() -> u64 {
    ROUNDS.load(Ordering::Relaxed)
}

/// How many protected keys were evicted all the same.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

fn policy() -> Policy {
    match POLICY.load(Ordering::Relaxed) {
        number if number == Policy::Recency as u8 => Policy::Recency,
        number if number == Policy::Frequency as u8 => Policy::Frequency,
        _ => Policy::Other,
    }
}

/// Whether there is work, as far as can be told without looking at the memory each time. To be asked for every keyspace event:
/// a flood may fill the memory before the next cron.
pub fn is_at_work(context: &Context<'_>) -> bool {
    const SELDOM: u32 = 16;
    if IS_AT_WORK.load(Ordering::Relaxed) {
        return true;
    }
    if policy() == Policy::Other
        || !EVENTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(SELDOM)
        || !is_near(context, NEAR)
    {
        return false;
    }
    begin();
    turn_soon(context);
    true
}

/// Follows an event of a key, after `is_at_work` was asked. `address` is what the key names.
pub fn key_changed(context: &Context<'_>, event: &CStr, key: Arg<'_>, address: &Address<'_>) {
    let is_evictable = address.is_evictable();
    if event == c"evicted" {
        let counter = if is_evictable { &EVICTED } else { &LOST };
        counter.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if !IS_AT_WORK.load(Ordering::Relaxed) {
        return;
    }
    match policy() {
        Policy::Recency if is_evictable => {
            context.inspect_at(key).set_idle_ms(handicap());
            if WRITTEN.fetch_add(1, Ordering::Relaxed) >= MANY {
                turn_soon(context);
            }
        }
        Policy::Frequency if !is_evictable => context.inspect_at(key).set_most_frequent(),
        _ => {}
    }
}

/// By how much older than it is an evictable row has to seem now.
fn handicap() -> i64 {
    let is_first = !ALL_ARE_YOUNG.load(Ordering::Relaxed) || EVICTED.load(Ordering::Relaxed) < A_NEW_POOL;
    if is_first {
        FIRST_HANDICAP_MS
    } else {
        HANDICAP_MS
    }
}

/// Whether the server holds so much of its memory that something has to be done.
fn is_near(context: &Context<'_>, share: f32) -> bool {
    policy() != Policy::Other && context.memory_used() >= share && !context.is_loading()
}

/// Begins, or begins anew.
fn begin() {
    IS_AT_WORK.store(true, Ordering::Relaxed);
    ALL_ARE_YOUNG.store(false, Ordering::Relaxed);
    work(|work| *work = Work { ran: work.ran, ..Work::new() });
}

/// Begins or ends as the memory demands. Answers whether there is work.
fn follow_memory(context: &Context<'_>) -> bool {
    let was_at_work = IS_AT_WORK.load(Ordering::Relaxed);
    let is_at_work = is_near(context, if was_at_work { FAR } else { NEAR });
    if is_at_work && !was_at_work {
        begin();
    }
    if !is_at_work {
        IS_AT_WORK.store(false, Ordering::Relaxed);
        samples::reset(context);
    }
    is_at_work
}

/// Follows an event of whole databases.
pub fn database_changed(context: &Context<'_>, event: DatabaseEvent) {
    match event {
        DatabaseEvent::SettingsChanged => reconsider(context),
        // Other keys, of other ages. A replica that is promoted has looked after its own all the time.
        DatabaseEvent::LoadEnds | DatabaseEvent::LoadBesideEnds { replaced: true } => {
            IS_AT_WORK.store(false, Ordering::Relaxed);
            if !follow_memory(context) {
                return;
            }
            work(|work| work.is_urgent = is_near(context, NEXT));
            // On a primary keys may expire when they are looked at, which not every event is a moment for.
            if context.follows() {
                hurry(context);
            } else {
                turn_soon(context);
            }
        }
        _ => {}
    }
}

/// Looks at the settings again. If the server may begin to evict with the next command, what can be done in a moment is done when this
/// returns.
pub fn reconsider(context: &Context<'_>) {
    if samples::are_being_set() {
        return;
    }
    let wanted = if PROTECT_FROM_EVICTION.get() { eviction::policy() } else { Policy::Other };
    let before = POLICY.swap(wanted as u8, Ordering::Relaxed);
    if before != wanted as u8 {
        IS_AT_WORK.store(false, Ordering::Relaxed);
    }
    if follow_memory(context) {
        work(|work| work.is_urgent = is_near(context, NEXT));
        hurry(context);
    }
}

fn turn_soon(context: &Context<'_>) {
    if !IS_PENDING.load(Ordering::Relaxed) && context.call_later(0, turn) {
        IS_PENDING.store(true, Ordering::Relaxed);
    }
}

/// One turn of the event loop.
fn turn(context: &Context<'_>) {
    IS_PENDING.store(false, Ordering::Relaxed);
    if !IS_AT_WORK.load(Ordering::Relaxed) {
        return;
    }
    if hurry(context) {
        return;
    }
    // One row that was read has to be found for each that is written, since each that is written makes one go.
    let written = WRITTEN.swap(0, Ordering::Relaxed);
    let read = READ_SHARE.load(Ordering::Relaxed);
    let visits = written / 16 + written.saturating_mul(4).saturating_mul(read) / WHOLE;
    go_on(context, Kind::Evictable, Instant::now() + PIECE, visits);
}

/// Goes on with the first walk, if it is not over. Answers whether there was something to do.
fn hurry(context: &Context<'_>) -> bool {
    if ALL_ARE_YOUNG.load(Ordering::Relaxed) {
        return false;
    }
    let (end, is_urgent) = (Instant::now() + PIECE, work(|work| std::mem::take(&mut work.is_urgent)));
    // Taken out meanwhile: a look at a key can delete it, and lead back here.
    let mut first = work(|work| work.first.take()).unwrap_or_default();
    let mut met = 0;
    while (is_urgent && met < AT_ONCE) || Instant::now() < end {
        let Some(more) = first.piece(context, |kind, key| visit(context, kind, key)) else {
            EVICTED.store(0, Ordering::Relaxed);
            ALL_ARE_YOUNG.store(true, Ordering::Relaxed);
            samples::follow_share(context, first.protected, first.keys);
            return true;
        };
        met += more;
    }
    work(|work| work.first = Some(first));
    turn_soon(context);
    true
}

/// Work of the server's periodic kind.
pub fn cron(context: &Context<'_>) {
    let now = Instant::now();
    let before = work(|work| work.ran.replace(now)).unwrap_or(now);
    if !follow_memory(context) {
        return;
    }
    if hurry(context) {
        return;
    }
    let (began, is_halfway) = work(|work| (work.began, work.protected.is_some()));
    let age = began.map_or(Duration::MAX, |began| now - began);
    if context.has_child() && age < WAIT_FOR_CHILD {
        return;
    }
    let passed = (now - before).min(ROUND);
    if is_halfway || age >= ROUND {
        go_on(context, Kind::Protected, now + passed / PART_FOR_PROTECTED, u32::MAX);
    }
    if policy() == Policy::Recency {
        go_on(context, Kind::Evictable, Instant::now() + passed / PART_FOR_EVICTABLE, u32::MAX);
    }
}

/// Goes on with a walk, or begins one. Answers whether it is at its end.
fn go_on(context: &Context<'_>, kind: Kind, end: Instant, most: u32) -> bool {
    let slot = |work: &mut Work| match kind {
        Kind::Protected => work.protected.take(),
        Kind::Evictable => work.evictable.take(),
    };
    // Taken out meanwhile: a look at a key can delete it, and lead back here.
    let mut walk = work(slot).unwrap_or_else(|| {
        if kind == Kind::Protected {
            work(|work| work.began = Some(Instant::now()));
        }
        Walk::new(kind)
    });
    let mut visited = 0;
    while visited < most && Instant::now() < end {
        match walk.piece(context, |kind, key| visit(context, kind, key)) {
            Some(keys) => visited += keys,
            None => {
                if kind == Kind::Protected {
                    end_round(context, &walk);
                }
                return true;
            }
        }
    }
    work(|work| match kind {
        Kind::Protected => work.protected = Some(walk),
        Kind::Evictable => work.evictable = Some(walk),
    });
    false
}

/// Counts a round over the protected keys.
fn end_round(context: &Context<'_>, walk: &Walk) {
    ROUNDS.fetch_add(1, Ordering::Relaxed);
    // A catalog that does not know all keys yet knows too few of them.
    if !rebuild::is_running() {
        let count = |database: i32| context.in_database(database, || context.keys_of_database()).unwrap_or(0);
        let keys = walk.databases.iter().map(|database| count(*database)).sum();
        samples::follow_share(context, walk.visited, keys);
    }
}

/// Makes a protected key young, or adds the handicap to the age of an evictable one. Answers whether it is of that kind.
fn visit(context: &Context<'_>, kind: Kind, name: &[u8]) -> bool {
    let is_evictable = keyspace::locate(name).is_some_and(|address| address.is_evictable());
    if is_evictable != (kind == Kind::Evictable) {
        return false;
    }
    let key = context.inspect(name);
    match (kind, policy()) {
        (Kind::Protected, Policy::Recency) => key.set_idle_ms(0),
        (Kind::Protected, Policy::Frequency) => key.set_most_frequent(),
        (Kind::Evictable, Policy::Recency) => {
            let Some(idle) = key.idle_ms() else { return true };
            let was_read = idle < HANDICAP_MS;
            if was_read {
                key.set_idle_ms(idle + handicap());
            }
            // An average over the last few dozens.
            let share = READ_SHARE.load(Ordering::Relaxed);
            READ_SHARE.store(share - share / 32 + u32::from(was_read) * (WHOLE / 32), Ordering::Relaxed);
        }
        _ => {}
    }
    true
}

/// Gives everything back.
pub fn end(context: &Context<'_>) {
    samples::reset(context);
    IS_AT_WORK.store(false, Ordering::Relaxed);
    POLICY.store(Policy::Other as u8, Ordering::Relaxed);
    work(|work| *work = Work::new());
}
