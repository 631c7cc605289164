//! `packstone repo check`: finds what is damaged or missing, and which files that hurts.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use packstone::base::monitor::show_path;
use packstone::base::{ErrorKind, size};
use packstone::format::names;
use packstone::ops::check::{CheckOptions, CheckSummary, Portion, check};
use packstone::repository::{Damage, MemoryLimit, ObjectCount, StorageSummary, check_storage};
use packstone::tree::HurtBy;

use crate::args;
use crate::context::Context;
use crate::json::{CheckLine, DamageLine, StorageLine};
use crate::open::{self, Place};
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Hint, Outcome};
use crate::show;
use crate::storages::Role;

const AFTER_HELP: &str = "\
Without an option, everything but the packs of contents is read: every small object is opened, every index run is held \
against the packs that are there, and every tree of every snapshot is walked through. That finds what is missing or cut \
short. Bits that changed within a pack are found by reading it.

Of --read-data-subset, 1/7 is the same seventh of the packs everywhere, so that seven runs read all of them. A share or \
a size, and --read-data-for, take those packs that this machine verified longest ago or never: the cache remembers.

With --storage-only no key is needed: for the machine that keeps the repository and must not read it.

Backups and prunes may run meanwhile.

Examples:
  packstone repo check
  packstone repo check --read-data
  packstone repo check --read-data-subset 5%
  packstone repo check --read-data-for 30m
  packstone -r /srv/backup repo check --storage-only --read-data";

/// Arguments of `repo check`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Read all packs as well
    #[arg(long, conflicts_with_all = ["read_data_subset", "read_data_for"])]
    read_data: bool,
    /// Read a part of the packs: 5%, 2.5%, 1/7, or 2G
    #[arg(long, value_name = "PART", value_parser = Portion::parse, conflicts_with = "read_data_for")]
    read_data_subset: Option<Portion>,
    /// Read packs for so long, as 30m
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    read_data_for: Option<Duration>,
    /// Look at the stored objects only, without a key
    #[arg(long, conflicts_with_all = ["read_data_subset", "read_data_for"])]
    storage_only: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    match args::parse_duration(text)? {
        Duration::ZERO => Err("no pack can be read in no time".to_owned()),
        duration => Ok(duration),
    }
}

/// Finds what is damaged or missing.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    if arguments.storage_only {
        return run_on_storage(arguments.read_data, context);
    }
    let opened = open::open(context)?;
    let read = match (arguments.read_data, arguments.read_data_for) {
        (true, _) => Some(Portion::All),
        (false, Some(duration)) => Some(Portion::Within(duration)),
        (false, None) => arguments.read_data_subset,
    };
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Check));
    let shown = progress.begin();
    let repository = &opened.repository;
    let checked = context.interruption.gently(|| check(repository, &CheckOptions { read }, &*progress));
    drop(shown);
    let summary = checked?;
    tell_hurt(&summary);
    report::conclude(&context.global, || lines(&summary), || CheckLine::of(&summary));
    Ok(done(summary.damaged, summary.unreadable + summary.frozen.count))
}

const fn done(damaged: u64, unreadable: u64) -> Done {
    match (damaged, unreadable) {
        (0, 0) => Done::Fully,
        (0, _) => Done::WithFindings,
        _ => Done::WithDamage,
    }
}

/// Tells what each damage hurts.
fn tell_hurt(summary: &CheckSummary) {
    if summary.damaged == 0 {
        return;
    }
    let numbered = || (0_u32..).zip(&summary.damages);
    if report::is_json() {
        for (number, damage) in numbered() {
            report::print_document(&DamageLine::of(damage, summary.hurt.by(number)));
        }
        return;
    }
    for (number, damage) in numbered() {
        if let Some(hurt) = summary.hurt.by(number) {
            report::say(&hurt_lines(&damage.object, hurt).join("\n"));
        }
    }
    if let Some(hurt) = summary.hurt.by_others() {
        report::say(&hurt_lines("other damage", hurt).join("\n"));
    }
    report::say(hint(summary));
}

fn hint(summary: &CheckSummary) -> &'static str {
    let has =
        |folder| summary.damages.iter().any(|Damage { object, .. }| object.split('/').next() == Some(folder));
    if has(names::INDEX) {
        "hint: forget and prune nothing now: what an index run says stands in the packs as well. Best is a whole copy of \
         the object, put in its place"
    } else if summary.hurt.snapshots > 0 {
        "hint: best is a whole copy of the object, put in its place. Without one, what is not hurt can be restored; to be \
         rid of the damage, forget the snapshots named, run \"packstone repo prune\", and back up again"
    } else if has(names::SNAPSHOTS) {
        "hint: a snapshot whose own object is damaged is lost, unless a whole copy of the object is put in its place"
    } else {
        "hint: no file of a snapshot needs what is damaged, as far as this can be told"
    }
}

fn hurt_lines(object: &str, hurt: &HurtBy) -> Vec<String> {
    let paths = show::count(hurt.paths, "path");
    let snapshots = show::count(hurt.snapshots, "snapshot");
    let mut lines = vec![format!("{object}: hurts {paths} in {snapshots}")];
    let shown = hurt.shown_paths.iter();
    lines.extend(shown.map(|(snapshot, path)| format!("  {}:{}", snapshot.short(), show_path(path))));
    match hurt.paths.saturating_sub(hurt.shown_paths.len() as u64) {
        0 => {}
        more => lines.push(format!("  and {more} more")),
    }
    let named = hurt.shown_snapshots.iter().map(|snapshot| snapshot.short());
    let mut named = named.collect::<Vec<_>>().join(", ");
    match hurt.snapshots.saturating_sub(hurt.shown_snapshots.len() as u64) {
        0 => {}
        more => named = format!("{named} and {more} more"),
    }
    lines.push(format!("  snapshots: {named}"));
    lines
}

