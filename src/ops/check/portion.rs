//! Which packs a check reads.
//!
//! What must hold: of a part `n/t`, the packs are the same on every machine and day, and all parts together are all
//! packs; of a share, a size or a time, those come first that this machine verified longest ago, and before them those
//! that it never did. Among equals the order begins at a place that is drawn, so that a machine that remembers nothing
//! reads others each time.

use std::time::Duration;

use crate::base::{ContentName, size};

/// Parts of which a share is counted.
const WHOLE: u64 = 100_000_000;

/// Which packs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// All.
    All,
    /// Those whose name begins with a byte that gives `number − 1` when it is divided by `of`, at most 256.
    Part {
        /// From 1.
        number: u16,
        /// How many parts there are.
        of: u16,
    },
    /// So many millionths of a percent of their bytes.
    Share(u64),
    /// So many bytes.
    Bytes(u64),
    /// As many as are read in this time.
    Within(Duration),
}

impl Portion {
    /// Reads `5%`, `2.5%`, `1/7` or `2G`; or says why it is none of them.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let refused = || format!("{text:?} is no part of the packs such as 5%, 2.5%, 1/7 or 2G");
        if let Some(percent) = text.strip_suffix('%') {
            let share = parse_percent(percent).ok_or_else(refused)?;
            return match share {
                1..=WHOLE => Ok(Self::Share(share)),
                _ => Err(format!(
                    "{text:?} is no share of the packs: more than 0% and at most 100% can be read"
                )),
            };
        }
        if let Some((number, of)) = text.split_once('/') {
            let number_of = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
            };
            let (number, of) = number_of(number).zip(number_of(of)).ok_or_else(refused)?;
            return match (number, of) {
                (1.., 1..=256) if number <= of => Ok(Self::Part { number, of }),
                _ => Err(format!(
                    "{text:?} is no part of the packs: there are 1/t to t/t, with t from 1 to 256"
                )),
            };
        }
        match size::parse(text).ok_or_else(refused)? {
            0 => Err("no packs are read without --read-data-subset".to_owned()),
            bytes => Ok(Self::Bytes(bytes)),
        }
    }

    /// The rows of the packs to read, in this order. `packs` are rows and sizes in order of names; `name` and `verified`
    /// tell of a row what it is called, and when it was verified, in seconds.
    pub(super) fn choose(
        self,
        packs: &[(u32, u64)],
        name: impl Fn(u32) -> ContentName,
        verified: impl Fn(u32) -> u64,
        start: u64,
    ) -> Vec<u32> {
        let all_bytes: u64 = packs.iter().map(|(_, size_bytes)| size_bytes).sum();
        let wanted_bytes = match self {
            Self::All => return packs.iter().map(|(row, _)| *row).collect(),
            Self::Part { number, of } => {
                let is_of_part = |row: u32| {
                    let [first, ..] = *name(row).as_bytes();
                    (u16::from(first)).checked_rem(of) == number.checked_sub(1)
                };
                return packs.iter().map(|(row, _)| *row).filter(|row| is_of_part(*row)).collect();
            }
            Self::Share(share) => {
                let bytes = u128::from(all_bytes) * u128::from(share) / u128::from(WHOLE);
                u64::try_from(bytes).unwrap_or(all_bytes)
            }
            Self::Bytes(bytes) => bytes,
            Self::Within(_) => u64::MAX,
        };
        let place = |row: u32| {
            let first = name(row).as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            first.wrapping_sub(start)
        };
        let mut order = packs.to_vec();
        order.sort_by_cached_key(|(row, _)| (verified(*row), place(*row)));
        let mut taken_bytes = 0_u64;
        let chosen = order.into_iter().enumerate().take_while(|(position, (_, size_bytes))| {
            // At least one, however small the share is.
            let is_wanted = *position == 0 || taken_bytes < wanted_bytes;
            taken_bytes = taken_bytes.saturating_add(*size_bytes);
            is_wanted
        });
        chosen.map(|(_, (row, _))| row).collect()
    }
}

