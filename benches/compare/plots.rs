//! Pictures of the tables, as SVG.

use std::fmt::Display;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contest::Figures;
use crate::offered::{Latencies, PARTS};
use crate::settings::Kind;
use crate::sides::{Side, OTHERS, SIDES};
use crate::support::numbers::thousands;
use crate::support::Outcome;

const FONT: &str = "sans-serif";
/// The width of a picture, of the names in it, and of a bar.
const WIDTH: u32 = 1000;
const NAMES: u32 = 240;
const BAR: u32 = 11;
/// What is above and below the bars.
const MARGINS: u32 = 165;
/// The height of the line that says what the colours mean.
const LEGEND: u32 = 30;

/// Bars in groups.
struct Bars {
    caption: String,
    unit: &'static str,
    /// What the bars of a group stand for.
    series: Vec<(&'static str, RGBColor)>,
    groups: Vec<(String, Vec<Option<f64>>)>,
    /// Where a line is drawn for comparison.
    line: Option<f64>,
}

fn color(side: Side) -> RGBColor {
    // Told apart by those who see few colours as well.
    match side {
        Side::Module => RGBColor(60, 60, 60),
        Side::Client => RGBColor(213, 94, 0),
        Side::Lua => RGBColor(0, 114, 178),
        Side::Function => RGBColor(86, 180, 233),
        Side::Native => RGBColor(0, 158, 115),
    }
}

/// How many times as fast as each of the others the module is. Of several scales the largest is shown.
pub fn ratios(path: &Path, kind: Kind, all: &[Figures]) -> Outcome<()> {
    let wanted = |figures: &&Figures| {
        let is_larger = |other: &Figures| {
            other.kind == kind && other.operation.name == figures.operation.name && other.rows > figures.rows
        };
        // Questions about a whole table would leave no room for the others: they have a picture of their own.
        figures.kind == kind && !figures.operation.phases.is_empty() && !all.iter().any(is_larger)
    };
    let all: Vec<&Figures> = all.iter().filter(wanted).collect();
    let sides = OTHERS.into_iter().filter(|&side| all.iter().any(|figures| figures.has(side)));
    let sides: Vec<Side> = sides.collect();
    let ratio = |figures: &Figures, side: Side| {
        figures.has(side).then(|| figures.ratio(side, figures.measure(side)).median)
    };
    let bars = Bars {
        caption: format!("{}: how many times as fast the module is", kind.title()),
        unit: "a multiple of the throughput, or of what the server does in the same CPU time where the clients were slower",
        series: sides.iter().map(|&side| (side.title(), color(side))).collect(),
        groups: all
            .iter()
            .map(|figures| {
                let ratios = sides.iter().map(|&side| ratio(figures, side)).collect();
                (figures.operation.title.to_owned(), ratios)
            })
            .collect(),
        line: Some(1.0),
    };
    let most = bars.most();
    bars.draw(path, 0.0, 0.0..most)
}

/// How long questions about whole tables take.
pub fn tables(path: &Path, all: &[Figures]) -> Outcome<()> {
    let all: Vec<&Figures> = all.iter().filter(|figures| figures.operation.phases.is_empty()).collect();
    let millis = |figures: &Figures, side: Side| figures.has(side).then(|| 1e3 / figures.rate(side).median);
    let bars = Bars {
        caption: "Questions about a whole table".to_owned(),
        unit: "ms, logarithmic",
        series: SIDES.map(|side| (side.title(), color(side))).to_vec(),
        groups: all
            .iter()
            .map(|figures| {
                let rows = thousands(figures.rows.unwrap_or(0));
                let title = format!("{}, {rows} rows", figures.operation.title);
                (title, SIDES.iter().map(|&side| millis(figures, side)).collect())
            })
            .collect(),
        line: None,
    };
    let most = bars.most();
    bars.draw(path, 0.01, (0.01..most).log_scale())
}

/// The percentiles of the latencies.
pub fn latencies(path: &Path, all: &[Latencies]) -> Outcome<()> {
    let shades = [RGBColor(86, 180, 233), RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(120, 40, 0)];
    let bars = Bars {
        caption: "1,000 connections, 5,000 operations a second offered: latency".to_owned(),
        unit: "ms",
        series: PARTS.iter().zip(shades).map(|((title, _), shade)| (*title, shade)).collect(),
        groups: all
            .iter()
            .map(|latencies| {
                let figures = PARTS.iter().map(|(_, part)| Some(latencies.at(*part)));
                (latencies.title.to_owned(), figures.collect())
            })
            .collect(),
        line: None,
    };
    let most = bars.most();
    bars.draw(path, 0.0, 0.0..most)
}

impl Bars {
    /// What has to fit.
    fn most(&self) -> f64 {
        let figures = self.groups.iter().flat_map(|(_, figures)| figures.iter().flatten());
        figures.copied().filter(|figure| figure.is_finite()).fold(self.line.unwrap_or(0.1), f64::max) * 1.08
    }

    /// The bars begin at `from`, the start of the range.
    fn draw<X>(&self, path: &Path, from: f64, range: X) -> Outcome<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        let Self { caption, unit, series, groups, line } = self;
        let each = series.len() as f64 + 1.0;
        let bars = groups.len() * (series.len() + 1);
        let height = MARGINS + BAR * u32::try_from(bars).unwrap_or(0);
        let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).map_err(shown)?;
        let rest = area.titled(caption, (FONT, 20)).map_err(shown)?;
        let (legend, rest) = rest.split_vertically(LEGEND);
        for (place, (title, shade)) in (0..).zip(series) {
            let left = i32::try_from(NAMES).unwrap_or(0) + 15 + 130 * place;
            legend.draw(&Rectangle::new([(left, 10), (left + 14, 20)], shade.filled())).map_err(shown)?;
            let style = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Left, VPos::Center));
            legend.draw(&Text::new(*title, (left + 20, 15), &style)).map_err(shown)?;
        }
        let mut chart = ChartBuilder::on(&rest)
            .margin(15)
            .x_label_area_size(45)
            .y_label_area_size(NAMES)
            // Upside down: the first group is above.
            .build_cartesian_2d(range, bars as f64..0.0)
            .map_err(shown)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_label_style((FONT, 13))
            .x_desc(*unit)
            .light_line_style(WHITE)
            .draw()
            .map_err(shown)?;
        for (place, (_, shade)) in series.iter().enumerate() {
            let bar = |(group, (_, figures)): (usize, &(String, Vec<Option<f64>>))| {
                let top = group as f64 * each + place as f64 + 0.5;
                figures[place]
                    .map(|figure| Rectangle::new([(from, top), (figure, top + 0.9)], shade.filled()))
            };
            chart.draw_series(groups.iter().enumerate().filter_map(bar)).map_err(shown)?;
        }
        if let Some(line) = line {
            let ends = [(*line, 0.0), (*line, bars as f64)];
            chart.draw_series([PathElement::new(ends, BLACK.stroke_width(1))]).map_err(shown)?;
        }
        let style = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Right, VPos::Center));
        for (group, (title, _)) in groups.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(from, (group as f64 + 0.5) * each));
            area.draw(&Text::new(title.as_str(), (x - 8, y), &style)).map_err(shown)?;
        }
        drop(chart);
        area.present().map_err(shown)
    }
}

fn shown(error: impl Display) -> String {
    format!("cannot draw: {error}")
}
