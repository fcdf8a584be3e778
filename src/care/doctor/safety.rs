//! Checks of what is left when a server dies.

use super::facts::{Replays, Role};
use super::{Facts, Fault, Severity, Verdict};

/// Whether writes get to the disk.
pub(super) fn persistence(facts: &Facts) -> Verdict {
    if facts.safety.log.clone()? {
        return Ok(None);
    }
    let (severity, found) = match &facts.safety.snapshots {
        Ok(true) => (
            Severity::Note,
            "only snapshots are taken, and no AOF is written: a crash sets fencing tokens and CDC events back to the last \
             snapshot, and a token may be given out twice",
        ),
        Ok(false) => (
            Severity::Warning,
            "neither an AOF nor snapshots are written: a restart begins empty, without the tasks, the CDC events and the \
             last tokens of the leases",
        ),
        Err(reason) => return Err(format!("no AOF is written, and of snapshots nothing is known: {reason}")),
    };
    Fault::new(severity, found, "CONFIG SET appendonly yes")
}

/// Whether the server can take in again what it has logged. It replays the file as the user `default`.
pub(super) fn replay(facts: &Facts) -> Verdict {
    let is_off = match (facts.safety.log.clone()?, facts.safety.replays.clone()?) {
        (false, _) | (true, Replays::Everything) => return Ok(None),
        (true, Replays::NotAll { is_off }) => is_off,
    };
    let found = "the user default may not run every command on every key: when the server starts it replays its AOF as that \
                 user, refuses the transactions in it, which is nearly all that the module has written, and goes on without \
                 them. Write the same into the ACL file";
    if is_off {
        return Fault::new(Severity::Critical, found, "ACL SETUSER default ~* &* +@all");
    }
    let found =
        format!("{found}. Clients and replicas that log in as default need users of their own before");
    Fault::new(Severity::Critical, found, "ACL SETUSER default off resetpass ~* &* +@all")
}

/// Whether another server has the data.
pub(super) fn replica(facts: &Facts) -> Verdict {
    match facts.safety.role.as_ref()? {
        Role::Master { replicas: 0, port } => Fault::new(
            Severity::Warning,
            "no replica is connected: when this server dies nobody can take over, and what its disk does not hold is lost",
            format!("REPLICAOF <host of this server> {port}, sent to a second server"),
        ),
        Role::Replica { hears: false, master } => Fault::new(
            Severity::Warning,
            format!(
                "this replica has lost its master {master}: what it answers is old, and a failover to it would lose what \
                 came since"
            ),
            format!("REPLICAOF {master}, once the master answers again"),
        ),
        _ => Ok(None),
    }
}
