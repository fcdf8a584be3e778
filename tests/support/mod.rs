//! Real servers for tests, and a client that answers in short text.
//!
//! Every [`Server`] has a free port on 127.0.0.1 and a directory of its own; both are gone when it is dropped.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod audit;
pub mod clock;
pub mod cluster;
pub mod doctor;
pub mod effects;
pub mod guided;
pub mod network;
pub mod workload;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue, RedisError, Value};
use tempfile::TempDir;

/// A number that whoever runs the tests has set.
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// How long a test waits for something that has to happen.
pub fn patience() -> Duration {
    Duration::from_secs(20) * slowness()
}

/// How many times slower than usual the servers are: `MIROIR_TEST_SLOWNESS`, for servers under a checker of memory.
pub fn slowness() -> u32 {
    std::env::var("MIROIR_TEST_SLOWNESS")
        .map_or(1, |text| text.parse().expect("MIROIR_TEST_SLOWNESS is a number"))
}

/// Whether servers end by themselves, the module first, so that a checker of memory can say what they leave behind:
/// `MIROIR_TEST_GENTLE`.
fn is_gentle() -> bool {
    std::env::var_os("MIROIR_TEST_GENTLE").is_some()
}

/// The file with the settings of a server that keeps them in one.
const SETTINGS: &str = "settings.conf";

/// The module as it is shipped. `MIROIR_MODULE` names another build of it.
pub fn module() -> PathBuf {
    built("MIROIR_MODULE", "release")
}

/// The build with MIROIR.DEBUG. `MIROIR_DEBUG_MODULE` names another build of it.
pub fn debug_module() -> PathBuf {
    built("MIROIR_DEBUG_MODULE", "debug")
}

fn built(variable: &str, profile: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
            Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join(profile).join("libmiroir.so")
        },
        PathBuf::from,
    );
    assert!(path.exists(), "{} is missing: run the tests with `make test`", path.display());
    path
}

/// A server that this test started.
pub struct Server {
    child: Child,
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Server {
    /// A server with the module.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with the module and more arguments, such as `["--appendonly", "yes"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let module = module();
        Self::bare(&[&["--loadmodule", module.to_str().unwrap()], arguments].concat())
    }

    /// A server with the build of the module that has MIROIR.DEBUG.
    pub fn start_debug_build() -> Self {
        Self::bare(&["--loadmodule", debug_module().to_str().unwrap()])
    }

    /// A server with the module that has all the data of another one.
    pub fn replica_of(master: &Self, arguments: &[&str]) -> Self {
        let module = module();
        Self::bare_replica_of(master, &[&["--loadmodule", module.to_str().unwrap()], arguments].concat())
    }

    /// The same without the module, unless the arguments load one.
    pub fn bare_replica_of(master: &Self, arguments: &[&str]) -> Self {
        let port = master.port().to_string();
        let replica = Self::bare(&[&["--replicaof", "127.0.0.1", &port], arguments].concat());
        replicate(&mut master.client(), &mut replica.client());
        replica
    }

