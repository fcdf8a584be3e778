//! The terminal view, drawn from replies that a server once gave, on a screen in memory; and what its keys do.

#[path = "../examples/top/app.rs"]
mod app;
#[path = "../examples/top/view.rs"]
mod view;
#[path = "../examples/watch/mod.rs"]
mod watch;

use std::time::{Duration, Instant};

use app::App;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use redis::{RedisResult, Value};
use watch::{read, Interests, Reading};

/// What a server with the reference workload answered, once. INFO has a file of its own.
const REPLIES: &str = include_str!("top/replies.json");
const INFO: &str = include_str!("top/info.txt");

/// The recorded replies, some of them replaced.
struct Recording {
    info: String,
    replies: serde_json::Map<String, serde_json::Value>,
}

impl Recording {
    fn new() -> Self {
        Self { info: INFO.to_owned(), replies: serde_json::from_str(REPLIES).unwrap() }
    }

    fn info(mut self, from: &str, to: &str) -> Self {
        assert!(self.info.contains(from), "{from}");
        self.info = self.info.replacen(from, to, 1);
        self
    }

    fn reply(mut self, command: &str, reply: serde_json::Value) -> Self {
        assert!(self.replies.insert(command.to_owned(), reply).is_some(), "{command}");
        self
    }

    fn read(&self) -> Reading {
        let interests = Interests {
            namespaces: vec!["miroir".to_owned()],
            leases: vec!["nobody".to_owned()],
            all_leases: true,
            ..Interests::default()
        };
        let mut ask = |words: &[&str]| match words[0] {
            "INFO" => Ok(Value::BulkString(self.info.clone().into_bytes())),
            _ => value(
                self.replies.get(&words.join(" ")).unwrap_or_else(|| panic!("{words:?} is not recorded")),
            ),
        };
        read(&mut ask, &interests).unwrap()
    }
}

fn value(reply: &serde_json::Value) -> RedisResult<Value> {
    use serde_json::Value as Json;
    Ok(match reply {
        Json::Null => Value::Nil,
        Json::Number(number) => Value::Int(number.as_i64().unwrap()),
        Json::String(text) => Value::BulkString(text.clone().into_bytes()),
        Json::Array(parts) => Value::Array(parts.iter().map(value).collect::<RedisResult<_>>()?),
        Json::Object(error) => {
            let words = error["error"].as_str().unwrap().split_once(' ').unwrap();
            return Err(redis::make_extension_error(words.0.to_owned(), Some(words.1.to_owned())));
        }
        Json::Bool(_) => unreachable!("no reply is a boolean"),
    })
}

/// A view that has heard two readings, two seconds apart, and the time of the second.
fn watching() -> (App, Instant) {
    let mut app = App::new("127.0.0.1:6379".to_owned(), "miroir".to_owned());
    let start = Instant::now();
    app.hear(Ok(Recording::new().read()), start);
    let now = start + Duration::from_secs(2);
    let figure = |name: &str| INFO.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let commands = figure("total_commands_processed:");
    let puts = figure("cmdstat_MIROIR.PUT:");
    let calls: u64 = puts.split_once("calls=").unwrap().1.split(',').next().unwrap().parse().unwrap();
    let micros: u64 = puts.split_once("usec=").unwrap().1.split(',').next().unwrap().parse().unwrap();
    let processed: u64 = commands.split_once(':').unwrap().1.parse().unwrap();
    let later = Recording::new()
        .info(&commands, &format!("total_commands_processed:{}", processed + 5000))
        .info(&puts, &format!("cmdstat_MIROIR.PUT:calls={},usec={}", calls + 2400, micros + 12_000));
    app.hear(Ok(later.read()), now);
    (app, now)
}

fn screen(app: &App, now: Instant, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, app, now)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned() + "\n").collect()
}

fn press(app: &mut App, key: char) {
    app.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
}

/// The names of the tables, from the top of the screen.
fn tables(app: &App, now: Instant) -> Vec<String> {
    let screen = screen(app, now, (80, 40));
    let lines = screen.lines().skip(5).map_while(|line| line.strip_prefix('│'));
    lines
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .take_while(|name| !name.starts_with('│'))
        .collect()
}

#[test]
fn all_is_in_sight_on_80_columns_and_24_lines() {
    let (app, now) = watching();
    let drawn = screen(&app, now, (80, 24));
    let expected = include_str!("top/screen.txt");
    assert!(drawn == expected, "it draws\n{drawn}\nnot\n{expected}");
}

