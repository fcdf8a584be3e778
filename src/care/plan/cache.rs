//! A cache of values that live for a time: what it holds, the pods that it takes, what they need and what they bear.
//!
//! Everything is counted in whole numbers, rounded to the side that asks for more.

use super::manifest::{limit, maxmemory, request, Quantity, GIB};
use super::quantity::{Size, WHOLE};
use crate::errors::{Failure, Outcome};

/// How full a pod is planned to be, in per cent: the lower ends of what is healthy, so that there is room to grow.
const MEMORY_TARGET: u64 = 60;
/// The same for its network.
const NETWORK_TARGET: u64 = 50;
/// The same for its core.
const CPU_TARGET: u64 = 20;

/// What one core was measured to do in a second with values of 256 bytes.
const OPS_OF_A_CORE: u64 = 190_000;
/// What one core was seen to move at most, in bits per second.
const BPS_OF_A_CORE: u64 = 40_000_000_000;
/// Network interfaces that can be had, in bits per second.
const INTERFACES: [u64; 3] = [10_000_000_000, 25_000_000_000, 40_000_000_000];

/// A failover takes so long in any case, in seconds, …
const FAILOVER_SECONDS: u64 = 10;
/// … and so much longer for 64 GiB.
const FAILOVER_SECONDS_OF_64_GIB: u64 = 50;

/// The memory for data of a pod, where nothing is said of it: 64 GB.
pub const POD: Size = Size { bytes: 64_000_000_000, binary: 64 * GIB };
/// The network interface of a pod, where nothing is said of it.
pub const NETWORK_BPS: u64 = INTERFACES[0];

/// How many slots a cluster has, and so how many masters at most.
const SLOTS: u64 = 16_384;
/// How many masters it takes to agree on a failover.
const QUORUM: u64 = 3;
/// How many pods share a node.
const PODS_OF_A_NODE: u64 = 4;

const MBPS: u64 = 1_000_000;

/// What is asked of the cache.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Requests per second, reads and writes.
    pub qps: u64,
    /// Bytes of a value.
    pub size: u64,
    /// How long a value lives, in ms.
    pub ttl_ms: u64,
    /// The share of the requests that find their value, in parts of [`WHOLE`]; all others write one.
    pub hits: u64,
    /// The memory for data of one pod.
    pub pod: Size,
    /// The network interface of one pod, in bits per second.
    pub network_bps: u64,
    /// Replicas of each master.
    pub replicas: u64,
    /// The memory that there is; None asks how much it takes.
    pub memory: Option<u64>,
}

/// What settled the number of masters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The memory that was given.
    Given,
    /// The working set.
    Memory,
    /// The traffic.
    Network,
    /// The number of requests.
    Cpu,
    /// That fewer cannot agree on a failover.
    Quorum,
}

impl Cause {
    /// The name in the reply.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Cpu => "cpu",
            Self::Quorum => "quorum",
        }
    }
}

