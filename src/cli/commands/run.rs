//! `packstone run [JOB…]`: runs jobs of the configuration, one after the other.
//!
//! What must hold: a job that fails keeps none of the others from running; the exit code tells the worst of all; what
//! every run said ends in its log, too.

mod summary;

use std::sync::Arc;

use clap::Args;
use packstone::base::{Error, ErrorKind};
use packstone::config::{Config, JobConfig};
use packstone::job::{Log, RunReport};

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
            let is_damaged = done == Done::WithDamage;
            let worst = WORST_FIRST.into_iter().find(|kind| kinds.contains(kind));
            let kind = if is_damaged { ErrorKind::Damaged } else { worst.unwrap_or(ErrorKind::Failed) };
            let names: Vec<&str> = failures.iter().map(|(job, _)| job.name.as_str()).collect();
            let message = format!("{failed} of {count} jobs failed: {}", names.join(", "));
            Err(Error::new(kind, message).into())
        }
    }
}

/// Of jobs that failed differently, what the exit code tells.
const WORST_FIRST: [ErrorKind; 6] = [
    ErrorKind::Damaged,
    ErrorKind::WrongKey,
    ErrorKind::NoRepository,
    ErrorKind::Failed,
    ErrorKind::Usage,
    ErrorKind::Fenced,
];

/// The one of two that is told by the exit code.
const fn worse(one: Done, other: Done) -> Done {
    match (one, other) {
        (Done::WithDamage, _) | (_, Done::WithDamage) => Done::WithDamage,
        (Done::WithFindings, _) | (_, Done::WithFindings) => Done::WithFindings,
        _ => Done::Fully,
    }
}

fn run_job(config: &Config, job: &JobConfig, only: &[String], context: &Context) -> Outcome<Done> {
    let folder = jobs::state_folder(context);
    let log = jobs::log_of(&folder, &job.name);
    let write = |text: &str| log.iter().for_each(|log| log.write(text));
    write(&format!("run of {} begins", job.name));
    let outcome = run_logged(config, job, only, context, log.as_ref());
    match &outcome {
        Ok((report, lines)) => {
            lines.iter().for_each(|line| write(line));
            report.failures().iter().for_each(|failure| write(&format!("error: {failure}")));
            write(&format!("run of {} ends: {}", job.name, summary::status(report)));
        }
        Err(failure) => {
            write(&format!("error: {}", failure.chain().join(": ")));
            write(&format!("run of {} ends: failed", job.name));
            if report::is_json() {
                report::print_document(&RunLine::of_failure(&job.name, failure.chain()));
            }
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

/// How a run ends that made its snapshot.
fn ended(report: &RunReport) -> Outcome<Done> {
    let failures = report.failures();
    let id = report.backup.id.short();
    if let Some((first, others)) = failures.split_first() {
        others.iter().for_each(|failure| report::warn(failure));
        let error = Error::caused(
            ErrorKind::Failed,
            format!("snapshot {id} is made, but not all that comes after it is done"),
            Error::new(ErrorKind::Failed, first.clone()),
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
    log: Option<&Log>,
) -> Outcome<(RunReport, Vec<String>)> {
    let ready = jobs::ready(context, job, only)?;
    let opened = jobs::open_repository(context, jobs::repository_of(config, &job.repository)?)?;
    let options = jobs::options(config, job, Some(&opened), only)?;
    let copies = jobs::copies(context, config, job);
    let progress = Arc::new(Progress::new(&context.global, &context.interruption, Work::Backup));
    let shown = progress.begin();
    let monitor = Logged::new(&*progress, log);
    let folder = jobs::state_folder(context);
    let report = context
        .interruption
        .gently(|| packstone::job::run(&opened.repository, &ready, &options, &folder, copies, &monitor));
    drop(shown);
    let report = report.map_err(Failure::from);
    let report = report.hint(ErrorKind::Fenced, || "run it again once that is over".to_owned())?;
    let lines = summary::lines(&job.name, &report, &options.zone);
    Ok((report, lines))
}
