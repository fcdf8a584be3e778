//! How much memory a server holds, again and again, with the same data.

use std::ops::RangeInclusive;

use super::support::Client;

/// How many looks there have to be for a judgement.
const ENOUGH: usize = 9;

/// Figures of INFO memory, in bytes.
pub struct Samples {
    name: &'static str,
    taken: Vec<i64>,
}

impl Samples {
    pub fn of(name: &'static str) -> Self {
        Self { name, taken: Vec::new() }
    }

    /// Takes one when nothing is going on that holds memory for a while.
    pub fn take(&mut self, client: &mut Client) -> i64 {
        client.wait_for("INFO", |info| {
            ["lazyfree_pending_objects:0", "rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0"]
                .iter()
                .all(|idle| info.contains(idle))
        });
        client.succeed("MEMORY PURGE");
        // The lowest of some, as buffers of connections that have just ended go a moment later.
        let least = (0..5).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            client.figure("memory", self.name)
        });
        let least = least.min().unwrap();
        self.taken.push(least);
        least
    }

    /// Asserts that the last third holds no more than the first, by their medians, but for what hash tables and the
    /// allocator make of the same data.
    pub fn expect_flat(&self, whose: &str, percent: f64) {
        if self.taken.len() < ENOUGH {
            return println!(
                "{whose}: {:?} bytes at {}, too few looks for a judgement",
                self.taken, self.name
            );
        }
        let third = self.taken.len().div_ceil(3);
        let (first, last) = (median(&self.taken[..third]), median(&self.taken[self.taken.len() - third..]));
        let growth = growth(first, last);
        println!(
            "{whose}: {} looks at {}, {:?}; median of the first third {first}, of the last {last}: {growth:+.2} %",
            self.taken.len(),
            self.name,
            self.range()
        );
        assert!(growth < percent, "{whose}: {:?}", self.taken);
    }

    /// Asserts that the highest is not above the highest of others.
    pub fn expect_no_more_than(&self, others: &Self, whose: &str, percent: f64) {
        println!("{whose}: {} looks at {}, {:?}", self.taken.len(), self.name, self.range());
        let growth = growth(*others.range().end(), *self.range().end());
        assert!(
            self.taken.len() < ENOUGH || growth < percent,
            "{whose}: {:?}, others {:?}",
            self.taken,
            others.taken
        );
    }

    fn range(&self) -> RangeInclusive<i64> {
        let (least, most) = (self.taken.iter().min(), self.taken.iter().max());
        *least.unwrap()..=*most.unwrap()
    }
}

/// In per cent.
#[allow(clippy::cast_precision_loss, reason = "they are far below what a float can tell apart")]
fn growth(from: i64, to: i64) -> f64 {
    (to - from) as f64 * 100.0 / from as f64
}

fn median(figures: &[i64]) -> i64 {
    let mut figures = figures.to_vec();
    figures.sort_unstable();
    figures[figures.len() / 2]
}