/// What the cache takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Values written in a second: the misses.
    pub writes_per_second: u64,
    /// Values that are there once the first ones come to the end of their life.
    pub items: u64,
    /// Their bytes.
    pub working_set_bytes: u64,
    /// How many masters the working set needs.
    pub masters_for_memory: u64,
    /// How many masters the traffic needs, replication included.
    pub masters_for_network: u64,
    /// How many masters the requests need.
    pub masters_for_cpu: u64,
    /// How many there are.
    pub masters: u64,
    /// Why that many.
    pub cause: Cause,
    /// Replicas of all masters together.
    pub replicas: u64,
    /// Both together.
    pub pods: u64,
    /// The memory for data of all masters.
    pub usable_bytes: u64,
    /// How much of it the working set takes, in hundredths of a per cent.
    pub memory_used: u64,
    /// Whether the working set fits.
    pub fits: bool,
    /// The longest life of a value, in ms, with which it fits; None where nothing is ever written.
    pub longest_ttl_ms: Option<u64>,
    /// The lowest share of hits with which it fits, in ten-thousandths.
    pub lowest_hitrate: u64,
    /// The server's own limit, as its configuration has it.
    pub maxmemory: String,
    /// The memory that a pod asks for.
    pub memory_request: Quantity,
    /// The memory that a pod may take.
    pub memory_limit: Quantity,
    /// Requests a master and second.
    pub qps_per_master: u64,
    /// What a master can do in a second.
    pub ops_per_master: u64,
    /// What all masters can do in a second.
    pub ops_capacity: u64,
    /// How many times the requests that is, in hundredths.
    pub headroom: u64,
    /// The traffic of all masters with clients, in Mbit/s.
    pub network_mbps: u64,
    /// The same with what they send to their replicas.
    pub network_with_replication_mbps: u64,
    /// The first of one master.
    pub network_per_master_mbps: u64,
    /// The second of one master.
    pub network_per_master_with_replication_mbps: u64,
    /// How much of a master's interface that takes, in hundredths of a per cent.
    pub network_used: u64,
    /// The interface that bears it; None where only more masters help.
    pub network_recommended_mbps: Option<u64>,
    /// The interfaces of all pods together.
    pub network_installed_mbps: u64,
    /// How long a value is on its way, in µs.
    pub transfer_us: u64,
    /// How long a failover takes, in seconds; None where there is no replica to take over.
    pub failover_seconds: Option<u64>,
    /// The share of the cache that is gone with one master, in hundredths of a per cent.
    pub blast_radius: u64,
    /// Kubernetes nodes.
    pub nodes: u64,
    /// Pods on each of them.
    pub pods_per_node: u64,
    /// The network interface of each of them.
    pub node_network_mbps: u64,
}

