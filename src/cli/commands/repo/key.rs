//! `packstone repo key …`: the key slots of a repository.

pub mod add;
pub mod export;
pub mod list;
pub mod passwd;
pub mod remove;

use clap::Subcommand;
use packstone::format::slot::PasswordCost;
use packstone::repository::NewSlot;

use crate::context::Context;
use crate::new_credential::NewCredential;
use crate::open::Opened;
use crate::report::{Done, Outcome};

/// Help that stands below the list of commands.
pub const AFTER_HELP: &str = "\
A repository opens with any of its keys: passwords, key files, and keys that are printed on paper. Each has a key slot \
in the repository, which can be removed without the others.

Examples:
  packstone repo key list
  packstone repo key add --new-key-file /etc/packstone-2.key
  packstone repo key export --output /media/stick/sheet.txt";

/// What a new password costs to try.
const COST: PasswordCost = PasswordCost::RECOMMENDED;

/// The commands of the group.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the key slots
    List(list::Arguments),
    /// Add a password or a key file
    Add(add::Arguments),
    /// Remove a key slot
    Remove(remove::Arguments),
    /// Replace the password or the key in use
    Passwd(passwd::Arguments),
    /// Print a key to keep on paper
    Export(export::Arguments),
}

/// What a new key slot is made of, and how the password or key in it is called in messages.
fn new_slot(
    new: &NewCredential,
    label: String,
    context: &Context,
    opened: &Opened,
) -> Outcome<(NewSlot, String)> {
    // Before a key file is made for nothing.
    NewSlot::check_label(&label)?;
    let new = new.obtain(context, &opened.obtained)?;
    Ok((NewSlot { credential: new.credential, label }, new.name))
}

/// Runs a command of the group.
pub fn run(command: &Command, context: &Context) -> Outcome<Done> {
    match command {
        Command::List(arguments) => list::run(arguments, context),
        Command::Add(arguments) => add::run(arguments, context),
        Command::Remove(arguments) => remove::run(arguments, context),
        Command::Passwd(arguments) => passwd::run(arguments, context),
        Command::Export(arguments) => export::run(arguments, context),
    }
}
