//! CDC overflow buffers: a list with the newest event at its head, a string with the exact sum of the events'
//! lengths, and a hash of lifetime counters that also carries the sequence numbers.
//!
//! The number of an event follows from the number of the oldest one and its place in the list. What other clients
//! do to the list behind the module's back shows in keyspace events, or in a length that is not the one on
//! record; the next command then counts the bytes anew and moves the numbers so that none is ever given twice.
//! The first command on a buffer after the module was loaded counts as well: nobody watched before.

use std::ffi::CStr;
use std::rc::Rc;

use super::remembered::Remembered;
use super::Target;
use crate::errors::{Failure, Outcome};
use crate::keyspace;
use crate::rules::budget::{self, Batch, Change, Span};
use crate::schema::value::integer;
use crate::server::events::DatabaseEvent;
use crate::server::{Arg, Called, Context, Key, KeyType, Text, Words};

/// The name of the structure in the schema.
pub const TABLE: &str = "cdc_overflow";
const BYTES: &str = "cdc:overflow_bytes";
/// Where the lifetime counters of a buffer are, by its segment.
pub const STAT: &str = "cdc:overflow_stat";
/// Up to how many events are dropped one by one. For more a call of LTRIM is cheaper.
const FEW: i64 = 16;

/// What a buffer has gone through in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events dropped to keep a budget.
    pub dropped: i64,
    /// The sum of their lengths.
    pub dropped_bytes: i64,
    /// Events removed by acknowledgement.
    pub acked: i64,
}

/// A buffer as it stands, with what the counters should say.
pub struct Buffer<'a> {
    context: &'a Context<'a>,
    list: Arg<'a>,
    /// The open list, until something is pushed; only for a command that does nothing else to the list.
    events: Option<Key<'a>>,
    counters: Rc<[Text; 2]>,
    /// Its place in the sequence of events.
    pub span: Span,
    /// The exact sum of the lengths of the events held.
    pub bytes: i64,
    /// When the list's life ends, in ms, where another client has given it an end.
    pub expires_at: Option<i64>,
    /// What the byte counter in the database says.
    pub recorded_bytes: i64,
    /// Its lifetime counters.
    pub totals: Totals,
    /// Whether the counters in the database are not what they should be, even before this command.
    stale: bool,
    /// Whether the lifetime counters, and with them the numbers of the events, are in the database.
    known: bool,
    /// What the database holds of place and lifetime, where that was seen and stays until this module writes it.
    on_record: Option<(Span, Totals)>,
}

/// What this process knows of a buffer from the last command or event on it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Where it stands.
    span: Span,
    /// The highest number that anyone has seen.
    used: i64,
    /// The exact sum of the lengths of its events, if it was counted since the last write of anyone else.
    bytes: Option<i64>,
    /// The lifetime counters, if the database holds them and all else that is known here, as far as anyone has seen.
    on_record: Option<Totals>,
    /// Whether the lifetime counters have come back since, from another node that had their slot.
    is_back: bool,
}

static SEEN: Remembered<Seen> = Remembered::new();

/// Follows a write of somebody else to the list of a buffer. Of a buffer that is not remembered the module takes
/// nothing for granted anyway.
pub fn list_changed(context: &Context<'_>, event: &CStr, list: &[u8]) {
    let change = match event.to_bytes() {
        b"lpush" => Change::HeadPush,
        b"rpop" => Change::TailPop,
        _ => Change::Other,
    };
    let events = context.peek(list);
    let length = if events.key_type() == KeyType::List { length_of(&events) } else { 0 };
    SEEN.change(context, list, |seen| {
        seen.span = seen.span.after(change, length, seen.used);
        // Of what comes from elsewhere the record beside it may know better numbers; these are nobody's yet.
        if event.to_bytes() != b"restore" {
            seen.used = seen.used.max(seen.span.last_seq());
        }
        seen.bytes = None;
    });
}

