//! Clients of servers, and other programs: how one is started, on this machine or in a container, and what is said when
//! it fails.
//!
//! What must hold: a secret is never among the arguments, of the program or of what reaches the container: it goes by
//! the environment, or by a file that is in memory alone; no program gets the secrets of this one's own repository
//! or of its storage; a program that failed is never taken for one that succeeded, and its own words are in the error.
//!
//! What is killed of a program in a container is `docker exec`: the program itself then has no output and no input any
//! more, and ends when it writes or reads.

mod messages;
mod passed_on;
mod pipes;
mod secret;
mod whole;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uzers::os::unix::UserExt;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::engine::{Access, Container, Password};
use crate::source::{CommandStream, Limit, Listener, OpenDump};

use messages::LastLines;
use pipes::{Input, Shared, UntilEnd, Watched};

pub use pipes::ReadBy;
pub use secret::SecretFile;
pub use whole::{Completeness, EndsWith, NotEmpty, Tail};

/// The variables that hold a secret of this program's own, which no other program is given.
pub const OWN_SECRETS: [&str; 2] = ["PACKSTONE_PASSWORD", "PACKSTONE_FROM_PASSWORD"];
/// Most that is taken of an answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Longest time that an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(600);
/// Starts a program as a user with all groups of that user; of util-linux, as `runuser`.
const SETPRIV: &str = "setpriv";
/// In a container: gives its own variable the name that the program reads, then becomes the program.
const WITH_CONTAINER_PASSWORD: &str = r#"export NEEDED="${VARIABLE?}"; exec "$@""#;

/// A program that is to run.
#[derive(Clone)]
pub struct Program {
    name: String,
    arguments: Vec<OsString>,
    variables: Vec<(String, String)>,
    secrets: Vec<(String, Password)>,
    removed: Vec<&'static str>,
    password: Option<Password>,
    /// Held for as long as the program may run.
    files: Vec<SecretFile>,
    container: Option<Container>,
    /// A script for the shell of the container, which becomes the program.
    container_script: Option<String>,
    run_as: Option<String>,
    folder: Option<String>,
    listener: Listener,
}

impl Program {
    /// A client of a server: where it runs is said by `access`. Its messages are in English, so that they are
    /// recognised.
    pub fn client(name: &str, access: &Access, listener: &Listener) -> Self {
        let program = Self {
            folder: access.programs.clone(),
            password: access.password.clone(),
            ..Self::of_command(name, access.container.as_ref(), access.run_as.as_deref(), listener)
        };
        program.variable("LC_ALL", "C")
    }

    /// Any program, in a container or on this machine, as another user or as this one. The listener is told each line
    /// of its messages, and can end it.
    pub fn of_command(
        name: &str,
        container: Option<&Container>,
        run_as: Option<&str>,
        listener: &Listener,
    ) -> Self {
        Self {
            name: name.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            secrets: Vec::new(),
            removed: OWN_SECRETS.to_vec(),
            password: None,
            files: Vec::new(),
            container: container.cloned(),
            container_script: None,
            run_as: run_as.map(str::to_owned),
            folder: None,
            listener: listener.clone(),
        }
    }

    /// Adds an argument. It can be seen by everybody on the machine: never a secret.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable, which anybody may see.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable, unless this process has it and passes it on.
    #[must_use]
    pub fn variable_unless_set(self, name: &str, value: &str) -> Self {
        let is_passed_on = self.container.is_none() && self.run_as.is_none() && passed_on::is_set(name);
        if is_passed_on { self } else { self.variable(name, value) }
    }

