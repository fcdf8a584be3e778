//! What happens to a task store: commands of the module, of clients without it, and of administrators.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use fastrand::Rng;
use miroir::schema::json::Form;
use miroir::schema::{Field, Guard, IdForm, Kind, Origin, Shape, Table, TABLES};

use super::model::Words;
use super::support::Client;

#[path = "commands.rs"]
mod commands;

pub const NAMESPACES: [&str; 3] = ["miroir", "eu:prod", "{tag}x"];
pub const DATABASES: usize = 3;

/// A life that is over before the next checkpoint, and one that outlives the test.
const SHORT_MS: u64 = 30;
const LONG_MS: u64 = 3_600_000;

/// What clients without the module leave in a field. No time below zero: AT cannot name it.
const ANY_VALUE: &[&[u8]] = &[
    b"",
    b"0",
    b"1",
    b"7",
    b"007",
    b"9223372036854775807",
    b"9223372036854775808",
    b"soon",
    b"queued",
    b"in_progress",
    b"failed",
    b"succeeded",
    b"multi",
    b"movies",
    b"\xff\0\r\n",
    b"[\"",
];
const TEXTS: &[&str] = &["a", "movies", "x y", "é…", "node-1"];
const FOREIGN: &[&str] =
    &["other", "other:x", "miroir:tasksx:a", "miroir:nothing:a", ":tasks:a", "tasks:a", "miroir"];

/// Runs its arguments, each command behind the number of its words.
const SCRIPT: &str = "local at = 1 \
    while at <= #ARGV do \
      local words = {} \
      for word = 1, tonumber(ARGV[at]) do words[word] = ARGV[at + word] end \
      redis.pcall(unpack(words)) \
      at = at + #words + 1 \
    end \
    return 'OK'";

/// Compares MIROIR.LIST with the keys, at once and in the middle of whatever goes on. What ends within a second is left
/// out: the script may stand still in time while the module does not.
const LOOK: &str = "local function is_row(key) \
      if redis.call('TYPE', key).ok ~= 'hash' then return false end \
      for _, mark in ipairs(ARGV) do \
        if redis.call('HEXISTS', key, mark) == 0 then return false end \
      end \
      return true \
    end \
    local listed = {} \
    for _, id in ipairs(redis.call('MIROIR.LIST', KEYS[1], 'LIMIT', 0, 10000, 'IDS')) do \
      listed[KEYS[1] .. ':' .. id] = true \
      if not is_row(KEYS[1] .. ':' .. id) then return 'DRIFT ' .. KEYS[1] .. ' lists ' .. id end \
    end \
    for _, key in ipairs(redis.call('KEYS', KEYS[1] .. ':[^_]*')) do \
      local life = redis.call('PTTL', key) \
      if not listed[key] and is_row(key) and (life < 0 or life > 1000) then return 'DRIFT lacks ' .. key end \
    end \
    return 'OK'";

type Maker = fn(&mut Operations) -> Vec<Words>;

/// A kind of operation: its name, how often it comes, how it is made.
pub struct Operation {
    pub name: &'static str,
    weight: u32,
    make: Maker,
}

const fn often(name: &'static str, make: Maker) -> Operation {
    Operation { name, weight: 300, make }
}

const fn sometimes(name: &'static str, make: Maker) -> Operation {
    Operation { name, weight: 80, make }
}

const fn rarely(name: &'static str, make: Maker) -> Operation {
    Operation { name, weight: 3, make }
}

/// Every kind of operation.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    commands::COMMANDS.iter().chain(OTHERS)
}

