//! `packstone run [JOB…]`: runs jobs of the configuration, one after the other.
//!
//! What must hold: a job that fails keeps none of the others from running; the exit code tells the worst of all; what
//! every run said ends in its log, too.

mod summary;

use std::sync::Arc;

use clap::Args;
use packstone::base::{Error, ErrorKind};
use packstone::config::{Config, JobConfig};
use packstone::job::{Lock, Log, RunReport};

use crate::context::Context;
use crate::jobs::{self, Chosen, Logged};
use crate::json::RunLine;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Failure, Hint, Outcome};

const AFTER_HELP: &str = "\
A job is what stands in the configuration as [job.NAME]: its sources become one snapshot; it is copied to other \
repositories if the job says so; then the rules say what is kept, and a part of the repository is verified. \
\"packstone plan JOB\" tells beforehand what a run would do, \"packstone log JOB\" afterwards what it said.

Whatever the rules say, of each source the last snapshot in which it was read well is kept. A run of some sources \
(--only-source) forgets nothing.

Without a JOB, all jobs run in the order of the configuration. One that runs already is not run again (exit code 11).
Their repositories stand in the configuration, too: -r is refused, and so is a flag that would open several alike.

Examples:
  packstone run
  packstone run nightly
  packstone run nightly --only-source configs
  packstone --quiet run nightly weekly
  packstone --json run nightly";

/// Arguments of `run`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
}

/// Runs jobs.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let configured = jobs::configured(context)?;
    let chosen = arguments.chosen.find(&configured.config)?;
    jobs::refuse_flags_of_one_repository(context, &chosen, "run")?;
    let (mut done, mut failures) = (Done::Fully, Vec::new());
    let count = chosen.len();
    for job in chosen {
        if context.interruption.is_requested() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted").into());
        }
        match run_job(&configured.config, job, &arguments.chosen.only, context) {
            Ok(of_job) => done = worse(done, of_job),
            Err(failure) => {
                // At once: the next may take hours, or be interrupted.
                if count > 1 {
                    report::failure_aside(&failure, "run", &job.name);
                }
                failures.push((job, failure));
            }
        }
    }
    match failures.len() {
        0 => Ok(done),
        1 if count == 1 => failures.pop().map_or(Ok(done), |(_, failure)| Err(failure)),
        failed => {
            let kinds: Vec<ErrorKind> = failures.iter().map(|(_, failure)| failure.kind()).collect();
            let kind = worst(&kinds, done == Done::WithDamage);
            let names: Vec<&str> = failures.iter().map(|(job, _)| job.name.as_str()).collect();
            let message = format!("{failed} of {count} jobs failed: {}", names.join(", "));
            Err(Error::new(kind, message).into())
        }
    }
}

/// Of what failed differently, what the exit code tells.
const WORST_FIRST: [ErrorKind; 7] = [
    ErrorKind::Interrupted,
    ErrorKind::Damaged,
    ErrorKind::WrongKey,
    ErrorKind::NoRepository,
    ErrorKind::Failed,
    ErrorKind::Usage,
    ErrorKind::Fenced,
];

/// The kind of all that failed together. Nothing is worse than damage, wherever it was found.
fn worst(kinds: &[ErrorKind], is_damaged: bool) -> ErrorKind {
    let is_meant = |kind: &ErrorKind| kinds.contains(kind) || (is_damaged && *kind == ErrorKind::Damaged);
    let found = WORST_FIRST.into_iter().find(is_meant);
    let others = kinds.iter().any(|kind| kind.exit_code() == ErrorKind::Failed.exit_code());
    match found {
        // Whatever ends with the code of all others is worse than these two.
        Some(ErrorKind::Usage | ErrorKind::Fenced) | None if others => ErrorKind::Failed,
        found => found.unwrap_or(ErrorKind::Failed),
    }
}

/// The kind of what failed after the snapshot was made. All other codes would say of the job's own repository what is
/// true of a copy alone: who answers that there is none by making one would make it where a disk is not mounted.
fn after_snapshot(kinds: &[ErrorKind], is_damaged: bool) -> ErrorKind {
    match worst(kinds, is_damaged) {
        kind @ (ErrorKind::Interrupted | ErrorKind::Damaged) => kind,
        _ => ErrorKind::Failed,
    }
}

/// The one of two that is told by the exit code.
const fn worse(one: Done, other: Done) -> Done {
    match (one, other) {
        (Done::WithDamage, _) | (_, Done::WithDamage) => Done::WithDamage,
        (Done::WithFindings, _) | (_, Done::WithFindings) => Done::WithFindings,
        _ => Done::Fully,
    }
}

