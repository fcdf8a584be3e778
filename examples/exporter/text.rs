//! Metrics as text, in the format of OpenMetrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{text, DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::{Metric, Samples};

/// What an answer in this format calls itself.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of the metrics.
pub fn write(metrics: Vec<Metric>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Told(metrics)));
    let mut answer = String::new();
    text::encode(&mut answer, &registry)?;
    Ok(answer)
}

#[derive(Debug)]
struct Told(Vec<Metric>);

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for metric in self.0.iter().filter(|metric| !metric.samples.is_empty()) {
            let kind = match metric.samples {
                Samples::Counts(_) => MetricType::Counter,
                Samples::Levels(_) => MetricType::Gauge,
                Samples::Histograms(_) => MetricType::Histogram,
            };
            // The format itself ends the name of a counter so.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let mut target = encoder.encode_descriptor(name, metric.help, None, kind)?;
            match &metric.samples {
                Samples::Counts(samples) => {
                    for (labels, number) in samples {
                        let count = |mut to: MetricEncoder| {
                            to.encode_counter::<Vec<(String, String)>, f64, f64>(number, None)
                        };
                        with_labels(&mut target, labels, count)?;
                    }
                }
                Samples::Levels(samples) => {
                    for (labels, number) in samples {
                        with_labels(&mut target, labels, |mut to| to.encode_gauge(number))?;
                    }
                }
                Samples::Histograms(samples) => {
                    for (labels, told) in samples {
                        let histogram = |mut to: MetricEncoder| {
                            let buckets = &told.buckets;
                            to.encode_histogram::<Vec<(String, String)>>(told.sum, told.count, buckets, None)
                        };
                        with_labels(&mut target, labels, histogram)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn with_labels(
    target: &mut MetricEncoder,
    labels: &[(&'static str, String)],
    write: impl FnOnce(MetricEncoder) -> fmt::Result,
) -> fmt::Result {
    let labels: Vec<(String, String)> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    write(target.encode_family(&labels)?)
}
