//! Looks at a server and at a namespace for the doctor. What cannot be looked at says why, and spoils nothing else.

use std::collections::HashMap;
use std::str::FromStr;

use super::doctor::facts::{
    BufferLimit, Clients, Facts, Growing, Lapsing, Many, Memory, Queue, Replays, Role, Safety, Seen, SlowLog,
    Spread, Store, Traffic,
};
use super::doctor::past::Counters;
use super::doctor::store::QUEUED;
use super::memory::{self, Weight};
use super::vigil;
use crate::catalog::table::Rows;
use crate::catalog::{self, rebuild};
use crate::keyspace::{self, key_in};
use crate::schema::{self, Table, TABLES};
use crate::server::config::{AUDIT_BUDGET, MEMORY_CRITICAL, MEMORY_WARNING, PROTECT_FROM_EVICTION};
use crate::server::info::ServerInfo;
use crate::server::{Context, Words};
use crate::store::{buffers, leases};

/// How many rows a table the weight is estimated from.
const SAMPLES: usize = 64;
/// How many buffers, or leases, are named.
const NAMED: usize = 3;
/// How many of them are looked at.
const LOOKED_AT: usize = 1000;
/// How many entries of the slow log are looked at: the tuning guide's SLOWLOG GET 10.
const SLOW_COMMANDS: i64 = 10;

/// Looks. O(tables) and O(samples), as MIROIR.MEMORY; and O(buffers), O(leases) of the namespace.
#[must_use]
pub fn facts(context: &Context<'_>, namespace: &[u8]) -> Facts {
    let config = config(context);
    let ready = rebuild::ready(context, None).map_err(|failure| failure.text().to_owned());
    vigil::look(context);
    Facts {
        namespace: namespace.to_vec(),
        now: context.now_ms(),
        window: vigil::window(),
        memory: of_memory(context, namespace, &ready),
        traffic: traffic(context),
        safety: safety(context, &config),
        clients: clients(context, &config),
        store: store(context, namespace, ready),
    }
}

/// A section of INFO.
struct Section {
    name: &'static str,
    answer: Option<ServerInfo>,
}

impl Section {
    fn ask(name: &'static str) -> Self {
        let answer = std::ffi::CString::new(name).ok().and_then(|name| ServerInfo::section(&name));
        Self { name, answer }
    }

    fn text(&self, field: &str) -> Seen<String> {
        let value = self.answer.as_ref().and_then(|answer| answer.field(field)).map(str::to_owned);
        value.ok_or_else(|| format!("INFO {} tells no {field}", self.name))
    }

    fn number<T: FromStr>(&self, field: &str) -> Seen<T> {
        let text = self.text(field)?;
        text.parse().map_err(|_| format!("INFO {} tells {field}:{text}", self.name))
    }
}

/// The settings that no section of INFO tells.
const SETTINGS: [&str; 6] = [
    "save",
    "tcp-backlog",
    "tcp-keepalive",
    "client-output-buffer-limit",
    "latency-monitor-threshold",
    "slowlog-log-slower-than",
];

/// The server's settings, or why it does not tell them.
struct Config(Seen<HashMap<String, String>>);

fn config(context: &Context<'_>) -> Config {
    let mut words = Words::with_capacity(1 + SETTINGS.len());
    words.bytes(b"GET");
    SETTINGS.iter().for_each(|name| {
        words.bytes(name.as_bytes());
    });
    let answer = context.read(c"CONFIG", &words).map_err(|failure| format!("CONFIG GET answers '{failure}'"));
    Config(answer.map(|answer| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let words: Vec<String> = answer.root().iter().map(|word| text(word.bytes())).collect();
        words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }))
}

impl Config {
    fn text(&self, name: &str) -> Seen<&str> {
        let all = self.0.as_ref().map_err(Clone::clone)?;
        all.get(name).map(String::as_str).ok_or_else(|| format!("CONFIG GET tells no {name}"))
    }

    fn number(&self, name: &str) -> Seen<i64> {
        let text = self.text(name)?;
        text.parse().map_err(|_| format!("CONFIG GET tells {name} {text}"))
    }
}

