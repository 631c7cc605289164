//! Sizes for people: binary units, as `1.5 MiB`.

/// Shows bytes with one decimal and a binary unit; below 1024 bytes without a decimal.
pub fn show(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in UNITS {
        tenths = (tenths + 512) / 1024;
        unit = next;
        // 10,235 tenths would be shown as 1023.5; one more would round up to 1024 of this unit.
        if tenths < 10_240 {
            break;
        }
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Reads a number of bytes, with `k`, `m`, `g` or `t` behind it of 1024, 1024², 1024³ or 1024⁴ bytes, in small or
/// capital letters.
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1_u64 << 40,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::{parse, show};

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("2048", 2048),
            ("1k", 1024),
            ("10K", 10_240),
            ("20m", 20 << 20),
            ("3G", 3 << 30),
            ("2t", 2 << 40),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in
            ["", "k", "1.5M", "-1", "+1", "1 M", "1MB", "1x", "M1", "99999999999T", "18446744073709551616"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        assert_eq!(show(0), "0 B");
        assert_eq!(show(1023), "1023 B");
        assert_eq!(show(1024), "1.0 KiB");
        assert_eq!(show(1536), "1.5 KiB");
        assert_eq!(show(1 << 20), "1.0 MiB");
        assert_eq!(show((1 << 20) - 1), "1.0 MiB");
        assert_eq!(show(u64::MAX), "16.0 EiB");
    }
}
