//! The tables as data. Adding a table is one entry in [`tables`]; nothing here knows of the server.

pub mod json;
pub mod roles;
pub mod tables;
pub mod value;

use std::ffi::CStr;

pub use tables::{table, TABLES};
pub use value::Kind;

/// One structure of the keyspace: a table of rows, or an auxiliary structure.
#[derive(Debug)]
pub struct Table {
    /// The name in replies and in documents.
    pub name: &'static str,
    /// What stands between the namespace and the id in its keys, without the colons around it.
    pub segment: &'static str,
    /// What a key of it holds.
    pub shape: Shape,
    /// How ids are built.
    pub id: IdForm,
    /// The sets that list its ids.
    pub index: Index,
    /// The fields of a row; empty for what is no hash of fields.
    pub fields: &'static [Field],
    /// The order of LIST.
    pub order: Order,
    /// How long a row lives by default, in ms, for tables whose rows expire.
    pub life_ms: Option<i64>,
    /// What MIROIR.AUDIT gives a key that lost its TTL to live, in ms, for structures that are no rows and always expire.
    pub lapse_ms: Option<i64>,
    /// The fields that LIST and COUNT can select by.
    pub filters: &'static [&'static str],
    /// What may not happen to a row.
    pub guards: &'static [Guard],
    /// The field that says what a row is at, for tables whose rows come to an end or can be claimed.
    pub state: Option<&'static str>,
    /// How rows are claimed, for tables of work to be done.
    pub claim: Option<Claim>,
    /// What makes a row old enough to prune, for tables that can be pruned.
    pub prune: Option<Prune>,
    /// A table whose entry of the same id goes when a row is deleted.
    pub companion: Option<&'static str>,
    /// Segments of keys that belong to the same structure without being rows: counters, statistics.
    pub sides: &'static [&'static str],
    /// Whether operations touch a second key, so that a cluster needs a hash tag in the namespace.
    pub tagged: bool,
    /// Whether the server may evict its rows when memory runs short: they can be made anew, or are missed by nobody for long.
    pub evictable: bool,
    /// The commands that work on it, for the error that sends a client there.
    pub family: &'static str,
}

/// What a key of a structure holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A hash of fields: a row of MIROIR.PUT and its siblings.
    Row,
    /// A hash that only commands of its own write.
    Hash,
    /// A string.
    String,
    /// A string, or a hash where the id has a prefix of its own.
    StringOrHash,
    /// A sorted set.
    SortedSet,
    /// A list.
    List,
    /// One sorted set for the whole namespace: the key has no id.
    Single,
}

/// How the id of a row is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// One name.
    Plain,
    /// Two names joined by a colon; the first holds no colon.
    SplitFirst,
    /// Two names joined by a colon; the last holds no colon.
    SplitLast,
}

/// The sets that list the ids of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// None.
    None,
    /// One set of all ids.
    All,
    /// One set of all ids, and one more of those whose field has a value.
    AllAnd(Subset),
    /// One set for each first part of the id, holding whole ids.
    ByFirstPart,
}

/// The set of the ids whose row has a value in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subset {
    /// What follows the table's segment in the set's key.
    pub suffix: &'static str,
    /// The field.
    pub field: &'static str,
    /// The value.
    pub value: &'static str,
}

/// The order in which LIST answers. Ties go by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By id.
    Id,
    /// By a field that holds a time, newest first.
    Newest(&'static str),
    /// By a field that holds a time, oldest first.
    Oldest(&'static str),
}

impl Order {
    /// The field that orders the table, if it is not the id.
    #[must_use]
    pub fn field(self) -> Option<&'static str> {
        match self {
            Self::Id => None,
            Self::Newest(field) | Self::Oldest(field) => Some(field),
        }
    }
}

/// A rule that a write of a row must keep, or it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The number in a field never falls.
    NeverFalls(&'static str),
    /// The field holds a task's status and follows its transitions.
    TaskStatus(&'static str),
    /// A row is replaced only while the field has this value.
    ReplaceWhile(&'static str, &'static str),
    /// Once the field is `1` the row is neither replaced nor prolonged, and the field stays.
    Latch(&'static str),
}

/// What PRUNE removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prune {
    /// The states that are ends.
    pub terminal: &'static [&'static str],
    /// The times that date a row; the first that it has counts.
    pub times: &'static [&'static str],
}

