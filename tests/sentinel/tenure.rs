//! A lease whose holder stays with the old master, and that its successor gives to another.

use std::time::{Duration, Instant};

use super::support::{Client, Server};

const LEASE: &str = "miroir:lease:probe";
const ROW: &str = "miroir:aliases:probe";
/// Longer than a failover mostly takes, so that it runs out on the successor.
const LIFE: Duration = Duration::from_secs(7);

pub struct Tenure {
    pub token: i64,
    begun: Instant,
}

/// What became of the holder.
#[derive(Debug)]
pub struct End {
    /// When it asked for the last time and was told that it holds the lease.
    pub held: Instant,
    /// The same, and both replicas had it.
    pub confirmed: Instant,
    /// What it was told instead, and when it wrote.
    pub renewal: String,
    pub write: String,
    /// Whether the master refused all writes before.
    pub was_refused: bool,
}

impl End {
    /// When it had to stop, as far as it knew: going by the answers, and by what both replicas had.
    pub fn sure_until(&self) -> [Instant; 2] {
        [self.held + LIFE, self.confirmed + LIFE]
    }
}

impl Tenure {
    /// Begins one that both replicas know of.
    pub fn begin(master: &Server) -> Self {
        let mut client = master.client();
        let acquire = format!("MIROIR.LEASE.ACQUIRE {LEASE} pod-1 {}", LIFE.as_millis());
        let begun = Instant::now();
        let (_, _, _, token): (i64, String, i64, i64) = client.read(&acquire);
        assert_eq!(client.ask("WAIT 2 20000"), "2");
        Self { token, begun }
    }

    /// Renews the lease, and writes with its token, for as long as it can, or until all is over.
    pub fn hold(&self, master: &Server, is_over: impl Fn() -> bool) -> End {
        let mut client = master.client();
        let renew = format!("MIROIR.LEASE.RENEW {LEASE} pod-1 {} TOKEN {}", LIFE.as_millis(), self.token);
        let (mut held, mut confirmed, mut was_refused) = (self.begun, self.begun, false);
        loop {
            let asked = Instant::now();
            let renewal = client.ask(&renew);
            if renewal.starts_with("[1, ") && !is_over() {
                held = asked;
                if client.ask("WAIT 2 100") == "2" {
                    confirmed = asked;
                }
                self.write(&mut client, "pod-1");
            } else if renewal.starts_with("NOREPLICAS ") && !is_over() {
                was_refused = true;
            } else {
                let write = self.write(&mut client, "pod-1");
                return End { held, confirmed, renewal, write, was_refused };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the successor gives the lease to another.
    pub fn pass_on(&self, successor: &Server) {
        let mut client = successor.client();
        let acquire = format!("MIROIR.LEASE.ACQUIRE {LEASE} pod-2 600000");
        let answer = client.wait_for(&acquire, |answer| answer.starts_with("[1, pod-2, "));
        assert_eq!(answer, format!("[1, pod-2, 600000, {}]", self.token + 1));
    }

    /// Asserts that the master knows of the second one only.
    pub fn expect_passed_on(&self, master: &Server) {
        let mut client = master.client();
        let lease = client.ask(&format!("MIROIR.LEASE.GET {LEASE}"));
        assert!(
            lease.starts_with("[pod-2, ") && lease.ends_with(&format!(", {}]", self.token + 1)),
            "{lease}"
        );
        assert!(self.write(&mut client, "pod-1").starts_with("STALE "));
        client.succeed(&format!("MIROIR.LEASE.RELEASE {LEASE} pod-2"));
    }

    fn write(&self, client: &mut Client, uid: &str) -> String {
        client.ask(&format!("MIROIR.PUT {ROW} FENCE {LEASE} {} kind single current_uid {uid}", self.token))
    }
}
