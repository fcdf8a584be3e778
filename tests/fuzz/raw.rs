//! What clients without the module may do to its keys: values of every type and encoding where rows belong, damaged
//! rows, index sets and counters that lie, and the server's own operations on keys.

use miroir::keyspace;
use miroir::schema::{Shape, Table, TABLES};

use super::values::{self, one, rarely, Chance, Word};

/// Words of any bytes.
macro_rules! words {
    ($($word:expr),+ $(,)?) => { vec![$(Vec::<u8>::from($word)),+] };
}

/// Settings that decide how the server holds small values.
const ENCODINGS: &[(&str, &[&str])] = &[
    ("hash-max-listpack-entries", &["0", "2", "128", "512"]),
    ("hash-max-listpack-value", &["1", "64"]),
    ("list-max-listpack-size", &["1", "-2", "128"]),
    ("set-max-intset-entries", &["0", "512"]),
    ("zset-max-listpack-entries", &["0", "128"]),
];

/// Commands that not every server has, each with a call that tells.
pub const OPTIONAL: &[&str] = &["HPEXPIRE"];

/// One write, or a few that belong together.
pub fn write(random: &mut Chance, now: i64, missing: &[&str]) -> Vec<Word> {
    match random.u8(..100) {
        0..=19 => foreign(random),
        20..=44 => damaged_row(random, now, missing),
        45..=54 => lying_index(random),
        55..=69 => lying_record(random),
        70..=79 => whole_row(random, now),
        80..=97 => on_keys(random, now),
        _ => {
            let (name, choices) = ENCODINGS[random.usize(..ENCODINGS.len())];
            words!["CONFIG", "SET", name, one(random, choices)]
        }
    }
}

/// A value of any type and encoding, at any key of the task store.
fn foreign(random: &mut Chance) -> Vec<Word> {
    let key = values::key(random);
    // Few and short: a compact encoding. Many, or long: the other one.
    let count = if rarely(random, 8) { random.usize(130..600) } else { random.usize(1..6) };
    let long = rarely(random, 10);
    let numbers = random.bool();
    let item = |at: usize| match (numbers, long) {
        (true, _) => at.to_string().into_bytes(),
        (false, true) => vec![b'l'; 65 + at % 3],
        (false, false) => format!("item {at}").into_bytes(),
    };
    let mut items: Vec<Word> = (0..count).map(item).collect();
    if random.bool() {
        items[0] = values::anything(random);
    }
    let mut words = match random.u8(..6) {
        0 => return words!["SET", key, items.swap_remove(0)],
        1 => words!["RPUSH", key],
        2 => words!["SADD", key],
        3 => {
            let scored = items.into_iter().flat_map(|item| [score(random), item]);
            let mut words = words!["ZADD", key];
            words.extend(scored);
            return words;
        }
        4 => {
            let mut words = words!["HSET", key];
            words.extend(items.into_iter().flat_map(|item| [item, b"x".to_vec()]));
            return words;
        }
        _ => return words!["XADD", key, "*", "field", items.swap_remove(0)],
    };
    words.extend(items);
    words
}

fn score(random: &mut Chance) -> Word {
    match random.u8(..6) {
        0 => one(random, &["inf", "-inf", "-1", "0.5", "9007199254740993", "1e300"]).into(),
        _ => random.u32(..2_000_000_000).to_string().into(),
    }
}

fn row_table(random: &mut Chance) -> &'static Table {
    let table = values::table(random);
    if table.shape == Shape::Row {
        return table;
    }
    let rows: Vec<&Table> = TABLES.iter().filter(|table| table.shape == Shape::Row).collect();
    one(random, &rows)
}

/// A field of a row that is gone, of another kind, foreign, or about to go.
fn damaged_row(random: &mut Chance, now: i64, missing: &[&str]) -> Vec<Word> {
    let table = row_table(random);
    let key = values::key_of(random, table, false);
    let field = &table.fields[random.usize(..table.fields.len())];
    let name = if rarely(random, 8) { values::anything(random) } else { field.name().into() };
    match random.u8(..8) {
        0 | 1 => words!["HDEL", key, name],
        2 | 3 => words!["HSET", key, name, values::anything(random)],
        4 => words!["HSET", key, name, values::for_field(random, field, now)],
        5 => words!["HINCRBYFLOAT", key, name, "0.5"],
        6 if !missing.contains(&"HPEXPIRE") => {
            let life = if random.bool() { random.u32(1..20) } else { 3_600_000 };
            words!["HPEXPIRE", key, life.to_string(), "FIELDS", "1", name]
        }
        _ => words!["HSET", key, values::anything(random), values::anything(random)],
    }
}

