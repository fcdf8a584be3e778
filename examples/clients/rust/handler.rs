//! Answers searches over HTTP, so many for each address in a window; more get 429 and are told when to come again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{cmd, RedisResult};
use serde_json::{json, Value};
use tiny_http::{Header, Request, Response, Server};

use crate::common::{Failure, Stop, Store};

/// How many threads answer, each with a connection of its own.
const THREADS: usize = 4;

/// Answers searches.
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// How many requests an address may make in a window.
    #[arg(long, default_value_t = 60)]
    limit: u32,
    /// The length of a window, in ms.
    #[arg(long, default_value_t = 60_000)]
    window: u32,
}

pub fn run(namespace: &str, options: &Options, stop: &Stop) -> Result<(), Failure> {
    let server = Server::http(("127.0.0.1", options.port)).map_err(|error| error.to_string())?;
    println!(
        "listens on port {}",
        server.server_addr().to_ip().map_or(options.port, |address| address.port())
    );
    let handlers = (0..THREADS).map(|_| Ok(Handler { store: Store::new()?, namespace, options }));
    let handlers: Vec<Handler<'_>> = handlers.collect::<RedisResult<_>>()?;
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for handler in handlers {
            scope.spawn(|| handler.serve(&server, &ends));
        }
        while !stop.came() {
            stop.wait(Duration::from_secs(60));
        }
        ends.store(true, Ordering::Relaxed);
    });
    Ok(())
}

struct Handler<'o> {
    store: Store,
    namespace: &'o str,
    options: &'o Options,
}

struct Answer {
    status: u16,
    header: Option<(&'static str, String)>,
    body: Value,
}

impl Handler<'_> {
    fn serve(mut self, server: &Server, ends: &AtomicBool) {
        while !ends.load(Ordering::Relaxed) {
            let Ok(Some(request)) = server.recv_timeout(Duration::from_millis(200)) else { continue };
            let Some(peer) = request.remote_addr() else { continue };
            let answer = self.search(peer.ip()).unwrap_or_else(|error| {
                println!("has no server: {error}");
                // Without the store nobody is counted: better a search without a limit than none.
                Answer { status: 200, header: None, body: json!({ "hits": [], "config": {} }) }
            });
            // Who asked may be gone by now.
            let _ = send(request, answer);
        }
    }

    fn search(&mut self, address: IpAddr) -> RedisResult<Answer> {
        let mut hit = cmd("MIROIR.RATELIMIT.HIT");
        hit.arg(format!("{}:ratelimit:searchui:{address}", self.namespace));
        hit.arg(self.options.limit).arg(self.options.window);
        let (allowed, remaining, retry_ms, _): (bool, u64, u64, u64) = self.store.call(&hit)?;
        if !allowed {
            return Ok(Answer {
                status: 429,
                // In whole seconds, rounded up: who comes at that time is let in.
                header: Some(("Retry-After", retry_ms.div_ceil(1000).to_string())),
                body: json!({ "error": "too many requests" }),
            });
        }
        let config = format!("{}:search_ui_config:products", self.namespace);
        let row: Option<HashMap<String, String>> = self.store.call(cmd("MIROIR.GET").arg(config))?;
        let config =
            row.and_then(|row| serde_json::from_str(row.get("config_json")?).ok()).unwrap_or(json!({}));
        Ok(Answer {
            status: 200,
            header: Some(("X-RateLimit-Remaining", remaining.to_string())),
            body: json!({ "hits": [], "config": config }),
        })
    }
}

fn send(request: Request, answer: Answer) -> std::io::Result<()> {
    let headers = [Some(("Content-Type", "application/json".to_owned())), answer.header];
    let mut response = Response::from_string(answer.body.to_string()).with_status_code(answer.status);
    for (name, value) in headers.into_iter().flatten() {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    request.respond(response)
}
