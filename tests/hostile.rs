//! Thousands of commands made of anything: the server lives, answers what it may answer, and an error means
//! that nothing has changed.

mod support;

use std::time::{Duration, Instant};

use fastrand::Rng;
use miroir::commands;
use miroir::schema::{Index, Origin, Shape, TABLES};
use miroir::server::command::{Argument, Keys, Kind, Repeated};
use redis::Value;
use support::{Client, Server};

/// How many commands a run sends. `MIROIR_HOSTILE_COMMANDS` asks for more.
const COMMANDS: usize = 5_000;

const VALUES: &[&[u8]] = &[
    b"",
    b"0",
    b"1",
    b"2",
    b"-1",
    b"007",
    b"1e3",
    b"1.5",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"9007199254740993",
    b"1700000000000",
    b"99999999999999",
    b"{}",
    b"[]",
    b"null",
    b"{\"a\":1}",
    b"{\"a\":\"x\"}",
    b"[\"a\",\"b\"]",
    b"[{\"uid\":\"a\",\"flipped_at\":1}]",
    b"{\"a\":",
    b"{\"a\":\"\\ud800\"}",
    b"queued",
    b"enqueued",
    b"processing",
    b"succeeded",
    b"single",
    b"multi",
    b"pass",
    b"reject",
    b"a",
    b"b",
    b"_index",
    b"\0",
    b"\xff\xfe",
    b"a\r\nb",
    "é…😀".as_bytes(),
    b"NX",
    b"XX",
    b"PX",
    b"PXAT",
    b"WHERE",
    b"AFTER",
    b"AT",
    b"LIMIT",
    b"IDS",
    b"COUNT",
    b"BY",
    b"BEFORE",
    b"BUDGET",
    b"POLICY",
    b"MAXBYTES",
    b"TARGETS",
    b"TOKEN",
    b"FENCE",
    b"TYPE",
    b"ID",
    b"MAXATTEMPTS",
    b"PROGRESS",
    b"ERROR",
    b"LOCK",
    b"COST",
    b"PEEK",
    b"PRIMARYKEY",
    b"PODS",
    b"FORCE",
    b"WITHIN",
    b"in_progress",
    b"completed",
    b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

const IDS: &[&str] =
    &["a", "b", "a:b", "a:b:c", "", "_index", "_queued", "_tokens", "_index:a", ":", "a:", "wrong"];

/// The structures that families of commands work on; the others take rows of any table.
const SUITED: &[(&str, &str)] = &[
    ("MIROIR.TASK.", "tasks"),
    ("MIROIR.ALIAS.", "aliases"),
    ("MIROIR.LEASE.", "leader_lease"),
    ("MIROIR.CANARY.", "canary_runs"),
    ("MIROIR.CDC.", "cdc_overflow"),
    ("MIROIR.CURSOR.", "cdc_cursors"),
    ("MIROIR.JOB.", "jobs"),
    ("MIROIR.IDEMP.", "idempotency_cache"),
    ("MIROIR.RATELIMIT.", "ratelimit_searchui"),
    ("MIROIR.LOGIN.", "ratelimit_adminlogin"),
    ("MIROIR.SCOPEDKEY.", "search_ui_scoped_key"),
    ("MIROIR.POD.", "live_pods"),
    ("MIROIR.ADMIN.", "admin_sessions"),
];

struct Attacker {
    random: Rng,
    suited: &'static str,
    long: Vec<u8>,
}

impl Attacker {
    fn one<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.random.usize(..of.len())]
    }

    fn value(&mut self) -> Vec<u8> {
        match self.random.u8(..) {
            0 => self.long.clone(),
            1 => b"[".repeat(100_000),
            2 => std::iter::repeat_with(|| self.random.u8(..)).take(20).collect(),
            3..=30 => self.random.i64(..).to_string().into_bytes(),
            _ => self.one(VALUES).to_vec(),
        }
    }

    /// Mostly the key of a structure that the command works on.
    fn key(&mut self, table_key: bool) -> Vec<u8> {
        let family: Vec<_> = TABLES.iter().filter(|table| table.name == self.suited).collect();
        let table = match family.first() {
            Some(table) if self.random.u8(..) < 240 => table,
            _ => &TABLES[self.random.usize(..TABLES.len())],
        };
        let namespace = self.one(&["m", "m", "m", "m:n", "{m}", ""]);
        match self.random.u8(..) {
            0..=3 => self.value(),
            4..=8 => b"foreign".to_vec(),
            9..=12 => format!("{namespace}:cdc:overflow_bytes:a").into_bytes(),
            _ if (table_key || table.shape == Shape::Single) != (self.random.u8(..) < 20) => {
                format!("{namespace}:{}", table.segment).into_bytes()
            }
            _ => format!("{namespace}:{}:{}", table.segment, self.one(IDS)).into_bytes(),
        }
    }

    fn argument(&mut self, argument: &Argument, words: &mut Vec<Vec<u8>>) {
        if argument.optional && self.random.bool() {
            return;
        }
        let times = if argument.repeated == Repeated::No { 1 } else { self.random.usize(1..4) };
        for time in 0..times {
            if time == 0 || argument.repeated == Repeated::WithToken {
                words.extend(argument.token.map(|token| token.as_bytes().to_vec()));
            }
            match &argument.kind {
                Kind::Word => {}
                Kind::Key => {
                    let key = self.key(argument.name == "table-key");
                    words.push(key);
                }
                Kind::OptionKey if self.random.u8(..) < 240 => words.push(b"m:lease:a".to_vec()),
                Kind::OptionKey => {
                    let key = self.key(false);
                    words.push(key);
                }
                Kind::Integer if argument.name.ends_with("token") && self.random.bool() => {
                    words.push(self.random.u8(1..4).to_string().into_bytes());
                }
                Kind::OneOf(choices) => {
                    let choice = &choices[self.random.usize(..choices.len())];
                    self.argument(choice, words);
                }
                Kind::Block(parts) => parts.iter().for_each(|part| self.argument(part, words)),
                Kind::String if argument.name == "field" => {
                    let table = &TABLES[self.random.usize(..14)];
                    let field = (!table.fields.is_empty())
                        .then(|| &table.fields[self.random.usize(..table.fields.len())]);
                    words.push(field.map_or_else(|| self.value(), |field| field.name().as_bytes().to_vec()));
                }
                Kind::Integer | Kind::Time if self.random.u8(..) < 200 => {
                    words.push(self.random.u16(1..2000).to_string().into_bytes());
                }
                Kind::String if argument.name == "status" && self.random.u8(..) < 200 => {
                    words.push(self.one(&["processing", "failed", "pass", "error"]).as_bytes().to_vec());
                }
                Kind::String | Kind::Integer | Kind::Time => {
                    let value =
                        if self.random.bool() { self.one(&[&b"a"[..], b"b"]).to_vec() } else { self.value() };
                    words.push(value);
                }
            }
        }
    }

    /// A command by its own syntax, then damaged a little.
    fn command(&mut self) -> Vec<Vec<u8>> {
        let all: Vec<_> = commands::all().filter(|command| command.name != "MIROIR.DEBUG").collect();
        let command = all[self.random.usize(..all.len())];
        let suited = SUITED.iter().find(|(family, _)| command.name.starts_with(family));
        let rows: Vec<_> = TABLES.iter().filter(|table| table.shape == Shape::Row).collect();
        self.suited = suited.map_or_else(|| rows[self.random.usize(..rows.len())].name, |(_, table)| table);
        let mut words = vec![command.name.as_bytes().to_vec()];
        command.arguments.iter().for_each(|argument| self.argument(argument, &mut words));
        // A row command is worth little without fields that fit its table.
        if let (Keys::First(_), Some(key)) = (command.keys, words.get(1).cloned()) {
            if command.name.ends_with("PUT") || command.name.ends_with("PATCH") {
                let table = miroir::keyspace::locate(&key).map(|found| found.table);
                if let Some(table) =
                    table.filter(|table| table.shape == Shape::Row && self.random.u8(..) < 200)
                {
                    words.truncate(2);
                    for field in table.fields {
                        let optional = matches!(
                            field.origin,
                            Origin::Optional | Origin::Kept | Origin::RequiredWhen(..)
                        );
                        if self.random.u8(..) < if optional { 200 } else { 10 } {
                            continue;
                        }
                        let value = match self.random.u8(..) {
                            0..=10 => self.value(),
                            _ => self.good_value(field),
                        };
                        words.extend([field.name().as_bytes().to_vec(), value]);
                    }
                }
            }
        }
        if self.random.u8(..) < 60 {
            let place = self.random.usize(1..=words.len());
            match self.random.u8(..3) {
                0 => words.insert(place, self.value()),
                1 if place < words.len() => drop(words.remove(place)),
                _ => words.truncate(place),
            }
        }
        words
    }

    fn good_value(&mut self, field: &miroir::schema::Field) -> Vec<u8> {
        let good: Vec<&&[u8]> = VALUES.iter().filter(|value| field.kind.accepts(value)).collect();
        good.get(self.random.usize(..good.len().max(1)))
            .map_or_else(|| vec![b'a'; 64], |value| value.to_vec())
    }
}

