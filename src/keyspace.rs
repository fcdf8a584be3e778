//! Keys: which namespace, which table, which id. Pure text, no server.

use crate::schema::{IdForm, Index, Shape, Table, TABLES};

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 512;

/// What a key names.
#[derive(Debug, Clone, Copy)]
pub struct Address<'k> {
    /// Everything before the table's segment.
    pub namespace: &'k [u8],
    /// The structure that the key belongs to.
    pub table: &'static Table,
    /// Which part of it.
    pub place: Place<'k>,
}

/// Which part of a structure a key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'k> {
    /// The structure as a whole: `<ns>:tasks`.
    Table,
    /// The row of this id. Whether the id is a good one is [`check_id`]'s business.
    Row(&'k [u8]),
    /// A key that the module reserves, such as an index; what follows the table's segment.
    Reserved(&'k [u8]),
    /// A counter or statistic beside the row of this id, under a segment of its own.
    Side(&'static str, &'k [u8]),
}

/// With which bytes a segment of a table can begin: for each first byte the second ones, as the bits of the letters a to
/// z. Every segment begins with two letters.
static BEGINNINGS: [u32; 256] = {
    let mut beginnings = [0; 256];
    let mut table = 0;
    while table < TABLES.len() {
        note_beginning(&mut beginnings, TABLES[table].segment);
        let sides = TABLES[table].sides;
        let mut side = 0;
        while side < sides.len() {
            note_beginning(&mut beginnings, sides[side]);
            side += 1;
        }
        table += 1;
    }
    beginnings
};

const fn note_beginning(beginnings: &mut [u32; 256], segment: &str) {
    let segment = segment.as_bytes();
    beginnings[segment[0] as usize] |= 1 << (segment[1] - b'a');
}

fn may_begin_segment(rest: &[u8]) -> bool {
    let [first, second, ..] = rest else { return false };
    let letter = second.wrapping_sub(b'a');
    letter < 26 && BEGINNINGS[usize::from(*first)] & (1 << letter) != 0
}

/// Whether a key may belong to a table. Every event of every key of the server comes here: nearly all keys of other
/// applications are told by two bytes behind a colon.
#[must_use]
pub fn may_be_ours(key: &[u8]) -> bool {
    key.iter().enumerate().skip(1).any(|(at, byte)| *byte == b':' && may_begin_segment(&key[at + 1..]))
}

/// Finds the first segment of a table in a key. None for a key that belongs to no table.
#[must_use]
pub fn locate(key: &[u8]) -> Option<Address<'_>> {
    for (at, _) in key.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b':') {
        let rest = &key[at + 1..];
        if !may_begin_segment(rest) {
            continue;
        }
        let namespace = &key[..at];
        for table in TABLES {
            let sides = table.sides.iter().map(|side| (*side, true));
            for (segment, is_side) in std::iter::once((table.segment, false)).chain(sides) {
                let segment_bytes = segment.as_bytes();
                // Two bytes tell most tables apart, without a call for each of them.
                if rest.first_chunk::<2>() != segment_bytes.first_chunk::<2>() {
                    continue;
                }
                let Some(after) = rest.strip_prefix(segment_bytes) else { continue };
                let place = match after {
                    [] if !is_side => Place::Table,
                    [b':', id @ ..] if is_side => Place::Side(segment, id),
                    [b':', id @ ..] if id.starts_with(b"_") => Place::Reserved(id),
                    [b':', id @ ..] => Place::Row(id),
                    _ => continue,
                };
                return Some(Address { namespace, table, place });
            }
        }
    }
    None
}

/// The address of a row, with its id; None for every other key.
#[must_use]
pub fn row(key: &[u8]) -> Option<(Address<'_>, &[u8])> {
    let address = locate(key)?;
    match address.place {
        Place::Row(id) => Some((address, id)),
        _ => None,
    }
}

