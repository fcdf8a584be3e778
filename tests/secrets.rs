//! Secrets of the task store in what the server shows of commands: SLOWLOG, MONITOR, INFO, ACL LOG, its log.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{patience, Client, Server};

/// What MONITOR shows until the word `end` comes by.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn on(server: &Server) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(patience() + Duration::from_secs(1))).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "+OK\r\n");
        Self(reader)
    }

    fn seen(mut self, client: &mut Client) -> String {
        client.ask("ECHO end-of-monitor");
        let mut seen = String::new();
        while !seen.contains("end-of-monitor") {
            assert_ne!(self.0.read_line(&mut seen).unwrap(), 0, "{seen}");
        }
        seen
    }
}

/// Writes of secrets that are done, and writes that are refused before and after the row is looked at.
const WRITES: &[&str] = &[
    "MIROIR.PUT m:admin_session:a csrf_token SECRET admin_key_hash SECRET user_agent shown",
    "MIROIR.PUT m:admin_session:a NX PX 60000 csrf_token SECRET admin_key_hash SECRET",
    "MIROIR.PATCH m:admin_session:a csrf_token SECRET",
    "MIROIR.PATCH m:admin_session:none csrf_token SECRET",
    "MIROIR.PUT m:admin_session:a FENCE m:lease:l 1 csrf_token SECRET admin_key_hash SECRET",
    "MIROIR.PATCH m:admin_session:a FENCE m:lease:l 1 csrf_token SECRET",
    "MIROIR.PUT m:admin_session:a nonsense x csrf_token SECRET admin_key_hash SECRET",
    "MIROIR.PUT m:admin_session:a PX nonsense csrf_token SECRET",
    "MIROIR.PUT m:admin_session:a csrf_token SECRET csrf_token SECRET",
    "MIROIR.PUT m:admin_session:_a csrf_token SECRET admin_key_hash SECRET",
    "MIROIR.PUT m:search_ui_scoped_key:i primary_uid u generation 1 primary_key SECRET previous_key SECRET",
    "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:i shown 2 PRIMARYKEY SECRET",
    "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:i shown 3 primarykey SECRET FENCE m:lease:l 1",
    "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:i shown nonsense PRIMARYKEY SECRET",
    "MIROIR.SCOPEDKEY.RETIRE m:search_ui_scoped_key:i 2 FORCE",
    "MIROIR.ADMIN.REVOKE m:admin_session:a",
    // Names that are not quite right.
    "MIROIR.PATCH m:admin_session:a CSRF_TOKEN SECRET",
    "MIROIR.PUT m:admin_sessions:a csrf_token SECRET admin_key_hash SECRET",
    "MIROIR.PUT nonsense admin-key-hash SECRET",
    "MIROIR.PUT m:search_ui_scoped_key:i primary_uid shown PRIMARYKEY SECRET",
    "MIROIR.SCOPEDKEY.ROTATE m:search_ui_scoped_key:i shown 3 PRIMARY_KEY SECRET",
];

#[test]
fn slowlog_and_monitor_do_not_show_the_secrets_that_the_module_writes() {
    let server = Server::start_with(&["--loglevel", "debug", "--latency-monitor-threshold", "1"]);
    let mut client = server.client();
    client.run(&["CONFIG SET slowlog-log-slower-than 0", "CONFIG SET slowlog-max-len 1000"]);
    client.succeed("ACL SETUSER denied on nopass ~m:tasks:* +@all");
    let monitor = Monitor::on(&server);
    WRITES.iter().for_each(|line| drop(client.ask(line)));
    client.succeed("MULTI");
    WRITES.iter().for_each(|line| drop(client.ask(line)));
    let _ = client.raw(&["EXEC"]);
    // The server does not show what it refuses itself.
    let mut denied = server.client();
    denied.succeed("AUTH denied any");
    WRITES.iter().for_each(|line| assert!(denied.ask(line).starts_with("NOPERM"), "{line}"));
    client.succeed("CONFIG SET maxmemory 1");
    WRITES.iter().for_each(|line| drop(client.ask(line)));
    client.succeed("CONFIG SET maxmemory 0");
    let seen = monitor.seen(&mut client);
    assert!(seen.contains("shown") && seen.contains("(redacted)"), "{seen}");
    for shown in [
        seen,
        client.ask("SLOWLOG GET -1"),
        client.ask("INFO everything"),
        client.ask("ACL LOG 1000"),
        client.ask("LATENCY LATEST"),
        client.ask("CLIENT LIST"),
        server.log(),
    ] {
        assert!(!shown.is_empty() && !shown.contains("SECRET"), "{shown}");
    }
    assert_eq!(
        client.ask("HGET m:search_ui_scoped_key:i primary_key"),
        "SECRET",
        "what is hidden is written"
    );
}

#[test]
fn a_script_shows_its_own_arguments_but_not_those_of_the_commands_in_it() {
    let server = Server::start();
    let mut client = server.client();
    client.run(&["CONFIG SET slowlog-log-slower-than 0"]);
    let monitor = Monitor::on(&server);
    let script = "return redis.call('MIROIR.PUT', KEYS[1], 'csrf_token', ARGV[1], 'admin_key_hash', ARGV[1])";
    assert_eq!(client.call(&["EVAL", script, "1", "m:admin_session:a", "SECRET"]), "1");
    let seen = monitor.seen(&mut client);
    let (inner, outer): (Vec<_>, Vec<_>) = seen.lines().partition(|line| line.contains(" lua]"));
    assert!(
        inner.iter().all(|line| !line.contains("SECRET")) && inner.concat().contains("(redacted)"),
        "{seen}"
    );
    assert!(outer.concat().contains("SECRET"), "as with every script");
}

#[test]
fn native_commands_show_what_they_write() {
    let server = Server::start();
    let mut client = server.client();
    client.succeed("CONFIG SET slowlog-log-slower-than 0");
    client.succeed("HSET m:admin_session:a session_id a csrf_token SECRET admin_key_hash SECRET");
    assert!(client.ask("SLOWLOG GET -1").contains("SECRET"));
}
