//! One of several pods leads: it holds a lease, renews it at a third of its time, and fences what it writes.

use std::time::{Duration, Instant};

use redis::{cmd, RedisResult};

use crate::common::{passes, Failure, Stop, Store};

/// Leads, or waits to lead.
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value = "pod-a")]
    pod: String,
    /// The time of the lease, in ms.
    #[arg(long, default_value_t = 30_000)]
    ttl: u64,
}

pub fn run(namespace: &str, options: Options, stop: &Stop) -> Result<(), Failure> {
    let mut leader = Leader {
        store: Store::new()?,
        lease: format!("{namespace}:lease:settings"),
        row: format!("{namespace}:node_settings_version:products:node-0"),
        ttl: Duration::from_millis(options.ttl),
        pod: options.pod,
        tenure: None,
    };
    while !stop.came() {
        let step = if leader.tenure.is_some() { leader.lead() } else { leader.apply() };
        let pause = match step {
            Ok(pause) => pause,
            Err(error) if passes(&error) => {
                println!("{} has no server: {error}", leader.pod);
                leader.ttl / 6
            }
            Err(error) => return Err(error.into()),
        };
        if leader.tenure.as_ref().is_some_and(|tenure| Instant::now() >= tenure.sure_until) {
            leader.step_down("the lease may have run out");
        }
        stop.wait(pause.mul_f64(0.8 + fastrand::f64() / 5.0));
    }
    leader.release();
    Ok(())
}

struct Leader {
    store: Store,
    lease: String,
    row: String,
    ttl: Duration,
    pod: String,
    /// None while another pod leads.
    tenure: Option<Tenure>,
}

struct Tenure {
    token: i64,
    /// By this pod's own clock, and counted from before the question was sent: never later than the server's end.
    sure_until: Instant,
}

impl Leader {
    fn apply(&mut self) -> RedisResult<Duration> {
        let sure_until = Instant::now() + self.ttl;
        let (granted, _, left, token): (bool, String, i64, i64) = self.store.call(
            cmd("MIROIR.LEASE.ACQUIRE").arg(&self.lease).arg(&self.pod).arg(self.ttl.as_millis() as u64),
        )?;
        if !granted {
            let left = u64::try_from(left).map_or(self.ttl, Duration::from_millis);
            return Ok(left.min(self.ttl / 3));
        }
        println!("{} leads with token {token}", self.pod);
        self.tenure = Some(Tenure { token, sure_until });
        Ok(Duration::ZERO)
    }

    fn lead(&mut self) -> RedisResult<Duration> {
        let Some(tenure) = &mut self.tenure else { return Ok(Duration::ZERO) };
        let sure_until = Instant::now() + self.ttl;
        let (renewed, _, _, _): (bool, Option<String>, i64, i64) = self.store.call(
            cmd("MIROIR.LEASE.RENEW")
                .arg(&self.lease)
                .arg(&self.pod)
                .arg(self.ttl.as_millis() as u64)
                .arg("TOKEN")
                .arg(tenure.token),
        )?;
        if !renewed {
            self.step_down("the lease is lost");
            return Ok(Duration::ZERO);
        }
        tenure.sure_until = sure_until;
        let token = tenure.token;
        self.work(token)?;
        Ok(self.ttl / 3)
    }

    /// A leader's work. Whatever it writes has the token: a pod that was deposed meanwhile changes nothing.
    fn work(&mut self, token: i64) -> RedisResult<()> {
        let known: Option<(i64,)> = self.store.call(cmd("MIROIR.GET").arg(&self.row).arg("version"))?;
        let version = known.map_or(0, |(version,)| version) + 1;
        let mut put = cmd("MIROIR.PUT");
        put.arg(&self.row).arg("FENCE").arg(&self.lease).arg(token).arg("version").arg(version);
        match self.store.call::<()>(&put) {
            Ok(()) => println!("{} wrote version {version}", self.pod),
            Err(error) if error.code() == Some("STALE") => self.step_down("another pod leads"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn step_down(&mut self, why: &str) {
        println!("{} steps down: {why}", self.pod);
        self.tenure = None;
    }

    /// Lets the next pod lead at once, instead of when the lease runs out.
    fn release(&mut self) {
        let Some(tenure) = self.tenure.take() else { return };
        let mut release = cmd("MIROIR.LEASE.RELEASE");
        release.arg(&self.lease).arg(&self.pod).arg("TOKEN").arg(tenure.token);
        match self.store.call::<i64>(&release) {
            Ok(_) => println!("{} released the lease", self.pod),
            Err(error) => {
                println!("{} could not release the lease, which runs out by itself: {error}", self.pod)
            }
        }
    }
}
