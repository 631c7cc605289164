//! `packstone stats [SNAP…]`: counts what snapshots hold and what they take.

use std::io::Write;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result, Wrap, size};
use packstone::ops::stats::growth::{Growth, growth};
use packstone::ops::stats::{ChunkTotals, CountMode, Counted, Overview, count, overview};
use packstone::repository::SnapshotEntry;

use crate::context::Context;
use crate::json::{self, GrowthDocument, StatsDocument};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Hint, Outcome};
use crate::selection::Selection;
use crate::table::{self, Column};
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
Without --mode, an overview: the files of all snapshots and what restoring each snapshot would write; the distinct \
chunks of their contents and of their trees; what these take in packs; and all objects of the repository, needed by \
these snapshots or not.

With --growth, where the space comes from: of each snapshot after the first what none before it needed, its trees \
included, by the directory that it is in, with all below that. Stored is what it takes in packs, New what it is before it \
is compressed, Newest what the last of the snapshots stored of it. A directory that only leads to another, which brought \
nearly all of it, is left out.

Examples:
  packstone stats
  packstone stats latest
  packstone stats --host web1 --mode raw-data
  packstone --json stats --tag nightly
  packstone stats --growth
  packstone stats --growth=5 latest~7 latest";

/// Arguments of `stats`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Only these (latest, latest~N, or the beginning of an id)
    #[arg(value_name = "SNAP")]
    wanted: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// What to count instead of an overview
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<Mode>,
    /// Tell which directories brought most after the first of the snapshots, at most so many [20 without a number]
    #[arg(
        long,
        value_name = "NUMBER",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "20",
        conflicts_with = "mode"
    )]
    growth: Option<usize>,
}

/// What to count.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Files, in every snapshot anew: what restoring all of them would write
    RestoreSize,
    /// Chunks, each once: what the repository stores for the snapshots
    RawData,
    /// Files that no other has the same content as
    FilesByContents,
    /// Chunks, anew for each path that needs them
    #[value(name = "blobs-per-file", alias = "chunks-per-file")]
    ChunksPerFile,
}

impl Mode {
    const fn counted(self) -> CountMode {
        match self {
            Self::RestoreSize => CountMode::RestoreSize,
            Self::RawData => CountMode::RawData,
            Self::FilesByContents => CountMode::FilesByContents,
            Self::ChunksPerFile => CountMode::ChunksPerFile,
        }
    }
}

/// Counts what snapshots hold and what they take.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let filter = arguments.selection.filter()?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let selected = list.select(&arguments.wanted, &filter).hint(ErrorKind::NotFound, commands::list_hint)?;
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Other("stats")));
    let shown = progress.begin();
    let repository = &opened.repository;
    let compared =
        arguments.growth.map(|number| in_order(&selected).map(|span| (span, number))).transpose()?;
    let found = context.interruption.gently(|| match (&compared, arguments.mode) {
        (Some((span, number)), _) => growth(repository, &span.all, *number, &*progress)
            .map(|growth| Found::Growth(growth, span.first, span.last)),
        (None, None) => overview(repository, &selected, &*progress).map(Found::Overview),
        (None, Some(mode)) => count(repository, &selected, mode.counted(), &*progress).map(Found::Counted),
    });
    drop(shown);
    let found = found?;
    let mut output = Output::open()?;
    let snapshots = selected.len() as u64;
    let written = match (&found, context.global.json) {
        (Found::Overview(overview), true) => {
            json::write_line(&mut output, &StatsDocument::of_overview(snapshots, overview))
        }
        (Found::Counted(counted), true) => {
            json::write_line(&mut output, &StatsDocument::of_counted(snapshots, counted))
        }
        (Found::Growth(growth, first, last), true) => {
            json::write_line(&mut output, &GrowthDocument::of(snapshots, first.id, last.id, growth))
        }
        (Found::Growth(growth, first, last), false) => {
            let lines = growth_lines(snapshots, first, last, growth);
            lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
        }
        (Found::Overview(overview), false) => write(&mut output, &overview_rows(snapshots, overview)),
        (Found::Counted(counted), false) => write(&mut output, &counted_rows(snapshots, counted)),
    };
    let done = commands::tell_damaged(list.damaged, "stats");
    Ok(output.end(written.map(|()| done))?)
}

