//! The arguments that all commands have, and the list of commands; each command's own stand beside its code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use packstone::config::CredentialSource;
use packstone::config::values::{parse_connections, parse_memory, parse_rate};
pub use packstone::config::values::{parse_duration, parse_size};

use crate::commands::{
    backup, cat, completions, config, diff, dump, find, forget, history, log, ls, man, mount, plan, repo,
    restore, restore_database, run, snapshots, stats, tag,
};

const AFTER_HELP: &str = "\
A name given to --repository is one of the configuration first: a path contains / or begins with a dot. Without \
--repository and PACKSTONE_REPOSITORY, the only repository of the configuration is meant; without a configuration, \
\"packstone backup PATH\" makes and uses a repository in the user's data directory, with a key file in the config \
directory, and the other commands use it too.

Environment (a flag goes before its variable, and that before the configuration):
  PACKSTONE_REPOSITORY        as --repository
  PACKSTONE_PASSWORD          the password itself
  PACKSTONE_PASSWORD_FILE     as --password-file
  PACKSTONE_PASSWORD_COMMAND  as --password-command
  PACKSTONE_KEY_FILE          as --key-file
  PACKSTONE_CACHE_DIR         as --cache-dir
  PACKSTONE_CONFIG            as --config
  PACKSTONE_SSH_COMMAND       what reaches sftp: in the place of ssh, as the shell reads it
  PACKSTONE_RCLONE_COMMAND    what reaches rclone remotes: in the place of rclone, the name or path of a program

Exit codes:
    0  done
    1  failed
    2  wrong usage
    3  done, but some items could not be read or restored; each was told
   10  there is no repository
   11  another process ended the session, or stands in the way
   12  wrong password or key
   13  something in the repository is damaged
  130  interrupted by SIGINT, SIGTERM or SIGHUP
  141  whoever read the output stopped reading

Examples:
  packstone backup ~/documents
  packstone snapshots
  packstone restore latest -t /tmp/restored
  packstone -r /srv/backup --key-file /etc/packstone.key repo init";

const REPO_AFTER_HELP: &str = "\
Examples:
  packstone -r /srv/backup repo init
  packstone -r /srv/backup repo info
  packstone -r /srv/backup repo check --read-data
  packstone -r /srv/backup repo copy --from /mnt/usb/backup
  packstone -r /srv/backup repo prune --dry-run
  packstone -r /srv/backup repo key list";

/// Encrypted, deduplicated, compressed backups
#[derive(Parser, Debug)]
#[command(name = "packstone", version, about, after_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// Flags that all commands have.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that all commands have.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Where the repository is: a directory, s3:https://HOST/BUCKET/PATH, sftp:USER@HOST:PATH, …; or its name in the
    /// configuration
    #[arg(short, long, alias = "repo", global = true, value_name = "LOCATION")]
    pub repository: Option<OsString>,
    /// Take the password from the first line of a file
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Take the password from the first line that a shell command prints
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<OsString>,
    /// Open the repository by a key file: 32 bytes, 64 hexadecimal digits, or 24 words
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Take repositories and jobs from this file [default: packstone.toml in the user's config directory, else
    /// /etc/packstone/packstone.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What opens the repository as the configuration says, where neither a flag nor a variable does.
    #[arg(skip)]
    pub configured: Option<CredentialSource>,
    /// Print warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print what is being worked on
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Print lines of JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Show progress so often, as 500ms or 1m [default: 150ms on a terminal, 250ms with --json, else 1m]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_interval)]
    pub progress_interval: Option<Duration>,
    /// Keep what speeds up later commands below this directory
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "no_cache")]
    pub cache_dir: Option<PathBuf>,
    /// Keep nothing outside the repository
    #[arg(long, global = true)]
    pub no_cache: bool,
    /// Keep at most so much of a repository behind a network; its index is kept also beyond that [default: 1G]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_size, conflicts_with = "no_cache")]
    pub cache_size: Option<u64>,
    /// Take about so much memory at most, from 32M on; with more, more threads work [default: 128M]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_memory)]
    pub memory_limit: Option<u64>,
    /// What concerns storages behind a network.
    #[command(flatten)]
    pub network: Network,
}

