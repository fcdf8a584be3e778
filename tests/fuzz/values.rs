//! What arguments are made of: good values of every kind, and everything else.

use std::ops::{Deref, DerefMut};

use fastrand::Rng;
use miroir::schema::json::Form;
use miroir::schema::{Field, IdForm, Kind, Shape, Table, TABLES};

pub type Word = Vec<u8>;

/// The namespaces that calls and raw writes share. Others come up now and then.
pub const NAMESPACES: &[&str] = &["m", "m:n", "{m}"];
/// The namespace that only calls write to: whatever AUDIT finds there is the module's own fault.
pub const CLEAN: &str = "c";
const STRANGE_NAMESPACES: &[&str] = &["", "é…", "m:", ":", "n\0", "m:tasks", "a b"];

const NAMES: &[&str] = &["a", "b", "c", "a:b", "a:b:c", "movies", "pod-1", "x y", "é…😀", "10.0.0.1"];
const STRANGE_NAMES: &[&[u8]] = &[
    b"",
    b"_",
    b"_index",
    b"_queued",
    b"_tokens",
    b"_holders",
    b"_index:a",
    b"backoff:",
    b"backoff:a",
    b":",
    b"a:",
    b":a",
    b"\0",
    b"a\0b",
    b"\xff\xfe",
    b"a\r\nb",
    b"tasks:a",
    b"{}",
    b"*",
];
/// The ends of ranges and what lies behind them, and texts that are numbers to some readers only.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "-0",
    "+1",
    "01",
    " 1",
    "1 ",
    "1.0",
    "1e3",
    "0x10",
    "nan",
    "inf",
    "-inf",
    "127",
    "128",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775807",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "1700000000000",
];
const BROKEN_JSON: &[&str] = &[
    "",
    "{",
    "}",
    "[",
    "]",
    "{\"a\":",
    "{\"a\":1,}",
    "[1,]",
    "[1 2]",
    "{'a':1}",
    "nul",
    "{\"a\":\"\\ud800\"}",
    "\"\\x\"",
    "{\"a\":1}{\"a\":1}",
    "{\"a\":1e999}",
    "-",
    "01",
    "\u{feff}{}",
];
const OTHER_JSON: &[&str] = &[
    "null",
    "true",
    "3",
    "-1",
    "1e308",
    "\"a\"",
    "{}",
    "[]",
    "[null]",
    "[{}]",
    "{\"\":0}",
    "{\"a\":18446744073709551615}",
    "{\"a\":18446744073709551616}",
    "{\"a\":-1}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":null}",
    "{\"a\\u0000b\":1}",
    "[\"a\",\"a\"]",
    "[{\"uid\":\"a\",\"flipped_at\":-1}]",
    "[{\"uid\":\"a\",\"flipped_at\":1,\"more\":[]}]",
    "[[\"a\",1]]",
    " { \"a\" : 1 } ",
];

/// Where the chances come from. A careful one makes only good values, so that commands also come to do their work.
pub struct Chance {
    pub random: Rng,
    pub careful: bool,
    /// Whether keys are those of the clean namespace.
    pub clean: bool,
    /// The structure that most is about for a while, so that what belongs together comes together.
    pub focus: &'static Table,
}

impl Deref for Chance {
    type Target = Rng;
    fn deref(&self) -> &Rng {
        &self.random
    }
}

impl DerefMut for Chance {
    fn deref_mut(&mut self) -> &mut Rng {
        &mut self.random
    }
}

impl Chance {
    /// Any byte; the lower ones stand for bad values.
    fn dice(&mut self) -> u8 {
        if self.careful {
            return self.random.u8(60..);
        }
        self.random.u8(..)
    }

    /// True one time in so many, and never when careful.
    pub fn slips(&mut self, times: u32) -> bool {
        !self.careful && self.random.u32(..times) == 0
    }
}

pub fn one<'t, T: ?Sized>(random: &mut Chance, of: &[&'t T]) -> &'t T {
    of[random.usize(..of.len())]
}

/// True one time in so many.
pub fn rarely(random: &mut Chance, times: u32) -> bool {
    random.u32(..times) == 0
}

