//! The tasks: the same in every run, in the sizes and shares of a deployment.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use fastrand::Rng;

use crate::support::link::Link;
use crate::support::{bar, Outcome};

/// What the tasks are called for.
pub const NAMESPACE: &str = "miroir";
/// The key that LIST and COUNT take.
pub const TABLE_KEY: &str = "miroir:tasks";
/// The bytes of an id.
pub const ID_LENGTH: usize = 36;

/// The statuses and how many of a hundred tasks have them.
pub const STATUSES: [(&str, u8); 5] =
    [("enqueued", 1), ("processing", 1), ("succeeded", 90), ("failed", 6), ("canceled", 2)];
const TASK_TYPES: [(&str, u8); 4] =
    [("documentAdditionOrUpdate", 80), ("documentDeletion", 12), ("settingsUpdate", 6), ("indexCreation", 2)];
/// How many indexes the tasks are about. The n-th has a share of 1/n of the first one's.
pub const INDEXES: u8 = 50;
const NODES: u32 = 6;

/// What a page with figures says of them.
pub const DESCRIPTION: &str =
    "A task has 7 fields and an id of 36 bytes; 90 % of the tasks have succeeded, 6 % failed, 2 % are canceled, 1 % \
     enqueued, 1 % processing; they are about 50 indexes, the n-th of which has 1/n of the tasks of the first.";

const SEED: u64 = 0x6d69_726f_6972;
/// The first task's created_at.
const EPOCH: u64 = 1_760_000_000_000;
/// How many tasks go to the server at once.
const BATCH: usize = 500;

/// How tasks are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Writing {
    /// HSET and SADD, as pods without the module do
    Raw,
    /// MIROIR.PUT
    Put,
}

/// A task. Everything else about it follows from these.
pub struct Task {
    id: u128,
    created_at: u64,
    /// The place of its status in [`STATUSES`].
    pub status: u8,
    /// The number of its index.
    pub index: u8,
    kind: u8,
}

/// All tasks of a table.
pub struct Data {
    tasks: Vec<Task>,
    /// In the order of LIST: newest first, ties by id.
    order: Vec<u32>,
}

/// The name of an index.
pub fn index_uid(index: u8) -> String {
    format!("shop-{index:02}-products")
}

impl Task {
    /// Its id, in the shape of a UUID.
    pub fn id(&self) -> String {
        let hex = format!("{:032x}", self.id);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The key of its row.
    pub fn key(&self) -> String {
        format!("{TABLE_KEY}:{}", self.id())
    }

    /// What its row holds.
    pub fn fields(&self) -> [(&'static str, String); 7] {
        let status = STATUSES[usize::from(self.status)].0;
        // Two nodes hold the index; each gave the task a number of its own.
        let bits = self.id as u32;
        let (first, second) = (bits % NODES, (bits + 2) % NODES);
        let uid = 1_000_000 + bits % 3_000_000;
        let errors = if status == "failed" {
            format!(r#"{{"node-{first}":"index_not_found: Index not found."}}"#)
        } else {
            "{}".to_owned()
        };
        [
            ("miroir_id", self.id()),
            ("created_at", self.created_at.to_string()),
            ("status", status.to_owned()),
            ("node_tasks", format!(r#"{{"node-{first}":{uid},"node-{second}":{}}}"#, uid + 7)),
            ("node_errors", errors),
            ("index_uid", index_uid(self.index)),
            ("task_type", TASK_TYPES[usize::from(self.kind)].0.to_owned()),
        ]
    }
}

impl Data {
    /// So many tasks; fewer are the first ones of more.
    pub fn new(rows: usize) -> Self {
        let mut rng = Rng::with_seed(SEED);
        let mut created_at = EPOCH;
        let tasks: Vec<Task> = (0..rows)
            .map(|_| {
                // One in ten comes in the same millisecond as the one before.
                if rng.u8(0..10) > 0 {
                    created_at += rng.u64(1..600);
                }
                Task {
                    id: rng.u128(..),
                    created_at,
                    status: weighted(&mut rng, &STATUSES),
                    index: skewed(&mut rng),
                    kind: weighted(&mut rng, &TASK_TYPES),
                }
            })
            .collect();
        let mut order: Vec<u32> = (0..).take(rows).collect();
        order.sort_unstable_by_key(|&place| {
            let task = &tasks[place as usize];
            // The dashes of an id stand at the same places in all: the numbers sort as the texts do.
            (std::cmp::Reverse(task.created_at), task.id)
        });
        Self { tasks, order }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// A task by its place in the order in which they came.
    pub fn task(&self, place: usize) -> &Task {
        &self.tasks[place]
    }

    /// The tasks in the order of LIST.
    pub fn listed(&self) -> impl Iterator<Item = &Task> {
        self.order.iter().map(|&place| &self.tasks[place as usize])
    }

    /// The first tasks in the order of LIST.
    pub fn listed_of(&self, most: usize) -> impl Iterator<Item = &Task> {
        let places = self.order.iter().filter(move |&&place| (place as usize) < most);
        places.map(|&place| &self.tasks[place as usize])
    }

    /// The bytes of all keys, fields and values.
    pub fn payload_bytes(&self) -> u64 {
        let bytes = |task: &Task| {
            let content: usize = task.fields().iter().map(|(name, value)| name.len() + value.len()).sum();
            (task.key().len() + content) as u64
        };
        self.tasks.iter().map(bytes).sum()
    }

    /// Writes the first tasks, or all of them.
    pub fn load_some(
        &self,
        link: &mut Link,
        writing: Writing,
        most: usize,
        mut done: impl FnMut(usize),
    ) -> Outcome<()> {
        for tasks in self.tasks[..most.min(self.len())].chunks(BATCH) {
            let mut pipeline = redis::Pipeline::with_capacity(2 * BATCH);
            for task in tasks {
                let name = if writing == Writing::Put { "MIROIR.PUT" } else { "HSET" };
                pipeline.cmd(name).arg(task.key()).arg(&task.fields());
                if writing == Writing::Raw {
                    pipeline.cmd("SADD").arg("miroir:tasks:_index").arg(task.id());
                }
            }
            link.send(&pipeline.get_packed_pipeline(), pipeline.len())?;
            done(tasks.len());
        }
        Ok(())
    }

    /// Writes all tasks, and answers how long that took.
    pub fn load(&self, port: u16, writing: Writing, title: &str) -> Outcome<Duration> {
        let bar = bar(title, self.len());
        let start = Instant::now();
        self.load_some(&mut Link::open(port)?, writing, self.len(), |rows| bar.inc(rows as u64))?;
        bar.finish_and_clear();
        Ok(start.elapsed())
    }
}

fn weighted(rng: &mut Rng, choices: &[(&str, u8)]) -> u8 {
    let mut left = rng.u8(0..100);
    for (place, (_, share)) in (0..).zip(choices) {
        if left < *share {
            return place;
        }
        left -= share;
    }
    0
}

fn skewed(rng: &mut Rng) -> u8 {
    let shares = || (0..INDEXES).map(|index| 1.0 / f64::from(index + 1));
    let mut left = rng.f64() * shares().sum::<f64>();
    for (index, share) in (0..).zip(shares()) {
        if left < share {
            return index;
        }
        left -= share;
    }
    0
}
