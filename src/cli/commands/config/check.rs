//! `packstone config check [FILE]`: says everything that is wrong in the configuration, and what of it is not there.
//!
//! What must hold: it changes nothing, reads no secret unless it is told to, and asks no network; what is wrong ends it with 2, what may come
//! to be later is only warned of.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Wrap};
use packstone::config::{
    Config, CredentialSource, Input, JobConfig, Problem, RepositoryConfig, SecretSource, Secrets,
};

use crate::commands::config::seen;
use crate::configuration::{self, Judged};
use crate::context::Context;
use crate::json::{CheckedLine, ProblemLine};
use crate::output::Output;
use crate::report::{self, Done, Hint, Outcome};
use crate::secrets::OfSources;
use crate::show;

const AFTER_HELP: &str = "\
Each problem is a line FILE:LINE:COLUMN: KEY: MESSAGE, and the command ends with 2. What is right, but is not there yet, \
as a path, a program or a file with a secret, is warned of.

Examples:
  packstone config check
  packstone config check ./packstone.toml";

/// Arguments of `config check`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// This file, whatever configuration is in use
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read each secret once, which runs the commands that print them, and warn of those that cannot be had
    #[arg(long)]
    read_secrets: bool,
}

/// Checks a configuration.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let found = arguments.file.clone().or_else(|| configuration::find(&context.global, &context.environment));
    let file = found.ok_or_else(|| missing(context)).hint(ErrorKind::NotFound, init_hint)?;
    let Judged { file, config } =
        configuration::judge(file, &context.environment).hint(ErrorKind::NotFound, init_hint)?;
    match config {
        Ok(config) => {
            let mut warnings = seen::warnings(&config, &context.environment);
            if arguments.read_secrets {
                warnings.extend(unreadable(&config, &OfSources { environment: &context.environment }));
            }
            for warning in warnings {
                report::warn(&format!("{}: {warning}", show_file(&file)));
            }
            let lines = || lines(&config);
            report::conclude(&context.global, lines, || CheckedLine::of(&file, &config));
            Ok(Done::Fully)
        }
        Err(problems) => {
            print(&file, &problems)?;
            let count = show::count(u64::try_from(problems.len()).unwrap_or(u64::MAX), "problem");
            let message = format!("the configuration {} has {count}", show_file(&file));
            Err(Error::new(ErrorKind::Usage, message).into())
        }
    }
}

/// Which secrets cannot be had, and why.
fn unreadable(config: &Config, secrets: &dyn Secrets) -> Vec<String> {
    let of_repositories = config.repositories.iter().filter_map(|repository| match &repository.credential {
        Some(CredentialSource::Password(source)) => Some((format!("repository.{}", repository.name), source)),
        _ => None,
    });
    let of_sources = config.jobs.iter().flat_map(|job| {
        let engines = job.sources.iter().filter_map(|source| match &source.input {
            Input::Engine(engine) => Some((format!("job.{}.source {}", job.name, source.name), engine)),
            Input::Paths(_) => None,
        });
        engines.flat_map(|(key, engine)| engine.secrets().map(move |secret| (key.clone(), secret)))
    });
    let failed = |(key, source): (String, &SecretSource)| {
        let error = secrets.read(source).err()?;
        Some(format!("{key}: {}", error.chain().join(": ")))
    };
    of_repositories.chain(of_sources).filter_map(failed).collect()
}

fn init_hint() -> String {
    "\"packstone config init\" begins one".to_owned()
}

fn missing(context: &Context) -> Error {
    let places = configuration::places(&context.environment);
    let shown: Vec<String> = places.iter().map(|place| show_file(place)).collect();
    Error::new(ErrorKind::NotFound, format!("there is no configuration: no {}", shown.join(" and no ")))
}

fn print(file: &Path, problems: &[Problem]) -> Outcome<()> {
    if report::is_json() {
        problems.iter().for_each(|problem| report::print_document(&ProblemLine::of(file, problem)));
        return Ok(());
    }
    let mut output = Output::open()?;
    let shown = show_file(file);
    let mut written = Ok(());
    for problem in problems {
        written = written.and_then(|()| writeln!(output, "{shown}:{problem}"));
    }
    output.end(written.wrap(|| "cannot write the output").map(|()| Done::Fully))?;
    Ok(())
}

/// What the configuration says, a line for each repository and each job.
fn lines(config: &Config) -> Vec<String> {
    let repositories = config.repositories.iter().map(of_repository);
    repositories.chain(config.jobs.iter().map(of_job)).collect()
}

fn of_repository(repository: &RepositoryConfig) -> String {
    format!("repository {}: {}", repository.name, repository.location)
}

fn of_job(job: &JobConfig) -> String {
    let sources: Vec<&str> = job.sources.iter().map(|source| source.name.as_str()).collect();
    let mut parts = vec![format!("{} into {}", sources.join(", "), job.repository)];
    parts.extend(job.schedule.as_ref().map(ToString::to_string));
    parts.push(job.keep.as_ref().map_or("keeps all".to_owned(), |keep| format!("keeps {keep}")));
    parts.extend(job.copies.iter().map(|copy| format!("copied to {}", copy.repository)));
    format!("job {}: {}", job.name, parts.join("; "))
}
