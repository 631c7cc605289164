//! Any command whose output is worth keeping: `docker save`, `gitea dump`, a script.

use super::Container;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyCommand {
    /// The program and its arguments, without a shell.
    pub command: Vec<String>,
    /// Where its output stands below the folder of the source.
    pub file_name: String,
    /// Variables that it gets besides.
    pub environment: Vec<(String, super::Password)>,
    /// The container in which it runs.
    pub container: Option<Container>,
    /// The user of this machine as whom it runs.
    pub run_as: Option<String>,
    /// What its output must end with, white space at the end apart, to be whole.
    pub ends_with: Option<String>,
    /// The program, and its arguments, that takes the output back.
    pub restore_command: Vec<String>,
}
