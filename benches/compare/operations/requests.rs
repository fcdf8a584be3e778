//! What every request of a user passes: limits and the cache of answers.

use super::{alike, script, Operation, Phase, Times};

const BEGIN: Phase = Phase {
    module: "MIROIR.IDEMP.BEGIN miroir:idemp:key-<operation> <sha> task-<operation>",
    client: "HGETALL miroir:idemp:key-<operation> | \
             HSET miroir:idemp:key-<operation> key key-<operation> body_sha256 <sha> miroir_task_id task-<operation> \
             expires_at 4000000000000 ; PEXPIREAT miroir:idemp:key-<operation> 4000000000000",
    name: "begin",
    script: script!("begin"),
    call: "1 miroir:idemp:key-<operation> key-<operation> <sha> task-<operation> 86400000",
    native: "HSET miroir:idemp:key-<operation> key key-<operation> body_sha256 <sha> miroir_task_id task-<operation> \
             expires_at 4000000000000 ; PEXPIREAT miroir:idemp:key-<operation> 4000000000000",
};

/// A request is counted.
pub const LIMIT: Operation = Operation {
    name: "limit",
    title: "rate-limit hit",
    grows: false,
    before: &[],
    phases: &[Phase {
        module: "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.<hot> 1000000 3600000",
        client: "GET miroir:ratelimit:searchui:10.0.0.<hot> ; PTTL miroir:ratelimit:searchui:10.0.0.<hot> | \
                 INCR miroir:ratelimit:searchui:10.0.0.<hot>",
        name: "hit",
        script: script!("hit"),
        call: "1 miroir:ratelimit:searchui:10.0.0.<hot> 1000000 3600000",
        native: "INCR miroir:ratelimit:searchui:10.0.0.<hot>",
    }],
    alike: true,
    differs: "INCR alone counts what it refuses, and never ends the window",
    durable: false,
};

/// A request that is new.
pub const IDEMPOTENCY: Operation = Operation {
    name: "idempotency",
    title: "idempotency begin: new",
    grows: false,
    before: &[],
    phases: &[BEGIN],
    alike: true,
    differs: "between the clients' check and write another pod may begin the same",
    durable: false,
};

/// A request that came before.
pub const REPLAY: Operation = Operation {
    name: "replay",
    title: "idempotency begin: replay",
    grows: false,
    before: &[alike(
        Times::Operation,
        "HSET miroir:idemp:key-<operation> key key-<operation> body_sha256 <sha> miroir_task_id task-<operation> \
         expires_at 4000000000000 ; PEXPIREAT miroir:idemp:key-<operation> 4000000000000",
    )],
    phases: &[Phase {
        client: "HGETALL miroir:idemp:key-<operation>",
        native: "HGETALL miroir:idemp:key-<operation>",
        ..BEGIN
    }],
    alike: true,
    differs: "",
    durable: false,
};
