//! What the server knows of every command: arity, flags, keys, documentation, access control.

mod support;

use miroir::commands::{reference, FAMILIES};
use miroir::server::load::NEEDED;
use redis::Value;
use support::Server;

/// Name, arity, flags, first and last key of every command, as the contract makes one expect them.
const EXPECTED: &[(&str, i64, &[&str], i64, i64)] = &[
    ("miroir.put", -4, FENCED_FAST, 1, 1),
    ("miroir.patch", -4, FENCED_FAST, 1, 1),
    ("miroir.get", -2, READ_FAST, 1, 1),
    ("miroir.del", -2, FENCED_SHRINK, 1, -1),
    ("miroir.touch", -2, FENCED_FAST, 1, 1),
    ("miroir.list", -2, &["readonly"], 1, 1),
    ("miroir.count", -2, &["readonly"], 1, 1),
    ("miroir.prune", -4, FENCED_SHRINK, 1, 1),
    ("miroir.task.status", -3, FENCED_FAST, 1, 1),
    ("miroir.task.node", -3, FENCED_FAST, 1, 1),
    ("miroir.alias.flip", -3, FENCED_FAST, 1, 1),
    ("miroir.idemp.begin", -4, FENCED_FAST, 1, 1),
    ("miroir.idemp.complete", -3, FENCED_FAST, 1, 1),
    ("miroir.idemp.abort", -3, FENCED_SHRINK_FAST, 1, 1),
    ("miroir.job.claim", -4, FENCED, 1, 1),
    ("miroir.job.renew", -5, FENCED_FAST, 1, 1),
    ("miroir.job.finish", -5, FENCED_FAST, 1, 1),
    ("miroir.job.reclaim", -2, FENCED, 1, 1),
    ("miroir.lease.acquire", 4, WRITE_FAST, 1, 1),
    ("miroir.lease.renew", -4, WRITE_FAST, 1, 1),
    ("miroir.lease.release", -3, &["write", "fast"], 1, 1),
    ("miroir.lease.get", 2, READ_FAST, 1, 1),
    ("miroir.canary.record", -5, FENCED_FAST, 1, 1),
    ("miroir.canary.runs", -2, &["readonly"], 1, 1),
    ("miroir.cdc.push", -5, FENCED_FAST, 1, 1),
    ("miroir.cdc.pop", -2, FENCED_SHRINK_FAST, 1, 1),
    ("miroir.cdc.peek", -2, &["readonly"], 1, 1),
    ("miroir.cdc.ack", -3, FENCED_SHRINK_FAST, 1, 1),
    ("miroir.cdc.trim", -4, FENCED_SHRINK, 1, 1),
    ("miroir.cdc.stat", 2, READ_FAST, 1, 1),
    ("miroir.cursor.advance", -3, FENCED_FAST, 1, 1),
    ("miroir.ratelimit.hit", -4, WRITE_FAST, 1, 1),
    ("miroir.login.check", 4, WRITE_FAST, 1, 1),
    ("miroir.login.fail", 5, WRITE_FAST, 1, 1),
    ("miroir.login.ok", 2, &["write", "fast"], 1, 1),
    ("miroir.scopedkey.rotate", -4, FENCED_FAST, 1, 1),
    ("miroir.scopedkey.observe", -4, FENCED_FAST, 1, 1),
    ("miroir.scopedkey.ready", -2, &["readonly"], 1, 1),
    ("miroir.scopedkey.retire", -3, FENCED_SHRINK, 1, 1),
    ("miroir.pod.beat", 3, WRITE_FAST, 1, 1),
    ("miroir.pod.live", -2, &["readonly"], 1, 1),
    ("miroir.admin.revoke", -2, FENCED_SHRINK_FAST, 1, 1),
    ("miroir.memory", -2, &["readonly"], 0, 0),
    ("miroir.audit", -3, &["readonly"], 0, 0),
    ("miroir.doctor", 2, &["readonly"], 0, 0),
    ("miroir.plan", -4, &["readonly"], 0, 0),
];
const WRITE_FAST: &[&str] = &["write", "denyoom", "fast"];
const READ_FAST: &[&str] = &["readonly", "fast"];
/// A fence names a second key, whose place the server has to ask for.
const FENCED: &[&str] = &["write", "denyoom", "movablekeys"];
const FENCED_FAST: &[&str] = &["write", "denyoom", "fast", "movablekeys"];
const FENCED_SHRINK: &[&str] = &["write", "movablekeys"];
const FENCED_SHRINK_FAST: &[&str] = &["write", "fast", "movablekeys"];

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        other => panic!("no array but {other:?}"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::SimpleString(text) => text.clone(),
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("no text but {other:?}"),
    }
}

