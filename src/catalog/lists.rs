//! The sorted lists of a table: one of all rows, one for each value of a filter field, and one for each combination
//! of values of several fields whose values are all frequent. So what LIST and COUNT ask for stands ready in one
//! list, or in one that is short enough to be looked through.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::ordered::Ordered;
use super::slab::{Slab, Value, Values, ABSENT, MAX_FILTERS};

/// From how many rows on a value is frequent. Below that the list of the value alone is looked through; each
/// frequent value can add a list for each combination with others, and lists are not free.
const FREQUENT: usize = 128;

/// Which way a list of the table runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// By order and id, both rising.
    Rising,
    /// By order, rising, and among equals by id, falling: read backward that is newest first, and ties by id.
    RisingTiesFalling,
}

/// A place in a list: what a row is ordered by.
#[derive(Debug, Clone, Copy)]
pub struct Position<'p> {
    /// The time, or 0 in tables that are ordered by id.
    pub order: i64,
    /// The id.
    pub id: &'p [u8],
}

impl Direction {
    /// How two rows stand in the lists.
    #[must_use]
    pub fn compare(self, a: Position<'_>, b: Position<'_>) -> Ordering {
        a.order.cmp(&b.order).then_with(|| match self {
            Self::Rising => a.id.cmp(b.id),
            Self::RisingTiesFalling => b.id.cmp(a.id),
        })
    }
}

/// A value of a filter field that some row has.
#[derive(Debug)]
struct Known {
    field: usize,
    bytes: Arc<[u8]>,
    rows: Ordered,
    frequent: bool,
}

/// Several fields by the bits of their positions, each with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Combination {
    fields: u8,
    values: Values,
}

/// The lists of a table.
#[derive(Debug)]
pub struct Lists {
    direction: Direction,
    filters: usize,
    all: Ordered,
    /// The numbers of the values, field by field.
    numbers: [HashMap<Arc<[u8]>, Value>; MAX_FILTERS],
    values: Vec<Option<Known>>,
    vacant: Vec<Value>,
    /// Whether values are kept that no listed row has: others may have them.
    keeps_unused: bool,
    combinations: HashMap<Combination, Ordered, BuildHasherDefault<Mixing>>,
}

impl Lists {
    /// No lists, of a table with so many filters. As long as there are rows that have numbered values and are not listed,
    /// `keeps_unused` has to be true; [`Lists::forget_unused`] ends that.
    #[must_use]
    pub fn new(direction: Direction, filters: usize, keeps_unused: bool) -> Self {
        Self {
            direction,
            filters: filters.min(MAX_FILTERS),
            all: Ordered::default(),
            numbers: Default::default(),
            values: Vec::new(),
            vacant: Vec::new(),
            keeps_unused,
            combinations: HashMap::default(),
        }
    }

    /// The list of all rows.
    #[must_use]
    pub fn all(&self) -> &Ordered {
        &self.all
    }

    /// Which way the lists run.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The number of a value, if any row has it.
    #[must_use]
    pub fn number(&self, field: usize, bytes: &[u8]) -> Option<Value> {
        self.numbers.get(field)?.get(bytes).copied()
    }

    /// The values of a field that some row has, with their numbers.
    pub fn values_of(&self, field: usize) -> impl Iterator<Item = (&[u8], Value)> {
        self.numbers.get(field).into_iter().flatten().map(|(bytes, value)| (&**bytes, *value))
    }

    /// A value by its number.
    #[must_use]
    pub fn bytes_of(&self, value: Value) -> Option<&[u8]> {
        self.known(value).map(|known| &*known.bytes)
    }

    /// The rows that have a value.
    #[must_use]
    pub fn rows_of(&self, value: Value) -> Option<&Ordered> {
        self.known(value).map(|known| &known.rows)
    }

    /// The rows that have all of these values, where that list exists: if each of them is frequent. The outer None
    /// means that it does not, the inner one that there are no such rows.
    #[must_use]
    pub fn rows_of_all(&self, wanted: &[(usize, Value)]) -> Option<Option<&Ordered>> {
        match wanted {
            [] => Some(Some(&self.all)),
            [(_, value)] => Some(self.rows_of(*value)),
            _ => {
                let mut values = [ABSENT; MAX_FILTERS];
                let mut fields = 0;
                for (field, value) in wanted {
                    if !self.is_frequent(*value) {
                        return None;
                    }
                    values[*field] = *value;
                    fields |= 1 << field;
                }
                Some(self.combinations.get(&Combination { fields, values }))
            }
        }
    }

    /// Whether a value has combinations.
    #[must_use]
    pub fn is_frequent(&self, value: Value) -> bool {
        self.known(value).is_some_and(|known| known.frequent)
    }

    fn known(&self, value: Value) -> Option<&Known> {
        self.values.get(value as usize)?.as_ref()
    }

    /// The numbers of a row's values; values that no row had so far get one. A row with them must be added before
    /// anything else is asked.
    pub fn number_all(&mut self, row: &[Option<Vec<u8>>; MAX_FILTERS]) -> Values {
        let mut values = [ABSENT; MAX_FILTERS];
        for (field, bytes) in row.iter().enumerate().take(self.filters) {
            let Some(bytes) = bytes else { continue };
            values[field] = self.number(field, bytes).unwrap_or_else(|| self.introduce(field, bytes));
        }
        values
    }

    fn introduce(&mut self, field: usize, bytes: &[u8]) -> Value {
        let bytes: Arc<[u8]> = bytes.into();
        let known =
            Some(Known { field, bytes: Arc::clone(&bytes), rows: Ordered::default(), frequent: false });
        let value = match self.vacant.pop() {
            Some(value) => {
                self.values[value as usize] = known;
                value
            }
            None => {
                self.values.push(known);
                (self.values.len() - 1) as Value
            }
        };
        self.numbers[field].insert(bytes, value);
        value
    }

