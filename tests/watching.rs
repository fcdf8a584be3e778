//! WATCH: a transaction that watches a key fails after whatever was done to it, and not after what was refused.

mod support;

use redis::Value;
use support::Server;

struct Case {
    key: &'static str,
    before: &'static [&'static str],
    refused: &'static [&'static str],
    done: &'static str,
}

/// One for each way in which the module writes a key.
const CASES: &[Case] = &[
    Case {
        key: "miroir:lease:rollover",
        before: &["MIROIR.LEASE.ACQUIRE miroir:lease:rollover pod-a 600000"],
        refused: &[
            "MIROIR.LEASE.RENEW miroir:lease:rollover pod-b 600000",
            "MIROIR.LEASE.ACQUIRE miroir:lease:rollover pod-b 600000",
            "MIROIR.LEASE.GET miroir:lease:rollover",
        ],
        done: "MIROIR.LEASE.RENEW miroir:lease:rollover pod-a 600000",
    },
    Case {
        key: "miroir:ratelimit:searchui:10.0.0.1",
        before: &["MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 2 600000"],
        refused: &[
            "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 1 600000",
            "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 2 600000 PEEK",
        ],
        done: "MIROIR.RATELIMIT.HIT miroir:ratelimit:searchui:10.0.0.1 2 600000",
    },
    Case {
        key: "miroir:cdc:overflow:kafka",
        before: &["MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 10 event"],
        refused: &[
            "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 6 POLICY reject other",
            "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 10 POLICY reject another",
            "MIROIR.CDC.PEEK miroir:cdc:overflow:kafka",
            "MIROIR.CDC.ACK miroir:cdc:overflow:kafka 0",
        ],
        done: "MIROIR.CDC.PUSH miroir:cdc:overflow:kafka BUDGET 10 other",
    },
    Case {
        key: "miroir:canary_runs:products",
        before: &["MIROIR.CANARY.RECORD miroir:canary_runs:products 1000 pass 5"],
        refused: &["MIROIR.CANARY.RUNS miroir:canary_runs:products"],
        done: "MIROIR.CANARY.RECORD miroir:canary_runs:products 2000 pass 5",
    },
    Case {
        key: "miroir:jobs:job-1",
        before: &["MIROIR.PUT miroir:jobs:job-1 type reindex", "MIROIR.JOB.CLAIM miroir:jobs pod-a 600000"],
        refused: &[
            "MIROIR.JOB.RENEW miroir:jobs:job-1 pod-b 1 600000",
            "MIROIR.JOB.CLAIM miroir:jobs pod-b 600000",
        ],
        done: "MIROIR.JOB.RENEW miroir:jobs:job-1 pod-a 1 600000",
    },
];

#[test]
fn a_transaction_that_watches_a_key_fails_after_what_was_done_to_it_and_not_after_what_was_refused() {
    let server = Server::start();
    let (mut watcher, mut other) = (server.client(), server.client());
    for Case { key, before, refused, done } in CASES {
        before.iter().for_each(|command| drop(other.succeed(command)));
        for (command, goes_through) in refused.iter().map(|command| (command, true)).chain([(done, false)]) {
            watcher.succeed(&format!("WATCH {key}"));
            other.ask(command);
            watcher.run(&["MULTI", "PING"]);
            let outcome = watcher.read::<Value>("EXEC");
            assert_eq!(matches!(outcome, Value::Array(_)), goes_through, "{command}: {outcome:?}");
        }
    }
}
