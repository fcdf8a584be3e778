//! A task store that sentinels watch over: a master, two replicas, three sentinels, all of them real.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::{Duration, Instant};

use redis::sentinel::{SentinelClient, SentinelServerType};

use super::load::{Link, Position};
use super::support::network::Network;
use super::support::{module, patience, replicate, Client, Server};

const NAME: &str = "store";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
/// How long a master may be silent. It must not be taken for dead when other work keeps it from answering.
const DOWN_AFTER_MS: u32 = 4000;
/// How long sentinels may take, on a machine with other work, to agree on a new master and to bring all others behind it.
pub const FAILOVER_PATIENCE: Duration = Duration::from_secs(60);
/// How many lines of each log are told when a test fails.
const LOGGED: usize = 40;
const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];
/// How long an impatient client waits for an answer: longer than for replicas.
const IMPATIENCE: Duration = Duration::from_secs(2);

pub struct Store {
    pub nodes: Vec<Server>,
    sentinels: Vec<Server>,
    /// The ways on which all others reach each node, if they are not direct.
    networks: Vec<Network>,
}

impl Store {
    pub fn start() -> Self {
        let master = Server::start_with(AOF);
        let replicas: Vec<_> = (0..REPLICAS).map(|_| Server::replica_of(&master, AOF)).collect();
        let sentinels: Vec<_> = (0..SENTINELS).map(|_| sentinel(master.port())).collect();
        let nodes = std::iter::once(master).chain(replicas).collect();
        let store = Self { nodes, sentinels, networks: Vec::new() };
        store.wait_until_whole();
        store
    }

    /// One in which each node can be cut off from the others and from the sentinels.
    pub fn behind_networks() -> Self {
        let nodes: Vec<_> = (0..=REPLICAS).map(|_| Server::start_with(AOF)).collect();
        let networks: Vec<_> = nodes.iter().map(|node| Network::to(node.port())).collect();
        for (node, network) in nodes.iter().zip(&networks) {
            let mut client = node.client();
            client.succeed("CONFIG SET replica-announce-ip 127.0.0.1");
            client.succeed(&format!("CONFIG SET replica-announce-port {}", network.port()));
        }
        for replica in &nodes[1..] {
            replica.client().succeed(&format!("REPLICAOF 127.0.0.1 {}", networks[0].port()));
            replicate(&mut nodes[0].client(), &mut replica.client());
        }
        let sentinels: Vec<_> = (0..SENTINELS).map(|_| sentinel(networks[0].port())).collect();
        let store = Self { nodes, sentinels, networks };
        store.wait_until_whole();
        store
    }

    /// Gives all nodes a setting.
    pub fn configure(&self, setting: &str) {
        self.nodes.iter().for_each(|node| drop(node.client().succeed(&format!("CONFIG SET {setting}"))));
    }

    /// Cuts a node off from all but those clients that reach it directly.
    pub fn cut_off(&self, node: usize) {
        self.networks[node].cut();
    }

    pub fn heal(&self, node: usize) {
        self.networks[node].heal();
    }

    /// The port at which a node is announced.
    fn address(&self, node: usize) -> u16 {
        self.networks.get(node).map_or_else(|| self.nodes[node].port(), Network::port)
    }

    /// The master, if every sentinel says that all nodes and all sentinels are there and well, and if the nodes say so too.
    fn whole(&self) -> Option<usize> {
        let others = SENTINELS - 1;
        let are_well = self.sentinels.iter().all(|sentinel| {
            let mut client = sentinel.client();
            let master = client.ask(&format!("SENTINEL MASTER {NAME}"));
            let is = |name: &str, value: &str| master.contains(&format!("{name}, {value},"));
            let replicas = client.ask(&format!("SENTINEL REPLICAS {NAME}"));
            is("flags", "master")
                && is("num-slaves", &REPLICAS.to_string())
                && is("num-other-sentinels", &others.to_string())
                && replicas.matches("flags, slave,").count() == REPLICAS
                && replicas.matches("master-link-status, ok,").count() == REPLICAS
        });
        let master = self.master().filter(|_| are_well)?;
        let info = self.nodes[master].client().ask("INFO replication");
        let is_followed = info.contains("role:master") && info.matches("state=online").count() == REPLICAS;
        let follows = |replica: &Server| {
            let info = replica.client().ask("INFO replication");
            info.contains("role:slave") && info.contains("master_link_status:up")
        };
        (is_followed && self.replicas(master).all(follows)).then_some(master)
    }

