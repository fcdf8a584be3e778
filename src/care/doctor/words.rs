//! How sizes, shares, times and keys are written in findings.

/// A size as people say it: the thresholds of the checklists are decimal.
pub(super) fn size(bytes: u64) -> String {
    // What rounds up to a thousand of one unit is one of the next.
    let (unit, name) = match bytes {
        0..1000 => return format!("{bytes} bytes"),
        1000..999_950 => (1e3, "KB"),
        999_950..999_950_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{:.1} {name}", bytes as f64 / unit)
}

/// The power of two, 64 MB at least, that so many bytes fit in.
pub(super) fn room(bytes: u64) -> u64 {
    bytes.max(64 << 20).checked_next_power_of_two().unwrap_or(1 << 63)
}

/// The same as CONFIG SET takes it.
pub(super) fn roomy(bytes: u64) -> String {
    let megabytes = room(bytes) >> 20;
    if megabytes >= 1024 {
        format!("{}gb", megabytes / 1024)
    } else {
        format!("{megabytes}mb")
    }
}

/// A part of a whole in per cent.
pub(super) fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

/// A time in whole seconds.
pub(super) fn seconds(milliseconds: i64) -> String {
    format!("{} s", milliseconds / 1000)
}

/// A number, and what it is a number of.
pub(super) fn number(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A key or a name as redis-cli takes it.
pub(super) fn word(bytes: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b":_-./{}@+=,".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.is_empty() && bytes.iter().all(is_plain) => text.to_owned(),
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// Some of many, in words.
pub(super) fn listed<T>(some: &[T], count: usize, name: impl Fn(&T) -> String) -> String {
    let mut text = some.iter().map(name).collect::<Vec<_>>().join(", ");
    if count > some.len() {
        text.push_str(&format!(" and {} more", count - some.len()));
    }
    text
}

/// The command for the first of some: advice is one command, and the next look names the next.
pub(super) fn first<T>(some: &[T], command: impl Fn(&T) -> String) -> String {
    some.first().map(command).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 KB"),
            (999_949, "999.9 KB"),
            (999_950, "1.0 MB"),
            (500_000_001, "500.0 MB"),
            (1_200_000_000, "1.2 GB"),
            (2_400_000_000_000, "2400.0 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (bytes, text) in [(0, "64mb"), (64 << 20, "64mb"), ((64 << 20) + 1, "128mb"), (1 << 30, "1gb")] {
            assert_eq!(roomy(bytes), text);
        }
        assert!(roomy(u64::MAX).ends_with("gb"));
    }

    #[test]
    fn keys_can_be_pasted() {
        assert_eq!(word(b"{m}:lease:reshard"), "{m}:lease:reshard");
        assert_eq!(word(b"m:lease:an \"id\"\xff"), "\"m:lease:an \\\"id\\\"\\xff\"");
        assert_eq!(word(b""), "\"\"");
    }
}
