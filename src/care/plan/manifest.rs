//! Amounts of memory as configurations and manifests have them.

/// A GiB.
pub const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// An amount of memory in the notation of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    amount: u64,
    unit: u64,
}

impl Quantity {
    /// So many times that.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { amount: self.amount.saturating_mul(count), ..self }
    }

    /// As a manifest has it.
    #[must_use]
    pub fn text(self) -> String {
        format!("{}{}", self.amount, if self.unit == GIB { "Gi" } else { "Mi" })
    }
}

/// The memory of a pod and a fifth for what is not data: buffers, fragmentation, a fork.
#[must_use]
pub fn request(memory: u64) -> Quantity {
    let unit = if memory >= 8 * GIB { GIB } else { MIB };
    let amount = (u128::from(memory) * 6).div_ceil(u128::from(unit) * 5);
    Quantity { amount: u64::try_from(amount).unwrap_or(u64::MAX), unit }
}

/// A fifth above the request, to the nearest unit.
#[must_use]
pub fn limit(request: Quantity) -> Quantity {
    let amount = (u128::from(request.amount) * 12 + 5) / 10;
    Quantity { amount: u64::try_from(amount).unwrap_or(u64::MAX), ..request }
}

/// Bytes as a server's configuration has them, where `1gb` is a GiB.
#[must_use]
pub fn maxmemory(bytes: u64) -> String {
    let units = [(GIB, "gb"), (MIB, "mb"), (1 << 10, "kb")];
    let unit = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(unit, name)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::super::quantity;
    use super::*;

    #[test]
    fn memory_in_the_notations_of_servers_and_manifests() {
        let of = |text: &str| {
            let pod = quantity::size(text.as_bytes()).unwrap().binary;
            let request = request(pod);
            (maxmemory(pod), request.text(), limit(request).text())
        };
        let texts =
            |[server, request, limit]: [&str; 3]| (server.to_owned(), request.to_owned(), limit.to_owned());
        assert_eq!(of("64gb"), texts(["64gb", "77Gi", "92Gi"]));
        assert_eq!(of("64gib"), texts(["64gb", "77Gi", "92Gi"]));
        assert_eq!(of("128gb"), texts(["128gb", "154Gi", "185Gi"]));
        assert_eq!(of("2gb"), texts(["2gb", "2458Mi", "2950Mi"]));
        assert_eq!(of("1.5gb"), texts(["1536mb", "1844Mi", "2213Mi"]));
        assert_eq!(of("1"), texts(["1", "1Mi", "1Mi"]));
    }
}