/// Plans a cache. Its sizes, times and rates are above 0 and below 2^63, its hits are not more than [`WHOLE`].
///
/// # Errors
/// When it is larger than any number or cluster.
pub fn plan(load: &Load) -> Outcome<Cache> {
    let Load { qps, size, ttl_ms, hits, pod, network_bps, replicas, memory } = *load;
    let whole = u128::from(WHOLE);
    let carried_bps = network_bps.min(BPS_OF_A_CORE);

    // Values a second, in parts of WHOLE.
    let misses = u128::from(qps) * u128::from(WHOLE.saturating_sub(hits));
    let items = product("items", &[misses, ttl_ms.into()])?.div_ceil(whole * 1000);
    let working_set = product("working set, in bytes,", &[items, size.into()])?;
    let client_bps = product("traffic, in bits a second,", &[qps.into(), size.into(), 8])?;
    let written = product("traffic, in bits a second,", &[misses, size.into()])?;
    let replication_bps =
        product("traffic, in bits a second,", &[written, 8, replicas.into()])?.div_ceil(whole);
    let all_bps = client_bps.saturating_add(replication_bps);

    let within = |amount: u128, of_one: u64, target: u64| {
        amount.saturating_mul(100).div_ceil(u128::from(of_one) * u128::from(target)).max(1)
    };
    let needs = [
        (within(working_set, pod.bytes, MEMORY_TARGET), Cause::Memory),
        (within(all_bps, carried_bps, NETWORK_TARGET), Cause::Network),
        (within(qps.into(), OPS_OF_A_CORE, CPU_TARGET), Cause::Cpu),
    ];
    let (masters, cause) = match memory {
        Some(memory) => (u128::from(memory).div_ceil(pod.bytes.into()), Cause::Given),
        // The first of those that need as many.
        None => match needs.into_iter().rev().max_by_key(|(masters, _)| *masters) {
            Some((masters, cause)) if masters == 1 || masters >= QUORUM.into() => (masters, cause),
            _ => (QUORUM.into(), Cause::Quorum),
        },
    };
    if masters > SLOTS.into() {
        return Err(Failure::refused(format_args!(
            "this plan takes {masters} masters: expected at most {SLOTS}, the slots of a cluster; larger pods, a faster \
             network, smaller values or a shorter TTL take fewer"
        )));
    }
    let all_replicas = product("replicas", &[masters, replicas.into()])?;
    let pods = fit("pods", masters.saturating_add(all_replicas))?;
    let usable = match memory {
        // Less than one pod: it is not made more by giving it one.
        Some(memory) if memory < pod.bytes => memory.into(),
        _ => product("usable memory, in bytes,", &[masters, pod.bytes.into()])?,
    };

    let request = request(pod.binary);
    let nodes = pods.div_ceil(PODS_OF_A_NODE).max(replicas.saturating_add(1));
    let pods_per_node = pods.div_ceil(nodes);
    let of_one = |bps: u128| fit("traffic, in Mbit/s,", bps.div_ceil(masters * u128::from(MBPS)));
    let master_bps = all_bps.div_ceil(masters);
    let bears = |interface: &&u64| {
        u128::from(**interface) * u128::from(NETWORK_TARGET) >= master_bps.saturating_mul(100)
    };
    let installed = |pods: u64| {
        fit("network, in Mbit/s,", (u128::from(network_bps) * u128::from(pods)).div_ceil(MBPS.into()))
    };
    let ops_per_master = (carried_bps / 8 / size).min(OPS_OF_A_CORE);
    let ops_capacity = u128::from(ops_per_master) * masters;
    Ok(Cache {
        writes_per_second: fit("writes a second", misses.div_ceil(whole))?,
        items: fit("items", items)?,
        working_set_bytes: fit("working set, in bytes,", working_set)?,
        masters_for_memory: fit("masters", needs[0].0)?,
        masters_for_network: fit("masters", needs[1].0)?,
        masters_for_cpu: fit("masters", needs[2].0)?,
        masters: fit("masters", masters)?,
        cause,
        replicas: fit("replicas", all_replicas)?,
        pods,
        usable_bytes: fit("usable memory, in bytes,", usable)?,
        memory_used: fit("use of the memory", hundredths_of_percent(working_set, usable))?,
        fits: working_set <= usable,
        longest_ttl_ms: usable
            .saturating_mul(whole * 1000)
            .checked_div(written)
            .map(|longest| u64::try_from(longest).unwrap_or(u64::MAX).min(i64::MAX as u64)),
        lowest_hitrate: lowest_hitrate(usable, load),
        maxmemory: maxmemory(pod.binary),
        memory_request: request,
        memory_limit: limit(request),
        qps_per_master: fit("requests a second", u128::from(qps).div_ceil(masters))?,
        ops_per_master,
        ops_capacity: fit("operations a second", ops_capacity)?,
        headroom: fit("headroom", ops_capacity.saturating_mul(100) / u128::from(qps.max(1)))?,
        network_mbps: fit("traffic, in Mbit/s,", client_bps.div_ceil(MBPS.into()))?,
        network_with_replication_mbps: fit("traffic, in Mbit/s,", all_bps.div_ceil(MBPS.into()))?,
        network_per_master_mbps: of_one(client_bps)?,
        network_per_master_with_replication_mbps: of_one(all_bps)?,
        network_used: fit("use of the network", hundredths_of_percent(master_bps, network_bps.into()))?,
        network_recommended_mbps: INTERFACES.iter().find(bears).map(|interface| interface / MBPS),
        network_installed_mbps: installed(pods)?,
        transfer_us: fit(
            "time of a transfer, in µs,",
            (u128::from(size) * 8_000_000).div_ceil(network_bps.into()),
        )?,
        failover_seconds: (replicas > 0).then(|| failover_seconds(pod.binary)),
        blast_radius: fit("blast radius", (2 * 10_000 + masters) / (2 * masters))?,
        nodes,
        pods_per_node,
        node_network_mbps: installed(pods_per_node)?,
    })
}

fn product(what: &str, factors: &[u128]) -> Outcome<u128> {
    let product = factors.iter().try_fold(1_u128, |product, factor| product.checked_mul(*factor));
    product.ok_or_else(|| too_large(what))
}

fn fit(what: &str, number: u128) -> Outcome<u64> {
    i64::try_from(number).ok().and_then(|number| u64::try_from(number).ok()).ok_or_else(|| too_large(what))
}

fn too_large(what: &str) -> Failure {
    Failure::refused(format_args!("{what} of this plan: expected at most {}, got more", i64::MAX))
}

fn hundredths_of_percent(part: u128, whole: u128) -> u128 {
    part.saturating_mul(10_000).div_ceil(whole.max(1))
}

