//! Three operations of the task store, from Rust. Run: cargo run --example client [redis://127.0.0.1:6379]

use std::collections::HashMap;

use redis::{cmd, Connection, RedisResult};

fn main() -> RedisResult<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let mut server: Connection = redis::Client::open(url)?.get_connection()?;

    // Put a task and read it back.
    let task = "play:tasks:mtask-3f2b8c1e-5d47-4a90-9c11-7e0a2b64d8f5";
    let fields = [("index_uid", "products"), ("task_type", "documentAdditionOrUpdate")];
    let put: i64 = cmd("MIROIR.PUT").arg(task).arg(&fields[..]).query(&mut server)?;
    cmd("MIROIR.TASK.NODE").arg(task).arg("node-0").arg("UID").arg(4711).exec(&mut server)?;
    let row: HashMap<String, String> = cmd("MIROIR.GET").arg(task).query(&mut server)?;
    println!("put {put}, status {}, node_tasks {}", row["status"], row["node_tasks"]);

    // Acquire a lease and renew it. The token goes with whatever the leader does.
    let lease = "play:lease:reshard:products";
    let (held, holder, _, token): (bool, String, i64, i64) =
        cmd("MIROIR.LEASE.ACQUIRE").arg(lease).arg("pod-a").arg(10_000).query(&mut server)?;
    println!("lease held {held} by {holder}");
    if held {
        let (renewed, _, left, _): (bool, Option<String>, i64, i64) = cmd("MIROIR.LEASE.RENEW")
            .arg(lease)
            .arg("pod-a")
            .arg(10_000)
            .arg("TOKEN")
            .arg(token)
            .query(&mut server)?;
        println!("renewed {renewed} for {left} ms");
    }

    // Push CDC events, look at the oldest ones, and remove them once they are delivered.
    let buffer = "play:cdc:overflow:kafka-eu";
    let events = [r#"{"op":"add","id":1}"#, r#"{"op":"delete","id":2}"#];
    cmd("MIROIR.CDC.PUSH").arg(buffer).arg("BUDGET").arg(1 << 30).arg(&events[..]).exec(&mut server)?;
    let oldest: Vec<(i64, String)> =
        cmd("MIROIR.CDC.PEEK").arg(buffer).arg("COUNT").arg(100).query(&mut server)?;
    if let Some((seq, newest_seen)) = oldest.last() {
        let removed: i64 = cmd("MIROIR.CDC.ACK").arg(buffer).arg(seq).query(&mut server)?;
        println!("acknowledged {removed}, the last was {newest_seen}");
    }
    Ok(())
}
