//! Runs what a page shows against a server.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::{module, Server};

/// A server, and a redis-cli that goes there by itself.
pub struct Player {
    server: Server,
    folder: TempDir,
}

/// What redis-cli says of a line that it cannot split into words. It asks no server, so that this tells one answer from the
/// next in every state of the connection, in a transaction as well.
const SEPARATOR: (&str, &str) = ("\"", "Invalid argument(s)");

impl Player {
    /// A player with an empty server.
    pub fn new() -> Self {
        Self::on(Server::start(), tempfile::tempdir().unwrap())
    }

    fn on(server: Server, folder: TempDir) -> Self {
        let player = Self { server, folder };
        // It shows what it shows on a terminal.
        let script = format!(
            "#!/bin/sh\nexec {} --no-raw -p {} \"$@\"\n",
            redis_cli().display(),
            player.server.port()
        );
        let path = player.folder.path().join("redis-cli");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        player
    }

    /// A player whose server has a configuration of a page.
    pub fn configured(lines: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, here(&lines.join("\n"))).unwrap();
        Self::on(Server::start_with(&["--include", file.to_str().unwrap()]), folder)
    }

    /// What redis-cli shows for each command of a session.
    pub fn session(&self, commands: &[&str]) -> Vec<Vec<String>> {
        let mut client = self.command(&["redis-cli"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut lines = client.stdin.take().unwrap();
        for command in commands {
            writeln!(lines, "{}\n{}", here(command), SEPARATOR.0).unwrap();
        }
        drop(lines);
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let mut answers: Vec<Vec<String>> = text
            .split(SEPARATOR.1)
            .map(|answer| answer.trim_start_matches('\n').lines().map(str::to_owned).collect())
            .collect();
        answers.truncate(commands.len());
        assert!(output.status.success() && answers.len() == commands.len(), "redis-cli ends early: {text}");
        answers
    }

    /// What a line of the shell prints, and whether it succeeds.
    pub fn shell(&self, line: &str) -> (bool, String) {
        let output = self.command(&["bash", "-c", &here(line)]).stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// A program that ends after a minute at the latest.
    fn command(&self, words: &[&str]) -> Command {
        let path = format!("{}:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("timeout");
        command.arg("60").args(words).env("PATH", path).env("HOME", self.folder.path());
        command.current_dir(self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// With what a page can only name in general.
pub fn here(line: &str) -> String {
    line.replace("/path/to/libmiroir.so", module().to_str().unwrap())
}

fn redis_cli() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let candidates = std::env::split_paths(&path).map(|folder| folder.join("redis-cli"));
    candidates
        .into_iter()
        .find(|path| path.exists())
        .expect("redis-cli is installed: run the tests with `make test`")
}