/// Anything at all.
pub fn anything(random: &mut Chance) -> Word {
    match random.u16(..1000) {
        0 => vec![b'x'; (1 << 20) + random.usize(..3) - 1],
        1 => vec![b"a\0\xff\""[random.usize(..4)]; random.usize(..1 << 17)],
        2 => b"[".repeat(100_000),
        3 => huge_json(random, Form::Any),
        4..=20 => deep_json(random),
        21..=60 => random_bytes(random, 40),
        61..=80 => random_bytes(random, 600),
        81..=110 => vec![b'a'; 510 + random.usize(..5)],
        111..=300 => one(random, NUMBERS).into(),
        301..=360 => random.i64(..).to_string().into(),
        361..=420 => one(random, BROKEN_JSON).into(),
        421..=500 => one(random, OTHER_JSON).into(),
        501..=600 => one(random, STRANGE_NAMES).into(),
        601..=640 => random_text(random),
        641..=700 => word_of_a_kind(random),
        701..=740 => key(random),
        741..=780 => field_name(random),
        _ => one(random, NAMES).into(),
    }
}

fn random_bytes(random: &mut Chance, most: usize) -> Word {
    let length = random.usize(..most);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

fn random_text(random: &mut Chance) -> Word {
    let length = random.usize(..20);
    std::iter::repeat_with(|| random.char(..)).take(length).collect::<String>().into()
}

/// A word that some field of some table takes.
fn word_of_a_kind(random: &mut Chance) -> Word {
    let fields: Vec<&Field> = TABLES.iter().flat_map(|table| table.fields).collect();
    let words: Vec<&str> = fields
        .iter()
        .flat_map(|field| match field.kind {
            Kind::OneOf(words) => words,
            _ => &[],
        })
        .copied()
        .collect();
    one(random, &words).into()
}

pub fn field_name(random: &mut Chance) -> Word {
    let fields: Vec<&Field> = TABLES.iter().flat_map(|table| table.fields).collect();
    fields[random.usize(..fields.len())].name().into()
}

/// The name of a holder, a node, a pod, mostly a good one.
pub fn name(random: &mut Chance) -> Word {
    match random.dice() {
        0..=5 => anything(random),
        6..=10 => one(random, STRANGE_NAMES).into(),
        _ => one(random, &NAMES[..6]).into(),
    }
}

/// A number of things, a version, a token: mostly a small one, so that it fits what is there now and then.
pub fn small_number(random: &mut Chance) -> Word {
    match random.dice() {
        0..=9 => anything(random),
        10..=29 => one(random, NUMBERS).into(),
        30..=59 => random.u32(..100_000).to_string().into(),
        _ => random.u8(..8).to_string().into(),
    }
}

/// A number of bytes: around what a few short values need, mostly.
pub fn size(random: &mut Chance) -> Word {
    match random.dice() {
        0..=29 => small_number(random),
        _ => random.u16(..400).to_string().into(),
    }
}

/// A length of time, mostly longer than the run takes.
pub fn life(random: &mut Chance) -> Word {
    match random.dice() {
        0..=9 => anything(random),
        10..=24 => one(random, NUMBERS).into(),
        25..=34 => random.u8(1..40).to_string().into(),
        _ => random.u32(3_600_000..90_000_000).to_string().into(),
    }
}

/// A point in time: around the present, mostly.
pub fn time(random: &mut Chance, now: i64) -> Word {
    match random.dice() {
        0..=9 => anything(random),
        10..=29 => one(random, NUMBERS).into(),
        30..=59 => random.u8(..).to_string().into(),
        60..=129 => (now - random.i64(..86_400_000)).to_string().into(),
        _ => (now + random.i64(3_600_000..86_400_000)).to_string().into(),
    }
}

pub fn sha256(random: &mut Chance) -> Word {
    let digit = b"0af"[random.usize(..3)];
    vec![digit; if random.slips(30) { 63 + random.usize(..3) } else { 64 }]
}

/// JSON, mostly of this form.
pub fn json(random: &mut Chance, form: Form) -> Word {
    match random.dice() {
        0..=9 => one(random, BROKEN_JSON).into(),
        10..=29 => one(random, OTHER_JSON).into(),
        30..=39 => anything(random),
        40 => deep_json(random),
        41 if random.bool() => huge_json(random, form),
        _ => json_of(random, form, 4),
    }
}

fn json_of(random: &mut Chance, form: Form, most: usize) -> Word {
    let count = random.usize(..=most);
    let mut list = |item: &dyn Fn(usize, &mut Chance) -> String| {
        (0..count).map(|at| item(at, random)).collect::<Vec<_>>().join(",")
    };
    match form {
        Form::Any | Form::Object => {
            format!("{{{}}}", list(&|at, random| format!("\"{at}\":{}", one(random, OTHER_JSON))))
        }
        Form::Array => format!("[{}]", list(&|_, random| one(random, OTHER_JSON).to_owned())),
        Form::Uints => format!("{{{}}}", list(&|at, random| format!("\"{at}\":{}", random.u16(..)))),
        Form::Texts => format!("{{{}}}", list(&|at, _| format!("\"{at}\":\"text\""))),
        Form::Strings => format!("[{}]", list(&|at, _| format!("\"{at}\""))),
        Form::Flips => format!("[{}]", list(&|at, _| format!("{{\"uid\":\"{at}\",\"flipped_at\":{at}}}"))),
    }
    .into()
}

/// As much as a field may hold, more or less.
fn huge_json(random: &mut Chance, form: Form) -> Word {
    let item = match form {
        Form::Flips => 28,
        _ => 12,
    };
    let most = [5_000, 50_000, (1 << 20) / item][random.usize(..3)];
    let mut text = json_of(random, form, most);
    if random.bool() {
        // The same name again and again, and the end somewhere.
        text.truncate((1 << 20) + random.usize(..2));
    }
    text
}

fn deep_json(random: &mut Chance) -> Word {
    let depth = [10, 126, 127, 128, 129, 1_000, 50_000][random.usize(..7)];
    let (open, inside, close) =
        [("[", "", "]"), ("{\"a\":", "1", "}"), ("[{\"a\":", "0", "}]")][random.usize(..3)];
    let close = if rarely(random, 4) { "" } else { close };
    format!("{}{inside}{}", open.repeat(depth), close.repeat(depth)).into()
}

/// A value for a field, mostly of its kind.
pub fn for_field(random: &mut Chance, field: &Field, now: i64) -> Word {
    if random.slips(25) {
        return anything(random);
    }
    match field.kind {
        Kind::Text => name(random),
        Kind::Uint(_) => small_number(random),
        Kind::Time => time(random, now),
        Kind::Flag => one(random, &["0", "1"]).into(),
        Kind::OneOf(words) => one(random, words).into(),
        Kind::Sha256 => sha256(random),
        Kind::Json(form) => json(random, form),
    }
}

/// The id of a row, mostly a good one.
pub fn id(random: &mut Chance, table: &Table) -> Word {
    match random.dice() {
        0..=2 => anything(random),
        3..=9 => one(random, STRANGE_NAMES).into(),
        10 => vec![b'i'; 511 + random.usize(..3)],
        _ if table.id == IdForm::Plain => one(random, NAMES).into(),
        _ => format!("{}:{}", one(random, &["a", "b", "movies"]), one(random, &["a", "b"])).into(),
    }
}

pub fn namespace(random: &mut Chance) -> &'static str {
    match random.dice() {
        _ if random.clean => CLEAN,
        0..=3 => one(random, STRANGE_NAMESPACES),
        4..=100 => one(random, NAMESPACES),
        _ => NAMESPACES[0],
    }
}

