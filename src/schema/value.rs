//! What values a field takes.

use super::json::{self, Form};

/// The kind of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any bytes.
    Text,
    /// A whole number from this one up to the largest that fits 63 bits.
    Uint(i64),
    /// A time in ms since the epoch.
    Time,
    /// `0` or `1`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// 64 hexadecimal digits.
    Sha256,
    /// JSON of this form.
    Json(Form),
}

impl Kind {
    /// What is accepted, as an error says it.
    #[must_use]
    pub fn expected(self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Uint(least) => format!("an integer from {least} to {}", i64::MAX),
            Self::Time => format!("a time in ms from 0 to {}", i64::MAX),
            Self::Flag => "0 or 1".to_owned(),
            Self::OneOf(words) => format!("one of {}", words.join("|")),
            Self::Sha256 => "64 hexadecimal digits".to_owned(),
            Self::Json(form) => form.expected().to_owned(),
        }
    }

    /// Whether the value is one of this kind.
    #[must_use]
    pub fn accepts(self, value: &[u8]) -> bool {
        match self {
            Self::Text => true,
            Self::Uint(least) => integer(value).is_some_and(|number| number >= least),
            Self::Time => integer(value).is_some_and(|number| number >= 0),
            Self::Flag => matches!(value, b"0" | b"1"),
            Self::OneOf(words) => words.iter().any(|word| word.as_bytes() == value),
            Self::Sha256 => value.len() == 64 && value.iter().all(u8::is_ascii_hexdigit),
            Self::Json(form) => json::fits(form, value),
        }
    }
}

/// Reads a decimal integer as the server does: no sign but a leading minus, no leading zeros, no spaces,
/// nothing outside of 64 bits. So each number has exactly one text.
#[must_use]
pub fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_integer_has_exactly_one_text(number: i64) {
            let text = number.to_string();
            prop_assert_eq!(integer(text.as_bytes()), Some(number));
            let longer = format!("0{text}");
            prop_assert_eq!(integer(longer.as_bytes()), None);
        }

        #[test]
        fn numbers_fit_from_the_least_one_on(
            number in prop_oneof![any::<i64>(), -2_i64..4, (i64::MAX - 2)..=i64::MAX, i64::MIN..=(i64::MIN + 2)],
            least in prop_oneof![any::<i64>(), 0_i64..3]
        ) {
            let text = number.to_string();
            prop_assert_eq!(Kind::Uint(least).accepts(text.as_bytes()), number >= least);
            prop_assert_eq!(Kind::Time.accepts(text.as_bytes()), number >= 0);
            // Nine digits more are a number to nobody here.
            let longer = format!("{text}000000000");
            prop_assert_eq!(integer(longer.as_bytes()), longer.parse::<i64>().ok().filter(|_| number != 0));
        }

        #[test]
        fn every_field_of_every_table_judges_any_value(value in prop_oneof![any::<Vec<u8>>(), "[0-9a-f{}]{0,70}".prop_map(String::into_bytes)]) {
            for field in crate::schema::TABLES.iter().flat_map(|table| table.fields) {
                let fits = field.kind.accepts(&value);
                match field.kind {
                    Kind::Text => prop_assert!(fits),
                    Kind::OneOf(words) => prop_assert_eq!(fits, words.iter().any(|word| value == word.as_bytes())),
                    Kind::Uint(_) | Kind::Time | Kind::Flag => prop_assert!(!fits || integer(&value).is_some()),
                    Kind::Sha256 => prop_assert!(!fits || value.len() == 64),
                    Kind::Json(_) => prop_assert!(!fits || serde_json::from_slice::<serde_json::Value>(&value).is_ok()),
                }
                prop_assert!(!field.kind.expected().is_empty());
            }
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(value: Vec<u8>) {
            for kind in [Kind::Text, Kind::Uint(1), Kind::Time, Kind::Flag, Kind::Sha256, Kind::OneOf(&["a"])] {
                let _ = kind.accepts(&value);
            }
            if let Some(number) = integer(&value) {
                prop_assert_eq!(number.to_string().into_bytes(), value);
            }
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(integer(b"9223372036854775808"), None);
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        for bad in [&b""[..], b"-", b"-0", b"+1", b" 1", b"1 ", b"01", b"1.0", b"1e3", b"0x1", "١".as_bytes()]
        {
            assert_eq!(integer(bad), None, "{bad:?}");
        }
        assert!(Kind::Uint(1).accepts(b"1") && !Kind::Uint(1).accepts(b"0"));
        assert!(Kind::Time.accepts(b"0") && !Kind::Time.accepts(b"-1"));
    }

    #[test]
    fn words_flags_and_hashes() {
        assert!(Kind::OneOf(&["single", "multi"]).accepts(b"multi"));
        assert!(!Kind::OneOf(&["single", "multi"]).accepts(b"Multi"));
        assert!(Kind::Flag.accepts(b"0") && !Kind::Flag.accepts(b"true"));
        assert!(Kind::Sha256.accepts(&[b'a'; 64]) && !Kind::Sha256.accepts(&[b'g'; 64]));
        assert!(!Kind::Sha256.accepts(&[b'a'; 63]));
    }
}
