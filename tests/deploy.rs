//! What deploy/ has for Kubernetes, tried with real servers: the settings, the users, and the scripts that start a server, a
//! Sentinel and a node of a cluster. The manifests around them are checked by `make deploy-check`.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Connection;
use support::{module, patience};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The files of a form's ConfigMap, whose texts are indented by four.
fn config(form: &str) -> BTreeMap<String, String> {
    texts(&file(&format!("deploy/kubernetes/{form}/config.yaml")))
}

fn texts(manifest: &str) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut name = None;
    for line in manifest.lines() {
        if let Some(title) = line.strip_prefix("  ").and_then(|line| line.strip_suffix(": |")) {
            name = Some(title.to_owned());
            continue;
        }
        let Some(name) = &name else { continue };
        let text = texts.entry(name.clone()).or_default();
        if let Some(line) = line.strip_prefix("    ") {
            *text += line;
            *text += "\n";
        } else if line.is_empty() {
            *text += "\n";
        }
    }
    texts
}

/// What secret.sh prints: the users, and the password of each.
fn secret(form: &str) -> (String, BTreeMap<String, String>) {
    let script = format!("{ROOT}/deploy/kubernetes/secret.sh");
    let printed = Command::new("bash").args([&script, form]).output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let passwords = printed.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("-password: '"));
    let passwords =
        passwords.map(|(user, rest)| (user.to_owned(), rest.trim_end_matches('\'').to_owned())).collect();
    (texts(&printed)["users.acl"].clone(), passwords)
}

/// Settings by name, each with all its lines.
fn settings(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut settings: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').unwrap();
        settings.entry(name).or_default().push(value.trim());
    }
    settings
}

