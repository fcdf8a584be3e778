//! CLIENT TRACKING: who has read a row through the module is told when anyone changes it, and only then.

#[path = "tracking/cases.rs"]
mod cases;
#[path = "tracking/reader.rs"]
mod reader;
mod support;

use cases::{Case, CASES};
use reader::{Reader, EVERYTHING, WAYS};
use support::{replicate, Client, Server};

/// What it was told, but for keys that it may be told of.
fn told_but(reader: &mut Reader, beside: &[&str]) -> Vec<String> {
    let mut told = reader.told();
    told.retain(|key| !beside.contains(&key.as_str()));
    told
}

#[test]
fn who_has_read_a_row_is_told_of_every_change_of_it() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        let mut reader = Reader::new(&server, way, "");
        for Case { key, beside, put, reads, changes } in CASES {
            for (read, change) in
                reads.iter().flat_map(|read| changes.iter().map(move |change| (read, change)))
            {
                let when = format!("{way:?}: {read}, then {change}");
                writer.succeed(&format!("DEL {key}"));
                writer.succeed(put);
                reader.read(&[read]);
                let answer = writer.succeed(change);
                let is_refused =
                    change.starts_with("MIROIR.") && ["0", "-2", "[]"].contains(&answer.as_str());
                assert!(!is_refused, "{when}: {answer}");
                assert_eq!(told_but(&mut reader, beside), [*key], "{when}");
                // Once is enough: the client holds nothing any more.
                writer.succeed(put);
                assert_eq!(told_but(&mut reader, beside), [""; 0], "{when}, told again");
            }
        }
    }
}

#[test]
fn who_has_read_that_a_row_is_missing_is_told_when_it_comes() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        let mut reader = Reader::new(&server, way, "");
        for Case { key, beside, put, reads, .. } in CASES {
            writer.succeed(&format!("DEL {key}"));
            reader.read(reads);
            writer.succeed(put);
            assert_eq!(told_but(&mut reader, beside), [*key], "{way:?}: {put}");
        }
        writer.succeed("DEL miroir:aliases:raw");
        reader.read(&["MIROIR.GET miroir:aliases:raw"]);
        writer.succeed("HSET miroir:aliases:raw name raw kind single current_uid v1");
        assert_eq!(reader.told(), ["miroir:aliases:raw"]);
    }
}

const ALIAS: &str = "miroir:aliases:movies";
const SESSION: &str = "miroir:session:s";
const TENANT: &str = "miroir:tenant_map:00ff";

/// Writes an alias, a session and a tenant, whatever was there.
fn put_three(writer: &mut Client) {
    writer.run(&[
        "DEL miroir:aliases:movies miroir:session:s miroir:tenant_map:00ff",
        "MIROIR.PUT miroir:aliases:movies kind single current_uid v1",
        "MIROIR.PUT miroir:session:s pinned_group g1",
        "MIROIR.PUT miroir:tenant_map:00ff tenant_id acme",
    ]);
}

const READ_THREE: [&str; 3] = [
    "MIROIR.GET miroir:aliases:movies",
    "MIROIR.GET miroir:session:s pinned_group",
    "MIROIR.GET miroir:tenant_map:00ff",
];

#[test]
fn a_transaction_or_a_script_reads_and_changes_as_single_commands_do() {
    let server = Server::start();
    let mut writer = server.client();
    let script = "EVAL 'redis.call([[MIROIR.GET]], KEYS[1]) redis.call([[MIROIR.GET]], KEYS[2], [[ttl]]) \
                  return redis.call([[MIROIR.GET]], KEYS[3])' 3 \
                  miroir:aliases:movies miroir:session:s miroir:tenant_map:00ff";
    let read_only = script.replacen("EVAL", "EVAL_RO", 1);
    let transaction = ["MULTI", READ_THREE[0], READ_THREE[1], READ_THREE[2], "EXEC"];
    for way in WAYS {
        let mut reader = Reader::new(&server, way, "");
        for lines in [&transaction[..], &[script], &[&read_only], &READ_THREE] {
            put_three(&mut writer);
            reader.read(lines);
            writer.run(&[
                "MULTI",
                "MIROIR.ALIAS.FLIP miroir:aliases:movies v2",
                "MIROIR.TOUCH miroir:session:s",
                "HSET miroir:session:s pinned_group g2",
            ]);
            assert_eq!(reader.told(), [""; 0], "nothing has happened yet");
            writer.succeed("EXEC");
            assert_eq!(reader.told(), [ALIAS, SESSION], "{way:?}: {lines:?}");
            let script = "EVAL 'redis.call([[MIROIR.PATCH]], KEYS[1], [[current_uid]], [[v3]]) \
                          redis.call([[MIROIR.DEL]], KEYS[2])' 2 miroir:aliases:movies miroir:tenant_map:00ff";
            writer.succeed(script);
            assert_eq!(reader.told(), [TENANT], "{way:?}: {lines:?}, the alias was told already");
        }
    }
}