/// The value of a name in a flat array of names and values.
fn entry<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    items(map).chunks(2).find(|pair| text(&pair[0]).eq_ignore_ascii_case(name)).map(|pair| &pair[1])
}

#[test]
fn command_info_is_what_the_contract_makes_one_expect() {
    let server = Server::start();
    let mut client = server.client();
    for (name, arity, flags, first, last) in EXPECTED {
        let reply = client.raw(&["COMMAND", "INFO", name]).unwrap();
        let info = items(&items(&reply)[0]);
        assert_eq!(text(&info[0]).to_lowercase(), *name);
        assert_eq!(info[1], Value::Int(*arity), "arity of {name}");
        let known: Vec<String> = items(&info[2]).iter().map(text).collect();
        for flag in ["write", "readonly", "denyoom", "fast", "movablekeys", "no_auth", "admin"] {
            let has = known.iter().any(|known| known == flag);
            assert_eq!(has, flags.contains(&flag), "flag {flag} of {name}: {known:?}");
        }
        assert_eq!((&info[3], &info[4]), (&Value::Int(*first), &Value::Int(*last)), "keys of {name}");
        let specs = items(&info[8]);
        let is_fenced = flags.contains(&"movablekeys");
        assert_eq!(
            specs.len(),
            usize::from(*first > 0) + usize::from(is_fenced),
            "key specifications of {name}"
        );
        for spec in specs.iter().take(1) {
            let spec: Vec<String> = items(entry(spec, "flags").unwrap()).iter().map(text).collect();
            let reads = spec.iter().any(|flag| flag == "RO");
            assert_eq!(reads, flags.contains(&"readonly"), "key flags of {name}: {spec:?}");
        }
    }
}

#[test]
fn the_server_has_the_commands_of_the_table_and_no_other() {
    let server = Server::start();
    let mut client = server.client();
    let listed = client.raw(&["COMMAND", "LIST", "FILTERBY", "MODULE", "miroir"]).unwrap();
    let mut listed: Vec<String> = items(&listed).iter().map(|name| text(name).to_lowercase()).collect();
    let mut expected: Vec<String> = EXPECTED.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let mut specified: Vec<String> = FAMILIES
        .iter()
        .flat_map(|family| family.commands)
        .map(|command| command.name.to_lowercase())
        .collect();
    listed.sort();
    expected.sort();
    specified.sort();
    assert_eq!(listed, expected);
    assert_eq!(specified, expected);
}

