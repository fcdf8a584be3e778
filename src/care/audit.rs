//! MIROIR.AUDIT: what should agree, compared key by key, a piece at a time.
//!
//! Three walks follow one another: over the keys, over the members of the index sets, and over the rows of the
//! catalog. The cursor says which walk and how far it is; as with SCAN, what changes meanwhile may be met or not.

mod cursor;
mod finding;

pub use finding::{found, repaired, Finding, Kind};

use cursor::{place_of, Cursor};

use crate::catalog::check::{self, Difference};
use crate::catalog::facts::Facts;
use crate::catalog::{self, follow, read, rebuild};
use crate::errors::{Failure, Outcome};
use crate::keyspace::{self, Address, Place};
use crate::schema::{Index, Shape, Table, TABLES};
use crate::server::{Context, KeyType, Words};
use crate::store::indexes::{self, Sets};
use crate::store::repair;

/// An audit of one namespace of the selected database.
struct Audit<'a> {
    context: &'a Context<'a>,
    namespace: &'a [u8],
    count: u32,
    repair: bool,
    findings: Vec<Finding>,
}

/// Goes on from a cursor by about `count` keys. Answers the next cursor, 0 at the end, and what was found.
///
/// # Errors
/// TRYAGAIN while the catalog is being made; with `repair` an error where nothing may be written, or where the client
/// may not write what has to be written; the server's own.
pub fn go_on<'a>(
    context: &'a Context<'a>,
    namespace: &'a [u8],
    cursor: u64,
    count: u32,
    repair: bool,
) -> Outcome<(u64, Vec<Finding>)> {
    if repair && context.follows() {
        return Err(Failure::read_only());
    }
    if repair && context.must_not_write() {
        return Err(Failure::refused("REPAIR has to wait: the server's writes are paused"));
    }
    if repair && context.in_script() {
        // Whether it is one that must not write a module cannot know.
        return Err(Failure::refused("REPAIR cannot be part of a script"));
    }
    if repair && context.is_out_of_memory() {
        return Err(Failure::out_of_memory());
    }
    rebuild::ready(context, None)?;
    follow::catch_up_with_all(context);
    let mut audit = Audit { context, namespace, count, repair, findings: Vec::new() };
    if repair {
        // An error means that nothing has changed: so all rights are checked before the first write.
        context.rehearse(|| audit.piece(cursor))?;
        audit.findings.clear();
    }
    let next = audit.piece(cursor)?;
    finding::count(&audit.findings);
    Ok((next.map_or(0, Cursor::number), audit.findings))
}

/// Takes entries without a row out of the index sets of a namespace, from a cursor on, where 0 is the beginning. Answers
/// the next cursor, None at the end. What cannot be mended now is passed over.
#[must_use]
pub fn mend_entries(context: &Context<'_>, namespace: &[u8], cursor: u64, count: u32) -> Option<u64> {
    let (set, place) = match Cursor::from_number(cursor) {
        Cursor::Entries(set, place) => (set, place),
        _ => (0, 0),
    };
    let mut audit = Audit { context, namespace, count, repair: true, findings: Vec::new() };
    match audit.entries(set, place) {
        Ok(Some(next @ Cursor::Entries(..))) => Some(next.number()),
        // A set that cannot be written is left alone.
        Err(_) => Some(Cursor::Entries(set + 1, 0).number()),
        Ok(_) => None,
    }
}

