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

#[cfg(test)]
mod tests {
    use super::show;

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