/// The id as text, if it is a good one.
///
/// # Errors
/// What was expected, as an error reply says it.
pub fn check_id<'i>(table: &Table, id: &'i [u8]) -> Result<&'i str, &'static str> {
    if id.is_empty() {
        return Err("an id behind the table's name");
    }
    let text = check_name(id).map_err(|_| "an id of 1 to 512 bytes of UTF-8 without control characters")?;
    if id.starts_with(b"_") {
        return Err("an id that does not begin with '_', which is reserved");
    }
    match (table.id, table.split_id(id)) {
        (IdForm::Plain, _) => Ok(text),
        (_, Some((first, last))) if !first.is_empty() && !last.is_empty() => Ok(text),
        (IdForm::SplitFirst, _) => Err("an id of the form <index_uid>:<node_id>"),
        (IdForm::SplitLast, _) => Err("an id of the form <sink>:<index_uid>"),
    }
}

/// A name (of a holder, a node, a pod) as text, if it is a good one.
///
/// # Errors
/// What was expected, as an error reply says it.
pub fn check_name(name: &[u8]) -> Result<&str, &'static str> {
    const EXPECTED: &str = "1 to 512 bytes of UTF-8 without control characters";
    let text = std::str::from_utf8(name).map_err(|_| EXPECTED)?;
    if name.is_empty() || name.len() > MAX_ID_BYTES || text.chars().any(char::is_control) {
        return Err(EXPECTED);
    }
    Ok(text)
}

/// Whether all keys of a namespace are in one cluster slot: it holds a whole hash tag.
///
/// The server hashes what stands between the first `{` of a key and the first `}` behind it, unless that is
/// empty. When both stand in the namespace, every key of the namespace has the same tag.
#[must_use]
pub fn has_hash_tag(namespace: &[u8]) -> bool {
    let Some(open) = namespace.iter().position(|byte| *byte == b'{') else { return false };
    namespace[open + 1..].iter().position(|byte| *byte == b'}').is_some_and(|length| length > 0)
}

/// Joins parts into a key: `<namespace>:<segment>:<id>`.
#[must_use]
pub fn key(namespace: &[u8], segment: &str, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(namespace.len() + segment.len() + id.len() + 2);
    key.extend_from_slice(namespace);
    key.push(b':');
    key.extend_from_slice(segment.as_bytes());
    key.push(b':');
    key.extend_from_slice(id);
    key
}

/// The key of what has this id in a table; of the table itself, where that is one structure without an id.
#[must_use]
pub fn key_in(namespace: &[u8], table: &Table, id: &[u8]) -> Vec<u8> {
    if table.shape == Shape::Single {
        return [namespace, b":", table.segment.as_bytes()].concat();
    }
    key(namespace, table.segment, id)
}