#[test]
fn tables_are_sorted_reversed_and_scrolled_by_keys() {
    let (mut app, now) = watching();
    assert_eq!(tables(&app, now)[..3], ["tasks", "idempotency_cache", "jobs"]);
    assert_eq!(tables(&app, now).len(), 20);
    press(&mut app, 's');
    assert_eq!(tables(&app, now)[..3], ["tasks", "idempotency_cache", "jobs"]);
    assert!(screen(&app, now, (80, 24)).contains("s sort: rows "));
    press(&mut app, 's');
    assert_eq!(tables(&app, now)[..3], ["admin_sessions", "aliases", "canaries"]);
    press(&mut app, 'r');
    assert_eq!(tables(&app, now)[..2], ["tenant_map", "tasks"]);
    assert!(screen(&app, now, (80, 24)).contains("s sort: name, reversed "));
    for _ in 0..3 {
        press(&mut app, 'j');
    }
    assert_eq!((tables(&app, now).len(), tables(&app, now)[0].as_str()), (17, "search_ui_scoped_ke"));
    for _ in 0..99 {
        app.press(KeyEvent::new(KeyCode::Down, KeyModifiers::NONE));
    }
    assert_eq!(tables(&app, now), ["admin_sessions"]);
    for _ in 0..99 {
        app.press(KeyEvent::new(KeyCode::Up, KeyModifiers::NONE));
    }
    assert_eq!(tables(&app, now).len(), 20);
}

#[test]
fn q_escape_and_control_c_end_it_and_nothing_else_does() {
    for (code, modifiers, ends) in [
        (KeyCode::Char('q'), KeyModifiers::NONE, true),
        (KeyCode::Esc, KeyModifiers::NONE, true),
        (KeyCode::Char('c'), KeyModifiers::CONTROL, true),
        (KeyCode::Char('c'), KeyModifiers::NONE, false),
        (KeyCode::Enter, KeyModifiers::NONE, false),
    ] {
        let (mut app, _) = watching();
        app.press(KeyEvent::new(code, modifiers));
        assert_eq!(app.is_over(), ends, "{code:?}");
    }
}

#[test]
fn a_lost_connection_is_told_and_what_was_known_stays_in_sight() {
    let (mut app, now) = watching();
    let lost = |app: &mut App, at| app.hear(Err("connection refused".to_owned()), at);
    lost(&mut app, now + Duration::from_secs(2));
    lost(&mut app, now + Duration::from_secs(30));
    let drawn = screen(&app, now + Duration::from_secs(67), (80, 24));
    assert!(drawn.lines().next().unwrap().contains("LOST for 1m05s, trying again"), "{drawn}");
    assert!(drawn.contains("10,000"), "{drawn}");

    app.hear(
        Ok(Recording::new().info("run_id:5f1c", "run_id:another").read()),
        now + Duration::from_secs(70),
    );
    let drawn = screen(&app, now + Duration::from_secs(70), (80, 24));
    assert!(!drawn.contains("LOST") && drawn.contains("10,000"), "{drawn}");
    // Another server, whose counters began anew: there is nothing to subtract from.
    assert!(drawn.contains(" Commands …"), "{drawn}");
}

#[test]
fn before_the_first_answer_it_says_so() {
    let mut app = App::new("127.0.0.1:1".to_owned(), "miroir".to_owned());
    let now = Instant::now();
    assert!(screen(&app, now, (80, 24)).contains("connecting …"));
    app.hear(Err("connection refused".to_owned()), now);
    let drawn = screen(&app, now, (80, 24));
    assert!(drawn.contains("connection refused") && drawn.contains("q quit"), "{drawn}");
}

#[test]
fn what_the_server_refuses_is_told_where_it_would_stand() {
    let mut app = App::new("127.0.0.1:6379".to_owned(), "miroir".to_owned());
    let refusal = |words: &str| serde_json::json!({ "error": words });
    let poor = Recording::new()
        .reply("MIROIR.MEMORY miroir", refusal("TRYAGAIN the module is getting to know its keys"))
        .reply("HSCAN miroir:lease:_tokens 0 COUNT 200", refusal("NOPERM this user has no permissions"))
        .info("miroir_catalog_state:ready", "miroir_catalog_state:rebuilding")
        .info("miroir_catalog_progress_percent:100", "miroir_catalog_progress_percent:37")
        .info("miroir_memory_alert:none", "miroir_memory_alert:critical");
    let now = Instant::now();
    app.hear(Ok(poor.read()), now);
    let drawn = screen(&app, now, (120, 24));
    for words in ["TRYAGAIN", "no right to HSCAN", "learning, 37%", "CRITICAL", "nobody"] {
        assert!(drawn.contains(words), "no {words}:\n{drawn}");
    }
}

#[test]
fn a_terminal_of_any_size_will_do() {
    let (app, now) = watching();
    for size in [(1, 1), (10, 3), (40, 10), (80, 24), (300, 100)] {
        screen(&app, now, size);
    }
}
