//! What LIST and COUNT ask of a table: which lists answer it, and how they are read together.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use super::lists::{Direction, Position};
use super::ordered::{Ordered, Walk};
use super::slab::{Slab, Value, Values};
use super::table::Rows;

/// How many lists are read together at most. Beyond that some conditions are checked row by row.
const MOST_LISTS: usize = 1024;

/// Conditions on a row: each names a filter by its position, and the values of which the row must have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: BTreeMap<usize, HashSet<Vec<u8>>>,
}

impl Filter {
    /// Adds a value that a field may have, beside those named before.
    pub fn allow(&mut self, field: usize, value: &[u8]) {
        self.conditions.entry(field).or_default().insert(value.to_vec());
    }
}

/// A filter in the numbers of a table's values, sorted.
type Conditions = Vec<(usize, Vec<Value>)>;

/// One list of a selection, with the conditions that its rows do not meet by themselves.
struct Source<'r> {
    list: &'r Ordered,
    conditions: Conditions,
}

/// The rows of a table that meet a filter and whose time is not up.
pub struct Selection<'r> {
    rows: &'r Rows,
    conditions: Conditions,
    sources: Vec<Source<'r>>,
    now: i64,
}

impl<'r> Selection<'r> {
    /// Selects. `now` is the server's time in ms.
    #[must_use]
    pub fn new(rows: &'r Rows, filter: &Filter, now: i64) -> Self {
        Self::of(rows, conditions(rows, filter), now)
    }

    fn of(rows: &'r Rows, conditions: Conditions, now: i64) -> Self {
        let sources = sources(rows, &conditions);
        Self { rows, conditions, sources, now }
    }

    /// Together with the rows of another list, in the order of LIST, that meet a filter of their own. For
    /// [`Selection::page`] alone.
    #[must_use]
    pub fn and(mut self, list: &'r Ordered, filter: &Filter) -> Self {
        let conditions = conditions(self.rows, filter);
        self.sources.push(Source { list, conditions });
        self
    }

