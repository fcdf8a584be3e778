//! Whether the server survives it when the module goes.
//!
//! Servers keep pointers to commands, and do not ask whether these commands are still there. What is looked for here was seen to
//! crash one of them with any module.

use redis_module::raw;

use super::command::Command;
use super::info::ServerInfo;
use super::{Context, Words};

/// Whether the module may go. If not, the log says what to do.
pub fn may_stop(context: &Context<'_>, mut commands: impl Iterator<Item = &'static Command>) -> bool {
    let Err(obstacle) = no_rules(context, &mut commands).and_then(|()| no_clients(context)) else {
        return true;
    };
    context.warn(&format!("MODULE UNLOAD is refused: this server could crash, because {obstacle}"));
    false
}

/// Redis 7.2 and later and Valkey apply the rules of all users anew once the commands are gone, and crash at a rule that names one of
/// them.
fn no_rules(
    context: &Context<'_>,
    commands: &mut impl Iterator<Item = &'static Command>,
) -> Result<(), String> {
    // SAFETY: a read of a function pointer; the servers that apply the rules anew are those that have it.
    if unsafe { raw::RedisModule_SetCommandACLCategories }.is_none() {
        return Ok(());
    }
    let users = text(context, c"ACL");
    let rules: Vec<_> = users.iter().flat_map(|line| rules_for_commands(line)).collect();
    let held = commands.find_map(|command| {
        let names = |(_, name): &&(&str, &str)| name.eq_ignore_ascii_case(command.name);
        rules.iter().find(names).map(|(user, _)| (user, command.name))
    });
    held.map_or(Ok(()), |(user, name)| {
        Err(format!(
            "the access rules of user '{user}' name {name}. Take such rules away first, with ACL SETUSER {user} nocommands \
             clearselectors, or restart the server instead"
        ))
    })
}

/// Calls that wait, in a transaction or for the end of a pause, are done with the command that they were sent for, whether or not it is
/// still there. And Redis 8 compares.
fn no_clients(context: &Context<'_>) -> Result<(), String> {
    if context.holds_clients_back() {
        return Err("clients are held back by CLIENT PAUSE. CLIENT UNPAUSE first".to_owned());
    }
    let remembers = remembers_commands();
    for list in text(context, c"CLIENT") {
        for client in list.lines() {
            let field = |name: &str| client.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or("");
            let obstacle = if !matches!(field("multi="), "" | "-1" | "0") {
                "has queued commands after MULTI"
            } else if remembers
                && field("cmd=").get(..7).is_some_and(|start| start.eq_ignore_ascii_case("miroir."))
            {
                "has sent a command of the module last, which the server looks at when it sends the next one"
            } else {
                continue;
            };
            return Err(format!(
                "the client with id {} {obstacle}. Send CLIENT KILL TYPE normal and MODULE UNLOAD in one pipeline, or restart the \
                 server instead",
                field("id=")
            ));
        }
    }
    Ok(())
}

/// The lines that the LIST of a command answers. Where the command has another name nobody can tell; the server then does as it was
/// told.
fn text(context: &Context<'_>, command: &std::ffi::CStr) -> Vec<String> {
    let mut words = Words::with_capacity(1);
    words.bytes(b"LIST");
    let Ok(answer) = context.read(command, &words) else { return Vec::new() };
    let root = answer.root();
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if root.bytes().is_empty() {
        root.iter().map(|item| line(item.bytes())).collect()
    } else {
        vec![line(root.bytes())]
    }
}

/// Whether the server looks at the command that a client sent last when it sends the next one: Redis 8 does.
fn remembers_commands() -> bool {
    let Some(server) = ServerInfo::section(c"server") else { return false };
    let major = |version: &str| version.split('.').next()?.parse::<u32>().ok();
    // Valkey shows a version of Redis as well: the last before it.
    server.field("valkey_version").is_none() && server.field("redis_version").and_then(major) >= Some(8)
}

/// The user and a command, for each rule of a line of ACL LIST that names a command.
fn rules_for_commands(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let line = line.strip_prefix("user ").unwrap_or(line);
    let (user, rules) = line.split_once(' ').unwrap_or((line, ""));
    let names = rules.split([' ', '(', ')']).filter_map(|rule| rule.strip_prefix(['+', '-']));
    names.map(move |name| (user, name.split_once('|').map_or(name, |(command, _)| command)))
}
