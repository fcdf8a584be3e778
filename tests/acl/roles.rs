//! The users of docs/security.md, as they stand on that page.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Client, Server};

/// The page.
pub fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap()
}

/// The blocks of the page in which rules stand.
pub fn blocks() -> Vec<String> {
    let page = page();
    let blocks = page.split("```acl\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(str::to_owned).collect()
}

/// The lines of an ACL file: user by user.
pub fn users() -> BTreeMap<String, String> {
    let block = blocks().swap_remove(0);
    let lines = block.lines().map(|line| {
        let (name, rules) = line.strip_prefix("user ").unwrap().split_once(' ').unwrap();
        (name.to_owned(), rules.to_owned())
    });
    lines.collect()
}

/// Makes the users of the page, each with the password `pw`, beside the one that the test has.
pub fn introduce(client: &mut Client) {
    for (name, rules) in users().iter().filter(|(name, _)| *name != "default") {
        client.succeed(&format!("ACL SETUSER {name} reset {rules} >pw"));
    }
}

/// A connection of one of these users.
pub fn login(server: &Server, user: &str) -> Client {
    let mut client = server.client();
    client.succeed(&format!("AUTH {user} pw"));
    client
}

/// What the page's table says that a user may do: of each structure, the words in the user's column.
pub fn promised(user: &str) -> BTreeMap<String, BTreeSet<String>> {
    let page = page();
    let table = page
        .lines()
        .skip_while(|line| !line.starts_with("| Table or structure"))
        .take_while(|line| !line.is_empty());
    let mut rows = table.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    let column = rows.next().unwrap().iter().position(|title| *title == user).unwrap();
    let mut promised = BTreeMap::new();
    for row in rows.skip(1) {
        let words: BTreeSet<String> = row[column].split(", ").map(str::to_owned).collect();
        for structure in row[0].split(", ") {
            assert!(
                promised.insert(structure.to_owned(), words.clone()).is_none(),
                "{structure} stands twice"
            );
        }
    }
    promised
}

/// The commands that the page calls reading and writing, for users that may only do one of them with a key.
pub fn one_sided() -> (BTreeSet<String>, BTreeSet<String>) {
    let page = page();
    let line = page.lines().find(|line| line.contains("`%R~` and `%W~` work")).unwrap();
    let (_, lists) = line.split_once("Reading: ").unwrap();
    let (reading, rest) = lists.split_once(". Writing").unwrap();
    let (_, rest) = rest.split_once(": ").unwrap();
    let (writing, _) = rest.split_once(". All others").unwrap();
    let all: Vec<String> = crate::calls::names();
    let expand = |list: &str| {
        let named = list.split(", ").flat_map(|word| {
            let name = format!("MIROIR.{word}");
            let family = name.strip_suffix("\\*").map(str::to_owned);
            let found: Vec<String> = match family {
                Some(family) => all.iter().filter(|name| name.starts_with(&family)).cloned().collect(),
                None => all.iter().filter(|known| **known == name).cloned().collect(),
            };
            assert!(!found.is_empty(), "{word} is no command");
            found
        });
        named.collect()
    };
    (expand(reading), expand(writing))
}