/// How a row is claimed by a worker for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The state of a row that waits for a worker.
    pub waiting: &'static str,
    /// The state of a row that is claimed.
    pub running: &'static str,
    /// The field that holds the end of the claim, in ms.
    pub until: &'static str,
}

/// One field of a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The name in the hash, as the server takes it.
    pub name: &'static CStr,
    /// The same as text.
    text: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Where its value comes from.
    pub origin: Origin,
    /// The commands that alone change it, if PATCH must not.
    pub managed_by: Option<&'static str>,
    /// Whether its value opens something: the server then shows it to nobody but who reads the row.
    pub is_secret: bool,
}

/// Whether a word seems to be meant for the name of a secret field of any table, or for an option that gives its value: also in another
/// case, and with other signs between its parts.
#[must_use]
pub fn seems_secret(word: &[u8]) -> bool {
    fn letters(word: &[u8]) -> impl Iterator<Item = u8> + '_ {
        word.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase)
    }
    let mut fields = TABLES.iter().flat_map(|table| table.fields).filter(|field| field.is_secret);
    fields.any(|field| letters(word).eq(letters(field.name().as_bytes())))
}

/// Where the value of a field comes from when a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The id, or a part of it; written by the module.
    Key(Part),
    /// The client, always.
    Required,
    /// The client, or it is absent.
    Optional,
    /// The client, or what the row had before, or it is absent.
    Kept,
    /// The client, always where another field has a value, and never elsewhere.
    RequiredWhen(&'static str, &'static str),
    /// The client, or this value.
    Default(&'static str),
    /// The client, or the time at which the row is written as a whole.
    Now,
    /// The client, or the time of this write, whether it writes the whole row or a part.
    NowEachTime,
    /// The client, or what the row had before, or the time of the write.
    NowOnce,
    /// The end of the row's life; written by the module, equal to the key's TTL.
    Expiry,
}

/// A part of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What stands before the colon that splits it.
    First,
    /// What stands behind that colon.
    Last,
}

impl Field {
    /// The name as text.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.text
    }
}

impl Table {
    /// Its place among all tables.
    #[must_use]
    pub fn number(&self) -> usize {
        TABLES.iter().position(|table| std::ptr::eq(table, self)).unwrap_or_default()
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<&'static Field> {
        self.position(name).and_then(|position| self.fields.get(position))
    }

    /// The position of the field of this name.
    #[must_use]
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        self.fields.iter().position(|field| field.text.as_bytes() == name)
    }

    /// How long a key of it lives when nothing says more, in ms; None for keys that may stay.
    #[must_use]
    pub fn must_expire_ms(&self) -> Option<i64> {
        self.life_ms.or(self.lapse_ms)
    }

    /// The field that holds the end of a row's life.
    #[must_use]
    pub fn expiry_field(&self) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.origin == Origin::Expiry)
    }

    /// The fields without which a hash is a stub, not a row: those that the client must always give; in a
    /// table that has none of these, the one that the module writes from the key.
    pub fn row_marks(&self) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().zip(roles::of(self)).filter(|(_, role)| role.is_mark).map(|(field, _)| field)
    }

    /// The names of the fields, for an error.
    #[must_use]
    pub fn field_names(&self) -> String {
        self.fields.iter().map(Field::name).collect::<Vec<_>>().join("|")
    }

    /// Splits an id into the part that [`Part::First`] names and the one that [`Part::Last`] names.
    #[must_use]
    pub fn split_id<'i>(&self, id: &'i [u8]) -> Option<(&'i [u8], &'i [u8])> {
        let is_colon = |byte: &u8| *byte == b':';
        let at = match self.id {
            IdForm::Plain => return None,
            IdForm::SplitFirst => id.iter().position(is_colon),
            IdForm::SplitLast => id.iter().rposition(is_colon),
        }?;
        Some((&id[..at], &id[at + 1..]))
    }

    /// A part of an id; the whole where the id has no parts.
    #[must_use]
    pub fn part<'i>(&self, id: &'i [u8], part: Part) -> &'i [u8] {
        match (part, self.split_id(id)) {
            (Part::Whole, _) | (_, None) => id,
            (Part::First, Some((first, _))) => first,
            (Part::Last, Some((_, last))) => last,
        }
    }
}
