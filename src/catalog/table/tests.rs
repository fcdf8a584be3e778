//! The rows of a table against a model that looks at every row.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::select::{Filter, Selection};
use super::*;
use crate::schema;

const NOW: i64 = 50;

fn facts() -> impl Strategy<Value = Facts> {
    let value =
        |most: u8| prop_oneof![1 => Just(None), 4 => (0..most).prop_map(|value| Some(vec![b'a' + value]))];
    let form = prop_oneof![8 => Just(Form::Compact), 1 => Just(Form::Dispersed), 1 => Just(Form::Large)];
    let time = |most: i64| proptest::option::weighted(0.3, 0..most);
    let size = (1u64..1000, any::<bool>());
    (0i64..8, size, time(100), time(10), time(100), value(2), value(12), value(3), form).prop_map(
        |(order, (payload, counted), expires_at, ended_at, claim_ends_at, first, second, third, form)| {
            Facts {
                order,
                payload,
                counted,
                expires_at,
                true_until: None,
                ended_at,
                claim_ends_at,
                values: [first, second, third, None],
                form,
            }
        },
    )
}

/// Ids are few, so that rows change and go; values of the first field are frequent, those of the second hardly.
fn steps() -> impl Strategy<Value = Vec<(u16, Option<Facts>)>> {
    proptest::collection::vec((0u16..700, proptest::option::weighted(0.8, facts())), 0..2000)
}

fn wanted() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0usize..3, 0u8..13), 0..5)
}

