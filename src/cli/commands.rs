//! The commands, one module each: its arguments, and what it asks of the library.

pub mod backup;
pub mod cat;
pub mod completions;
pub mod config;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod history;
pub mod log;
pub mod ls;
pub mod man;
pub mod mount;
pub mod plan;
pub mod repo;
pub mod restore;
pub mod restore_database;
pub mod run;
pub mod snapshots;
pub mod stats;
pub mod tag;

use std::ffi::OsStr;

use packstone::base::{Error, ErrorKind, SessionId};
use packstone::repository::SnapshotEntry;

use crate::args::Command;
use crate::context::Context;
use crate::open::Opened;
use crate::report::{self, Done, Hint, Outcome};
use crate::selection::Selection;
use crate::snapshot_path::SnapshotPath;

/// Runs a command.
pub fn run(command: Command, context: &Context) -> Outcome<Done> {
    let needs_none = matches!(
        command,
        Command::Completions(_)
            | Command::Man(_)
            | Command::Config(_)
            | Command::Run(_)
            | Command::Plan(_)
            | Command::Log(_)
    );
    let settled = if needs_none { context.clone() } else { context.settled()? };
    let context = &settled;
    match command {
        Command::Repo(repo::Command::Init(arguments)) | Command::Init(arguments) => {
            repo::init::run(&arguments, context)
        }
        Command::Repo(repo::Command::Info(arguments)) => repo::info::run(&arguments, context),
        Command::Repo(repo::Command::Check(arguments)) | Command::Check(arguments) => {
            repo::check::run(&arguments, context)
        }
        Command::Repo(repo::Command::Copy(arguments)) | Command::Copy(arguments) => {
            repo::copy::run(&arguments, context)
        }
        Command::Repo(repo::Command::Prune(arguments)) | Command::Prune(arguments) => {
            repo::prune::run(&arguments, context)
        }
        Command::Repo(repo::Command::Key(command)) | Command::Key(command) => {
            repo::key::run(&command, context)
        }
        Command::Repo(repo::Command::Sessions(arguments)) => repo::sessions::run(&arguments, context),
        Command::Repo(repo::Command::Probe(arguments)) => repo::probe::run(&arguments, context),
        Command::Backup(arguments) => backup::run(&arguments, context),
        Command::Snapshots(arguments) => snapshots::run(&arguments, context),
        Command::Ls(arguments) => ls::run(&arguments, context),
        Command::Find(arguments) => find::run(&arguments, context),
        Command::History(arguments) => history::run(&arguments, context),
        Command::Diff(arguments) => diff::run(&arguments, context),
        Command::Cat(arguments) => cat::run(&arguments, context),
        Command::Dump(arguments) => dump::run(&arguments, context),
        Command::Restore(arguments) => restore::run(&arguments, context),
        Command::RestoreDatabase(arguments) => restore_database::run(&arguments, context),
        Command::Mount(arguments) => mount::run(&arguments, context),
        Command::Forget(arguments) => forget::run(&arguments, context),
        Command::Tag(arguments) => tag::run(&arguments, context),
        Command::Run(arguments) => run::run(&arguments, context),
        Command::Plan(arguments) => plan::run(&arguments, context),
        Command::Log(arguments) => log::run(&arguments, context),
        Command::Stats(arguments) => stats::run(&arguments, context),
        Command::Config(command) => config::run(&command, context),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments, context),
    }
}

/// The snapshot that an argument `SNAP[:PATH]` names, and its path.
fn find_snapshot<'a>(
    opened: &Opened,
    argument: &'a OsStr,
    selection: &Selection,
) -> Outcome<(SnapshotEntry, Option<&'a [u8]>)> {
    let wanted = SnapshotPath::parse(argument)?;
    let filter = selection.filter()?;
    let snapshots = opened.repository.snapshots()?;
    let found = snapshots.find_among(wanted.snapshot, &filter).hint(ErrorKind::NotFound, list_hint)?;
    Ok((found.clone(), wanted.path))
}

/// Tells which snapshots could not be read, and how a command ends that passed over them.
fn tell_damaged(damaged: Vec<(SessionId, Error)>, during: &str) -> Done {
    let done = if damaged.is_empty() { Done::Fully } else { Done::WithDamage };
    for (id, error) in damaged {
        let error = error.while_doing(format!("cannot read snapshot {}", id.short()));
        report::error_aside(&error, during, &id.hex());
    }
    done
}

/// What helps who looks for a snapshot.
fn list_hint() -> String {
    "\"packstone snapshots\" lists them".to_owned()
}
