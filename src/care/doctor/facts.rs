//! What MIROIR.DOCTOR looks at, as it was found. Sizes are bytes, times are ms.

use super::past::Counters;

/// Something that was looked at, or why it could not be.
pub type Seen<T> = Result<T, String>;

/// A server, and one namespace in it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The namespace.
    pub namespace: Vec<u8>,
    /// The time.
    pub now: i64,
    /// How long something has to last, and over how long is counted.
    pub window: i64,
    /// Its memory.
    pub memory: Memory,
    /// What was counted in the window.
    pub traffic: Traffic,
    /// What is left after a crash.
    pub safety: Safety,
    /// Who is connected, and how.
    pub clients: Clients,
    /// The namespace itself.
    pub store: Store,
}

/// The memory of a server.
#[derive(Debug, Clone)]
pub struct Memory {
    /// What its data and buffers take.
    pub used: Seen<u64>,
    /// What they may take; 0 for any.
    pub limit: Seen<u64>,
    /// What happens at that limit.
    pub policy: Seen<String>,
    /// Whether keys that must not be lost are to be kept then.
    pub protects: bool,
    /// What the kernel gave it, divided by what it uses.
    pub fragmentation: Seen<f64>,
    /// What the kernel gave it beyond what it uses.
    pub fragmented: Seen<i64>,
    /// What the keys of the namespace take, indexes included.
    pub weight: Seen<u64>,
    /// From where on `used` deserves a look.
    pub warning: u64,
    /// From where on it deserves one at once.
    pub critical: u64,
}

/// What a server has done in the window.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// What it counted.
    pub counted: Seen<Counters>,
    /// In which time.
    pub over: i64,
    /// The keys that it holds.
    pub keys: u64,
}

/// What a server loses when it dies.
#[derive(Debug, Clone)]
pub struct Safety {
    /// Whether it logs each write.
    pub log: Seen<bool>,
    /// Whether it takes snapshots by itself.
    pub snapshots: Seen<bool>,
    /// Whether the user `default`, as whom the server replays its log, may run every command on every key.
    pub replays: Seen<Replays>,
    /// Whom it follows, or who follows it.
    pub role: Seen<Role>,
}

/// What the user `default` may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replays {
    /// Every command on every key.
    Everything,
    /// Less than that.
    NotAll {
        /// Whether nobody can log in as that user.
        is_off: bool,
    },
}

/// The place of a server among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// It decides, and so many repeat what it does.
    Master {
        /// How many.
        replicas: u64,
        /// The port that a replica has to be told.
        port: u64,
    },
    /// It repeats what another one does.
    Replica {
        /// Whether it hears of that.
        hears: bool,
        /// The other one: host and port.
        master: String,
    },
}

/// The clients of a server.
#[derive(Debug, Clone)]
pub struct Clients {
    /// How many are connected.
    pub connected: Seen<u64>,
    /// How many may be.
    pub most: Seen<u64>,
    /// How many may wait to be accepted.
    pub backlog: Seen<i64>,
    /// After how many seconds a silent one is probed; 0 is never.
    pub keepalive: Seen<i64>,
    /// What may pile up for one.
    pub buffers: Seen<Vec<BufferLimit>>,
    /// Their slow commands.
    pub slow: Seen<SlowLog>,
    /// From how many ms on an event is recorded; 0 is never.
    pub latency: Seen<i64>,
}

/// What may pile up for a client of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferLimit {
    /// `normal`, `slave` or `pubsub`.
    pub class: String,
    /// The limit at which the client is cut off; 0 for none.
    pub hard: u64,
}

/// The slow log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowLog {
    /// From how many microseconds on a command is in it; below 0 none ever is.
    pub threshold: i64,
    /// How many entries it has.
    pub entries: i64,
    /// Of the newest: the longest time in microseconds, and the command's name.
    pub longest: Option<(i64, String)>,
}

/// A namespace.
#[derive(Debug, Clone)]
pub struct Store {
    /// Its buffers that grow.
    pub growing: Seen<Many<Growing>>,
    /// Its queued jobs, and since when there are many of them.
    pub queue: Seen<Queue>,
    /// Its leases that never end.
    pub endless: Seen<Many<Vec<u8>>>,
    /// Its leases that are about to end.
    pub lapsing: Seen<Many<Lapsing>>,
    /// Whether the catalog is compared with the keys all the time.
    pub is_audited: bool,
    /// Where its keys may be.
    pub spread: Seen<Spread>,
}

/// Some of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Many<T> {
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub some: Vec<T>,
}

impl<T> Many<T> {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { count: 0, some: Vec::new() }
    }

    /// One more, of which no more than `most` are kept.
    pub fn add(&mut self, one: T, most: usize) {
        self.count += 1;
        if self.some.len() < most {
            self.some.push(one);
        }
    }
}

/// A buffer that has grown over the window, and was never drained meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growing {
    /// Its list.
    pub key: Vec<u8>,
    /// The events that it holds.
    pub events: i64,
    /// How many came.
    pub came: i64,
    /// How many were dropped meanwhile to keep its budget.
    pub dropped: i64,
    /// In which time.
    pub over: i64,
}

/// The queue of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// The queued jobs.
    pub depth: usize,
    /// Since when there have always been more than the doctor is silent about.
    pub deep_since: Option<i64>,
}

/// A lease that its holder should have renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lapsing {
    /// Its key.
    pub key: Vec<u8>,
    /// Who holds it.
    pub holder: Vec<u8>,
    /// What is left.
    pub remaining: i64,
    /// For how long it was given.
    pub granted: i64,
}

/// Where the keys of a namespace may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Whether the server is a node of a cluster.
    pub in_cluster: bool,
    /// Whether the namespace has a hash tag.
    pub is_tagged: bool,
    /// Keys here that need one.
    pub need: usize,
    /// Keys here that need none.
    pub free: usize,
}
