//! How far the work is at one moment, in numbers and words.
//!
//! What must hold: what is not known is not shown; work that turns out larger than was expected never shows more than
//! all of it, or less than no time.

use std::collections::VecDeque;
use std::time::Duration;

use packstone::base::size;

use crate::show;

/// What opening, naming and closing a file costs, as so many bytes of content: with it, a million tiny files and one
/// large file both move a bar evenly. 16 KiB is what the slower of both costs weighs on common disks.
const FILE_COST_BYTES: u64 = 16 << 10;
/// The rate is that of so much time before.
const WINDOW: Duration = Duration::from_secs(15);
/// Characters of a path that are shown.
const PATH_CHARACTERS_MAX: usize = 40;

/// How far the work is.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Files that are done.
    pub files: u64,
    /// Bytes that are done.
    pub bytes: u64,
    /// Files and bytes that are known so far to be done in all.
    pub met: (u64, u64),
    /// All files and bytes, once they are known.
    pub expected: Option<(u64, u64)>,
    /// Problems that did not stop the work.
    pub findings: u64,
    /// Time since the beginning.
    pub elapsed: Duration,
    /// Bytes in a second, of late.
    pub bytes_per_second: Option<u64>,
    /// What is being worked on.
    pub path: String,
    /// What is counted are packs and not files.
    pub is_of_packs: bool,
}

/// A part of a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    part: u64,
    whole: u64,
}

impl Fraction {
    /// The same part of another whole, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        let product = u128::from(self.part) * u128::from(whole);
        product.checked_div(u128::from(self.whole)).map_or(whole, |of| u64::try_from(of).unwrap_or(whole))
    }
}

const fn work(files: u64, bytes: u64) -> u64 {
    files.saturating_mul(FILE_COST_BYTES).saturating_add(bytes)
}

impl Reading {
    /// How much of the work is done, once all of it is known.
    pub fn fraction(&self) -> Option<Fraction> {
        let (files, bytes) = self.expected?;
        let whole = work(files, bytes);
        Some(Fraction { part: work(self.files, self.bytes).min(whole), whole })
    }

    /// How long the rest takes if it goes on as on average so far.
    pub fn remaining(&self) -> Option<Duration> {
        let Fraction { part, whole } = self.fraction()?;
        let rest = u128::from(whole - part);
        let seconds = (rest * u128::from(self.elapsed.as_secs())).checked_div(u128::from(part))?;
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
    }

    /// How far and how fast, in a few words.
    pub fn pace(&self) -> String {
        let mut parts = Vec::new();
        if let Some(fraction) = self.fraction() {
            let tenths = fraction.of(1000);
            parts.push(format!("{}.{}%", tenths / 10, tenths % 10));
        }
        parts.push(show::duration(self.elapsed.as_secs()));
        parts.extend(self.remaining().map(|left| format!("{} left", show::duration(left.as_secs()))));
        parts.extend(self.bytes_per_second.map(|rate| format!("{}/s", size::show(rate))));
        parts.join("  ")
    }

    /// How much, and where.
    pub fn amount(&self) -> String {
        let noun = if self.is_of_packs { "pack" } else { "file" };
        let mut parts = match self.expected {
            Some((files, bytes)) => vec![
                format!("{} of {files} {noun}s", self.files),
                format!("{} of {}", size::show(self.bytes), size::show(bytes)),
            ],
            None => vec![show::count(self.files, noun), size::show(self.bytes)],
        };
        if !self.path.is_empty() {
            parts.push(shorten(&self.path));
        }
        parts.join("  ")
    }

    /// All of it on one line.
    pub fn line(&self) -> String {
        format!("{}  {}", self.pace(), self.amount())
    }
}

/// The end of a path, which tells more than its beginning.
fn shorten(path: &str) -> String {
    let excess = path.chars().count().saturating_sub(PATH_CHARACTERS_MAX);
    match path.char_indices().nth(excess + 1) {
        Some((position, _)) if excess > 0 => format!("…{}", path.get(position..).unwrap_or_default()),
        _ => path.to_owned(),
    }
}

/// What was done when, of late.
#[derive(Debug)]
pub struct Window(VecDeque<(Duration, u64)>);

impl Default for Window {
    fn default() -> Self {
        Self([(Duration::ZERO, 0)].into())
    }
}

impl Window {
    /// Takes what was done until now, and gives the bytes in a second since the window's beginning.
    pub fn rate(&mut self, now: Duration, bytes: u64) -> Option<u64> {
        self.0.push_back((now, bytes));
        while self.0.get(1).is_some_and(|(then, _)| now.saturating_sub(*then) >= WINDOW) {
            self.0.pop_front();
        }
        let (then, before) = self.0.front()?;
        let milliseconds = now.saturating_sub(*then).as_millis();
        let done = u128::from(bytes.saturating_sub(*before));
        (done * 1000).checked_div(milliseconds).map(|rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading {
            files: 100,
            bytes: 1 << 20,
            elapsed: Duration::from_secs(10),
            bytes_per_second: Some(100 << 10),
            path: "/usr/share".into(),
            ..Reading::default()
        }
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let mut reading = reading();
        assert_eq!(reading.line(), "0:10  100.0 KiB/s  100 files  1.0 MiB  /usr/share");
        assert_eq!(reading.remaining(), None);
        reading.expected = Some((400, 4 << 20));
        assert_eq!(reading.pace(), "25.0%  0:10  0:30 left  100.0 KiB/s");
        assert_eq!(reading.amount(), "100 of 400 files  1.0 MiB of 4.0 MiB  /usr/share");
        let nothing = Reading { expected: Some((0, 0)), ..Reading::default() };
        assert_eq!(nothing.line(), "100.0%  0:00  0 of 0 files  0 B of 0 B");
    }

    #[test]
    fn more_than_was_expected_is_all_of_it() {
        let reading = Reading { expected: Some((50, 10)), ..reading() };
        assert_eq!(reading.fraction().map(|fraction| fraction.of(1000)), Some(1000));
        assert_eq!(reading.remaining(), Some(Duration::ZERO));
    }

    #[test]
    fn a_long_path_keeps_its_end() {
        let fits = "x".repeat(PATH_CHARACTERS_MAX);
        assert_eq!(shorten(&fits), fits);
        let long = shorten(&format!("/städte/{fits}"));
        assert_eq!(long.chars().count(), PATH_CHARACTERS_MAX);
        assert!(long.starts_with("…x") && long.ends_with('x'), "{long}");
    }

    #[test]
    fn the_rate_is_that_of_late() {
        let mut window = Window::default();
        assert_eq!(window.rate(Duration::ZERO, 0), None);
        assert_eq!(window.rate(Duration::from_secs(1), 1000), Some(1000));
        for second in 2..=40 {
            window.rate(Duration::from_secs(second), 1000 + 10 * (second - 1));
        }
        assert_eq!(window.rate(Duration::from_secs(41), 1400), Some(10));
    }
}