fn rows_in_order<'m>(table: &Table, model: &'m BTreeMap<Vec<u8>, Facts>) -> Vec<(&'m Vec<u8>, &'m Facts)> {
    let mut rows: Vec<_> =
        model.iter().filter(|(_, facts)| facts.expires_at.is_none_or(|end| end >= NOW)).collect();
    let newest_first = matches!(table.order, Order::Newest(_));
    rows.sort_by_key(|(id, facts)| (if newest_first { -facts.order } else { facts.order }, *id));
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn it_answers_like_a_look_at_every_row(
        steps in steps(), wanted in wanted(), after in 0u16..700, offset in 0usize..600, count in 0usize..50,
        gathers: bool, thinned: bool,
    ) {
        for table in [schema::table("tasks").unwrap(), schema::table("jobs").unwrap()] {
            let (mut rows, mut model) = (Rows::new(table, gathers), BTreeMap::new());
            for (place, (id, facts)) in steps.iter().enumerate() {
                // Changes come before, while and after the rows are listed.
                if place > steps.len() / 3 && place % 3 == 0 {
                    rows.list_some(1);
                    // Claims run out while rows come and go.
                    rows.lapse(place as i64 % NOW);
                }
                let id = id.to_string().into_bytes();
                match facts {
                    Some(facts) => {
                        let is_new = model.insert(id.clone(), facts.clone()).is_none();
                        prop_assert_eq!(rows.put(&id, facts), is_new);
                    }
                    None => prop_assert_eq!(rows.remove(&id), model.remove(&id).is_some()),
                }
            }
            while rows.list_some(7) {}
            if thinned {
                // So few are left that they move to lower slots.
                model.retain(|id, _| id.ends_with(b"7") || !rows.remove(id));
                prop_assert!(!rows.slab().is_sparse());
            }
            // A clock that is set back does not bring claims back.
            rows.lapse(NOW);
            rows.lapse(NOW - 10);
            let sum = |rows: &[(&Vec<u8>, &Facts)]| rows.iter().map(|(_, facts)| facts.payload).sum::<u64>();
            let living = rows_in_order(table, &model);
            let totals = rows.totals(NOW);
            prop_assert_eq!((totals.rows, totals.payload_bytes), (living.len(), sum(&living)));
            prop_assert_eq!(totals.expiring, living.iter().filter(|(_, facts)| facts.expires_at.is_some()).count());
            prop_assert!(model.iter().all(|(id, facts)| rows.agrees(id, facts)));
            let uncounted: Vec<_> = model.iter().filter(|(_, facts)| !facts.counted).map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(BTreeSet::from_iter(rows.uncounted()), BTreeSet::from_iter(uncounted));

            let mut filter = Filter::default();
            wanted.iter().for_each(|(field, value)| filter.allow(*field, &[b'a' + value]));
            let admits = |facts: &Facts| (0..3).all(|field| {
                let mut values = wanted.iter().filter(|(of, _)| *of == field).peekable();
                values.peek().is_none() || values.any(|(_, value)| facts.values[field] == Some(vec![b'a' + value]))
            });
            let expected: Vec<_> = living.into_iter().filter(|(_, facts)| admits(facts)).collect();
            let selection = Selection::new(&rows, &filter, NOW);
            prop_assert_eq!(selection.count(), expected.len());
            for field in 0..3 {
                let counted: BTreeMap<_, _> =
                    selection.count_by(field).into_iter().filter(|(_, rows)| *rows > 0).collect();
                let mut expected_counts = BTreeMap::<&[u8], usize>::new();
                for value in expected.iter().filter_map(|(_, facts)| facts.values[field].as_deref()) {
                    *expected_counts.entry(value).or_default() += 1;
                }
                prop_assert_eq!(counted, expected_counts);
            }
            let ids = |slots: Vec<u32>| slots.into_iter().map(|slot| rows.slab().id(slot).to_vec()).collect::<Vec<_>>();
            let page: Vec<_> = expected.iter().skip(offset).take(count).map(|(id, _)| (*id).clone()).collect();
            prop_assert_eq!(ids(selection.page(None, offset, count)), page);

            let after = after.to_string().into_bytes();
            if let Some(position) = rows.position(&after, NOW) {
                let all = rows_in_order(table, &model);
                let place = all.iter().position(|(id, _)| **id == after).unwrap();
                let behind: Vec<_> = all[place + 1..].iter().filter(|(_, facts)| admits(facts)).skip(offset / 10).take(count)
                    .map(|(id, _)| (*id).clone()).collect();
                prop_assert_eq!(ids(selection.page(Some(position), offset / 10, count)), behind);
            }

            let mut ended: Vec<_> = rows_in_order(table, &model).into_iter()
                .filter_map(|(id, facts)| facts.ended_at.filter(|time| *time < 7).map(|time| (time, id.clone()))).collect();
            ended.sort();
            let ended: Vec<_> = ended.into_iter().take(count).map(|(_, id)| id).collect();
            prop_assert_eq!(rows.ended_before(7, count, NOW), ended);

            let has_lapsed = |facts: &Facts| facts.claim_ends_at.is_some_and(|end| end <= NOW);
            let mut lapsed: Vec<_> =
                model.iter().filter(|(_, facts)| has_lapsed(facts)).map(|(id, facts)| (facts.claim_ends_at, id.clone())).collect();
            lapsed.sort();
            let lapsed: Vec<_> = lapsed.into_iter().map(|(_, id)| id).collect();
            prop_assert_eq!(ids(rows.claims().ended(rows.slab(), NOW).collect()), lapsed);
            let (mut waiting, anything) = (Filter::default(), Filter::default());
            waiting.allow(0, b"nothing");
            let to_claim = Selection::new(&rows, &waiting, NOW).and(rows.claims().lapsed(), &anything);
            let all = rows_in_order(table, &model).into_iter().filter(|(_, facts)| has_lapsed(facts));
            let expected: Vec<_> = all.skip(offset / 20).take(count).map(|(id, _)| id.clone()).collect();
            prop_assert_eq!(ids(to_claim.page(None, offset / 20, count)), expected);

            let samples = rows.samples(usize::MAX);
            let picked: usize = samples.iter().map(|sample| sample.picked.len()).sum();
            prop_assert_eq!(picked, model.len());
            prop_assert!(rows.samples(5).iter().all(|sample| sample.picked.len() <= 5));

            model.keys().for_each(|id| assert!(rows.remove(id)));
            prop_assert!(rows.is_empty() && rows.lists().all().is_empty());
            prop_assert!(rows.claims().lapsed().is_empty() && rows.claims().ended(rows.slab(), i64::MAX).next().is_none());
            prop_assert!((0..3).all(|field| rows.lists().values_of(field).next().is_none()));
        }
    }
}
