//! `packstone repo …`: making and looking after repositories.

pub mod init;

use clap::Subcommand;

/// The commands of the group.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a repository
    Init(init::Arguments),
}
