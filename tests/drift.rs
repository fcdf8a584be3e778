//! Whatever happens to the keys: LIST, COUNT and MEMORY say what the raw keys say, the index sets hold the rows, and
//! AUDIT finds nothing that is not there. Random operations, checked against a model that only reads the raw keys.
//!
//! `MIROIR_DRIFT_OPERATIONS` says how many operations each test does, `MIROIR_DRIFT_SEED` which ones.

#[macro_use]
#[path = "drift/model.rs"]
mod model;
#[path = "drift/operations.rs"]
mod operations;
#[path = "drift/run.rs"]
mod run;
mod support;

use run::Run;
use support::{replicate, Server};

const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];

fn with_module() -> [String; 2] {
    ["--loadmodule".to_owned(), support::module().to_str().unwrap().to_owned()]
}

#[test]
fn nothing_drifts_over_restarts_from_an_append_only_file() {
    let mut server = Server::start_with(AOF);
    let mut run = Run::new(&server);
    for (segment, operations) in Run::segments() {
        run.work(&server, operations);
        let truth = run.check(&server, "on the running server");
        let mut client = server.client();
        let when = match segment % 4 {
            0 => "after a kill and a restart",
            1 => {
                assert_eq!(client.ask("DEBUG LOADAOF"), "OK");
                run.check_copy(&server, &truth, "after DEBUG LOADAOF");
                continue;
            }
            2 => {
                client.rewrite_log();
                "after a rewrite, a kill and a restart"
            }
            _ => continue,
        };
        server = server.kill_and_restart();
        run.check_copy(&server, &truth, when);
    }
    run.conclude();
}

#[test]
fn nothing_drifts_over_snapshots_reloads_and_the_absence_of_the_module() {
    let mut server = Server::start();
    let mut run = Run::new(&server);
    for (segment, operations) in Run::segments() {
        run.work(&server, operations);
        let truth = run.check(&server, "on the running server");
        let mut client = server.client();
        let when = match segment % 4 {
            0 => {
                assert_eq!(client.ask("SAVE"), "OK");
                server = server.kill_and_restart();
                "after a kill and a restart"
            }
            1 => {
                assert_eq!(client.ask("DEBUG RELOAD"), "OK");
                "after DEBUG RELOAD"
            }
            2 => {
                assert_eq!(client.ask("MODULE UNLOAD miroir"), "OK");
                assert_eq!(client.ask(&format!("MODULE LOAD {}", with_module()[1])), "OK");
                "after MODULE LOAD"
            }
            _ => {
                assert_eq!(client.ask("SAVE"), "OK");
                server = server.kill_and_restart_with(&[]);
                assert_eq!(server.client().ask("SAVE"), "OK");
                server = server.kill_and_restart_with(&with_module().each_ref().map(String::as_str));
                "after a restart without the module and one with it"
            }
        };
        run.check_copy(&server, &truth, when);
    }
    run.conclude();
}

