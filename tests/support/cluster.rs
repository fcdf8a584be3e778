//! Clusters of a few nodes, and slots that move between them.

use super::{Client, Server};

const ARGUMENTS: &[&str] = &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
const SLOTS: usize = 16384;

/// A node, and a connection to it.
pub struct Node {
    pub server: Server,
    pub client: Client,
    pub id: String,
}

impl Node {
    fn start() -> Self {
        let server = Server::start_with(ARGUMENTS);
        let mut client = server.client();
        let id = client.ask("CLUSTER MYID");
        Self { server, client, id }
    }

    /// Sends a line that has to be answered with OK.
    pub fn order(&mut self, line: &str) {
        assert_eq!(self.client.ask(line), "OK", "{line}");
    }

    /// How this node redirects to another one.
    pub fn redirection(&self, code: &str, slot: &str) -> String {
        format!("{code} {slot} 127.0.0.1:{}", self.server.port())
    }
}

/// Masters that share all slots evenly, in the order of the slots.
pub fn masters(number: usize) -> Vec<Node> {
    nodes(number, number)
}

/// The same, and behind them a replica of the last.
pub fn masters_and_replica(number: usize) -> Vec<Node> {
    let mut nodes = nodes(number, number + 1);
    let master = nodes[number - 1].id.clone();
    let replica = &mut nodes[number];
    replica.order(&format!("CLUSTER REPLICATE {master}"));
    replica.client.wait_for("INFO replication", |info| info.contains("master_link_status:up"));
    // Who votes on it has to know it for what it is.
    let known = format!("slave {master}");
    for node in &mut nodes {
        node.client.wait_for("CLUSTER NODES", |nodes| nodes.contains(&known));
    }
    nodes
}

/// Nodes that know each other, the first of them with slots.
pub fn nodes(with_slots: usize, number: usize) -> Vec<Node> {
    let mut nodes: Vec<Node> = (0..number).map(|_| Node::start()).collect();
    let share = SLOTS / with_slots;
    for (place, node) in nodes.iter_mut().enumerate() {
        // Epochs that collide would be settled only after a while.
        node.order(&format!("CLUSTER SET-CONFIG-EPOCH {}", place + 1));
        if place < with_slots {
            let last = if place + 1 == with_slots { SLOTS } else { (place + 1) * share };
            node.order(&format!("CLUSTER ADDSLOTSRANGE {} {}", place * share, last - 1));
        }
    }
    let (last, others) = nodes.split_last_mut().unwrap();
    others.iter().for_each(|node| last.order(&format!("CLUSTER MEET 127.0.0.1 {}", node.server.port())));
    let known = format!("cluster_known_nodes:{number}\r");
    for node in &mut nodes {
        let knows_all = |info: &str| info.contains("cluster_state:ok") && info.contains(&known);
        node.client.wait_for("CLUSTER INFO", knows_all);
        // A node that was only heard of is met a moment later.
        node.client.wait_for("CLUSTER NODES", |nodes| !nodes.contains("handshake"));
    }
    nodes
}

/// Lets a slot begin to move.
pub fn open_slot(from: &mut Node, to: &mut Node, slot: &str) {
    to.order(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", from.id));
    from.order(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", to.id));
}

/// Moves a slot with its keys, a few at a time. `meanwhile` runs before each piece.
pub fn move_slot(
    from: &mut Node,
    to: &mut Node,
    slot: &str,
    mut meanwhile: impl FnMut(&mut Node, &mut Node),
) {
    open_slot(from, to, slot);
    loop {
        meanwhile(from, to);
        let keys = from.client.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 10"));
        let keys = keys.trim_matches(['[', ']']).replace(", ", " ");
        if keys.is_empty() {
            break;
        }
        from.order(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {keys}", to.server.port()));
    }
    let settled = format!("CLUSTER SETSLOT {slot} NODE {}", to.id);
    to.order(&settled);
    from.order(&settled);
}
