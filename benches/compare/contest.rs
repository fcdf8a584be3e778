//! One operation, all sides, in interleaved rounds.

use indicatif::ProgressBar;
use redis::Value;

use crate::operations::Operation;
use crate::settings::{Kind, Setting};
use crate::sides::{Side, Work, SIDES};
use crate::stage::{Durability, Stage};
use crate::support::link::Link;
use crate::support::rounds::{interleaved, Spread};
use crate::support::traffic::Crowd;
use crate::support::Outcome;

/// From this part of the time on a core counts as busy.
const BUSY: f64 = 0.9;
/// Numbers from here on are times, which differ from call to call.
const TIMES_FROM: i64 = 1000;

/// What the rounds of an operation came to.
pub struct Figures {
    /// What was measured.
    pub operation: &'static Operation,
    /// How.
    pub kind: Kind,
    /// On how many rows, if that matters.
    pub rows: Option<usize>,
    /// What the writes went to.
    pub durability: Durability,
    /// For each side and group: operations a second, CPU time of the server for one in µs, how busy its core was.
    groups: [Vec<[f64; 3]>; 5],
}

/// By what sides are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Operations a second.
    Rate,
    /// Operations in a second of the server's CPU time.
    Cpu,
}

impl Figures {
    /// Those of a question about a whole table.
    pub fn of_table(operation: &'static Operation, rows: usize, groups: [Vec<[f64; 3]>; 5]) -> Self {
        let durability = Durability::default();
        Self { operation, kind: Kind::Single, rows: Some(rows), durability, groups }
    }

    /// Whether a side took part.
    pub fn has(&self, side: Side) -> bool {
        !self.groups[side as usize].is_empty()
    }

    fn column(&self, side: Side, column: usize) -> Spread {
        Spread::of(self.groups[side as usize].iter().map(|figures| figures[column]))
    }

    /// Operations a second.
    pub fn rate(&self, side: Side) -> Spread {
        self.column(side, 0)
    }

    /// The CPU time of the server for one operation, in µs.
    pub fn cpu(&self, side: Side) -> Spread {
        self.column(side, 1)
    }

    /// How much of the time the server's main thread was at work.
    pub fn busy(&self, side: Side) -> f64 {
        self.column(side, 2).median
    }

    /// What a target for this pair is decided by: throughput, unless the client was what held one of the two up.
    pub fn measure(&self, side: Side) -> Measure {
        let all_busy = [Side::Module, side].iter().all(|&side| self.busy(side) >= BUSY);
        if self.kind == Kind::Single || all_busy {
            Measure::Rate
        } else {
            Measure::Cpu
        }
    }

    /// How many times as fast the module is: the ratio of the medians, with the spread of the groups' ratios.
    pub fn ratio(&self, side: Side, measure: Measure) -> Spread {
        let [module, other] = [Side::Module, side].map(|side| &self.groups[side as usize]);
        let each = module.iter().zip(other).map(|(module, other)| match measure {
            Measure::Rate => module[0] / other[0],
            Measure::Cpu => other[1] / module[1],
        });
        let spread = Spread::of(each);
        let median = match measure {
            Measure::Rate => self.rate(Side::Module).median / self.rate(side).median,
            Measure::Cpu => self.cpu(side).median / self.cpu(Side::Module).median,
        };
        Spread { median, ..spread }
    }
}

/// A side with its connections.
struct Contestant {
    side: Side,
    crowd: Crowd,
    link: Link,
    work: Work,
}

impl Contestant {
    fn prepare(&mut self, grows: bool) -> Outcome<()> {
        if !grows {
            self.link.ask::<()>(&["FLUSHALL", "SYNC"])?;
        }
        self.work.before.iter().try_for_each(|script| self.crowd.pass(script).map(drop))
    }

    fn round(&mut self, operation: &Operation, operations: usize) -> Outcome<[f64; 3]> {
        self.prepare(operation.grows)?;
        let before = self.link.cpu_seconds()?;
        let mut took = 0.0;
        for script in &self.work.phases {
            took += self.crowd.pass(script)?.as_secs_f64();
        }
        let cpu = self.link.cpu_seconds()? - before;
        Ok([operations as f64 / took, cpu * 1e6 / operations as f64, cpu / took])
    }

    /// The answers to the first command of each part.
    fn answers(&mut self, operation: &Operation) -> Outcome<Vec<Value>> {
        self.prepare(operation.grows)?;
        let mut answers = Vec::new();
        for script in &self.work.phases {
            let first = &script[0][0];
            let mut all = self.link.answers_of(&first.packed, first.commands)?;
            answers.push(all.swap_remove(0));
        }
        Ok(answers)
    }
}

/// Measures an operation.
pub fn measure(
    operation: &'static Operation,
    setting: &Setting,
    stage: &Stage,
    durability: Durability,
    groups: usize,
    bar: &ProgressBar,
) -> Outcome<Figures> {
    let failed = |side: Side, error| format!("{}, {}: {error}", operation.title, side.title());
    let mut contestants = Vec::new();
    for side in SIDES {
        let work = Work::pack(operation, side, setting, &stage.known, &stage.data, stage.rows);
        if let Some(work) = work {
            let port = stage.port(side);
            let crowd = Crowd::gather(port, setting.connections)?;
            contestants.push(Contestant { side, crowd, link: Link::open(port)?, work });
        }
    }
    if operation.alike {
        check(operation, &mut contestants)?;
    }
    let operations = setting.operations();
    for contestant in &mut contestants {
        // The first round is not like the others.
        contestant.round(operation, operations).map_err(|error| failed(contestant.side, error))?;
    }
    let figures = interleaved(contestants.len(), groups, bar, |place| {
        let contestant = &mut contestants[place];
        contestant.round(operation, operations).map_err(|error| failed(contestant.side, error))
    })?;
    let mut by_side: [Vec<[f64; 3]>; 5] = Default::default();
    for (contestant, figures) in contestants.iter_mut().zip(figures) {
        by_side[contestant.side as usize] = figures;
        // Leave the tables as they were.
        contestant.prepare(operation.grows)?;
    }
    let rows = operation.grows.then_some(stage.rows);
    Ok(Figures { operation, kind: setting.kind, rows, durability, groups: by_side })
}

/// The module and the scripts have to answer alike, or they do not do the same.
fn check(operation: &Operation, contestants: &mut [Contestant]) -> Outcome<()> {
    let mut all = Vec::new();
    for contestant in contestants {
        if matches!(contestant.side, Side::Module | Side::Lua | Side::Function) {
            let answers =
                contestant.answers(operation).map_err(|error| format!("{}: {error}", operation.title))?;
            all.push((contestant.side.title(), answers));
        }
    }
    let Some(((_, right), others)) = all.split_first() else { return Ok(()) };
    match others.iter().find(|(_, answers)| !right.iter().zip(answers).all(|(one, other)| same(one, other))) {
        Some((title, answers)) => {
            Err(format!("{}: the module answers {right:?}, but {title} {answers:?}", operation.title))
        }
        None => Ok(()),
    }
}

fn same(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    };
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().all(|one| other.iter().any(|other| same(one, other)))
        }
        _ if one == other => true,
        _ => match (number(one), number(other)) {
            (Some(one), Some(other)) => one == other || one.min(other) >= TIMES_FROM,
            _ => false,
        },
    }
}
