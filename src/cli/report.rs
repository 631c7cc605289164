//! How a command ends: its exit code, and on the standard error what went wrong, why, and what helps.
//!
//! What must hold: a hint is given only where it is true; nothing here panics, whatever became of the terminal; with
//! `--json` every line of this program, on either stream, is a JSON document.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use packstone::base::{Error, ErrorKind, Result, Wrap};
use serde::Serialize;

use crate::args::Global;
use crate::interruption::Interruption;
use crate::json::{self, ErrorLine, ExitError, Message};

/// Whether lines are JSON. The form belongs to the streams of the process, of which there are two, and is chosen once,
/// before the first line.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Makes every line from now on one of JSON.
pub fn use_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Whether lines are JSON.
pub fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

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

impl Failure {
    /// What went wrong, and all causes of it.
    pub fn chain(&self) -> Vec<String> {
        self.error.chain()
    }

    /// Kind of its error.
    pub const fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// The same, with another hint.
    pub fn with_hint(self, hint: String) -> Self {
        Self { hint: Some(hint), ..self }
    }

    /// The same, with what was being done.
    pub fn while_doing(self, what: String) -> Self {
        Self { error: self.error.while_doing(what), ..self }
    }
}

/// Result of a command or a step of it.
pub type Outcome<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, hint: None }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
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
    let code = error.kind().exit_code();
    let hint = hint.or_else(|| general_hint(error.kind()));
    if is_json() {
        print_error(&json::line(&ExitError::new(code, error.chain(), hint)));
    } else {
        print_error(&lines(&error, hint.as_deref()).join("\n"));
    }
    ExitCode::from(code)
}

/// Says that the process ends at once because it was told to.
pub fn fail_interrupted() {
    const MESSAGE: &str = "interrupted";
    if is_json() {
        let code = ErrorKind::Interrupted.exit_code();
        print_error(&json::line(&ExitError::new(code, vec![MESSAGE.to_owned()], None)));
    } else {
        print_error(MESSAGE);
    }
}

/// What helps against any error of a kind.
fn general_hint(kind: ErrorKind) -> Option<String> {
    match kind {
        ErrorKind::Unsupported => {
            let version = env!("CARGO_PKG_VERSION");
            Some(format!("this is packstone {version}; the repository needs a newer or another program"))
        }
        ErrorKind::Unreachable => Some("run the same again once the storage answers".into()),
        ErrorKind::Frozen => Some(
            "\"packstone restore SNAP[:PATH] -t DIR --thaw\" asks for the packs that are needed, and writes nothing before \
             they can be read"
                .into(),
        ),
        ErrorKind::OutOfDescriptors => Some(
            "a backup holds one open file for each level of directories; \"ulimit -Hn\" shows the limit"
                .into(),
        ),
        _ => None,
    }
}

fn lines(error: &Error, hint: Option<&str>) -> Vec<String> {
    let titles = std::iter::once("error").chain(std::iter::repeat("caused by"));
    let causes = titles.zip(error.chain()).map(|(title, message)| format!("{title}: {message}"));
    causes.chain(hint.map(|hint| format!("hint: {hint}"))).collect()
}

/// Says that an error of one item did not stop the work.
pub fn error_aside(error: &Error, during: &str, item: &str) {
    if is_json() {
        print_error(&json::line(&ErrorLine::of_error(error, during, item.to_owned())));
    } else {
        print_error(&lines(error, general_hint(error.kind()).as_deref()).join("\n"));
    }
}

/// Says why one item failed, and what helps, while the work goes on with others.
pub fn failure_aside(failure: &Failure, during: &str, item: &str) {
    if is_json() {
        return error_aside(&failure.error, during, item);
    }
    let hint = failure.hint.clone().or_else(|| general_hint(failure.kind()));
    print_error(&lines(&failure.error, hint.as_deref()).join("\n"));
}

/// Says a problem that does not stop the work.
pub fn warn(text: &str) {
    if is_json() {
        print_error(&json::line(&Message::warning(text)));
    } else {
        print_error(&format!("warning: {text}"));
    }
}

/// Says something that must be known, of one or more lines.
pub fn say(text: &str) {
    if is_json() {
        print_error(&json::line(&Message::note(text)));
    } else {
        print_error(text);
    }
}

/// Prints a document that nobody waits for on the standard error.
pub fn tell(document: &impl Serialize) {
    print_error(&json::line(document));
}

fn print_error(line: &str) {
    // There is nobody to tell.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Whether somebody can be asked.
pub fn can_ask() -> bool {
    !is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks on a terminal; elsewhere nobody agrees.
pub fn agrees(question: &str) -> Result<bool> {
    if !can_ask() {
        return Ok(false);
    }
    write!(std::io::stderr(), "{question} Type yes: ").wrap(|| "cannot ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).wrap(|| "cannot read the answer")?;
    Ok(answer.trim() == "yes")
}

/// Prints a line of a summary on the standard output. What it sums up is done, whether anybody reads it or not. With
/// `--json` it is a note, for the standard output is for what a program waits for.
pub fn sum_up(line: &str) {
    if is_json() {
        print_error(&json::line(&Message::note(line)));
    } else {
        print_output(line);
    }
}

/// Prints what a command did: as one JSON document if that was asked for, else as lines, which `--quiet` leaves out.
pub fn conclude<J: Serialize>(
    global: &Global,
    lines: impl FnOnce() -> Vec<String>,
    document: impl FnOnce() -> J,
) {
    if is_json() {
        print_output(&json::line(&document()));
    } else if !global.quiet {
        lines().iter().for_each(|line| sum_up(line));
    }
}

/// Prints a document of several that a command with `--json` prints before its last.
pub fn print_document(document: &impl Serialize) {
    print_output(&json::line(document));
}

fn print_output(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Prints help, the version, or why the arguments make no sense.
pub fn refuse(refusal: &clap::Error) -> ExitCode {
    let code = u8::try_from(refusal.exit_code()).unwrap_or(ErrorKind::Usage.exit_code());
    if is_json() && refusal.use_stderr() {
        print_error(&json::line(&of_refusal(code, refusal)));
    } else {
        drop(refusal.print());
    }
    ExitCode::from(code)
}

/// The first paragraph says what is wrong; of the others only the advice is worth keeping.
fn of_refusal(code: u8, refusal: &clap::Error) -> ExitError {
    let text = match refusal.kind() {
        clap::error::ErrorKind::MissingSubcommand
        | clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            "no command was given".to_owned()
        }
        _ => refusal.to_string(),
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let first = words(text.split("\n\n").next().unwrap_or_default());
    let message = first.strip_prefix("error: ").unwrap_or(&first).to_owned();
    let hint = "\"packstone --help\" and \"packstone COMMAND --help\" tell what can be given";
    ExitError::new(code, vec![message], Some(hint.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_its_causes_and_what_helps() {
        let error = Error::new(ErrorKind::NotFound, "no such object").while_doing("cannot read x");
        let failed: Result<()> = Err(error);
        let failure = failed
            .hint(ErrorKind::Exists, || "not meant".into())
            .hint(ErrorKind::NotFound, || "look elsewhere".into())
            .hint(ErrorKind::NotFound, || "come second".into())
            .expect_err("it failed");
        let expected = ["error: cannot read x", "caused by: no such object", "hint: look elsewhere"];
        assert_eq!(lines(&failure.error, failure.hint.as_deref()), expected);
    }
}
