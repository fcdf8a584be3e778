//! MIROIR.ALIAS.*: what an alias stands for.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{COUNT, FENCE, KEY};
use super::target;
use super::write;
use crate::errors::{Failure, Outcome};
use crate::rules::{alias, row};
use crate::schema::json::{self, Form};
use crate::schema::value::integer;
use crate::server::command::{Access, Argument, Command, KeyUse, Keys, Kind, Repeated};
use crate::server::config::max_field_bytes;
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply};
use crate::store::rows;

const TABLE: &str = "aliases";
/// The most targets that one flip can name.
const MOST_TARGETS: i64 = 10_000;

/// MIROIR.ALIAS.FLIP.
pub const FLIP: Command = Command {
    name: "MIROIR.ALIAS.FLIP",
    entry: entry(|context, arguments| guarded(context, &FLIP, arguments, flip)),
    summary: "Points an alias to another index, or to other indexes, and remembers what it stood for.",
    complexity: "O(H + T), H the length of the history, T the number of targets.",
    since: "0.1.0",
    access: Access::Write,
    fast: true,
    keys: Keys::First(KeyUse::ReadUpdate),
    arguments: &[
        KEY,
        Argument::new(
            "to",
            Kind::OneOf(&[
                Argument::new("uid", Kind::String),
                Argument::new(
                    "targets",
                    Kind::Block(&[
                        Argument::new("numtargets", Kind::Integer),
                        Argument::new("uid", Kind::String).repeated(Repeated::Counted),
                    ]),
                )
                .behind("TARGETS"),
            ]),
        ),
        COUNT.behind("RETAIN").optional(),
        Argument::new("version", Kind::Integer).behind("IFVERSION").optional(),
        FENCE,
    ],
    reply: "The new version, `0` if the version is not the one of IFVERSION, `-2` no such alias.",
};

fn flip(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    let to_many = arguments.take_word("TARGETS");
    let uids = if to_many {
        let count = arguments.size("TARGETS", 0..=MOST_TARGETS)?;
        arguments.take("TARGETS", count)?
    } else {
        arguments.take("uid", 1)?
    };
    let uids = uids.iter().map(|uid| uid_text(*uid)).collect::<Outcome<Vec<_>>>()?;
    let (mut retain, mut if_version) = (None, None);
    while !arguments.is_empty() {
        if retain.is_none() && arguments.take_word("RETAIN") {
            retain = Some(arguments.size("RETAIN", 0..=i64::MAX)?);
        } else if if_version.is_none() && arguments.take_word("IFVERSION") {
            if_version = Some(arguments.integer("IFVERSION", 0..=i64::MAX)?);
        } else {
            return arguments.unexpected("RETAIN count|IFVERSION version|FENCE lease-key token");
        }
    }

    let found = rows::read(context, target.key)?;
    let stored = found.pairs();
    if !row::is_row(target.address.table, &stored) {
        return Ok(Reply::Integer(-2));
    }
    let value = |name: &str| row::present(&stored, name);
    let bad = |field: &str, expected: &str| Failure::stored(TABLE, field, expected, value(field));
    let field = match (value("kind"), to_many) {
        (Some(b"single"), false) => "current_uid",
        (Some(b"multi"), true) => "target_uids",
        (Some(b"single"), true) => {
            let got = format!("{} targets", uids.len());
            return Err(Failure::argument(
                "TARGETS",
                "one uid, as the alias is single",
                Some(got.as_bytes()),
            ));
        }
        (Some(b"multi"), false) => {
            let got = uids.concat();
            return Err(Failure::argument("uid", "TARGETS, as the alias is multi", Some(got.as_bytes())));
        }
        _ => return Err(bad("kind", "one of single|multi")),
    };
    let version = match value("version") {
        None => 1,
        Some(text) => integer(text)
            .filter(|version| *version >= 0)
            .ok_or_else(|| bad("version", "an integer from 0"))?,
    };
    if if_version.is_some_and(|expected| expected != version) {
        return Ok(Reply::Integer(0));
    }
    let history = match value("history") {
        None => Some(Vec::new()),
        Some(text) if json::fits(Form::Flips, text) => json::read(text),
        Some(_) => None,
    };
    let history = history.ok_or_else(|| bad("history", Form::Flips.expected()))?;
    let old = match value(field).filter(|old| !old.is_empty()) {
        None => None,
        Some(old) if to_many => {
            let uids: Vec<String> = json::read(old).ok_or_else(|| bad(field, Form::Strings.expected()))?;
            Some(uids.join(","))
        }
        Some(old) => Some(String::from_utf8(old.to_vec()).map_err(|_| bad(field, "UTF-8"))?),
    };
    let retain = retain.unwrap_or(alias::DEFAULT_RETAIN);
    let flipped = alias::flip(history, old, version, retain, context.now_ms())
        .ok_or_else(|| bad("version", "a version below the largest"))?;
    let new = if to_many { json::write(&uids) } else { uids.concat().into_bytes() };
    row::check_size(TABLE, field, &new, max_field_bytes())?;
    row::check_size(TABLE, "history", &flipped.history, max_field_bytes())?;
    let changes: [(&'static str, &[u8]); 3] = [
        (field, &new),
        ("version", &flipped.version.to_string().into_bytes()),
        ("history", &flipped.history),
    ];
    write::fields(context, &target, &found, &changes)?;
    Ok(Reply::Integer(flipped.version))
}

fn uid_text<'a>(uid: Arg<'a>) -> Outcome<&'a str> {
    crate::keyspace::check_name(uid.bytes())
        .map_err(|expected| Failure::argument("uid", expected, Some(uid.bytes())))
}