/// Pods without the module, and administrators.
static OTHERS: &[Operation] = &[
    often("a whole row, raw", |o| {
        let table = o.row_table();
        vec![o.raw_row(table)]
    }),
    often("some fields, raw", |o| {
        let table = o.row_table();
        let mut words = words!["HSET", o.key_of(table)];
        for _ in 0..o.random.usize(1..3) {
            let field = o.field_of(table);
            words.extend(words![field.name(), o.value()]);
        }
        vec![words]
    }),
    sometimes("a row and its index entry, raw", Operations::old_pod),
    sometimes("HDEL", |o| {
        let table = o.row_table();
        let mut words = words!["HDEL", o.key_of(table)];
        for _ in 0..o.random.usize(1..4) {
            words.push(o.field_of(table).name().into());
        }
        vec![words]
    }),
    sometimes("HDEL of every field", |o| {
        let table = o.row_table();
        let names = table.fields.iter().map(|field| Vec::from(field.name()));
        vec![words!["HDEL", o.key_of(table)].into_iter().chain(names).collect()]
    }),
    sometimes("HINCRBY", |o| {
        let table = o.row_table();
        vec![words!["HINCRBY", o.key_of(table), o.field_of(table).name(), "1"]]
    }),
    sometimes("HSETNX", |o| {
        let table = o.row_table();
        vec![words!["HSETNX", o.key_of(table), o.field_of(table).name(), o.value()]]
    }),
    sometimes("a raw claim", |o| {
        let state = o.text(&["queued", "in_progress", "completed"]);
        vec![words![
            "HSET",
            o.key_in("jobs"),
            "state",
            state,
            "claimed_by",
            "p1",
            "finished_at",
            o.number(30)
        ]]
    }),
    sometimes("DEL", |o| vec![["DEL".into()].into_iter().chain(o.keys(3)).collect()]),
    sometimes("UNLINK", |o| vec![["UNLINK".into()].into_iter().chain(o.keys(3)).collect()]),
    sometimes("PEXPIRE, short", |o| vec![words!["PEXPIRE", o.key(), o.short()]]),
    sometimes("PEXPIRE, long", |o| vec![words!["PEXPIRE", o.key(), LONG_MS.to_string()]]),
    sometimes("PEXPIREAT in the past", |o| vec![words!["PEXPIREAT", o.key(), "1000"]]),
    sometimes("PERSIST", |o| vec![words!["PERSIST", o.key()]]),
    sometimes("RENAME", |o| vec![words!["RENAME", o.key(), o.key()]]),
    sometimes("RENAME in a table", |o| {
        let table = o.row_table();
        vec![words!["RENAME", o.key_of(table), o.key_of(table)]]
    }),
    sometimes("RENAMENX", |o| vec![words!["RENAMENX", o.key(), o.key()]]),
    sometimes("RENAME from and to foreign keys", |o| {
        let (ours, foreign) = (o.key(), o.text(FOREIGN));
        vec![if o.random.bool() { words!["RENAME", ours, foreign] } else { words!["RENAME", foreign, ours] }]
    }),
    often("COPY", |o| {
        let table = o.row_table();
        let from = o.key_of(table);
        let to = if o.random.bool() { o.key_of(table) } else { o.key() };
        let mut words = words!["COPY", from, to];
        if o.random.bool() {
            words.extend(words!["DB", o.database()]);
        }
        if o.random.bool() {
            words.extend(words!["REPLACE"]);
        }
        vec![words]
    }),
    sometimes("MOVE", |o| vec![words!["MOVE", o.key(), o.database()]]),
    sometimes("RESTORE", |o| {
        let Some(dump) = o.random.choice(&o.dumps).cloned() else { return vec![words!["EXISTS", o.key()]] };
        let life = if o.random.bool() { b"0".to_vec() } else { o.life() };
        vec![words!["RESTORE", o.key(), life, dump, "REPLACE"]]
    }),
    sometimes("DUMP and RESTORE in a script", |o| {
        let script = "local dump = redis.call('DUMP', KEYS[1]) \
                      if not dump then return 'OK' end \
                      return redis.call('RESTORE', KEYS[2], 0, dump, 'REPLACE')";
        vec![words!["EVAL", script, "2", o.key(), o.key()]]
    }),
    // Values of other types at the keys of rows and of structures.
    sometimes("SET", |o| vec![words!["SET", o.key(), o.value()]]),
    sometimes("SET with a life", |o| vec![words!["SET", o.key(), o.value(), "PX", o.life()]]),
    sometimes("GETDEL", |o| vec![words!["GETDEL", o.key()]]),
    sometimes("GETEX", |o| vec![words!["GETEX", o.string_key(), "PX", o.life()]]),
    sometimes("APPEND", |o| vec![words!["APPEND", o.string_key(), "tail"]]),
    sometimes("INCR", |o| vec![words!["INCR", o.string_key()]]),
    sometimes("SETRANGE", |o| vec![words!["SETRANGE", o.string_key(), o.number(9), "xyz"]]),
    sometimes("BITOP", |o| vec![words!["BITOP", "OR", o.key(), o.string_key(), "source:string"]]),
    sometimes("SORT … STORE", |o| vec![words!["SORT", o.source(), "BY", "nosort", "STORE", o.key()]]),
    sometimes("SINTERSTORE", |o| vec![words!["SINTERSTORE", o.key(), "source:set", "source:set"]]),
    sometimes("SINTERSTORE of nothing", |o| vec![words!["SINTERSTORE", o.key(), "source:set", "none"]]),
    sometimes("ZUNIONSTORE", |o| vec![words!["ZUNIONSTORE", o.key(), "1", "source:zset"]]),
    sometimes("XADD", |o| vec![words!["XADD", o.key(), "*", "field", "value"]]),
    sometimes("SADD", |o| vec![words!["SADD", o.key(), "member"]]),
    sometimes("LPUSH", |o| vec![words!["LPUSH", o.list_key(), o.value()]]),
    sometimes("RPOP", |o| vec![words!["RPOP", o.list_key()]]),
    sometimes("LTRIM", |o| vec![words!["LTRIM", o.list_key(), "0", "1"]]),
    sometimes("LSET", |o| vec![words!["LSET", o.list_key(), "0", o.value()]]),
    sometimes("LMOVE", |o| vec![words!["LMOVE", o.list_key(), o.list_key(), "LEFT", "RIGHT"]]),
    sometimes("ZADD", |o| {
        let score = o.text(&["1", "2.5", "1700000000000", "0.1"]);
        vec![words!["ZADD", o.zset_key(), score, o.text(TEXTS)]]
    }),
    sometimes("ZREM", |o| vec![words!["ZREM", o.zset_key(), o.text(TEXTS)]]),
    sometimes("ZPOPMIN", |o| vec![words!["ZPOPMIN", o.zset_key()]]),
    sometimes("a hash beside the tables", |o| {
        let table = o.text(&["search_ui_scoped_key_observed:pod", "ratelimit:adminlogin:backoff"]);
        vec![words!["HSET", format!("{}:{table}:a", o.namespace()), o.text(TEXTS), o.value()]]
    }),
    sometimes("foreign keys", |o| {
        let value = o.value();
        vec![words!["DEL", o.text(FOREIGN)], words!["HSET", o.text(FOREIGN), "miroir_id", value]]
    }),
    // The sources of the commands that store.
    sometimes("sources", |_| {
        vec![
            words!["SET", "source:string", "text"],
            words!["SADD", "source:set", "a", "b"],
            words!["RPUSH", "source:list", "x"],
            words!["ZADD", "source:zset", "1", "a", "2", "b"],
        ]
    }),
    sometimes("MULTI", |o| {
        let mut commands = vec![words!["MULTI"]];
        commands.extend(o.inner());
        if o.random.bool() {
            commands.push(o.look());
        }
        commands.push(words!["EXEC"]);
        commands
    }),
    sometimes("EVAL", |o| {
        let mut eval = words!["EVAL", SCRIPT, "0"];
        for command in o.inner() {
            eval.push(command.len().to_string().into_bytes());
            eval.extend(command);
        }
        vec![eval]
    }),
    rarely("FLUSHDB", |o| vec![words!["FLUSHDB", o.text(&["SYNC", "ASYNC"])]]),
    Operation { name: "FLUSHALL", weight: 1, make: |_| vec![words!["FLUSHALL"]] },
    Operation { name: "SWAPDB", weight: 10, make: |o| vec![words!["SWAPDB", o.database(), o.database()]] },
    sometimes("HPEXPIRE", |o| {
        let table = o.row_table();
        vec![words!["HPEXPIRE", o.key_of(table), o.short(), "FIELDS", "1", o.field_of(table).name()]]
    }),
    sometimes("HPEXPIREAT in the past", |o| {
        let table = o.row_table();
        vec![words!["HPEXPIREAT", o.key_of(table), "1000", "FIELDS", "1", o.field_of(table).name()]]
    }),
    // No HPERSIST: replayed from an AOF, a field that was given a short life comes after its time, and there is nothing
    // left to persist. The data of the server itself are then others after a restart.
    sometimes("HGETDEL", |o| {
        let table = o.row_table();
        vec![words!["HGETDEL", o.key_of(table), "FIELDS", "1", o.field_of(table).name()]]
    }),
    sometimes("HSETEX", |o| {
        let table = o.row_table();
        vec![words!["HSETEX", o.key_of(table), "PX", o.short(), "FIELDS", "1", o.field_of(table).name(), "1"]]
    }),
];