#[test]
fn the_keys_of_real_calls_are_found() {
    let server = Server::start();
    let mut client = server.client();
    for (line, keys) in [
        ("MIROIR.PUT m:tasks:a NX index_uid movies", "[m:tasks:a]"),
        ("MIROIR.PATCH m:tasks:a index_uid movies", "[m:tasks:a]"),
        ("MIROIR.GET m:tasks:a index_uid", "[m:tasks:a]"),
        (
            "MIROIR.DEL m:tasks:a m:jobs:b m:session:c m:canary:d",
            "[m:tasks:a, m:jobs:b, m:session:c, m:canary:d]",
        ),
        ("MIROIR.DEL m:tasks:a", "[m:tasks:a]"),
        ("MIROIR.TOUCH m:session:c PX 5", "[m:session:c]"),
        ("MIROIR.LIST m:tasks WHERE status failed LIMIT 0 5", "[m:tasks]"),
        ("MIROIR.COUNT m:tasks BY status", "[m:tasks]"),
        ("MIROIR.PRUNE m:tasks BEFORE 5 LIMIT 6", "[m:tasks]"),
        ("MIROIR.TASK.STATUS m:tasks:a failed ERROR x", "[m:tasks:a]"),
        ("MIROIR.TASK.NODE m:tasks:a node UID 1", "[m:tasks:a]"),
        ("MIROIR.ALIAS.FLIP m:aliases:a TARGETS 2 x y", "[m:aliases:a]"),
        ("MIROIR.LEASE.ACQUIRE m:lease:l pod 5", "[m:lease:l]"),
        ("MIROIR.LEASE.RENEW m:lease:l pod 5 TOKEN 1", "[m:lease:l]"),
        ("MIROIR.LEASE.RELEASE m:lease:l pod", "[m:lease:l]"),
        ("MIROIR.LEASE.GET m:lease:l", "[m:lease:l]"),
        ("MIROIR.CANARY.RECORD m:canary_runs:c 1 pass 2 KEEP 3", "[m:canary_runs:c]"),
        ("MIROIR.CANARY.RUNS m:canary_runs:c COUNT 3", "[m:canary_runs:c]"),
        ("MIROIR.CDC.PUSH m:cdc:overflow:k BUDGET 9 a b", "[m:cdc:overflow:k]"),
        ("MIROIR.CDC.POP m:cdc:overflow:k COUNT 2", "[m:cdc:overflow:k]"),
        ("MIROIR.CDC.PEEK m:cdc:overflow:k COUNT 2", "[m:cdc:overflow:k]"),
        ("MIROIR.CDC.ACK m:cdc:overflow:k 2", "[m:cdc:overflow:k]"),
        ("MIROIR.CDC.TRIM m:cdc:overflow:k BUDGET 2", "[m:cdc:overflow:k]"),
        ("MIROIR.CDC.STAT m:cdc:overflow:k", "[m:cdc:overflow:k]"),
        ("MIROIR.CURSOR.ADVANCE m:cdc_cursor:k:i 2", "[m:cdc_cursor:k:i]"),
        ("MIROIR.IDEMP.BEGIN m:idemp:k hash FENCE LOCK 5 FENCE m:lease:l 1", "[m:idemp:k, m:lease:l]"),
        ("MIROIR.IDEMP.COMPLETE m:idemp:k task PX 5", "[m:idemp:k]"),
        ("MIROIR.IDEMP.ABORT m:idemp:k task FENCE m:lease:l 1", "[m:idemp:k, m:lease:l]"),
        ("MIROIR.JOB.CLAIM m:jobs pod 5 TYPE FENCE TYPE b FENCE m:lease:l 1", "[m:jobs, m:lease:l]"),
        ("MIROIR.JOB.RENEW m:jobs:j pod 1 5 PROGRESS FENCE FENCE m:lease:l 1", "[m:jobs:j, m:lease:l]"),
        ("MIROIR.JOB.FINISH m:jobs:j pod 1 failed ERROR FENCE", "[m:jobs:j]"),
        ("MIROIR.JOB.FINISH m:jobs:j pod 1 failed FENCE m:lease:l 1 ERROR x", "[m:jobs:j, m:lease:l]"),
        ("MIROIR.JOB.RECLAIM m:jobs LIMIT 5 FENCE m:lease:l 1", "[m:jobs, m:lease:l]"),
        ("MIROIR.RATELIMIT.HIT m:ratelimit:searchui:i 5 6 COST 2", "[m:ratelimit:searchui:i]"),
        ("MIROIR.LOGIN.CHECK m:ratelimit:adminlogin:i 5 6", "[m:ratelimit:adminlogin:i]"),
        ("MIROIR.LOGIN.FAIL m:ratelimit:adminlogin:i 5 6 7", "[m:ratelimit:adminlogin:i]"),
        ("MIROIR.LOGIN.OK m:ratelimit:adminlogin:i", "[m:ratelimit:adminlogin:i]"),
        (
            "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:i FENCE 1 FENCE m:lease:l 1",
            "[m:search_ui_scoped_key:i, m:lease:l]",
        ),
        ("MIROIR.SCOPEDKEY.OBSERVE m:search_ui_scoped_key:i pod 1 PX 5", "[m:search_ui_scoped_key:i]"),
        ("MIROIR.SCOPEDKEY.READY m:search_ui_scoped_key:i PODS 1 pod", "[m:search_ui_scoped_key:i]"),
        (
            "MIROIR.SCOPEDKEY.RETIRE m:search_ui_scoped_key:i 1 FORCE FENCE m:lease:l 1",
            "[m:search_ui_scoped_key:i, m:lease:l]",
        ),
        ("MIROIR.POD.BEAT m:live_pods pod", "[m:live_pods]"),
        ("MIROIR.POD.LIVE m:live_pods WITHIN 5", "[m:live_pods]"),
        ("MIROIR.ADMIN.REVOKE m:admin_session:s FENCE m:lease:l 1", "[m:admin_session:s, m:lease:l]"),
        ("MIROIR.PUT m:tasks:a NX FENCE m:lease:l 1 error FENCE", "[m:tasks:a, m:lease:l]"),
        ("MIROIR.PUT m:tasks:a error FENCE index_uid m", "[m:tasks:a]"),
        ("MIROIR.DEL m:tasks:a m:jobs:b FENCE m:lease:l 1", "[m:tasks:a, m:jobs:b, m:lease:l]"),
        ("MIROIR.TASK.NODE m:tasks:a FENCE UID 1 FENCE m:lease:l 1", "[m:tasks:a, m:lease:l]"),
        ("MIROIR.ALIAS.FLIP m:aliases:a TARGETS 2 FENCE y FENCE m:lease:l 1", "[m:aliases:a, m:lease:l]"),
        (
            "MIROIR.CDC.PUSH m:cdc:overflow:k BUDGET 9 FENCE m:lease:l 1 FENCE b",
            "[m:cdc:overflow:k, m:lease:l]",
        ),
    ] {
        assert_eq!(client.ask(&format!("COMMAND GETKEYS {line}")), keys, "{line}");
    }
    let answer = client.ask("COMMAND GETKEYS MIROIR.MEMORY miroir");
    assert!(answer.contains("no key arguments"), "{answer}");
}