/// Follows a write of somebody else to a counter beside the list of a buffer.
pub fn counter_changed(context: &Context<'_>, event: &CStr, segment: &str, list: &[u8]) {
    SEEN.change(context, list, |seen| {
        seen.on_record = None;
        seen.is_back |= segment == STAT && event.to_bytes() == b"restore";
    });
}

/// Follows an event of whole databases.
pub fn database_changed(event: DatabaseEvent) {
    SEEN.follow(event);
}

impl<'a> Buffer<'a> {
    /// Reads a buffer. One that was never used is empty. O(1), or O(events) at the first
    /// contact and when someone else has written to it.
    ///
    /// # Errors
    /// WRONGTYPE for a foreign value at one of its three keys.
    pub fn open(context: &'a Context<'a>, target: &Target<'a>) -> Outcome<Self> {
        Self::read(context, target, &context.open(target.key))
    }

    /// Reads a buffer to which events are to be pushed, and whose events nothing else is to change.
    ///
    /// # Errors
    /// As [`Buffer::open`].
    pub fn open_to_push(context: &'a Context<'a>, target: &Target<'a>) -> Outcome<Self> {
        let events = context.open_to_write(target.key);
        let buffer = Self::read(context, target, &events)?;
        Ok(Self { events: Some(events), ..buffer })
    }

    fn read(context: &'a Context<'a>, target: &Target<'a>, events: &Key<'_>) -> Outcome<Self> {
        let Target { key: list, address, id: sink } = *target;
        let counter = |segment| Text::new(&keyspace::key(address.namespace, segment, sink.as_bytes()));
        let (Some(bytes_key), Some(stat_key)) = (counter(BYTES), counter(STAT)) else {
            return Err(Failure::internal("no strings"));
        };
        let counters = Rc::new([bytes_key, stat_key]);
        let [bytes_key, stat_key] = &*counters;
        events.expect(KeyType::List)?;
        let (length, expires_at) = (length_of(events), events.expires_at());
        let seen = SEEN.get(context, list.bytes()).filter(|seen| seen.span.length == length);
        let buffer = Self {
            context,
            list,
            events: None,
            counters: Rc::clone(&counters),
            span: Span { first_seq: 1, length },
            bytes: 0,
            expires_at,
            recorded_bytes: 0,
            totals: Totals::default(),
            stale: false,
            known: true,
            on_record: None,
        };
        if let Some(Seen { span, bytes: Some(bytes), on_record: Some(totals), .. }) = seen {
            let on_record = Some((span, totals));
            return Ok(Self { span, bytes, recorded_bytes: bytes, totals, on_record, ..buffer });
        }
        let (counter, counter_lasts) = {
            let counter = context.open(bytes_key.as_arg());
            let is_there = counter.expect(KeyType::String)?;
            (integer(counter.string()), is_there && counter.expires_at().is_none())
        };
        let stat = context.open(stat_key.as_arg());
        let known = stat.expect(KeyType::Hash)?;
        let number =
            |name| stat.field(name).and_then(|text| integer(text.bytes())).filter(|number| *number >= 0);

        let first_seq = number(c"first_seq").unwrap_or(1).max(1);
        let last_seq = number(c"last_seq").unwrap_or(0).max(first_seq - 1);
        let record = Record { first_seq, last_seq, bytes: counter.unwrap_or(0), is_there: known };
        let (span, bytes) =
            if context.follows() { record.on_replica(events) } else { record.on_master(events, seen) };
        if span.first_seq.checked_add(length).is_none() {
            let got = span.first_seq.to_string();
            return Err(Failure::stored(
                TABLE,
                "first_seq",
                "room for the events held",
                Some(got.as_bytes()),
            ));
        }
        context.reach([bytes_key.bytes(), stat_key.bytes()])?;
        let totals = Totals {
            dropped: number(c"dropped").unwrap_or(0),
            dropped_bytes: number(c"dropped_bytes").unwrap_or(0),
            acked: number(c"acked").unwrap_or(0),
        };
        let stale = record.bytes != bytes || span.first_seq != first_seq || span.last_seq() != last_seq;
        let is_used = length > 0 || known || seen.is_some();
        if is_used && !context.follows() {
            // Numbers that a reader is told now must hold for the next command, even if nothing is written.
            let used = seen.map_or(last_seq, |seen| seen.used).max(span.last_seq());
            // What is about to expire is read each time.
            let stat_lasts = stat.expires_at().is_none() && stat.first_field_expires_at().is_none();
            let lasts = stat_lasts && counter_lasts;
            let on_record = (known && !stale && lasts).then_some(totals);
            let seen = Seen { span, used, bytes: Some(bytes), on_record, is_back: false };
            SEEN.set(context, list.bytes(), seen);
        }
        drop(stat);
        Ok(Self { span, bytes, recorded_bytes: record.bytes, totals, stale, known, ..buffer })
    }

