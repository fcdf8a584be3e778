//! What the catalog wants to know of a key, gathered field by field as the server hands them over.

use super::slab::MAX_FILTERS;
use crate::rules::prune;
use crate::schema::roles::{self, Role};
use crate::schema::value::integer;
use crate::schema::{Origin, Shape, Table};

/// The longest value that a small hash keeps in one piece, by the servers' default `hash-max-listpack-value`.
const COMPACT_VALUE: usize = 64;
/// The most fields that such a hash has, by the lowest of the servers' defaults of `hash-max-listpack-entries`.
const COMPACT_FIELDS: usize = 128;
/// From how many bytes on a row weighs so much that a sample without it would say nothing.
const LARGE: u64 = 4096;

/// How the server is likely to keep a row, which decides what it takes beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In one piece.
    Compact,
    /// As a hash table of its own.
    Dispersed,
    /// So large that its bytes outweigh all else.
    Large,
}

/// What is known of a row, or of a structure of another shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What orders the table, beside the id; 0 where the row says nothing that is a number.
    pub order: i64,
    /// The bytes of the key's name and of what a client reads of its value: exact, if they were counted.
    pub payload: u64,
    /// Whether the bytes of the value were counted.
    pub counted: bool,
    /// The end of its life in ms, if it has one.
    pub expires_at: Option<i64>,
    /// When the first of its fields goes by itself, in ms, if one does: from then on other facts are true.
    pub true_until: Option<i64>,
    /// What dates it, if it has come to an end.
    pub ended_at: Option<i64>,
    /// When the claim on it ends, if it is claimed.
    pub claim_ends_at: Option<i64>,
    /// The values of the table's filter fields.
    pub values: [Option<Vec<u8>>; MAX_FILTERS],
    /// How it is likely to be kept.
    pub form: Form,
}

impl Facts {
    /// The value of one of the table's filter fields.
    #[must_use]
    pub fn value(&self, table: &Table, field: &str) -> Option<&[u8]> {
        let filter = table.filters.iter().position(|name| *name == field)?;
        self.values.get(filter)?.as_deref()
    }

    /// Of a structure that is no hash: the bytes of its key, those of its value, if they were counted, and the end
    /// of its life.
    #[must_use]
    pub fn of_structure(key_bytes: usize, content: Option<u64>, expires_at: Option<i64>) -> Self {
        let payload = key_bytes as u64 + content.unwrap_or(0);
        Self {
            order: 0,
            payload,
            counted: content.is_some(),
            expires_at,
            true_until: None,
            ended_at: None,
            claim_ends_at: None,
            values: Default::default(),
            form: if payload >= LARGE { Form::Large } else { Form::Compact },
        }
    }
}

/// Gathers the facts of one hash.
#[derive(Debug)]
pub struct Gathering<'t> {
    table: &'static Table,
    roles: &'static [Role],
    id: &'t [u8],
    payload: u64,
    fields: usize,
    longest: usize,
    marks: usize,
    order: i64,
    values: [Option<Vec<u8>>; MAX_FILTERS],
    state: Option<Vec<u8>>,
    times: [Option<i64>; 2],
    claimed_until: Option<i64>,
}

impl<'t> Gathering<'t> {
    /// Begins with the key's name alone, of which the id is a part.
    #[must_use]
    pub fn new(table: &'static Table, id: &'t [u8], key_bytes: usize) -> Self {
        let values = std::array::from_fn(|filter| {
            let field = table.filters.get(filter).and_then(|name| table.field(name.as_bytes()))?;
            match field.origin {
                // What the key says needs no field: rows of other clients may lack it.
                Origin::Key(part) => Some(table.part(id, part).to_vec()),
                _ => None,
            }
        });
        Self {
            table,
            roles: roles::of(table),
            id,
            payload: key_bytes as u64,
            fields: 0,
            longest: 0,
            marks: 0,
            order: 0,
            values,
            state: None,
            times: [None; 2],
            claimed_until: None,
        }
    }

