//! `packstone config init [FILE]`: writes a configuration to begin with, from what is found on this machine.
//!
//! What must hold: a file that is there is never replaced without `--force`; nobody but its owner may read the new one.

use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::Args;
use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Result, Wrap};

use crate::commands::config::{found, written};
use crate::configuration;
use crate::context::Context;
use crate::json::WrittenLine;
use crate::output::Output;
use crate::report::{self, Done, Hint, Outcome};
use crate::target_file::TargetFile;
use crate::{environment, show};

const AFTER_HELP: &str = "\
It looks for folders with data and configurations, for files of SQLite and ChromaDB, for the sockets of PostgreSQL, \
MariaDB, MySQL, Redis and Valkey, and asks docker for containers with databases. Each becomes a source; what else there \
is stands in the file as a remark. Nothing is asked of a database, and nothing runs before you say so.

Examples:
  packstone config init
  packstone config init -
  packstone config init ./packstone.toml --force";

/// Arguments of `config init`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Write this file, - to print it [default: /etc/packstone/packstone.toml for root, else packstone.toml in the user's
    /// config directory]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Look around below this directory instead of /
    #[arg(long, value_name = "DIR", hide = true, default_value = "/")]
    root: PathBuf,
}

/// Begins a configuration.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let file = match &arguments.file {
        Some(file) => file.clone(),
        None => usual(context)?,
    };
    let is_printed = file.as_os_str() == "-";
    if !is_printed && !arguments.force && file.symlink_metadata().is_ok() {
        let message = format!("{} is there already", show_file(&file));
        return Err(Error::new(ErrorKind::Exists, message))
            .hint(ErrorKind::Exists, || "--force replaces it; - prints instead of writing".to_owned());
    }
    let found = found::look(&arguments.root);
    let text = written::text(&found);
    if is_printed {
        let mut output = Output::open()?;
        let printed = output.write_all(text.as_bytes()).wrap(|| "cannot write the output");
        return Ok(output.end(printed.map(|()| Done::Fully))?);
    }
    write(&file, &text, arguments.force)?;
    let lines = || {
        let mut lines: Vec<String> = found.lines().iter().map(|line| format!("found {line}")).collect();
        let shown = show::argument(&file, "FILE");
        lines.push(format!(
            "{} written. Read it, then run \"packstone config check {shown}\".",
            show_file(&file)
        ));
        lines
    };
    report::conclude(&context.global, lines, || WrittenLine::of(&file, found.lines()));
    Ok(Done::Fully)
}

/// Where it goes if nothing is said: the last place that is looked at for root, who works for all, the first for others.
fn usual(context: &Context) -> Result<PathBuf> {
    let mut places = configuration::places(&context.environment).into_iter();
    let place = if environment::is_root() { places.next_back() } else { places.next() };
    place.ok_or_else(|| Error::new(ErrorKind::Usage, "name a file: there is no place for it"))
}

fn write(file: &Path, text: &str, may_replace: bool) -> Result<()> {
    let failed = || format!("cannot write {}", show_file(file));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).wrap(failed)?;
    }
    let mut target = TargetFile::create(file, may_replace)?;
    target.write_all(text.as_bytes()).wrap(failed)?;
    target.finish().wrap(failed)
}