    /// Adds a row to the list of all.
    pub fn add_to_all(&mut self, rows: &Slab, slot: u32) {
        let Self { all, direction, .. } = self;
        all.insert(slot, by_position(rows, *direction, slot));
    }

    /// Takes a row out of the list of all.
    pub fn remove_from_all(&mut self, rows: &Slab, slot: u32) {
        let Self { all, direction, .. } = self;
        all.remove(slot, by_position(rows, *direction, slot));
    }

    /// Adds a row to the lists that name one of these fields; `changed` are their bits. The values are those that the
    /// slab holds of the row.
    pub fn add(&mut self, rows: &Slab, slot: u32, changed: u8) {
        let values = rows.values(slot);
        let mut became_frequent = 0;
        for field in fields_in(changed & present(&values)) {
            let direction = self.direction;
            let Some(known) = self.values.get_mut(values[field] as usize).and_then(Option::as_mut) else {
                continue;
            };
            known.rows.insert(slot, by_position(rows, direction, slot));
            if !known.frequent && known.rows.len() > FREQUENT {
                became_frequent |= 1 << field;
            }
        }
        self.combine(rows, slot, changed, became_frequent);
        for field in fields_in(became_frequent) {
            self.make_frequent(rows, values[field]);
        }
    }

    /// Adds a row to the combinations that name a changed field and no field of `without`.
    fn combine(&mut self, rows: &Slab, slot: u32, changed: u8, without: u8) {
        let values = rows.values(slot);
        let frequent = self.frequent_fields(&values) & !without;
        for fields in combinations_of(frequent).filter(|fields| fields & changed != 0) {
            let list = self.combinations.entry(Combination::of(fields, &values)).or_default();
            list.insert(slot, by_position(rows, self.direction, slot));
        }
    }

    /// Begins the combinations of a value, with all rows that have it.
    fn make_frequent(&mut self, rows: &Slab, value: Value) {
        let Some(known) = self.values.get_mut(value as usize).and_then(Option::as_mut) else { return };
        known.frequent = true;
        let field = 1 << known.field;
        let slots: Vec<u32> = known.rows.from_first().collect();
        for slot in slots {
            self.combine(rows, slot, field, 0);
        }
    }

    /// Takes a row out of the lists that name one of these fields, while the slab still holds the values that it is
    /// listed by. Values that no row has any more are forgotten.
    pub fn remove(&mut self, rows: &Slab, slot: u32, changed: u8) {
        let values = rows.values(slot);
        for fields in combinations_of(self.frequent_fields(&values)).filter(|fields| fields & changed != 0) {
            let combination = Combination::of(fields, &values);
            if let Some(list) = self.combinations.get_mut(&combination) {
                list.remove(slot, by_position(rows, self.direction, slot));
                if list.is_empty() {
                    self.combinations.remove(&combination);
                }
            }
        }
        for field in fields_in(changed & present(&values)) {
            let Some(entry) = self.values.get_mut(values[field] as usize) else { continue };
            let Some(known) = entry else { continue };
            known.rows.remove(slot, by_position(rows, self.direction, slot));
            if known.rows.is_empty() && !self.keeps_unused {
                self.numbers[field].remove(&known.bytes);
                *entry = None;
                self.vacant.push(values[field]);
            }
        }
    }

    /// Forgets the values that no row has: of rows that changed before they were listed.
    pub fn forget_unused(&mut self) {
        self.keeps_unused = false;
        for (value, entry) in self.values.iter_mut().enumerate() {
            if let Some(known) = entry.as_ref().filter(|known| known.rows.is_empty()) {
                self.numbers[known.field].remove(&known.bytes);
                *entry = None;
                self.vacant.push(value as Value);
            }
        }
    }

    fn frequent_fields(&self, values: &Values) -> u8 {
        let is_frequent = |field: &usize| self.is_frequent(values[*field]);
        fields_in(present(values)).filter(is_frequent).fold(0, |fields, field| fields | 1 << field)
    }
}

impl Combination {
    fn of(fields: u8, row: &Values) -> Self {
        let values =
            std::array::from_fn(|field| if fields & (1 << field) == 0 { ABSENT } else { row[field] });
        Self { fields, values }
    }
}

/// How any row stands to the one in a slot.
pub(super) fn by_position(rows: &Slab, direction: Direction, slot: u32) -> impl Fn(u32) -> Ordering + '_ {
    let place = Position { order: rows.order(slot), id: rows.id(slot) };
    move |other| direction.compare(Position { order: rows.order(other), id: rows.id(other) }, place)
}

/// The bits of the fields that a row has.
fn present(values: &Values) -> u8 {
    (0..MAX_FILTERS).filter(|field| values[*field] != ABSENT).fold(0, |fields, field| fields | 1 << field)
}

fn fields_in(fields: u8) -> impl Iterator<Item = usize> {
    (0..MAX_FILTERS).filter(move |field| fields & (1 << field) != 0)
}

/// Every choice of two or more of these fields.
fn combinations_of(fields: u8) -> impl Iterator<Item = u8> {
    (0u8..1 << MAX_FILTERS).filter(move |some| some & !fields == 0 && some.count_ones() > 1)
}

/// The bits of all fields.
pub const ALL_FIELDS: u8 = (1 << MAX_FILTERS) - 1;

/// A hasher for the module's own numbers, which nobody outside can choose: multiplication by an odd constant (the
/// golden ratio in 64 bits) and a rotation that brings the high bits down.
#[derive(Debug, Default)]
struct Mixing(u64);

impl Hasher for Mixing {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
}
