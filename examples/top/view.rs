//! How it looks, on 80 columns and 24 lines or more.

use std::time::{Duration, Instant};

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table};
use ratatui::Frame;

use crate::app::App;
use crate::watch::Reading;

/// With less time a lease of 30 s, renewed every 10 s, has missed two renewals.
const LAPSING_MS: u64 = 10_000;
/// Jobs that wait, above which something is wrong if it lasts.
const DEEP: f64 = 10.0;
/// How many cells the bar of the memory has.
const BAR: usize = 14;

/// Draws all of it.
pub fn draw(frame: &mut Frame, app: &App, now: Instant) {
    let [title, head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(title_line(app, now)).reversed(), title);
    let Some(reading) = &app.reading else {
        let why = app.lost.as_ref().map_or("connecting …", |(_, error)| error.as_str());
        frame.render_widget(Paragraph::new(format!("\n {why}")), body);
        frame.render_widget(Paragraph::new(" q quit").dim(), foot);
        return;
    };
    frame.render_widget(Paragraph::new(vec![memory_line(app, reading), command_line(app, reading)]), head);

    // What was told before the connection was lost is old, and looks so.
    let style = if app.lost.is_some() { Style::new().add_modifier(Modifier::DIM) } else { Style::new() };
    let [left, right] = Layout::horizontal([Constraint::Fill(38), Constraint::Fill(42)]).areas(body);
    let [jobs, leases, buffers] =
        Layout::vertical([Constraint::Length(4), Constraint::Fill(2), Constraint::Fill(3)]).areas(right);
    tables(frame, app, style, left);
    frame.render_widget(job_lines(reading).style(style).block(Block::bordered().title(" Jobs ")), jobs);
    lease_table(frame, app, reading, style, leases);
    buffer_table(frame, app, style, buffers);
    let order = if app.reversed { ", reversed" } else { "" };
    let keys = format!(" q quit   s sort: {}{order}   r reverse   ↑ ↓ scroll", app.sort.title());
    frame.render_widget(Paragraph::new(keys).dim(), foot);
}

fn title_line(app: &App, now: Instant) -> Line<'_> {
    let whose = format!(" miroir top  {}  {}", app.address, app.namespace);
    if let Some((since, _)) = &app.lost {
        let gone = lasting(now.duration_since(*since));
        let state =
            Span::styled(format!("  LOST for {gone}, trying again"), Style::new().fg(Color::Red).bold());
        return Line::from(vec![Span::raw(whose), state]);
    }
    let Some(reading) = &app.reading else { return Line::from(whose) };
    let text = |name: &str| reading.info.get(name).map_or("?", String::as_str);
    let version = match reading.info.get("valkey_version") {
        Some(version) => format!("valkey {version}"),
        None => format!("redis {}", text("redis_version")),
    };
    let up = Duration::from_secs(text("uptime_in_seconds").parse().unwrap_or(0));
    Line::from(format!("{whose}  {version} {}, up {}", text("role"), lasting(up)))
}

fn memory_line(app: &App, reading: &Reading) -> Line<'static> {
    let number = |name: &str| reading.number(name).unwrap_or(0.0);
    let (used, limit) = (number("used_memory"), number("maxmemory"));
    let mut line = vec![Span::raw(" Memory ")];
    if limit > 0.0 {
        let share = used / limit;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the bar's cells"
        )]
        let full = ((share * BAR as f64).round().max(0.0) as usize).min(BAR);
        let color = match share {
            share if share > 0.9 => Color::Red,
            share if share > 0.8 => Color::Yellow,
            _ => Color::Green,
        };
        line.push(Span::styled("█".repeat(full), color));
        line.push(Span::raw("░".repeat(BAR - full)));
        line.push(Span::raw(format!(" {} of {} ({:.0}%)", size(used), size(limit), share * 100.0)));
    } else {
        line.push(Span::raw(format!("{}, ", size(used))));
        line.push("no maxmemory".yellow());
    }
    match reading.info.get("miroir_memory_alert").map(String::as_str) {
        Some("warning") => line.push(" WARNING".yellow().bold()),
        Some("critical") => line.push(" CRITICAL".red().bold()),
        _ => {}
    }
    line.push(Span::raw(format!("   Clients {}", number("connected_clients"))));
    let evicted = app.rates.map_or(0.0, |rates| rates.evicted);
    let style = if evicted > 0.0 { Style::new().fg(Color::Red) } else { Style::new() };
    line.push(Span::styled(format!("   Evicted {}/s", many(evicted)), style));
    Line::from(line)
}

fn command_line(app: &App, reading: &Reading) -> Line<'static> {
    let mut line = vec![Span::raw(" Commands ")];
    if let Some(rates) = app.rates {
        line.push(Span::raw(format!("{}/s, MIROIR {}/s", many(rates.commands), many(rates.ours))));
        if let Some(mean) = rates.mean_us {
            line.push(Span::raw(format!(" of {mean:.0} µs")));
        }
        if let Some(hits) = rates.hits {
            line.push(Span::raw(format!("   Hits {:.0}%", hits * 100.0)));
        }
    } else {
        line.push("…".into());
    }
    line.push(Span::raw("   Catalog "));
    if reading.info.get("miroir_catalog_state").is_some_and(|state| state == "ready") {
        line.push("ready".into());
    } else {
        let percent = reading.number("miroir_catalog_progress_percent").unwrap_or(0.0);
        line.push(format!("learning, {percent}%").yellow());
    }
    let drift: f64 = ["missing", "ghosts", "different"]
        .iter()
        .filter_map(|kind| reading.number(&format!("miroir_audit_{kind}")))
        .sum();
    let style = if drift > 0.0 { Style::new().fg(Color::Red).bold() } else { Style::new() };
    line.push(Span::styled(format!(", drift {drift}"), style));
    Line::from(line)
}

