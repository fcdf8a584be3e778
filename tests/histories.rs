//! Histories, not only examples: many clients, random pauses that are longer than the leases, holders that die. Each
//! call is recorded with its place in the order of the server and the times at the server. Afterwards a checker replays
//! all of it against the contract, also over a restart from the append-only file, and over a failover to a replica.
//!
//! `MIROIR_HISTORIES_SEED` says what the clients do; the server's order still differs from run to run.

#[path = "histories/claims.rs"]
mod claims;
#[path = "histories/idempotency.rs"]
mod idempotency;
#[path = "histories/jobs.rs"]
mod jobs;
#[path = "histories/leases.rs"]
mod leases;
#[path = "histories/limits.rs"]
mod limits;
#[path = "histories/plays.rs"]
mod plays;
#[path = "histories/recorder.rs"]
mod recorder;
#[path = "histories/replay.rs"]
mod replay;
#[path = "histories/requests.rs"]
mod requests;
mod support;
#[path = "histories/tenures.rs"]
mod tenures;
#[path = "histories/windows.rs"]
mod windows;

use plays::{perform, Turn};

#[test]
fn leases_have_one_holder_and_the_deposed_write_nothing() {
    perform(&leases::play(), Turn::Nothing);
}

#[test]
fn leases_and_fences_hold_over_a_kill_and_a_restart() {
    perform(&leases::play(), Turn::Restart);
}

#[test]
fn leases_and_fences_hold_over_a_failover() {
    perform(&leases::play(), Turn::Failover);
}

/// In the end all are finished, and by the raw rows as well: the survey has seen them.
fn assert_finished(worlds: &[jobs::World]) {
    let [world] = worlds else { panic!("{} possible worlds at the end", worlds.len()) };
    let finished = |job: &jobs::Job| matches!(job.state, jobs::State::Completed | jobs::State::Failed);
    assert!(world.len() > 10, "only {} jobs", world.len());
    assert!(world.values().all(|job| finished(job)), "{world:?}");
}

#[test]
fn jobs_have_one_holder_and_are_finished_once() {
    assert_finished(&perform(&jobs::play(), Turn::Nothing));
}

#[test]
fn jobs_are_finished_once_over_a_kill_and_a_restart() {
    assert_finished(&perform(&jobs::play(), Turn::Restart));
}

#[test]
fn jobs_are_finished_once_over_a_failover() {
    assert_finished(&perform(&jobs::play(), Turn::Failover));
}

#[test]
fn requests_are_new_once_in_each_life_of_their_key() {
    perform(&idempotency::play(), Turn::Nothing);
}

#[test]
fn requests_are_new_once_over_a_kill_and_a_restart() {
    perform(&idempotency::play(), Turn::Restart);
}

#[test]
fn requests_are_new_once_over_a_failover() {
    perform(&idempotency::play(), Turn::Failover);
}

#[test]
fn limits_are_never_exceeded_in_a_window() {
    perform(&limits::play(), Turn::Nothing);
}

#[test]
fn limits_hold_over_a_kill_and_a_restart() {
    perform(&limits::play(), Turn::Restart);
}

#[test]
fn limits_hold_over_a_failover() {
    perform(&limits::play(), Turn::Failover);
}
