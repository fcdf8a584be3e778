//! Clients of the task store, each in a file of its own. Run: cargo run --example clients -- leader --pod pod-a
//!
//! REDIS_URL names the server, `redis://127.0.0.1:6379` by default.

mod common;
mod handler;
mod leader;
mod pump;
mod worker;

use clap::{Parser, Subcommand};

use common::{Failure, Stop};

#[derive(Parser)]
struct Options {
    /// What the keys begin with.
    #[arg(long, default_value = "play", global = true)]
    namespace: String,
    #[command(subcommand)]
    client: Client,
}

#[derive(Subcommand)]
enum Client {
    Leader(leader::Options),
    Worker(worker::Options),
    Pump(pump::Options),
    Handler(handler::Options),
}

fn main() -> Result<(), Failure> {
    let Options { namespace, client } = Options::parse();
    let stop = Stop::on_signals()?;
    match client {
        Client::Leader(options) => leader::run(&namespace, options, &stop),
        Client::Worker(options) => worker::run(&namespace, options, &stop),
        Client::Pump(options) => pump::run(&namespace, options, &stop),
        Client::Handler(options) => handler::run(&namespace, &options, &stop),
    }
}
