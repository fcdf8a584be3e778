//! The answers to Prometheus, one at a time: the server is never looked at by two at once.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Instant;

use tiny_http::{Header, Method, Request, Response};

use crate::metrics;
use crate::text;
use crate::watch::ages::Ages;
use crate::watch::server::Server;
use crate::watch::{read, Interests};

/// An exporter that listens.
pub struct Exporter {
    http: tiny_http::Server,
    server: Server,
    interests: Interests,
    ages: Ages,
}

impl Exporter {
    /// Begins to listen. Whether the server is there is told by each answer.
    pub fn listen(
        address: SocketAddr,
        server: Server,
        interests: Interests,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self { http: tiny_http::Server::http(address)?, server, interests, ages: Ages::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.http.server_addr().to_string()
    }

    /// Answers for ever.
    pub fn serve(mut self) {
        while let Ok(request) = self.http.recv() {
            self.answer(request);
        }
    }

    fn answer(&mut self, request: Request) {
        let path = request.url().split('?').next().unwrap_or_default();
        let is_read = matches!(request.method(), Method::Get | Method::Head);
        let answer = match path {
            _ if !is_read => Response::from_string("only GET\n").with_status_code(405),
            "/metrics" => self.metrics(),
            "/healthz" => Response::from_string("ok\n"),
            _ => Response::from_string("see /metrics\n").with_status_code(404),
        };
        // Who reads slowly keeps nobody else waiting. Who asked may be gone by now.
        std::thread::spawn(move || request.respond(answer));
    }

    fn metrics(&mut self) -> Response<std::io::Cursor<Vec<u8>>> {
        let interests = &self.interests;
        let metrics = match self.server.with(|ask| read(ask, interests)) {
            Ok(reading) => metrics::of(&reading, &mut self.ages, Instant::now()),
            Err(error) => metrics::of_failure(&error.to_string()),
        };
        match (text::write(metrics), Header::from_bytes("Content-Type", text::CONTENT_TYPE)) {
            (Ok(answer), Ok(kind)) => Response::from_string(answer).with_header(kind),
            _ => Response::from_string("the metrics cannot be written\n").with_status_code(500),
        }
    }
}
