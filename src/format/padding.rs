//! Padmé: the length to which sealed bodies are padded (format-spec chapter 5).
//!
//! What must hold: an observer of lengths learns only `O(log log length)` bits of them, for at most 12 % more bytes.
//! The scheme is that of "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs" (2019).

/// The padded length of a content of `length` bytes: the low bits that Padmé clears, rounded up.
pub const fn padded(length: u64) -> u64 {
    if length < 2 {
        return length;
    }
    let exponent = length.ilog2();
    let kept_bits = exponent.ilog2() + 1;
    let mask = (1_u64 << exponent.saturating_sub(kept_bits)) - 1;
    match length.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => length,
    }
}

#[cfg(test)]
mod tests {
    use super::padded;

    #[test]
    fn lengths_are_rounded_up_by_at_most_an_eighth() {
        let vectors =
            [(0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (100, 104), (1000, 1024), (1_000_000, 1_015_808)];
        for (length, expected) in vectors {
            assert_eq!(padded(length), expected, "{length}");
        }
        for length in 1..100_000 {
            let result = padded(length);
            assert!(result >= length && (result - length) * 100 <= 12 * length, "{length} to {result}");
            assert_eq!(padded(result), result, "{length}");
        }
        assert_eq!(padded(u64::MAX), u64::MAX);
    }
}