/// A key of a structure, as a command expects it: of the whole where that is asked for, else of one row.
pub fn key_of(random: &mut Chance, table: &Table, whole: bool) -> Word {
    let namespace = namespace(random).as_bytes();
    let whole = (whole || table.shape == Shape::Single) != random.slips(40);
    if whole {
        return [namespace, b":", table.segment.as_bytes()].concat();
    }
    let id = id(random, table);
    miroir::keyspace::key(namespace, table.segment, &id)
}

/// A structure: often the one that most is about.
pub fn table(random: &mut Chance) -> &'static Table {
    if random.bool() {
        return random.focus;
    }
    &TABLES[random.usize(..TABLES.len())]
}

/// A key of the task store: of a row, an index, a counter, a record, or nearly one.
pub fn key(random: &mut Chance) -> Word {
    let table = table(random);
    let namespace = namespace(random).as_bytes();
    let mut key = match random.u8(..20) {
        0..=2 => reserved(random, table, namespace),
        3..=4 if !table.sides.is_empty() => {
            let side = one(random, table.sides);
            miroir::keyspace::key(namespace, side, one(random, &NAMES[..3]).as_bytes())
        }
        5 => key_of(random, table, true),
        _ => key_of(random, table, false),
    };
    if rarely(random, 60) {
        key.truncate(random.usize(..=key.len()));
    }
    key
}

/// An index set of a table, or another key that it reserves.
pub fn reserved(random: &mut Chance, table: &Table, namespace: &[u8]) -> Word {
    let names = ["_index", "_queued", "_index:a", "_tokens", "_holders"];
    let suited = match table.shape {
        Shape::String => &names[3..],
        _ => &names[..3],
    };
    let name = if rarely(random, 6) { one(random, &names) } else { one(random, suited) };
    miroir::keyspace::key(namespace, table.segment, name.as_bytes())
}