fn of_memory(context: &Context<'_>, namespace: &[u8], ready: &Seen<()>) -> Memory {
    let section = Section::ask("memory");
    let weight = ready.clone().and_then(|()| {
        let weights =
            memory::weigh(context, namespace, SAMPLES).map_err(|failure| failure.text().to_owned())?;
        let total = weights.into_iter().map(|(_, weight)| weight).fold(Weight::default(), Weight::plus);
        Ok((total.allocated_bytes + total.index_bytes) as u64)
    });
    Memory {
        used: section.number("used_memory"),
        limit: section.number("maxmemory"),
        policy: section.text("maxmemory_policy"),
        protects: PROTECT_FROM_EVICTION.get(),
        fragmentation: section.number("mem_fragmentation_ratio"),
        fragmented: section.number("mem_fragmentation_bytes"),
        weight,
        warning: MEMORY_WARNING.get(),
        critical: MEMORY_CRITICAL.get(),
    }
}

fn traffic(context: &Context<'_>) -> Traffic {
    let databases = (0..).map_while(|database| context.in_database(database, || context.keys_of_database()));
    let keys = databases.sum();
    let (counted, over): (Seen<Counters>, i64) = match vigil::counted(context) {
        Ok((counted, over)) => (Ok(counted), over),
        Err(reason) => (Err(reason), 0),
    };
    Traffic { counted, over, keys }
}

fn safety(context: &Context<'_>, config: &Config) -> Safety {
    let log: Seen<u8> = Section::ask("persistence").number("aof_enabled");
    Safety {
        log: log.map(|is_on| is_on == 1),
        snapshots: config.text("save").map(|points| !points.is_empty()),
        replays: may_replay(context),
        role: role(),
    }
}

/// Whether the user `default` has all rights. It need not be able to log in.
fn may_replay(context: &Context<'_>) -> Seen<Replays> {
    let mut words = Words::with_capacity(2);
    words.bytes(b"GETUSER").bytes(b"default");
    let answer =
        context.read(c"ACL", &words).map_err(|failure| format!("ACL GETUSER answers '{failure}'"))?;
    let parts: Vec<_> = answer.root().iter().collect();
    let part = |name: &[u8]| {
        let pair = parts.chunks_exact(2).find(|pair| pair.first().is_some_and(|word| word.bytes() == name));
        pair.and_then(|pair| pair.get(1)).copied()
    };
    let (Some(flags), Some(commands), Some(keys)) = (part(b"flags"), part(b"commands"), part(b"keys")) else {
        return Err("ACL GETUSER tells no flags, commands and keys".to_owned());
    };
    if commands.bytes() == b"+@all" && keys.bytes() == b"~*" {
        return Ok(Replays::Everything);
    }
    let is_off = flags.iter().any(|flag| flag.bytes() == b"off");
    Ok(Replays::NotAll { is_off })
}

fn role() -> Seen<Role> {
    let section = Section::ask("replication");
    if section.text("role")? == "master" {
        let port = Section::ask("server").number("tcp_port")?;
        return Ok(Role::Master { replicas: section.number("connected_slaves")?, port });
    }
    let master = format!("{} {}", section.text("master_host")?, section.text("master_port")?);
    Ok(Role::Replica { hears: section.text("master_link_status")? == "up", master })
}

fn clients(context: &Context<'_>, config: &Config) -> Clients {
    let section = Section::ask("clients");
    Clients {
        connected: section.number("connected_clients"),
        most: section.number("maxclients"),
        backlog: config.number("tcp-backlog"),
        keepalive: config.number("tcp-keepalive"),
        buffers: config.text("client-output-buffer-limit").and_then(buffer_limits),
        slow: slow(context, config),
        latency: config.number("latency-monitor-threshold"),
    }
}

/// Reads `normal 0 0 0 slave 268435456 67108864 60 …`.
fn buffer_limits(text: &str) -> Seen<Vec<BufferLimit>> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let limit = |four: &[&str]| Some(BufferLimit { class: four[0].to_owned(), hard: four[1].parse().ok()? });
    let limits: Option<Vec<_>> = words.chunks_exact(4).map(limit).collect();
    limits.ok_or_else(|| format!("CONFIG GET tells client-output-buffer-limit {text}"))
}

fn slow(context: &Context<'_>, config: &Config) -> Seen<SlowLog> {
    let ask = |words: &Words<'_>| {
        context.read(c"SLOWLOG", words).map_err(|failure| format!("SLOWLOG answers '{failure}'"))
    };
    let (mut length, mut newest) = (Words::with_capacity(1), Words::with_capacity(2));
    length.bytes(b"LEN");
    newest.bytes(b"GET").number(SLOW_COMMANDS);
    let newest = ask(&newest)?;
    // Arguments may be secrets: only the name is read.
    let entries = newest.root().iter().filter_map(|entry| {
        let name = entry.get(3)?.get(0)?.bytes();
        Some((entry.get(2)?.integer(), String::from_utf8_lossy(name).to_uppercase()))
    });
    Ok(SlowLog {
        threshold: config.number("slowlog-log-slower-than").unwrap_or(0),
        entries: ask(&length)?.root().integer(),
        longest: entries.max_by_key(|(time, _)| *time),
    })
}

