//! One page of a list: order, position, slice.

use std::cmp::Ordering;

use crate::schema::Order;

/// What a row is ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The time of the row in ms; 0 where it has none, and in tables that are ordered by id.
    pub time: i64,
    /// The id.
    pub id: Vec<u8>,
}

/// Which rows of a list are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Only rows behind this position.
    pub after: Option<Position>,
    /// How many of those are skipped.
    pub offset: usize,
    /// How many are answered at most.
    pub count: usize,
}

/// Which of two rows comes first.
#[must_use]
pub fn compare(order: Order, a: &Position, b: &Position) -> Ordering {
    let by_time = match order {
        Order::Id => Ordering::Equal,
        Order::Newest(_) => b.time.cmp(&a.time),
        Order::Oldest(_) => a.time.cmp(&b.time),
    };
    by_time.then_with(|| a.id.cmp(&b.id))
}

/// Orders the rows and cuts out the page.
#[must_use]
pub fn cut(order: Order, mut rows: Vec<Position>, page: &Page) -> Vec<Vec<u8>> {
    if let Some(after) = &page.after {
        rows.retain(|row| compare(order, row, after) == Ordering::Greater);
    }
    rows.sort_by(|a, b| compare(order, a, b));
    rows.into_iter().skip(page.offset).take(page.count).map(|row| row.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Vec<Position>> {
        proptest::collection::btree_map("[a-c]{1,3}", 0i64..5, 0..30).prop_map(|rows| {
            rows.into_iter().map(|(id, time)| Position { time, id: id.into_bytes() }).collect()
        })
    }

    const ORDERS: [Order; 3] = [Order::Id, Order::Newest("t"), Order::Oldest("t")];

    proptest! {
        #[test]
        fn pages_joined_are_the_whole_list(rows in rows(), size in 1usize..7) {
            for order in ORDERS {
                let whole = cut(order, rows.clone(), &Page { after: None, offset: 0, count: usize::MAX });
                let by_offset: Vec<_> = (0..).step_by(size)
                    .map(|offset| cut(order, rows.clone(), &Page { after: None, offset, count: size }))
                    .take_while(|page| !page.is_empty()).flatten().collect();
                prop_assert_eq!(&by_offset, &whole);

                let mut by_position = Vec::new();
                let mut after = None;
                loop {
                    let page = cut(order, rows.clone(), &Page { after: after.clone(), offset: 0, count: size });
                    let Some(last) = page.last() else { break };
                    after = rows.iter().find(|row| row.id == *last).cloned();
                    by_position.extend(page);
                }
                prop_assert_eq!(&by_position, &whole);
            }
        }
    }

    #[test]
    fn ties_go_by_id() {
        let row = |time, id: &[u8]| Position { time, id: id.to_vec() };
        let rows = vec![row(1, b"b"), row(2, b"z"), row(1, b"a")];
        let all = Page { after: None, offset: 0, count: 9 };
        assert_eq!(cut(Order::Newest("t"), rows.clone(), &all), [b"z", b"a", b"b"]);
        assert_eq!(cut(Order::Oldest("t"), rows, &all), [b"a", b"b", b"z"]);
    }
}
