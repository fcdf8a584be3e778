//! Clusters of a few nodes, clients that find their way in them, and slots that move between them.

use std::time::Duration;

use redis::cluster::{ClusterClientBuilder, ClusterConnection};
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::Value;

use super::{command, patience, replicate, show, split, tell, Client, Server};

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
    follow(&mut nodes, &[(number, number - 1)]);
    nodes
}

/// The same, and behind them a replica of each, in the same order.
pub fn masters_and_replicas(number: usize) -> Vec<Node> {
    let mut nodes = nodes(number, number * 2);
    let pairs: Vec<_> = (0..number).map(|master| (number + master, master)).collect();
    follow(&mut nodes, &pairs);
    nodes
}

/// Makes nodes the replicas of others.
fn follow(nodes: &mut [Node], pairs: &[(usize, usize)]) {
    for (replica, master) in pairs {
        let master = nodes[*master].id.clone();
        nodes[*replica].order(&format!("CLUSTER REPLICATE {master}"));
    }
    for (replica, _) in pairs {
        let client = &mut nodes[*replica].client;
        client.wait_for("INFO replication", |info| info.contains("master_link_status:up"));
    }
    // Who votes on one has to know it for what it is.
    let known: Vec<_> = pairs.iter().map(|(_, master)| format!("slave {}", nodes[*master].id)).collect();
    for node in nodes {
        node.client.wait_for("CLUSTER NODES", |nodes| known.iter().all(|known| nodes.contains(known)));
    }
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

/// The slot of a key.
pub fn slot_of(nodes: &mut [Node], key: &str) -> usize {
    nodes[0].client.call(&["CLUSTER", "KEYSLOT", key]).parse().unwrap()
}

/// A hash tag for each of so many masters, whose slot that master has in the beginning.
pub fn tags(nodes: &mut [Node], masters: usize) -> Vec<String> {
    let share = SLOTS / masters;
    (0..masters)
        .map(|master| {
            let is_there = |tag: &String| (slot_of(nodes, tag) / share).min(masters - 1) == master;
            (0..).map(|number| format!("t{number}")).find(is_there).unwrap()
        })
        .collect()
}

/// A client that finds the node of each command by itself, and goes where it is redirected to.
pub struct Router {
    pub connection: ClusterConnection,
}

impl Router {
    /// One that knows of these nodes. It tries again, for some seconds, where it is told to.
    pub fn of(nodes: &[Node]) -> Self {
        Self::at(&addresses(nodes), 2000)
    }

    /// One that knows of the nodes at these addresses, and tries again so many times.
    pub fn at(addresses: &[String], retries: u32) -> Self {
        let client = ClusterClientBuilder::new(addresses.to_vec())
            .retries(retries)
            .min_retry_wait(1)
            .max_retry_wait(10)
            // A wait that grows with the retries overflows after sixty of them.
            .retry_wait_formula(10, 1)
            .connection_timeout(Duration::from_secs(1))
            .response_timeout(patience())
            .build()
            .unwrap();
        Self { connection: client.get_connection().unwrap() }
    }

    /// Sends a line, as [`Client::ask`] does.
    pub fn ask(&mut self, line: &str) -> String {
        self.call(&split(line))
    }

    /// Sends words of any bytes.
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> String {
        tell(command(words).query(&mut self.connection))
    }

    /// Sends a line to all masters, and answers what each says, in no order.
    pub fn ask_all(&mut self, line: &str) -> Vec<String> {
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = self.connection.route_command(&command(&split(line)), everywhere).expect(line);
        let Value::Map(answers) = answers else { panic!("{line}: {answers:?}") };
        answers.iter().map(|(_, answer)| show(answer)).collect()
    }
}

/// Where nodes are to be found.
pub fn addresses(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| format!("redis://127.0.0.1:{}/", node.server.port())).collect()
}

/// Waits until each replica has all that its master has sent so far.
pub fn settle(nodes: &mut [Node]) {
    let (masters, replicas) = nodes.split_at_mut(nodes.len() / 2);
    for (master, replica) in masters.iter_mut().zip(replicas) {
        replicate(&mut master.client, &mut replica.client);
    }
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
        // Whoever works on the slot may have taken all of them away by now.
        let answer =
            from.client.ask(&format!("MIGRATE 127.0.0.1 {} '' 0 5000 KEYS {keys}", to.server.port()));
        assert!(["OK", "NOKEY"].contains(&answer.as_str()), "MIGRATE {keys}: {answer}");
    }
    let settled = format!("CLUSTER SETSLOT {slot} NODE {}", to.id);
    to.order(&settled);
    from.order(&settled);
}
