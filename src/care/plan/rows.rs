//! What so many rows take: from measured rows, or from the figures of the capacity planning where there are none.

use crate::errors::{Failure, Outcome};

/// What is planned beside the rows and their indexes, in tenths: the tables of the server, fragmentation, buffers.
const OVERHEAD_TENTHS: u64 = 15;
/// The factor as text.
pub const OVERHEAD: &str = "1.5";
/// The limit is a multiple of this.
const MB: u64 = 1_000_000;
/// What the catalog of this module keeps of a row, about: its id and 120 bytes. See docs/catalog-benchmark.md.
pub const CATALOG_ENTRY: u64 = 160;
/// The orchestrators that a plan speaks of by default.
pub const PODS: u64 = 10;

/// Bytes of one row, and of what there is beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Each {
    /// The row: a run of a canary, a pod in the register, else a key.
    pub row: u64,
    /// Its entries in the keys beside the rows.
    pub index_entry: u64,
    /// What the catalog of this module keeps of it. The capacity planning knows none.
    pub catalog_entry: u64,
}

/// Where the bytes of a row come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From so many rows of this server.
    Measured(u64),
    /// From the capacity planning.
    Document,
}

impl Source {
    /// The name in the reply.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured(_) => "measured",
            Self::Document => "document",
        }
    }
}

/// The figures of the capacity planning, by the names of the tables. Where it gives a range and no figure, the middle.
const DOCUMENT: &[(&str, Each)] = &[
    ("tasks", Each { row: 250, index_entry: 40, catalog_entry: 0 }),
    ("node_settings_version", figure(125)),
    ("aliases", figure(250)),
    ("sessions", figure(175)),
    ("idempotency_cache", figure(225)),
    ("jobs", figure(350)),
    ("leader_lease", figure(75)),
    ("canaries", figure(300)),
    ("canary_runs", figure(175)),
    ("cdc_cursors", figure(135)),
    ("tenant_map", figure(100)),
    ("rollover_policies", figure(500)),
    ("search_ui_config", figure(275)),
    ("admin_sessions", figure(250)),
    ("ratelimit_searchui", figure(40)),
    ("ratelimit_adminlogin", figure(65)),
    // The budget of a sink: what its buffer may grow to while the sink is down.
    ("cdc_overflow", figure(1 << 30)),
    ("search_ui_scoped_key", figure(250)),
    ("search_ui_scoped_key_observed", figure(250)),
    ("live_pods", figure(50)),
];

const fn figure(row: u64) -> Each {
    Each { row, index_entry: 0, catalog_entry: 0 }
}

/// The table whose rows each orchestrator observes.
pub const OBSERVED: &str = "search_ui_scoped_key";
/// The observations.
pub const OBSERVATIONS: &str = "search_ui_scoped_key_observed";
/// The register of orchestrators.
pub const REGISTER: &str = "live_pods";

/// Whether a row of this server says anything about the rows to come. A buffer does not: it is short until its sink is
/// down, and grows to its budget then.
#[must_use]
pub fn is_measurable(table: &str) -> bool {
    table != "cdc_overflow"
}

/// What the capacity planning says of a table.
#[must_use]
pub fn document(table: &str) -> Each {
    let found = DOCUMENT.iter().find(|(name, _)| *name == table);
    found.map_or(figure(0), |(_, each)| *each)
}

/// What the rows of one table take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// How many there are to be.
    pub rows: u64,
    /// What each takes.
    pub each: Each,
    /// All rows.
    pub rows_bytes: u64,
    /// All entries of indexes.
    pub index_bytes: u64,
    /// All entries of the catalog.
    pub catalog_bytes: u64,
}

/// Multiplies.
///
/// # Errors
/// When it is more than any number can say.
pub fn line(rows: u64, each: Each) -> Outcome<Line> {
    let all = |of_one: u64| fit(u128::from(rows) * u128::from(of_one));
    let (rows_bytes, index_bytes) = (all(each.row)?, all(each.index_entry)?);
    Ok(Line { rows, each, rows_bytes, index_bytes, catalog_bytes: all(each.catalog_entry)? })
}

/// What all of it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// All rows.
    pub rows_bytes: u64,
    /// All entries of indexes.
    pub index_bytes: u64,
    /// All entries of the catalog.
    pub catalog_bytes: u64,
    /// All three.
    pub bytes: u64,
    /// These, with what is planned beside them.
    pub with_overhead_bytes: u64,
    /// What the server takes that holds nothing.
    pub server_bytes: u64,
    /// The limit for a server that holds them.
    pub maxmemory_bytes: u64,
}