fn digest(client: &mut Client) -> String {
    client.ask("DEBUG DIGEST")
}

/// How many keys the server has deleted because their time was up: a command that looks at one makes it do so.
fn expired(client: &mut Client) -> String {
    let stats = client.ask("INFO stats");
    stats.lines().find(|line| line.starts_with("expired_keys:")).unwrap().to_owned()
}

#[test]
fn anything_goes_in_and_an_error_means_that_nothing_changed() {
    let wanted =
        std::env::var("MIROIR_HOSTILE_COMMANDS").ok().and_then(|text| text.parse().ok()).unwrap_or(COMMANDS);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let server = Server::start();
    let mut client = server.client();
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ask("SET foreign text");
    // Some fences hold.
    client.ask("MIROIR.LEASE.ACQUIRE m:lease:a a 600000");
    for table in TABLES {
        // A value of another type at one key of each structure.
        let (key, line) =
            (format!("m:{}:wrong", table.segment), ["RPUSH", "SET"][usize::from(table.shape == Shape::List)]);
        client.ask(&format!("{line} {key} x"));
        if table.index != Index::None {
            client.ask(&format!("SET m:n:{}:_index x", table.segment));
        }
    }
    let mut attacker = Attacker { random: Rng::with_seed(seed), suited: "", long: vec![b'x'; (1 << 20) + 1] };
    let (mut errors, mut slowest) = (0, Duration::ZERO);
    for _ in 0..wanted {
        let command = attacker.command();
        // Between the two the server may let a key expire as well.
        let (expired_before, before) = (expired(&mut client), digest(&mut client));
        let begun = Instant::now();
        let answer = client.raw(&command);
        slowest = slowest.max(begun.elapsed());
        if let Err(error) = &answer {
            let code = error.code().unwrap_or_default().to_owned();
            let shown: Vec<_> =
                command.iter().map(|word| String::from_utf8_lossy(&word[..word.len().min(60)])).collect();
            assert!(
                ["ERR", "WRONGTYPE", "STALE"].contains(&code.as_str()),
                "seed {seed}: {shown:?}: {error}"
            );
            assert!(!error.to_string().contains("internal"), "seed {seed}: {shown:?}: {error}");
            let after = digest(&mut client);
            let is_same = after == before || expired(&mut client) != expired_before;
            assert!(is_same, "seed {seed}: {shown:?}: {error}, and yet the data changed");
            errors += 1;
        }
        if matches!(answer, Ok(Value::ServerError(_))) {
            panic!("an error inside of an answer");
        }
    }
    println!("{wanted} commands, {errors} errors, the slowest took {slowest:?}");
    assert!(
        errors > wanted / 10 && errors < wanted * 19 / 20,
        "{errors} errors of {wanted}: the mix tests little"
    );
    assert_eq!(client.ask("PING"), "PONG");

    // Whatever came in: the indexes of the namespace without foreign values list exactly the rows.
    for table in TABLES.iter().filter(|table| matches!(table.index, Index::All | Index::AllAnd(_))) {
        let listed = client.ask(&format!("MIROIR.LIST m:{} IDS LIMIT 0 10000", table.segment));
        let members = client.ask(&format!("SMEMBERS m:{}:_index", table.segment));
        assert_eq!(sorted(&listed), sorted(&members), "seed {seed}: {}", table.name);
    }
}

fn sorted(list: &str) -> String {
    let mut items: Vec<_> = list.trim_matches(['[', ']']).split(", ").collect();
    items.sort_unstable();
    items.join(", ")
}