#[test]
fn every_command_is_documented_in_the_server() {
    let server = Server::start();
    let mut client = server.client();
    for (name, _, _, first, _) in EXPECTED {
        let reply = client.raw(&["COMMAND", "DOCS", name]).unwrap();
        let docs = entry(&reply, name).unwrap_or_else(|| panic!("no documentation of {name}"));
        for part in ["summary", "complexity", "since"] {
            let said = entry(docs, part).map(text).unwrap_or_default();
            assert!(!said.is_empty(), "{name} has no {part}");
        }
        assert!(text(entry(docs, "complexity").unwrap()).starts_with("O("), "complexity of {name}");
        assert_eq!(text(entry(docs, "module").unwrap()), "miroir");
        let arguments = items(entry(docs, "arguments").unwrap());
        let kind = text(entry(&arguments[0], "type").unwrap());
        assert_eq!(kind == "key", *first > 0, "the first argument of {name} is a {kind}");
        if *first > 0 {
            assert_eq!(entry(&arguments[0], "key_spec_index"), Some(&Value::Int(0)), "{name}");
        }
    }
}

#[test]
fn the_server_itself_refuses_a_wrong_number_of_arguments() {
    let server = Server::start();
    let mut client = server.client();
    for (name, arity, ..) in EXPECTED {
        let words = |count: i64| {
            let mut words = vec![(*name).to_owned()];
            words.extend((1..count).map(|_| "x".to_owned()));
            words
        };
        let mut wrong: Vec<i64> = (1..arity.abs()).collect();
        wrong.extend((*arity > 0).then_some(arity + 1));
        for count in wrong {
            let answer = client.call(&words(count));
            assert!(answer.contains("wrong number of arguments for"), "{name} with {count} words: {answer}");
        }
        let answer = client.call(&words(arity.abs()));
        assert!(!answer.contains("wrong number of arguments"), "{name} with {arity} words: {answer}");
    }
}

