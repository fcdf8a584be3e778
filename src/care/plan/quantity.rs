//! Sizes, lengths of time, rates and shares, as people write them: `1mb`, `300s`, `10gbps`, `0.8`.
//!
//! A number has digits and at most one point; signs, exponents, `nan` and the like are none. What stands behind the ninth
//! digit after the point is cut off. Units are case-insensitive.

/// Parts of one, in which fractions are counted.
pub const WHOLE: u64 = 1_000_000_000;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// The bytes: 1 mb are 1,000,000, 1 mib are 1,048,576.
    pub bytes: u64,
    /// The bytes if the unit is taken for the binary one of its order, as servers and Kubernetes manifests do: they
    /// read `64gb` and `64Gi` as 64 times 1,073,741,824.
    pub binary: u64,
}

/// What a size is called in errors.
pub const SIZE: &str =
    "a size above 0 such as 1mb, 256kib or 64gb (units b, kb, mb, gb, tb, pb, kib, mib, gib, tib, pib)";
/// What a length of time is called in errors.
pub const DURATION: &str = "a time above 0 such as 300s, 5m or 1.5h (units ms, s, m, h, d)";
/// What a rate is called in errors.
pub const RATE: &str = "a rate above 0 such as 10gbps or 500mbps (units bps, kbps, mbps, gbps, tbps)";
/// What a share is called in errors.
pub const SHARE: &str = "a number from 0 to 1 such as 0.8";

