//! Times, durations, numbers and paths for people.

use std::path::Path;

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{Item, ItemAction, Lacks, ThawCount, ThawCounts, Timestamp, size};
use packstone::format::node::{Node, NodeKind};
use packstone::repository::SnapshotEntry;
use packstone::storage::location::Location;

/// A point in time in a time zone, to the second, as `2026-01-31 23:59:59`.
pub fn time(time: Timestamp, zone: &TimeZone) -> String {
    match Instant::from_second(time.seconds) {
        Ok(instant) => instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        // Beyond the year 9999, which file systems can say.
        Err(_) => format!("@{}", time.seconds),
    }
}

/// A duration in seconds as `0:12` or `1:02:03`.
pub fn duration(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A path as the shell takes it; in words if that would need unreadable signs.
pub fn argument(path: &Path, words: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+,:@%=".contains(character);
    match path.to_str() {
        Some(text) if text.chars().all(is_plain) => text.to_owned(),
        Some(text) if show_path(text.as_bytes()) == text => format!("'{}'", text.replace('\'', "'\\''")),
        _ => words.to_owned(),
    }
}

/// A location as the shell takes it.
pub fn location(location: &Location) -> String {
    match location {
        Location::Local(directory) => argument(directory, "LOCATION"),
        Location::Remote(remote) => argument(Path::new(&remote.to_string()), "LOCATION"),
    }
}

/// How many times larger one size is than another, with two digits; `-` where there is nothing to compare.
pub fn ratio(larger: u64, smaller: u64) -> String {
    let hundredths = (u128::from(larger) * 100).checked_div(u128::from(smaller)).filter(|_| larger > 0);
    hundredths.map_or_else(|| "-".to_owned(), |all| format!("{}.{:02}", all / 100, all % 100))
}

/// A number with its noun, which takes an `s` unless the number is 1.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What a restore does with an item.
pub fn item(item: &Item<'_>) -> String {
    let mut more = item.parts.words().join(", ");
    if item.action == ItemAction::Patch {
        let of = format!("{} of {}", size::show(item.written_bytes), size::show(item.size_bytes));
        more = if more.is_empty() { of } else { format!("{of}, {more}") };
    }
    let line = format!("{} {}", item.action.word(), show_path(item.path));
    if more.is_empty() { line } else { format!("{line} ({more})") }
}

/// What could not be set or made by who may not; nothing if all could.
pub fn lacks(lacks: &Lacks) -> Option<String> {
    let of = |what: &str, number| (number > 0).then(|| format!("{what} of {}", count(number, "item")));
    let named = [
        of("owner", lacks.owners),
        of("mode", lacks.modes),
        of("extended attributes", lacks.xattrs),
        (lacks.devices > 0).then(|| count(lacks.devices, "device")),
    ];
    let named: Vec<String> = named.into_iter().flatten().collect();
    (!named.is_empty()).then(|| {
        format!(
            "not restored, as you may not: {} (-v names each; --no-ownership and --no-special leave them out)",
            named.join(", ")
        )
    })
}

/// Which of the packs that are needed can be read.
pub fn thawing(counts: &ThawCounts) -> String {
    let of = |count: ThawCount| format!("{} ({})", count.count, size::show(count.size_bytes));
    let needed =
        format!("{} ({})", self::count(counts.needed.count, "pack"), size::show(counts.needed.size_bytes));
    if counts.is_ready() {
        return format!("{needed} needed, all of which can be read");
    }
    let later =
        [(counts.asked, "asked for now"), (counts.under_way, "asked for before"), (counts.frozen, "frozen")];
    let later = later.into_iter().filter(|(count, _)| count.count > 0);
    let mut parts = vec![format!("{} can be read", of(counts.readable))];
    parts.extend(later.map(|(count, what)| format!("{} {what}", of(count))));
    format!("{needed} needed: {}", parts.join(", "))
}

/// Kind and permissions in ten characters.
pub fn mode(node: &Node) -> String {
    let kind = match node.kind {
        NodeKind::Regular(_) => '-',
        NodeKind::Directory(_) => 'd',
        NodeKind::Symlink(_) => 'l',
        NodeKind::Fifo => 'p',
        NodeKind::Socket => 's',
        NodeKind::CharacterDevice { .. } => 'c',
        NodeKind::BlockDevice { .. } => 'b',
    };
    let has = |bit: u16| node.metadata.mode & bit != 0;
    let mut shown = String::from(kind);
    for (read, special, letter) in [(0o400, 0o4000, 's'), (0o040, 0o2000, 's'), (0o004, 0o1000, 't')] {
        shown.push(if has(read) { 'r' } else { '-' });
        shown.push(if has(read >> 1) { 'w' } else { '-' });
        shown.push(match (has(read >> 2), has(special)) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    shown
}

/// The owner or group of an object: the name, or else the number.
pub fn owner(name: Option<&str>, number: u32) -> String {
    name.map_or_else(|| number.to_string(), |name| show_path(name.as_bytes()))
}

/// The first and the last of some snapshots, by their positions, with their times.
pub fn span(snapshots: &[&SnapshotEntry], first: usize, last: usize, zone: &TimeZone) -> String {
    let one = |position: usize| match snapshots.get(position) {
        Some(entry) => format!("{} {}", entry.id.short(), time(entry.snapshot.time, zone)),
        None => String::new(),
    };
    if first == last { one(first) } else { format!("{} to {}", one(first), one(last)) }
}

/// A number of things that rules leave out.
pub fn left_out(number: u64) -> String {
    match number {
        1 => "1 entry, with all below it".to_owned(),
        more => format!("{more} entries, with all below them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::ChunkId;
    use packstone::format::node::Metadata;

    #[test]
    fn times_far_from_now_are_shown() {
        let at = |seconds, nanoseconds| time(Timestamp { seconds, nanoseconds }, &TimeZone::UTC);
        assert_eq!(at(0, 5), "1970-01-01 00:00:00");
        assert_eq!(at(-1, 999_999_999), "1969-12-31 23:59:59");
        assert_eq!(at(4_102_444_800, 0), "2100-01-01 00:00:00");
        assert_eq!(at(i64::MAX, 0), "@9223372036854775807");
        let east = TimeZone::fixed(jiff::tz::offset(5));
        assert_eq!(time(Timestamp::default(), &east), "1970-01-01 05:00:00");
    }

    #[test]
    fn a_path_is_shown_as_the_shell_takes_it() {
        let shown = |path: &str| argument(Path::new(path), "FILE");
        assert_eq!(shown("/srv/backup-1"), "/srv/backup-1");
        assert_eq!(shown("my städte's"), "'my städte'\\''s'");
        assert_eq!(shown("a\nb"), "FILE");
        assert_eq!(shown("a\\b"), "FILE");
    }

    #[test]
    fn durations_and_counts_are_shown() {
        assert_eq!(duration(0), "0:00");
        assert_eq!(duration(72), "1:12");
        assert_eq!(duration(3723), "1:02:03");
        assert_eq!(count(1, "file"), "1 file");
        assert_eq!(ratio(1007, 100), "10.07");
        assert_eq!(ratio(1, 3), "0.33");
        assert_eq!([ratio(0, 5), ratio(5, 0)], ["-", "-"]);
        assert_eq!(count(0, "file"), "0 files");
    }

    #[test]
    fn modes_are_shown_as_ls_does() {
        let shown = |kind, mode| {
            let metadata = Metadata { mode, ..Metadata::default() };
            super::mode(&Node { name: b"n".to_vec(), kind, metadata, xattrs: Vec::new(), kept: Vec::new() })
        };
        let fifo = |bits| shown(NodeKind::Fifo, bits);
        assert_eq!(fifo(0o754), "prwxr-xr--");
        assert_eq!(fifo(0o7777), "prwsrwsrwt");
        assert_eq!(fifo(0o7000), "p--S--S--T");
        assert_eq!(shown(NodeKind::Directory(ChunkId([0; 32])), 0o1777), "drwxrwxrwt");
    }
}
