//! MIROIR.PLAN: capacity planning. Docs/sizing.md explains every figure.

use super::arguments::Arguments;
use super::care::refuse_company_in_cluster;
use crate::care::memory;
use crate::care::plan::cache::{self, Cache, Load};
use crate::care::plan::quantity::{self, Size};
use crate::care::plan::rows::{self, Each, Line, Source};
use crate::errors::{Failure, Outcome};
use crate::schema::{self, Table, TABLES};
use crate::server::command::{Access, Argument, Command, Keys, Kind, Repeated};
use crate::server::entry::entry;
use crate::server::info::ServerInfo;
use crate::server::{Arg, Context, Reply};

const HOW_MANY_PODS: Argument = Argument::new("count", Kind::Integer).behind("PODS").optional();

/// MIROIR.PLAN.
pub const PLAN: Command = Command {
    name: "MIROIR.PLAN",
    entry: entry(plan),
    summary: "Plans the memory of so many rows, or the pods of a cache.",
    complexity: "O(N) with ROWS, N the number of namespaces, beside a sample of the rows of each table; O(1) with CACHE.",
    since: "0.1.0",
    access: Access::Read,
    fast: false,
    keys: Keys::None,
    arguments: &[Argument::new(
        "what",
        Kind::OneOf(&[
            Argument::new(
                "rows",
                Kind::Block(&[
                    HOW_MANY_PODS,
                    Argument::new(
                        "count of a table",
                        Kind::Block(&[
                            Argument::new("table", Kind::String),
                            Argument::new("rows", Kind::Integer),
                        ]),
                    )
                    .repeated(Repeated::Plain),
                ]),
            )
            .behind("ROWS"),
            Argument::new(
                "cache",
                Kind::Block(&[
                    Argument::new("requests-per-second", Kind::Integer).behind("QPS"),
                    Argument::new("size", Kind::String).behind("SIZE"),
                    Argument::new("time", Kind::String).behind("TTL"),
                    Argument::new("share", Kind::String).behind("HITRATE"),
                    Argument::new("size", Kind::String).behind("POD").optional(),
                    Argument::new("rate", Kind::String).behind("NETWORK").optional(),
                    Argument::new("count", Kind::Integer).behind("REPLICAS").optional(),
                    Argument::new("size", Kind::String).behind("MEMORY").optional(),
                ]),
            )
            .behind("CACHE"),
        ]),
    )],
    reply: "With ROWS a map of the tables asked for, each with a map of `rows`, `row_bytes`, `index_entry_bytes`, \
            `catalog_entry_bytes`, `rows_bytes`, `index_bytes`, `catalog_bytes`, `source` (`measured` on the rows of this server, or `document` where it has none) \
            and `measured_rows`; then the maps `total`, with `overhead_factor` and `recommended_maxmemory_bytes`, and `pods`: what 10 \
            orchestrators, or PODS of them, add. With CACHE a map of the working set, masters and pods, their memory, \
            CPU and network, headroom, failover and blast radius. See docs/sizing.md.",
};

fn plan(context: &Context<'_>, arguments: &[Arg<'_>]) -> Outcome<Reply> {
    let mut arguments = Arguments::new(arguments);
    if arguments.take_word("ROWS") {
        return plan_rows(context, arguments);
    }
    if arguments.take_word("CACHE") {
        return cache::plan(&load(arguments)?).map(|cache| describe_cache(&cache));
    }
    Err(Failure::argument("what", "ROWS or CACHE", arguments.rest().first().map(|word| word.bytes())))
}

/// The bytes of a row of a table, and where they come from.
fn each(context: &Context<'_>, table: &'static Table) -> Outcome<(Each, Source)> {
    let measured = if rows::is_measurable(table.name) { memory::average(context, table)? } else { None };
    Ok(measured.map_or((rows::document(table.name), Source::Document), |average| {
        // The catalog knows keys, not the members of a sorted set.
        let catalog_entry = if average.of_members { 0 } else { rows::CATALOG_ENTRY };
        let each = Each { row: average.row_bytes, index_entry: average.index_entry_bytes, catalog_entry };
        (each, Source::Measured(average.rows))
    }))
}