/// A row as a client without the module writes it, without its index entries.
fn whole_row(random: &mut Chance, now: i64) -> Vec<Word> {
    let table = row_table(random);
    let mut words = words!["HSET", values::key_of(random, table, false)];
    for field in table.fields {
        if random.u8(..) < 200 {
            words.extend([field.name().into(), values::for_field(random, field, now)]);
        }
    }
    words.extend(words!["extra", "1"]);
    words
}

/// Entries without a row, rows without an entry, an index that is none.
fn lying_index(random: &mut Chance) -> Vec<Word> {
    let table = row_table(random);
    let namespace = values::namespace(random);
    let key = values::reserved(random, table, namespace.as_bytes());
    let id = values::id(random, table);
    match random.u8(..8) {
        0 | 1 => words!["SADD", key, id, values::anything(random)],
        2 | 3 => words!["SREM", key, id],
        4 => words!["DEL", key],
        5 | 6 => words!["SET", key, "x"],
        _ => words!["PEXPIRE", key, values::life(random)],
    }
}

/// Counters and records that do not say what is.
fn lying_record(random: &mut Chance) -> Vec<Word> {
    let namespace = values::namespace(random).as_bytes();
    let sink = values::name(random);
    let sides: Vec<&str> = TABLES.iter().flat_map(|table| table.sides).copied().collect();
    let strings: Vec<&Table> =
        TABLES.iter().filter(|table| matches!(table.shape, Shape::String | Shape::StringOrHash)).collect();
    let others: Vec<&Table> =
        TABLES.iter().filter(|table| !matches!(table.shape, Shape::Row | Shape::String)).collect();
    let number = values::small_number(random);
    let (side, string, other) = (one(random, &sides), one(random, &strings), one(random, &others));
    match random.u8(..8) {
        0 => words!["SET", keyspace::key(namespace, side, &sink), number],
        1 => {
            let fields = ["first_seq", "last_seq", "dropped", "dropped_bytes", "acked", "failed_count"];
            words!["HSET", keyspace::key(namespace, side, &sink), one(random, &fields), number]
        }
        2 => {
            let record = values::reserved(random, string, namespace);
            words!["HSET", record, sink, number]
        }
        3 => {
            let key = values::key_of(random, string, false);
            words!["SET", key, number, "PX", random.u32(3_600_000..9_000_000).to_string()]
        }
        4 => words!["SET", values::key_of(random, string, false), values::anything(random)],
        _ => {
            let key = values::key_of(random, other, false);
            let item = values::anything(random);
            match random.u8(..8) {
                0 => words!["LPUSH", key, item],
                1 => words!["RPUSH", key, item],
                2 => words!["RPOP", key],
                3 => words!["LSET", key, "0", item],
                4 => words!["LTRIM", key, "1", "-2"],
                5 => words!["ZADD", key, score(random), item],
                6 => words!["ZINCRBY", key, score(random), values::name(random)],
                _ => words!["HSET", key, values::field_name(random), item],
            }
        }
    }
}

/// What the server does with keys as a whole.
fn on_keys(random: &mut Chance, now: i64) -> Vec<Word> {
    let (key, other) = (values::key(random), values::key(random));
    match random.u8(..40) {
        0..=9 => words!["DEL", key],
        10..=13 => words!["UNLINK", key, other],
        14..=16 => words!["RENAME", key, other],
        17..=19 => words!["COPY", key, other, "REPLACE"],
        20..=23 => words!["PERSIST", key],
        24..=27 => words!["PEXPIRE", key, values::life(random)],
        28..=29 => words!["PEXPIREAT", key, values::time(random, now)],
        30 => words!["MOVE", key, "1"],
        31 => words!["SWAPDB", "0", "1"],
        32 if rarely(random, 4) => words!["FLUSHDB"],
        33 => words!["SETRANGE", key, "0", "x"],
        34 => words!["APPEND", key, "1"],
        35 => words!["INCRBY", key, values::small_number(random)],
        36 => words!["SUNIONSTORE", key, other],
        37 => words!["GETDEL", key],
        _ => words!["SORT", key, "ALPHA", "BY", "nosort", "STORE", other],
    }
}
