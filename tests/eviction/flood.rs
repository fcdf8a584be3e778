//! Several clients that write more rows than the memory holds, without a pause.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Pipeline;

use crate::support::{Client, Server};

const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// How many rows a client sends before it reads the answers.
const ROWS_AT_ONCE: u64 = 100;
/// How long a flood may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Writes the row of a number.
pub type Row = fn(&mut Pipeline, u64);

pub fn session(pipe: &mut Pipeline, number: u64) {
    pipe.cmd("MIROIR.PUT").arg(format!("miroir:session:m{number}")).arg(&["pinned_group", "g1"]).ignore();
}

pub fn raw_session(pipe: &mut Pipeline, number: u64) {
    let key = format!("miroir:session:r{number}");
    pipe.cmd("HSET")
        .arg(&key)
        .arg(&["session_id", "s", "pinned_group", "g", "min_settings_version", "0"])
        .ignore();
    pipe.cmd("EXPIRE").arg(&key).arg(900).ignore();
}

pub fn request(pipe: &mut Pipeline, number: u64) {
    pipe.cmd("MIROIR.IDEMP.BEGIN").arg(format!("miroir:idemp:m{number}")).arg(&[SHA, "mtask-1"]).ignore();
}

pub fn raw_request(pipe: &mut Pipeline, number: u64) {
    let key = format!("miroir:idemp:r{number}");
    pipe.cmd("HSET").arg(&key).arg(&["key", "k", "body_sha256", SHA, "miroir_task_id", "mtask-1"]).ignore();
    pipe.cmd("EXPIRE").arg(&key).arg(86_400).ignore();
}

pub fn task(pipe: &mut Pipeline, number: u64) {
    pipe.cmd("MIROIR.PUT").arg(format!("miroir:tasks:m{number}")).arg(&["index_uid", "movies"]).ignore();
}

pub fn raw_admin_session(pipe: &mut Pipeline, number: u64) {
    let key = format!("miroir:admin_session:r{number}");
    pipe.cmd("HSET").arg(&key).arg(&["session_id", "s", "csrf_token", "t", "admin_key_hash", "h"]).ignore();
    pipe.cmd("EXPIRE").arg(&key).arg(3600).ignore();
}

/// A session that is read right after it was written, so that the server takes it for young.
pub fn raw_session_that_is_read(pipe: &mut Pipeline, number: u64) {
    raw_session(pipe, number);
    pipe.cmd("HGETALL").arg(format!("miroir:session:r{number}")).ignore();
}

pub fn session_that_is_read(pipe: &mut Pipeline, number: u64) {
    session(pipe, number);
    pipe.cmd("MIROIR.GET").arg(format!("miroir:session:m{number}")).ignore();
}

/// The kinds that the capacity planning counts among what may be evicted and that have a TTL, through the module and beside it.
pub const WITH_TTL: &[Row] = &[session, raw_session, request, raw_request, raw_admin_session];
/// The same, and tasks.
pub const MIXED: &[Row] = &[session, raw_session, request, raw_request, task, raw_admin_session];
/// Through the module alone.
pub const OF_MODULE: &[Row] = &[session, request];
/// Beside it alone.
pub const RAW: &[Row] = &[raw_session, raw_request];
/// Rows that are read right after they were written.
pub const READ: &[Row] = &[raw_session_that_is_read, session_that_is_read];

/// Has one client for each kind of rows write until the server has evicted so many keys. Answers how many rows were written
/// and how long it took.
pub fn run(server: &Server, rows: &[Row], evictions: i64) -> (u64, Duration) {
    run_until(server, rows, &mut |client| client.figure("stats", "evicted_keys") >= evictions)
}

/// The same until a test passes, which is made again and again.
pub fn run_until(
    server: &Server,
    rows: &[Row],
    is_over: &mut dyn FnMut(&mut Client) -> bool,
) -> (u64, Duration) {
    let (stop, numbers) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for row in rows {
            scope.spawn(|| {
                let mut client = server.client();
                while !stop.load(Ordering::Relaxed) {
                    let mut pipe = redis::pipe();
                    pipe.ignore_errors();
                    let first = numbers.fetch_add(ROWS_AT_ONCE, Ordering::Relaxed);
                    (first..first + ROWS_AT_ONCE).for_each(|number| row(&mut pipe, number));
                    pipe.query::<()>(&mut client.connection).unwrap();
                }
            });
        }
        let mut client = server.client();
        while !is_over(&mut client) {
            if begun.elapsed() > PATIENCE {
                stop.store(true, Ordering::Relaxed);
                panic!("the server evicts too slowly: {}", client.ask("INFO stats"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
    (numbers.load(Ordering::Relaxed), begun.elapsed())
}