/// Adds tables up, on a server that takes `server_bytes` when it holds nothing.
///
/// # Errors
/// When it is more than any number can say.
pub fn total(lines: impl Iterator<Item = Line> + Clone, server_bytes: u64) -> Outcome<Total> {
    let sum = |of: fn(&Line) -> u64| fit(lines.clone().map(|line| u128::from(of(&line))).sum());
    let rows_bytes = sum(|line| line.rows_bytes)?;
    let index_bytes = sum(|line| line.index_bytes)?;
    let catalog_bytes = sum(|line| line.catalog_bytes)?;
    let bytes = fit([rows_bytes, index_bytes, catalog_bytes].into_iter().map(u128::from).sum())?;
    let (with_overhead_bytes, maxmemory_bytes) = limit(bytes, server_bytes)?;
    Ok(Total {
        rows_bytes,
        index_bytes,
        catalog_bytes,
        bytes,
        with_overhead_bytes,
        server_bytes,
        maxmemory_bytes,
    })
}

/// What orchestrators add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pods {
    /// How many there are.
    pub pods: u64,
    /// Indexes with scoped keys, each of which each pod observes.
    pub indexes: u64,
    /// One pod in the register.
    pub in_register: u64,
    /// One observation.
    pub observation: u64,
    /// One pod in all.
    pub bytes_per_pod: u64,
    /// All of them.
    pub bytes: u64,
    /// The limit for a server that holds these, too.
    pub maxmemory_bytes: u64,
}

/// Counts what orchestrators add to a total.
///
/// # Errors
/// When it is more than any number can say.
pub fn pods(pods: u64, indexes: u64, in_register: u64, observation: u64, total: &Total) -> Outcome<Pods> {
    let observed = fit(u128::from(indexes) * u128::from(observation))?;
    let bytes_per_pod = fit(u128::from(in_register) + u128::from(observed))?;
    let bytes = fit(u128::from(pods) * u128::from(bytes_per_pod))?;
    let (_, maxmemory_bytes) = limit(fit(u128::from(total.bytes) + u128::from(bytes))?, total.server_bytes)?;
    Ok(Pods { pods, indexes, in_register, observation, bytes_per_pod, bytes, maxmemory_bytes })
}

/// With the overhead; and with the server, up to whole megabytes.
fn limit(bytes: u64, server_bytes: u64) -> Outcome<(u64, u64)> {
    let with_overhead = (u128::from(bytes) * u128::from(OVERHEAD_TENTHS)).div_ceil(10);
    let megabytes = (with_overhead + u128::from(server_bytes)).div_ceil(MB.into()) * u128::from(MB);
    Ok((fit(with_overhead)?, fit(megabytes)?))
}

fn fit(bytes: u128) -> Outcome<u64> {
    i64::try_from(bytes).ok().and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| {
        Failure::refused(format_args!("bytes of this plan: expected at most {}, got more", i64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::TABLES;
    use proptest::prelude::*;

    #[test]
    fn every_table_has_a_figure_and_every_figure_a_table() {
        let tables: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        let figures: Vec<_> = DOCUMENT.iter().map(|(name, _)| *name).collect();
        assert_eq!(figures, tables);
        for name in [OBSERVED, OBSERVATIONS, REGISTER] {
            assert!(tables.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_factor_and_its_text_are_one() {
        assert_eq!(format!("{}.{}", OVERHEAD_TENTHS / 10, OVERHEAD_TENTHS % 10), OVERHEAD);
    }

    #[test]
    fn nothing_takes_nothing() {
        let total = total([line(0, document("tasks")).unwrap()].into_iter(), 0).unwrap();
        assert_eq!((total.bytes, total.maxmemory_bytes), (0, 0));
        assert_eq!(pods(0, 0, 50, 250, &total).unwrap().bytes, 0);
    }

    proptest! {
        #[test]
        fn any_counts_give_a_plan_or_say_why_not(
            counts in proptest::collection::vec((0..=i64::MAX as u64, 0..=u64::MAX, 0..=u64::MAX), 0..8), server: u64,
            orchestrators in 0..=i64::MAX as u64, indexes in 0..=i64::MAX as u64, observation: u64,
        ) {
            let lines: Outcome<Vec<_>> = counts
                .iter()
                .map(|(rows, row, index_entry)| line(*rows, Each { row: *row, index_entry: *index_entry, catalog_entry: 160 }))
                .collect();
            if let Ok(total) = lines.and_then(|lines| total(lines.into_iter(), server)) {
                prop_assert!(total.maxmemory_bytes >= total.with_overhead_bytes);
                prop_assert!(total.with_overhead_bytes >= total.bytes);
                if let Ok(pods) = pods(orchestrators, indexes, 50, observation, &total) {
                    prop_assert!(pods.maxmemory_bytes >= total.maxmemory_bytes);
                }
            }
        }
    }
}
