//! Every example of README.md, of docs/ and of examples/commands/ is run as it stands there, and must answer what it shows.
//!
//! - A `console` block with redis-cli's prompt, or with `$` for a shell, is a session on a server of its own with the module;
//!   `<!-- continues -->` above it goes on with the server of the block before. What may differ from run to run: see
//!   documents/alike.rs.
//! - A `conf` block is the configuration of a server that must start, for the session below it if that continues.
//! - Any other `console` block holds lines to type: capitals go to redis-cli and must not be answered with an error, the
//!   rest to a shell and must succeed. The exceptions are below, with their reasons.
//! - A block of code is a piece of a file in examples/, which is compiled or run elsewhere.
//!
//! With MIROIR_DOCUMENTS_WRITE=1 the answers that are not as shown are written into the pages.

#[path = "documents/alike.rs"]
mod alike;
#[path = "documents/page.rs"]
mod page;
#[path = "documents/player.rs"]
mod player;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use alike::alike;
use miroir::commands::FAMILIES;
use page::{blocks, Block, Exchange};
use player::{here, Player};
use support::{Client, Server};

/// Lines that are not run here, by how they begin.
const NOT_RUN: &[(&str, &str)] = &[
    ("make run", "builds the module and does not end; scripts/run.sh starts what every test starts"),
    ("make test", "this test is part of it"),
    ("make matrix", "runs this test on other servers"),
    ("make top", "does not end; tests/top.rs draws what it draws"),
    ("make exporter", "does not end; tests/exporter.rs asks it"),
    ("cargo run --example clients -- ", "does not end; tests/clients.rs starts it as it stands there"),
    (".venv/bin/python ", "the same"),
    ("node ", "the same"),
    ("cd examples/clients/", "for the lines below it"),
    ("python3 -m venv .venv", "scripts/clients.sh does it"),
    (".venv/bin/pip install -r requirements.txt", "the same"),
    ("npm install --no-package-lock", "the same"),
    ("curl -i http://127.0.0.1:8080/search", "asks a program that runs; tests/clients.rs asks it"),
];

/// Blocks that another test runs, by page and first line.
const ELSEWHERE: &[(&str, &str)] =
    &[("docs/security.md", "ACL SETUSER orchestrator nocommands clearselectors")];

/// Languages of blocks that are no code to run.
const NOT_CODE: &[(&str, &str)] = &[
    ("text", "what a program prints; tests/clients.rs compares what the clients of README.md print"),
    ("acl", "tests/acl.rs runs the users as they stand there"),
    (
        "sh",
        "lines for a machine with Docker and kubectl; `make deploy-check` checks the files that they name",
    ),
    ("yaml", "a piece of the configuration of Prometheus, which is no part of the project"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files in a folder and in its folders.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.ends_with("node_modules") && !path.ends_with(".venv"));
    paths.sort();
    paths.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The pages with examples. docs/commands.md is made of those in examples/commands: tests/registry.rs compares them.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    pages.extend(files(&root().join("docs")));
    pages.extend(files(&root().join("examples/commands")));
    pages.retain(|path| {
        path.extension().is_some_and(|ending| ending == "md") && !path.ends_with("docs/commands.md")
    });
    pages
}

fn name(page: &Path) -> String {
    page.strip_prefix(root()).unwrap().display().to_string()
}

fn is_elsewhere(page: &str, block: &Block) -> bool {
    ELSEWHERE
        .iter()
        .any(|(elsewhere, line)| *elsewhere == page && block.lines.first().is_some_and(|first| first == line))
}

fn is_run(line: &str) -> bool {
    !NOT_RUN.iter().any(|(known, _)| line.starts_with(known))
}

/// The commands of a session with the answers that they show and the real ones; None for a block that is no session.
fn play(block: &Block, player: &Player) -> Option<Vec<(Exchange, Vec<String>)>> {
    if let Some(session) = block.session() {
        let commands: Vec<&str> = session.iter().map(|exchange| exchange.command.as_str()).collect();
        let answers = player.session(&commands);
        return Some(session.into_iter().zip(answers).collect());
    }
    let session = block.shell_session()?.into_iter().map(|exchange| {
        let told = if is_run(&exchange.command) {
            player.shell(&exchange.command).1.lines().map(str::to_owned).collect()
        } else {
            exchange.answer.clone()
        };
        (exchange, told)
    });
    Some(session.collect())
}

