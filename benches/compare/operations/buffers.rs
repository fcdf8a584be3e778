//! What is kept in bounds: events and runs.

use super::{alike, script, Before, Operation, Phase, Times};
use crate::words::SLOTS;

const FILLED: Before = Before {
    times: Times::Operation,
    module: "MIROIR.CDC.PUSH miroir:cdc:overflow:sink-<connection> BUDGET 1000000000 <event>",
    raw: "LPUSH miroir:cdc:overflow:sink-<connection> <event> ; \
          INCRBY miroir:cdc:overflow_bytes:sink-<connection> 200 ; \
          HINCRBY miroir:cdc:overflow_stat:sink-<connection> last_seq 1",
};

/// An event, and there is room.
pub const PUSH: Operation = Operation {
    name: "push",
    title: "CDC push, under the budget",
    grows: false,
    before: &[],
    phases: &[Phase {
        module: "MIROIR.CDC.PUSH miroir:cdc:overflow:sink-<connection> BUDGET 1000000000 <event>",
        client: "LPUSH miroir:cdc:overflow:sink-<connection> <event> ; \
                 INCRBY miroir:cdc:overflow_bytes:sink-<connection> 200",
        name: "push",
        script: script!("push"),
        call: "3 miroir:cdc:overflow:sink-<connection> miroir:cdc:overflow_bytes:sink-<connection> \
               miroir:cdc:overflow_stat:sink-<connection> 1000000000 <event>",
        native: "LPUSH miroir:cdc:overflow:sink-<connection> <event>",
    }],
    alike: true,
    differs: "the module and the scripts number the events, for PEEK and ACK; LPUSH counts no bytes",
    durable: true,
};

/// An event, and there is no room: the oldest has to go.
pub const PUSH_FULL: Operation = Operation {
    name: "push-full",
    title: "CDC push, at the budget",
    grows: false,
    before: &[Before {
        times: Times::Connection(1000),
        module: "MIROIR.CDC.PUSH miroir:cdc:overflow:sink-<connection> BUDGET 200000 <event>",
        raw: "LPUSH miroir:cdc:overflow:sink-<connection> <event> ; \
              INCRBY miroir:cdc:overflow_bytes:sink-<connection> 200 ; \
              HINCRBY miroir:cdc:overflow_stat:sink-<connection> last_seq 1",
    }],
    phases: &[Phase {
        module: "MIROIR.CDC.PUSH miroir:cdc:overflow:sink-<connection> BUDGET 200000 <event>",
        client: "LPUSH miroir:cdc:overflow:sink-<connection> <event> ; \
                 INCRBY miroir:cdc:overflow_bytes:sink-<connection> 200 | \
                 RPOP miroir:cdc:overflow:sink-<connection> | \
                 DECRBY miroir:cdc:overflow_bytes:sink-<connection> 200",
        name: "push",
        script: script!("push"),
        call: "3 miroir:cdc:overflow:sink-<connection> miroir:cdc:overflow_bytes:sink-<connection> \
               miroir:cdc:overflow_stat:sink-<connection> 200000 <event>",
        native: "LPUSH miroir:cdc:overflow:sink-<connection> <event>",
    }],
    alike: true,
    differs: "LPUSH drops nothing and counts nothing: it is half of what has to be done",
    durable: false,
};

/// An event is taken.
pub const POP: Operation = Operation {
    name: "pop",
    title: "CDC pop",
    grows: false,
    before: &[FILLED],
    phases: &[Phase {
        module: "MIROIR.CDC.POP miroir:cdc:overflow:sink-<connection>",
        client: "RPOP miroir:cdc:overflow:sink-<connection> | \
                 DECRBY miroir:cdc:overflow_bytes:sink-<connection> 200",
        name: "pop",
        script: script!("pop"),
        call: "2 miroir:cdc:overflow:sink-<connection> miroir:cdc:overflow_bytes:sink-<connection>",
        native: "RPOP miroir:cdc:overflow:sink-<connection> ; \
                 DECRBY miroir:cdc:overflow_bytes:sink-<connection> 200",
    }],
    alike: true,
    differs: "only the module keeps the number of the first event",
    durable: false,
};

/// An event is read, sent, and then removed.
pub const ACK: Operation = Operation {
    name: "ack",
    title: "CDC peek + ack",
    grows: false,
    before: &[FILLED],
    phases: &[
        Phase {
            module: "MIROIR.CDC.PEEK miroir:cdc:overflow:sink-<connection>",
            client: "LINDEX miroir:cdc:overflow:sink-<connection> -1",
            name: "peek",
            script: script!("peek"),
            call: "2 miroir:cdc:overflow:sink-<connection> miroir:cdc:overflow_stat:sink-<connection>",
            native: "LINDEX miroir:cdc:overflow:sink-<connection> -1",
        },
        Phase {
            module: "MIROIR.CDC.ACK miroir:cdc:overflow:sink-<connection> <nth>",
            client: "RPOP miroir:cdc:overflow:sink-<connection> ; \
                     DECRBY miroir:cdc:overflow_bytes:sink-<connection> 200",
            name: "ack",
            script: script!("ack"),
            call: "3 miroir:cdc:overflow:sink-<connection> miroir:cdc:overflow_bytes:sink-<connection> \
                   miroir:cdc:overflow_stat:sink-<connection> <nth>",
            native: "RPOP miroir:cdc:overflow:sink-<connection> ; \
                     DECRBY miroir:cdc:overflow_bytes:sink-<connection> 200",
        },
    ],
    alike: true,
    differs: "clients and native commands remove whatever is the oldest by then, even if nobody has read it",
    durable: false,
};

/// A run, and the oldest has to go.
pub const CANARY: Operation = Operation {
    name: "canary",
    title: "canary record, 100 runs",
    grows: false,
    before: &[alike(
        Times::Connection(100 * SLOTS),
        "ZADD miroir:canary_runs:check-<connection>-<slot> <ran-before> <run-before>",
    )],
    phases: &[Phase {
        module: "MIROIR.CANARY.RECORD miroir:canary_runs:check-<connection>-<slot> <ran> pass 12",
        client: "ZREMRANGEBYSCORE miroir:canary_runs:check-<connection>-<slot> <ran> <ran> ; \
                 ZADD miroir:canary_runs:check-<connection>-<slot> <ran> <run> ; \
                 ZREMRANGEBYRANK miroir:canary_runs:check-<connection>-<slot> 0 -101 ; \
                 ZCARD miroir:canary_runs:check-<connection>-<slot>",
        name: "record",
        script: script!("record"),
        call: "1 miroir:canary_runs:check-<connection>-<slot> <ran> <run> 100",
        native: "ZADD miroir:canary_runs:check-<connection>-<slot> <ran> <run> ; \
                 ZREMRANGEBYRANK miroir:canary_runs:check-<connection>-<slot> 0 -101",
    }],
    alike: true,
    differs: "the others get the run as JSON that somebody else has written; only the module checks it",
    durable: false,
};
