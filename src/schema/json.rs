//! JSON fields: whether a text parses and has the form that a field wants, and the few forms that the module
//! itself reads and writes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::Serialize;

/// The form of a JSON field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any value.
    Any,
    /// An object of anything.
    Object,
    /// An array of anything.
    Array,
    /// An object of whole numbers from 0.
    Uints,
    /// An object of strings.
    Texts,
    /// An array of strings.
    Strings,
    /// An array of [`Flip`]s.
    Flips,
}

impl Form {
    /// What is accepted, as an error says it.
    #[must_use]
    pub fn expected(self) -> &'static str {
        match self {
            Self::Any => "JSON, at most 127 deep, its numbers in the range of a double",
            Self::Object => "a JSON object, at most 127 deep, its numbers in the range of a double",
            Self::Array => "a JSON array, at most 127 deep, its numbers in the range of a double",
            Self::Uints => "a JSON object of integers from 0",
            Self::Texts => "a JSON object of strings",
            Self::Strings => "a JSON array of strings",
            Self::Flips => r#"a JSON array of {"uid":string,"flipped_at":ms}"#,
        }
    }
}

/// One former target of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Flip {
    /// The uid that the alias stood for; several are joined by commas.
    pub uid: String,
    /// When it ceased to, in ms since the epoch.
    pub flipped_at: u64,
}