fn objects(count: ObjectCount, noun: &str) -> String {
    format!("{} ({})", show::count(count.count, noun), size::show(count.size_bytes))
}

fn lines(summary: &CheckSummary) -> Vec<String> {
    let counted = &summary.counted;
    let mut lines = vec![format!(
        "checked {}, {}, {}, {}",
        show::count(counted.snapshots, "snapshot"),
        show::count(summary.trees.pages, "tree page"),
        show::count(counted.index_runs.count, "index run"),
        objects(counted.packs, "pack")
    )];
    if summary.read.count > 0 {
        lines.push(format!("read {}", objects(summary.read, "pack")));
    }
    lines.extend(frozen_line(summary.frozen));
    lines.extend(leftover_lines(summary));
    if counted.unexplained_gaps > 0 {
        lines.push(format!(
            "{} more than were forgotten follow on a snapshot that is gone",
            show::count(counted.unexplained_gaps, "snapshot")
        ));
    }
    lines.extend(verdict_lines(summary.damaged, summary.unreadable));
    if summary.hurt.snapshots > 0 {
        lines.push(format!(
            "hurt: {} in {}",
            show::count(summary.hurt.paths, "path"),
            show::count(summary.hurt.snapshots, "snapshot")
        ));
    }
    match counted.packs.count.saturating_sub(summary.read.count) {
        0 => {}
        more => lines.push(format!("{} not read whole", show::count(more, "pack"))),
    }
    lines
}

/// What cannot be read is no damage.
fn frozen_line(frozen: ObjectCount) -> Option<String> {
    (frozen.count > 0).then(|| format!("not read, for it must be thawed first: {}", objects(frozen, "pack")))
}

fn verdict_lines(damaged: u64, unreadable: u64) -> Vec<String> {
    let mut lines = Vec::new();
    if damaged > 0 {
        lines.push(format!("damaged: {}", show::count(damaged, "object")));
    }
    if unreadable > 0 {
        lines.push(format!("could not be read: {}", show::count(unreadable, "object")));
    }
    if lines.is_empty() {
        lines.push("no damage found".to_owned());
    }
    lines
}

fn leftover_lines(summary: &CheckSummary) -> Vec<String> {
    let counted = &summary.counted;
    let leftovers = &counted.leftovers;
    let mut lines = Vec::new();
    if counted.open_sessions > 0 {
        let sessions = show::count(counted.open_sessions, "session");
        let packs = match leftovers.in_progress.count {
            0 => String::new(),
            _ => format!(", with {}", objects(leftovers.in_progress, "pack")),
        };
        lines.push(format!("not ended: {sessions}{packs}, still at work or killed"));
    }
    let mut removable = leftovers.unnamed;
    removable.count += leftovers.condemned.count;
    removable.size_bytes = removable.size_bytes.saturating_add(leftovers.condemned.size_bytes);
    if removable.count > 0 {
        let packs = objects(removable, "pack");
        lines.push(match summary.damaged {
            0 => format!("left over: {packs} that nothing needs; \"packstone repo prune\" removes them"),
            _ => format!("left over: {packs} that no index run names"),
        });
    }
    lines.extend(stray_lines(counted.unfinished, counted.foreign));
    lines
}

fn stray_lines(unfinished: ObjectCount, foreign: ObjectCount) -> Vec<String> {
    let mut lines = Vec::new();
    if unfinished.count > 0 {
        lines.push(format!("unfinished: {} in tmp", objects(unfinished, "file")));
    }
    if foreign.count > 0 {
        lines.push(format!("foreign: {}, no objects of a repository", objects(foreign, "file")));
    }
    lines
}

fn run_on_storage(read_data: bool, context: &Context) -> Outcome<Done> {
    let location = match open::place(context)? {
        Place::Named(location) => location,
        Place::Default(places) => places.location(),
    };
    let storage =
        open::find_storage(context, &location, Role::Meant)
            .and_then(|storage| {
                if open::is_repository(&*storage)? { Ok(storage) } else { Err(open::missing(&location)) }
            })
            .hint(ErrorKind::NoRepository, || "name the location of a repository with -r".to_owned())?;
    let memory = context.global.memory_limit.map(MemoryLimit::of).unwrap_or_default();
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Check));
    let shown = progress.begin();
    let checked = context.interruption.gently(|| check_storage(&*storage, read_data, memory, &*progress));
    drop(shown);
    let summary = checked?;
    if report::is_json() {
        summary.damages.iter().for_each(|damage| report::print_document(&DamageLine::of(damage, None)));
    }
    report::conclude(&context.global, || storage_lines(&summary), || StorageLine::of(&summary));
    // Their sizes were looked at, and more was not asked for.
    let unread = if read_data { summary.frozen.count } else { 0 };
    Ok(done(summary.damaged, summary.unreadable + unread))
}

fn storage_lines(summary: &StorageSummary) -> Vec<String> {
    let mut lines = vec![format!("looked at {}", objects(summary.objects, "object"))];
    if summary.hashed.count > 0 {
        lines.push(format!("held {} against their names", objects(summary.hashed, "object")));
    }
    lines.extend(frozen_line(summary.frozen));
    lines.extend(stray_lines(summary.unfinished, summary.foreign));
    lines.extend(verdict_lines(summary.damaged, summary.unreadable));
    lines
}