impl Address<'_> {
    /// The key of another row of the same table.
    #[must_use]
    pub fn row(&self, id: &[u8]) -> Vec<u8> {
        key(self.namespace, self.table.segment, id)
    }

    /// Whether the server may evict this key when memory runs short. Indexes and counters always stay, but what follows them
    /// without being one goes the way of its table.
    #[must_use]
    pub fn is_evictable(&self) -> bool {
        match self.place {
            Place::Row(_) | Place::Table => self.table.evictable,
            Place::Reserved(_) => self.table.evictable && self.table.index == Index::None,
            Place::Side(..) => false,
        }
    }

    /// The key of the set that lists the row of this id; None for a table without an index.
    #[must_use]
    pub fn index_of(&self, id: &[u8]) -> Option<Vec<u8>> {
        match self.table.index {
            Index::None => None,
            Index::All | Index::AllAnd(_) => Some(self.row(b"_index")),
            Index::ByFirstPart => {
                let (first, _) = self.table.split_id(id)?;
                Some([&self.row(b"_index")[..], b":", first].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(key: &str) -> Option<(String, &'static str, Place<'_>)> {
        locate(key.as_bytes()).map(|found| {
            (String::from_utf8_lossy(found.namespace).into_owned(), found.table.name, found.place)
        })
    }

    #[test]
    fn keys_of_the_contract() {
        let cases: &[(&str, &str, &str, Place<'_>)] = &[
            ("miroir:tasks:mtask-1", "miroir", "tasks", Place::Row(b"mtask-1")),
            ("miroir:tasks", "miroir", "tasks", Place::Table),
            ("miroir:tasks:_index", "miroir", "tasks", Place::Reserved(b"_index")),
            ("miroir:tasks:", "miroir", "tasks", Place::Row(b"")),
            ("{miroir}:jobs:a:b", "{miroir}", "jobs", Place::Row(b"a:b")),
            ("eu:prod:session:tasks:1", "eu:prod", "sessions", Place::Row(b"tasks:1")),
            ("m:canary:c", "m", "canaries", Place::Row(b"c")),
            ("m:canary_runs:c", "m", "canary_runs", Place::Row(b"c")),
            ("m:cdc:overflow:kafka", "m", "cdc_overflow", Place::Row(b"kafka")),
            ("m:cdc:overflow_bytes:kafka", "m", "cdc_overflow", Place::Side("cdc:overflow_bytes", b"kafka")),
            ("m:cdc_cursor:_index:kafka", "m", "cdc_cursors", Place::Reserved(b"_index:kafka")),
            ("m:ratelimit:searchui:10.0.0.1", "m", "ratelimit_searchui", Place::Row(b"10.0.0.1")),
            ("m:ratelimit:adminlogin:backoff:::1", "m", "ratelimit_adminlogin", Place::Row(b"backoff:::1")),
            ("m:search_ui_scoped_key:i", "m", "search_ui_scoped_key", Place::Row(b"i")),
            ("m:search_ui_scoped_key_observed:p:i", "m", "search_ui_scoped_key_observed", Place::Row(b"p:i")),
            ("m:live_pods", "m", "live_pods", Place::Table),
        ];
        for (key, namespace, table, place) in cases {
            assert_eq!(parts(key), Some(((*namespace).to_owned(), *table, *place)), "{key}");
        }
        for foreign in
            ["", ":", "tasks:1", ":tasks:1", "miroir", "miroir:task:1", "miroir:tasksx:1", "miroir:cdc:x"]
        {
            assert!(parts(foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn ids() {
        let tasks = crate::schema::table("tasks").unwrap();
        let cursors = crate::schema::table("cdc_cursors").unwrap();
        assert!(check_id(tasks, b"").is_err());
        assert!(check_id(tasks, &[b'a'; 512]).is_ok());
        assert!(check_id(tasks, &[b'a'; 513]).is_err());
        assert!(check_id(tasks, b"_index").is_err());
        assert!(check_id(tasks, b"a\0b").is_err());
        assert!(check_id(tasks, b"a\xffb").is_err());
        assert_eq!(check_id(tasks, "a b:é…".as_bytes()), Ok("a b:é…"));
        assert!(check_id(cursors, b"movies").is_err());
        assert!(check_id(cursors, b":movies").is_err());
        assert!(check_id(cursors, b"kafka:").is_err());
        assert!(check_id(cursors, b"a:b:movies").is_ok());
    }

    #[test]
    fn what_may_be_evicted() {
        for key in ["m:tasks:1", "m:session:a", "m:idemp:k", "m:admin_session:s", "m:session:_odd"] {
            assert!(locate(key.as_bytes()).unwrap().is_evictable(), "{key}");
        }
        for key in [
            "m:tasks:_index",
            "m:jobs:_queued",
            "m:jobs:1",
            "m:lease:l",
            "m:lease:_tokens",
            "m:lease:_holders",
            "m:cdc_cursor:_index:kafka",
            "m:cdc:overflow:kafka",
            "m:cdc:overflow_bytes:kafka",
            "m:cdc:overflow_stat:kafka",
            "m:live_pods",
        ] {
            assert!(!locate(key.as_bytes()).unwrap().is_evictable(), "{key}");
        }
    }

    #[test]
    fn hash_tags() {
        for good in ["{miroir}", "a{b}c", "{a}{b}", "x{{y}"] {
            assert!(has_hash_tag(good.as_bytes()), "{good}");
        }
        for bad in ["miroir", "{}", "{miroir", "miroir}", "}{", "{}{a}"] {
            assert!(!has_hash_tag(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_key_that_was_built_is_found_again(
            namespace in "[a-z{}]{1,8}(:[a-z]{1,8})?", id in "[^_\\p{Cc}][^\\p{Cc}]{0,20}", which in 0..TABLES.len()
        ) {
            let table = &TABLES[which];
            let built = key(namespace.as_bytes(), table.segment, id.as_bytes());
            // A namespace that holds a segment itself is outside of the contract.
            prop_assume!(locate(namespace.as_bytes()).is_none() && !namespace.contains("cdc"));
            let found = locate(&built).unwrap();
            prop_assert_eq!(found.table.name, table.name);
            prop_assert_eq!(found.namespace, namespace.as_bytes());
            prop_assert_eq!(found.place, Place::Row(id.as_bytes()));
        }

        #[test]
        fn a_key_is_the_sum_of_its_parts(
            before in "(a|é|:|tasks|cdc|\\{b\\}){0,3}", which in 0..TABLES.len(), side: prop::sample::Index,
            behind in "(|x|::?(_index|_)?(a|:tasks:|é)?)"
        ) {
            let table = &TABLES[which];
            let segments: Vec<&str> = std::iter::once(table.segment).chain(table.sides.iter().copied()).collect();
            let whole = format!("{before}:{}{behind}", side.get(&segments)).into_bytes();
            if let Some(found) = locate(&whole) {
                prop_assert!(!found.namespace.is_empty());
                let (segment, id) = match found.place {
                    Place::Table => (found.table.segment, None),
                    Place::Row(id) | Place::Reserved(id) => (found.table.segment, Some(id)),
                    Place::Side(side, id) => (side, Some(id)),
                };
                let built = id.map_or_else(
                    || [found.namespace, b":", segment.as_bytes()].concat(),
                    |id| key(found.namespace, segment, id),
                );
                prop_assert_eq!(&built, &whole);
                prop_assert_eq!(matches!(found.place, Place::Reserved(_)), id.is_some_and(|id| id.starts_with(b"_"))
                    && !matches!(found.place, Place::Side(..)));
                // The first segment counts: the namespace holds none.
                prop_assert!(locate(found.namespace).is_none());
            }
        }

        #[test]
        fn a_hash_tag_of_the_namespace_is_that_of_every_key(namespace in "[a{}:]{0,8}", one in "[a{}]{0,4}", other in "[b{}]{0,4}") {
            // What the server hashes: all, or what stands between the first brace and the first closing one behind it.
            fn hashed(key: &[u8]) -> &[u8] {
                let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
                match key[open + 1..].iter().position(|byte| *byte == b'}') {
                    None | Some(0) => key,
                    Some(length) => &key[open + 1..open + 1 + length],
                }
            }
            let keys = [key(namespace.as_bytes(), "tasks", one.as_bytes()), key(namespace.as_bytes(), "jobs", other.as_bytes())];
            let is_tag_of_namespace = |key: &Vec<u8>| hashed(key).len() < namespace.len() && hashed(namespace.as_bytes()) == hashed(key);
            if has_hash_tag(namespace.as_bytes()) {
                prop_assert!(keys.iter().all(is_tag_of_namespace));
            } else {
                prop_assert_eq!(hashed(namespace.as_bytes()), namespace.as_bytes());
            }
        }

        #[test]
        fn a_good_id_is_text_within_its_bounds(id in prop_oneof![any::<Vec<u8>>(), ".{0,600}".prop_map(String::into_bytes)]) {
            for table in TABLES {
                let Ok(text) = check_id(table, &id) else { continue };
                prop_assert_eq!(text.as_bytes(), &id[..]);
                prop_assert!((1..=MAX_ID_BYTES).contains(&id.len()) && id[0] != b'_');
                prop_assert!(!text.contains(char::is_control));
                if let Some((first, last)) = table.split_id(&id) {
                    prop_assert_eq!(&[first, b":", last].concat(), &id);
                    let single = if table.id == IdForm::SplitFirst { first } else { last };
                    prop_assert!(!first.is_empty() && !last.is_empty() && !single.contains(&b':'));
                }
                if table.shape == Shape::Row {
                    let built = key(b"m", table.segment, &id);
                    prop_assert_eq!(row(&built).map(|(_, id)| id), Some(&id[..]));
                }
            }
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(key: Vec<u8>) {
            if let Some(found) = locate(&key) {
                prop_assert!(may_be_ours(&key));
                let _ = check_id(found.table, &key);
                let _ = found.index_of(&key);
            }
            let _ = has_hash_tag(&key);
        }
    }
}
