//! `packstone snapshots`: lists the snapshots, oldest first.

use std::io::Write;

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{Result, Wrap, size};
use packstone::repository::SnapshotEntry;

use crate::context::Context;
use crate::json::{self, SnapshotDocument};
use crate::output::Output;
use crate::report::{self, Done, Outcome};
use crate::{open, show};

const AFTER_HELP: &str = "\
Columns: the beginning of the id, by which the other commands find the snapshot; when the backup began, in local time; \
the machine; tags; the sum of the sizes of all files; items that could not be read; the paths that were backed up.

Examples:
  packstone snapshots
  packstone -r /srv/backup --key-file /etc/packstone.key snapshots";

const COLUMNS: [&str; 7] = ["ID", "Time", "Host", "Tags", "Size", "Findings", "Paths"];

/// Arguments of `snapshots`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {}

/// Lists the snapshots.
pub fn run(_arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let mut output = Output::open()?;
    let written = if context.global.json {
        let documents: Vec<_> = list.visible.iter().map(SnapshotDocument::of).collect();
        json::write_line(&mut output, &documents)
    } else {
        write(&mut output, &list.visible, context.global.quiet)
    };
    let done = if list.damaged.is_empty() { Done::Fully } else { Done::WithDamage };
    for (id, error) in list.damaged {
        let error = error.while_doing(format!("cannot read snapshot {}", id.short()));
        report::error_aside(&error, "snapshots", &id.hex());
    }
    Ok(output.end(written.map(|()| done))?)
}

fn write(output: &mut Output, snapshots: &[SnapshotEntry], is_quiet: bool) -> Result<()> {
    let zone = TimeZone::system();
    let rows: Vec<[String; 7]> = snapshots.iter().flat_map(|entry| rows_of(entry, &zone)).collect();
    let mut lines = if rows.is_empty() { Vec::new() } else { table(&rows) };
    if !is_quiet {
        lines.push(show::count(snapshots.len() as u64, "snapshot"));
    }
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
}

/// The row of a snapshot, and one more for each further path.
fn rows_of(entry: &SnapshotEntry, zone: &TimeZone) -> Vec<[String; 7]> {
    let snapshot = &entry.snapshot;
    let mut paths = snapshot.paths.iter().map(|path| show_path(path));
    let first = [
        entry.id.short(),
        show::time(snapshot.time, zone),
        show_path(snapshot.host.as_bytes()),
        show_path(snapshot.tags.join(",").as_bytes()),
        size::show(snapshot.total_bytes),
        snapshot.findings.to_string(),
        paths.next().unwrap_or_default(),
    ];
    let further = paths.map(|path| {
        let [id, time, host, tags, size, findings, _]: [String; 7] = Default::default();
        [id, time, host, tags, size, findings, path]
    });
    std::iter::once(first).chain(further).collect()
}

/// Lines with aligned columns under their titles; numbers to the right.
fn table(rows: &[[String; 7]]) -> Vec<String> {
    let titles = COLUMNS.map(str::to_owned);
    let all = || std::iter::once(&titles).chain(rows);
    let mut widths = [0; 7];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).zip(&COLUMNS).map(|((cell, width), title)| match *title {
            "Size" | "Findings" => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 7]| cells.map(str::to_owned);
        let rows = [
            row(["1a2b3c4d", "2026-01-31 23:59:59", "städte", "a,b", "1.0 MiB", "0", "/etc"]),
            row(["", "", "", "", "", "", "/home"]),
            row(["5e6f7a8b", "2026-02-01 00:00:00", "h", "", "12 B", "1234567890", "/etc"]),
        ];
        let expected = [
            "ID        Time                 Host    Tags     Size    Findings  Paths",
            "1a2b3c4d  2026-01-31 23:59:59  städte  a,b   1.0 MiB           0  /etc",
            "                                                                  /home",
            "5e6f7a8b  2026-02-01 00:00:00  h                12 B  1234567890  /etc",
        ];
        assert_eq!(table(&rows), expected);
    }
}
