//! `packstone repo …`: making and looking after repositories.

pub mod check;
pub mod copy;
pub mod info;
pub mod init;
pub mod key;
pub mod probe;
pub mod prune;
pub mod sessions;

use clap::Subcommand;

/// The commands of the group.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a repository
    Init(init::Arguments),
    /// Tell what a repository is and what it holds
    Info(info::Arguments),
    /// Find what is damaged or missing in a repository, and which files that hurts
    Check(check::Arguments),
    /// Copy snapshots of another repository into this one
    Copy(copy::Arguments),
    /// Give back the space of what no snapshot needs
    Prune(prune::Arguments),
    /// List the sessions that are not over, and end those of which nothing more comes
    Sessions(sessions::Arguments),
    /// Find out what a storage can be trusted with
    Probe(probe::Arguments),
    /// List, add, remove and print the keys of a repository
    #[command(subcommand, after_help = key::AFTER_HELP)]
    Key(key::Command),
}