/// The lowest share of hits with which the working set fits, in ten-thousandths, rounded up.
fn lowest_hitrate(usable: u128, load: &Load) -> u64 {
    const ALL: u128 = 10_000;
    let Load { qps, size, ttl_ms, .. } = *load;
    let asked =
        u128::from(qps).checked_mul(u128::from(size)).and_then(|bytes| bytes.checked_mul(ttl_ms.into()));
    let misses = asked.and_then(|asked| usable.saturating_mul(ALL * 1000).checked_div(asked)).unwrap_or(0);
    u64::try_from(ALL.saturating_sub(misses)).unwrap_or(0)
}

/// A line through 60 s for 64 GiB and 110 s for 128 GiB.
fn failover_seconds(memory: u64) -> u64 {
    let seconds =
        (u128::from(memory) * u128::from(FAILOVER_SECONDS_OF_64_GIB)).div_ceil(u128::from(64 * GIB));
    FAILOVER_SECONDS + u64::try_from(seconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::quantity;
    use super::*;
    use proptest::prelude::*;

    fn images() -> Load {
        Load {
            qps: 8000,
            size: 1_000_000,
            ttl_ms: 300_000,
            hits: WHOLE / 10 * 8,
            pod: POD,
            network_bps: NETWORK_BPS,
            replicas: 1,
            memory: None,
        }
    }

    #[test]
    fn what_has_the_greatest_need_settles_the_masters() {
        let of = |load: Load| {
            let plan = plan(&load).unwrap();
            (plan.masters, plan.cause.name())
        };
        assert_eq!(of(images()), (16, "network"));
        assert_eq!(of(Load { network_bps: 25_000_000_000, ..images() }), (13, "memory"));
        assert_eq!(of(Load { size: 256, qps: 1_000_000, ..images() }), (27, "cpu"));
        assert_eq!(of(Load { qps: 10, ..images() }), (1, "memory"));
        assert_eq!(
            of(Load { qps: 1000, hits: WHOLE / 2, network_bps: 40_000_000_000, ..images() }),
            (4, "memory")
        );
        assert_eq!(
            of(Load { qps: 400, hits: WHOLE / 2, network_bps: 40_000_000_000, ..images() }),
            (3, "quorum")
        );
        assert_eq!(of(Load { memory: Some(65_000_000_000), ..images() }), (2, "given"));
        assert_eq!(of(Load { memory: Some(1), ..images() }), (1, "given"));
    }

    #[test]
    fn the_ends_of_the_hit_rate() {
        let never = plan(&Load { hits: 0, ..images() }).unwrap();
        assert_eq!((never.writes_per_second, never.working_set_bytes), (8000, 2_400_000_000_000));
        let always = plan(&Load { hits: WHOLE, memory: Some(1), ..images() }).unwrap();
        assert_eq!((always.items, always.working_set_bytes, always.longest_ttl_ms), (0, 0, None));
        assert!(always.fits);
        let small = plan(&Load { memory: Some(10_000_000_000), ..images() }).unwrap();
        assert_eq!((small.masters, small.usable_bytes, small.fits), (1, 10_000_000_000, false));
    }

    #[test]
    fn without_a_replica_nothing_is_sent_to_it_and_nobody_takes_over() {
        let plan = plan(&Load { replicas: 0, ..images() }).unwrap();
        assert_eq!((plan.replicas, plan.failover_seconds), (0, None));
        assert_eq!(plan.network_with_replication_mbps, plan.network_mbps);
    }

    #[test]
    fn more_than_there_is_in_the_world_is_refused() {
        let huge = Load { qps: i64::MAX as u64, ..images() };
        let refused = plan(&huge).unwrap_err();
        assert!(refused.text().contains("this plan takes"), "{refused}");
        let refused = plan(&Load { size: i64::MAX as u64, ..huge }).unwrap_err();
        assert!(refused.text().contains("expected at most 9223372036854775807"), "{refused}");
        let tiny = Load { pod: quantity::size(b"1").unwrap(), ..images() };
        assert!(plan(&tiny).unwrap_err().text().contains("at most 16384"));
    }

    fn loads() -> impl Strategy<Value = Load> {
        const MOST: u64 = i64::MAX as u64;
        let any = || prop_oneof![1..=MOST, 1..2_000_000_u64, Just(1), Just(MOST)];
        let memory = proptest::option::of(any());
        (any(), any(), any(), 0..=WHOLE, any(), any(), 0..=MOST, memory).prop_map(
            |(qps, size, ttl_ms, hits, pod, network_bps, replicas, memory)| {
                let pod = Size { bytes: pod, binary: pod };
                let replicas = if replicas % 2 == 0 { replicas % 6 } else { replicas };
                Load { qps, size, ttl_ms, hits, pod, network_bps, replicas, memory }
            },
        )
    }

    /// What a cache may look like.
    fn plausible() -> impl Strategy<Value = Load> {
        let pods = (1..512_u64).prop_map(|gib| Size { bytes: gib * 1_000_000_000, binary: gib * GIB });
        let networks = (1..100_u64).prop_map(|gbps| gbps * 1_000_000_000);
        let values = 1..2_000_000_u64;
        (1..100_000_u64, values, 1..3_600_000_u64, 0..=WHOLE, pods, networks, 0..4_u64).prop_map(
            |(qps, size, ttl_ms, hits, pod, network_bps, replicas)| Load {
                qps,
                size,
                ttl_ms,
                hits,
                pod,
                network_bps,
                replicas,
                memory: None,
            },
        )
    }

    proptest! {
        #[test]
        fn any_load_gives_a_plan_or_says_why_not(load in loads()) {
            if let Ok(plan) = plan(&load) {
                prop_assert!(plan.masters >= 1 && plan.masters <= SLOTS);
                prop_assert_eq!(plan.pods, plan.masters + plan.replicas);
                prop_assert!(plan.nodes * plan.pods_per_node >= plan.pods);
            }
        }

        #[test]
        fn a_plan_of_its_own_choice_bears_the_load(load in plausible()) {
            if let Ok(plan) = plan(&load) {
                prop_assert!(plan.fits && plan.memory_used <= MEMORY_TARGET * 100 + 1, "{plan:?}");
                prop_assert!(plan.network_used <= NETWORK_TARGET * 100 + 1, "{plan:?}");
                prop_assert!(plan.qps_per_master <= OPS_OF_A_CORE * CPU_TARGET / 100 + 1, "{plan:?}");
                // One value may take longer than the share of a second that its requests have.
                prop_assert!(plan.headroom >= 100 || plan.ops_per_master <= 1, "{plan:?}");
            }
        }

        #[test]
        fn with_the_longest_ttl_and_the_lowest_hit_rate_it_still_fits(load in plausible()) {
            if let Ok(first) = plan(&load) {
                let memory = Some(first.usable_bytes);
                // Items are counted up to whole ones.
                let spare = u128::from(load.size);
                let fits = |load: Load| match plan(&load) {
                    Ok(plan) => u128::from(plan.working_set_bytes) <= u128::from(plan.usable_bytes) + spare,
                    Err(_) => true,
                };
                if let Some(longest) = first.longest_ttl_ms {
                    let longest = Load { ttl_ms: longest.max(1), memory, ..load };
                    prop_assert!(fits(longest));
                }
                let lowest = Load { hits: first.lowest_hitrate * (WHOLE / 10_000), memory, ..load };
                prop_assert!(fits(lowest));
            }
        }

        #[test]
        fn more_of_anything_never_takes_fewer_masters(load in plausible(), more in 1..5_u64) {
            let masters = |load: &Load| plan(load).map_or(u64::MAX, |plan| plan.masters);
            let base = masters(&load);
            let loads = [
                Load { qps: load.qps * more, ..load },
                Load { size: load.size * more, ..load },
                Load { ttl_ms: load.ttl_ms * more, ..load },
                Load { hits: load.hits / more, ..load },
                Load { replicas: load.replicas + more, ..load },
            ];
            for load in loads {
                prop_assert!(masters(&load) >= base, "{load:?}");
            }
        }
    }
}
