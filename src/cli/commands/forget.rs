//! `packstone forget [SNAP…]`: forgets snapshots that are named, or that rules do not keep.
//!
//! What must hold: what is shown is what was decided; nothing is forgotten before all of it is decided, and nothing at
//! all in a dry run.

mod keep;

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::tz::TimeZone;
use packstone::base::host::Host;
use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, SessionId, Timestamp};
use packstone::format::tombstone::ForgetReason;
use packstone::ops::forget::{Forgetter, GroupPlan, Kept, OddDate, Plan, Retention, forget};
use packstone::repository::{Grouping, Repository, SessionOptions, SnapshotEntry, SnapshotList};

use crate::commands::forget::keep::Keep;
use crate::commands::repo::prune::{self, PruneArguments};
use crate::commands::snapshots::title_of;
use crate::context::Context;
use crate::json::ForgottenDocument;
use crate::open::Opened;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Hint, Outcome, conclude};
use crate::selection::{SelectionWithoutShort, parse_grouping};
use crate::table::{self, Column};
use crate::{commands, environment, open, show};

const AFTER_HELP: &str = "\
Snapshots that are named are forgotten. Without a name, the rules of --keep-* are applied to each group of snapshots: \
what at least one rule keeps stays, all else is forgotten. A rule keeps the newest snapshot of each of its periods, and \
as long as it has periods left the oldest of all; periods without a snapshot do not count. --keep-within and its \
variants reach back from the newest snapshot of the group, by years, months, days and hours as 1y5m7d2h.

A snapshot is never forgotten by a rule if it cannot be read, or if its date cannot be right: in the future, or \
before the date of a snapshot that was made earlier. Such ones are told, count for no rule, and go only when they are \
named.

A forgotten snapshot is gone for good; its space comes back with --prune, or with a later prune of the repository.

Examples:
  packstone forget --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --keep-yearly unlimited --dry-run
  packstone forget --keep-daily 7 --prune
  packstone forget --host web1 --keep-last 3 --keep-within 14d --keep-tag keep
  packstone forget 4bba301e latest
  packstone --json forget --keep-within-hourly 2d --keep-within-daily 1m";

const COLUMNS: [Column; 6] = [
    Column::Left("ID"),
    Column::Left("Time"),
    Column::Left("Host"),
    Column::Left("Tags"),
    Column::Left("Reasons"),
    Column::Left("Paths"),
];

/// Of so many snapshots with odd dates each is named.
const ODD_SHOWN_MAX: usize = 3;

/// Arguments of `forget`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Forget these (latest, latest~N, or the beginning of an id)
    #[arg(value_name = "SNAP", value_parser = NonEmptyStringValueParser::new())]
    wanted: Vec<String>,
    /// Forget nothing, only tell what would be forgotten
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// One line for each snapshot, without reasons and paths
    #[arg(short, long)]
    compact: bool,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    selection: SelectionWithoutShort,
    /// Apply the rules to each group of snapshots that have these in common: host, job, paths, tags; '' makes one group
    #[arg(
        short,
        long,
        value_name = "WHAT[,WHAT...]",
        default_value = "host,paths",
        hide_default_value = true,
        value_parser = parse_grouping,
        conflicts_with = "wanted"
    )]
    group_by: Grouping,
    /// The time zone whose hours, days and weeks count, as Europe/Berlin [default: that of this machine]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone, conflicts_with = "wanted")]
    timezone: Option<TimeZone>,
    /// Groups may lose all that they have; without a rule, all that --host, --tag and --path choose is forgotten
    #[arg(long, conflicts_with = "wanted")]
    unsafe_allow_remove_all: bool,
    /// Give back the space as well, as "packstone repo prune" does; what is forgotten here needs no --yes
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    how: PruneArguments,
}

/// Forgets snapshots.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    if !arguments.prune && arguments.how != PruneArguments::default() {
        let message = "options of pruning need --prune";
        return Err(Error::new(ErrorKind::Usage, message).into());
    }
    if arguments.wanted.is_empty() { by_rules(arguments, context) } else { by_name(arguments, context) }
}

