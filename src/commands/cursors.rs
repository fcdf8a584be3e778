//! MIROIR.CURSOR.*: how far a sink has come in the events of an index.

use super::arguments::Arguments;
use super::fence::guarded;
use super::rows::circumstances;
use super::syntax::{FENCE, KEY};
use super::target;
use super::write;
use crate::errors::{Failure, Outcome};
use crate::rules::row::{self, Life, Plan};
use crate::schema::value::integer;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::rows;

const TABLE: &str = "cdc_cursors";
const FIELD: &str = "last_event_seq";

/// MIROIR.CURSOR.ADVANCE.
pub const ADVANCE: Command = Command {
    name: "MIROIR.CURSOR.ADVANCE",
    entry: entry(|context, arguments| guarded(context, &ADVANCE, arguments, advance)),
    summary: "Moves a cursor forward; one that is missing stands at 0.",
    complexity: "O(F), F the number of fields of the cursor.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[
        KEY,
        Argument::new("seq", Kind::Integer),
        Argument::new("old", Kind::Integer).behind("IFSEQ").optional(),
        FENCE,
    ],
    reply:
        "`[1, seq]` advanced, `[0, current]` refused: it would not go forward, or does not stand at IFSEQ.",
};

fn advance(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let seq_argument = arguments.rest().first().copied();
    let seq = arguments.integer("seq", 0..=i64::MAX)?;
    let if_seq =
        if arguments.take_word("IFSEQ") { Some(arguments.integer("IFSEQ", 0..=i64::MAX)?) } else { None };
    arguments.end()?;

    let table = target.address.table;
    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    let current = match row::present(&stored, FIELD) {
        None => 0,
        Some(text) => {
            let number = integer(text).filter(|seq| *seq >= 0);
            number.ok_or_else(|| Failure::stored(TABLE, FIELD, "an integer from 0", Some(text)))?
        }
    };
    let answer = |advanced, seq| Ok(Reply::Array(vec![Reply::Integer(advanced), Reply::Integer(seq)]));
    if seq <= current || if_seq.is_some_and(|old| old != current) {
        return answer(0, current);
    }
    let given = row::given(table, [(FIELD, seq_argument.map(|argument| argument.bytes()))]);
    let circumstances = circumstances(context, &target);
    let plan = if row::is_row(table, &stored) {
        row::patch(circumstances, &given, &stored, found.expires_at)?
    } else {
        row::put(circumstances, &given, Life::Unsaid, &stored)?
    };
    if let Plan::Write(changes) = plan {
        write::row(context, &target, &changes, &found)?;
    }
    answer(1, seq)
}