#[test]
fn access_control_works_by_table_and_by_command() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("MIROIR.PUT miroir:tasks:t index_uid movies");
    client.ask("MIROIR.PUT miroir:jobs:j type dump");
    for user in [
        "ACL SETUSER one on nopass resetkeys ~miroir:tasks:* -@all +miroir.get",
        "ACL SETUSER tasks on nopass resetkeys ~miroir:tasks:* ~miroir:tasks -@all +miroir.get +miroir.put +miroir.list \
         +miroir.del",
        "ACL SETUSER reader on nopass resetkeys %R~miroir:* -@all +miroir.get +miroir.list +miroir.put +miroir.del",
        "ACL SETUSER none on nopass resetkeys -@all +miroir.memory",
    ] {
        assert_eq!(client.ask(user), "OK", "{user}");
    }
    for (user, line, allowed) in [
        ("one", "MIROIR.GET miroir:tasks:t", true),
        ("one", "MIROIR.GET miroir:jobs:j", false),
        ("one", "MIROIR.PUT miroir:tasks:t index_uid books", false),
        ("one", "MIROIR.LIST miroir:tasks", false),
        ("tasks", "MIROIR.PUT miroir:tasks:t index_uid books", true),
        ("tasks", "MIROIR.LIST miroir:tasks", true),
        ("tasks", "MIROIR.LIST miroir:jobs", false),
        ("tasks", "MIROIR.DEL miroir:tasks:t miroir:jobs:j", false),
        ("reader", "MIROIR.GET miroir:tasks:t", true),
        ("reader", "MIROIR.LIST miroir:jobs", true),
        ("reader", "MIROIR.PUT miroir:tasks:t index_uid books", false),
        ("reader", "MIROIR.DEL miroir:tasks:t", false),
        ("none", "MIROIR.MEMORY miroir", true),
        ("none", "MIROIR.GET miroir:tasks:t", false),
    ] {
        let before = client.dump();
        let mut other = server.client();
        assert_eq!(other.ask(&format!("AUTH {user} any")), "OK");
        let answer = other.ask(line);
        assert_eq!(!answer.starts_with("NOPERM"), allowed, "{user}: {line}: {answer}");
        if !allowed {
            assert_eq!(client.dump(), before, "{user}: {line}");
        }
    }
    assert_eq!(client.ask("MIROIR.GET miroir:tasks:t index_uid"), "[books]");
}