/// Gives back the space, if that is asked for; another code than that all was done comes first.
fn and_prune(
    opened: &Opened,
    forgotten: &[SessionId],
    arguments: &Arguments,
    done: Done,
    context: &Context,
) -> Outcome<Done> {
    let pruned = match (arguments.prune, arguments.dry_run) {
        (false, _) => Done::Fully,
        (true, true) => prune::plan(opened, &arguments.how, forgotten, context)?,
        (true, false) => prune::prune(opened, &arguments.how, forgotten, context)?,
    };
    Ok(if done == Done::Fully { pruned } else { done })
}

fn by_rules(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let retention = Retention {
        policy: arguments.keep.policy(),
        grouping: arguments.group_by,
        filter: arguments.selection.0.filter()?,
        zone: arguments.timezone.clone().unwrap_or_else(TimeZone::system),
        may_remove_all: arguments.unsafe_allow_remove_all,
    };
    retention.check().hint(ErrorKind::Usage, || usage_hint(&retention))?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let plan = retention.plan(&list, Timestamp::now());
    let plan = plan.hint(ErrorKind::NotFound, commands::list_hint).hint(ErrorKind::Failed, || {
        "--unsafe-allow-remove-all, with --host, --tag or --path, lets rules do that".to_owned()
    })?;
    let zone = TimeZone::system();
    tell_odd(&plan, &list, &zone);
    let removed: Vec<SessionId> = plan.removed().collect();
    let count = forget_all(&opened.repository, &removed, ForgetReason::Policy, arguments, context)?;
    let lines = || {
        let mut lines = match retention.policy.is_empty() {
            true => Vec::new(),
            false => vec![format!("rules: keep {}", retention.policy)],
        };
        lines.extend(plan.groups.iter().flat_map(|group| group_lines(group, arguments, &zone)));
        lines.push(count_line(count, arguments.dry_run));
        lines
    };
    conclude(&context.global, lines, || documents(&plan));
    let done = commands::tell_damaged(list.damaged, "forget");
    and_prune(&opened, &removed, arguments, done, context)
}

fn by_name(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let filter = arguments.selection.0.filter()?;
    let opened = open::open(context)?;
    let list = opened.repository.snapshots()?;
    let ids = list.find_ids(&arguments.wanted, &filter).hint(ErrorKind::NotFound, commands::list_hint)?;
    let count = forget_all(&opened.repository, &ids, ForgetReason::Named, arguments, context)?;
    let (found, unreadable) = found(&list, &ids);
    let lines = || {
        let mut lines = snapshot_lines("remove", &found, arguments.compact, &TimeZone::system());
        lines.extend(unreadable.iter().map(|id| format!("snapshot {}, which cannot be read", id.short())));
        lines.push(count_line(count, arguments.dry_run));
        lines
    };
    conclude(&context.global, lines, || vec![ForgottenDocument::of_named(&found, &unreadable)]);
    and_prune(&opened, &ids, arguments, Done::Fully, context)
}

/// What is known of snapshots that were named, and which of them cannot be read.
fn found<'l>(list: &'l SnapshotList, ids: &[SessionId]) -> (Vec<Kept<'l>>, Vec<SessionId>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for id in ids {
        match list.visible.iter().find(|entry| entry.id == *id) {
            Some(entry) => found.push(Kept { entry, reasons: Vec::new() }),
            None => unreadable.push(*id),
        }
    }
    (found, unreadable)
}

/// Forgets snapshots, or in a dry run only counts them.
fn forget_all(
    repository: &Repository,
    ids: &[SessionId],
    reason: ForgetReason,
    arguments: &Arguments,
    context: &Context,
) -> Outcome<u64> {
    if arguments.dry_run {
        return Ok(ids.len() as u64);
    }
    let forgetter = Forgetter {
        host: Host::current().name,
        user: environment::user(),
        program: SessionOptions::default().program,
    };
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Other("forget")));
    let tombstone = forgetter.tombstone(reason);
    Ok(context.interruption.gently(|| forget(repository, ids, &tombstone, &*progress))?)
}

fn usage_hint(retention: &Retention) -> String {
    match retention.may_remove_all {
        true => "add --host, --tag or --path; a snapshot of its own is forgotten by its name".to_owned(),
        false => "name snapshots, or say with rules such as --keep-daily 7 what stays".to_owned(),
    }
}

