//! Operations on tasks and aliases.

use super::{script, Before, Operation, Phase, Times};

const NO_TASK: Before = Before {
    times: Times::Operation,
    module: "MIROIR.DEL <task>",
    raw: "DEL <task> ; SREM miroir:tasks:_index <task-id>",
};

/// A new task.
pub const INSERT: Operation = Operation {
    name: "insert",
    title: "task insert (PUT of 7 fields)",
    grows: true,
    before: &[NO_TASK],
    phases: &[Phase {
        module: "MIROIR.PUT <task> <task-fields>",
        client: "EXISTS <task> | HSET <task> <task-fields> ; SADD miroir:tasks:_index <task-id>",
        name: "insert",
        script: script!("insert"),
        call: "2 <task> miroir:tasks:_index <task-id> <task-fields>",
        native: "HSET <task> <task-fields> ; SADD miroir:tasks:_index <task-id>",
    }],
    alike: true,
    differs: "only the module checks the fields and keeps the order in which tasks are listed",
    durable: true,
};

/// A task goes on.
pub const STATUS: Operation = Operation {
    name: "status",
    title: "TASK.STATUS",
    grows: true,
    before: &[
        NO_TASK,
        Before {
            times: Times::Operation,
            module: "MIROIR.PUT <task> <enqueued-fields>",
            raw: "HSET <task> <enqueued-fields> ; SADD miroir:tasks:_index <task-id>",
        },
    ],
    phases: &[Phase {
        module: "MIROIR.TASK.STATUS <task> processing",
        client: "HMGET <task> status started_at | HSET <task> status processing started_at <time>",
        name: "status",
        script: script!("status"),
        call: "1 <task> processing",
        native: "HSET <task> status processing started_at <time>",
    }],
    alike: true,
    differs: "the clients' check and write are two steps, between which others may write",
    durable: false,
};

/// A node tells its number of a task.
pub const NODE: Operation = Operation {
    name: "node",
    title: "TASK.NODE",
    grows: true,
    before: &[],
    phases: &[Phase {
        module: "MIROIR.TASK.NODE <row> node-7 UID <uid>",
        client: "HGET <row> node_tasks | HSET <row> node_tasks {\"node-1\":1200000,\"node-3\":1200007,\"node-7\":<uid>}",
        name: "node",
        script: script!("node"),
        call: "1 <row> node-7 <uid>",
        native: "HGET <row> node_tasks ; HSET <row> node_tasks {\"node-1\":1200000,\"node-3\":1200007,\"node-7\":<uid>}",
    }],
    alike: true,
    differs: "clients lose updates of others that come in between",
    durable: false,
};

/// A row is read.
pub const GET: Operation = Operation {
    name: "get",
    title: "GET of a row",
    grows: true,
    before: &[],
    phases: &[Phase {
        module: "MIROIR.GET <row>",
        client: "HGETALL <row>",
        name: "get",
        script: script!("get"),
        call: "1 <row>",
        native: "HGETALL <row>",
    }],
    alike: true,
    differs: "",
    durable: false,
};

/// An alias changes its index.
pub const FLIP: Operation = Operation {
    name: "flip",
    title: "alias flip",
    grows: false,
    before: &[Before {
        times: Times::Operation,
        module: "MIROIR.PUT miroir:aliases:alias-<hot> kind single current_uid products-v0011 version 11 history <history>",
        raw: "HSET miroir:aliases:alias-<hot> name alias-<hot> kind single current_uid products-v0011 version 11 \
              created_at <time> history <history> ; SADD miroir:aliases:_index alias-<hot>",
    }],
    phases: &[Phase {
        module: "MIROIR.ALIAS.FLIP miroir:aliases:alias-<hot> products-v<operation>",
        client: "WATCH miroir:aliases:alias-<hot> ; HGETALL miroir:aliases:alias-<hot> | MULTI ; \
                 HSET miroir:aliases:alias-<hot> current_uid products-v<operation> version 12 history <history> ; EXEC",
        name: "flip",
        script: script!("flip"),
        call: "1 miroir:aliases:alias-<hot> products-v<operation> 10",
        native: "HMGET miroir:aliases:alias-<hot> kind current_uid version history ; \
                 HSET miroir:aliases:alias-<hot> current_uid products-v<operation> version 12 history <history>",
    }],
    alike: false,
    differs: "the history is full: each flip adds one entry and drops one; native commands read and write it, but do not \
              work it out",
    durable: false,
};