enum Found<'s> {
    Overview(Overview),
    Counted(Counted),
    Growth(Growth, &'s SnapshotEntry, &'s SnapshotEntry),
}

/// Snapshots in the order of their times.
struct Span<'s> {
    all: Vec<&'s SnapshotEntry>,
    first: &'s SnapshotEntry,
    last: &'s SnapshotEntry,
}

fn in_order<'s>(selected: &[&'s SnapshotEntry]) -> Outcome<Span<'s>> {
    let mut all = selected.to_vec();
    all.sort_by_key(|entry| (entry.snapshot.time, entry.id));
    match *all.as_slice() {
        [first, .., last] => Ok(Span { all, first, last }),
        _ => {
            let chosen = show::count(all.len() as u64, "snapshot");
            let message =
                format!("growth is what snapshots bring after the first of them, and this is {chosen}");
            let hint =
                || "choose two snapshots or more; without a name or a filter it is all of them".to_owned();
            Err(Error::new(ErrorKind::Usage, message)).hint(ErrorKind::Usage, hint)
        }
    }
}

fn growth_lines(snapshots: u64, first: &SnapshotEntry, last: &SnapshotEntry, growth: &Growth) -> Vec<String> {
    let (first, last) = (first.id.short(), last.id.short());
    let mut lines =
        vec![format!("growth from snapshot {first} to {last}, {snapshots} snapshots"), String::new()];
    if growth.directories.is_empty() {
        lines.push("nothing that the first one does not need".to_owned());
        return lines;
    }
    let columns =
        [Column::Right("Stored"), Column::Right("New"), Column::Right("Newest"), Column::Left("Directory")];
    let rows: Vec<[String; 4]> = growth
        .directories
        .iter()
        .map(|directory| {
            let (total, newest) = (directory.total, directory.newest);
            let sizes = [total.stored_bytes, total.plain_bytes, newest.stored_bytes].map(size::show);
            let [stored, new, newest] = sizes;
            [stored, new, newest, show_path(&directory.path)]
        })
        .collect();
    lines.extend(table::lines(&columns, &rows));
    lines
}

type Row = (&'static str, String);

fn write(output: &mut Output, rows: &[Row]) -> Result<()> {
    let mut lines = rows.iter().map(|(name, value)| format!("{name:<14}  {value}"));
    lines.try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
}

fn overview_rows(snapshots: u64, overview: &Overview) -> Vec<Row> {
    let Overview { restored, data, trees, repository } = overview;
    let all = data.and(*trees);
    let in_chunks = |chunks: &ChunkTotals| {
        format!("{} in {}", size::show(chunks.plain_bytes), show::count(chunks.count, "chunk"))
    };
    vec![
        ("snapshots", snapshots.to_string()),
        ("files", restored.files.to_string()),
        ("restore size", size::show(restored.bytes)),
        ("unique data", in_chunks(data)),
        ("trees", in_chunks(trees)),
        ("stored", size::show(all.stored_bytes)),
        ("compression", show::ratio(all.plain_bytes, all.stored_bytes)),
        ("deduplication", show::ratio(restored.bytes, data.plain_bytes)),
        (
            "repository",
            format!("{} in {}", size::show(repository.size_bytes), show::count(repository.count, "object")),
        ),
    ]
}

fn counted_rows(snapshots: u64, counted: &Counted) -> Vec<Row> {
    let mut rows = vec![("snapshots", snapshots.to_string())];
    rows.extend(match counted {
        Counted::Files(totals) => {
            vec![("files", totals.files.to_string()), ("size", size::show(totals.bytes))]
        }
        Counted::ChunksPerFile { files, chunks, bytes } => {
            vec![("files", files.to_string()), ("chunks", chunks.to_string()), ("size", size::show(*bytes))]
        }
        Counted::Chunks(totals) => vec![
            ("chunks", totals.count.to_string()),
            ("size", size::show(totals.plain_bytes)),
            ("stored", size::show(totals.stored_bytes)),
            ("compression", show::ratio(totals.plain_bytes, totals.stored_bytes)),
        ],
    });
    rows
}