    /// Adds events at the head, the last one being the newest, then drops the oldest until `budget` is kept.
    /// Answers what was dropped.
    ///
    /// # Errors
    /// The server's own; an error when the sequence numbers are used up.
    pub fn push(&mut self, events: &[Arg<'_>], budget: i64) -> Outcome<Batch> {
        let list = self.events.take().unwrap_or_else(|| self.context.open_to_write(self.list));
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        if self
            .span
            .first_seq
            .checked_add(self.span.length)
            .and_then(|next| next.checked_add(count))
            .is_none()
        {
            return Err(Failure::refused("the sequence numbers of this buffer are used up"));
        }
        let mut words = Words::with_capacity(events.len() + 1);
        words.arg(self.list);
        for event in events {
            words.arg(*event);
            self.bytes = self.bytes.saturating_add(size_of_event(event.bytes()));
        }
        let (bytes, length) = (self.bytes, self.span.length + count);
        let (mut dropped, mut few) = (Batch::default(), false);
        self.context.push_head(list, self.list, &words, |list| {
            dropped = overflowing(bytes, budget, list);
            few = dropped.count < length.min(FEW);
            if few {
                dropped.count
            } else {
                0
            }
        })?;
        self.span.length = length;
        if few {
            self.forget(dropped);
            self.count_dropped(dropped);
        } else {
            self.drop_oldest(dropped)?;
        }
        self.save(dropped.count > 0 || !self.known)?;
        Ok(dropped)
    }

    /// The sum of the lengths of the events, counted anew. O(events).
    #[must_use]
    pub fn count_bytes(&self) -> i64 {
        sizes(&self.context.open(self.list)).sum()
    }

    /// Writes the counters if they are not what they should be, and nothing else.
    ///
    /// # Errors
    /// The server's own.
    pub fn mend(&mut self) -> Outcome<()> {
        self.settle(0)
    }

    /// Drops the oldest events until `budget` is kept; 0 drops all.
    ///
    /// # Errors
    /// The server's own.
    pub fn trim(&mut self, budget: i64) -> Outcome<Batch> {
        // Events without bytes keep any budget, but not the wish for an empty buffer.
        let dropped = match budget {
            0 => Batch { count: self.span.length, bytes: self.bytes },
            _ => overflowing(self.bytes, budget, &self.context.open(self.list)),
        };
        self.drop_oldest(dropped)?;
        self.settle(dropped.count)?;
        Ok(dropped)
    }

    /// Takes the oldest events out, at most `count` of them and `max_bytes`, but one at least if there is one.
    /// Answers them as the server does, oldest first; None when there are none.
    ///
    /// # Errors
    /// The server's own.
    pub fn pop(&mut self, count: i64, max_bytes: i64) -> Outcome<Option<Called>> {
        let batch = self.fitting(count, max_bytes);
        let mut events = None;
        if batch.count > 0 {
            let mut words = Words::with_capacity(2);
            words.arg(self.list).number(batch.count);
            events = Some(self.context.write(c"RPOP", &words)?);
            self.forget(batch);
        }
        self.settle(batch.count)?;
        Ok(events)
    }

    /// The oldest events with their numbers, within the same bounds as [`Buffer::pop`]; they stay.
    #[must_use]
    pub fn peek(&self, count: i64, max_bytes: i64) -> Vec<(i64, Vec<u8>)> {
        let batch = self.fitting(count, max_bytes);
        let events = self.context.open(self.list);
        (0..batch.count)
            .map_while(|place| {
                let event = events.element(-1 - place)?;
                Some((self.span.first_seq + place, event.bytes().to_vec()))
            })
            .collect()
    }

    /// Removes the events up to this number. Answers how many there were.
    ///
    /// # Errors
    /// The server's own.
    pub fn acknowledge(&mut self, seq: i64) -> Outcome<i64> {
        let count = self.span.up_to(seq);
        let bytes = sizes(&self.context.open(self.list)).take(usize::try_from(count).unwrap_or(0)).sum();
        if count > 0 {
            self.cut(Batch { count, bytes })?;
            self.totals.acked = self.totals.acked.saturating_add(count);
        }
        self.settle(count)?;
        Ok(count)
    }

    /// The keys of the counters beside the list.
    #[must_use]
    pub fn counters(&self) -> Rc<[Text; 2]> {
        Rc::clone(&self.counters)
    }

    /// Whether the counters are in the database, as they were seen, and stay until this module writes them.
    #[must_use]
    pub fn is_on_record(&self) -> bool {
        self.on_record.is_some()
    }

    fn fitting(&self, count: i64, max_bytes: i64) -> Batch {
        budget::fitting(count, max_bytes, sizes(&self.context.open(self.list)))
    }

    fn drop_oldest(&mut self, batch: Batch) -> Outcome<()> {
        if batch.count > 0 {
            self.cut(batch)?;
            self.count_dropped(batch);
        }
        Ok(())
    }

    fn count_dropped(&mut self, batch: Batch) {
        self.totals.dropped = self.totals.dropped.saturating_add(batch.count);
        self.totals.dropped_bytes = self.totals.dropped_bytes.saturating_add(batch.bytes);
    }

    /// Removes the oldest events of the list. The end counts from the tail, and one before the head means all.
    fn cut(&mut self, batch: Batch) -> Outcome<()> {
        if batch.count < self.span.length.min(FEW) {
            self.context.drop_tail(self.list, batch.count)?;
        } else {
            let mut words = Words::with_capacity(3);
            words.arg(self.list).number(0).number(-1 - batch.count);
            self.context.write(c"LTRIM", &words)?;
        }
        self.forget(batch);
        Ok(())
    }

    fn forget(&mut self, batch: Batch) {
        self.span = self.span.without(batch.count);
        self.bytes = self.bytes.saturating_sub(batch.bytes);
    }

    /// Writes the counters after `removed` events are gone, or if they were wrong before.
    fn settle(&mut self, removed: i64) -> Outcome<()> {
        if removed > 0 || self.stale {
            self.save(true)?;
        }
        Ok(())
    }

    /// Writes the byte counter, and the lifetime counters where they have changed; what anyone else did to the
    /// buffer before is accounted for from here on.
    fn save(&mut self, totals_changed: bool) -> Outcome<()> {
        let [bytes_key, stat_key] = &*self.counters;
        self.context.set_number(bytes_key.as_arg(), self.bytes)?;
        let numbers = stat_of(self.span, self.totals);
        let on_record = self.on_record.map(|(span, totals)| stat_of(span, totals));
        let mut words = Words::with_capacity(11);
        words.arg(stat_key.as_arg());
        for (place, (name, number)) in numbers.into_iter().enumerate() {
            let is_needed = match &on_record {
                Some(on_record) => on_record.get(place) != Some(&(name, number)),
                None => totals_changed || place < PLACES,
            };
            if is_needed {
                words.name(name).number(number);
            }
        }
        if words.len() > 1 {
            self.context.set_fields(stat_key.as_arg(), &words)?;
        }
        if self.context.is_rehearsing() {
            return Ok(());
        }
        let Self { span, bytes, totals, .. } = *self;
        let (used, bytes, on_record) = (span.last_seq(), Some(bytes), Some(totals));
        let seen = Seen { span, used, bytes, on_record, is_back: false };
        SEEN.set(self.context, self.list.bytes(), seen);
        self.on_record = Some((span, totals));
        Ok(())
    }
}

/// How many fields of the statistics say where a buffer stands; the others are its lifetime counters.
const PLACES: usize = 2;

/// The fields of a buffer's statistics.
fn stat_of(span: Span, totals: Totals) -> [(&'static str, i64); 5] {
    [
        ("first_seq", span.first_seq),
        ("last_seq", span.last_seq()),
        ("dropped", totals.dropped),
        ("dropped_bytes", totals.dropped_bytes),
        ("acked", totals.acked),
    ]
}

/// Which of the oldest events of a list have to go so that at most `budget` of its bytes stay.
fn overflowing(bytes: i64, budget: i64, list: &Key<'_>) -> Batch {
    if bytes <= budget {
        return Batch::default();
    }
    budget::overflowing(bytes, budget, sizes(list))
}

/// What the counters in the database say of a buffer.
struct Record {
    first_seq: i64,
    last_seq: i64,
    bytes: i64,
    is_there: bool,
}

impl Record {
    fn span(&self) -> Span {
        Span { first_seq: self.first_seq, length: self.last_seq - self.first_seq + 1 }
    }

    /// Where the buffer stands, and its bytes. A replica has not seen who wrote what: it goes by the length.
    fn on_replica(&self, events: &Key<'_>) -> (Span, i64) {
        let length = length_of(events);
        if self.is_there && self.span().length == length {
            return (self.span(), self.bytes);
        }
        let span = Span { first_seq: self.first_seq, length };
        (span.not_before(self.last_seq), sizes(events).sum())
    }

    /// Where the buffer stands, and its bytes, by what this process has seen of it.
    fn on_master(&self, events: &Key<'_>, seen: Option<Seen>) -> (Span, i64) {
        // Who had the slot meanwhile has watched the buffer, and what that one knew is on record.
        let is_outdated = |seen: &Seen| seen.is_back && self.last_seq >= seen.used;
        let Some(seen) = seen.filter(|seen| !is_outdated(seen)) else { return self.at_first_contact(events) };
        (seen.span, seen.bytes.unwrap_or_else(|| sizes(events).sum()))
    }

    /// Nobody has watched so far. If the oldest events weigh what the counter says, they are the ones on record.
    fn at_first_contact(&self, events: &Key<'_>) -> (Span, i64) {
        let (length, before) = (length_of(events), self.span());
        let older = usize::try_from(before.length).unwrap_or(usize::MAX);
        let (mut bytes, mut bytes_of_older) = (0, 0);
        for (place, size) in sizes(events).enumerate() {
            bytes += size;
            bytes_of_older += if place < older { size } else { 0 };
        }
        let same = length >= before.length && bytes_of_older == self.bytes;
        let span =
            if same { Span { length, ..before } } else { before.after(Change::Other, length, self.last_seq) };
        (span, bytes)
    }
}

/// The lengths of the events of a list, from the oldest on.
fn sizes<'k>(events: &'k Key<'_>) -> impl Iterator<Item = i64> + 'k {
    events.elements().map(|event| size_of_event(event.bytes()))
}

fn length_of(events: &Key<'_>) -> i64 {
    i64::try_from(events.len()).unwrap_or(i64::MAX)
}

fn size_of_event(event: &[u8]) -> i64 {
    i64::try_from(event.len()).unwrap_or(i64::MAX)
}