/// What concerns storages behind a network.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network options")]
pub struct Network {
    /// Send at most so much a second, as 500k or 2M; without a unit it counts KiB
    #[arg(long, global = true, value_name = "RATE", value_parser = parse_rate)]
    pub limit_upload: Option<u64>,
    /// Receive at most so much a second
    #[arg(long, global = true, value_name = "RATE", value_parser = parse_rate)]
    pub limit_download: Option<u64>,
    /// Make so many requests at the same time [default: 5]
    #[arg(long, global = true, value_name = "NUMBER", value_parser = parse_connections)]
    pub connections: Option<usize>,
    /// Try again for so long what fails for no lasting reason [default: 15m]
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration)]
    pub retry_for: Option<Duration>,
    /// Put packs of contents into this storage class of the service
    #[arg(long, global = true, value_name = "CLASS")]
    pub storage_class: Option<String>,
    /// Trust the authorities in this file as well (PEM)
    #[arg(long, alias = "cacert", global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Show this certificate to the storage (PEM, with its private key)
    #[arg(long, global = true, value_name = "FILE")]
    pub tls_client_cert: Option<PathBuf>,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make and look after repositories
    #[command(subcommand, after_help = REPO_AFTER_HELP)]
    Repo(repo::Command),
    /// Make a repository
    #[command(hide = true)]
    Init(repo::init::Arguments),
    /// Find what is damaged or missing in a repository, and which files that hurts
    #[command(hide = true)]
    Check(repo::check::Arguments),
    /// Copy snapshots of another repository into this one
    #[command(hide = true)]
    Copy(repo::copy::Arguments),
    /// Give back the space of what no snapshot needs
    #[command(hide = true)]
    Prune(repo::prune::Arguments),
    /// List, add, remove and print the keys of a repository
    #[command(subcommand, hide = true, after_help = repo::key::AFTER_HELP)]
    Key(repo::key::Command),
    /// Back up files, directories, or a stream
    Backup(Box<backup::Arguments>),
    /// List the snapshots
    Snapshots(snapshots::Arguments),
    /// List what a snapshot holds
    Ls(ls::Arguments),
    /// Look for paths in all snapshots, and say which versions of each there are
    Find(Box<find::Arguments>),
    /// List the versions of one file or directory
    History(history::Arguments),
    /// Say what differs between two snapshots, or between one and what is there now
    Diff(Box<diff::Arguments>),
    /// Print a file of a snapshot
    Cat(cat::Arguments),
    /// Print a file of a snapshot, or a folder as a tar or zip file
    Dump(dump::Arguments),
    /// Give back what a snapshot holds
    Restore(Box<restore::Arguments>),
    /// Put back a database that a snapshot holds, or list those that it holds
    RestoreDatabase(Box<restore_database::Arguments>),
    /// Show snapshots as a file system that can only be read
    Mount(mount::Arguments),
    /// Forget snapshots that are named, or that rules do not keep
    Forget(Box<forget::Arguments>),
    /// Change the tags of snapshots
    Tag(tag::Arguments),
    /// Count what snapshots hold and what they take
    Stats(stats::Arguments),
    /// Check the configuration, or begin one
    #[command(subcommand, after_help = config::AFTER_HELP)]
    Config(config::Command),
    /// Run jobs of the configuration: back up, keep what the rules say, check
    Run(run::Arguments),
    /// Say what a run of a job would do
    Plan(plan::Arguments),
    /// Print what the last runs of jobs said
    Log(log::Arguments),
    /// Print what makes a shell complete arguments
    Completions(completions::Arguments),
    /// Print the manual page, or write all of them
    Man(man::Arguments),
}

/// Whether arguments that may make no sense ask for JSON all the same. What follows `--` is not this program's.
pub fn ask_for_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Reads a duration that is not zero.
fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("an interval cannot be zero; --no-progress shows no progress".to_owned()),
        interval => Ok(interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Arguments::command().debug_assert();
    }

    /// A command and all below it, hidden ones too.
    fn all(command: &clap::Command) -> Vec<&clap::Command> {
        std::iter::once(command).chain(command.get_subcommands().flat_map(all)).collect()
    }

    #[test]
    fn every_command_shows_examples_of_itself() {
        let mut program = Arguments::command();
        program.build();
        for command in all(&program) {
            let name = command.get_bin_name().unwrap_or("packstone");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map(|(_, examples)| examples).unwrap_or_default();
            // A hidden alias shows the name that it stands for.
            let word = name.rsplit(' ').next().unwrap_or_default();
            assert!(examples.lines().all(|line| line.starts_with("  ")), "{name}: {examples:?}");
            assert!(examples.contains("packstone") && examples.contains(word), "{name}: {examples:?}");
        }
    }

    #[test]
    fn an_interval_is_not_zero() {
        assert_eq!(parse_interval("10ms"), Ok(Duration::from_millis(10)));
        assert!(parse_interval("0ms").is_err());
    }

    #[test]
    fn json_is_asked_for_even_by_arguments_that_are_refused() {
        let ask = |line: &str| ask_for_json(line.split(' ').map(OsString::from));
        assert!(ask("packstone frobnicate --json"));
        assert!(!ask("packstone frobnicate"));
        assert!(!ask("packstone backup --stdin-from-command -- dump --json"));
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in ["packstone -r x -q snapshots", "packstone snapshots --repo x -q"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).expect("arguments");
            assert_eq!(arguments.global.repository.as_deref(), Some("x".as_ref()), "{line}");
            assert!(arguments.global.quiet, "{line}");
        }
    }
}
