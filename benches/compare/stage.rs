//! Two servers with the same data, one with the module and one without.

use std::time::{Duration, Instant};

use crate::settings::Setting;
use crate::sides::{Known, Side};
use crate::support::cores::Cores;
use crate::support::data::{Data, Task, Writing};
use crate::support::link::{number, Link};
use crate::support::servers::Server;
use crate::support::{bar, Outcome};
use crate::words::{trips, Place};

/// How many waiting jobs go to the server at once.
const BATCH: usize = 500;
/// How long a replica may take to get all data.
const PATIENCE: Duration = Duration::from_secs(120);

/// What becomes of writes beyond the server's memory.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Durability {
    /// Whether they go to an append-only file that is flushed every second.
    pub aof: bool,
    /// Whether they go to a replica.
    pub replica: bool,
}

impl Durability {
    /// What the report calls it.
    pub fn title(self) -> &'static str {
        match (self.aof, self.replica) {
            (false, false) => "memory only",
            (true, false) => "AOF (everysec)",
            (false, true) => "a replica",
            (true, true) => "AOF (everysec) and a replica",
        }
    }
}

/// The two servers.
pub struct Stage {
    module: Server,
    raw: Server,
    /// They only have to be there.
    _replicas: Vec<Server>,
    /// What the server without the module was taught.
    pub known: Known,
    /// The tasks: those of the tables, then those that the rounds add.
    pub data: Data,
    /// How many tasks and waiting jobs the tables hold.
    pub rows: usize,
}

impl Stage {
    /// Starts servers with so many rows, and knows enough tasks besides for rounds of this setting.
    pub fn set(
        rows: usize,
        setting: &Setting,
        durability: Durability,
        cores: Option<&Cores>,
    ) -> Outcome<Self> {
        let mut arguments = vec!["--auto-aof-rewrite-percentage", "0"];
        if durability.aof {
            arguments.extend(["--appendonly", "yes", "--appendfsync", "everysec"]);
        }
        let module = Server::start_with(&arguments);
        let raw = Server::bare(&arguments);
        if let Some(cores) = cores {
            cores.confine(module.port())?;
            cores.confine(raw.port())?;
        }
        // Their replicas share the core of the clients, for they would slow the servers down on theirs.
        let mut replicas = Vec::new();
        if durability.replica {
            replicas.push(Server::replica_of(&module, &[]));
            replicas.push(Server::bare(&["--replicaof", "127.0.0.1", &raw.port().to_string()]));
            for master in [&module, &raw] {
                await_replica(&mut Link::open(master.port())?)?;
            }
        }
        let known = Known::teach(&mut Link::open(raw.port())?)?;
        let data = Data::new(rows.max(1) + setting.operations());
        let stage = Self { module, raw, _replicas: replicas, known, data, rows };
        stage.load()?;
        Ok(stage)
    }

    fn load(&self) -> Outcome<()> {
        let bar = bar("Loading", 4 * self.rows);
        for (server, has_module) in [(&self.module, true), (&self.raw, false)] {
            let mut link = Link::open(server.port())?;
            let writing = if has_module { Writing::Put } else { Writing::Raw };
            self.data.load_some(&mut link, writing, self.rows, |rows| bar.inc(rows as u64))?;
            let text = if has_module { WAITING } else { WAITING_RAW };
            let all: Vec<usize> = (0..self.rows).collect();
            for some in all.chunks(BATCH) {
                let mut pipeline = redis::Pipeline::new();
                for &operation in some {
                    let place =
                        Place { data: &self.data, rows: self.rows, operation, connection: 0, turn: 0 };
                    for command in trips(text, &place).into_iter().flatten() {
                        pipeline.add_command(command);
                    }
                }
                link.send(&pipeline.get_packed_pipeline(), pipeline.len())?;
                bar.inc(some.len() as u64);
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// The ids of the newest tasks of the table.
    pub fn newest(&self, count: usize) -> Vec<String> {
        self.data.listed_of(self.rows).take(count).map(Task::id).collect()
    }

    /// The port of the server on which a side runs.
    pub fn port(&self, side: Side) -> u16 {
        if side.has_module() { &self.module } else { &self.raw }.port()
    }
}

/// Jobs that wait behind those of the rounds.
const WAITING: &str = "MIROIR.PUT miroir:jobs:waiting-<operation> <job-fields> created_at <waiting-created>";
const WAITING_RAW: &str =
    "HSET miroir:jobs:waiting-<operation> id waiting-<operation> <job-fields> progress {} state queued \
     created_at <waiting-created> attempts 0 ; SADD miroir:jobs:_index waiting-<operation> ; \
     SADD miroir:jobs:_queued waiting-<operation> ; ZADD miroir:jobs:_order <waiting-created> waiting-<operation>";

fn await_replica(link: &mut Link) -> Outcome<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let info = link.info("replication")?;
        let online = info.get("slave0").is_some_and(|replica| replica.contains("state=online"));
        if number::<usize>(&info, "connected_slaves")? > 0 && online {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("a replica did not get the data of its master".to_owned())
}