    /// Adds a field. Every field of the hash must be added once.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.payload += (name.len() + value.len()) as u64;
        self.fields += 1;
        self.longest = self.longest.max(name.len()).max(value.len());
        let table = self.table;
        let Some(role) = table.position(name).and_then(|position| self.roles.get(position)) else { return };
        self.marks += usize::from(role.is_mark);
        if role.is_order {
            self.order = integer(value).unwrap_or(0);
        }
        if let Some(place) = role.filter.and_then(|filter| self.values.get_mut(usize::from(filter))) {
            *place = Some(value.to_vec());
        }
        if role.is_state {
            self.state = Some(value.to_vec());
        }
        if role.ends_claim {
            self.claimed_until = integer(value);
        }
        if let Some(place) = role.time.and_then(|time| self.times.get_mut(usize::from(time))) {
            *place = integer(value);
        }
    }

    /// What came together; None for a stub, which is no row.
    #[must_use]
    pub fn finish(self, expires_at: Option<i64>) -> Option<Facts> {
        let is_row = self.table.shape != Shape::Row
            || self.marks == self.roles.iter().filter(|role| role.is_mark).count();
        if self.fields == 0 || !is_row {
            return None;
        }
        let ended_at = self.table.prune.as_ref().and_then(|rule| {
            let time = self.times.iter().flatten().next().copied();
            // The least number of all stands for no time in the catalog.
            prune::dated(rule, self.state.as_deref(), time).map(|time| time.max(i64::MIN + 1))
        });
        let claim = self.table.claim.filter(|claim| self.state.as_deref() == Some(claim.running.as_bytes()));
        // A claim without an end that can be read has none: it counts as the one that ran out first of all.
        let claim_ends_at = claim.map(|_| self.claimed_until.unwrap_or(0).max(0));
        let form = match () {
            () if self.payload >= LARGE => Form::Large,
            () if self.longest > COMPACT_VALUE || self.fields > COMPACT_FIELDS => Form::Dispersed,
            () => Form::Compact,
        };
        Some(Facts {
            order: self.order,
            payload: self.payload,
            counted: true,
            expires_at,
            true_until: None,
            ended_at,
            claim_ends_at,
            values: self.values,
            form,
        })
    }

    /// The id of the hash.
    #[must_use]
    pub fn id(&self) -> &'t [u8] {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    fn gather(table: &str, id: &str, fields: &[(&str, &str)]) -> Option<Facts> {
        let mut gathering = Gathering::new(schema::table(table).unwrap(), id.as_bytes(), 10);
        fields.iter().for_each(|(name, value)| gathering.add(name.as_bytes(), value.as_bytes()));
        gathering.finish(None)
    }

    fn values(facts: &Facts) -> Vec<Option<&str>> {
        facts
            .values
            .iter()
            .map(|value| value.as_deref().map(|text| std::str::from_utf8(text).unwrap()))
            .collect()
    }

    #[test]
    fn a_task() {
        let row = [("miroir_id", "t"), ("created_at", "7"), ("status", "failed"), ("unknown", "xyz")];
        let facts = gather("tasks", "t", &row).unwrap();
        assert_eq!((facts.order, facts.ended_at, facts.form), (7, Some(7), Form::Compact));
        assert_eq!(facts.payload, 10 + 9 + 1 + 10 + 1 + 6 + 6 + 7 + 3);
        assert_eq!(values(&facts), [Some("failed"), None, None, None]);
        assert!(gather("tasks", "t", &row[1..]).is_none(), "a stub");
    }

    #[test]
    fn a_job_is_dated_by_its_end() {
        let row = [("type", "dump"), ("created_at", "7"), ("state", "completed"), ("finished_at", "9")];
        assert_eq!(gather("jobs", "j", &row).unwrap().ended_at, Some(9));
        assert_eq!(gather("jobs", "j", &row[..3]).unwrap().ended_at, Some(7));
        assert_eq!(gather("jobs", "j", &row[..2]).unwrap().ended_at, None);
    }

    #[test]
    fn a_claim_ends_when_the_row_says_so_or_has_ended_long_ago() {
        let claimed = |fields: &[(&str, &str)]| {
            let row = [&[("type", "dump"), ("created_at", "7")], fields].concat();
            gather("jobs", "j", &row).unwrap().claim_ends_at
        };
        assert_eq!(claimed(&[("state", "in_progress"), ("claim_expires_at", "9")]), Some(9));
        assert_eq!(claimed(&[("state", "queued"), ("claim_expires_at", "9")]), None);
        assert_eq!(claimed(&[("state", "in_progress")]), Some(0));
        for unreadable in ["", "soon", "-5", "9223372036854775808"] {
            assert_eq!(claimed(&[("state", "in_progress"), ("claim_expires_at", unreadable)]), Some(0));
        }
    }

    #[test]
    fn a_row_at_an_end_has_a_time_whatever_it_says() {
        let least = i64::MIN.to_string();
        let row = [("miroir_id", "t"), ("created_at", &least[..]), ("status", "failed")];
        assert_eq!(gather("tasks", "t", &row).unwrap().ended_at, Some(i64::MIN + 1));
    }

    #[test]
    fn what_the_key_says_goes_before_the_field() {
        let row = [("version", "1"), ("index_uid", "other")];
        let facts = gather("node_settings_version", "movies:n", &row).unwrap();
        assert_eq!(values(&facts)[..2], [Some("movies"), Some("n")]);
    }

    #[test]
    fn long_values_disperse_a_hash() {
        let form = |length: usize| {
            gather("tasks", "t", &[("miroir_id", "t"), ("error", &"e".repeat(length))]).unwrap().form
        };
        assert_eq!([form(64), form(65), form(5000)], [Form::Compact, Form::Dispersed, Form::Large]);
    }
}
