//! `packstone log [JOB…]`: what the last runs of jobs said on this machine.

use clap::Args;

use crate::context::Context;
use crate::jobs;
use crate::json::LogLine;
use crate::report::{self, Done, Outcome};

const AFTER_HELP: &str = "\
Every run of a job writes what it says into a log on this machine, below the user's folder for state \
(~/.local/state/packstone/jobs, of root without a home /var/lib/packstone/jobs). It keeps its last 128 KiB to 256 KiB.

Examples:
  packstone log
  packstone log nightly
  packstone log nightly --lines 200";

/// Arguments of `log`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The names of jobs [default: all of the configuration]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// So many lines of each, the last ones
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 40)]
    lines: usize,
}

/// Prints logs.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let configured = jobs::configured(context)?;
    let folder = jobs::state_folder(context);
    let chosen = jobs::find(&configured.config, &arguments.jobs)?;
    let with_titles = chosen.len() > 1;
    for job in chosen {
        let lines = packstone::job::read_tail(&folder, &job.name, arguments.lines)?;
        let document = LogLine::of(&job.name, &lines);
        let shown = || {
            let title = with_titles.then(|| format!("{}:", job.name));
            let none = lines.is_empty().then(|| format!("{} never ran here", job.name));
            title.into_iter().chain(none).chain(lines.iter().cloned()).collect()
        };
        report::conclude(&context.global, shown, || document);
    }
    Ok(Done::Fully)
}
