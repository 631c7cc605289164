//! `packstone config …`: checking the configuration, and beginning one.

pub mod check;
pub mod found;
pub mod init;
mod seen;
mod written;

use clap::Subcommand;

use crate::context::Context;
use crate::report::{Done, Outcome};

/// Ends the help of the group.
pub const AFTER_HELP: &str = "\
Examples:
  packstone config init
  packstone config check
  packstone --config ./packstone.toml config check";

/// The commands of the group.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Say everything that is wrong in the configuration, and what of it is not there
    Check(check::Arguments),
    /// Write a configuration to begin with, from what is found on this machine
    Init(init::Arguments),
}

/// Runs one of them.
pub fn run(command: &Command, context: &Context) -> Outcome<Done> {
    match command {
        Command::Check(arguments) => check::run(arguments, context),
        Command::Init(arguments) => init::run(arguments, context),
    }
}