    /// How many rows there are. O(lists), and O(rows) of values that are not frequent.
    #[must_use]
    pub fn count(&self) -> usize {
        let in_source = |source: &Source<'_>| {
            if source.conditions.is_empty() {
                source.list.len()
            } else {
                source.list.from_first().filter(|slot| self.meets(*slot, &source.conditions)).count()
            }
        };
        let listed: usize = self.sources.iter().map(in_source).sum();
        listed - self.rows.due(self.now).filter(|slot| self.meets(*slot, &self.conditions)).count()
    }

    /// How many rows there are with each value of a field. O(values) where each has its list, else O(rows).
    #[must_use]
    pub fn count_by(&self, field: usize) -> Vec<(&'r [u8], usize)> {
        let values: Vec<(&'r [u8], Value)> = self.rows.lists().values_of(field).collect();
        let others: Conditions =
            self.conditions.iter().filter(|(other, _)| *other != field).cloned().collect();
        let allowed = self.conditions.iter().find(|(known, _)| *known == field).map(|(_, values)| values);
        let is_allowed = |value: &Value| allowed.is_none_or(|allowed| allowed.binary_search(value).is_ok());
        let lists =
            others.iter().map(|(_, values)| values.len().max(1)).fold(values.len(), usize::saturating_mul);
        if lists <= self.count().max(MOST_LISTS) {
            let count = |value: Value| {
                let mut conditions = others.clone();
                conditions.push((field, vec![value]));
                Self::of(self.rows, conditions, self.now).count()
            };
            let allowed = values.into_iter().filter(|(_, value)| is_allowed(value));
            return allowed.map(|(bytes, value)| (bytes, count(value))).collect();
        }
        let mut counts: HashMap<Value, usize> = HashMap::new();
        for source in &self.sources {
            for slot in source.list.from_first() {
                if self.is_alive(slot) && self.meets(slot, &source.conditions) {
                    *counts.entry(self.rows.slab().values(slot)[field]).or_default() += 1;
                }
            }
        }
        values.into_iter().map(|(bytes, value)| (bytes, counts.get(&value).copied().unwrap_or(0))).collect()
    }

    /// The slots of up to `count` rows in the order of LIST, behind a position and after `offset` more.
    #[must_use]
    pub fn page(&self, after: Option<Position<'_>>, mut offset: usize, count: usize) -> Vec<u32> {
        let slab = self.rows.slab();
        let direction = self.rows.lists().direction();
        let nothing_is_due = self.rows.due(self.now).next().is_none();
        let mut walks: Vec<Walk<'r>> =
            self.sources.iter().map(|source| start(slab, direction, source.list, after)).collect();
        let whole = nothing_is_due && self.sources.iter().all(|source| source.conditions.is_empty());
        if whole {
            offset = leap(slab, direction, &mut walks, offset);
        }
        let mut heads: BinaryHeap<Head<'_>> = BinaryHeap::with_capacity(walks.len());
        for source in 0..walks.len() {
            heads.extend(self.head(&mut walks, source));
        }
        let mut slots = Vec::with_capacity(count.min(1024));
        while slots.len() < count {
            let Some(Head { slot, source, .. }) = heads.pop() else { break };
            heads.extend(self.head(&mut walks, source));
            if offset > 0 {
                offset -= 1;
            } else {
                slots.push(slot);
            }
        }
        slots
    }

    /// The next row of one source that is wanted.
    fn head(&self, walks: &mut [Walk<'r>], source: usize) -> Option<Head<'r>> {
        let conditions = &self.sources.get(source)?.conditions;
        let walk = walks.get_mut(source)?;
        let slot = walk.find(|slot| self.is_alive(*slot) && self.meets(*slot, conditions))?;
        let slab = self.rows.slab();
        let direction = self.rows.lists().direction();
        Some(Head { slot, source, direction, position: position_of(slab, slot) })
    }

    fn is_alive(&self, slot: u32) -> bool {
        self.rows.slab().expires_at(slot).is_none_or(|end| end >= self.now)
    }

    fn meets(&self, slot: u32, conditions: &Conditions) -> bool {
        if conditions.is_empty() {
            return true;
        }
        let values: Values = self.rows.slab().values(slot);
        conditions.iter().all(|(field, wanted)| wanted.binary_search(&values[*field]).is_ok())
    }
}

/// A filter in the numbers that a table has for its values.
fn conditions(rows: &Rows, filter: &Filter) -> Conditions {
    let numbers = |field: usize, values: &HashSet<Vec<u8>>| {
        let mut numbers: Vec<Value> =
            values.iter().filter_map(|value| rows.lists().number(field, value)).collect();
        numbers.sort_unstable();
        numbers
    };
    filter.conditions.iter().map(|(field, values)| (*field, numbers(*field, values))).collect()
}

/// The lists that hold all wanted rows, each row once.
fn sources<'r>(rows: &'r Rows, conditions: &Conditions) -> Vec<Source<'r>> {
    let lists = rows.lists();
    let tuples = conditions.iter().try_fold(1usize, |product, (_, values)| product.checked_mul(values.len()));
    if tuples.is_none_or(|tuples| tuples > MOST_LISTS) {
        return by_one_field(rows, conditions);
    }
    let mut sources = Vec::new();
    for wanted in tuples_of(conditions) {
        match lists.rows_of_all(&wanted) {
            Some(list) => sources.extend(list.map(|list| Source { list, conditions: Vec::new() })),
            None => {
                // A value that is not frequent has few rows, and its combinations stand nowhere else.
                let rare = wanted.iter().find(|(_, value)| !lists.is_frequent(*value));
                let list = rare.and_then(|(_, value)| lists.rows_of(*value));
                let conditions = wanted.iter().map(|(field, value)| (*field, vec![*value])).collect();
                sources.extend(list.map(|list| Source { list, conditions }));
            }
        }
    }
    sources
}