impl Audit<'_> {
    fn piece(&mut self, cursor: u64) -> Outcome<Option<Cursor>> {
        match Cursor::from_number(cursor) {
            Cursor::Keys(cursor) => self.keys(cursor),
            Cursor::Entries(set, cursor) => self.entries(set, cursor),
            Cursor::Rows(table, slot) => self.rows(table, slot),
        }
    }

    fn find(
        &mut self,
        kind: Kind,
        key: &[u8],
        detail: impl Into<String>,
        repair: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        if self.repair {
            repair()?;
        }
        let finding = Finding { kind, key: key.to_vec(), detail: detail.into(), repaired: self.repair };
        self.findings.push(finding);
        Ok(())
    }

    /// Notes what only a person can mend: a foreign value is in the way.
    fn find_only(&mut self, kind: Kind, key: &[u8], detail: impl Into<String>) {
        self.findings.push(Finding { kind, key: key.to_vec(), detail: detail.into(), repaired: false });
    }

    fn keys(&mut self, cursor: u64) -> Outcome<Option<Cursor>> {
        let mut words = Words::with_capacity(3);
        words.bytes(cursor.to_string().as_bytes()).bytes(b"COUNT").number(i64::from(self.count));
        let reply = self.context.read(c"SCAN", &words)?;
        let next = reply.root().get(0).and_then(|next| std::str::from_utf8(next.bytes()).ok()?.parse().ok());
        let mut keys: Vec<Vec<u8>> = reply
            .root()
            .get(1)
            .into_iter()
            .flat_map(|keys| keys.iter().map(|key| key.bytes().to_vec()))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let address = keyspace::locate(&key).filter(|address| address.namespace == self.namespace);
            if let Some(address) = address {
                self.key(&key, &address)?;
            }
        }
        Ok(match next {
            Some(next) if next > 0 => Some(Cursor::Keys(next)),
            _ => Some(Cursor::Entries(0, 0)),
        })
    }

    fn key(&mut self, key: &[u8], address: &Address<'_>) -> Outcome<()> {
        let context = self.context;
        if let Place::Side(_, id) = address.place {
            let list = address.row(id);
            // A buffer that holds events is met by itself.
            if is_first_side(address) && context.inspect(&list).is_missing() {
                self.counters_of(&list, address, id)?;
            }
            return Ok(());
        }
        let Some(id) = read::id_of(address) else { return Ok(()) };
        let table = address.table;
        let facts = read::facts(context, table, id, key);
        self.compare(key, address, id, facts.as_ref())?;
        let Some(facts) = facts else {
            if table.shape == Shape::Row && has_fields(context, key) {
                let marks: Vec<_> = table.row_marks().map(|field| field.name()).collect();
                let detail = format!("a hash without {} at the key of a row", marks.join(", "));
                if Sets::of(address, id).check(context, key).is_ok() {
                    self.find(Kind::Stub, key, detail, || repair::delete_stub(context, key, address, id))?;
                } else {
                    self.find_only(Kind::Stub, key, detail);
                }
            }
            return Ok(());
        };
        if let (Some(life), None) = (table.must_expire_ms(), facts.expires_at) {
            let end = self.context.now_ms().saturating_add(life);
            let detail = "no TTL, and nobody else ever deletes it";
            self.find(Kind::TtlMissing, key, detail, || repair::expire(context, table, key, end))?;
        }
        if table.index != Index::None {
            self.index_of(key, address, id, &facts)?;
        }
        if table.shape == Shape::List {
            self.counters_of(key, address, id)?;
        }
        Ok(())
    }

    fn counters_of(&mut self, list: &[u8], address: &Address<'_>, id: &[u8]) -> Outcome<()> {
        let context = self.context;
        let sides = address.table.sides.iter().map(|side| keyspace::key(self.namespace, side, id));
        if !self.reaches(sides.chain([list.to_vec()])) {
            return Ok(());
        }
        match repair::counter_off(context, list, address, id) {
            Ok(None) => Ok(()),
            Ok(Some(detail)) => {
                self.find(Kind::CounterOff, list, detail, || repair::counters(context, list, address, id))
            }
            Err(failure) => {
                self.find_only(Kind::CounterOff, list, failure.to_string());
                Ok(())
            }
        }
    }

    fn compare(
        &mut self,
        key: &[u8],
        address: &Address<'_>,
        id: &[u8],
        facts: Option<&Facts>,
    ) -> Outcome<()> {
        let context = self.context;
        let Some(difference) = check::difference(context, address, id, facts) else { return Ok(()) };
        self.find(Kind::CatalogAtOdds, key, difference.words(), || {
            if !context.is_rehearsing() {
                follow::look(context, key);
            }
            Ok(())
        })
    }

    /// Whether these keys are all on this node, for good: what belongs to a key can be on another node of a cluster, where
    /// the namespace has no hash tag, and while a slot moves.
    fn reaches(&self, keys: impl IntoIterator<Item = Vec<u8>>) -> bool {
        self.context.reach(keys).is_ok()
    }

    /// The index sets of a row.
    fn index_of(&mut self, key: &[u8], address: &Address<'_>, id: &[u8], facts: &Facts) -> Outcome<()> {
        let belongs = indexes::subset_of(address.table, |field| facts.value(address.table, field));
        if let Some(index) = address.index_of(id) {
            let shown = String::from_utf8_lossy(&index).into_owned();
            let Some(is_listed) = self.lists(&index, id)? else {
                self.find_only(Kind::NotInIndex, key, format!("not in {shown}, which is no set"));
                return Ok(());
            };
            if !is_listed {
                let detail = format!("not in {shown}");
                self.find_entry(Kind::NotInIndex, key, detail, (address, id), belongs)?;
            }
        }
        if let (Some(subset), Some(belongs)) = (indexes::subset_key(address), belongs) {
            let Some(is_listed) = self.lists(&subset, id)? else {
                if belongs {
                    let detail = format!("not in {}, which is no set", String::from_utf8_lossy(&subset));
                    self.find_only(Kind::QueuedAtOdds, key, detail);
                }
                return Ok(());
            };
            if is_listed != belongs {
                let not = if belongs { "not in" } else { "still in" };
                let detail = format!("{not} {}", String::from_utf8_lossy(&subset));
                self.find_entry(Kind::QueuedAtOdds, key, detail, (address, id), Some(belongs))?;
            }
        }
        Ok(())
    }

    /// Finds an entry amiss. All sets of the row are written together, so a foreign value at one of them leaves the others as
    /// they are.
    fn find_entry(
        &mut self,
        kind: Kind,
        key: &[u8],
        detail: String,
        (address, id): (&Address<'_>, &[u8]),
        belongs: Option<bool>,
    ) -> Outcome<()> {
        let (context, sets) = (self.context, Sets::of(address, id));
        if sets.check(context, key).is_err() {
            self.find_only(kind, key, detail);
            return Ok(());
        }
        self.find(kind, key, detail, || sets.add(context, id, belongs))
    }

    /// Whether a set lists an id; None for a foreign value.
    fn lists(&self, set: &[u8], id: &[u8]) -> Outcome<Option<bool>> {
        if !matches!(self.context.inspect(set).key_type(), KeyType::Set | KeyType::Empty) {
            return Ok(None);
        }
        let mut words = Words::with_capacity(2);
        words.bytes(set).bytes(id);
        match self.context.read(c"SISMEMBER", &words) {
            Ok(reply) => Ok(Some(reply.root().integer() == 1)),
            // In a cluster the set may be on its way to another node.
            Err(_) if self.context.in_cluster() => Ok(Some(true)),
            Err(failure) => Err(failure),
        }
    }

    /// Members of the index sets from a place on. Sets that come or go move no other.
    fn entries(&mut self, place: u64, cursor: u64) -> Outcome<Option<Cursor>> {
        let sets = self.index_sets(place);
        let mut left = self.count;
        let mut cursor = cursor;
        for (at, (found, set)) in sets.iter().enumerate() {
            if *found != place {
                cursor = 0;
            }
            loop {
                let (next, seen) = self.some_entries(set, cursor)?;
                left = left.saturating_sub(seen.max(1));
                // Two names can have the same place: then the first is looked at as a whole, and the others with it.
                let is_last_here = sets.get(at + 1).is_none_or(|(next, _)| next != found);
                if next == 0 {
                    if left == 0 && is_last_here {
                        return Ok(Some(Cursor::Entries(found + 1, 0)));
                    }
                    break;
                }
                if left == 0 && is_last_here {
                    return Ok(Some(Cursor::Entries(*found, next)));
                }
                cursor = next;
            }
        }
        // As many sets as were asked for may not be all.
        Ok(Some(match sets.last() {
            Some((last, _)) => Cursor::Entries(last + 1, 0),
            None => Cursor::Rows(0, 0),
        }))
    }

    /// Answers the server's next cursor, and how many members there were.
    fn some_entries(&mut self, set: &[u8], cursor: u64) -> Outcome<(u64, u32)> {
        let mut words = Words::with_capacity(4);
        words.bytes(set).bytes(cursor.to_string().as_bytes()).bytes(b"COUNT").number(i64::from(self.count));
        let is_set = self.context.inspect(set).key_type() == KeyType::Set;
        let Some(reply) = is_set.then(|| self.context.read(c"SSCAN", &words).ok()).flatten() else {
            return Ok((0, 0));
        };
        let next = reply.root().get(0).and_then(|next| std::str::from_utf8(next.bytes()).ok()?.parse().ok());
        let mut seen = 0;
        for id in reply.root().get(1).into_iter().flat_map(|ids| ids.iter()) {
            self.entry(set, id.bytes())?;
            seen += 1;
        }
        Ok((next.unwrap_or(0), seen))
    }

    /// About as many index sets as members are to be looked at, those with the lowest places from one on, in their order.
    fn index_sets(&self, from: u64) -> Vec<(u64, Vec<u8>)> {
        let database = self.context.database();
        let most = self.count as usize;
        catalog::with(|catalog| {
            let indexed = TABLES.iter().filter(|table| table.index != Index::None);
            let keys = |table| {
                catalog.beside(database, self.namespace, table).map(move |key| (place_of(table, key), key))
            };
            let mut sets: Vec<(u64, &[u8])> =
                indexed.flat_map(keys).filter(|(place, _)| *place >= from).collect();
            if sets.len() > most {
                let (_, &mut (highest, _), _) = sets.select_nth_unstable(most);
                sets.retain(|(place, _)| *place <= highest);
            }
            sets.sort_unstable();
            sets.into_iter().map(|(place, key)| (place, key.to_vec())).collect()
        })
    }

    fn entry(&mut self, set: &[u8], id: &[u8]) -> Outcome<()> {
        let context = self.context;
        let Some(address) = keyspace::locate(set) else { return Ok(()) };
        let key = address.row(id);
        let is_reserved = id.starts_with(b"_");
        let facts = read::facts(context, address.table, id, &key).filter(|_| !is_reserved);
        let take_out = || indexes::change(context, c"SREM", set, id);
        let shown = String::from_utf8_lossy(id).into_owned();
        if indexes::subset_key(&address).as_deref() == Some(set) {
            // The entry of a row was compared with its state when its key was met.
            if facts.is_some() || !self.reaches([set.to_vec(), key]) {
                return Ok(());
            }
            return self.find(Kind::QueuedAtOdds, set, format!("lists {shown}, which is no row"), take_out);
        }
        if address.index_of(id).as_deref() != Some(set) {
            let is_index = matches!(address.place, Place::Reserved(name) if is_index(address.table, name));
            if !is_index {
                return Ok(());
            }
            let detail = format!("lists {shown}, which belongs to another index");
            return self.find(Kind::EntryWithoutRow, set, detail, take_out);
        }
        if facts.is_none() && self.reaches([set.to_vec(), key]) {
            return self.find(
                Kind::EntryWithoutRow,
                set,
                format!("lists {shown}, which is no row"),
                take_out,
            );
        }
        Ok(())
    }

    /// The rows of the catalog, of which the walk over the keys has met all but those without a key.
    fn rows(&mut self, number: usize, slot: u32) -> Outcome<Option<Cursor>> {
        let Some(table): Option<&'static Table> = TABLES.get(number) else { return Ok(None) };
        let (keys, next) = check::keys_of(self.context, self.namespace, table, slot, self.count);
        for key in keys {
            let Some(address) = keyspace::locate(&key) else { continue };
            let Some(id) = read::id_of(&address) else { continue };
            let facts = read::facts(self.context, table, id, &key);
            let is_ghost =
                check::difference(self.context, &address, id, facts.as_ref()) == Some(Difference::Ghost);
            // What is a foreign value or a stub by now was met among the keys.
            if is_ghost && self.context.inspect(&key).is_missing() {
                self.compare(&key, &address, id, None)?;
            }
        }
        Ok(match next {
            Some(next) => Some(Cursor::Rows(number, next)),
            None if number + 1 < TABLES.len() => Some(Cursor::Rows(number + 1, 0)),
            None => None,
        })
    }
}

/// Whether what follows the segment of a table names an index of it.
fn is_index(table: &Table, name: &[u8]) -> bool {
    match table.index {
        Index::None => false,
        Index::All | Index::AllAnd(_) => name == b"_index",
        Index::ByFirstPart => name.starts_with(b"_index:"),
    }
}

fn is_first_side(address: &Address<'_>) -> bool {
    matches!(address.place, Place::Side(segment, _) if address.table.sides.first() == Some(&segment))
}

/// Whether there is a hash with any field. One whose fields have all run out is there for a moment more.
fn has_fields(context: &Context<'_>, key: &[u8]) -> bool {
    let mut has_fields = false;
    context.inspect(key).each_field(|_, _| has_fields = true);
    has_fields
}
