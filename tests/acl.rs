//! Access control: the users of docs/security.md, as they stand there, and what the server's rules cover of a command.

#[path = "acl/calls.rs"]
mod calls;
#[path = "acl/roles.rs"]
mod roles;
mod support;

use std::collections::BTreeSet;

use calls::Call;
use redis::Value;
use support::audit::audit;
use support::{replicate, Client, Server};

/// The users that pods log in with.
const PODS: [&str; 3] = ["orchestrator", "search-ui", "monitor"];

/// A server with the users of the page, and data in the namespaces `miroir` and `other`.
fn prepared() -> (Server, Client) {
    let server = Server::start();
    let mut client = server.client();
    roles::introduce(&mut client);
    for namespace in ["miroir", "other"] {
        calls::fill(namespace).iter().for_each(|line| drop(client.succeed(line)));
    }
    (server, client)
}

/// Whether a word of the page's table stands for a command.
fn stands_for(word: &str, command: &str) -> bool {
    let name = command.strip_prefix("MIROIR.").unwrap();
    let last = name.rsplit('.').next().unwrap().to_lowercase();
    word == "all" || word == "yes" || (word == last && (name == "LEASE.GET" || !name.starts_with("LEASE")))
}

fn assert_denied(client: &mut Client, lines: &[&str]) {
    for line in lines {
        let answer = client.ask(line);
        assert!(answer.starts_with("NOPERM"), "{line}: {answer}");
    }
}

#[test]
fn every_pod_may_do_what_the_page_promises_and_nothing_else() {
    let calls = calls::all();
    let tested: BTreeSet<_> = calls.iter().map(|call| call.command.clone()).collect();
    assert_eq!(tested, calls::names().into_iter().collect(), "a command is not tested here");
    for user in PODS {
        let (server, mut client) = prepared();
        let mut pod = roles::login(&server, user);
        let promised = roles::promised(user);
        let structures: BTreeSet<_> = calls.iter().map(|call| call.structure).collect();
        let known: BTreeSet<_> = promised.keys().map(String::as_str).collect();
        assert!(structures.is_subset(&known), "{structures:?} {known:?}");
        for call in &calls {
            let is_promised = promised[call.structure].iter().any(|word| stands_for(word, &call.command));
            let line = call.line("miroir");
            let before = client.ask("DEBUG DIGEST");
            let answer = pod.ask(&line);
            if is_promised {
                assert!(
                    !answer.starts_with("NOPERM") && !answer.starts_with("ERR"),
                    "{user}: {line}: {answer}"
                );
            } else {
                assert!(answer.starts_with("NOPERM"), "{user}: {line}: {answer}");
                assert_eq!(client.ask("DEBUG DIGEST"), before, "{user}: {line}");
            }
            if !call.key.is_empty() {
                assert_denied(
                    &mut pod,
                    &[&call.line("other"), &call.line("miroir2"), &call.line("a:miroir")],
                );
            }
        }
    }
}

#[test]
fn a_promise_of_the_page_is_a_command_that_there_is() {
    let calls = calls::all();
    for user in PODS {
        for (structure, words) in roles::promised(user) {
            for word in words.iter().filter(|word| !["–", "hears"].contains(&word.as_str())) {
                let stands = |call: &Call| call.structure == structure && stands_for(word, &call.command);
                assert!(calls.iter().any(stands), "{user}: {structure}: {word} is no command");
            }
        }
    }
}

/// Also commands on keys that they are not for, which the module refuses, not the server.
#[test]
fn the_monitor_changes_nothing_and_no_pod_but_the_orchestrator_reads_a_secret() {
    let (server, mut client) = prepared();
    let before = client.dump();
    let keys: BTreeSet<&str> = calls::all().iter().map(|call| call.key).collect();
    let indexes = ["tasks:_index", "jobs:_queued", "lease:_tokens", "cdc:overflow_stat:k"];
    for user in ["monitor", "search-ui"] {
        let mut pod = roles::login(&server, user);
        for call in calls::all() {
            for key in keys.iter().copied().chain(indexes) {
                let line = Call { key, ..call.clone() }.line("miroir");
                let answer = pod.ask(&line);
                // The scoped key is what the search UI is there for.
                let secret =
                    answer.contains("SECRET") && !(user == "search-ui" && key == "search_ui_scoped_key:i");
                assert!(!secret, "{user}: {line}: {answer}");
            }
        }
        if user == "monitor" {
            assert_eq!(client.dump(), before);
        }
    }
    let after = client.dump();
    let is_its_own = |key: &str| {
        [
            "miroir:session:",
            "miroir:ratelimit:searchui:",
            "miroir:search_ui_scoped_key_observed:",
            "miroir:live_pods",
        ]
        .iter()
        .any(|own| key.starts_with(own))
    };
    for (key, value) in before.iter().filter(|(key, _)| !is_its_own(key)) {
        assert_eq!(after.get(key), Some(value), "the search UI has changed {key}");
    }
    assert!(after.keys().all(|key| before.contains_key(key) || is_its_own(key)));
}

