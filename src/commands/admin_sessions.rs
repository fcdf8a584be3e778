//! MIROIR.ADMIN.*: sessions of admins, which can be revoked.

use super::arguments::Arguments;
use super::fence::guarded;
use super::syntax::{FENCE, KEY};
use super::target;
use super::write;
use crate::errors::Outcome;
use crate::rules::row;
use crate::server::command::{Access, Command, KeyUse, Keys};
use crate::server::entry::entry;
use crate::server::{Arg, Context, Reply, Words};
use crate::store::rows;

const TABLE: &str = "admin_sessions";
/// What stands in place of a session's id in the name of the channel.
const CHANNEL: &[u8] = b"revoked";

/// MIROIR.ADMIN.REVOKE.
pub const REVOKE: Command = Command {
    name: "MIROIR.ADMIN.REVOKE",
    entry: entry(|context, arguments| guarded(context, &REVOKE, arguments, revoke)),
    summary: "Revokes an admin session, which is not taken back, and publishes its id on `<namespace>:admin_session:revoked`. \
              The session stays until its time is up.",
    complexity: "O(F + S), F the number of fields of the session, S the number of subscribers.",
    since: "0.1.0",
    // Nobody is to stay logged in because the memory is full: the one byte that changes is as long as before.
    access: Access::Shrink,
    fast: true,
    keys: Keys::First(KeyUse::Update),
    arguments: &[KEY, FENCE],
    reply: "`1` revoked, also when it was before; `-2` no such session.",
};

fn revoke(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    let target = target::of(context, arguments.next("key")?, TABLE)?;
    arguments.end()?;
    let found = rows::read(context, target.key)?;
    if !row::is_row(target.address.table, &found.pairs()) {
        return Ok(Reply::Integer(-2));
    }
    write::fields(context, &target, &found, &[("revoked", b"1")])?;
    // As a native command it also reaches those who listen at a replica.
    let mut words = Words::with_capacity(2);
    words.bytes(&target.address.row(CHANNEL)).bytes(target.id.as_bytes());
    context.write(c"PUBLISH", &words)?;
    Ok(Reply::Integer(1))
}
