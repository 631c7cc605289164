//! `packstone snapshots`: lists the snapshots, oldest first.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{ErrorKind, Result, Wrap, size};
use packstone::format::snapshot::Statistic;
use packstone::repository::{GroupKey, Grouping, SnapshotEntry};

use crate::context::Context;
use crate::json::{self, GroupDocument, SnapshotDocument};
use crate::output::Output;
use crate::report::{Done, Hint, Outcome};
use crate::selection::{Selection, parse_grouping, show_group};
use crate::table::{self, Column};
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
Columns: the beginning of the id, by which the other commands find the snapshot; when the backup began, in local time; \
the machine; tags; the sum of the sizes of all files; what of that the repository did not have yet; items that could \
not be read; the paths that were backed up.

Examples:
  packstone snapshots
  packstone snapshots --host web1 --tag nightly --latest 3
  packstone snapshots --group-by host,paths --compact
  packstone --json snapshots";

const COLUMNS: [Column; 8] = [
    Column::Left("ID"),
    Column::Left("Time"),
    Column::Left("Host"),
    Column::Left("Tags"),
    Column::Right("Size"),
    Column::Right("Added"),
    Column::Right("Findings"),
    Column::Left("Paths"),
];

/// So many columns a compact table has.
const COMPACT_COLUMNS: usize = 5;

/// Arguments of `snapshots`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Only these (latest, latest~N, or the beginning of an id)
    #[arg(value_name = "SNAP")]
    wanted: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// Only the newest N of each machine, job and set of paths
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "wanted")]
    latest: Option<u32>,
    /// A table for each group of snapshots that have these in common: host, job, paths, tags
    #[arg(short, long, value_name = "WHAT[,WHAT...]", value_parser = parse_grouping)]
    group_by: Option<Grouping>,
    /// Fewer columns, and one line for each snapshot
    #[arg(short, long)]
    compact: bool,
}

/// Lists the snapshots.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let filter = arguments.selection.filter()?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let selected = list.select(&arguments.wanted, &filter).hint(ErrorKind::NotFound, commands::list_hint)?;
    let selected = match arguments.latest {
        Some(count) => Grouping::HISTORY.newest(selected, count as usize),
        None => selected,
    };
    let mut output = Output::open()?;
    let written = write(&mut output, &selected, arguments, context);
    let done = commands::tell_damaged(list.damaged, "snapshots");
    Ok(output.end(written.map(|()| done))?)
}

fn write(
    output: &mut Output,
    snapshots: &[&SnapshotEntry],
    arguments: &Arguments,
    context: &Context,
) -> Result<()> {
    let grouping = arguments.group_by.filter(|grouping| *grouping != Grouping::default());
    let groups = grouping.map(|grouping| grouping.group(snapshots.iter().copied()));
    match (groups, context.global.json) {
        (None, true) => {
            let documents: Vec<_> = snapshots.iter().map(|entry| SnapshotDocument::of(entry)).collect();
            json::write_line(output, &documents)
        }
        (Some(groups), true) => {
            let documents: Vec<_> = groups.iter().map(|(key, group)| GroupDocument::of(key, group)).collect();
            json::write_line(output, &documents)
        }
        (None, false) => {
            let lines = table_of(snapshots, arguments.compact, context.global.quiet);
            lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
        }
        (Some(groups), false) => {
            let lines = tables_of(&groups, arguments.compact, context.global.quiet);
            lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
        }
    }
}

fn tables_of(
    groups: &BTreeMap<GroupKey, Vec<&SnapshotEntry>>,
    is_compact: bool,
    is_quiet: bool,
) -> Vec<String> {
    let tables = groups.iter().map(|(key, group)| {
        let mut lines = vec![title_of(key)];
        lines.extend(table_of(group, is_compact, is_quiet));
        lines
    });
    tables.collect::<Vec<_>>().join(&String::new())
}

/// What stands above the snapshots of a group.
pub fn title_of(key: &GroupKey) -> String {
    format!("snapshots for ({}):", show_group(key))
}

fn table_of(snapshots: &[&SnapshotEntry], is_compact: bool, is_quiet: bool) -> Vec<String> {
    let zone = TimeZone::system();
    let columns = if is_compact { COLUMNS.get(..COMPACT_COLUMNS).unwrap_or(&COLUMNS) } else { &COLUMNS };
    let rows = snapshots.iter().flat_map(|entry| {
        let rows = rows_of(entry, &zone);
        let count = if is_compact { 1 } else { rows.len() };
        rows.into_iter().take(count)
    });
    let rows: Vec<_> = rows.collect();
    let mut lines = if rows.is_empty() { Vec::new() } else { table::lines(columns, &rows) };
    if !is_quiet {
        lines.push(show::count(snapshots.len() as u64, "snapshot"));
    }
    lines
}

/// The row of a snapshot, and one more for each further path.
fn rows_of(entry: &SnapshotEntry, zone: &TimeZone) -> Vec<[String; 8]> {
    let snapshot = &entry.snapshot;
    let mut paths = snapshot.paths.iter().map(|path| show_path(path));
    let added = snapshot.statistics.0.get(&Statistic::BytesAdded);
    let first = [
        entry.id.short(),
        show::time(snapshot.time, zone),
        show_path(snapshot.host.as_bytes()),
        show_path(snapshot.tags.join(",").as_bytes()),
        size::show(snapshot.total_bytes),
        added.map(|bytes| size::show(*bytes)).unwrap_or_default(),
        snapshot.findings.to_string(),
        paths.next().unwrap_or_default(),
    ];
    let further = paths.map(|path| {
        let [id, time, host, tags, size, added, findings, _]: [String; 8] = Default::default();
        [id, time, host, tags, size, added, findings, path]
    });
    std::iter::once(first).chain(further).collect()
}