fn store(context: &Context<'_>, namespace: &[u8], ready: Seen<()>) -> Store {
    let spread = ready.clone().map(|()| spread(context, namespace));
    let leases = ready.clone().map(|()| of_leases(context, namespace));
    let (endless, lapsing) = match leases {
        Ok((endless, lapsing)) => (Ok(endless), Ok(lapsing)),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    Store {
        growing: ready.clone().map(|()| growing(context, namespace)),
        queue: ready.map(|()| queue(context, namespace)),
        endless,
        lapsing,
        is_audited: AUDIT_BUDGET.get() > 0,
        spread,
    }
}

/// What `look` finds in the rows of a table, if there are any.
fn in_table<T: Default>(
    context: &Context<'_>,
    namespace: &[u8],
    table: &str,
    look: impl FnOnce(&'static Table, &Rows) -> T,
) -> T {
    let Some(table) = schema::table(table) else { return T::default() };
    let database = context.database();
    catalog::with(|catalog| {
        catalog.rows(database, namespace, table).map(|rows| look(table, rows)).unwrap_or_default()
    })
}

fn queue(context: &Context<'_>, namespace: &[u8]) -> Queue {
    let now = context.now_ms();
    let depth = in_table(context, namespace, "jobs", |_, rows| vigil::queued(rows, now));
    vigil::note_queue(context.database(), namespace, depth, now);
    let deep_since = vigil::deep_since(context.database(), namespace).filter(|_| depth > QUEUED);
    Queue { depth, deep_since }
}

fn growing(context: &Context<'_>, namespace: &[u8]) -> Many<Growing> {
    let lists = in_table(context, namespace, buffers::TABLE, |table, rows| {
        let some = vigil::slots_in_use(rows).take(LOOKED_AT);
        some.map(|slot| key_in(namespace, table, rows.slab().id(slot))).collect::<Vec<_>>()
    });
    let (now, mut growing) = (context.now_ms(), Many::none());
    for key in lists {
        let Some((events, all_dropped)) = vigil::fill(context, &key) else { continue };
        let level = vigil::level(context.database(), &key);
        let growth = level.and_then(|level| level.growth(now, vigil::window(), events, all_dropped));
        if let Some(growth) = growth {
            let (came, dropped, over) = (growth.came, growth.dropped, growth.over);
            growing.add(Growing { key, events, came, dropped, over }, NAMED);
        }
    }
    growing
}

fn of_leases(context: &Context<'_>, namespace: &[u8]) -> (Many<Vec<u8>>, Many<Lapsing>) {
    let now = context.now_ms();
    let held = in_table(context, namespace, leases::TABLE, |table, rows| {
        let some = vigil::slots_in_use(rows).take(LOOKED_AT);
        let lease = |slot| (key_in(namespace, table, rows.slab().id(slot)), rows.slab().expires_at(slot));
        some.map(lease).collect::<Vec<_>>()
    });
    let (mut endless, mut lapsing) = (Many::none(), Many::none());
    for (key, expires_at) in held {
        let Some(end) = expires_at else {
            endless.add(key, NAMED);
            continue;
        };
        let tenure = vigil::tenure(context.database(), &key).filter(|tenure| tenure.is_lapsing(now));
        if let Some(tenure) = tenure.filter(|_| end > now) {
            let holder = context.inspect(&key).string().to_vec();
            let (remaining, granted) = (end - now, tenure.granted);
            lapsing.add(Lapsing { key, holder, remaining, granted }, NAMED);
        }
    }
    (endless, lapsing)
}

fn spread(context: &Context<'_>, namespace: &[u8]) -> Spread {
    let database = context.database();
    let keys_of = |tagged: bool| {
        let tables = TABLES.iter().filter(move |table| table.tagged == tagged);
        catalog::with(|catalog| {
            let keys = |table| {
                let rows = catalog.rows(database, namespace, table).map_or(0, |rows| rows.sums().rows);
                rows + catalog.beside(database, namespace, table).count()
            };
            tables.map(keys).sum()
        })
    };
    Spread {
        in_cluster: context.in_cluster(),
        is_tagged: keyspace::has_hash_tag(namespace),
        need: keys_of(true),
        free: keys_of(false),
    }
}