/// Commands that not every server has, by the operations that need them.
const OPTIONAL: &[(&str, &str)] = &[
    ("HPEXPIRE", "HPEXPIRE"),
    ("HPEXPIREAT in the past", "HPEXPIREAT"),
    ("HGETDEL", "HGETDEL"),
    ("HSETEX", "HSETEX"),
];

/// Operations that leave a field with a short life.
const FIELD_LIVES: &[&str] = &["HPEXPIRE", "HSETEX"];

/// Makes operations, one after the other.
pub struct Operations {
    pub random: Rng,
    /// The databases that it works in.
    pub databases: Vec<usize>,
    /// Names of operations that this server does not know.
    pub unknown: Vec<&'static str>,
    /// Whether a field may get a life of its own.
    pub field_lives: bool,
    /// What DUMP has said of some keys.
    pub dumps: Vec<Vec<u8>>,
}

impl Operations {
    /// All kinds of operations that the server knows, in all databases.
    pub fn new(client: &mut Client, random: Rng) -> Self {
        let unknown = OPTIONAL
            .iter()
            .filter(|(_, command)| client.ask(&format!("{command} a")).contains("unknown command"))
            .map(|(operation, _)| *operation)
            .collect();
        Self { random, databases: (0..DATABASES).collect(), unknown, field_lives: true, dumps: Vec::new() }
    }

