//! MODULE UNLOAD while idle: what stays is plain data and nothing else, and another build of the module takes over.

mod support;

use support::audit::lasting;
use support::{Client, Server};

fn load(client: &mut Client, module: &std::path::Path) {
    assert_eq!(client.call(&["MODULE", "LOAD", module.to_str().unwrap()]), "OK");
}

/// Takes the module out as soon as no timer of its is pending.
fn unload(client: &mut Client) {
    client.wait_for("MODULE UNLOAD miroir", |answer| answer == "OK");
}

/// Rows, a claimed job, a lease, a buffer, counters.
fn work(client: &mut Client) {
    for number in 0..300 {
        client.succeed(&format!("MIROIR.PUT m:tasks:t{number} index_uid i{}", number % 7));
        client.succeed(&format!("MIROIR.PUT m:jobs:j{number} type dump"));
        client.succeed(&format!("MIROIR.PUT m:session:s{number} pinned_group g"));
    }
    client.run(&[
        "MIROIR.JOB.CLAIM m:jobs pod 600000 COUNT 10",
        "MIROIR.LEASE.ACQUIRE m:lease:l pod 600000",
        "MIROIR.CDC.PUSH m:cdc:overflow:k BUDGET 1000 one two three",
        "MIROIR.CANARY.RECORD m:canary_runs:c 1 pass 2",
        "MIROIR.RATELIMIT.HIT m:ratelimit:searchui:ip 10 600000",
        "MIROIR.POD.BEAT m:live_pods pod",
    ]);
}

#[test]
fn nothing_of_the_module_stays_but_plain_data() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    let (before, digest) = (client.dump(), client.ask("DEBUG DIGEST"));
    unload(&mut client);
    assert_eq!((client.dump(), client.ask("DEBUG DIGEST")), (before, digest));
    assert!(!client.ask("MODULE LIST").contains("miroir"));
    assert_eq!(client.ask("CONFIG GET miroir.*"), "[]");
    assert_eq!(client.ask("COMMAND LIST FILTERBY PATTERN miroir.*"), "[]");
    assert!(!client.ask("INFO everything").contains("miroir_"));
    assert!(client.ask("CONFIG SET miroir.max-field-bytes 5").starts_with("ERR"));
    // Raw commands go on with the data.
    client.run(&["HSET m:tasks:t1 status failed", "SREM m:jobs:_queued j20", "RPOP m:cdc:overflow:k"]);
    client.succeed("PEXPIRE m:session:s1 1");
    client.wait_for("EXISTS m:session:s1", |answer| answer == "0");
    client.run(&["SWAPDB 0 1", "SWAPDB 0 1", "SAVE"]);
    assert_eq!(client.ask("HGET m:tasks:t1 status"), "failed");
}

#[test]
fn another_build_takes_over_what_the_first_one_left() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    // The build for tests is another one, under another path.
    for module in [support::debug_module(), support::module(), support::debug_module()] {
        let digest = client.ask("DEBUG DIGEST");
        unload(&mut client);
        load(&mut client, &module);
        client.wait_for("INFO miroir", |info| info.contains("miroir_catalog_state:ready"));
        assert_eq!(client.ask("DEBUG DIGEST"), digest);
        assert!(client.ask("MODULE LIST").contains(module.to_str().unwrap()));
        assert_eq!(lasting(&mut client, "m"), []);
        assert_eq!(client.ask("MIROIR.COUNT m:tasks"), "300");
        assert_eq!(client.ask("MIROIR.COUNT m:jobs WHERE state in_progress"), "10");
        assert_eq!(client.ask("MIROIR.LEASE.RENEW m:lease:l pod 600000 TOKEN 1"), "[1, pod, 600000, 1]");
        assert_eq!(client.ask("MIROIR.JOB.RENEW m:jobs:j0 pod 1 600000"), "1");
        assert!(client.ask("MIROIR.CDC.STAT m:cdc:overflow:k").contains("bytes, 11"));
    }
}

