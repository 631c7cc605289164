//! Any command whose output is worth keeping: `docker save`, `gitea dump`, a script.
//!
//! What must hold: its output counts as whole only if the command succeeded, wrote something and, where that is said,
//! ended as it must; what takes it back reads all of it.

use super::Container;
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::{Completeness, EndsWith, NotEmpty, Program};
use crate::source::{Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};

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
    /// The user as whom it runs: of the container, or of this machine.
    pub run_as: Option<String>,
    /// What its output must end with, white space at the end apart, to be whole.
    pub ends_with: Option<String>,
    /// The program, and its arguments, that takes the output back.
    pub restore_command: Vec<String>,
}

impl AnyCommand {
    fn program(&self, command: &[String], listener: &Listener) -> Result<Program> {
        let [name, arguments @ ..] = command else {
            return Err(Error::new(ErrorKind::Usage, "no command is given"));
        };
        let program = Program::of_command(name, self.container.as_ref(), self.run_as.as_deref(), listener);
        let program = program.arguments(arguments);
        Ok(self.environment.iter().fold(program, |program, (name, value)| program.secret(name, value)))
    }
}

impl Engine for AnyCommand {
    fn kind(&self) -> &'static str {
        "command"
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let program = self.program(&self.command, listener)?;
        let shown = program.shown();
        let failed = format!("cannot take the output of {shown}");
        let whole: Box<dyn Completeness> = match &self.ends_with {
            Some(text) => Box::new(EndsWith::text(&shown, text)),
            None => Box::new(NotEmpty),
        };
        let open = Box::new(move || program.open(&failed, whole));
        let dump = Dump { name: self.file_name.clone(), metadata: None, open };
        let consistency = format!("as {shown} makes it");
        Ok(Dumps { consistency, dumps: vec![dump], problems: Vec::new(), end: None })
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        if !options.databases.is_empty() || options.new_name.is_some() {
            let message = "a command takes back what it wrote, under no other name and in no parts";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let name = show_path(self.file_name.as_bytes());
        if !stored.iter().any(|dump| dump.name == self.file_name) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no dump {name}")));
        }
        if self.restore_command.is_empty() {
            let message = format!("no command is given that takes {name} back");
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let program = self.program(&self.restore_command, listener)?;
        let shown = program.shown();
        let (may_replace, replaces) = (options.may_replace, format!("whatever {shown} replaces"));
        let refused = replaces.clone();
        let step = LoadStep {
            what: format!("give {name} to {shown}"),
            dump: Some(self.file_name.clone()),
            run: Box::new(move |feed| {
                if !may_replace {
                    return Err(Error::new(ErrorKind::Exists, format!("{refused} is not to be replaced")));
                }
                program.feed(feed).wrap(|| format!("cannot give {name} to {shown}"))
            }),
        };
        Ok(LoadPlan { steps: vec![step], replaced: vec![replaces] })
    }
}