    /// A server without the module, unless the arguments load one.
    pub fn bare(arguments: &[&str]) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), arguments.iter().map(ToString::to_string).collect())
    }

    /// A server without the module that keeps its settings in a file, as sentinels do.
    pub fn configured(settings: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(SETTINGS), settings).unwrap();
        Self::launch(directory, arguments.iter().map(ToString::to_string).collect())
    }

    fn launch(directory: TempDir, arguments: Vec<String>) -> Self {
        // Another process may take the free port before the server does: then try the next one.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Self::spawn(port, directory.path(), &arguments);
            if Self::is_ready(&mut child, port) {
                return Self { child, port, directory, arguments };
            }
        }
        let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        panic!("the server does not start; its log:\n{log}");
    }

    fn spawn(port: u16, directory: &Path, arguments: &[String]) -> Child {
        let binary = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let settings = Some(directory.join(SETTINGS)).filter(|file| file.exists());
        Command::new(binary)
            .args(settings)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--logfile", "log"])
            .args(["--enable-debug-command", "yes", "--enable-module-command", "yes"])
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(directory)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: run the tests with `make test`")
    }

    fn is_ready(child: &mut Child, port: u16) -> bool {
        let deadline = Instant::now() + patience();
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            if let Ok(mut connection) = open(port) {
                // The server of another test may have been quicker to take the port.
                let about = redis::cmd("INFO").arg("server").query::<String>(&mut connection);
                let is_this =
                    about.is_ok_and(|about| about.contains(&format!("process_id:{}\r", child.id())));
                if is_this && redis::cmd("PING").query::<String>(&mut connection).is_ok() {
                    return true;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory with its data and its log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Whether the server's process is there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client { connection: open(self.port).unwrap() }
    }

    /// A new connection to this database.
    pub fn client_of(&self, database: u8) -> Client {
        let mut client = self.client();
        client.succeed(&format!("SELECT {database}"));
        client
    }

    /// A new connection that speaks RESP3.
    pub fn client_resp3(&self) -> Client {
        let url = format!("redis://127.0.0.1:{}/?protocol=resp3", self.port);
        Client { connection: redis::Client::open(url).unwrap().get_connection().unwrap() }
    }

    /// Ends the process like a loss of power, and starts it again on its data.
    pub fn kill_and_restart(self) -> Self {
        self.restart_with(None)
    }

    /// Ends the process like a loss of power, and starts another one on its data, with other arguments.
    pub fn kill_and_restart_with(self, arguments: &[&str]) -> Self {
        self.restart_with(Some(arguments.iter().map(ToString::to_string).collect()))
    }

    /// Ends the process like a loss of power.
    pub fn kill(&mut self) {
        self.stop();
    }

    /// Lets the process hang, with its connections open, as a machine that swaps or a virtual one that is moved.
    pub fn pause(&self) {
        self.signal("STOP");
        let deadline = Instant::now() + patience();
        let status = format!("/proc/{}/status", self.child.id());
        while !std::fs::read_to_string(&status).unwrap().contains("State:\tT") {
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it wake.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        assert!(signal(name, self.child.id()), "{name}");
    }

    /// Ends the process as an operator does.
    pub fn shut_down(&mut self) {
        self.client().ask("SHUTDOWN");
        let deadline = Instant::now() + patience();
        while self.is_alive() {
            assert!(Instant::now() < deadline, "it does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it again on its data, at the port that others know, with other arguments.
    pub fn start_again_with(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self.start_again();
    }

    /// Starts it again on its data, at the port that others know.
    pub fn start_again(&mut self) {
        let deadline = Instant::now() + patience();
        loop {
            self.child = Self::spawn(self.port, self.directory.path(), &self.arguments);
            if Self::is_ready(&mut self.child, self.port) {
                return;
            }
            assert!(Instant::now() < deadline, "the server does not start again; its log:\n{}", self.log());
        }
    }

    fn restart_with(mut self, arguments: Option<Vec<String>>) -> Self {
        self.stop();
        let arguments = arguments.unwrap_or_else(|| std::mem::take(&mut self.arguments));
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Self::launch(directory, arguments)
    }

    /// Takes the module out and lets the server end by itself. Nothing is asserted: the test may have left it in any state, and
    /// may be failing.
    fn end(&mut self) {
        let Ok(mut connection) = open(self.port) else { return };
        let _ = connection.set_read_timeout(Some(patience()));
        let mut ask = |words: &[&str]| {
            let _ = redis::cmd(words[0]).arg(&words[1..]).query::<Value>(&mut connection);
        };
        // As long as clients wait for the module, and while it loads, it stays.
        ask(&["CLIENT", "UNPAUSE"]);
        ask(&["MODULE", "UNLOAD", "miroir"]);
        ask(&["SHUTDOWN", "NOSAVE", "NOW", "FORCE"]);
        let deadline = Instant::now() + patience();
        while self.is_alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the process, and those that it forked to write a file: a loss of power leaves none.
    fn stop(&mut self) {
        let id = self.child.id();
        let forked = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let _ = self.child.kill();
        for child in forked.split_whitespace() {
            signal("KILL", child);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if is_gentle() && self.is_alive() {
            self.end();
        }
        self.stop();
    }
}

fn open(port: u16) -> Result<Connection, RedisError> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
    client.get_connection_with_timeout(patience())
}

/// A connection whose answers are short text: `1`, `abc`, `nil`, `[a, 1]`, `{field: value}`, `ERR …`.
pub struct Client {
    pub connection: Connection,
}

impl Client {
    /// Sends a line; words are split at spaces, a word in '…' may hold any but a quote.
    pub fn ask(&mut self, line: &str) -> String {
        self.call(&split(line))
    }

    /// Sends words of any bytes.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> String {
        tell(self.raw(words))
    }

    /// Sends words of any bytes, and answers as the client library does.
    pub fn raw<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<Value, RedisError> {
        command(words).query(&mut self.connection)
    }

    /// Sends a line that must not be answered with an error.
    pub fn succeed(&mut self, line: &str) -> String {
        self.raw(&split(line)).map_or_else(|error| panic!("{line}: {error}"), |answer| show(&answer))
    }

    /// Sends lines that must not be answered with an error.
    pub fn run(&mut self, lines: &[&str]) {
        for line in lines {
            self.succeed(line);
        }
    }

    /// Sends a line and answers its integer.
    pub fn integer(&mut self, line: &str) -> i64 {
        let answer = self.ask(line);
        answer.parse().unwrap_or_else(|_| panic!("{line}: {answer}"))
    }

    /// A number that a section of INFO tells.
    pub fn figure(&mut self, section: &str, name: &str) -> i64 {
        let info = self.ask(&format!("INFO {section}"));
        figure(&info, name).unwrap_or_else(|| panic!("INFO {section} tells no {name}: {info}"))
    }

    /// The server's clock, in ms.
    pub fn server_ms(&mut self) -> i64 {
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query(&mut self.connection).unwrap();
        seconds * 1000 + micros / 1000
    }

    /// Sends a line and answers what its answer means.
    pub fn read<T: FromRedisValue>(&mut self, line: &str) -> T {
        let value = self.raw(&split(line)).unwrap_or_else(|error| panic!("{line}: {error}"));
        redis::from_redis_value(value).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Asks the same until the answer passes the test, and answers it.
    pub fn wait_for(&mut self, line: &str, test: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience();
        loop {
            let answer = self.ask(line);
            if test(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{line} still answers {answer}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Rewrites the append-only file, and waits until that is done.
    pub fn rewrite_log(&mut self) {
        self.succeed("BGREWRITEAOF");
        self.wait_for("INFO persistence", |info| {
            info.contains("aof_rewrite_in_progress:0")
                && info.contains("aof_rewrite_scheduled:0")
                && info.contains("aof_last_bgrewrite_status:ok")
        });
    }

    /// Everything in the selected database, in a form that can be compared and printed.
    pub fn dump(&mut self) -> BTreeMap<String, String> {
        let Value::Array(keys) = self.raw(&["KEYS", "*"]).unwrap() else { panic!("KEYS") };
        let bytes = |key| match key {
            Value::BulkString(key) => key,
            other => panic!("KEYS: {other:?}"),
        };
        self.dump_of(keys.into_iter().map(bytes))
    }

    /// The same of some keys. One that is not there is of the kind none.
    pub fn dump_of(&mut self, keys: impl Iterator<Item = Vec<u8>>) -> BTreeMap<String, String> {
        keys.map(|key| {
            let key = &key;
            let kind = self.call(&[b"TYPE", &key[..]]);
            let mut content = match kind.as_str() {
                "hash" => self.items(&[b"HGETALL", key], 2),
                "set" => self.items(&[b"SMEMBERS", key], 1),
                "zset" => self.items(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], 2),
                "list" => self.items(&[b"LRANGE", key, b"0", b"-1"], 1),
                "none" => Vec::new(),
                _ => vec![self.call(&[b"GET", &key[..]])],
            };
            if kind != "list" {
                content.sort();
            }
            let end = self.call(&[b"PEXPIRETIME", &key[..]]);
            (
                String::from_utf8_lossy(key).into_owned(),
                format!("{kind} until {end}: {}", content.join(" | ")),
            )
        })
        .collect()
    }

    fn items(&mut self, words: &[&[u8]], each: usize) -> Vec<String> {
        let Value::Array(items) = self.raw(words).unwrap() else { panic!("no array") };
        items.chunks(each).map(|item| item.iter().map(show).collect::<Vec<_>>().join("=")).collect()
    }
}

/// Waits until a replica has applied all that its master has sent so far.
pub fn replicate(master: &mut Client, replica: &mut Client) {
    replica.wait_for("INFO replication", |info| info.contains("master_link_status:up"));
    let sent = master.figure("replication", "master_repl_offset");
    replica.wait_for("INFO replication", |info| figure(info, "slave_repl_offset") >= Some(sent));
}

/// A number in an answer of INFO.
pub fn figure(info: &str, name: &str) -> Option<i64> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}

/// Sends a signal, such as `TERM`, to a process. Answers whether there was one. The command is the shell's own: not every machine has a
/// program of that name.
pub fn signal(name: &str, process: impl std::fmt::Display) -> bool {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("kill -s {name} {process}")]).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// Asserts that every line is answered with an error that holds its text, and that no data change.
pub fn assert_refused(client: &mut Client, cases: &[(&str, &str)]) {
    let before = client.dump();
    for (line, expected) in cases {
        let answer = client.ask(line);
        let code = answer.split(' ').next().unwrap_or_default();
        assert!(["ERR", "WRONGTYPE", "CROSSSLOT"].contains(&code), "{line}: no error but {answer}");
        assert!(answer.contains(expected), "{line}: {answer}, without {expected:?}");
        assert_eq!(client.dump(), before, "{line} changed the data");
    }
}

fn command<W: AsRef<[u8]>>(words: &[W]) -> redis::Cmd {
    let (name, arguments) = words.split_first().unwrap();
    let mut command = redis::cmd(&String::from_utf8_lossy(name.as_ref()));
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    command
}

/// An answer, or an error, as short text.
fn tell(answer: Result<Value, RedisError>) -> String {
    match answer {
        Ok(value) => show(&value),
        Err(error) => {
            let code = error.code().unwrap_or("?");
            error.detail().map_or_else(|| format!("{code} {error}"), |detail| format!("{code} {detail}"))
        }
    }
}

fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

pub fn show(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(show).collect::<Vec<_>>().join(", ");
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(items) | Value::Set(items) => format!("[{}]", list(items)),
        Value::Map(pairs) => {
            let mut text = String::new();
            for (name, value) in pairs {
                let comma = if text.is_empty() { "" } else { ", " };
                write!(text, "{comma}{}: {}", show(name), show(value)).unwrap();
            }
            format!("{{{text}}}")
        }
        other => format!("{other:?}"),
    }
}