/// Tells which snapshots have dates that cannot be right; of those that one other makes so, in one line.
fn tell_odd(plan: &Plan<'_>, list: &SnapshotList, zone: &TimeZone) {
    let mut causes: BTreeMap<OddDate, Vec<&SnapshotEntry>> = BTreeMap::new();
    for (entry, odd) in &plan.odd {
        causes.entry(*odd).or_default().push(entry);
    }
    for (odd, entries) in causes {
        let shown: Vec<String> = entries
            .iter()
            .take(ODD_SHOWN_MAX)
            .map(|entry| format!("{} ({})", entry.id.short(), show::time(entry.snapshot.time, zone)))
            .collect();
        let more = entries.len().saturating_sub(ODD_SHOWN_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let (shown, count) = (shown.join(", ") + &more, show::count(entries.len() as u64, "snapshot"));
        let (why, until) = match odd {
            OddDate::Future => ("dated in the future".to_owned(), String::new()),
            OddDate::Before(earlier) => {
                let time =
                    list.visible.iter().find(|entry| entry.id == earlier).map(|entry| entry.snapshot.time);
                let time = time.map(|time| show::time(time, zone)).unwrap_or_default();
                let earlier = earlier.short();
                (format!("made after {earlier} and dated before it ({time})"), format!(", or {earlier} is"))
            }
        };
        report::warn(&format!(
            "{count} {why}: {shown}; kept, and counted by no rule, until forgotten by name{until}"
        ));
    }
}

fn documents(plan: &Plan<'_>) -> Vec<ForgottenDocument> {
    plan.groups.iter().map(ForgottenDocument::of).collect()
}

fn count_line(count: u64, is_dry: bool) -> String {
    let done = if is_dry { "would be forgotten" } else { "forgotten" };
    format!("{} {done}", show::count(count, "snapshot"))
}

fn group_lines(group: &GroupPlan<'_>, arguments: &Arguments, zone: &TimeZone) -> Vec<String> {
    let mut lines = Vec::new();
    if arguments.group_by != Grouping::default() {
        lines.push(title_of(&group.key));
    }
    let removed = group.judged.removed.iter().map(|entry| Kept { entry, reasons: Vec::new() });
    let removed: Vec<_> = removed.collect();
    for (word, snapshots) in [("keep", &group.judged.kept), ("remove", &removed)] {
        lines.extend(snapshot_lines(word, snapshots, arguments.compact, zone));
    }
    lines.push(String::new());
    lines
}

/// A table of snapshots under its title; nothing if there are none.
fn snapshot_lines(word: &str, snapshots: &[Kept<'_>], is_compact: bool, zone: &TimeZone) -> Vec<String> {
    if snapshots.is_empty() {
        return Vec::new();
    }
    let has_reasons = snapshots.iter().any(|kept| !kept.reasons.is_empty());
    let [id, time, host, tags, reasons, paths] = COLUMNS;
    let columns = match (is_compact, has_reasons) {
        (true, _) => vec![id, time, host, tags],
        (false, true) => vec![id, time, host, tags, reasons, paths],
        (false, false) => vec![id, time, host, tags, paths],
    };
    let mut rows = Vec::new();
    for Kept { entry, reasons } in snapshots {
        let snapshot = &entry.snapshot;
        let paths: Vec<String> = snapshot.paths.iter().map(|path| show_path(path)).collect();
        let first = [
            entry.id.short(),
            show::time(snapshot.time, zone),
            show_path(snapshot.host.as_bytes()),
            show_path(snapshot.tags.join(",").as_bytes()),
        ];
        let count = if is_compact { 1 } else { paths.len().max(reasons.len()).max(1) };
        for line in 0..count {
            let mut row = if line == 0 { first.to_vec() } else { vec![String::new(); first.len()] };
            if has_reasons && !is_compact {
                row.push(reasons.get(line).map(|reason| show_path(reason.as_bytes())).unwrap_or_default());
            }
            if !is_compact {
                row.push(paths.get(line).cloned().unwrap_or_default());
            }
            rows.push(row);
        }
    }
    let mut lines = vec![format!("{word} {}:", show::count(snapshots.len() as u64, "snapshot"))];
    lines.extend(table::lines(&columns, &rows));
    lines
}

fn parse_zone(text: &str) -> std::result::Result<TimeZone, String> {
    TimeZone::get(text)
        .map_err(|_| format!("{text:?} is no time zone that this machine knows, such as Europe/Berlin"))
}