/// Rows that end by themselves: the key, and what writes it with a short life.
const SHORT: &[(&str, &str, &str)] = &[
    (SESSION, "MIROIR.PUT miroir:session:s PX 100 pinned_group g1", "MIROIR.GET miroir:session:s"),
    (ALIAS, "MIROIR.PUT miroir:aliases:movies PX 100 kind single current_uid v1", READ_THREE[0]),
    (
        "miroir:admin_session:a",
        "MIROIR.PUT miroir:admin_session:a PX 100 csrf_token x admin_key_hash y",
        "MIROIR.GET miroir:admin_session:a csrf_token",
    ),
    (
        "miroir:lease:leader",
        "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-1 100",
        "MIROIR.LEASE.GET miroir:lease:leader",
    ),
    (
        TENANT,
        "EVAL 'redis.call([[HSET]], KEYS[1], [[tenant_id]], [[a]]) redis.call([[PEXPIRE]], KEYS[1], 100) return 1' 1 \
              miroir:tenant_map:00ff",
        READ_THREE[2],
    ),
];

/// Writes and reads a row in one go, so that it is there when it is read.
fn read_short(reader: &mut Reader, put: &str, read: &str) {
    for line in ["MULTI", put, read] {
        reader.client.succeed(line);
    }
    let answer = reader.client.succeed("EXEC");
    assert!(!answer.contains("nil"), "{read} in {answer}");
}

#[test]
fn who_has_read_a_row_is_told_when_its_time_is_up() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        let mut reader = Reader::new(&server, way, "");
        for (key, put, read) in SHORT {
            read_short(&mut reader, put, read);
            assert_eq!(reader.told_in_time(), [*key], "{way:?}: {put}");
        }
        // The same where somebody else finds that it is over.
        assert_eq!(writer.ask("DEBUG SET-ACTIVE-EXPIRE 0"), "OK");
        for (key, put, read) in SHORT {
            read_short(&mut reader, put, read);
            writer.wait_for(read, |answer| answer == "nil" || answer == "[nil]");
            assert_eq!(reader.told(), [*key], "{way:?}: {put}, found by another client");
        }
        assert_eq!(writer.ask("DEBUG SET-ACTIVE-EXPIRE 1"), "OK");
    }
}

#[test]
fn a_flush_ends_everything_and_a_repair_tells_of_what_it_mends() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        for flush in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
            let mut reader = Reader::new(&server, way, "");
            put_three(&mut writer);
            reader.read(&READ_THREE);
            writer.succeed(flush);
            assert_eq!(reader.told(), [EVERYTHING], "{way:?}: {flush}");
        }
        let mut reader = Reader::new(&server, way, "");
        put_three(&mut writer);
        writer.succeed("PERSIST miroir:session:s");
        writer.succeed("HDEL miroir:aliases:movies kind");
        reader.read(&READ_THREE);
        let mended = writer.succeed("MIROIR.AUDIT miroir 0 COUNT 1000 REPAIR");
        assert_eq!(reader.told(), [ALIAS, SESSION], "{way:?}: {mended}");
    }
}

