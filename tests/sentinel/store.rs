//! A task store that sentinels watch over: a master, two replicas, three sentinels, all of them real.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::{Duration, Instant};

use redis::sentinel::{SentinelClient, SentinelServerType};

use super::load::Link;
use super::support::{module, patience, replicate, Client, Server};

const NAME: &str = "store";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
/// How long a master may be silent. It must not be taken for dead when other work keeps it from answering.
const DOWN_AFTER_MS: u32 = 4000;
/// How long sentinels may take, on a machine with other work, to agree on a new master and to bring all others behind it.
const FAILOVER_PATIENCE: Duration = Duration::from_secs(60);
/// How many lines of each log are told when a test fails.
const LOGGED: usize = 40;
const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

pub struct Store {
    pub nodes: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Store {
    pub fn start() -> Self {
        let master = Server::start_with(AOF);
        let replicas: Vec<_> = (0..REPLICAS).map(|_| Server::replica_of(&master, AOF)).collect();
        let sentinels: Vec<_> = (0..SENTINELS).map(|_| sentinel(&master)).collect();
        let nodes = std::iter::once(master).chain(replicas).collect();
        let store = Self { nodes, sentinels };
        store.wait_until_whole();
        store
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
        let urls: Vec<_> =
            self.sentinels.iter().map(|one| format!("redis://127.0.0.1:{}/", one.port())).collect();
        move || {
            let mut client =
                SentinelClient::build(urls.clone(), NAME.to_owned(), None, SentinelServerType::Master)
                    .ok()?;
            let connection = client.get_connection().ok()?;
            connection.set_read_timeout(Some(patience())).ok()?;
            Some(Box::new(connection) as Link)
        }
    }

    /// The master, as all sentinels announce it, if they agree.
    pub fn master(&self) -> Option<usize> {
        let mut announced = self
            .sentinels
            .iter()
            .map(|sentinel| sentinel.client().ask(&format!("SENTINEL GET-MASTER-ADDR-BY-NAME {NAME}")));
        let first = announced.next()?;
        let is_it = |node: &Server| first == format!("[127.0.0.1, {}]", node.port());
        announced.all(|other| other == first).then(|| self.nodes.iter().position(is_it))?
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

fn sentinel(master: &Server) -> Server {
    let settings = format!(
        "sentinel monitor {NAME} 127.0.0.1 {} 2\n\
         sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {NAME} {}\n\
         sentinel parallel-syncs {NAME} {REPLICAS}\n",
        master.port(),
        2 * DOWN_AFTER_MS,
    );
    let sentinel = Server::configured(&settings, &["--sentinel"]);
    // They look and talk more often than every ten and two seconds, so that the test need not wait for that, and do
    // not give up for half a minute when the machine keeps them waiting.
    let often = "SENTINEL DEBUG INFO-PERIOD 1000 PUBLISH-PERIOD 500 TILT-TRIGGER 10000";
    assert_eq!(sentinel.client().ask(often), "OK");
    sentinel
}