#[test]
fn fifty_times_gone_and_come_again_it_holds_no_more_memory() {
    let server = Server::start();
    let mut client = server.client();
    work(&mut client);
    let module = support::module();
    let mut cycles = |count: usize| {
        for _ in 0..count {
            unload(&mut client);
            load(&mut client, &module);
            client.wait_for("INFO miroir", |info| info.contains("miroir_catalog_state:ready"));
            client.succeed("MIROIR.TASK.NODE m:tasks:t1 node UID 1");
        }
        unload(&mut client);
        let without = client.figure("memory", "used_memory");
        load(&mut client, &module);
        without
    };
    let before = cycles(10);
    let grown = cycles(50) - before;
    assert!(grown < 32 * 1024, "{grown} bytes more");
}

#[test]
fn it_stays_as_long_as_the_server_would_crash_for_lack_of_a_command_that_a_user_may_run() {
    let mut server = Server::start();
    let mut client = server.client();
    client.succeed("MIROIR.PUT m:tasks:t index_uid i");
    // Servers with categories apply all rules again when a module goes.
    let crashes = client.ask("COMMAND INFO MIROIR.PUT").contains("@write");
    for rules in ["~m:* +miroir.get", "~* +@all -miroir.put", "~x (~m:* +MIROIR.LIST)", "~* +miroir.del|x"] {
        let user = client.ask(&format!("ACL SETUSER user reset on nopass {rules}"));
        if user != "OK" {
            continue;
        }
        if !crashes {
            unload(&mut client);
            load(&mut client, &support::module());
            continue;
        }
        let answer = client.wait_for("MODULE UNLOAD miroir", |answer| !answer.contains("timer"));
        assert!(answer.starts_with("ERR"), "{rules}: {answer}");
        assert!(server.log().contains("access rules of user 'user' name MIROIR."), "{}", server.log());
        assert_eq!(client.ask("MIROIR.LIST m:tasks IDS"), "[t]", "it works on");
        client.succeed("ACL SETUSER user nocommands clearselectors");
        unload(&mut client);
        load(&mut client, &support::module());
    }
    // What names none of its commands is no hindrance.
    client.succeed("ACL SETUSER user reset on nopass ~+miroir.get ~m:* +@read +get (~* +@write -del)");
    unload(&mut client);
    assert!(server.is_alive());
}

/// What waits is done with the command that it was sent for, and this one has gone with the module.
#[test]
fn it_stays_as_long_as_calls_wait_for_exec_or_for_the_end_of_a_pause() {
    let mut server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    let refused = |client: &mut Client, server: &Server, why: &str| {
        let answer = client.wait_for("MODULE UNLOAD miroir", |answer| !answer.contains("timer"));
        assert!(answer.starts_with("ERR"), "{why}: {answer}");
        assert!(server.log().contains(why), "{}", server.log());
    };
    other.succeed("MULTI");
    assert_eq!(other.ask("MIROIR.PUT m:tasks:t index_uid i"), "QUEUED");
    refused(&mut client, &server, "has queued commands after MULTI");
    assert_eq!(other.ask("EXEC"), "[1]", "it works on");
    client.succeed("CLIENT PAUSE 60000 WRITE");
    refused(&mut client, &server, "clients are held back by CLIENT PAUSE");
    client.succeed("CLIENT UNPAUSE");
    drop(other);
    client.wait_for("CLIENT LIST", |list| list.lines().count() == 1);
    unload(&mut client);
    assert!(server.is_alive());
}

/// Redis 8 looks at the last command of a client when the next one comes.
#[test]
fn clients_that_have_used_it_may_go_on_after_it_has_gone() {
    let mut server = Server::start();
    let (mut client, mut other) = (server.client(), server.client());
    other.succeed("MIROIR.PUT m:tasks:t index_uid i");
    let remembers = client.ask("INFO server").contains("redis_version:8");
    let answer = client.wait_for("MODULE UNLOAD miroir", |answer| !answer.contains("timer"));
    if remembers {
        assert_ne!(answer, "OK");
        assert!(server.log().contains("has sent a command of the module last"), "{answer}");
        other.succeed("PING");
        unload(&mut client);
    } else {
        assert_eq!(answer, "OK");
    }
    assert!(other.ask("MIROIR.GET m:tasks:t").contains("unknown command"));
    assert_eq!(other.ask("HGET m:tasks:t index_uid"), "i");
    assert!(server.is_alive());
}