#[test]
fn every_session_answers_what_it_shows() {
    let is_written = std::env::var_os("MIROIR_DOCUMENTS_WRITE").is_some();
    let mut wrong = Vec::new();
    for path in pages() {
        let (name, text) = (name(&path), std::fs::read_to_string(&path).unwrap());
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut player = None;
        let mut changes = Vec::new();
        for block in
            blocks(&text).iter().filter(|block| ["console", "conf"].contains(&block.language.as_str()))
        {
            if block.language == "conf" {
                player = Some(Player::configured(&block.lines));
                continue;
            }
            let player = match &mut player {
                Some(player) if block.continues() => player,
                player => player.insert(Player::new()),
            };
            let Some(session) = play(block, player) else { continue };
            let mut shown = Vec::new();
            for (Exchange { line, command, answer }, told) in session {
                let is_alike = alike(&answer, &told, &block.any());
                if !is_alike {
                    wrong.push(format!("{name}, line {}: {command}\n{}\n", block.line, told.join("\n")));
                }
                shown.push(line);
                shown.extend(if is_alike { answer } else { told });
            }
            if shown != block.lines {
                let margin = " ".repeat(block.indentation);
                let shown: Vec<String> = shown.iter().map(|line| format!("{margin}{line}")).collect();
                changes.push((block.line..block.line + block.lines.len(), shown));
            }
        }
        if is_written && !changes.is_empty() {
            // From the last to the first, so that the numbers of the lines before stay what they are.
            for (place, shown) in changes.into_iter().rev() {
                lines.splice(place, shown);
            }
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{} answers are not as shown but:\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_line_to_type_succeeds() {
    let mut not_run: BTreeSet<&str> = NOT_RUN.iter().map(|(line, _)| *line).collect();
    for path in pages() {
        let name = name(&path);
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            let is_session = block.session().is_some() || block.shell_session().is_some();
            if block.language != "console" || is_session || is_elsewhere(&name, &block) {
                continue;
            }
            let player = Player::new();
            for line in &block.lines {
                let line = line.split("  # ").next().unwrap().trim();
                if let Some((known, _)) = NOT_RUN.iter().find(|(known, _)| line.starts_with(known)) {
                    not_run.remove(known);
                    continue;
                }
                let first = line.split(' ').next().unwrap();
                let is_command = !first.bytes().any(|letter| letter.is_ascii_lowercase());
                let (succeeds, told) = if is_command {
                    let answer = player.session(&[line]).concat().join("\n");
                    (!answer.starts_with("(error)"), answer)
                } else {
                    player.shell(line)
                };
                assert!(succeeds, "{name}, line {}: {line}\n{told}", block.line);
            }
        }
    }
    assert!(not_run.is_empty(), "no page has these any more: {not_run:?}");
}

#[test]
fn every_piece_of_code_stands_in_an_example_that_is_compiled_or_run() {
    let mut examples = files(&root().join("examples"));
    examples.retain(|path| {
        path.extension().is_some_and(|ending| ["rs", "py", "mjs"].iter().any(|known| ending == *known))
    });
    let examples: Vec<String> = examples.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for path in pages() {
        for block in blocks(&std::fs::read_to_string(&path).unwrap()) {
            let language = block.language.as_str();
            if ["console", "conf"].contains(&language) || NOT_CODE.iter().any(|(known, _)| *known == language)
            {
                continue;
            }
            let place = format!("{}, line {}", name(&path), block.line);
            assert!(
                ["rust", "python", "js"].contains(&language),
                "{place}: a block of '{language}': how is it tested?"
            );
            let code = block.lines.join("\n");
            assert!(
                examples.iter().any(|example| example.contains(&code)),
                "{place}: no file in examples/ has this"
            );
        }
    }
}

#[test]
fn every_command_has_an_example_that_uses_it() {
    let folder = root().join("examples/commands");
    let mut unknown = files(&folder);
    for command in FAMILIES.iter().flat_map(|family| family.commands) {
        let file = folder.join(format!("{}.md", command.name.to_lowercase()));
        let example =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let blocks = blocks(&example);
        let sessions = blocks.iter().filter_map(Block::session);
        let uses =
            sessions.flatten().filter(|exchange| exchange.command.split(' ').next() == Some(command.name));
        let answered = uses.filter(|exchange| !exchange.answer.is_empty());
        assert!(answered.count() > 0, "{} does not use {}", file.display(), command.name);
        unknown.retain(|known| *known != file);
    }
    assert!(unknown.is_empty(), "no command has these examples: {unknown:?}");
}

/// The lines that take the place of the module in a server with the users of the page.
#[test]
fn a_newer_build_takes_over_in_the_way_that_the_page_on_security_shows() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let blocks = blocks(&page);
    let users = &blocks.iter().find(|block| block.language == "acl").unwrap().lines;
    let way = blocks.iter().find(|block| is_elsewhere("docs/security.md", block)).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.acl");
    // The test comes as the default user, which the page switches off.
    let lines: Vec<&str> =
        users.iter().map(String::as_str).filter(|line| !line.contains(" default ")).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let server = Server::start_with(&["--aclfile", file.to_str().unwrap()]);
    let mut client = server.client();
    client.succeed("MIROIR.PUT miroir:tasks:t index_uid movies");
    // Sorted: the server tells the rules of a user in any order.
    let rules = |client: &mut Client| {
        let mut rules: Vec<String> =
            client.succeed("ACL LIST").split([' ', ',', ')']).map(str::to_owned).collect();
        rules.sort();
        rules
    };
    let before = rules(&mut client);

    let (first, rest) = way.lines.split_first().unwrap();
    for line in lines {
        let user = line.split(' ').nth(1).unwrap();
        client.succeed(&first.replace("orchestrator", user));
    }
    for line in rest {
        // The README: "the server says that the module holds a timer: try again".
        client.wait_for(&here(line), |answer| !answer.contains("timer"));
    }
    assert_eq!(rules(&mut client), before);
    client.wait_for("MIROIR.LIST miroir:tasks IDS", |answer| answer == "[t]");
}
