//! Interleaved rounds, and what their figures come to.

use indicatif::ProgressBar;

use super::Outcome;

/// Measures several sides in turn: A B B A, again and again, so that whatever makes the machine faster or slower for a
/// while meets all of them alike. Each group starts with another side. A group's figure of a side is the mean of its two rounds in that group.
///
/// `measure` answers K figures of one round of a side. The answer has, for each side, those of each group.
pub fn interleaved<const K: usize>(
    sides: usize,
    groups: usize,
    bar: &ProgressBar,
    mut measure: impl FnMut(usize) -> Outcome<[f64; K]>,
) -> Outcome<Vec<Vec<[f64; K]>>> {
    let mut all = vec![Vec::with_capacity(groups); sides];
    for group in 0..groups {
        let mut means = vec![[0.0; K]; sides];
        for place in (0..sides).chain((0..sides).rev()) {
            let side = (place + group) % sides;
            let figures = measure(side)?;
            for (mean, figure) in means[side].iter_mut().zip(figures) {
                *mean += figure / 2.0;
            }
        }
        for (side, mean) in all.iter_mut().zip(means) {
            side.push(mean);
        }
        bar.inc(1);
    }
    Ok(all)
}

/// Half of the figures lie between `low` and `high`.
#[derive(Clone, Copy)]
pub struct Spread {
    /// The first quartile.
    pub low: f64,
    /// The figure in the middle.
    pub median: f64,
    /// The third quartile.
    pub high: f64,
    /// How far the median may be off, with 95 % confidence: the notch of a box plot.
    pub error: f64,
}

impl Spread {
    /// The quartiles; NaN without figures.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|part| quantile(&figures, part));
        let error = 1.57 * (high - low) / (figures.len() as f64).sqrt();
        Self { low, median, high, error }
    }
}

/// The quantile of sorted figures, between two of them where it falls there; NaN without figures.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = part * last as f64;
    let below = place.floor();
    let (low, high) = (sorted[below as usize], sorted[place.ceil() as usize]);
    low + (high - low) * (place - below)
}
