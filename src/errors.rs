//! Every error that a client may read is worded here.
//!
//! The pattern is: what is wrong (a field, an argument, a key), what was expected, what came. The first word
//! is the code that clients switch on.

use std::fmt;

/// The bytes of a value that an error shows at most; longer ones are cut, so that a rejected megabyte does
/// not come back in the reply or in a log.
const SHOWN_BYTES: usize = 64;

/// An error reply: a code, a space, a sentence. Holds no line break and no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

/// What a handler answers.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    fn new(code: &str, sentence: impl fmt::Display) -> Self {
        let text = format!("{code} {sentence}");
        Self(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    }

    /// A value of a field that the table does not accept.
    pub fn field(table: &str, field: &str, expected: impl fmt::Display, got: Option<&[u8]>) -> Self {
        Self::new(
            "ERR",
            format_args!("field '{field}' of table {table}: expected {expected}, got {}", shown(got)),
        )
    }

    /// A field that stands in the database already and cannot be used, as other clients may leave it.
    pub fn stored(table: &str, field: &str, expected: impl fmt::Display, got: Option<&[u8]>) -> Self {
        Self::new(
            "ERR",
            format_args!(
                "stored field '{field}' of table {table}: expected {expected}, found {}",
                shown(got)
            ),
        )
    }

    /// A name that is no field of the table.
    pub fn unknown_field(table: &str, known: &str, got: &[u8]) -> Self {
        Self::new(
            "ERR",
            format_args!("unknown field of table {table}: expected one of {known}, got {}", quoted(got)),
        )
    }

    /// An argument that cannot be read or is out of its range.
    pub fn argument(name: &str, expected: impl fmt::Display, got: Option<&[u8]>) -> Self {
        Self::new("ERR", format_args!("argument '{name}': expected {expected}, got {}", shown(got)))
    }

    /// A length of time that no clock can hold.
    pub fn too_far(name: &str, milliseconds: i64) -> Self {
        let got = milliseconds.to_string();
        Self::argument(name, "a time in ms within the range of the clock", Some(got.as_bytes()))
    }

    /// A key that the command cannot work on.
    pub fn key(key: &[u8], expected: impl fmt::Display) -> Self {
        Self::new("ERR", format_args!("key {}: expected {expected}", quoted(key)))
    }

    /// An operation that the rules of the table forbid.
    pub fn refused(sentence: impl fmt::Display) -> Self {
        Self::new("ERR", sentence)
    }

    /// A fence whose lease is not held with that token; `held` is the token of the tenure that runs, if one does.
    #[must_use]
    pub fn stale(lease: &[u8], held: Option<i64>, got: i64) -> Self {
        let lease = quoted(lease);
        match held {
            Some(held) => Self::new(
                "STALE",
                format_args!(
                    "fence on lease {lease}: expected {held}, the token of the tenure that runs, got {got}"
                ),
            ),
            None => Self::new(
                "STALE",
                format_args!(
                    "fence on lease {lease}: expected a tenure that runs, with the token {got}, found none"
                ),
            ),
        }
    }

    /// A foreign value at a key; the wording is the server's own.
    #[must_use]
    pub fn wrong_type() -> Self {
        Self::new("WRONGTYPE", "Operation against a key holding the wrong kind of value")
    }

    /// A structure of several keys in a cluster, without a hash tag that keeps them together.
    #[must_use]
    pub fn cross_slot(table: &str, namespace: &[u8]) -> Self {
        Self::new(
            "CROSSSLOT",
            format_args!(
                "several keys of table {table} have to be in one slot: expected a hash tag in the namespace, such as {{miroir}}, got {}",
                quoted(namespace)
            ),
        )
    }

    /// Keys of one structure are on two nodes while their slot moves.
    #[must_use]
    pub fn slot_is_moving() -> Self {
        Self::new("TRYAGAIN", "Some keys of this structure are on another node while their slot moves")
    }

    /// A replica is asked to write, in the server's own words.
    #[must_use]
    pub fn read_only() -> Self {
        Self::new("READONLY", "You can't write against a read only replica.")
    }

    /// A native command that the client itself might not run.
    #[must_use]
    pub fn no_permission(command: &str) -> Self {
        Self::new("NOPERM", format_args!("REPAIR needs the right to run {command} on the keys that it mends"))
    }

    /// More memory is used than is allowed, in the server's own words.
    #[must_use]
    pub fn out_of_memory() -> Self {
        Self::new("OOM", "command not allowed when used memory > 'maxmemory'.")
    }

    /// The catalog is being made; so many per cent of the keys are in it.
    #[must_use]
    pub fn catalog_not_ready(percent: u64) -> Self {
        let sentence =
            format_args!("The catalog is being rebuilt from the keys, {percent}% are done; see INFO miroir");
        Self::new("TRYAGAIN", sentence)
    }

    /// A fault of the module itself. The data may be looked at with MIROIR.AUDIT.
    pub fn internal(what: impl fmt::Display) -> Self {
        Self::new("ERR", format_args!("internal error in miroir: {what}"))
    }

    /// An error that the server gave for a native command, code and all.
    #[must_use]
    pub fn from_server(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (code, sentence) = text.split_once(' ').unwrap_or(("ERR", &text));
        // Redis 7.0 says it of a module's command in words of its own.
        let code = if sentence.starts_with("acl verification failed") { "NOPERM" } else { code };
        Self::new(code, sentence)
    }

    /// The line as it goes to the client.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn shown(got: Option<&[u8]>) -> String {
    got.map_or_else(|| "nothing".to_owned(), quoted)
}

fn quoted(bytes: &[u8]) -> String {
    let cut = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let more = if bytes.len() > cut.len() { format!(" ({} bytes)", bytes.len()) } else { String::new() };
    format!("'{}'{more}", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_contracts_example() {
        let failure = Failure::field(
            "tasks",
            "status",
            "one of enqueued|processing|succeeded|failed|canceled",
            Some(b"done"),
        );
        assert_eq!(
            failure.text(),
            "ERR field 'status' of table tasks: expected one of enqueued|processing|succeeded|failed|canceled, got 'done'"
        );
    }

    #[test]
    fn hostile_values_stay_on_one_line_and_short() {
        let failure = Failure::argument("limit", "an integer", Some(&[b'\r'; 1 << 20]));
        assert!(failure.text().len() < 200);
        assert!(!failure.text().contains(['\r', '\n', '\0']));
        assert!(failure.text().ends_with("(1048576 bytes)"));
    }

    #[test]
    fn what_is_missing_is_called_nothing() {
        assert!(Failure::field("jobs", "type", "text", None).text().ends_with("got nothing"));
    }

    proptest! {
        #[test]
        fn an_error_is_one_short_line_whatever_came(got: Vec<u8>, name in ".{0,20}") {
            for failure in [
                Failure::argument(&name, "a thing", Some(&got)),
                Failure::key(&got, "a key"),
                Failure::unknown_field("tasks", "a|b", &got),
                Failure::stored("tasks", &name, "text", Some(&got)),
                Failure::stale(&got, None, i64::MIN),
                Failure::cross_slot("tasks", &got),
            ] {
                prop_assert!(!failure.text().contains(char::is_control), "{failure}");
                prop_assert!(failure.text().len() < 600, "{failure}");
                prop_assert!(["ERR ", "STALE ", "CROSSSLOT "].iter().any(|code| failure.text().starts_with(code)));
            }
            let told = Failure::from_server(&got);
            prop_assert!(!told.text().contains(char::is_control));
        }
    }
}
