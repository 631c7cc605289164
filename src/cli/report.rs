//! How a command ends: its exit code, and on the standard error what went wrong, why, and what helps.
//!
//! What must hold: a hint is given only where it is true; nothing here panics, whatever became of the terminal.

use std::io::Write;
use std::process::ExitCode;

use packstone::base::{Error, ErrorKind};

use crate::interruption::Interruption;

/// How a command ended that did what it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All was done.
    Fully,
    /// Some items could not be read or restored.
    WithFindings,
    /// Some items of the repository are damaged.
    WithDamage,
    /// Nobody reads the output any more.
    Unread,
}

impl Done {
    /// What the process ends with; 141 is what a shell reports of a process that wrote to a closed pipe.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Fully => 0,
            Self::WithFindings => 3,
            Self::WithDamage => ErrorKind::Damaged.exit_code(),
            Self::Unread => 141,
        })
    }
}

/// Why a command failed, and what helps.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    hint: Option<String>,
}

/// Result of a command or a step of it.
pub type Outcome<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, hint: None }
    }
}

/// Adds a hint to errors of one kind.
pub trait Hint<T> {
    /// Says what helps against errors of this kind.
    fn hint(self, kind: ErrorKind, hint: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Hint<T> for std::result::Result<T, E> {
    fn hint(self, kind: ErrorKind, hint: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|error| {
            let failure: Failure = error.into();
            let is_meant = failure.error.kind() == kind && failure.hint.is_none();
            if is_meant { Failure { hint: Some(hint()), ..failure } } else { failure }
        })
    }
}

/// Says why a command failed, and gives the exit code.
pub fn fail(failure: Failure, interruption: &Interruption) -> ExitCode {
    let Failure { mut error, hint } = failure;
    // What was being done fails in some way or other once it is told to stop.
    if interruption.is_requested() && error.kind() != ErrorKind::Interrupted {
        error = error.of_kind(ErrorKind::Interrupted).while_doing("interrupted");
    }
    say(&lines(&error, hint.as_deref()).join("\n"));
    ExitCode::from(error.kind().exit_code())
}

fn lines(error: &Error, hint: Option<&str>) -> Vec<String> {
    let titles = std::iter::once("error").chain(std::iter::repeat("caused by"));
    let causes = titles.zip(error.chain()).map(|(title, message)| format!("{title}: {message}"));
    let general = match error.kind() {
        ErrorKind::Unsupported => {
            let version = env!("CARGO_PKG_VERSION");
            Some(format!("this is packstone {version}; the repository needs a newer or another program"))
        }
        ErrorKind::OutOfDescriptors => Some(
            "a backup holds one open file for each level of directories; \"ulimit -Hn\" shows the limit"
                .into(),
        ),
        _ => None,
    };
    let hint = hint.map(str::to_owned).or(general);
    causes.chain(hint.map(|hint| format!("hint: {hint}"))).collect()
}

/// Says that an error did not stop the work.
pub fn error_aside(error: &Error) {
    say(&lines(error, None).join("\n"));
}

/// Says a problem that does not stop the work.
pub fn warn(text: &str) {
    say(&format!("warning: {text}"));
}

/// Prints a line on the standard error.
pub fn say(line: &str) {
    // There is nobody to tell.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Prints a line of a summary on the standard output. What it sums up is done, whether anybody reads it or not.
pub fn sum_up(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Prints help, the version, or why the arguments make no sense.
pub fn refuse(refusal: &clap::Error) -> ExitCode {
    drop(refusal.print());
    ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(ErrorKind::Usage.exit_code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_causes_and_what_helps() {
        let error = Error::new(ErrorKind::NotFound, "no such object").while_doing("cannot read x");
        let failed: Result<(), Error> = Err(error);
        let failure = failed
            .hint(ErrorKind::Exists, || "not meant".into())
            .hint(ErrorKind::NotFound, || "look elsewhere".into())
            .hint(ErrorKind::NotFound, || "come second".into())
            .expect_err("it failed");
        let expected = ["error: cannot read x", "caused by: no such object", "hint: look elsewhere"];
        assert_eq!(lines(&failure.error, failure.hint.as_deref()), expected);
    }
}
