//! `packstone repo prune`: gives back the space of what no snapshot needs.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use packstone::base::host::Host;
use packstone::base::{Error, ErrorKind, Result, SessionId, size};
use packstone::ops::prune::{Alarm, Consent, Prepared, PruneOptions, PruneSummary, prepare_without};
use packstone::repository::{MaxUnused, ObjectCount, PlanOptions, PrunePlan};

use crate::args::{parse_duration, parse_size};
use crate::context::Context;
use crate::json::{PruneLine, PrunePlanLine};
use crate::open::Opened;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Hint, Outcome, conclude};
use crate::{open, show};

const AFTER_HELP: &str = "\
A prune may run at any time, beside backups and other prunes; none of them waits for another. What no snapshot needs \
is named first, and goes once the sessions that were running then are over. If they take longer than --wait, the next \
prune goes on.

What other machines forgot is asked about if it takes a group's newest snapshot or more than half of the group: a thief \
of a key could have done that. --yes agrees. What this machine forgot itself is not asked about, but it knows that by \
its cache folder: with --no-cache, or another --cache-dir, its own earlier \"packstone forget\" counts as another's.

Examples:
  packstone repo prune
  packstone repo prune --dry-run
  packstone repo prune --max-unused 10% --max-repack-size 2G
  packstone repo prune --wait 1h --yes";

/// Arguments of `repo prune`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Remove and write nothing; print what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    how: PruneArguments,
}

/// How to prune, for all commands that do.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[command(next_help_heading = "Pruning")]
pub struct PruneArguments {
    /// Leave so much unneeded in packs that hold needed chunks too: a part of all packs, a size, or "unlimited"
    /// [default: 5%]
    #[arg(long, value_name = "LIMIT", value_parser = parse_max_unused)]
    max_unused: Option<MaxUnused>,
    /// Write packs of no more than this size again
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_repack_size: Option<u64>,
    /// Wait so long for sessions that are running [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Nobody else prunes meanwhile: needed where the storage may create an object twice
    #[arg(long)]
    sole_pruner: bool,
    /// Agree to what would be asked
    #[arg(long)]
    yes: bool,
}

/// Reads `5%`, `2.5%`, a size, or `unlimited`.
fn parse_max_unused(text: &str) -> std::result::Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let Some(number) = text.strip_suffix('%') else {
        let refused =
            || format!("{text:?} is neither a part such as 5% nor a size such as 2G nor \"unlimited\"");
        return size::parse(text).map(MaxUnused::Bytes).ok_or_else(refused);
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let share = match (digits(whole), digits(part), part.len()) {
        (true, true, 1) => format!("{whole}{part}0").parse::<u32>().ok(),
        (true, true, 2) => format!("{whole}{part}").parse::<u32>().ok(),
        _ => None,
    };
    let share = share.filter(|share| *share < 10_000);
    share.map(MaxUnused::Share).ok_or_else(|| format!("{text:?} is no part from 0% to 99.99%"))
}

impl PruneArguments {
    /// How the engine is to do it.
    fn options(&self, forgotten: &[SessionId]) -> PruneOptions {
        let usual = PruneOptions::new(Host::current());
        PruneOptions {
            plan: PlanOptions {
                max_unused: self.max_unused.unwrap_or(usual.plan.max_unused),
                max_repack_bytes: self.max_repack_size,
            },
            wait: self.wait.unwrap_or(usual.wait),
            is_sole: self.sole_pruner,
            consent: if self.yes { Consent::Given } else { Consent::Needed(forgotten.to_vec()) },
            ..usual
        }
    }
}

/// Gives back the space of what no snapshot needs.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    match arguments.dry_run {
        true => plan(&opened, &arguments.how, &[], context),
        false => prune(&opened, &arguments.how, &[], context),
    }
}

/// Tells what a prune would do, if these snapshots were forgotten as well.
pub fn plan(
    opened: &Opened,
    how: &PruneArguments,
    forgotten: &[SessionId],
    context: &Context,
) -> Outcome<Done> {
    let options = how.options(forgotten);
    let prepared = prepared(opened, &options, forgotten, context)?;
    prepared.alarms(forgotten).iter().for_each(|alarm| report::warn(&told(alarm)));
    conclude(&context.global, || plan_lines(prepared.plan()), || PrunePlanLine::of(prepared.plan()));
    Ok(Done::Fully)
}

fn prepared<'r>(
    opened: &'r Opened,
    options: &PruneOptions,
    forgotten: &[SessionId],
    context: &Context,
) -> Outcome<Prepared<'r>> {
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Other("prune")));
    let shown = progress.begin();
    let prepared =
        context.interruption.gently(|| prepare_without(&opened.repository, options, forgotten, &*progress));
    drop(shown);
    let prepared = prepared.hint(ErrorKind::Damaged, || format!("nothing was removed; {}", damage_hint()))?;
    for (id, error) in &prepared.view().unproven {
        let why = error.chain().join(": ");
        report::warn(&format!(
            "snapshot {} is kept: what should forget it cannot be trusted: {why}",
            id.short()
        ));
    }
    Ok(prepared)
}