    /// Lets only clients without the module go on.
    pub fn without_module(&mut self) {
        self.unknown.extend(commands::COMMANDS.iter().map(|operation| operation.name));
    }

    pub fn next(&mut self) -> (&'static str, Vec<Words>) {
        let operation = self.choose();
        (operation.name, (operation.make)(self))
    }

    fn choose(&mut self) -> &'static Operation {
        loop {
            let sum: u32 = all().map(|operation| operation.weight).sum();
            let mut place = self.random.u32(..sum);
            let chosen = all().find(|operation| {
                let found = place < operation.weight;
                place = place.saturating_sub(operation.weight);
                found
            });
            let chosen = chosen.unwrap();
            let too_early = !self.field_lives && FIELD_LIVES.contains(&chosen.name);
            if !too_early && !self.unknown.contains(&chosen.name) {
                return chosen;
            }
        }
    }

    /// Commands for a transaction or a script, which can hold neither.
    fn inner(&mut self) -> Vec<Words> {
        let mut commands = Vec::new();
        for _ in 0..self.random.usize(2..6) {
            let operation = self.choose();
            let made = (operation.make)(self);
            if !made.iter().any(|words| ["MULTI", "EVAL"].iter().any(|name| words[0] == name.as_bytes())) {
                commands.extend(made);
            }
        }
        commands
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn text(&mut self, of: &[&'static str]) -> &'static str {
        self.one(of)
    }

    fn number(&mut self, below: u32) -> Vec<u8> {
        self.random.u32(1..=below).to_string().into_bytes()
    }

    /// The first ones come more often, so that they meet.
    pub fn namespace(&mut self) -> &'static str {
        self.one(&[NAMESPACES[0], NAMESPACES[0], NAMESPACES[0], NAMESPACES[1], NAMESPACES[2]])
    }

    pub fn database(&mut self) -> Vec<u8> {
        self.random.choice(&self.databases).unwrap().to_string().into_bytes()
    }

    fn short(&mut self) -> Vec<u8> {
        self.random.u64(1..=SHORT_MS).to_string().into_bytes()
    }

    fn life(&mut self) -> Vec<u8> {
        if self.random.u8(..3) == 0 {
            return self.short();
        }
        LONG_MS.to_string().into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        self.one(ANY_VALUE).to_vec()
    }

    fn row_table(&mut self) -> &'static Table {
        let common = self.random.bool();
        loop {
            let table = self.one(&TABLES.iter().collect::<Vec<_>>());
            let is_common = ["tasks", "jobs", "sessions", "cdc_cursors"].contains(&table.name);
            if table.shape == Shape::Row && (is_common || !common) {
                return table;
            }
        }
    }

    fn field_of(&mut self, table: &'static Table) -> &'static Field {
        &table.fields[self.random.usize(..table.fields.len())]
    }

    pub fn key_of(&mut self, table: &Table) -> Vec<u8> {
        let namespace = self.namespace();
        if table.shape == Shape::Single {
            return format!("{namespace}:{}", table.segment).into_bytes();
        }
        let id = match table.id {
            IdForm::Plain => self.text(&["a", "b", "c:d e", "é"]),
            IdForm::SplitFirst => self.text(&["i:n", "i:n:2", "j:n"]),
            IdForm::SplitLast => self.text(&["s:i", "s:t:i", "s:j", "t:i"]),
        };
        format!("{namespace}:{}:{id}", table.segment).into_bytes()
    }

    fn key_in(&mut self, table: &str) -> Vec<u8> {
        self.key_of(miroir::schema::table(table).unwrap())
    }

    /// The key of anything that the tables hold, most of the time of a row.
    pub fn key(&mut self) -> Vec<u8> {
        if self.random.u8(..4) > 0 {
            let table = self.row_table();
            return self.key_of(table);
        }
        let table = self.one(&TABLES.iter().collect::<Vec<_>>());
        self.key_of(table)
    }

    fn keys(&mut self, most: usize) -> Vec<Vec<u8>> {
        (0..self.random.usize(1..=most)).map(|_| self.key()).collect()
    }

    fn row_keys(&mut self, most: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for _ in 0..self.random.usize(1..=most) {
            let table = self.row_table();
            keys.push(self.key_of(table));
        }
        keys
    }

    fn table_key(&mut self) -> String {
        let table = self.row_table();
        format!("{}:{}", self.namespace(), table.segment)
    }

    fn look(&mut self) -> Words {
        let table = self.row_table();
        let mut words = words!["EVAL", LOOK, "1", format!("{}:{}", self.namespace(), table.segment)];
        words.extend(table.row_marks().map(|field| Vec::from(field.name())));
        words
    }

    fn string_key(&mut self) -> Vec<u8> {
        let table = self.text(&["leader_lease", "ratelimit_searchui", "ratelimit_adminlogin"]);
        self.key_in(table)
    }

    fn list_key(&mut self) -> Vec<u8> {
        self.key_in("cdc_overflow")
    }

    fn zset_key(&mut self) -> Vec<u8> {
        let table = self.text(&["canary_runs", "live_pods"]);
        self.key_in(table)
    }

    fn source(&mut self) -> &'static str {
        self.text(&["source:set", "source:list", "source:zset", "none"])
    }

    /// A value that the field takes.
    fn good(&mut self, field: &Field) -> Vec<u8> {
        let text = match field.kind {
            Kind::Text => self.text(TEXTS).to_owned(),
            Kind::Uint(least) => (least + self.random.i64(0..9)).to_string(),
            // Few times, so that many rows are of the same one.
            Kind::Time => self.random.u32(0..30).to_string(),
            Kind::Flag => self.text(&["0", "1"]).to_owned(),
            Kind::OneOf(choices) => self.text(choices).to_owned(),
            Kind::Sha256 => "5a".repeat(32),
            Kind::Json(form) => match form {
                Form::Uints => "{\"n1\":1}",
                Form::Texts => "{\"n1\":\"gone\"}",
                Form::Any | Form::Object => "{\"a\":[1]}",
                Form::Array | Form::Strings => "[\"a\"]",
                Form::Flips => "[{\"uid\":\"u\",\"flipped_at\":1}]",
            }
            .to_owned(),
        };
        text.into_bytes()
    }

    /// Fields that make a whole row: the required ones, and some of the others.
    fn fields(&mut self, table: &'static Table) -> Words {
        let kind = self.text(&["single", "multi"]);
        let mut words = Vec::new();
        for field in table.fields {
            let wanted = match field.origin {
                Origin::Required => true,
                Origin::RequiredWhen(_, is) => is == kind,
                Origin::Key(_) | Origin::Expiry => false,
                _ => self.random.bool(),
            };
            if wanted {
                let value = match (table.name, field.name()) {
                    ("aliases", "kind") => kind.into(),
                    // Or nothing could ever be replaced.
                    (_, "status") if self.random.bool() => b"enqueued".to_vec(),
                    (_, "state") if table.name == "jobs" && self.random.bool() => b"queued".to_vec(),
                    _ => self.good(field),
                };
                words.extend(words![field.name(), value]);
            }
        }
        words
    }

    fn put(&mut self) -> Words {
        let table = self.row_table();
        let mut words = words!["MIROIR.PUT", self.key_of(table)];
        match self.random.u8(..8) {
            0 => words.extend(words!["NX"]),
            1 => words.extend(words!["XX"]),
            2 | 3 => words.extend(words!["PX", self.life()]),
            _ => {}
        }
        words.extend(self.fields(table));
        if words.len() == 2 {
            words.extend(words!["PX", LONG_MS.to_string()]);
        }
        words
    }

    fn patch(&mut self) -> Words {
        let table = self.row_table();
        let mut words = words!["MIROIR.PATCH", self.key_of(table)];
        let latches = |name| table.guards.contains(&Guard::Latch(name));
        let free = |field: &&Field| {
            let plain = !matches!(field.origin, Origin::Key(_) | Origin::Expiry | Origin::RequiredWhen(..));
            plain && field.managed_by.is_none() && field.name() != "kind" && !latches(field.name())
        };
        let fields: Vec<_> = table.fields.iter().filter(free).collect();
        let field = self.one(&fields);
        let remove = field.origin == Origin::Optional && self.random.u8(..4) == 0;
        words.extend(words![field.name(), if remove { Vec::new() } else { self.good(field) }]);
        words
    }

    /// HSET of a whole row, as pods without the module write it.
    fn raw_row(&mut self, table: &'static Table) -> Words {
        let key = self.key_of(table);
        let id = match miroir::keyspace::locate(&key).unwrap().place {
            miroir::keyspace::Place::Row(id) => id.to_vec(),
            _ => Vec::new(),
        };
        let mut words = words!["HSET", key];
        for field in table.fields {
            if let Origin::Key(part) = field.origin {
                words.extend(words![field.name(), table.part(&id, part)]);
            }
        }
        words.extend(self.fields(table));
        words
    }

    /// Replaces a row and lists it, in one transaction. Without the DEL a value of another type would refuse
    /// the row, and leave an index entry without one, which only AUDIT mends.
    fn old_pod(&mut self) -> Vec<Words> {
        loop {
            let table = self.row_table();
            let row = self.raw_row(table);
            let found = miroir::keyspace::locate(&row[1]).unwrap();
            let miroir::keyspace::Place::Row(id) = found.place else { continue };
            let Some(index) = found.index_of(id) else { continue };
            let entry = words!["SADD", index, id];
            return vec![words!["MULTI"], words!["DEL", &row[1][..]], row, entry, words!["EXEC"]];
        }
    }
}