fn plan_rows(context: &Context<'_>, mut arguments: Arguments<'_>) -> Outcome<Reply> {
    let pods = if arguments.take_word("PODS") { integer(&mut arguments, "PODS", 0)? } else { rows::PODS };
    let mut asked: Vec<(&'static Table, u64)> = Vec::new();
    while !arguments.is_empty() || asked.is_empty() {
        let table = table(&mut arguments)?;
        if asked.iter().any(|(other, _)| other.name == table.name) {
            return Err(Failure::argument("table", "each table once", Some(table.name.as_bytes())));
        }
        asked.push((table, integer(&mut arguments, table.name, 0)?));
    }

    refuse_company_in_cluster(context, "MIROIR.PLAN ROWS")?;
    let mut lines = Vec::with_capacity(asked.len());
    for (table, count) in &asked {
        let (each, source) = each(context, table)?;
        lines.push((table.name, rows::line(*count, each)?, source));
    }
    // The document's figures stay what they are: it counts neither the catalog nor the server itself.
    let is_measured = lines.iter().any(|(.., source)| *source != Source::Document);
    let server_bytes = if is_measured { used_at_start() } else { 0 };
    let total = rows::total(lines.iter().map(|(_, line, _)| *line), server_bytes)?;
    let each_of = |name: &str| match schema::table(name) {
        Some(table) => each(context, table),
        None => Ok((rows::document(name), Source::Document)),
    };
    let (in_register, register_source) = each_of(rows::REGISTER)?;
    let (observation, observation_source) = each_of(rows::OBSERVATIONS)?;
    let indexes = asked.iter().find(|(table, _)| table.name == rows::OBSERVED).map_or(0, |(_, count)| *count);
    let pods = rows::pods(pods, indexes, in_register.row, observation.row, &total)?;

    let mut reply: Vec<_> =
        lines.iter().map(|(name, line, source)| (*name, describe_line(line, *source))).collect();
    let of_total = [
        ("rows_bytes", number(total.rows_bytes)),
        ("index_bytes", number(total.index_bytes)),
        ("catalog_bytes", number(total.catalog_bytes)),
        ("bytes", number(total.bytes)),
        ("overhead_factor", Reply::Name(rows::OVERHEAD)),
        ("with_overhead_bytes", number(total.with_overhead_bytes)),
        ("server_bytes", number(total.server_bytes)),
        ("recommended_maxmemory_bytes", number(total.maxmemory_bytes)),
    ];
    let of_pods = [
        ("pods", number(pods.pods)),
        ("scoped_key_indexes", number(pods.indexes)),
        ("registry_bytes", number(pods.in_register)),
        ("registry_source", Reply::Name(register_source.name())),
        ("observation_bytes", number(pods.observation)),
        ("observation_source", Reply::Name(observation_source.name())),
        ("bytes_per_pod", number(pods.bytes_per_pod)),
        ("bytes", number(pods.bytes)),
        ("recommended_maxmemory_bytes", number(pods.maxmemory_bytes)),
    ];
    reply.push(("total", Reply::map(of_total)));
    reply.push(("pods", Reply::map(of_pods)));
    Ok(Reply::map(reply))
}

/// What the server took when it had just started.
fn used_at_start() -> u64 {
    let memory = ServerInfo::section(c"memory");
    memory.and_then(|memory| memory.field("used_memory_startup")?.parse().ok()).unwrap_or(0)
}

fn table(arguments: &mut Arguments<'_>) -> Outcome<&'static Table> {
    let got = arguments.rest().first().map(|word| word.bytes());
    let table = got.and_then(|name| TABLES.iter().find(|table| table.name.as_bytes() == name));
    let table = table.ok_or_else(|| {
        let names: Vec<_> = TABLES.iter().map(|table| table.name).collect();
        Failure::argument("table", format_args!("one of {}", names.join("|")), got)
    })?;
    arguments.next("table")?;
    Ok(table)
}

fn describe_line(line: &Line, source: Source) -> Reply {
    let measured_rows = match source {
        Source::Measured(rows) => rows,
        Source::Document => 0,
    };
    Reply::map([
        ("rows", number(line.rows)),
        ("row_bytes", number(line.each.row)),
        ("index_entry_bytes", number(line.each.index_entry)),
        ("catalog_entry_bytes", number(line.each.catalog_entry)),
        ("rows_bytes", number(line.rows_bytes)),
        ("index_bytes", number(line.index_bytes)),
        ("catalog_bytes", number(line.catalog_bytes)),
        ("source", Reply::Name(source.name())),
        ("measured_rows", number(measured_rows)),
    ])
}

/// What CACHE asks for.
fn load(mut arguments: Arguments<'_>) -> Outcome<Load> {
    const OPTIONS: &str =
        "QPS n|SIZE size|TTL time|HITRATE share|POD size|NETWORK rate|REPLICAS n|MEMORY size";
    let (mut qps, mut size, mut ttl_ms, mut hits) = (None, None, None, None);
    let (mut pod, mut network_bps, mut replicas, mut memory) = (None, None, None, None);
    while !arguments.is_empty() {
        if qps.is_none() && arguments.take_word("QPS") {
            qps = Some(integer(&mut arguments, "QPS", 1)?);
        } else if size.is_none() && arguments.take_word("SIZE") {
            size = Some(read(&mut arguments, "SIZE", quantity::SIZE, quantity::size)?);
        } else if ttl_ms.is_none() && arguments.take_word("TTL") {
            ttl_ms = Some(read(&mut arguments, "TTL", quantity::DURATION, quantity::duration_ms)?);
        } else if hits.is_none() && arguments.take_word("HITRATE") {
            hits = Some(read(&mut arguments, "HITRATE", quantity::SHARE, quantity::share)?);
        } else if pod.is_none() && arguments.take_word("POD") {
            pod = Some(read(&mut arguments, "POD", quantity::SIZE, quantity::size)?);
        } else if network_bps.is_none() && arguments.take_word("NETWORK") {
            network_bps = Some(read(&mut arguments, "NETWORK", quantity::RATE, quantity::rate_bps)?);
        } else if replicas.is_none() && arguments.take_word("REPLICAS") {
            replicas = Some(integer(&mut arguments, "REPLICAS", 0)?);
        } else if memory.is_none() && arguments.take_word("MEMORY") {
            memory = Some(read(&mut arguments, "MEMORY", quantity::SIZE, quantity::size)?);
        } else {
            return arguments.unexpected(OPTIONS);
        }
    }
    Ok(Load {
        qps: given(qps, "QPS", "an integer above 0")?,
        size: given(size, "SIZE", quantity::SIZE)?.bytes,
        ttl_ms: given(ttl_ms, "TTL", quantity::DURATION)?,
        hits: given(hits, "HITRATE", quantity::SHARE)?,
        pod: pod.unwrap_or(cache::POD),
        network_bps: network_bps.unwrap_or(cache::NETWORK_BPS),
        replicas: replicas.unwrap_or(1),
        memory: memory.map(|memory: Size| memory.bytes),
    })
}

fn given<T>(value: Option<T>, name: &str, expected: &str) -> Outcome<T> {
    value.ok_or_else(|| Failure::argument(name, expected, None))
}

fn read<T>(
    arguments: &mut Arguments<'_>,
    name: &str,
    expected: &str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Outcome<T> {
    let got = arguments.rest().first().map(|word| word.bytes());
    let value = got.and_then(read).ok_or_else(|| Failure::argument(name, expected, got))?;
    arguments.next(name)?;
    Ok(value)
}

fn integer(arguments: &mut Arguments<'_>, name: &str, least: i64) -> Outcome<u64> {
    arguments.integer(name, least..=i64::MAX).map(i64::unsigned_abs)
}

fn describe_cache(cache: &Cache) -> Reply {
    let optional = |value: Option<u64>| value.map_or(Reply::Nil, number);
    let per_node = cache.pods_per_node;
    Reply::map([
        ("writes_per_second", number(cache.writes_per_second)),
        ("items", number(cache.items)),
        ("working_set_bytes", number(cache.working_set_bytes)),
        ("masters", number(cache.masters)),
        ("masters_by", Reply::Name(cache.cause.name())),
        ("masters_for_memory", number(cache.masters_for_memory)),
        ("masters_for_network", number(cache.masters_for_network)),
        ("masters_for_cpu", number(cache.masters_for_cpu)),
        ("replicas", number(cache.replicas)),
        ("pods", number(cache.pods)),
        ("usable_bytes", number(cache.usable_bytes)),
        ("fits", Reply::Integer(cache.fits.into())),
        ("memory_used_percent", hundredths(cache.memory_used)),
        ("longest_ttl_ms", optional(cache.longest_ttl_ms)),
        ("lowest_hitrate", Reply::bulk(decimal(cache.lowest_hitrate, 10_000))),
        ("maxmemory", Reply::bulk(&cache.maxmemory)),
        ("cpu_per_pod", Reply::Name("1000m")),
        ("cpu_total", number(cache.pods)),
        ("memory_request", Reply::bulk(cache.memory_request.text())),
        ("memory_limit", Reply::bulk(cache.memory_limit.text())),
        ("memory_request_total", Reply::bulk(cache.memory_request.times(cache.pods).text())),
        ("memory_limit_total", Reply::bulk(cache.memory_limit.times(cache.pods).text())),
        ("qps_per_master", number(cache.qps_per_master)),
        ("ops_per_master", number(cache.ops_per_master)),
        ("ops_capacity", number(cache.ops_capacity)),
        ("headroom", hundredths(cache.headroom)),
        ("network_mbps", number(cache.network_mbps)),
        ("network_with_replication_mbps", number(cache.network_with_replication_mbps)),
        ("network_per_master_mbps", number(cache.network_per_master_mbps)),
        ("network_per_master_with_replication_mbps", number(cache.network_per_master_with_replication_mbps)),
        ("network_used_percent", hundredths(cache.network_used)),
        ("network_recommended_mbps", optional(cache.network_recommended_mbps)),
        ("network_installed_mbps", number(cache.network_installed_mbps)),
        ("transfer_us", number(cache.transfer_us)),
        ("failover_seconds", optional(cache.failover_seconds)),
        ("blast_radius_percent", hundredths(cache.blast_radius)),
        ("nodes", number(cache.nodes)),
        ("node_pods", number(per_node)),
        ("node_memory", Reply::bulk(cache.memory_limit.times(per_node).text())),
        ("node_network_mbps", number(cache.node_network_mbps)),
    ])
}

fn number(number: u64) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn hundredths(number: u64) -> Reply {
    Reply::bulk(decimal(number, 100))
}

/// A number of parts as text with a point.
fn decimal(parts: u64, of_one: u64) -> String {
    let digits = of_one.ilog10() as usize;
    format!("{}.{:0digits$}", parts / of_one, parts % of_one)
}