/// A number with at most six digits after its point, in millionths.
fn parse_percent(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 6 {
        return None;
    }
    let millionths: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(millionths)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn portions_are_read() {
        let share = |millionths| Ok(Portion::Share(millionths));
        assert_eq!(Portion::parse("5%"), share(5_000_000));
        assert_eq!(Portion::parse("2.5%"), share(2_500_000));
        assert_eq!(Portion::parse("0.000001%"), share(1));
        assert_eq!(Portion::parse("100%"), share(WHOLE));
        assert_eq!(Portion::parse("1/7"), Ok(Portion::Part { number: 1, of: 7 }));
        assert_eq!(Portion::parse("256/256"), Ok(Portion::Part { number: 256, of: 256 }));
        assert_eq!(Portion::parse("2G"), Ok(Portion::Bytes(2 << 30)));
        for bad in [
            "",
            "%",
            "0%",
            "0.0%",
            "101%",
            "100.000001%",
            "-5%",
            "5 %",
            ".5%",
            "5.%",
            "1e1%",
            "0.0000001%",
            "x",
            "/",
            "0/7",
            "8/7",
            "1/257",
            "1/0",
            "1/",
            "/7",
            "+1/7",
            "1/7/9",
            "0",
            "0k",
            "2X",
            "-2G",
            "99999999999999999999%",
        ] {
            assert!(Portion::parse(bad).is_err(), "{bad}");
        }
    }

    fn name(row: u32) -> ContentName {
        ContentName([u8::try_from(row).unwrap(); 32])
    }

    #[test]
    fn all_parts_are_all_packs() {
        let packs: Vec<(u32, u64)> = (0..256).map(|row| (row, 10)).collect();
        for of in [1, 2, 7, 255, 256] {
            let mut met = BTreeSet::new();
            for number in 1..=of {
                let chosen = Portion::Part { number, of }.choose(&packs, name, |_| 0, 5);
                assert_eq!(chosen, Portion::Part { number, of }.choose(&packs, name, |_| 9, 6));
                assert!(chosen.iter().all(|row| met.insert(*row)), "{number}/{of}");
            }
            assert_eq!(met.len(), 256, "{of}");
        }
    }

    #[test]
    fn what_was_verified_longest_ago_comes_first() {
        let packs: Vec<(u32, u64)> = (0..10).map(|row| (row, 100)).collect();
        // 0 and 1 never, the others the later the lower their number is.
        let verified = |row: u32| if row < 2 { 0 } else { 100 - u64::from(row) };
        let choose = |portion: Portion| portion.choose(&packs, name, verified, 0);
        assert_eq!(choose(Portion::Bytes(1)), [0]);
        assert_eq!(choose(Portion::Bytes(100)), [0]);
        assert_eq!(choose(Portion::Bytes(101)), [0, 1]);
        assert_eq!(choose(Portion::Bytes(400)), [0, 1, 9, 8]);
        assert_eq!(choose(Portion::Share(30_000_000)), [0, 1, 9]);
        assert_eq!(choose(Portion::Share(1)), [0]);
        assert_eq!(choose(Portion::Within(Duration::ZERO)), [0, 1, 9, 8, 7, 6, 5, 4, 3, 2]);
        assert_eq!(choose(Portion::Bytes(u64::MAX)).len(), 10);
        assert_eq!(choose(Portion::All), (0..10).collect::<Vec<_>>());
        assert_eq!(Portion::Bytes(5).choose(&[], name, verified, 0), [0; 0]);
    }

    #[test]
    fn among_equals_the_order_begins_where_it_is_drawn() {
        let packs: Vec<(u32, u64)> = (0..4).map(|row| (row, 100)).collect();
        let start = u64::from_be_bytes([2; 8]);
        assert_eq!(Portion::Bytes(300).choose(&packs, name, |_| 0, start), [2, 3, 0]);
    }
}