/// The lists of the values of the field that leaves the fewest rows; the others are checked row by row.
fn by_one_field<'r>(rows: &'r Rows, conditions: &Conditions) -> Vec<Source<'r>> {
    let lists = rows.lists();
    let weight = |values: &Vec<Value>| -> usize {
        values.iter().filter_map(|value| lists.rows_of(*value)).map(Ordered::len).sum()
    };
    let Some((field, values)) = conditions.iter().min_by_key(|(_, values)| weight(values)) else {
        return Vec::new();
    };
    let others: Conditions = conditions.iter().filter(|(other, _)| other != field).cloned().collect();
    let list = |value: &Value| lists.rows_of(*value);
    values.iter().filter_map(list).map(|list| Source { list, conditions: others.clone() }).collect()
}

/// Every choice of one value for each condition.
fn tuples_of(conditions: &Conditions) -> Vec<Vec<(usize, Value)>> {
    conditions.iter().fold(vec![Vec::new()], |tuples, (field, values)| {
        let with = |tuple: &Vec<(usize, Value)>, value: &Value| {
            let mut longer = tuple.clone();
            longer.push((*field, *value));
            longer
        };
        tuples
            .iter()
            .flat_map(|tuple| values.iter().map(|value| with(tuple, value)).collect::<Vec<_>>())
            .collect()
    })
}

fn start<'r>(slab: &Slab, direction: Direction, list: &'r Ordered, after: Option<Position<'_>>) -> Walk<'r> {
    let compare = |after| move |slot| direction.compare(position_of(slab, slot), after);
    match (direction, after) {
        (Direction::Rising, None) => list.from_first(),
        (Direction::Rising, Some(after)) => list.behind(compare(after)),
        (Direction::RisingTiesFalling, None) => list.from_last(),
        (Direction::RisingTiesFalling, Some(after)) => list.before(compare(after)),
    }
}

/// Passes over rows of several lists as if they were one, all of them wanted. Answers how many are left to pass over,
/// fewer than there are lists.
///
/// Each list is asked for the row that stands an equal share of the way ahead. Whichever of these comes first, the
/// rows up to it in its list come before at most as many rows of the others as the others' shares: they are among
/// those to pass over.
fn leap(slab: &Slab, direction: Direction, walks: &mut Vec<Walk<'_>>, mut offset: usize) -> usize {
    loop {
        let share = match walks.len() {
            0 => return 0,
            lists => offset / lists,
        };
        if share == 0 {
            return offset;
        }
        let ahead = |walk: &Walk<'_>| {
            let mut ahead = walk.clone();
            ahead.skip_rows(share - 1);
            ahead.next()
        };
        let mut nearest: Option<(usize, u32)> = None;
        for (list, walk) in walks.iter().enumerate() {
            // A list that is shorter has fewer rows before that place than its share.
            let Some(slot) = ahead(walk) else { continue };
            let comes_first = nearest.is_none_or(|(_, other)| {
                runs(direction, position_of(slab, slot), position_of(slab, other)).is_lt()
            });
            if comes_first {
                nearest = Some((list, slot));
            }
        }
        let Some((list, _)) = nearest else {
            // All lists are shorter: together they have fewer rows than are to be passed over.
            walks.clear();
            return 0;
        };
        walks[list].skip_rows(share);
        offset -= share;
    }
}

/// Which of two rows LIST answers first.
fn runs(direction: Direction, a: Position<'_>, b: Position<'_>) -> Ordering {
    match direction {
        Direction::Rising => direction.compare(a, b),
        Direction::RisingTiesFalling => direction.compare(b, a),
    }
}

fn position_of(slab: &Slab, slot: u32) -> Position<'_> {
    Position { order: slab.order(slot), id: slab.id(slot) }
}

/// The next row of a source; of several the one that comes first is the greatest, as the heap wants it.
struct Head<'r> {
    slot: u32,
    source: usize,
    direction: Direction,
    position: Position<'r>,
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        runs(self.direction, other.position, self.position)
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}