/// All native commands that a user may run, as the server decides it.
fn native_commands_of(client: &mut Client, user: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    let Value::Array(all) = client.raw(&["COMMAND"]).unwrap() else { panic!("COMMAND") };
    let mut waiting = all;
    while let Some(command) = waiting.pop() {
        let Value::Array(about) = command else { panic!("COMMAND") };
        let (name, arity, flags) = match &about[..] {
            [Value::BulkString(name), Value::Int(arity), Value::Array(flags), ..] => (name, *arity, flags),
            other => panic!("COMMAND: {other:?}"),
        };
        let name = String::from_utf8(name.clone()).unwrap().to_lowercase();
        if let Some(Value::Array(parts)) = about.get(9).filter(|parts| **parts != Value::Array(Vec::new())) {
            waiting.extend(parts.iter().cloned());
            continue;
        }
        // Whoever logs in may use these.
        let needs_no_login = flags.iter().any(|flag| format!("{flag:?}").contains("no_auth"));
        if name.starts_with("miroir.") || needs_no_login {
            continue;
        }
        let mut words = vec!["ACL".to_owned(), "DRYRUN".to_owned(), user.to_owned()];
        words.extend(name.split('|').map(str::to_owned));
        let length = 3 + usize::try_from(arity.abs()).unwrap();
        words.resize(length.max(words.len()), "x".to_owned());
        let answer = client.call(&words);
        assert!(answer == "OK" || answer.contains("no permissions"), "{words:?}: {answer}");
        if !answer.contains(" to run ") {
            allowed.insert(name);
        }
    }
    allowed
}

/// What a pod may need beside the module's commands: nothing that reads or writes data.
const HARMLESS: &[&str] = &[
    "ping",
    "client|setname",
    "multi",
    "exec",
    "discard",
    "wait",
    "subscribe",
    "unsubscribe",
    "info",
    "dbsize",
    "latency|latest",
    "latency|histogram",
    "slowlog|len",
];

#[test]
fn no_user_has_more_native_commands_than_its_line_names() {
    let (_server, mut client) = prepared();
    for (user, rules) in roles::users() {
        if ["default", "admin"].contains(&user.as_str()) {
            continue;
        }
        let named = rules.split([' ', '(', ')']).filter_map(|rule| rule.strip_prefix('+'));
        let expected: BTreeSet<_> =
            named.filter(|name| !name.starts_with("miroir.")).map(str::to_owned).collect();
        assert_eq!(native_commands_of(&mut client, &user), expected, "{user}");
        if PODS.contains(&user.as_str()) {
            assert!(expected.iter().all(|name| HARMLESS.contains(&name.as_str())), "{user}: {expected:?}");
        }
    }
}

#[test]
fn reads_and_writes_of_a_key_are_told_apart() {
    let (reading, writing) = roles::one_sided();
    assert!(reading.is_disjoint(&writing));
    let server = Server::start();
    let mut client = server.client();
    client.run(&[
        "ACL SETUSER reader on nopass %R~miroir:* +@all",
        "ACL SETUSER writer on nopass %W~miroir:* +@all",
        "ACL SETUSER split on nopass %R~miroir:* %W~other:* +@all",
    ]);
    let connect = |user: &str| {
        let mut other = server.client();
        other.succeed(&format!("AUTH {user} any"));
        other
    };
    let (mut reader, mut writer, mut split) = (connect("reader"), connect("writer"), connect("split"));
    for call in calls::all().iter().filter(|call| !call.key.is_empty()) {
        let line = call.line("miroir");
        let before = client.ask("DEBUG DIGEST");
        let answer = reader.ask(&line);
        assert_eq!(
            !answer.starts_with("NOPERM"),
            reading.contains(&call.command),
            "reader: {line}: {answer}"
        );
        assert_eq!(client.ask("DEBUG DIGEST"), before, "{line}");
        let answer = split.ask(&line);
        assert_eq!(!answer.starts_with("NOPERM"), reading.contains(&call.command), "split: {line}: {answer}");
        let answer = writer.ask(&line);
        assert_eq!(
            !answer.starts_with("NOPERM"),
            writing.contains(&call.command),
            "writer: {line}: {answer}"
        );
    }
    assert_eq!(client.ask("MIROIR.PUT miroir:session:s NX pinned_group SECRET"), "1");
    // A condition or a conflict tells no more than that there is one.
    for line in
        ["MIROIR.PUT miroir:session:s NX pinned_group x", "MIROIR.PATCH miroir:session:s pinned_group x"]
    {
        let answer = writer.ask(line);
        assert!(["0", "1"].contains(&answer.as_str()), "{line}: {answer}");
    }
}

