//! The example clients in Rust, Python and Node.js: each is run to an end, with deaths in between, and what it did is looked at.

#[path = "clients/http.rs"]
mod http;
#[path = "clients/program.rs"]
mod program;
mod support;

use std::time::{Duration, Instant};

use program::Language::{Node, Python, Rust};
use program::{Language, Program, LANGUAGES};
use support::{patience, Client, Server};

/// The numbers behind a text in what programs said.
fn numbers(said: &[String], text: &str) -> Vec<u64> {
    let lines = said.iter().flat_map(|said| said.lines());
    lines.filter_map(|line| line.split_once(text)?.1.parse().ok()).collect()
}

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn the_lead_passes_on_at_a_stop_and_at_a_standstill_and_no_write_of_a_deposed_leader_counts() {
    for [first, second, third] in [[Rust, Python, Node], [Python, Node, Rust], [Node, Rust, Python]] {
        let server = Server::start();
        let start =
            |language, pod| Program::start(language, "leader", &server, &["--pod", pod, "--ttl", "3000"]);
        let mut client = server.client();
        client.run(&["CONFIG SET slowlog-max-len 10000", "CONFIG SET slowlog-log-slower-than 0"]);
        let mut a = start(first, "a");
        a.wait_for("a leads with token 1");
        a.wait_for("a wrote version 2");
        let mut b = start(second, "b");
        a.signal("TERM");
        let a = a.end();
        assert!(a.contains("a released the lease"), "{a}");
        b.wait_for("b leads with token 2");
        b.wait_for("b wrote version");

        b.signal("STOP");
        let mut c = start(third, "c");
        c.wait_for("c leads with token 3");
        c.wait_for("c wrote version");
        b.signal("CONT");
        b.wait_for("b steps down");
        c.signal("TERM");
        let c = c.end();
        b.wait_for("b leads with token 4");
        b.signal("TERM");
        let said = [a, b.end(), c];

        // Each write went one further: as many as were reported, each by one leader.
        let mut versions = numbers(&said, " wrote version ");
        versions.sort_unstable();
        let last: u64 = client.read("HGET play:node_settings_version:products:node-0 version");
        assert_eq!(versions, (1..=last).collect::<Vec<_>>(), "{said:?}");
        assert_eq!(client.ask("MIROIR.LEASE.GET play:lease:settings"), "nil");
        // And each had its fence, also those that could have done without.
        let log = client.ask("SLOWLOG GET 10000");
        let writes = log.matches("[MIROIR.PUT, ").count();
        let fenced = log
            .matches("[MIROIR.PUT, play:node_settings_version:products:node-0, FENCE, play:lease:settings, ");
        assert_eq!((fenced.count(), writes >= versions.len()), (writes, true), "{log}");
    }
}

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn jobs_are_worked_off_when_a_worker_stops_and_when_one_is_killed() {
    for language in LANGUAGES {
        let server = Server::start();
        let mut client = server.client();
        let start = |name, more: &[&str]| {
            let arguments = [&["--name", name, "--claim", "2000", "--step", "20"], more].concat();
            Program::start(language, "worker", &server, &arguments)
        };
        // How far the long job is, as the renewals of its claim tell.
        let progress = "MIROIR.GET play:jobs:long progress";
        let done = |answer: &str| -> u64 {
            let digits: String = answer.chars().filter(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        client.succeed("MIROIR.PUT play:jobs:long type dump params '{\"steps\":150}'");

        let stopped = start("stopped", &[]);
        client.wait_for(progress, |answer| done(answer) > 0);
        stopped.signal("TERM");
        stopped.end();
        assert_eq!(client.ask("MIROIR.GET play:jobs:long state"), "[queued]", "{language:?}");
        let before = done(&client.ask(progress));

        let killed = start("killed", &[]);
        client.wait_for(progress, |answer| done(answer) > before);
        killed.signal("KILL");
        drop(killed);

        for number in 0..10 {
            client.succeed(&format!("MIROIR.PUT play:jobs:j{number} type dump params '{{\"steps\":3}}'"));
        }
        client.succeed("MIROIR.PUT play:jobs:hopeless type dump params '{\"steps\":0}'");
        let said = [start("one", &["--drain"]), start("two", &["--drain"])].map(Program::end);
        assert_eq!(client.ask("MIROIR.COUNT play:jobs BY state"), "[completed, 11, failed, 1]", "{said:?}");
        assert_eq!(
            client.ask("MIROIR.GET play:jobs:long attempts params progress").replace(' ', ""),
            "[3,{\"steps\":150},{\"done\":150}]",
            "{said:?}"
        );
        assert_eq!(client.ask("MIROIR.GET play:jobs:hopeless error"), "[nothing to do]");
        // Who took the long one over did not begin anew.
        assert!(
            numbers(&said, " works on long from step ").into_iter().all(|step| step > before),
            "{said:?}"
        );
        // Nobody did a job that another one had done.
        assert_eq!(said.concat().matches(" completed ").count(), 11, "{said:?}");
        assert_eq!(client.ask("SCARD play:jobs:_queued"), "0");
    }
}

const BATCH: u64 = 20;

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn every_event_reaches_the_sink_in_order_though_the_sink_fails_and_the_pump_is_killed() {
    for language in LANGUAGES {
        let server = Server::start();
        let mut client = server.client();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events");
        let cursor = "HGET play:cdc_cursor:kafka:products last_event_seq";
        let batch = BATCH.to_string();
        let start = |more: &[&str]| {
            let arguments = ["--file", file.to_str().unwrap(), "--batch", &batch, "--fail", "0.5"];
            Program::start(language, "pump", &server, &[&arguments, more].concat())
        };
        let mut push = |numbers: std::ops::RangeInclusive<u64>| {
            let mut words = vec![
                "MIROIR.CDC.PUSH".to_owned(),
                "play:cdc:overflow:kafka".to_owned(),
                "BUDGET".to_owned(),
                "1000000".to_owned(),
            ];
            words.extend(numbers.map(|number| format!("{{\"id\":{number}}}")));
            client.call(&words);
        };

        push(1..=300);
        let killed = start(&[]);
        server.client().wait_for(cursor, |seq| seq.parse::<u64>().is_ok_and(|seq| seq >= 100));
        killed.signal("KILL");
        drop(killed);
        push(301..=600);
        let said = start(&["--drain"]).end();
        assert!(said.contains("the sink does not answer"), "{said}");

        let mut highest = 0;
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let (seq, event) = line.split_once(' ').unwrap();
            let seq: u64 = seq.parse().unwrap();
            assert_eq!(event, format!("{{\"id\":{seq}}}"), "{language:?}");
            // Either the next one, or one of a batch that begins anew.
            assert!(seq <= highest + 1 && seq + BATCH > highest, "{language:?}: {seq} after {highest}");
            highest = highest.max(seq);
        }
        assert_eq!(highest, 600, "{language:?}");
        assert_eq!(server.client().ask(cursor), "600");
        let stat = server.client().ask("MIROIR.CDC.STAT play:cdc:overflow:kafka");
        assert!(
            stat.starts_with("[length, 0, ") && stat.ends_with("dropped, 0, dropped_bytes, 0, acked, 600]"),
            "{stat}"
        );
    }
}

/// redis-py has its cache for Redis 7.4 and later alone.
fn can_be_cached(client: &mut Client) -> bool {
    let about = client.ask("INFO server");
    let version = about.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap();
    let version: Vec<u32> = version.trim().split('.').map(|part| part.parse().unwrap()).collect();
    !about.contains("valkey") && version >= vec![7, 4]
}

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn a_visitor_who_asks_too_often_is_told_when_to_come_again() {
    for language in LANGUAGES {
        let mut server = Server::start();
        let mut client = server.client();
        client.succeed("MIROIR.PUT play:search_ui_config:products config_json '{\"theme\":\"light\"}'");
        let mut handler = Program::start(
            language,
            "handler",
            &server,
            &["--port", "0", "--limit", "5", "--window", "3000"],
        );
        handler.wait_for("listens on port");
        let port = u16::try_from(numbers(&[handler.said()], "listens on port ")[0]).unwrap();

        for left in (0..5).rev() {
            let answer = http::get(port);
            assert_eq!(
                (answer.status, answer.number("X-RateLimit-Remaining")),
                (200, Some(left)),
                "{language:?}"
            );
            assert!(answer.body.contains("light"), "{language:?}: {}", answer.body);
        }
        let refused = http::get(port);
        assert_eq!(refused.status, 429, "{language:?}");
        let seconds = refused.number("Retry-After").unwrap();
        assert!((1..=3).contains(&seconds), "{language:?}: {seconds}");
        let reads = if language == Python && can_be_cached(&mut client) { 1 } else { 5 };
        let calls = client.ask("INFO commandstats");
        assert!(calls.contains(&format!("cmdstat_MIROIR.GET:calls={reads},")), "{language:?}: {calls}");
        client.succeed("MIROIR.PATCH play:search_ui_config:products config_json '{\"theme\":\"dark\"}'");
        // Who comes again when he was told to is let in.
        std::thread::sleep(Duration::from_secs(seconds));
        let answer = http::get(port);
        assert_eq!(answer.status, 200, "{language:?}");
        assert!(answer.body.contains("dark"), "{language:?}: {}", answer.body);

        // Without the server searches are answered, and with it they are counted again.
        server.kill();
        assert_eq!(http::get(port).status, 200, "{language:?}");
        server.start_again();
        let deadline = Instant::now() + patience();
        while http::get(port).number("X-RateLimit-Remaining").is_none() {
            assert!(Instant::now() < deadline, "{language:?} has not come back:\n{}", handler.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        handler.signal("TERM");
        handler.end();
    }
}

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn the_programs_get_over_a_server_that_hangs_and_one_that_starts_anew() {
    for language in LANGUAGES {
        let mut server = Server::start();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events");
        let mut leader = Program::start(language, "leader", &server, &["--ttl", "1500"]);
        let worker = Program::start(language, "worker", &server, &["--step", "20"]);
        let pump =
            Program::start(language, "pump", &server, &["--file", file.to_str().unwrap(), "--fail", "0"]);
        leader.wait_for("pod-a wrote version 1");

        // Nobody tells the leader that its lease runs out: it knows.
        server.pause();
        leader.wait_for("steps down: the lease may have run out");
        server.resume();
        leader.wait_for_all(&["steps down: the lease may have run out", "leads with token", "wrote version"]);

        server.kill();
        leader.wait_for_all(&["steps down", "wrote version", "has no server"]);
        server.start_again();
        leader.wait_for_all(&["steps down", "wrote version", "has no server", "wrote version"]);
        let mut client = server.client();
        client.succeed("MIROIR.PUT play:jobs:j type dump");
        client.succeed("MIROIR.CDC.PUSH play:cdc:overflow:kafka BUDGET 100 event");
        client.wait_for("MIROIR.GET play:jobs:j state", |state| state == "[completed]");
        client.wait_for("MIROIR.CDC.STAT play:cdc:overflow:kafka", |stat| stat.ends_with("acked, 1]"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1 event\n", "{language:?}");
        for program in [leader, worker, pump] {
            program.signal("TERM");
            program.end();
        }
    }
}

/// A line of docs/clients.md that starts a program: its language, its name, its arguments.
fn started(line: &str) -> Option<(Language, &str, Vec<&str>)> {
    let ways = [(Rust, "cargo run --example clients -- "), (Python, ".venv/bin/python "), (Node, "node ")];
    let (language, rest) =
        ways.iter().find_map(|(language, way)| Some((*language, line.strip_prefix(way)?)))?;
    let mut words = rest.split(' ');
    let name = words.next()?.split('.').next()?;
    Some((language, name, words.collect()))
}

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn every_line_of_the_page_on_clients_starts_a_program_that_ends_at_a_signal() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/clients.md")).unwrap();
    let lines: Vec<_> = page.lines().filter_map(started).collect();
    assert_eq!(lines.len(), 12);
    for (language, name, arguments) in lines {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events");
        let here = |word: &str| match word {
            "8080" => "0".to_owned(),
            "/tmp/events.log" => file.display().to_string(),
            other => other.to_owned(),
        };
        let arguments: Vec<String> = arguments.into_iter().map(here).collect();
        let server = Server::start();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut program = Program::start(language, name, &server, &arguments);
        // It is at work once its first command has come, and then minds signals.
        let wait = |first| server.client().wait_for("INFO commandstats", |calls| calls.contains(first));
        match name {
            "leader" => drop(wait("MIROIR.LEASE.ACQUIRE")),
            "worker" => drop(wait("MIROIR.JOB.CLAIM")),
            "pump" => drop(wait("MIROIR.CDC.PEEK")),
            _ => program.wait_for("listens on port"),
        }
        program.signal("TERM");
        program.end();
    }
}

#[test]
#[ignore = "needs redis-py and node-redis: make clients"]
fn the_clients_of_the_readme_print_what_it_says() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let expected = readme.split("Each prints\n\n```text\n").nth(1).unwrap().split("```").next().unwrap();
    let server = Server::start();
    for (language, pod) in [(Rust, "pod-a"), (Python, "pod-b"), (Node, "pod-c")] {
        for put in ["put 1", "put 2"] {
            let said = Program::of_readme(language, &server).end();
            assert_eq!(
                said.replace("True", "true"),
                expected.replace("pod-a", pod).replace("put 1", put),
                "{language:?}"
            );
        }
    }
}