#[test]
fn a_change_of_another_row_and_a_refused_change_tell_nothing() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        let mut reader = Reader::new(&server, way, "");
        writer.succeed("FLUSHALL");
        reader.told();
        for line in [
            "MIROIR.PUT miroir:aliases:multi-2 kind multi target_uids '[\"a\"]'",
            "MIROIR.PUT miroir:admin_session:r csrf_token x admin_key_hash y revoked 1",
            "MIROIR.PUT miroir:node_settings_version:movies:n version 4",
        ] {
            writer.succeed(line);
        }
        for Case { put, .. } in CASES {
            writer.succeed(put);
        }
        writer.succeed("MIROIR.TASK.STATUS miroir:tasks:t failed ERROR timeout");
        let reads: Vec<&str> = CASES.iter().flat_map(|case| case.reads).copied().collect();
        reader.read(&reads);
        reader.read(&[
            "MIROIR.GET miroir:aliases:multi-2",
            "MIROIR.GET miroir:admin_session:r",
            "MIROIR.GET miroir:node_settings_version:movies:n",
        ]);
        for line in [
            "MIROIR.PUT miroir:aliases:movies NX kind single current_uid v2",
            "MIROIR.PUT miroir:aliases:none XX kind single current_uid v2",
            "MIROIR.PUT miroir:aliases:movies kind single",
            "MIROIR.PATCH miroir:aliases:movies version x",
            "MIROIR.ALIAS.FLIP miroir:aliases:movies v2 IFVERSION 9",
            "MIROIR.ALIAS.FLIP miroir:aliases:multi-2 v2",
            "MIROIR.ALIAS.FLIP miroir:aliases:movies TARGETS 1 v2",
            "MIROIR.PUT miroir:tasks:t status processing",
            "MIROIR.PATCH miroir:tasks:t status processing",
            "MIROIR.TASK.STATUS miroir:tasks:t processing",
            "MIROIR.TASK.STATUS miroir:tasks:t failed ERROR again",
            "MIROIR.PRUNE miroir:tasks BEFORE 999",
            "MIROIR.PATCH miroir:node_settings_version:movies:n version 3",
            "MIROIR.PATCH miroir:admin_session:r revoked 0",
            "MIROIR.TOUCH miroir:admin_session:r",
            "MIROIR.PUT miroir:admin_session:r csrf_token x admin_key_hash y",
            "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 4",
            "MIROIR.CURSOR.ADVANCE miroir:cdc_cursor:kafka:movies 9 IFSEQ 4",
            "MIROIR.LEASE.ACQUIRE miroir:lease:leader pod-2 600000",
            "MIROIR.LEASE.RENEW miroir:lease:leader pod-1 600000 TOKEN 99",
            "MIROIR.LEASE.RELEASE miroir:lease:leader pod-2",
            "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 7 POLICY reject three",
            "MIROIR.CDC.ACK miroir:cdc:overflow:kafka 0",
            "MIROIR.CDC.TRIM miroir:cdc:overflow:kafka BUDGET 1000",
            "MIROIR.JOB.CLAIM miroir:jobs pod-1 600000 TYPE none",
            "MIROIR.JOB.RENEW miroir:jobs:claimed pod-1 2 600000",
            "MIROIR.JOB.FINISH miroir:jobs:claimed pod-2 1 completed",
            "MIROIR.IDEMP.COMPLETE miroir:idemp:k t2",
            "MIROIR.IDEMP.ABORT miroir:idemp:k t2",
            "MIROIR.SCOPEDKEY.ROTATE miroir:search_ui_scoped_key:movies u2 1",
            "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:192.0.2.1 1 600000",
            "MIROIR.PATCH miroir:aliases:movies FENCE miroir:lease:leader 9 current_uid v9",
            "MIROIR.AUDIT miroir 0 COUNT 10000 REPAIR",
            "MIROIR.MEMORY miroir SAMPLES 0",
            "MIROIR.LIST miroir:aliases",
            "MIROIR.COUNT miroir:session",
            "INFO miroir",
        ] {
            let answer = writer.ask(line);
            assert_eq!(reader.told(), [""; 0], "{way:?}: {line}: {answer}");
        }
        // The same commands, in another namespace and on the rows beside them.
        for Case { key, put, changes, .. } in CASES {
            for change in *changes {
                for line in [&format!("DEL {key}"), *put, *change] {
                    writer.succeed(&line.replace("miroir:", "other:"));
                    if change.contains(key) && *key != "miroir:live_pods" {
                        writer.succeed(&line.replace(key, &format!("{key}-2")));
                    }
                }
                assert_eq!(reader.told(), [""; 0], "{way:?}: {change}, on another row");
            }
        }
    }
}

