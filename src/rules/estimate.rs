//! What many rows take, told from some of them.

/// What the server takes for a row beside its bytes, where nothing was measured: the capacity planning multiplies the
/// bytes by 1.5.
const UNMEASURED: f64 = 1.5;

/// Estimates what `rows` rows of together `payload` bytes take, from measured ones: the bytes of each and what it
/// takes. Exact if all were measured.
///
/// A line through the measured rows says what a row of the average size takes; a larger row takes more, but each has
/// the same fixed costs.
#[must_use]
pub fn allocated(rows: usize, payload: u64, measured: &[(u64, u64)]) -> u64 {
    let sum: u64 = measured.iter().map(|(_, allocated)| allocated).sum();
    if measured.len() == rows {
        return sum;
    }
    if measured.is_empty() {
        return (payload as f64 * UNMEASURED) as u64;
    }
    let count = measured.len() as f64;
    let mean_payload = measured.iter().map(|(payload, _)| *payload as f64).sum::<f64>() / count;
    let mean_allocated = sum as f64 / count;
    let (mut together, mut spread) = (0.0, 0.0);
    for (payload, allocated) in measured {
        let distance = *payload as f64 - mean_payload;
        together += distance * (*allocated as f64 - mean_allocated);
        spread += distance * distance;
    }
    // An allocator rounds up by a quarter at most, and a table of small values multiplies them a few times.
    let slope = if spread > 0.0 { (together / spread).clamp(0.0, 4.0) } else { 0.0 };
    let average = payload as f64 / rows as f64;
    ((mean_allocated + slope * (average - mean_payload)) * rows as f64).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_line_is_found_from_any_part_of_it(
            sizes in proptest::collection::vec(1u64..2000, 10..200), fixed in 0u64..500, slope in 1u64..4
        ) {
            let truth = |size: u64| fixed + slope * size;
            let measured: Vec<_> = sizes[..5].iter().map(|size| (*size, truth(*size))).collect();
            prop_assume!(measured.iter().any(|(size, _)| *size != measured[0].0));
            let estimate = allocated(sizes.len(), sizes.iter().sum(), &measured);
            let total: u64 = sizes.iter().map(|size| truth(*size)).sum();
            prop_assert!(estimate.abs_diff(total) <= 2, "{estimate} for {total}");
        }

        #[test]
        fn any_numbers_give_an_answer(rows in 1usize.., payload: u64, measured: Vec<(u32, u32)>) {
            let measured: Vec<_> = measured.into_iter().map(|(a, b)| (a.into(), b.into())).collect();
            let _ = allocated(rows, payload, &measured);
        }
    }

    #[test]
    fn all_measured_is_exact_and_none_a_guess() {
        assert_eq!(allocated(2, 10, &[(4, 100), (6, 90)]), 190);
        assert_eq!(allocated(2, 10, &[]), 15);
        assert_eq!(allocated(0, 0, &[]), 0);
    }
}
