//! How far an audit is, as a number that a client can keep.

use crate::schema::Table;

/// Where the walks are. As a number: the walk, then what it needs. Below 2^62, so that
/// every client can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursor {
    /// The server's own cursor of SCAN.
    Keys(u64),
    /// The place of an index set, by its table and its name, and the server's own cursor of SSCAN.
    Entries(u64, u64),
    /// A table by its number, and a slot of the catalog.
    Rows(usize, u32),
}

const WALK_BITS: u32 = 60;
const SET_BITS: u32 = 30;
const HASH_BITS: u32 = 25;
const SLOT_BITS: u32 = 32;

impl Cursor {
    /// The one that a client sent back, whatever it is.
    pub(super) fn from_number(number: u64) -> Self {
        let rest = number & ((1 << WALK_BITS) - 1);
        match number >> WALK_BITS {
            0 => Self::Keys(rest),
            1 => Self::Entries(rest >> SET_BITS, rest & ((1 << SET_BITS) - 1)),
            _ => Self::Rows((rest >> SLOT_BITS) as usize, rest as u32),
        }
    }

    /// As the client gets it; more than 0 but at the beginning.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Keys(cursor) => cursor,
            Self::Entries(set, cursor) => 1 << WALK_BITS | set << SET_BITS | cursor,
            Self::Rows(table, slot) => 2 << WALK_BITS | (table as u64) << SLOT_BITS | u64::from(slot),
        }
    }
}

/// The place of an index set in the walk: the same whatever others there are.
pub(super) fn place_of(table: &Table, set: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = set.iter().fold(0xcbf2_9ce4_8422_2325, step);
    (table.number() as u64) << HASH_BITS | hash >> (64 - HASH_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cursors_are_numbers_and_back() {
        assert_eq!(Cursor::from_number(0), Cursor::Keys(0));
        for cursor in [
            Cursor::Keys((1 << WALK_BITS) - 1),
            Cursor::Entries(0, 0),
            Cursor::Entries(3, (1 << SET_BITS) - 1),
            Cursor::Rows(0, 0),
            Cursor::Rows(19, u32::MAX),
        ] {
            assert_eq!(Cursor::from_number(cursor.number()), cursor);
            assert!(cursor.number() > 0, "{cursor:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_back_is_a_place_and_stays_it(number: u64) {
            let cursor = Cursor::from_number(number);
            prop_assert_eq!(Cursor::from_number(cursor.number()), cursor);
            prop_assert!(cursor.number() < 1 << 62);
            if number >> WALK_BITS <= 2 {
                prop_assert_eq!(cursor.number(), number);
            }
        }
    }
}