#[test]
fn optin_optout_and_noloop_tell_what_they_say() {
    let server = Server::start();
    let mut writer = server.client();
    let change = "HINCRBY miroir:aliases:movies version 1";
    for way in WAYS {
        put_three(&mut writer);
        let mut reader = Reader::new(&server, way, "OPTIN");
        reader.read(&READ_THREE);
        writer.succeed(change);
        assert_eq!(reader.told(), [""; 0], "{way:?}: it did not opt in");
        for lines in [
            &["CLIENT CACHING YES", READ_THREE[0], READ_THREE[1]][..],
            &["CLIENT CACHING YES", "MIROIR.GET miroir:aliases:movies kind", READ_THREE[1]],
            &["CLIENT CACHING YES", "MULTI", READ_THREE[0], "EXEC", READ_THREE[1]],
        ] {
            reader.read(lines);
            writer.succeed("MIROIR.PATCH miroir:aliases:movies current_uid v2");
            writer.succeed("MIROIR.TOUCH miroir:session:s");
            assert_eq!(reader.told(), [ALIAS], "{way:?}: {lines:?}");
        }

        let mut reader = Reader::new(&server, way, "OPTOUT");
        reader.read(&[READ_THREE[0], "CLIENT CACHING NO", READ_THREE[1], READ_THREE[2]]);
        writer.run(&[
            change,
            "MIROIR.TOUCH miroir:session:s",
            "MIROIR.PATCH miroir:tenant_map:00ff group_id g",
        ]);
        assert_eq!(reader.told(), [ALIAS, TENANT], "{way:?}: it opted out of the session");

        for (options, told) in [("", &[ALIAS][..]), ("NOLOOP", &[])] {
            for change in [
                change,
                "MIROIR.PATCH miroir:aliases:movies current_uid v3",
                "MIROIR.DEL miroir:aliases:movies",
            ] {
                put_three(&mut writer);
                let mut reader = Reader::new(&server, way, options);
                reader.read(&READ_THREE);
                reader.client.succeed(change);
                assert_eq!(reader.told(), told, "{way:?} {options}: its own {change}");
                writer.succeed("MIROIR.TOUCH miroir:session:s");
                assert_eq!(reader.told(), [SESSION], "{way:?} {options}: another's");
            }
        }
    }
}

#[test]
fn bcast_tells_of_every_row_with_the_prefix_whoever_has_read_it() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        writer.succeed("FLUSHALL");
        put_three(&mut writer);
        let mut reader = Reader::new(&server, way, "BCAST PREFIX miroir:aliases: PREFIX miroir:session:");
        for (change, told) in [
            ("MIROIR.ALIAS.FLIP miroir:aliases:movies v2", &[ALIAS][..]),
            ("HSET miroir:aliases:movies version 9", &[ALIAS]),
            ("MIROIR.TOUCH miroir:session:s", &[SESSION]),
            ("MIROIR.PATCH miroir:tenant_map:00ff group_id g", &[]),
            ("MIROIR.PUT miroir:tasks:t index_uid movies", &[]),
            (
                "MIROIR.PUT miroir:aliases:new kind single current_uid v1",
                &["miroir:aliases:_index", "miroir:aliases:new"],
            ),
            ("MIROIR.DEL miroir:aliases:new", &["miroir:aliases:_index", "miroir:aliases:new"]),
            ("MIROIR.ALIAS.FLIP miroir:aliases:movies v3 IFVERSION 3", &[]),
            ("MIROIR.GET miroir:aliases:movies", &[]),
            ("MIROIR.LIST miroir:aliases", &[]),
        ] {
            writer.succeed(change);
            assert_eq!(reader.told(), told, "{way:?}: {change}");
        }
        writer.succeed("DEBUG SET-ACTIVE-EXPIRE 0");
        writer.succeed("MIROIR.PUT miroir:session:short PX 1 pinned_group g");
        assert_eq!(reader.told(), ["miroir:session:short"], "{way:?}: when it was written");
        writer.wait_for("MIROIR.GET miroir:session:short", |answer| answer == "nil");
        assert_eq!(reader.told(), ["miroir:session:short"], "{way:?}: when its time was up");

        let mut reader = Reader::new(&server, way, "BCAST NOLOOP PREFIX miroir:aliases:");
        reader.client.succeed("HSET miroir:aliases:movies version 10");
        assert_eq!(reader.told(), [""; 0], "{way:?}: its own");
        // What the module does by a call has no author that the server knows, as in a script.
        for (own, told) in [
            ("MIROIR.ALIAS.FLIP miroir:aliases:movies v4", &[][..]),
            ("MIROIR.PUT miroir:aliases:other kind single current_uid v1", &["miroir:aliases:_index"]),
            (
                "EVAL 'return redis.call([[HSET]], KEYS[1], [[version]], 11)' 1 miroir:aliases:movies",
                &[ALIAS],
            ),
            ("MIROIR.DEL miroir:aliases:other", &["miroir:aliases:_index", "miroir:aliases:other"]),
        ] {
            reader.client.succeed(own);
            assert_eq!(reader.told(), told, "{way:?}: {own}");
        }
    }
}

