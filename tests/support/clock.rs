//! The server's clock, as its clients see it.

use super::{patience, Client};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Waits until the server's clock has passed a time.
pub fn wait_until(client: &mut Client, time: i64) {
    let deadline = Instant::now() + patience();
    while client.server_ms() <= time {
        assert!(Instant::now() < deadline, "{time} is too far away");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs something, and answers with its answer the times in which a clock may have been read for it.
pub fn timed<T>(client: &mut Client, work: impl FnOnce(&mut Client) -> T) -> (T, RangeInclusive<i64>) {
    let start = client.server_ms();
    let answer = work(client);
    // The server's cached clock may be a moment behind TIME.
    (answer, start - 20..=client.server_ms())
}
