//! The language in which the operations are written down: commands as one would type them, with names in angle brackets for
//! what differs from one to the next.
//!
//! `;` stands between commands that are sent together, `|` where the client waits for the answer before it goes on.

use redis::Cmd;

use crate::support::data::Data;

/// How many keys the operations share that do not need one of their own.
const HOT: usize = 1000;
/// How many histories a connection has.
pub const SLOTS: usize = 8;
/// The bytes of an event.
const EVENT: usize = 200;
/// A time in the past, in ms since the epoch.
const PAST: u64 = 1_700_000_000_000;
/// A prime beyond any number of rows: its multiples meet every row before they meet one twice.
const STRIDE: usize = 1_000_000_007;

/// What a command is about: which one of its kind it is, and who sends it.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The tasks: first those of the table, then new ones.
    pub data: &'a Data,
    /// How many tasks and waiting jobs there are.
    pub rows: usize,
    /// The number of the operation.
    pub operation: usize,
    /// The connection that sends it.
    pub connection: usize,
    /// The number of the operation among those of the connection.
    pub turn: usize,
}

/// The commands of each round trip.
pub fn trips(text: &str, place: &Place<'_>) -> Vec<Vec<Cmd>> {
    let commands = |trip: &str| trip.split(" ; ").map(|command| command_of(command, place)).collect();
    text.split(" | ").map(commands).collect()
}

/// How often the client waits for an answer.
pub fn count_trips(text: &str) -> usize {
    text.split(" | ").count()
}

fn command_of(text: &str, place: &Place<'_>) -> Cmd {
    let mut command = Cmd::new();
    for word in text.split_ascii_whitespace() {
        match word.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
            // A name that is a word of its own may stand for several.
            Some(name) if !name.contains('<') => command.arg(place.words(name)),
            _ => command.arg(place.filled(word)),
        };
    }
    command
}

impl Place<'_> {
    /// A word with names in it.
    fn filled(&self, word: &str) -> String {
        let mut parts = word.split('<');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('>').unwrap_or((part, ""));
            text.push_str(&self.words(name).concat());
            text.push_str(rest);
        }
        text
    }

    fn words(&self, name: &str) -> Vec<String> {
        let Self { data, rows, operation, connection, turn } = *self;
        let task = || data.task(rows + operation);
        let one = match name {
            "operation" => operation.to_string(),
            "connection" => connection.to_string(),
            "turn" => turn.to_string(),
            // The events of a connection are numbered from one.
            "nth" => (turn + 1).to_string(),
            "hot" => (operation % HOT).to_string(),
            "slot" => (turn % SLOTS).to_string(),
            // A row that has been in the table all along, in no order.
            "row" => data.task(operation.wrapping_mul(STRIDE) % rows).key(),
            // A row of the round.
            "task" => task().key(),
            "task-id" => task().id(),
            "task-fields" | "enqueued-fields" => {
                let fields = task().fields().into_iter();
                return fields
                    .flat_map(|(field, value)| match (name, field) {
                        ("enqueued-fields", "status") => [field.to_owned(), "enqueued".to_owned()],
                        _ => [field.to_owned(), value],
                    })
                    .collect();
            }
            // Ids of a uniform length, older than all that wait.
            "job-id" => format!("job-{operation:08}"),
            "job" => format!("miroir:jobs:job-{operation:08}"),
            "job-created" => (PAST + operation as u64).to_string(),
            "waiting-created" => (2 * PAST + operation as u64).to_string(),
            "job-fields" => {
                let params = format!(r#"{{"index_uid":"shop-{:02}-products","batch":1000}}"#, operation % 50);
                return ["type", "reindex", "params", &params].map(str::to_owned).to_vec();
            }
            "uid" => (1_000_000 + operation).to_string(),
            "time" => (PAST + operation as u64).to_string(),
            "event" => {
                let start = format!(r#"{{"seq":{operation},"op":"documentAdditionOrUpdate","doc":""#);
                format!("{start:x<width$}\"}}", width = EVENT - 2)
            }
            "sha" => format!("{operation:064x}"),
            // The runs of a round come after those before it.
            "ran" => (2 * PAST + turn as u64).to_string(),
            "ran-before" => (PAST + turn as u64).to_string(),
            "run" => self.run(2 * PAST),
            "run-before" => self.run(PAST),
            "history" => {
                let flip = |number| format!(r#"{{"uid":"products-v{number:04}","flipped_at":{PAST}}}"#);
                format!("[{}]", (1..=10).map(flip).collect::<Vec<_>>().join(","))
            }
            _ => panic!("an operation names <{name}>, which nobody knows"),
        };
        vec![one]
    }

    fn run(&self, start: u64) -> String {
        format!(
            r#"{{"canary_id":"check-{}-{}","ran_at":{},"status":"pass","latency_ms":12,"failed_assertions_json":null}}"#,
            self.connection,
            self.turn % SLOTS,
            start + self.turn as u64
        )
    }
}