#[test]
fn lists_and_counts_are_read_by_a_key_that_never_changes() {
    let server = Server::start();
    let mut writer = server.client();
    for way in WAYS {
        let mut reader = Reader::new(&server, way, "");
        put_three(&mut writer);
        reader.read(&[
            "MIROIR.LIST miroir:aliases WHERE kind single IDS",
            "MIROIR.COUNT miroir:aliases BY kind",
            "MIROIR.LIST miroir:session IDS",
            "MIROIR.COUNT miroir:session",
        ]);
        for line in [
            "MIROIR.ALIAS.FLIP miroir:aliases:movies v2",
            "MIROIR.PUT miroir:aliases:other kind single current_uid v1",
            "MIROIR.DEL miroir:aliases:other",
            "HSET miroir:session:s pinned_group g2",
            "DEL miroir:session:s miroir:aliases:movies",
        ] {
            writer.succeed(line);
            assert_eq!(reader.told(), [""; 0], "{way:?}: {line}");
        }
        writer.succeed("DEL miroir:aliases:other miroir:session:other");
        // From Redis 7.2 on the server tells of the rows that were in an answer, but of no row that is new.
        put_three(&mut writer);
        reader.read(&["MIROIR.LIST miroir:aliases", "MIROIR.LIST miroir:session"]);
        for line in [
            "MIROIR.PUT miroir:aliases:other kind single current_uid v1",
            "MIROIR.PUT miroir:session:other pinned_group g1",
        ] {
            assert_eq!(writer.succeed(line), "1");
            assert_eq!(reader.told(), [""; 0], "{way:?}: {line}");
        }
        // An index set is a key, and it follows the rows whoever writes them.
        let mut reader = Reader::new(&server, way, "");
        reader.read(&["SMEMBERS miroir:aliases:_index"]);
        writer.succeed("DEL miroir:aliases:movies");
        assert_eq!(reader.told_in_time(), ["miroir:aliases:_index"], "{way:?}");
        reader.read(&["SMEMBERS miroir:aliases:_index"]);
        writer.succeed("HSET miroir:aliases:movies name movies kind single current_uid v1");
        assert_eq!(reader.told_in_time(), ["miroir:aliases:_index"], "{way:?}");
    }
}

#[test]
fn a_client_of_a_replica_is_told_of_what_the_master_changes() {
    let master = Server::start();
    let replica = Server::replica_of(&master, &[]);
    let (mut writer, mut other) = (master.client(), replica.client());
    for way in WAYS {
        let mut reader = Reader::new(&replica, way, "");
        for Case { key, beside, put, reads, changes } in CASES {
            for change in *changes {
                writer.succeed(&format!("DEL {key}"));
                writer.succeed(put);
                replicate(&mut writer, &mut other);
                reader.read(reads);
                writer.succeed(change);
                replicate(&mut writer, &mut other);
                assert_eq!(told_but(&mut reader, beside), [*key], "{way:?}: {change}");
            }
        }
        put_three(&mut writer);
        replicate(&mut writer, &mut other);
        reader.read(&READ_THREE);
        writer.succeed("MIROIR.PUT miroir:aliases:other kind single current_uid v1");
        writer.succeed("MIROIR.ALIAS.FLIP miroir:aliases:movies v2 IFVERSION 9");
        replicate(&mut writer, &mut other);
        assert_eq!(reader.told(), [""; 0], "{way:?}: another row, and a refusal");
        // It is the master that ends a row whose time is up.
        writer.succeed("DEBUG SET-ACTIVE-EXPIRE 0");
        writer.succeed("PEXPIRE miroir:tenant_map:00ff 200");
        replicate(&mut writer, &mut other);
        assert_eq!(reader.told(), [TENANT], "{way:?}: it has an end now");
        reader.read(&READ_THREE);
        writer.wait_for(READ_THREE[2], |answer| answer == "nil");
        replicate(&mut writer, &mut other);
        assert_eq!(reader.told(), [TENANT], "{way:?}: its time is up");
        writer.succeed("FLUSHALL");
        replicate(&mut writer, &mut other);
        assert_eq!(reader.told(), [EVERYTHING], "{way:?}");
    }
}