#[test]
fn nothing_drifts_on_replicas_and_when_they_take_over() {
    let mut master = Server::start();
    let mut replica = Server::replica_of(&master, &[]);
    let mut run = Run::new(&master);
    for (segment, operations) in Run::segments() {
        run.work(&master, operations / 2);
        let mut client = replica.client();
        let misses = segment % 4 == 2;
        if misses {
            // It may not come back, and misses more than the backlog holds: it gets the data of the same master
            // anew, and answers from the old ones until they are whole.
            master.client().ask("CONFIG SET repl-backlog-size 1");
            client.ask("CONFIG SET repl-diskless-load swapdb");
            client.ask("CONFIG SET masterauth wrong");
            client.ask("CONFIG SET masteruser nobody");
        }
        // Otherwise it goes on where it stood.
        client.ask("CLIENT KILL TYPE master");
        run.work(&master, operations - operations / 2);
        if misses {
            client.ask("CONFIG SET masterauth ''");
            client.ask("CONFIG SET masteruser ''");
        }
        run.quiesce(&mut master.client());
        replicate(&mut master.client(), &mut replica.client());
        // Before the master has deleted what has run out: the replica may not, and yet does not show it.
        run.check_answers(&replica, "on the replica, before the master was looked at");
        let truth = run.check(&master, "on the master");
        replicate(&mut master.client(), &mut replica.client());
        run.check_copy(&replica, &truth, "on the replica");
        match segment % 4 {
            0 | 2 => {
                let late = Server::replica_of(
                    &master,
                    &["--repl-diskless-load", ["disabled", "swapdb"][segment / 2 % 2]],
                );
                run.check_copy(&late, &truth, "on a replica that came late");
            }
            _ => {
                // They change places. What the old master holds, it gets from the new one.
                assert_eq!(replica.client().ask("REPLICAOF NO ONE"), "OK");
                run.check_copy(&replica, &truth, "on the promoted replica");
                let mode = ["disabled", "swapdb"][segment / 2 % 2];
                master.client().ask(&format!("CONFIG SET repl-diskless-load {mode}"));
                assert_eq!(master.client().ask(&format!("REPLICAOF 127.0.0.1 {}", replica.port())), "OK");
                std::mem::swap(&mut master, &mut replica);
                replicate(&mut master.client(), &mut replica.client());
                run.check_copy(&replica, &truth, "on the former master");
            }
        }
    }
    run.conclude();
}

/// Restarts a server without the module, lets clients without the module go on, and restarts it with the module.
fn survives_the_absence_of_the_module(arguments: &[&str]) {
    let is_saved = !arguments.contains(&"--appendonly");
    let module = with_module();
    let everything = [module.each_ref().map(String::as_str).as_slice(), arguments].concat();
    let mut server = Server::start_with(arguments);
    let mut run = Run::new(&server);
    let known = run.operations.unknown.clone();
    for (_, operations) in Run::segments() {
        run.work(&server, operations / 2);
        let truth = run.check(&server, "on the server with the module");
        let keep = |server: Server, arguments: &[&str]| {
            if is_saved {
                assert_eq!(server.client().ask("SAVE"), "OK");
            }
            server.kill_and_restart_with(arguments)
        };
        server = keep(server, arguments);
        run.compare(&server, &truth, "without the module");
        run.operations.without_module();
        run.work(&server, operations / 2);
        server = keep(server, &everything);
        run.operations.unknown.clone_from(&known);
        run.check(&server, "with the module again");
    }
    run.conclude();
}

#[test]
fn nothing_drifts_when_an_append_only_file_is_used_without_the_module_for_a_while() {
    survives_the_absence_of_the_module(AOF);
}

#[test]
fn nothing_drifts_when_a_snapshot_is_used_without_the_module_for_a_while() {
    survives_the_absence_of_the_module(&[]);
}

#[test]
fn replicas_with_the_module_and_without_it_hold_exactly_what_the_master_holds() {
    let master = Server::start();
    let replicas = [Server::replica_of(&master, &[]), Server::bare_replica_of(&master, &[])];
    let mut run = Run::new(&master);
    for (_, operations) in Run::segments() {
        run.work(&master, operations);
        let truth = run.check(&master, "on the master");
        // Each of these gets a copy, the others have followed the commands.
        let late = [Server::replica_of(&master, &[]), Server::bare_replica_of(&master, &[])];
        for replica in replicas.iter().chain(&late) {
            assert_same_digest(&master, replica, &run);
        }
        for replica in [&replicas[0], &late[0]] {
            run.check_copy(replica, &truth, "on a replica");
        }
    }
    run.conclude();
}

fn assert_same_digest(master: &Server, replica: &Server, run: &Run) {
    replicate(&mut master.client(), &mut replica.client());
    if master.client().ask("DEBUG DIGEST") != replica.client().ask("DEBUG DIGEST") {
        let faults = run.differences(master, replica);
        run.fail("DEBUG DIGEST on the master and on a replica", &faults);
    }
}
