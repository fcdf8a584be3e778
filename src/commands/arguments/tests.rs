//! Whatever the arguments are, reading them answers what it promises, or an error, and never takes more than is there.

use super::*;
use crate::server::string::pretend;
use proptest::collection::vec;
use proptest::prelude::*;

/// Words that a reader may take, mixed with any others.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        prop::sample::select(vec!["NX", "nx", "LIMIT", "a", "b", "A", "", "0", "-0", "{}", "[", "é", "\0"])
            .prop_map(|word| word.as_bytes().to_vec()),
    ]
}

/// Takes something, as the number says, and asserts what that promises.
fn take(arguments: &mut Arguments<'_>, what: u8, range: RangeInclusive<i64>) -> Result<(), TestCaseError> {
    let before = arguments.rest();
    let first = before.first().map(|word| word.bytes());
    let taken = match what {
        0 => arguments.next("x").map(|word| prop_assert_eq_(Some(word.bytes()), first)),
        1 => arguments.take("x", 3).map(|words| prop_assert_eq_(words.len(), 3)),
        2 => arguments.expect_word("LIMIT").map(|()| {
            prop_assert!(first.is_some_and(|first| first.eq_ignore_ascii_case(b"limit")));
            Ok(())
        }),
        3 => arguments.integer("x", range.clone()).map(|number| {
            prop_assert!(range.contains(&number));
            prop_assert_eq_(Some(number.to_string().as_bytes()), first)
        }),
        4 => arguments
            .size("x", 0..=i64::MAX)
            .map(|size| prop_assert_eq_(Some(size.to_string().as_bytes()), first)),
        5 => arguments.name("x").map(|(_, name)| {
            prop_assert!((1..=512).contains(&name.len()) && !name.contains(char::is_control));
            prop_assert_eq_(Some(name.as_bytes()), first)
        }),
        6 => arguments.one_of("x", &["a", "b"]).map(|word| prop_assert_eq_(Some(word.as_bytes()), first)),
        7 => arguments.word_of("x", &["a", "b"]).map(|word| {
            prop_assert!(first.is_some_and(|first| first.eq_ignore_ascii_case(word.as_bytes())));
            Ok(())
        }),
        8 => arguments.text("x", 5).map(|text| {
            prop_assert!(text.len() <= 5);
            prop_assert_eq_(Some(text.as_bytes()), first)
        }),
        9 => arguments.json("x", Form::Any, 100).map(|text| {
            prop_assert!(serde_json::from_str::<serde_json::Value>(text).is_ok());
            Ok(())
        }),
        10 => arguments.unexpected("A|B"),
        _ => arguments.end().map(|()| {
            prop_assert!(first.is_none());
            Ok(())
        }),
    };
    match taken {
        Ok(promise) => promise?,
        Err(failure) => {
            prop_assert!(failure.text().starts_with("ERR argument '"), "{failure}");
            prop_assert!(
                failure.text().len() < 300 && !failure.text().contains(char::is_control),
                "{failure}"
            );
        }
    }
    // What is left is what was there without some words at its front.
    let after = arguments.rest();
    prop_assert!(after.len() <= before.len());
    let behind = &before[before.len() - after.len()..];
    prop_assert!(std::ptr::eq(behind.as_ptr(), after.as_ptr()));
    Ok(())
}

/// As the macro of nearly that name, where an answer is wanted.
fn prop_assert_eq_<T: PartialEq + std::fmt::Debug>(left: T, right: T) -> Result<(), TestCaseError> {
    prop_assert_eq!(left, right);
    Ok(())
}

proptest! {
    #[test]
    fn any_words_are_read_as_promised_or_refused(
        words in vec(word(), 0..8), steps in vec((0_u8..12, any::<i64>(), any::<i64>()), 0..12)
    ) {
        pretend(&words, |all| {
            let mut arguments = Arguments::new(all);
            steps.into_iter().try_for_each(|(what, from, to)| take(&mut arguments, what, from..=to))
        })?;
    }

    #[test]
    fn a_number_is_taken_exactly_when_its_range_holds_it(
        number in prop_oneof![any::<i64>(), (i64::MAX - 3)..=i64::MAX, i64::MIN..=(i64::MIN + 3), -3_i64..3],
        from in prop_oneof![any::<i64>(), Just(i64::MIN), Just(0)],
        to in prop_oneof![any::<i64>(), Just(i64::MAX), Just(0)],
    ) {
        pretend(&[number.to_string().into_bytes()], |all| {
            let mut arguments = Arguments::new(all);
            let taken = arguments.integer("x", from..=to);
            prop_assert_eq!(taken.is_ok(), from <= number && number <= to);
            prop_assert_eq!(arguments.is_empty(), taken.is_ok());
            Ok(())
        })?;
    }
}

#[test]
fn numbers_behind_the_ends_of_64_bits_are_none() {
    for text in ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "1e18", "+1", ""] {
        pretend(&[text.into()], |all| {
            assert!(Arguments::new(all).integer("x", i64::MIN..=i64::MAX).is_err(), "{text}");
            assert!(Arguments::new(all).size("x", 0..=i64::MAX).is_err(), "{text}");
        });
    }
}
