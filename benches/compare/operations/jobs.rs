//! Jobs and leases.

use super::{script, Before, Operation, Phase, Times};

/// A job from the queue to its end.
pub const JOB: Operation = Operation {
    name: "job",
    title: "job claim + finish",
    grows: true,
    before: &[Before {
        times: Times::Operation,
        module: "MIROIR.DEL <job> ; MIROIR.PUT <job> <job-fields> created_at <job-created>",
        raw: "DEL <job> ; ZREM miroir:jobs:_claims <job-id> ; \
              HSET <job> id <job-id> <job-fields> progress {} state queued created_at <job-created> attempts 0 ; \
              SADD miroir:jobs:_index <job-id> ; SADD miroir:jobs:_queued <job-id> ; \
              ZADD miroir:jobs:_order <job-created> <job-id>",
    }],
    phases: &[
        Phase {
            module: "MIROIR.JOB.CLAIM miroir:jobs pod-1 60000",
            client: "SRANDMEMBER miroir:jobs:_queued | SREM miroir:jobs:_queued <job-id> ; \
                     HSET <job> state in_progress claimed_by pod-1 claim_expires_at <time> attempts 1 ; HGETALL <job>",
            name: "claim",
            script: script!("claim"),
            call: "3 miroir:jobs:_order miroir:jobs:_claims miroir:jobs:_queued miroir:jobs: pod-1 60000",
            native: "SREM miroir:jobs:_queued <job-id> ; \
                     HSET <job> state in_progress claimed_by pod-1 claim_token 1 claim_expires_at <time> attempts 1 ; \
                     HGETALL <job>",
        },
        Phase {
            module: "MIROIR.JOB.FINISH <job> pod-1 1 completed",
            client: "HMGET <job> state claimed_by | HSET <job> state completed finished_at <time> ; \
                     HDEL <job> claim_expires_at",
            name: "finish",
            script: script!("finish"),
            call: "2 <job> miroir:jobs:_claims <job-id> pod-1 1 completed",
            native: "HSET <job> state completed finished_at <time> ; HDEL <job> claim_expires_at",
        },
    ],
    alike: true,
    differs: "the scripts keep two sorted sets of their own, to find the oldest job and the claims that ran out; clients \
              and native commands take any job (SRANDMEMBER and SREM stand for SPOP, so that each round takes the same \
              jobs), and find no claim that ran out",
    durable: true,
};

/// The leader stays leader.
pub const LEASE: Operation = Operation {
    name: "lease",
    title: "lease renew",
    grows: false,
    before: &[Before {
        times: Times::Operation,
        module: "MIROIR.LEASE.ACQUIRE miroir:lease:shard-<hot> pod-1 600000",
        raw: "SET miroir:lease:shard-<hot> pod-1 PX 600000",
    }],
    phases: &[Phase {
        module: "MIROIR.LEASE.RENEW miroir:lease:shard-<hot> pod-1 600000",
        client: "GET miroir:lease:shard-<hot> | PEXPIRE miroir:lease:shard-<hot> 600000",
        name: "renew",
        script: script!("renew"),
        call: "1 miroir:lease:shard-<hot> pod-1 600000",
        native: "SET miroir:lease:shard-<hot> pod-1 PX 600000",
    }],
    alike: false,
    differs: "only the module has fencing tokens and answers them; clients may prolong the lease of another",
    durable: true,
};