#[test]
fn the_lines_of_the_page_let_nobody_in_until_they_have_passwords() {
    let users = roles::users();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.acl");
    // The test itself comes as `default`, so that line is tried below.
    let lines = |password: &str| {
        let lines = users.iter().filter(|(name, _)| *name != "default").map(|(name, rules)| {
            let (on, rest) = rules.split_once(' ').unwrap();
            assert_eq!(on, "on", "{name}");
            format!("user {name} on {password} {rest}\n")
        });
        lines.collect::<String>()
    };
    std::fs::write(&file, lines("")).unwrap();
    let server = Server::start_with(&["--aclfile", file.to_str().unwrap()]);
    let mut client = server.client();
    for user in users.keys() {
        for password in ["", "pw", "PASSWORD", user] {
            let answer = client.call(&["AUTH", user, password]);
            // `default` has no password here, and takes any.
            assert!(answer.starts_with("WRONGPASS") || user == "default", "{user}: {answer}");
        }
    }
    // The SHA-256 of `pw`.
    std::fs::write(&file, lines("#30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4"))
        .unwrap();
    client.succeed("ACL LOAD");
    for user in PODS {
        assert_eq!(roles::login(&server, user).ask("PING"), "PONG");
    }
    // The file as the server itself writes it.
    client.succeed("ACL SAVE");
    let server = server.kill_and_restart();
    let mut client = server.client();
    for user in PODS {
        assert_eq!(roles::login(&server, user).ask("PING"), "PONG");
        let again = users[user].split([' ', '(', ')']).filter(|rule| rule.starts_with("+miroir."));
        let listed = client.ask("ACL LIST").to_lowercase();
        again.for_each(|rule| assert!(listed.contains(rule), "{user}: {rule}: {listed}"));
    }
    client.succeed(&format!("ACL SETUSER default {}", users["default"]));
    let mut nobody = server.client();
    assert!(nobody.ask("PING").starts_with("NOAUTH"), "{}", nobody.ask("PING"));
    assert!(nobody.ask("AUTH default any").starts_with("WRONGPASS"));
    assert_eq!(roles::login(&server, "admin").ask("ACL WHOAMI"), "admin");
}

#[test]
fn the_lines_can_stand_in_the_configuration_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.conf");
    let users = roles::users();
    let lines = users.iter().filter(|(name, _)| *name != "default");
    let lines: String = lines.map(|(name, rules)| format!("user {name} {rules} >pw\n")).collect();
    std::fs::write(&file, lines).unwrap();
    let server = Server::start_with(&["--include", file.to_str().unwrap()]);
    assert!(roles::login(&server, "search-ui").ask("MIROIR.LIST miroir:aliases").starts_with("NOPERM"));
    assert_eq!(roles::login(&server, "orchestrator").ask("MIROIR.LIST miroir:aliases"), "[]");
}

#[test]
fn what_the_page_adds_for_clusters_is_known_to_the_server() {
    let (server, mut client) = prepared();
    let rules = roles::blocks().swap_remove(1);
    for user in PODS {
        client.succeed(&format!("ACL SETUSER {user} {rules}"));
        let mut pod = roles::login(&server, user);
        assert!(!pod.ask("COMMAND COUNT").starts_with("NOPERM"));
        assert!(!pod.ask("CLUSTER SLOTS").starts_with("NOPERM"));
        assert_denied(&mut pod, &["CLUSTER RESET", "CONFIG GET maxmemory"]);
    }
}

#[test]
fn a_replica_follows_with_the_user_that_is_made_for_it() {
    let (server, mut client) = prepared();
    let replica = Server::start_with(&["--masteruser", "replica", "--masterauth", "pw"]);
    let mut other = replica.client();
    client.run(&["ACL SETUSER default off", "ACL SETUSER default nopass"]);
    other.succeed(&format!("REPLICAOF 127.0.0.1 {}", server.port()));
    other.wait_for("INFO replication", |info| info.contains("master_link_status:up"));
    replicate(&mut client, &mut other);
    assert_eq!(other.dump(), client.dump());
}

#[test]
fn repair_is_for_the_caretaker() {
    let (server, mut client) = prepared();
    client.run(&[
        "SREM miroir:tasks:_index a",
        "SADD miroir:aliases:_index gone",
        "PERSIST miroir:session:s",
    ]);
    client.run(&["SET miroir:cdc:overflow_bytes:k 99", "HSET miroir:jobs:stub state queued"]);
    let mut orchestrator = roles::login(&server, "orchestrator");
    assert_denied(&mut orchestrator, &["MIROIR.AUDIT miroir 0 COUNT 10000 REPAIR", "MIROIR.AUDIT miroir 0"]);
    client.succeed("ACL SETUSER monitor +miroir.audit");
    let mut monitor = roles::login(&server, "monitor");
    assert_denied(&mut monitor, &["MIROIR.AUDIT miroir 0 COUNT 10000 REPAIR"]);
    let mut caretaker = roles::login(&server, "caretaker");
    let found = audit(&mut client, "miroir", "");
    assert_eq!(found.len(), 5, "{found:?}");
    let repaired = audit(&mut caretaker, "miroir", "REPAIR");
    assert!(repaired.len() == 5 && repaired.iter().all(|finding| finding.repaired), "{repaired:?}");
    assert_eq!(audit(&mut client, "miroir", ""), []);
    assert_denied(
        &mut caretaker,
        &["SADD other:tasks:_index a", "MIROIR.PUT miroir:tasks:a index_uid i", "GET x"],
    );
}