#[test]
fn the_commands_are_in_the_categories_that_the_server_lets_modules_use() {
    let server = Server::start();
    let mut client = server.client();
    let mut categories = |name: &str| -> Vec<String> {
        let info = client.raw(&["COMMAND", "INFO", name]).unwrap();
        items(&items(&items(&info)[0])[6]).iter().map(text).collect()
    };
    let known = EXPECTED.iter().map(|(name, ..)| categories(name)).collect::<Vec<_>>();
    // Servers without categories for modules leave them all out.
    if known.iter().all(Vec::is_empty) {
        return;
    }
    for ((name, _, flags, ..), known) in EXPECTED.iter().zip(&known) {
        let has = |category: &str| known.iter().any(|known| known == category);
        for flag in ["write", "fast"] {
            assert_eq!(has(&format!("@{flag}")), flags.contains(&flag), "{flag} of {name}: {known:?}");
        }
        assert_eq!(has("@read"), flags.contains(&"readonly"), "read of {name}: {known:?}");
        assert_eq!(has("@slow"), !flags.contains(&"fast"), "slow of {name}: {known:?}");
    }
    client.ask("ACL SETUSER reader on nopass ~* -@all +@read");
    assert_eq!(client.ask("AUTH reader any"), "OK");
    assert_eq!(client.ask("MIROIR.COUNT miroir:tasks"), "0");
    assert!(client.ask("MIROIR.PUT miroir:tasks:t index_uid movies").starts_with("NOPERM"));
}

#[test]
fn the_reference_is_current_and_names_every_command() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
    let page = std::fs::read_to_string(path).unwrap();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/commands");
    let current = reference::page(examples.as_ref()).expect("every command has an example");
    assert!(page == current, "docs/commands.md is stale: run `make docs`");
    for (name, ..) in EXPECTED {
        assert!(page.contains(&format!("### {}\n", name.to_uppercase())), "{name} is missing");
    }
    assert!(!page.contains("MIROIR.DEBUG"));
}

#[test]
fn the_native_commands_that_are_used_are_those_that_are_needed() {
    fn names_in(folder: &std::path::Path, names: &mut std::collections::BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                names_in(&entry.path(), names);
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let quoted = text.split("c\"").skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(quoted.filter(|name| is_command(name)).map(str::to_owned));
        }
    }
    fn is_command(name: &str) -> bool {
        name.len() > 2 && name.bytes().all(|letter| letter.is_ascii_uppercase())
    }
    let mut used = std::collections::BTreeSet::new();
    names_in(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
    // Sent where nothing is to be done.
    used.remove("PING");
    // MODULE UNLOAD asks who has rights and who is connected; without an answer it goes on.
    used.remove("ACL");
    used.remove("CLIENT");
    // The server sends these, and the module only looks whether it can.
    used.remove("MULTI");
    used.remove("EXEC");
    // Of these MIROIR.DOCTOR says that it could not look.
    used.remove("CONFIG");
    used.remove("SLOWLOG");
    let needed = NEEDED.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    assert_eq!(used, needed);
}

#[test]
fn arguments_that_would_do_nothing_are_refused() {
    let server = Server::bare(&[]);
    let mut client = server.client();
    let module = support::module();
    let load = ["MODULE", "LOAD", module.to_str().unwrap()];
    let answer = client.call(&[&load[..], &["protect-from-eviction", "no"]].concat());
    assert!(answer.starts_with("ERR"), "{answer}");
    assert!(server.log().contains("the module takes no arguments: settings stand in the configuration"));
    assert_eq!(client.call(&load), "OK");
}

#[test]
fn a_server_that_has_renamed_a_needed_command_is_told_so_at_once() {
    for command in ["LPUSH", "SADD", "PEXPIREAT", "PUBLISH", "MULTI", "EXEC"] {
        let server = Server::bare(&["--rename-command", command, "HIDDEN"]);
        let mut client = server.client();
        let answer = client.call(&["MODULE", "LOAD", support::module().to_str().unwrap()]);
        assert!(answer.starts_with("ERR"), "{command}: {answer}");
        assert!(server.log().contains(&format!("needs the command {command} under its own name")));
        assert_eq!(client.ask("PING"), "PONG");
    }
    let server = Server::bare(&[
        "--rename-command",
        "FLUSHALL",
        "HIDDEN",
        "--loadmodule",
        support::module().to_str().unwrap(),
    ]);
    assert_eq!(server.client().ask("MIROIR.COUNT miroir:tasks"), "0", "others may be renamed");
}
