//! What commands leave behind: in the append-only file, on replicas, after a restart, with the module and without it.

use super::{replicate, Client, Server};

/// Every write is on the disk before its answer, as the commands that made it.
pub const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no"];

/// Runs lines on a master, none of which may fail. Asserts that replicas with the module and without it, and a restart
/// with the module and without it, hold the same data with the same ends of life, out of native commands alone.
pub fn assert_native_effects(lines: &[&str]) {
    let master = Server::start_with(AOF);
    let replicas = [
        (Server::replica_of(&master, &[]), "with the module"),
        (Server::bare_replica_of(&master, &[]), "without the module"),
    ];
    let mut client = master.client();
    for line in lines {
        let answer = client.ask(line);
        let code = answer.split(' ').next().unwrap();
        assert!(!is_error(code), "{line}: {answer}");
    }
    let data = client.dump();
    assert!(!data.is_empty(), "nothing was written");
    for (replica, what) in &replicas {
        replicate(&mut client, &mut replica.client());
        assert_eq!(replica.client().dump(), data, "a replica {what}");
    }
    assert_native(&logged(&master));
    drop(replicas);
    let master = master.kill_and_restart();
    assert_eq!(master.client().dump(), data, "a restart with the module");
    let master = master.kill_and_restart_with(AOF);
    assert_eq!(master.client().dump(), data, "a restart without the module");
}

/// Whether an answer's first word is the code of an error.
pub fn is_error(code: &str) -> bool {
    ["ERR", "WRONGTYPE", "CROSSSLOT", "STALE", "OOM", "READONLY", "NOPERM", "TRYAGAIN", "?"].contains(&code)
}

/// Asserts that a server without memory refuses these lines, and that nothing changes.
pub fn assert_refused_without_memory(client: &mut Client, lines: &[&str]) {
    let before = client.dump();
    assert_eq!(client.ask("CONFIG SET maxmemory 1"), "OK");
    for line in lines {
        let answer = client.ask(line);
        assert!(answer.starts_with("OOM "), "{line}: {answer}");
        assert_eq!(client.dump(), before, "{line} changed the data");
    }
    assert_eq!(client.ask("CONFIG SET maxmemory 0"), "OK");
}

/// Asserts that a replica of this server answers the reads as it does, and refuses the writes.
pub fn assert_replica_reads_and_refuses(master: &Server, reads: &[&str], writes: &[&str]) {
    let replica = Server::replica_of(master, &[]);
    let (mut original, mut copy) = (master.client(), replica.client());
    for line in reads {
        let answer = copy.ask(line);
        assert!(!is_error(answer.split(' ').next().unwrap()), "{line}: {answer}");
        assert_eq!(answer, original.ask(line), "{line}");
    }
    let before = copy.dump();
    for line in writes {
        let answer = copy.ask(line);
        assert!(answer.starts_with("READONLY "), "{line} on a replica: {answer}");
    }
    assert_eq!(copy.dump(), before);
}

/// The answers of a transaction of these lines.
pub fn transaction(client: &mut Client, lines: &[&str]) -> String {
    assert_eq!(client.ask("MULTI"), "OK");
    for line in lines {
        assert_eq!(client.ask(line), "QUEUED", "{line}");
    }
    client.ask("EXEC")
}

/// The commands in the append-only files of a server, in order.
pub fn logged(server: &Server) -> Vec<Vec<String>> {
    let mut files: Vec<_> = std::fs::read_dir(server.directory().join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "aof"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files.iter().flat_map(|path| commands(&std::fs::read(path).unwrap())).map(|(_, words)| words).collect()
}

/// Reads `*2\r\n$3\r\nGET\r\n$1\r\na\r\n …`: each command, and where it ends.
pub fn commands(mut file: &[u8]) -> Vec<(usize, Vec<String>)> {
    fn number(file: &mut &[u8], mark: u8) -> usize {
        assert_eq!(file[0], mark, "this append-only file is no list of commands");
        let end = file.iter().position(|byte| *byte == b'\r').unwrap();
        let number = std::str::from_utf8(&file[1..end]).unwrap().parse().unwrap();
        *file = &file[end + 2..];
        number
    }
    let length = file.len();
    let mut commands = Vec::new();
    while !file.is_empty() {
        let words = number(&mut file, b'*');
        let mut command = Vec::new();
        for _ in 0..words {
            let length = number(&mut file, b'$');
            command.push(String::from_utf8_lossy(&file[..length]).into_owned());
            file = &file[length + 2..];
        }
        commands.push((length - file.len(), command));
    }
    commands
}

/// Fails for a command of the module, and for a time that is not absolute.
pub fn assert_native(commands: &[Vec<String>]) {
    const NATIVE: &[&str] = &[
        "SELECT",
        "MULTI",
        "EXEC",
        "HSET",
        "HMSET",
        "HDEL",
        "SADD",
        "SREM",
        "DEL",
        "UNLINK",
        "SET",
        "PEXPIREAT",
        "PERSIST",
        "ZADD",
        "ZREM",
        "ZREMRANGEBYSCORE",
        "ZREMRANGEBYRANK",
        "LPUSH",
        "RPUSH",
        "RPOP",
        "LTRIM",
        "INCRBY",
        "HINCRBY",
        "PUBLISH",
    ];
    for command in commands {
        let name = command[0].to_uppercase();
        assert!(NATIVE.contains(&name.as_str()), "{command:?} is in the append-only file");
        if name == "SET" {
            let options: Vec<String> = command.iter().skip(3).map(|word| word.to_uppercase()).collect();
            assert!(!options.iter().any(|word| word == "PX" || word == "EX"), "a relative time: {command:?}");
        }
    }
}
