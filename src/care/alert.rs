//! When the memory of a server deserves attention.

/// How urgent that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all.
    None,
    /// Someone should look.
    Warning,
    /// Someone has to look now.
    Critical,
}

impl Level {
    /// The name in INFO.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The level of so many bytes of used memory: above a threshold is above, at it is not. A threshold of 0 is none.
#[must_use]
pub fn level(used: u64, warning: u64, critical: u64) -> Level {
    let is_above = |threshold| threshold > 0 && used > threshold;
    if is_above(critical) {
        Level::Critical
    } else if is_above(warning) {
        Level::Warning
    } else {
        Level::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        assert_eq!(level(500, 500, 1000), Level::None);
        assert_eq!(level(501, 500, 1000), Level::Warning);
        assert_eq!(level(1001, 500, 1000), Level::Critical);
        assert_eq!(level(1001, 500, 0), Level::Warning);
        assert_eq!(level(u64::MAX, 0, 0), Level::None);
    }
}
