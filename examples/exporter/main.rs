//! An exporter of metrics: what a server with the module tells of itself, for Prometheus.
//!
//! `make exporter`, or `cargo run --release --example exporter -- --help`. One beside each server; docs/monitoring.md has the
//! metrics.

mod http;
mod metrics;
mod text;
#[path = "../watch/mod.rs"]
mod watch;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;

use http::Exporter;
use watch::server::{Address, Server};
use watch::Interests;

/// Exports what a server with the module tells of itself as metrics for Prometheus, at /metrics.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    address: Address,
    /// Where to listen for Prometheus
    #[arg(long, default_value = "127.0.0.1:9721")]
    listen: SocketAddr,
    /// What keys begin with; may be given several times
    #[arg(long = "namespace", default_value = "miroir")]
    namespaces: Vec<String>,
    /// A sink whose overflow buffer is told even while it has no cursor; may be given several times
    #[arg(long = "sink")]
    sinks: Vec<String>,
    /// The scope of a lease that is told; may be given several times
    #[arg(long = "lease")]
    leases: Vec<String>,
}

fn main() -> ExitCode {
    let Options { address, listen, namespaces, sinks, leases } = Options::parse();
    let where_it_is = format!("{}:{}", address.host, address.port);
    let interests = Interests { namespaces, sinks, leases, all_leases: false };
    let server = Server::new(address, std::env::var("REDIS_PASSWORD").ok());
    let exporter = match Exporter::listen(listen, server, interests) {
        Ok(exporter) => exporter,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(io::stderr(), "exporter: cannot listen on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let _ = writeln!(io::stdout(), "http://{}/metrics tells of {where_it_is}", exporter.address());
    exporter.serve();
    ExitCode::SUCCESS
}