    /// Waits until there is one master that all agree on, with all others behind it and all sentinels over it.
    pub fn wait_until_whole(&self) -> usize {
        let deadline = Instant::now() + FAILOVER_PATIENCE;
        loop {
            if let Some(master) = self.whole() {
                return master;
            }
            assert!(Instant::now() < deadline, "not whole; a sentinel says:\n{}", self.sentinels[0].log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes connections to the master, as clients find it: they ask the sentinels, and the node whether it agrees.
    pub fn finder(&self) -> impl Fn() -> Option<Link> + Sync + use<> {
        let urls = self.sentinel_urls();
        move || {
            let mut client =
                SentinelClient::build(urls.clone(), NAME.to_owned(), None, SentinelServerType::Master)
                    .ok()?;
            let connection = client.get_connection().ok()?;
            connection.set_read_timeout(Some(patience())).ok()?;
            Some(Box::new(connection) as Link)
        }
    }

    /// The same for clients that do not wait for one who does not answer. They work in this database.
    pub fn impatient_finder(&self, database: u8) -> impl Fn() -> Option<Link> + Sync + use<> {
        let urls = self.sentinel_urls();
        move || {
            let mut sentinel =
                redis::Client::open(&urls[0][..]).ok()?.get_connection_with_timeout(IMPATIENCE).ok()?;
            let mut ask = redis::cmd("SENTINEL");
            ask.arg(&["GET-MASTER-ADDR-BY-NAME", NAME]);
            let (host, port): (String, u16) = ask.query(&mut sentinel).ok()?;
            connect(&format!("redis://{host}:{port}/{database}"), IMPATIENCE)
        }
    }

    /// Makes connections to one node, whoever is the master, for clients with patience.
    pub fn faithful_finder(&self, node: usize) -> impl Fn() -> Option<Link> + Sync + use<> {
        let url = format!("redis://127.0.0.1:{}/", self.nodes[node].port());
        move || connect(&url, FAILOVER_PATIENCE)
    }

    fn sentinel_urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|one| format!("redis://127.0.0.1:{}/", one.port())).collect()
    }

    /// The master, as all sentinels announce it, if they agree.
    pub fn master(&self) -> Option<usize> {
        let mut announced = self
            .sentinels
            .iter()
            .map(|sentinel| sentinel.client().ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}")));
        let first = announced.next()?;
        let is_it = |node: &usize| first == format!("[127.0.0.1, {}]", self.address(*node));
        announced.all(|other| other == first).then(|| (0..self.nodes.len()).find(is_it))?
    }

    /// Waits until all sentinels announce another master.
    pub fn wait_for_successor(&self, of: usize) -> usize {
        let deadline = Instant::now() + FAILOVER_PATIENCE;
        loop {
            if let Some(master) = self.master().filter(|master| *master != of) {
                return master;
            }
            assert!(Instant::now() < deadline, "no successor; a sentinel says:\n{}", self.sentinels[0].log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The name that a master gives to what it writes.
    pub fn history(&self, master: usize) -> String {
        Position::read(&self.nodes[master].client().ask("INFO replication")).history
    }

    /// Has a master relieved that is well.
    pub fn relieve(&self) {
        assert_eq!(self.sentinels[0].client().ask(&format!("SENTINEL FAILOVER {NAME}")), "OK");
    }

    /// Starts a node that is gone as a replica of the master, with all that it had written to its append-only file.
    pub fn start_again(&mut self, node: usize, master: usize) {
        let (module, port) = (module(), self.nodes[master].port().to_string());
        let module = ["--loadmodule", module.to_str().unwrap()];
        self.nodes[node].start_again_with(&[&module, AOF, &["--replicaof", "127.0.0.1", &port]].concat());
    }

    /// Starts a master that is gone. Who has a successor by now follows it after a while.
    pub fn start_master_again(&mut self, node: usize) {
        let module = module();
        self.nodes[node].start_again_with(&[&["--loadmodule", module.to_str().unwrap()], AOF].concat());
    }

    /// Waits until all others have all that the master has written so far.
    pub fn settle(&self, master: usize) {
        let mut client = self.nodes[master].client();
        self.replicas(master).for_each(|replica| replicate(&mut client, &mut replica.client()));
    }

    pub fn replicas(&self, master: usize) -> impl Iterator<Item = &Server> {
        self.nodes.iter().enumerate().filter(move |(node, _)| *node != master).map(|(_, replica)| replica)
    }

    /// Asserts that all nodes hold the same. Nobody may write meanwhile.
    pub fn assert_same_data(&self, master: usize, when: &str) {
        let mut client = self.nodes[master].client();
        for replica in self.replicas(master) {
            let mut replica = replica.client();
            let deadline = Instant::now() + patience();
            // What has run out is deleted by the master at any moment.
            loop {
                replicate(&mut client, &mut replica);
                let digests = [&mut client, &mut replica].map(|client| client.ask("DEBUG DIGEST"));
                if digests[0] == digests[1] {
                    break;
                }
                let mut differs = || format!("{:#?}", differences(&mut client, &mut replica));
                assert!(Instant::now() < deadline, "{when}: {}", differs());
            }
        }
    }
}

impl Drop for Store {
    /// Their directories go with them: what they logged says why a test has failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for server in self.nodes.iter().chain(&self.sentinels) {
                let log = server.log();
                let last: Vec<_> = log.lines().rev().take(LOGGED).collect();
                println!("port {}:", server.port());
                last.iter().rev().for_each(|line| println!("  {line}"));
            }
        }
    }
}

fn differences(one: &mut Client, other: &mut Client) -> Vec<String> {
    let [one, other] = [one.dump(), other.dump()];
    let keys = one.keys().chain(other.keys()).filter(|key| one.get(*key) != other.get(*key));
    keys.map(|key| format!("{key}: {:?} and {:?}", one.get(key), other.get(key))).take(5).collect()
}

fn connect(url: &str, patience: Duration) -> Option<Link> {
    let connection = redis::Client::open(url).ok()?.get_connection_with_timeout(patience).ok()?;
    connection.set_read_timeout(Some(patience)).ok()?;
    Some(Box::new(connection) as Link)
}

/// One that watches over the master at this port.
fn sentinel(master: u16) -> Server {
    let settings = format!(
        "sentinel monitor {NAME} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {NAME} {}\n\
         sentinel parallel-syncs {NAME} {REPLICAS}\n",
        2 * DOWN_AFTER_MS,
    );
    let sentinel = Server::configured(&settings, &["--sentinel"]);
    // They look and talk more often than every ten and two seconds, so that the test need not wait for that, and do
    // not give up for half a minute when the machine keeps them waiting.
    let often = "SENTINEL DEBUG INFO-PERIOD 1000 PUBLISH-PERIOD 500 TILT-TRIGGER 10000";
    assert_eq!(sentinel.client().ask(often), "OK");
    sentinel
}
