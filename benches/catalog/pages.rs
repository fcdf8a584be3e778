//! Questions for pages of the table, and the answers they have to get.

use fastrand::Rng;
use redis::Value;

use crate::support::data::{index_uid, Data, Task, INDEXES, STATUSES, TABLE_KEY};
use crate::support::link::Link;
use crate::support::Outcome;

/// How many tasks a page has: LIST's default.
pub const PAGE: usize = 20;

/// Conditions that a task has to meet.
#[derive(Clone, Copy)]
pub struct Selection {
    /// What it is called.
    pub title: &'static str,
    /// A place in [`STATUSES`].
    status: Option<u8>,
    index: Option<u8>,
}

/// No conditions.
pub const ALL: Selection = Selection { title: "all", status: None, index: None };
/// All that is measured.
pub const SELECTIONS: [Selection; 5] = [
    ALL,
    Selection { title: "WHERE status succeeded, 90 %", status: Some(2), ..ALL },
    Selection { title: "WHERE status failed, 6 %", status: Some(3), ..ALL },
    Selection { title: "WHERE status succeeded, index_uid the commonest", status: Some(2), index: Some(0) },
    Selection {
        title: "WHERE status failed, index_uid the rarest",
        status: Some(3),
        index: Some(INDEXES - 1),
    },
];

impl Selection {
    /// Whether a task meets them.
    pub fn admits(self, task: &Task) -> bool {
        self.status.is_none_or(|status| status == task.status)
            && self.index.is_none_or(|index| index == task.index)
    }

    /// As the commands take them.
    pub fn words(self) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(status) = self.status {
            words.extend(["WHERE", "status", STATUSES[usize::from(status)].0].map(str::to_owned));
        }
        if let Some(index) = self.index {
            words.extend(["WHERE".to_owned(), "index_uid".to_owned(), index_uid(index)]);
        }
        words
    }
}

/// Which page is asked for.
#[derive(Clone, Copy)]
pub enum Place {
    /// The newest tasks.
    First,
    /// The page behind the task in the middle.
    Middle,
    /// Another one with every call: what neither the server nor the processor remembers.
    Anywhere,
}

/// All of them, with their names.
pub const PLACES: [(Place, &str); 3] = [
    (Place::First, "first page"),
    (Place::Middle, "AFTER the middle"),
    (Place::Anywhere, "AFTER any, a new one each time"),
];

/// The pages of a selection.
pub struct Pages<'a> {
    tasks: Vec<&'a Task>,
    selection: Selection,
    place: Place,
    rng: Rng,
}

impl<'a> Pages<'a> {
    /// None where the table has no full page behind the middle: a shorter page would be less work.
    pub fn new(data: &'a Data, selection: Selection, place: Place) -> Option<Self> {
        let tasks: Vec<_> = data.listed().filter(|task| selection.admits(task)).collect();
        (tasks.len() > 2 * PAGE).then(|| Self { tasks, selection, place, rng: Rng::with_seed(1) })
    }

    /// Asks for a page.
    pub fn ask(&mut self, link: &mut Link) -> Outcome<()> {
        let after = match self.place {
            Place::First => None,
            Place::Middle => Some(self.tasks.len() / 2 - 1),
            Place::Anywhere => Some(self.rng.usize(..self.tasks.len() - PAGE)),
        };
        let start = after.map_or(0, |place| place + 1);
        let mut words = vec!["MIROIR.LIST".to_owned(), TABLE_KEY.to_owned()];
        words.extend(self.selection.words());
        if let Some(place) = after {
            words.extend(["AFTER".to_owned(), self.tasks[place].id()]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer: Vec<Vec<Value>> = link.ask(&words)?;
        let right = &self.tasks[start..start + PAGE];
        let is_right = |(row, task): (&Vec<Value>, &&Task)| match row.as_slice() {
            [Value::BulkString(id), Value::Array(fields)] => {
                *id == task.id().as_bytes() && fields.len() == 14
            }
            _ => false,
        };
        if answer.len() == PAGE && answer.iter().zip(right).all(is_right) {
            return Ok(());
        }
        let right: Vec<String> = right.iter().map(|task| task.id()).collect();
        Err(format!(
            "wrong answer to {}:
{answer:?}
instead of
{right:?}",
            words.join(" ")
        ))
    }
}