    /// Sets a variable that only the program's own user may see.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &Password) -> Self {
        self.secrets.push((name.to_owned(), value.clone()));
        self
    }

    /// Takes care that a variable of this process does not reach it.
    #[must_use]
    pub fn without(mut self, name: &'static str) -> Self {
        self.removed.push(name);
        self
    }

    /// Sets a variable to the password of `access`, or in a container to the variable that it has there.
    pub fn password(self, name: &str, access: &Access) -> Result<Self> {
        match (&access.password, &access.container_password) {
            (Some(password), _) => Ok(self.secret(name, password)),
            (None, Some(_)) if self.container.is_none() => {
                let message = "a variable of a container is named, but no container";
                Err(Error::new(ErrorKind::Usage, message))
            }
            (None, Some(variable)) => {
                let script = with_variable(WITH_CONTAINER_PASSWORD, variable)?.replace("NEEDED", name);
                Ok(self.in_shell(&script))
            }
            (None, None) => Ok(self),
        }
    }

    /// Lets the shell of the container run a script that becomes the program, which are its `"$@"`. On this machine
    /// there is none.
    #[must_use]
    pub fn in_shell(mut self, script: &str) -> Self {
        self.container_script = Some(script.to_owned());
        self
    }

    /// Holds a file that an argument or a variable names, for as long as the program may run.
    #[must_use]
    pub fn holding(mut self, file: &SecretFile) -> Self {
        self.files.push(file.clone());
        self
    }

    /// How messages name it: with its container, never with its arguments.
    pub fn shown(&self) -> String {
        let name = show_path(self.name.as_bytes());
        match &self.container {
            Some(container) => format!("{name} in the container {}", show_path(container.name.as_bytes())),
            None => name,
        }
    }

    /// Runs it without input, and gives what it writes, which must come within ten minutes.
    pub fn capture(&self) -> Result<Vec<u8>> {
        self.capture_within(ANSWER_LIMIT)
    }

    fn capture_within(&self, longest: Duration) -> Result<Vec<u8>> {
        let (mut stream, lines) = self.start(Stdio::null(), Stdio::piped())?;
        let stopper = stream.stopper();
        let limit = Limit::start(longest, Arc::new(move || stopper.stop()))?;
        let mut answer = Vec::new();
        let read = (&mut stream).take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        read.wrap(|| format!("cannot read the output of {}", self.shown()))?;
        let ended = stream.finish();
        if limit.is_over() {
            let seconds = longest.as_secs();
            let message = format!("{} gave no answer within {seconds} seconds", self.shown());
            return Err(lines.explain(&Error::new(ErrorKind::Failed, message)));
        }
        ended.map_err(|error| lines.explain(&error))?;
        Ok(answer)
    }

    /// Runs it without input, and gives the text that it writes.
    pub fn capture_text(&self) -> Result<String> {
        let answer = String::from_utf8(self.capture()?);
        answer.map_err(|_| Error::new(ErrorKind::Failed, format!("{} wrote what is no text", self.shown())))
    }

    /// Starts it without input; what it writes is a dump, if the program succeeds and `completeness` finds it whole.
    /// `failed` says what cannot be done, if not.
    pub fn open(&self, failed: &str, completeness: impl Completeness + 'static) -> Result<OpenDump> {
        let (stream, lines) = self.start(Stdio::null(), Stdio::piped()).wrap(|| failed)?;
        let stoppers = [Some(stream.stopper()), completeness.stopper()];
        let watched = Watched { stream, completeness: Box::new(completeness), is_empty: true };
        let shared = Shared(Arc::new(Mutex::new(Some(watched))));
        let (of_end, failed, shown, files) =
            (shared.clone(), failed.to_owned(), self.shown(), self.files.clone());
        let end = move || {
            let ended = of_end.let_go().map_or_else(
                || Err(Error::new(ErrorKind::Failed, "it has ended already")),
                |watched| watched.finish(&shown, &lines),
            );
            drop(files);
            ended.wrap(|| failed)
        };
        let stop = move || stoppers.iter().flatten().for_each(|stopper| stopper.stop());
        Ok(OpenDump { reader: Box::new(shared), end: Box::new(end), stop: Box::new(stop) })
    }

    /// Runs it and lets `write` write its input; what it writes itself is of no interest.
    ///
    /// If the program fails, that is the error, even if writing failed as well, because nobody read any more.
    pub fn feed(&self, write: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let (mut stream, lines) = self.start(Stdio::piped(), Stdio::null())?;
        let mut input = self.input(&mut stream)?;
        let written = write(&mut input);
        if written.is_err() && !input.is_closed {
            // The program is killed: it must not take what it got so far for all.
            drop(stream);
            return written.wrap(|| format!("{} was not given everything", self.shown()));
        }
        let mut rest = input.end().wrap(|| format!("cannot write the input of {}", self.shown()))?;
        stream.finish().map_err(|error| lines.explain(&error))?;
        if rest.is_left() { Err(self.unread(&lines)) } else { written }
    }

    /// Runs it, lets `write` write its input and, in a thread of its own, `take` read its output. That the program
    /// fails, `take` is told by an error of the last read.
    pub fn feed_through(
        &self,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
        take: impl FnOnce(&mut dyn Read) -> Result<()> + Send,
    ) -> Result<()> {
        let (mut stream, lines) = self.start(Stdio::piped(), Stdio::piped())?;
        let mut input = self.input(&mut stream)?;
        let stopper = stream.stopper();
        let mut output = UntilEnd { stream: Some(stream), lines: lines.clone() };
        std::thread::scope(|scope| {
            let taking = scope.spawn(move || take(&mut output));
            let written = write(&mut input);
            let was_closed = input.is_closed;
            if written.is_err() && !was_closed {
                stopper.stop();
            }
            let rest = input.end().wrap(|| format!("cannot write the input of {}", self.shown()));
            let panicked = || Error::new(ErrorKind::Failed, "a thread ended unexpectedly");
            let taken = taking.join().unwrap_or_else(|_| Err(panicked()));
            if written.is_err() && !was_closed {
                return written.wrap(|| format!("{} was not given everything", self.shown()));
            }
            taken?;
            if rest?.is_left() { Err(self.unread(&lines)) } else { written }
        })
    }

    /// The input of the program once it runs.
    fn input(&self, stream: &mut CommandStream) -> Result<Input> {
        let no_pipe = || Error::new(ErrorKind::Failed, format!("{} has no input", self.shown()));
        Ok(Input { pipe: stream.take_input().ok_or_else(no_pipe)?, is_closed: false })
    }

    fn unread(&self, lines: &LastLines) -> Error {
        let message = format!("{} succeeded without reading all that it was given", self.shown());
        lines.explain(&Error::new(ErrorKind::Failed, message))
    }

    /// Runs it without input and output.
    pub fn run(&self) -> Result<()> {
        let (stream, lines) = self.start(Stdio::null(), Stdio::null())?;
        stream.finish().map_err(|error| lines.explain(&error))
    }

    /// Starts it, its messages being told and kept.
    fn start(&self, input: Stdio, output: Stdio) -> Result<(CommandStream, LastLines)> {
        let mut command = self.command()?;
        let is_by_setpriv = command.get_program() == SETPRIV && self.name != SETPRIV;
        command.stdin(input).stdout(output);
        let lines = LastLines::default();
        let secrets = self.secrets.iter().map(|(_, secret)| secret).chain(&self.password).cloned().collect();
        let keeper = lines.keeper(&self.listener, secrets);
        let started = CommandStream::of(&mut command, self.shown(), keeper);
        let started = started.map_err(|error| match error.kind() {
            ErrorKind::NotFound if is_by_setpriv => {
                let message = format!(
                    "there is no program {SETPRIV} on this machine, which another user's groups need"
                );
                Error::new(ErrorKind::NotFound, message)
            }
            ErrorKind::NotFound => self.not_there(),
            // Where another user may not look for it, it counts as denied.
            _ if !passed_on::has_program(command.get_program()) => self.not_there(),
            _ => error,
        });
        Ok((started?.ended_by(self.listener.stops()), lines))
    }

    fn not_there(&self) -> Error {
        let (name, place) = match (&self.container, &self.folder) {
            (Some(container), _) => (&container.program, "on this machine".to_owned()),
            (None, Some(folder)) => (&self.name, format!("in the folder {}", show_path(folder.as_bytes()))),
            (None, None) => (&self.name, "on this machine".to_owned()),
        };
        let message = format!("there is no program {} {place}", show_path(name.as_bytes()));
        Error::new(ErrorKind::NotFound, message)
    }

    /// The program as the system starts it.
    pub(super) fn command(&self) -> Result<Command> {
        let mut command = match &self.container {
            Some(container) => {
                let mut command = Command::new(&container.program);
                self.withhold(&mut command);
                command.args(self.container_arguments(container));
                command
            }
            None => {
                let program = match &self.folder {
                    Some(folder) => std::path::Path::new(folder).join(&self.name).into(),
                    None => OsString::from(&self.name),
                };
                let mut command = self.as_user(program)?;
                self.withhold(&mut command);
                command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
                command
            }
        };
        command.envs(self.secrets.iter().map(|(name, value)| (name, value.expose())));
        Ok(command)
    }

    /// Keeps from it what of this process's environment it is not to have.
    fn withhold(&self, command: &mut Command) {
        for name in passed_on::own(self.listener.withheld()) {
            command.env_remove(name);
        }
        for name in &self.removed {
            command.env_remove(name);
        }
    }

    /// What `docker` or `podman` is told: secrets by the names of variables, whose values it takes from its own
    /// environment.
    fn container_arguments(&self, container: &Container) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["exec", "-i"].map(OsString::from).into();
        if let Some(user) = &self.run_as {
            arguments.extend(["-u".into(), user.into()]);
        }
        for (name, value) in &self.variables {
            arguments.extend(["--env".into(), format!("{name}={value}").into()]);
        }
        for (name, _) in &self.secrets {
            arguments.extend(["--env".into(), name.into()]);
        }
        arguments.push(OsString::from(&container.name));
        if let Some(script) = &self.container_script {
            arguments.extend(["sh", "-c", script, "sh"].map(OsString::from));
        }
        arguments.push(OsString::from(&self.name));
        arguments.extend_from_slice(&self.arguments);
        arguments
    }

    /// The program as the user starts it as whom it is to run, with all groups of that user.
    fn as_user(&self, program: OsString) -> Result<Command> {
        let Some(name) = &self.run_as else { return Ok(Command::new(program)) };
        let no_user = || Error::new(ErrorKind::NotFound, format!("this machine has no user {name}"));
        let user = uzers::get_user_by_name(name).ok_or_else(no_user)?;
        let is_other = user.uid() != uzers::get_effective_uid();
        if is_other && uzers::get_effective_uid() != 0 {
            let message = format!("only root can run {} as the user {name}", self.shown());
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let group = user.primary_group_id();
        let groups = uzers::get_user_groups(name, group).unwrap_or_default();
        let has_more = is_other && groups.iter().any(|other| other.gid() != group);
        // One that is not there is better missed by this process, which can say so.
        let mut command = if has_more && passed_on::has_program(&program) {
            // The standard library cannot give a process more than one group.
            let mut command = Command::new(SETPRIV);
            command.arg(format!("--reuid={}", user.uid())).arg(format!("--regid={group}"));
            command.args(["--init-groups", "--"]).arg(program);
            command
        } else {
            let mut command = Command::new(program);
            if is_other {
                command.uid(user.uid()).gid(group);
            }
            command
        };
        // Variables of this process may be secrets of its user's, or change what a program does.
        command.env_clear().envs(passed_on::of_anybody());
        command.env("HOME", user.home_dir()).env("USER", name).env("LOGNAME", name);
        if is_other {
            // As `runuser` does it. The user may not be allowed to stay where this process is.
            command.current_dir("/");
        }
        Ok(command)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Program({})", self.shown())
    }
}

/// Whether clients of this access can read a `SecretFile`: they run on this machine, as the user of this process.
pub fn reads_secret_files(access: &Access) -> bool {
    let current = uzers::get_user_by_uid(uzers::get_effective_uid());
    let is_other =
        |name: &String| current.as_ref().is_none_or(|user| user.name() != OsStr::from_bytes(name.as_bytes()));
    access.container.is_none() && !access.run_as.as_ref().is_some_and(is_other) && SecretFile::can_be_opened()
}

/// A script in which the name of a variable of the container takes the place of `VARIABLE`.
pub(super) fn with_variable(script: &str, variable: &str) -> Result<String> {
    let mut characters = variable.chars();
    let begins_well = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !begins_well || !characters.all(|character| character.is_ascii_alphanumeric() || character == '_') {
        let message = format!("{variable:?} is no name of a variable");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    Ok(script.replace("VARIABLE", variable))
}

#[cfg(test)]
mod tests;
