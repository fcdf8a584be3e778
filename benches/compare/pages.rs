//! Questions about a whole table: today they read all of it, hence only a few repetitions.

use std::time::Instant;

use indicatif::ProgressBar;
use redis::{Pipeline, Value};

use crate::contest::Figures;
use crate::operations::Operation;
use crate::sides::{Side, SIDES};
use crate::stage::Stage;
use crate::support::data::{NAMESPACE, TABLE_KEY};
use crate::support::link::Link;
use crate::support::rounds::interleaved;
use crate::support::Outcome;

/// How many rows a page has.
const PAGE: usize = 20;
/// How many rows clients ask for together.
const BATCH: usize = 1000;
/// From here on a single group has to do.
const MANY_ROWS: usize = 300_000;
/// How many groups at most.
const MOST_GROUPS: usize = 4;
/// How often a quick answer is asked for in a round.
const OFTEN: usize = 200;
const INDEX: &str = "miroir:tasks:_index";
const PREFIX: &str = "miroir:tasks:";

/// The scripts, by name.
pub const SCRIPTS: [(&str, &str); 2] =
    [("list", include_str!("scripts/list.lua")), ("memory", include_str!("scripts/memory.lua"))];

/// The newest rows.
pub const LIST: Operation = Operation {
    name: "list",
    title: "list page of 20",
    grows: true,
    before: &[],
    phases: &[],
    alike: true,
    differs: "clients ask for the ids, then for all rows in pipelines of 1,000, and sort; native is HGETALL of 20 rows whose \
              ids are known",
    durable: false,
};

/// What the rows take.
pub const MEMORY: Operation = Operation {
    name: "memory",
    title: "memory",
    grows: true,
    before: &[],
    phases: &[],
    alike: false,
    differs: "the module answers for all tables, exactly as to the content and from a sample as to the allocator; the others \
              ask for MEMORY USAGE of every task; there is no native command",
    durable: false,
};

/// Measures one of the two.
pub fn measure(
    operation: &'static Operation,
    stage: &Stage,
    groups: usize,
    bar: &ProgressBar,
) -> Outcome<Figures> {
    let is_list = operation.name == LIST.name;
    let mut sides = Vec::new();
    for side in SIDES.into_iter().filter(|&side| is_list || side != Side::Native) {
        let mut asker = Asker { side, link: Link::open(stage.port(side))?, stage };
        if is_list {
            let page = asker.page()?;
            let right: Vec<String> = stage.newest(PAGE);
            if page != right {
                return Err(format!("{}, {}: {page:?} instead of {right:?}", operation.title, side.title()));
            }
        } else {
            asker.memory()?;
        }
        sides.push(asker);
    }
    let groups = if stage.rows >= MANY_ROWS { 1 } else { groups.min(MOST_GROUPS) };
    let figures = interleaved(sides.len(), groups, bar, |place| {
        let asker = &mut sides[place];
        let often = if matches!(asker.side, Side::Module | Side::Native) { OFTEN } else { 1 };
        let before = asker.link.cpu_seconds()?;
        let start = Instant::now();
        for _ in 0..often {
            if is_list {
                asker.page()?;
            } else {
                asker.memory()?;
            }
        }
        let took = start.elapsed().as_secs_f64();
        let cpu = asker.link.cpu_seconds()? - before;
        Ok([often as f64 / took, cpu * 1e6 / often as f64, cpu / took])
    })?;
    let mut by_side: [Vec<[f64; 3]>; 5] = Default::default();
    for (asker, figures) in sides.iter().zip(figures) {
        by_side[asker.side as usize] = figures;
    }
    Ok(Figures::of_table(operation, stage.rows, by_side))
}

struct Asker<'a> {
    side: Side,
    link: Link,
    stage: &'a Stage,
}

impl Asker<'_> {
    /// The ids of the newest rows.
    fn page(&mut self) -> Outcome<Vec<String>> {
        let page = PAGE.to_string();
        let rows: Vec<(String, Value)> = match self.side {
            Side::Module => self.link.ask(&["MIROIR.LIST", TABLE_KEY])?,
            Side::Lua => {
                let hash = self.stage.known.hash("list");
                self.link.ask(&["EVALSHA", hash, "1", INDEX, PREFIX, &page])?
            }
            Side::Function => self.link.ask(&["FCALL", "list", "1", INDEX, PREFIX, &page])?,
            Side::Client => {
                let mut rows = self.of_every_row("HGETALL")?;
                rows.sort_by_cached_key(|(id, row)| (std::cmp::Reverse(created_at(row)), id.clone()));
                rows.truncate(PAGE);
                rows
            }
            Side::Native => {
                let ids = self.stage.newest(PAGE);
                self.of_rows("HGETALL", &ids)?
            }
        };
        Ok(rows.into_iter().map(|(id, _)| id).collect())
    }

    fn memory(&mut self) -> Outcome<()> {
        match self.side {
            Side::Module => self.link.ask::<Value>(&["MIROIR.MEMORY", NAMESPACE]).map(drop),
            Side::Lua => {
                let hash = self.stage.known.hash("memory");
                self.link.ask::<(u64, u64)>(&["EVALSHA", hash, "1", INDEX, PREFIX]).map(drop)
            }
            Side::Function => self.link.ask::<(u64, u64)>(&["FCALL", "memory", "1", INDEX, PREFIX]).map(drop),
            Side::Client | Side::Native => self.of_every_row("MEMORY USAGE").map(drop),
        }
    }

    fn of_every_row(&mut self, command: &str) -> Outcome<Vec<(String, Value)>> {
        let ids: Vec<String> = self.link.ask(&["SMEMBERS", INDEX])?;
        let mut rows = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH) {
            rows.extend(self.of_rows(command, ids)?);
        }
        Ok(rows)
    }

    fn of_rows(&mut self, command: &str, ids: &[String]) -> Outcome<Vec<(String, Value)>> {
        let mut pipeline = Pipeline::with_capacity(ids.len());
        for id in ids {
            let mut words = redis::Cmd::new();
            for word in command.split(' ') {
                words.arg(word);
            }
            words.arg(format!("{PREFIX}{id}"));
            pipeline.add_command(words);
        }
        let answers = self.link.answers_of(&pipeline.get_packed_pipeline(), pipeline.len())?;
        Ok(ids.iter().cloned().zip(answers).collect())
    }
}

fn created_at(row: &Value) -> u64 {
    let Value::Array(words) = row else { return 0 };
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let mut pairs = words.chunks_exact(2);
    pairs
        .find(|pair| text(&pair[0]) == "created_at")
        .and_then(|pair| text(&pair[1]).parse().ok())
        .unwrap_or(0)
}
