//! `packstone plan JOB…`: what a run would do, without doing it.

use std::sync::Arc;

use clap::Args;
use packstone::base::monitor::show_file;
use packstone::base::size;
use packstone::config::JobConfig;
use packstone::job::{PlannedSource, RunPlan};
use packstone::ops::backup::OnFailure;

use crate::context::Context;
use crate::jobs::{self, Chosen};
use crate::json::JobPlanLine;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Outcome};
use crate::show;

const AFTER_HELP: &str = "\
Patterns are expanded, servers are asked which databases they have, and rules are applied to the snapshots that are \
there, as if the run made its own now. Nothing is written. If a source cannot be reached, or two of \
them claim one place, the exit code is 3.

Examples:
  packstone plan nightly
  packstone plan nightly --only-source shop
  packstone --json plan nightly";

/// Arguments of `plan`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
}

/// Says what runs would do.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let configured = jobs::configured(context)?;
    let config = &configured.config;
    let mut done = Done::Fully;
    let only = arguments.chosen.only.as_slice();
    let chosen = arguments.chosen.find(config)?;
    jobs::refuse_flags_of_one_repository(context, &chosen, "plan")?;
    for job in chosen {
        let repository = jobs::repository_of(config, &job.repository)?;
        let ready = jobs::ready(context, job, repository, only)?;
        // What would be kept can be told only of a repository that is there.
        let opened = match jobs::open_repository(&context.without_cache(), repository) {
            Ok(opened) => Some(opened),
            Err(failure) => {
                report::failure_aside(&failure, "plan", &job.name);
                done = Done::WithFindings;
                None
            }
        };
        let options = jobs::options(config, job, opened.as_ref(), only)?;
        let progress =
            Arc::new(Progress::hidden(&context.global, &context.interruption, Work::Other("plan")));
        let plan = context.interruption.gently(|| {
            let repository = opened.as_ref().map(|opened| &opened.repository);
            packstone::job::plan(repository, &ready, &options, &*progress)
        })?;
        if plan.conflict.is_some() || plan.sources.iter().any(PlannedSource::is_lacking) {
            done = Done::WithFindings;
        }
        report::conclude(&context.global, || lines(job, &plan), || JobPlanLine::of(job, &plan));
    }
    Ok(done)
}

fn lines(job: &JobConfig, plan: &RunPlan) -> Vec<String> {
    let schedule = job.schedule.as_ref().map(|schedule| format!(", {schedule}")).unwrap_or_default();
    let mut lines = vec![format!("{}: one snapshot in repository {}{schedule}", job.name, job.repository)];
    for source in &plan.sources {
        let amount = source.amount.map(|amount| {
            let left_out = match amount.excluded {
                0 => String::new(),
                count => format!(", left out {}", show::left_out(count)),
            };
            format!(" · {}, {}{left_out}", show::count(amount.files, "file"), size::show(amount.bytes))
        });
        let if_fails = match source.on_failure {
            OnFailure::Fail => "no snapshot is made",
            OnFailure::Partial => "the others are kept",
            OnFailure::KeepPrevious => "its last good tree is kept",
        };
        let amount = amount.unwrap_or_default();
        lines.push(format!("  {} ({}){amount} · if it fails, {if_fails}", source.name, source.kind));
        lines.extend(source.paths.iter().map(|path| format!("    {}", show_file(path))));
        lines.extend(source.lines.iter().map(|line| format!("      {line}")));
        lines.extend(source.failure.iter().map(|failure| format!("    CANNOT BE READ: {failure}")));
    }
    lines.extend(plan.conflict.iter().map(|conflict| format!("CANNOT BE RUN: {conflict}")));
    for copy in &job.copies {
        lines.push(format!("then: copied to {}", copy.repository));
    }
    match &plan.retention {
        None if job.keep.is_none() => lines.push("then: all snapshots are kept".into()),
        None => {}
        Some(Ok(kept)) => {
            let rules = job.keep.as_ref().map(ToString::to_string).unwrap_or_default();
            lines.push(format!("then: keep {rules}; of those that are there {} go", kept.removed.len()));
        }
        Some(Err(error)) => lines.push(format!("then: nothing is forgotten: {}", error.chain().join(": "))),
    }
    if job.check.is_some() {
        lines.push("then: a part of the repository is verified".into());
    }
    lines
}