/// A unit: its name, what it stands for, and what the binary unit of its order stands for.
type Unit = (&'static str, u64, u64);

const SIZES: &[Unit] = &[
    ("", 1, 1),
    ("b", 1, 1),
    ("kb", 1_000, 1 << 10),
    ("mb", 1_000_000, 1 << 20),
    ("gb", 1_000_000_000, 1 << 30),
    ("tb", 1_000_000_000_000, 1 << 40),
    ("pb", 1_000_000_000_000_000, 1 << 50),
    ("kib", 1 << 10, 1 << 10),
    ("mib", 1 << 20, 1 << 20),
    ("gib", 1 << 30, 1 << 30),
    ("tib", 1 << 40, 1 << 40),
    ("pib", 1 << 50, 1 << 50),
];
const MILLISECONDS: &[Unit] = &[
    ("ms", 1, 1),
    ("s", 1_000, 1_000),
    ("m", 60_000, 60_000),
    ("h", 3_600_000, 3_600_000),
    ("d", 86_400_000, 86_400_000),
];
const BITS: &[Unit] = &[
    ("bps", 1, 1),
    ("kbps", 1_000, 1_000),
    ("mbps", 1_000_000, 1_000_000),
    ("gbps", 1_000_000_000, 1_000_000_000),
    ("tbps", 1_000_000_000_000, 1_000_000_000_000),
];

/// Reads a size. A number alone is one of bytes.
#[must_use]
pub fn size(text: &[u8]) -> Option<Size> {
    let (bytes, binary) = quantity(text, SIZES)?;
    Some(Size { bytes, binary })
}

/// Reads a length of time, in ms. The unit must stand there: seconds or milliseconds would be a guess.
#[must_use]
pub fn duration_ms(text: &[u8]) -> Option<u64> {
    quantity(text, MILLISECONDS).map(|(milliseconds, _)| milliseconds)
}

/// Reads a rate, in bits per second.
#[must_use]
pub fn rate_bps(text: &[u8]) -> Option<u64> {
    quantity(text, BITS).map(|(bits, _)| bits)
}

/// Reads a share of the whole, in parts of [`WHOLE`].
#[must_use]
pub fn share(text: &[u8]) -> Option<u64> {
    u64::try_from(number(text)?).ok().filter(|parts| *parts <= WHOLE)
}

/// Reads a number with a unit. None for anything below 1 of the smallest unit, and above what 63 bits hold.
fn quantity(text: &[u8], units: &[Unit]) -> Option<(u64, u64)> {
    let end = text.iter().position(u8::is_ascii_alphabetic).unwrap_or(text.len());
    let (digits, name) = text.split_at(end);
    let (_, one, binary) = units.iter().find(|(unit, ..)| name.eq_ignore_ascii_case(unit.as_bytes()))?;
    let number = number(digits)?;
    let of = |unit: u64| {
        let amount = number.checked_mul(u128::from(unit))? / u128::from(WHOLE);
        i64::try_from(amount).ok().and_then(|amount| u64::try_from(amount).ok()).filter(|amount| *amount > 0)
    };
    Some((of(*one)?, of(*binary)?))
}

/// Reads a number without sign, in parts of [`WHOLE`].
fn number(text: &[u8]) -> Option<u128> {
    let point = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&text[..point], Some(&text[point + 1..])),
        None => (text, None),
    };
    let are_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !are_digits(whole) || !fraction.is_none_or(are_digits) {
        return None;
    }
    let fraction = fraction.unwrap_or_default().iter().copied().chain(std::iter::repeat(b'0')).take(9);
    whole
        .iter()
        .copied()
        .chain(fraction)
        .try_fold(0_u128, |number, digit| number.checked_mul(10)?.checked_add(u128::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_and_binary_sizes() {
        let bytes = |text: &str| size(text.as_bytes()).map(|size| (size.bytes, size.binary));
        assert_eq!(bytes("1mb"), Some((1_000_000, 1 << 20)));
        assert_eq!(bytes("1MiB"), Some((1 << 20, 1 << 20)));
        assert_eq!(bytes("64gb"), Some((64_000_000_000, 64 << 30)));
        assert_eq!(bytes("64GIB"), Some((64 << 30, 64 << 30)));
        assert_eq!(bytes("1.024tb").map(|size| size.0), Some(1_024_000_000_000));
        assert_eq!(bytes("256"), Some((256, 256)));
        assert_eq!(bytes("256b"), Some((256, 256)));
        assert_eq!(bytes("9223372036854775807"), Some((i64::MAX as u64, i64::MAX as u64)));
        assert_eq!(bytes("0.0000000019gb"), Some((1, 1)), "cut behind the ninth digit");
    }

    #[test]
    fn times_rates_and_shares() {
        assert_eq!(duration_ms(b"300s"), Some(300_000));
        assert_eq!(duration_ms(b"5m"), duration_ms(b"300S"));
        assert_eq!(duration_ms(b"1.5h"), Some(5_400_000));
        assert_eq!(duration_ms(b"7d"), Some(604_800_000));
        assert_eq!(duration_ms(b"1ms"), Some(1));
        assert_eq!(rate_bps(b"10gbps"), Some(10_000_000_000));
        assert_eq!(rate_bps(b"2.5Gbps"), Some(2_500_000_000));
        assert_eq!(share(b"0.8"), Some(800_000_000));
        assert_eq!([share(b"0"), share(b"1"), share(b"1.000")], [Some(0), Some(WHOLE), Some(WHOLE)]);
        assert_eq!(share(b"0.58333333333333337"), Some(583_333_333));
    }

    #[test]
    fn what_is_none_of_them() {
        for text in [
            "",
            "mb",
            ".",
            ".5mb",
            "5.mb",
            "-1mb",
            "+1mb",
            "1 mb",
            " 1mb",
            "1mb ",
            "1xb",
            "1m",
            "0",
            "0mb",
            "0.4b",
            "1e3",
            "nan",
            "inf",
            "NaN",
            "1.2.3mb",
            "1,5mb",
            "9223372036854775808",
            "9007199254740993pb",
            "0x10",
            "1mbb",
            "½mb",
            "99999999999999999999999999999999999999999999999999pb",
        ] {
            assert_eq!(size(text.as_bytes()), None, "{text}");
        }
        for text in ["300", "0s", "0.1ms", "-5s", "5 min", "s", "", "nans", "106751991168d", "1w"] {
            assert_eq!(duration_ms(text.as_bytes()), None, "{text}");
        }
        for text in ["10", "10gb", "0gbps", "gbps", "-1gbps", "9223373tbps"] {
            assert_eq!(rate_bps(text.as_bytes()), None, "{text}");
        }
        for text in ["-0.1", "-0", "1.000000001", "2", "80%", "nan", "inf", "", ".8", "1e-1", "0,8"] {
            assert_eq!(share(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(text: Vec<u8>) {
            let _ = (size(&text), duration_ms(&text), rate_bps(&text), share(&text));
        }

        #[test]
        fn whatever_looks_like_a_quantity_is_within_63_bits(text in "[0-9]{0,40}(\\.[0-9]{0,20})?[kmgtpKMGTP]?i?[bB]?") {
            if let Some(size) = size(text.as_bytes()) {
                prop_assert!(size.bytes > 0 && i64::try_from(size.bytes).is_ok());
                prop_assert!(size.bytes <= size.binary && i64::try_from(size.binary).is_ok());
            }
        }

        #[test]
        fn whole_numbers_are_exact(number in 1..=i64::MAX as u64) {
            prop_assert_eq!(size(number.to_string().as_bytes()).map(|size| size.bytes), Some(number));
            prop_assert_eq!(duration_ms(format!("{number}ms").as_bytes()), Some(number));
        }
    }
}