/// A pod: a directory in the place of its volumes, and a process.
struct Pod {
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Pod {
    /// With the ConfigMap and the Secret of a form, whose paths are those of the directory.
    fn new(form: &str, users: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["config", "data", "run"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::fs::write(path("users.acl"), users).unwrap();
        for (name, text) in config(form) {
            let text = text
                .replace("/usr/lib/redis/modules/libmiroir.so", module().to_str().unwrap())
                .replace("/etc/miroir/secret/users.acl", path("users.acl").to_str().unwrap())
                .replace("dir /data", &format!("dir {}", path("data").display()))
                .replace("bind * -::*", "bind 127.0.0.1")
                // So that the test need not wait: 64 GB a pod and 5 s until a master is down are for the real thing.
                .replace("down-after-milliseconds miroir 5000", "down-after-milliseconds miroir 2000")
                .replace("repl-diskless-sync-delay 5", "repl-diskless-sync-delay 0");
            std::fs::write(path("config").join(name), text).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { directory, port, process: None }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts a script of the ConfigMap as the pod does, with the server and the client that the tests use.
    fn start(&mut self, script: &str, variables: &[(&str, &str)]) {
        let programs = self.directory.path().join("bin");
        if !programs.exists() {
            std::fs::create_dir(&programs).unwrap();
            let server = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
            let which = Command::new("sh").args(["-c", &format!("command -v {server}")]).output().unwrap();
            let server = String::from_utf8(which.stdout).unwrap();
            // Which role it has, a server sees from its arguments.
            std::os::unix::fs::symlink(server.trim(), programs.join("redis-server")).unwrap();
        }
        let path = |name: &str| self.directory.path().join(name);
        let log = std::fs::File::create(path("log")).unwrap();
        let search = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let process = Command::new("sh")
            .arg(path("config").join(script))
            .env("PATH", search)
            .envs([("CONFIG", path("config")), ("DATA", path("data")), ("RUN", path("run"))])
            .envs([("PORT", self.port.to_string()), ("SELF", "127.0.0.1".to_owned())])
            .envs(variables.iter().copied())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A connection of a user, as soon as the server takes it.
    fn login(&self, user: &str, password: &str) -> Connection {
        let deadline = Instant::now() + patience();
        loop {
            let url = format!("redis://{user}:{password}@127.0.0.1:{}/", self.port);
            let connection =
                redis::Client::open(url).unwrap().get_connection_with_timeout(Duration::from_secs(5));
            match connection {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < deadline, "{error}; the log:\n{}", self.log()),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ask(connection: &mut Connection, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    match command.query::<redis::Value>(connection) {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error {} {error}", error.code().unwrap_or_default()),
    }
}

fn wait(what: &str, pods: &[&Pod], mut test: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience();
    while !test() {
        let logs: String = pods.iter().map(|pod| pod.log() + "\n---\n").collect();
        assert!(Instant::now() < deadline, "{what}: it does not come; the logs:\n{logs}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_form_has_the_settings_of_the_example_but_for_what_a_pod_needs() {
    let example = file("redis.conf.example");
    let example = settings(&example);
    for (form, own) in [
        ("single", &["aclfile", "bind", "dir"][..]),
        ("sentinel", &["aclfile", "bind", "dir"]),
        (
            "cluster",
            &[
                "aclfile",
                "bind",
                "dir",
                "maxmemory",
                "cluster-enabled",
                "cluster-config-file",
                "cluster-node-timeout",
                "miroir.memory-warning-bytes",
                "miroir.memory-critical-bytes",
            ],
        ),
    ] {
        let text = config(form).remove("redis.conf").unwrap();
        let told = settings(&text);
        let names: BTreeSet<&str> = told.keys().chain(example.keys()).copied().collect();
        let differing: BTreeSet<&str> =
            names.into_iter().filter(|name| told.get(name) != example.get(name)).collect();
        assert_eq!(differing, own.iter().copied().collect(), "{form}");
    }
    assert_eq!(settings(&config("cluster")["redis.conf"])["maxmemory"], ["64gb"]);
}

#[test]
fn a_single_server_starts_with_its_settings_and_its_users() {
    let (users, passwords) = secret("single");
    let mut pod = Pod::new("single", &users);
    // The manifest has no script here: the command is the server itself.
    let start = "exec redis-server \"$CONFIG/redis.conf\" --port \"$PORT\"\n";
    std::fs::write(pod.directory.path().join("config/start"), start).unwrap();
    assert!(file("deploy/kubernetes/single/server.yaml")
        .contains("command: [redis-server, /etc/miroir/config/redis.conf]"));
    pod.start("start", &[]);
    let login = |user: &str| pod.login(user, &passwords[user]);
    assert_eq!(ask(&mut login("orchestrator"), "MIROIR.PUT miroir:tasks:t index_uid movies"), "int(1)");
    assert_eq!(ask(&mut login("monitor"), "PING"), "simple-string(\"PONG\")");
    assert!(ask(&mut login("monitor"), "MIROIR.DEL miroir:tasks:t").contains("NOPERM"));
    for name in ["admin", "search-ui", "caretaker", "replica"] {
        assert_eq!(ask(&mut login(name), "PING"), "simple-string(\"PONG\")", "{name}");
    }
    let stranger = redis::Client::open(format!("redis://127.0.0.1:{}/", pod.port)).unwrap();
    let refusal = stranger
        .get_connection()
        .map_or_else(|error| error.to_string(), |mut stranger| ask(&mut stranger, "PING"));
    assert!(refusal.contains("NOAUTH"), "{refusal}");
    assert!(ask(&mut login("admin"), "CONFIG GET maxmemory").contains("2147483648"));

    // The append-only file is replayed with the rights of the default user, who cannot log in.
    pod.kill();
    pod.start("start", &[]);
    let mut orchestrator = pod.login("orchestrator", &passwords["orchestrator"]);
    wait("the data", &[&pod], || !ask(&mut orchestrator, "PING").contains("LOADING"));
    assert_eq!(ask(&mut orchestrator, "MIROIR.COUNT miroir:tasks"), "int(1)", "{}", pod.log());
    assert!(!pod.log().contains("CRITICAL"), "{}", pod.log());
}

/// A master, a replica and three Sentinels; the master dies and comes back.
#[test]
fn with_sentinel_a_replica_takes_over_and_the_old_master_becomes_its_replica() {
    let (users, passwords) = secret("sentinel");
    let mut servers = [Pod::new("sentinel", &users), Pod::new("sentinel", &users)];
    let mut sentinels = [(); 3].map(|()| Pod::new("sentinel", &users));
    let (first, one_sentinel) = (servers[0].address(), sentinels[0].port.to_string());
    let variables = [
        ("FIRST", first.as_str()),
        ("SENTINEL", "127.0.0.1"),
        ("SENTINEL_PORT", one_sentinel.as_str()),
        ("SENTINEL_PASSWORD", passwords["sentinel"].as_str()),
        ("REPLICA_PASSWORD", passwords["replica"].as_str()),
    ];
    for pod in &mut servers {
        pod.start("start-redis.sh", &variables);
    }
    let admin = |pod: &Pod| pod.login("admin", &passwords["admin"]);
    let is = |pod: &Pod, words: &[&str]| {
        let info = ask(&mut admin(pod), "INFO replication");
        words.iter().all(|word| info.contains(word))
    };
    wait("the replica's link", &[&servers[0], &servers[1]], || {
        is(&servers[1], &["role:slave", "master_link_status:up"])
    });
    let mut orchestrator = servers[0].login("orchestrator", &passwords["orchestrator"]);
    assert_eq!(ask(&mut orchestrator, "MIROIR.PUT miroir:tasks:t index_uid movies"), "int(1)");
    assert_eq!(ask(&mut orchestrator, "WAIT 1 5000"), "int(1)");

    for sentinel in &mut sentinels {
        let port = sentinel.port.to_string();
        let own = variables.iter().map(|(name, value)| match *name {
            "SENTINEL_PORT" => (*name, port.as_str()),
            _ => (*name, *value),
        });
        sentinel.start("start-sentinel.sh", &own.collect::<Vec<_>>());
    }
    let sentinel_password = &passwords["sentinel"];
    let all: Vec<&Pod> = sentinels.iter().chain(&servers).collect();
    for sentinel in &sentinels {
        let mut asked = sentinel.login("default", sentinel_password);
        wait("Sentinels that know each other and the replica", &all, || {
            let master = ask(&mut asked, "SENTINEL MASTER miroir");
            let follows = |name: &str, number: &str| {
                let mut words = master.split("bulk-string('\"").map(|word| word.split('"').next().unwrap());
                words.find(|word| *word == name).is_some() && words.next() == Some(number)
            };
            follows("num-other-sentinels", "2") && follows("num-slaves", "1")
        });
    }

    servers[0].kill();
    let all: Vec<&Pod> = sentinels.iter().chain(&servers).collect();
    let successor = format!("{:?}", servers[1].port.to_string());
    for sentinel in &sentinels {
        let mut asked = sentinel.login("default", sentinel_password);
        wait("the failover", &all, || {
            ask(&mut asked, "SENTINEL GET-MASTER-ADDR-BY-NAME miroir").contains(&successor)
        });
    }
    assert!(is(&servers[1], &["role:master"]));
    let mut orchestrator = servers[1].login("orchestrator", &passwords["orchestrator"]);
    assert_eq!(ask(&mut orchestrator, "MIROIR.COUNT miroir:tasks"), "int(1)");
    assert_eq!(ask(&mut orchestrator, "MIROIR.PUT miroir:tasks:u index_uid movies"), "int(1)");

    // It was the first, and has data: it asks who is the master now.
    servers[0].start("start-redis.sh", &variables);
    let all: Vec<&Pod> = sentinels.iter().chain(&servers).collect();
    wait("the old master as a replica", &all, || is(&servers[0], &["role:slave", "master_link_status:up"]));
    let mut monitor = servers[0].login("monitor", &passwords["monitor"]);
    wait("the row of the new master", &[&servers[0]], || {
        ask(&mut monitor, "MIROIR.COUNT miroir:tasks") == "int(2)"
    });
    assert!(is(&servers[1], &["role:master"]));
}

#[test]
fn a_server_with_data_waits_until_sentinel_names_the_master() {
    let (users, passwords) = secret("sentinel");
    let mut pod = Pod::new("sentinel", &users);
    std::fs::create_dir(pod.directory.path().join("data/appendonlydir")).unwrap();
    let first = pod.address();
    pod.start(
        "start-redis.sh",
        &[
            ("FIRST", first.as_str()),
            ("SENTINEL", "127.0.0.1"),
            // Nobody listens there.
            ("SENTINEL_PORT", "1"),
            ("SENTINEL_PASSWORD", "x"),
            ("REPLICA_PASSWORD", &passwords["replica"]),
        ],
    );
    wait("that it says so", &[&pod], || pod.log().contains("waiting for Sentinel to name the master"));
    assert!(std::net::TcpStream::connect(pod.address()).is_err());
}

#[test]
fn a_node_of_a_cluster_starts_and_pods_may_find_their_way_in_it() {
    let (users, passwords) = secret("cluster");
    let mut pod = Pod::new("cluster", &users);
    pod.start("start-redis.sh", &[("REPLICA_PASSWORD", &passwords["replica"])]);
    let mut admin = pod.login("admin", &passwords["admin"]);
    assert!(ask(&mut admin, "CONFIG GET maxmemory").contains("68719476736"));
    assert!(ask(&mut admin, "CONFIG GET cluster-announce-ip").contains("127.0.0.1"));
    assert!(ask(&mut admin, "CLUSTER ADDSLOTSRANGE 0 16383").contains("ok"));
    wait("the cluster", &[&pod], || ask(&mut admin, "CLUSTER INFO").contains("cluster_state:ok"));
    let mut orchestrator = pod.login("orchestrator", &passwords["orchestrator"]);
    assert_eq!(ask(&mut orchestrator, "MIROIR.PUT {miroir}:tasks:t index_uid movies"), "int(1)");
    assert!(ask(&mut orchestrator, "MIROIR.GET miroir:tasks:t").contains("NOPERM"));
    let mut monitor = pod.login("monitor", &passwords["monitor"]);
    for line in ["CLUSTER SHARDS", "CLUSTER SLOTS", "READONLY", "COMMAND"] {
        let answer = ask(&mut monitor, line);
        assert!(!answer.starts_with("error"), "{line}: {answer}");
    }
}