/// An object of values of one type, in the order of the text. A name that comes twice keeps its last value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries<V>(pub Vec<(String, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Entries<V> {
    /// Sets the value of a name, which keeps its place if it is there already.
    pub fn set(&mut self, name: &str, value: V) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Entries<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::<(String, V)>::new();
                let mut places = std::collections::HashMap::<String, usize>::new();
                while let Some((name, value)) = map.next_entry::<String, V>()? {
                    if let Some(&place) = places.get(&name) {
                        entries[place].1 = value;
                    } else {
                        places.insert(name.clone(), entries.len());
                        entries.push((name, value));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

impl<V: Serialize> Serialize for Entries<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Whether the text is JSON of this form.
#[must_use]
pub fn fits(form: Form, text: &[u8]) -> bool {
    match form {
        Form::Any => parses::<AnyValue>(text),
        Form::Object => parses::<ObjectOf<AnyValue>>(text),
        Form::Array => parses::<ArrayOf<AnyValue>>(text),
        Form::Uints => parses::<ObjectOf<u64>>(text),
        Form::Texts => parses::<ObjectOf<AnyString>>(text),
        Form::Strings => parses::<ArrayOf<AnyString>>(text),
        // A derived structure also reads from an array of its parts, which is not the form here.
        Form::Flips => parses::<ArrayOf<ObjectOf<AnyValue>>>(text) && parses::<ArrayOf<Flip>>(text),
    }
}

/// Reads JSON of a form that the module itself works with.
#[must_use]
pub fn read<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Option<T> {
    serde_json::from_slice(text).ok()
}

/// Writes JSON without spaces.
#[must_use]
pub fn write(value: &impl Serialize) -> Vec<u8> {
    // The types of this module have string keys and no failing parts, so this cannot fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parses<'t, T: Deserialize<'t>>(text: &'t [u8]) -> bool {
    serde_json::from_slice::<T>(text).is_ok()
}

/// Accepts any value and keeps nothing of it. Unlike serde's `IgnoredAny` it looks at every string and counts
/// the depth, so that what is stored can be read back by a client with an ordinary parser.
struct AnyValue;

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = AnyValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E: Error>(self) -> Result<AnyValue, E> {
                Ok(AnyValue)
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<AnyValue, E> {
                Ok(AnyValue)
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<AnyValue, E> {
                Ok(AnyValue)
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<AnyValue, E> {
                Ok(AnyValue)
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<AnyValue, E> {
                Ok(AnyValue)
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<AnyValue, E> {
                Ok(AnyValue)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AnyValue, A::Error> {
                while seq.next_element::<AnyValue>()?.is_some() {}
                Ok(AnyValue)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnyValue, A::Error> {
                while map.next_entry::<AnyString, AnyValue>()?.is_some() {}
                Ok(AnyValue)
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// Accepts a string and keeps nothing of it.
struct AnyString;

impl<'de> Deserialize<'de> for AnyString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = AnyString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<AnyString, E> {
                Ok(AnyString)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Accepts an object whose values are all `V`.
struct ObjectOf<V>(std::marker::PhantomData<V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ObjectOf<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Object<V> {
            type Value = ObjectOf<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<AnyString, V>()?.is_some() {}
                Ok(ObjectOf(std::marker::PhantomData))
            }
        }
        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}

/// Accepts an array whose elements are all `V`.
struct ArrayOf<V>(std::marker::PhantomData<V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ArrayOf<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Array<V> {
            type Value = ArrayOf<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<V>()?.is_some() {}
                Ok(ArrayOf(std::marker::PhantomData))
            }
        }
        deserializer.deserialize_seq(Array(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        let cases: &[(Form, &str, bool)] = &[
            (Form::Object, "{}", true),
            (Form::Object, r#"{"a":[1,2.5,null,true,"é",{"b":"\u00e9"}]}"#, true),
            (Form::Object, "[]", false),
            (Form::Object, "{", false),
            (Form::Object, "{} x", false),
            (Form::Object, r#"{"a":"\ud800"}"#, false),
            (Form::Array, "[]", true),
            (Form::Array, "{}", false),
            (Form::Array, "null", false),
            (Form::Uints, r#"{"node-0":123}"#, true),
            (Form::Uints, r#"{"node-0":18446744073709551615}"#, true),
            (Form::Uints, r#"{"node-0":-1}"#, false),
            (Form::Uints, r#"{"node-0":1.5}"#, false),
            (Form::Uints, r#"{"node-0":"1"}"#, false),
            (Form::Texts, r#"{"node-0":"timeout"}"#, true),
            (Form::Texts, r#"{"node-0":1}"#, false),
            (Form::Strings, r#"["a","b"]"#, true),
            (Form::Strings, r#"["a",1]"#, false),
            (Form::Flips, r#"[{"uid":"v1","flipped_at":1}]"#, true),
            (Form::Flips, r#"[{"uid":"v1"}]"#, false),
            (Form::Flips, r#"[["v1",1]]"#, false),
            (Form::Flips, "[]", true),
            (Form::Any, "3", true),
            (Form::Any, "", false),
        ];
        for (form, text, fit) in cases {
            assert_eq!(fits(*form, text.as_bytes()), *fit, "{form:?} {text}");
        }
        assert!(!fits(Form::Object, b"{\"a\":\"\xff\"}"));
    }

    #[test]
    fn depth_is_limited_and_never_overflows_the_stack() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(fits(Form::Array, nested(127).as_bytes()));
        assert!(!fits(Form::Array, nested(128).as_bytes()));
        assert!(!fits(Form::Array, nested(1_000_000).as_bytes()));
        assert!(!fits(Form::Array, "[".repeat(1_000_000).as_bytes()));
    }

    #[test]
    fn entries_keep_their_order_and_their_last_value() {
        let mut entries: Entries<u64> = read(br#"{"b":1,"a":2,"b":3}"#).unwrap();
        entries.set("a", 9);
        entries.set("c", 4);
        assert_eq!(write(&entries), br#"{"b":3,"a":9,"c":4}"#);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(text: Vec<u8>) {
            for form in [Form::Any, Form::Object, Form::Array, Form::Uints, Form::Texts, Form::Strings, Form::Flips] {
                let _ = fits(form, &text);
            }
        }

        #[test]
        fn what_fits_is_what_an_ordinary_parser_reads(
            text in prop_oneof![
                r#"[\[\]{}",:0-9eE+.\\ntrufals-]{0,24}"#,
                r#"\{("[ab]":(1|"x"|null|\[1e99?9?\]|\{\}|18446744073709551616|"\\ud[89]00"),?){0,4}\}"#,
            ],
            cut: prop::sample::Index
        ) {
            for text in [text.as_bytes(), &text.as_bytes()[..cut.index(text.len() + 1)]] {
                let value = serde_json::from_slice::<serde_json::Value>(text).ok();
                prop_assert_eq!(fits(Form::Any, text), value.is_some());
                let is = |test: fn(&serde_json::Value) -> bool| value.as_ref().is_some_and(test);
                let all_in_object = |test: fn(&serde_json::Value) -> bool| {
                    value.as_ref().and_then(|value| value.as_object()).is_some_and(|object| object.values().all(test))
                };
                prop_assert_eq!(fits(Form::Object, text), is(serde_json::Value::is_object));
                prop_assert_eq!(fits(Form::Array, text), is(serde_json::Value::is_array));
                // Of a name that comes twice the parser keeps one value, and all have to fit.
                prop_assert!(!fits(Form::Uints, text) || all_in_object(serde_json::Value::is_u64));
                prop_assert!(!fits(Form::Texts, text) || all_in_object(serde_json::Value::is_string));
                prop_assert_eq!(fits(Form::Uints, text), read::<Entries<u64>>(text).is_some());
                prop_assert_eq!(fits(Form::Texts, text), read::<Entries<String>>(text).is_some());
            }
        }

        #[test]
        fn depth_is_limited_at_the_same_place_whatever_is_nested(
            parts in prop::collection::vec(any::<bool>(), 1..300), form in prop::sample::select(vec![Form::Any, Form::Array])
        ) {
            let open: String = parts.iter().map(|is_array| if *is_array { "[" } else { "{\"a\":" }).collect();
            let close: String = parts.iter().rev().map(|is_array| if *is_array { "]" } else { "}" }).collect();
            let text = format!("{open}0{close}");
            prop_assert_eq!(fits(form, text.as_bytes()), parts.len() <= 127 && (form == Form::Any || parts[0]));
        }

        #[test]
        fn flips_and_strings_can_be_read_again(flips in prop::collection::vec((".*", any::<u64>()), 0..6)) {
            let flips: Vec<Flip> = flips.into_iter().map(|(uid, flipped_at)| Flip { uid, flipped_at }).collect();
            let uids: Vec<&String> = flips.iter().map(|flip| &flip.uid).collect();
            let (text, strings) = (write(&flips), write(&uids));
            prop_assert!(fits(Form::Flips, &text) && fits(Form::Strings, &strings));
            let read_again: Vec<String> = read(&strings).unwrap();
            prop_assert_eq!(read_again.iter().collect::<Vec<_>>(), uids);
            prop_assert_eq!(read::<Vec<Flip>>(&text), Some(flips));
        }

        #[test]
        fn an_entry_that_is_set_is_the_last_word_on_it(pairs in prop::collection::vec(("[abé]{0,2}", any::<u64>()), 0..12)) {
            let mut entries = Entries::default();
            pairs.iter().for_each(|(name, number)| entries.set(name, *number));
            let written: Vec<String> = pairs.iter().map(|(name, number)| format!("\"{name}\":{number}")).collect();
            let twice = format!("{{{}}}", written.join(","));
            let read_again = read::<Entries<u64>>(twice.as_bytes());
            prop_assert_eq!(read_again, Some(entries.clone()));
            let last: std::collections::HashMap<_, _> = pairs.into_iter().collect();
            prop_assert_eq!(entries.0.len(), last.len());
            prop_assert!(entries.0.iter().all(|(name, number)| last[name] == *number));
        }

        #[test]
        fn what_is_written_can_be_read(names in proptest::collection::btree_map(".*", any::<u64>(), 0..20)) {
            let mut entries = Entries::default();
            for (name, number) in &names {
                entries.set(name, *number);
            }
            let text = write(&entries);
            prop_assert!(fits(Form::Uints, &text));
            prop_assert_eq!(read::<Entries<u64>>(&text), Some(entries));
        }
    }
}