fn run_job(config: &Config, job: &JobConfig, only: &[String], context: &Context) -> Outcome<Done> {
    // Whose run is refused has nothing to say in the log of the run that works.
    let locked = packstone::job::lock(&jobs::state_folder(context), &job.name);
    let lock = match locked.hint(ErrorKind::Fenced, || "run it again once that is over".to_owned()) {
        Ok(lock) => lock,
        Err(failure) => {
            tell_failure(job, &failure);
            return Err(failure);
        }
    };
    let log = jobs::log_of(&lock);
    let write = |text: &str| log.iter().for_each(|log| log.write(text));
    write(&format!("run of {} begins", job.name));
    let outcome = run_logged(config, job, only, context, (&lock, log.as_ref()));
    match &outcome {
        Ok((report, lines)) => {
            lines.iter().for_each(|line| write(line));
            report.failures().iter().for_each(|failure| write(&format!("error: {failure}")));
            write(&format!("run of {} ends: {}", job.name, summary::status(report)));
        }
        Err(failure) => {
            write(&format!("error: {}", failure.chain().join(": ")));
            write(&format!("run of {} ends: failed", job.name));
            tell_failure(job, failure);
        }
    }
    let (report, lines) = outcome?;
    report::conclude(
        &context.global,
        || lines,
        || RunLine::of(&job.name, &report, &summary::status(&report).to_string()),
    );
    ended(&report)
}

/// Says with `--json` that a run made no snapshot.
fn tell_failure(job: &JobConfig, failure: &Failure) {
    if report::is_json() {
        report::print_document(&RunLine::of_failure(&job.name, failure.chain()));
    }
}

/// How a run ends that made its snapshot.
fn ended(report: &RunReport) -> Outcome<Done> {
    let failures = report.failures();
    let id = report.backup.id.short();
    if let Some((first, others)) = failures.split_first() {
        others.iter().for_each(|failure| report::warn(failure));
        let kind = after_snapshot(&report.failure_kinds(), summary::has_damage(report));
        let error = Error::caused(
            kind,
            format!("snapshot {id} is made, but not all that comes after it is done"),
            Error::new(kind, first.clone()),
        );
        return Err(error.into());
    }
    Ok(match summary::status(report) {
        summary::Status::Damaged => Done::WithDamage,
        summary::Status::Partial => Done::WithFindings,
        _ => Done::Fully,
    })
}

fn run_logged(
    config: &Config,
    job: &JobConfig,
    only: &[String],
    context: &Context,
    (lock, log): (&Lock, Option<&Log>),
) -> Outcome<(RunReport, Vec<String>)> {
    let repository = jobs::repository_of(config, &job.repository)?;
    let opened = jobs::open_repository(context, repository)?;
    // Once the cache folder is there, in which copies of databases are put together.
    let ready = jobs::ready(context, job, repository, only)?;
    let options = jobs::options(config, job, Some(&opened), only)?;
    let copies = jobs::copies(context, config, job);
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Backup));
    let shown = progress.begin();
    let monitor = Logged::new(&*progress, log, !context.global.quiet && !report::is_json());
    let report = context
        .interruption
        .gently(|| packstone::job::run(&opened.repository, &ready, &options, lock, copies, &monitor));
    drop(shown);
    let report = report.map_err(Failure::from)?;
    let lines = summary::lines(&job.name, &report, &options.zone);
    Ok((report, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_worst_of_all() {
        use ErrorKind::{
            Damaged, Denied, Failed, Fenced, Frozen, Interrupted, NoRepository, Unreachable, Usage, WrongKey,
        };
        for (kinds, is_damaged, expected) in [
            (&[Damaged][..], false, 13),
            (&[Unreachable, Damaged], false, 13),
            (&[Unreachable], true, 13),
            (&[WrongKey, Damaged, Usage], false, 13),
            (&[Interrupted, Failed], true, 130),
            (&[Unreachable, WrongKey], false, 12),
            (&[NoRepository, WrongKey], false, 12),
            (&[Denied, NoRepository], false, 10),
            (&[Fenced, Failed], false, 1),
            (&[Fenced, Usage], false, 2),
            (&[Fenced], false, 11),
            (&[Denied, Frozen], false, 1),
            (&[Fenced, Unreachable], false, 1),
        ] {
            assert_eq!(worst(kinds, is_damaged).exit_code(), expected, "{kinds:?} {is_damaged}");
        }
        for (kinds, is_damaged, expected) in [
            (&[NoRepository][..], false, 1),
            (&[WrongKey], false, 1),
            (&[Fenced], false, 1),
            (&[Usage], false, 1),
            (&[NoRepository, Unreachable], false, 1),
            (&[NoRepository], true, 13),
            (&[NoRepository, Damaged], false, 13),
            (&[NoRepository, Interrupted], false, 130),
        ] {
            assert_eq!(after_snapshot(kinds, is_damaged).exit_code(), expected, "{kinds:?} {is_damaged}");
        }
        for (one, other, expected) in [
            (Done::Fully, Done::Fully, Done::Fully),
            (Done::WithFindings, Done::Fully, Done::WithFindings),
            (Done::Fully, Done::WithDamage, Done::WithDamage),
            (Done::WithDamage, Done::WithFindings, Done::WithDamage),
        ] {
            assert_eq!(worse(one, other), expected);
        }
    }
}
