//! What each field means for its table, worked out while the module is compiled: every write of a row asks for it field by
//! field.

use super::{Field, Order, Origin, Table, TABLES};

/// The most fields that a table has.
const MOST_FIELDS: usize = 15;

/// What a field is for the rows of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Whether a hash without it is a stub, not a row.
    pub is_mark: bool,
    /// Whether it orders the table.
    pub is_order: bool,
    /// Whether it says what a row is at.
    pub is_state: bool,
    /// Whether it holds the end of a claim.
    pub ends_claim: bool,
    /// Which filter takes its value; None where the key says the same.
    pub filter: Option<u8>,
    /// Which of the times it is that date a row that has come to an end.
    pub time: Option<u8>,
}

const NONE: Role =
    Role { is_mark: false, is_order: false, is_state: false, ends_claim: false, filter: None, time: None };

static ROLES: [[Role; MOST_FIELDS]; TABLES.len()] = {
    let mut roles = [[NONE; MOST_FIELDS]; TABLES.len()];
    let mut table = 0;
    while table < TABLES.len() {
        let mut field = 0;
        while field < TABLES[table].fields.len() {
            roles[table][field] = role(&TABLES[table], &TABLES[table].fields[field]);
            field += 1;
        }
        table += 1;
    }
    roles
};

/// The roles of a table's fields, by their positions.
#[must_use]
pub fn of(table: &Table) -> &'static [Role] {
    ROLES.get(table.number()).map_or(&[], |roles| roles.get(..table.fields.len()).unwrap_or_default())
}

const fn role(table: &Table, field: &Field) -> Role {
    let from_key = matches!(field.origin, Origin::Key(_));
    let is_order = match table.order {
        Order::Id => false,
        Order::Newest(name) | Order::Oldest(name) => is_same(name, field.text),
    };
    Role {
        is_mark: if any_is_required(table) { matches!(field.origin, Origin::Required) } else { from_key },
        is_order,
        is_state: matches!(table.state, Some(name) if is_same(name, field.text)),
        ends_claim: matches!(table.claim, Some(claim) if is_same(claim.until, field.text)),
        filter: if from_key { None } else { place(table.filters, field.text) },
        time: match table.prune {
            Some(rule) => place(rule.times, field.text),
            None => None,
        },
    }
}

const fn any_is_required(table: &Table) -> bool {
    let mut field = 0;
    while field < table.fields.len() {
        if matches!(table.fields[field].origin, Origin::Required) {
            return true;
        }
        field += 1;
    }
    false
}

const fn place(names: &[&str], name: &str) -> Option<u8> {
    let mut at = 0;
    while at < names.len() {
        if is_same(names[at], name) {
            return Some(at as u8);
        }
        at += 1;
    }
    None
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_a_table_gives_to_a_part_is_that_of_a_field() {
        for table in TABLES {
            let roles = of(table);
            let count = |is: &dyn Fn(&Role) -> bool| roles.iter().filter(|role| is(role)).count();
            let from_key = |name: &&&str| {
                table.field(name.as_bytes()).is_some_and(|field| matches!(field.origin, Origin::Key(_)))
            };
            assert_eq!(roles.len(), table.fields.len(), "{}", table.name);
            let has_text = |field: &Field| field.name().as_bytes() == field.name.to_bytes();
            assert!(table.fields.iter().all(has_text), "{}", table.name);
            assert_eq!(
                count(&|role| role.is_order),
                usize::from(table.order.field().is_some()),
                "{}",
                table.name
            );
            assert_eq!(count(&|role| role.is_state), usize::from(table.state.is_some()), "{}", table.name);
            assert_eq!(count(&|role| role.ends_claim), usize::from(table.claim.is_some()), "{}", table.name);
            let filters = table.filters.len() - table.filters.iter().filter(from_key).count();
            assert_eq!(count(&|role| role.filter.is_some()), filters, "{}", table.name);
            let times = table.prune.map_or(0, |rule| rule.times.len());
            assert_eq!(count(&|role| role.time.is_some()), times, "{}", table.name);
        }
    }

    #[test]
    fn rows_are_told_by_what_their_client_must_give_or_else_by_what_the_key_says() {
        let marks = |name: &str| {
            let table = super::super::table(name).unwrap();
            table.row_marks().map(Field::name).collect::<Vec<_>>()
        };
        assert_eq!(marks("jobs"), ["type"]);
        assert_eq!(marks("tasks"), ["miroir_id"]);
    }
}