fn tables(frame: &mut Frame, app: &App, style: Style, area: Rect) {
    let all = app.tables();
    let rows: u64 = all.iter().map(|table| table.rows).sum();
    let bytes: u64 = all.iter().map(|table| table.bytes).sum();
    let title = format!(" Tables: {} rows, {} ", exact(rows), size(as_float(bytes)));
    let shown = all.into_iter().skip(app.scrolled).map(|table| {
        let style = if table.rows == 0 { Style::new().add_modifier(Modifier::DIM) } else { Style::new() };
        Row::new([Cell::new(table.name), right(exact(table.rows)), right(short(table.bytes))]).style(style)
    });
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(6)];
    let head = Row::new([Cell::new("table"), right("rows"), right("bytes")]).bold();
    let mut block = Block::bordered().title(title);
    if let Some(refusal) = app.reading.as_ref().and_then(|reading| reading.refused.get("MIROIR.MEMORY")) {
        block = block.title_bottom(format!(" {refusal} ").red());
    }
    frame.render_widget(Table::new(shown, widths).header(head).style(style).block(block), area);
}

fn job_lines(reading: &Reading) -> Paragraph<'static> {
    let jobs = |state: &str| reading.number(&format!("miroir_jobs_{state}")).unwrap_or(0.0);
    let queued = jobs("queued");
    let deep = if queued > DEEP { Style::new().fg(Color::Yellow).bold() } else { Style::new() };
    Paragraph::new(vec![
        Line::from(vec![
            Span::styled(format!("queued {:<12}", many(queued)), deep),
            Span::raw(format!("in progress {}", many(jobs("in_progress")))),
        ]),
        Line::from(format!("failed {:<12}completed   {}", many(jobs("failed")), many(jobs("completed")))),
    ])
}

fn lease_table(frame: &mut Frame, app: &App, reading: &Reading, style: Style, area: Rect) {
    let held = reading.number("miroir_leases_held").unwrap_or(0.0);
    let rows = app.leases().into_iter().map(|(scope, lease)| match lease {
        Some(lease) => {
            let left = lasting(Duration::from_millis(lease.remaining_ms));
            let style =
                if lease.remaining_ms < LAPSING_MS { Style::new().fg(Color::Yellow) } else { Style::new() };
            Row::new([
                Cell::new(scope),
                Cell::new(lease.holder.as_str()),
                right(left).style(style),
                right(lease.token.to_string()),
            ])
        }
        None => {
            Row::new([Cell::new(scope), Cell::new("nobody")]).style(Style::new().add_modifier(Modifier::DIM))
        }
    });
    let widths = [Constraint::Fill(3), Constraint::Fill(2), Constraint::Length(6), Constraint::Length(5)];
    let head = Row::new([Cell::new("scope"), Cell::new("holder"), right("left"), right("token")]).bold();
    let mut block = Block::bordered().title(format!(" Leases: {} held ", many(held)));
    if reading.refused.contains_key("HSCAN") {
        block = block.title_bottom(" only those of --lease: no right to HSCAN ".dim());
    }
    frame.render_widget(Table::new(rows, widths).header(head).style(style).block(block), area);
}

fn buffer_table(frame: &mut Frame, app: &App, style: Style, area: Rect) {
    let rows = app.buffers.iter().map(|buffer| {
        let lost = if buffer.dropped > 0 { Style::new().fg(Color::Red) } else { Style::new() };
        Row::new([
            Cell::new(buffer.sink.as_str()),
            right(many(as_float(buffer.events))),
            right(short(buffer.bytes)),
            right(many(as_float(buffer.dropped))).style(lost),
            right(lasting(buffer.age)),
        ])
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    let head =
        Row::new([Cell::new("sink"), right("events"), right("bytes"), right("dropped"), right("age")]).bold();
    let block = Block::bordered().title(" CDC buffers ");
    frame.render_widget(Table::new(rows, widths).header(head).style(style).block(block), area);
}

fn right(text: impl Into<String>) -> Cell<'static> {
    Cell::new(Line::from(text.into()).right_aligned())
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn as_float(number: u64) -> f64 {
    number as f64
}

/// Bytes in a column, in at most 6 signs: `17`, `1.2K`, `1023K`.
fn short(bytes: u64) -> String {
    let (number, unit) = scaled(as_float(bytes), 1024.0, &["", "K", "M", "G", "T"]);
    format!("{number}{unit}")
}

/// Bytes: `17 B`, `1.2 KiB`.
fn size(bytes: f64) -> String {
    let (number, unit) = scaled(bytes, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"]);
    format!("{number}{unit}")
}

/// A number, in at most 6 signs: `17`, `1.2k`, `340M`.
fn many(number: f64) -> String {
    let (number, unit) = scaled(number, 1000.0, &["", "k", "M", "G", "T"]);
    format!("{number}{unit}")
}

fn scaled(mut number: f64, step: f64, units: &[&'static str]) -> (String, &'static str) {
    let mut place = 0;
    // What would be rounded to a whole step is one of the next unit.
    while number.round() >= step && place + 1 < units.len() {
        number /= step;
        place += 1;
    }
    let digits = usize::from(place > 0 && number < 99.95);
    (format!("{number:.digits$}"), units[place])
}

/// A whole number with commas while it fits.
fn exact(number: u64) -> String {
    if number > 9_999_999 {
        return many(as_float(number));
    }
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in at most 6 signs: `4.2s`, `14s`, `3m20s`, `5h02m`, `12d03h`.
fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.is_zero() => "0s".to_owned(),
        0..10 => format!("{}.{}s", seconds, time.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
