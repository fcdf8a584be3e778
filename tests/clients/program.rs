//! The example clients as processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::support::{patience, signal, Server};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Rust,
    Python,
    Node,
}

pub const LANGUAGES: [Language; 3] = [Language::Rust, Language::Python, Language::Node];

/// A program that runs, and ends with the test at the latest.
pub struct Program {
    about: String,
    child: Child,
    folder: TempDir,
}

impl Program {
    /// One of the four clients.
    pub fn start(language: Language, client: &str, server: &Server, arguments: &[&str]) -> Self {
        let mut command = match language {
            Language::Rust => {
                let mut command = Command::new(example("clients"));
                command.arg(client);
                command
            }
            Language::Python => script(python(), &format!("python/{client}.py")),
            Language::Node => script("node".into(), &format!("node/{client}.mjs")),
        };
        command.args(arguments).env("REDIS_URL", url(server));
        Self::spawn(command, format!("{client} in {language:?} with {arguments:?}"))
    }

    /// The client that README.md shows.
    pub fn of_readme(language: Language, server: &Server) -> Self {
        let mut command = match language {
            Language::Rust => Command::new(example("client")),
            Language::Python => script(python(), "python/client.py"),
            Language::Node => script("node".into(), "node/client.mjs"),
        };
        command.arg(url(server));
        Self::spawn(command, format!("client of README.md in {language:?}"))
    }

    fn spawn(mut command: Command, about: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = File::create(folder.path().join("output")).unwrap();
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{about}: {error}: run the tests with `make clients`"));
        Self { about, child, folder }
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("output")).unwrap()
    }

    /// Waits until it has printed a text.
    pub fn wait_for(&mut self, text: &str) {
        self.wait_for_all(&[text]);
    }

    /// Waits until it has printed texts one after the other.
    pub fn wait_for_all(&mut self, texts: &[&str]) {
        let has_all =
            |said: &str| texts.iter().try_fold(said, |said, text| Some(said.split_once(text)?.1)).is_some();
        let deadline = Instant::now() + patience();
        while !has_all(&self.said()) {
            let status = self.child.try_wait().unwrap();
            assert!(
                status.is_none(),
                "{} ends with {status:?}, without {texts:?}:\n{}",
                self.about,
                self.said()
            );
            assert!(Instant::now() < deadline, "{} does not say {texts:?} but\n{}", self.about, self.said());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        assert!(signal(name, self.child.id()), "{name}");
    }

    /// Waits until it has ended in peace, and answers all that it has printed.
    pub fn end(mut self) -> String {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{} ends with {status}:\n{}", self.about, self.said());
                return self.said();
            }
            assert!(Instant::now() < deadline, "{} does not end:\n{}", self.about, self.said());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

/// A cargo example, which lies beside the folder of the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients")
}

/// The Python in which redis-py is installed.
fn python() -> PathBuf {
    clients().join("python/.venv/bin/python")
}

fn script(interpreter: PathBuf, path: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(clients().join(path));
    command
}
