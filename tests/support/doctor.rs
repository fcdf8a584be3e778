//! MIROIR.DOCTOR: what it finds, and a server that it has nothing to say about.

use std::time::Instant;

use redis::Value;

use super::{patience, show, Client, Server};

/// Arguments of a server that is in good order but for a replica. On a busy machine any command may be slow: that is no
/// fault of the server.
pub const IN_ORDER: &[&str] = &[
    "--slowlog-log-slower-than",
    "60000000",
    "--maxmemory",
    "64mb",
    "--maxmemory-policy",
    "allkeys-lru",
    "--appendonly",
    "yes",
    "--latency-monitor-threshold",
    "10",
];

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: String,
    pub check: String,
    pub found: String,
    pub advice: String,
}

/// A server that is in good order but for a replica.
pub fn in_order(arguments: &[&str]) -> Server {
    Server::start_with(&[IN_ORDER, arguments].concat())
}

/// What the doctor finds. Exactly four names are in each finding, in their order.
pub fn doctor(client: &mut Client, namespace: &str) -> Vec<Finding> {
    let answer = client.raw(&["MIROIR.DOCTOR", namespace]);
    let answer = answer.unwrap_or_else(|error| panic!("MIROIR.DOCTOR {namespace}: {error}"));
    let Value::Array(findings) = answer else { panic!("no array but {answer:?}") };
    findings.iter().map(finding).collect()
}

fn finding(map: &Value) -> Finding {
    let pairs: Vec<(String, String)> = match map {
        Value::Array(flat) => flat.chunks(2).map(|pair| (show(&pair[0]), show(&pair[1]))).collect(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (show(name), show(value))).collect(),
        other => panic!("no map but {other:?}"),
    };
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["severity", "check", "found", "advice"]);
    let [severity, check, found, advice] = [0, 1, 2, 3].map(|place: usize| pairs[place].1.clone());
    assert!(["critical", "warning", "note"].contains(&severity.as_str()), "{severity}");
    assert!(!found.is_empty() && !advice.is_empty(), "{check}");
    Finding { severity, check, found, advice }
}

/// Severity and check of each finding, but for the missing replica of a server that stands alone.
pub fn told(client: &mut Client, namespace: &str) -> Vec<(String, String)> {
    let told = doctor(client, namespace).into_iter().map(|finding| (finding.severity, finding.check));
    told.filter(|(_, check)| check != "replica").collect()
}

/// What one check finds.
pub fn of(client: &mut Client, namespace: &str, check: &str) -> Option<Finding> {
    doctor(client, namespace).into_iter().find(|finding| finding.check == check)
}

/// What a check finds that has to find something of this severity now.
pub fn fires(client: &mut Client, namespace: &str, severity: &str, check: &str) -> Finding {
    let found = of(client, namespace, check).unwrap_or_else(|| panic!("{check} finds nothing"));
    assert_eq!(found.severity, severity, "{found:?}");
    found
}

/// Counts no command as slow from now on, on a server that the test did not configure.
pub fn forgive_slowness(client: &mut Client) {
    client.run(&["CONFIG SET slowlog-log-slower-than 60000000", "SLOWLOG RESET"]);
}

/// Waits until a check finds something, and answers it.
pub fn fires_at_last(client: &mut Client, namespace: &str, check: &str) -> Finding {
    let deadline = Instant::now() + patience();
    loop {
        if let Some(found) = of(client, namespace, check) {
            return found;
        }
        assert!(Instant::now() < deadline, "{check} finds nothing");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Asserts that a check finds nothing now.
pub fn is_silent(client: &mut Client, namespace: &str, check: &str) {
    assert_eq!(of(client, namespace, check), None);
}

/// Waits until a check finds nothing any more.
pub fn is_silent_at_last(client: &mut Client, namespace: &str, check: &str) {
    let deadline = Instant::now() + patience();
    while let Some(found) = of(client, namespace, check) {
        assert!(Instant::now() < deadline, "still {found:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
