//! A terminal view of a server with the module, which refreshes: tables, jobs, leases, CDC buffers.
//!
//! `make top [PORT=…]`, or `cargo run --example top -- --help`.

mod app;
mod view;
#[path = "../watch/mod.rs"]
mod watch;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use clap::Parser;
use ratatui::crossterm::event::{self, Event};
use ratatui::DefaultTerminal;

use app::App;
use watch::server::{Address, Server};
use watch::{read, Interests, Reading};

/// How long a key may wait for its effect.
const TICK: Duration = Duration::from_millis(100);

/// Shows what a server with the module holds and does, again and again.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    address: Address,
    /// What keys begin with
    #[arg(long, default_value = "miroir")]
    namespace: String,
    /// A sink whose overflow buffer is shown even while it has no cursor; may be given several times
    #[arg(long = "sink")]
    sinks: Vec<String>,
    /// The scope of a lease that is shown even to a user who may not list them; may be given several times
    #[arg(long = "lease")]
    leases: Vec<String>,
    /// How often it refreshes, in seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !io::stdout().is_terminal() {
        let _ = writeln!(io::stderr(), "top: this is for a terminal; for programs there is the exporter");
        return ExitCode::FAILURE;
    }
    let app =
        App::new(format!("{}:{}", options.address.host, options.address.port), options.namespace.clone());
    let (answers, _stop) = look_again_and_again(options);
    // Puts the terminal back as it was, also after a panic.
    match ratatui::run(|terminal| show(terminal, app, &answers)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "top: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the server in a thread of its own: keys work also while a server does not answer. It ends with what is returned.
fn look_again_and_again(options: Options) -> (Receiver<Result<Reading, String>>, Sender<()>) {
    let (told, answers) = mpsc::channel();
    let (stop, stopped) = mpsc::channel();
    std::thread::spawn(move || {
        let interests = Interests {
            namespaces: vec![options.namespace],
            sinks: options.sinks,
            leases: options.leases,
            all_leases: true,
        };
        let mut server = Server::new(options.address, std::env::var("REDIS_PASSWORD").ok());
        loop {
            let reading = server.with(|ask| read(ask, &interests)).map_err(|error| error.to_string());
            let is_heard = told.send(reading).is_ok();
            let pause = stopped.recv_timeout(Duration::from_secs(options.every));
            if !is_heard || pause != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    (answers, stop)
}

fn show(
    terminal: &mut DefaultTerminal,
    mut app: App,
    answers: &Receiver<Result<Reading, String>>,
) -> io::Result<()> {
    while !app.is_over() {
        for answer in answers.try_iter() {
            app.hear(answer, Instant::now());
        }
        terminal.draw(|frame| view::draw(frame, &app, Instant::now()))?;
        if event::poll(TICK)? {
            if let Event::Key(key) = event::read()? {
                app.press(key);
            }
        }
    }
    Ok(())
}