/// Prunes a repository that was opened, by who just forgot these snapshots.
pub fn prune(
    opened: &Opened,
    how: &PruneArguments,
    forgotten: &[SessionId],
    context: &Context,
) -> Outcome<Done> {
    let options = how.options(forgotten);
    let prepared = prepared(opened, &options, &[], context)?;
    let alarms = prepared.alarms(forgotten);
    if !how.yes && !alarms.is_empty() {
        alarms.iter().for_each(|alarm| report::warn(&told(alarm)));
        agree().hint(ErrorKind::Failed, agreement_hint)?;
    }
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Other("prune")));
    let shown = progress.begin();
    let summary = context.interruption.gently(|| prepared.run(&options, &*progress));
    drop(shown);
    let summary = summary.hint(ErrorKind::Damaged, damage_hint).hint(ErrorKind::Usage, || {
        "if nobody else prunes this repository meanwhile, add --sole-pruner".to_owned()
    })?;
    conclude(&context.global, || lines(&summary), || PruneLine::of(&summary, progress.elapsed()));
    if !summary.alarms.is_empty() {
        summary.alarms.iter().for_each(|alarm| report::warn(&told(alarm)));
        let message = "what was forgotten while this ran is not removed without agreement";
        return Err(Error::new(ErrorKind::Failed, message)).hint(ErrorKind::Failed, agreement_hint);
    }
    match summary.repack_failure {
        None => Ok(Done::Fully),
        Some(error) => {
            let error = error.while_doing("not all could be written again; what nobody needs is gone");
            Err(error)
                .hint(ErrorKind::Damaged, damage_hint)
                .hint(ErrorKind::Frozen, || "with --max-repack-size 0 no pack is written again".to_owned())
        }
    }
}

fn agreement_hint() -> String {
    "look at \"packstone snapshots\"; if all of it is meant, \"packstone repo prune --yes\" goes on"
        .to_owned()
}

fn damage_hint() -> String {
    "\"packstone repo check\" tells which snapshots are damaged, and forgetting these lets a prune go on"
        .to_owned()
}

fn told(alarm: &Alarm) -> String {
    let group = crate::selection::show_group(&alarm.group);
    let newest = if alarm.has_lost_newest { ", the newest among them" } else { "" };
    format!(
        "{} forgotten by another machine, of {group}{newest}; {} left",
        match alarm.forgotten {
            1 => "a snapshot was".to_owned(),
            count => format!("{count} snapshots were"),
        },
        match alarm.left {
            0 => "none is".to_owned(),
            1 => "one is".to_owned(),
            left => format!("{left} are"),
        }
    )
}

/// Asks on a terminal; elsewhere nobody agrees.
fn agree() -> Result<()> {
    match report::agrees("Remove them for good?")? {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Failed, "what was forgotten is not removed without agreement")),
    }
}

fn packs(count: ObjectCount) -> String {
    format!("{} ({})", show::count(count.count, "pack"), size::show(count.size_bytes))
}

fn plan_lines(plan: &PrunePlan) -> Vec<String> {
    let mut rows = vec![
        ("there are", packs(plan.packs)),
        ("needed", size::show(plan.needed_bytes)),
        ("to remove", packs(plan.remove)),
    ];
    if plan.remove_unindexed.count > 0 {
        rows.push(("  unfinished", packs(plan.remove_unindexed)));
    }
    let again =
        format!("{}, of which {} are needed", packs(plan.repack), size::show(plan.repack_needed_bytes));
    rows.push(("to write again", again));
    if plan.returned.count > 0 {
        rows.push(("came back", packs(plan.returned)));
    }
    if plan.in_use.count > 0 {
        rows.push(("being written", packs(plan.in_use)));
    }
    rows.push(("would be freed", size::show(plan.freed_bytes())));
    rows.push(("stays unneeded", size::show(plan.unused_bytes)));
    rows.into_iter().map(|(name, value)| format!("{name:<14}  {value}")).collect()
}

fn lines(summary: &PruneSummary) -> Vec<String> {
    let mut lines = Vec::new();
    for ended in &summary.ended {
        lines.push(format!("ended session {}, which nobody runs any more", ended.short()));
    }
    lines.push(format!("removed {}", packs(summary.removed)));
    if summary.repacked > 0 {
        let written = size::show(summary.written_bytes);
        lines.push(format!("wrote {} again ({written} new)", show::count(summary.repacked, "pack")));
    }
    if summary.frozen.count > 0 {
        lines.push(format!(
            "left as they are, for they must be thawed before they can be read: {}",
            packs(summary.frozen)
        ));
    }
    if summary.spared > 0 {
        lines.push(format!("kept {}, needed after all", show::count(summary.spared, "condemned pack")));
    }
    if summary.index.removed.count > 0 {
        let (from, to) = (summary.index.removed.count, summary.index.written.count);
        lines.push(format!("{} became {to}", show::count(from, "index run")));
    }
    for session in &summary.waits_for {
        let id = session.id.short();
        match &session.start {
            Ok(start) => lines.push(format!("session {id} of {} is still running", start.host.name)),
            Err(error) => {
                let why = error.chain().join(": ");
                lines.push(format!("session {id} may still be running; its start cannot be read: {why}"));
                lines.push(format!(
                    "if nothing more comes of it, \"packstone repo sessions end {id}\" ends it"
                ));
            }
        }
    }
    if !summary.waits_for.is_empty() {
        lines.push(format!(
            "{} to go once that is over: the next prune goes on",
            show::count(summary.condemned, "pack")
        ));
    }
    lines
}
