//! The other repository of a command that has two: where it is, and what opens it.
//!
//! What must hold: its flags and variables are those of the repository that is meant, with "from" in them, and mean the
//! same; neither is taken for the other.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use packstone::base::{Error, ErrorKind};

use crate::context::Context;
use crate::credentials::{self, Source};
use crate::environment;
use crate::open::{self, Opened};
use crate::report::Outcome;

/// Where the other repository is, and what opens it.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "The other repository")]
pub struct Other {
    /// Where the other repository is
    #[arg(long, alias = "from-repo", value_name = "LOCATION")]
    from: Option<OsString>,
    /// Take its password from the first line of a file
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// Take its password from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND")]
    from_password_command: Option<OsString>,
    /// Open it by a key file
    #[arg(long, value_name = "FILE")]
    from_key_file: Option<PathBuf>,
}

impl Other {
    /// Whether a flag names it.
    pub const fn is_named(&self) -> bool {
        self.from.is_some()
    }

    /// Opens it, if a flag names it. `Usage` for other flags without that.
    pub fn open_if_named(&self, context: &Context) -> Outcome<Option<Opened>> {
        match &self.from {
            Some(location) => Ok(Some(open::open_other(context, location, self.credential(context)?)?)),
            None if self.has_credential() => {
                let message = "what opens the other repository was given, but not where it is: use --from";
                Err(Error::new(ErrorKind::Usage, message).into())
            }
            None => Ok(None),
        }
    }

    /// Opens it; a flag or a variable must name it.
    pub fn open(&self, context: &Context) -> Outcome<Opened> {
        let named = self.from.as_deref().or_else(|| context.environment.get(environment::FROM_REPOSITORY));
        let location = named.ok_or_else(|| {
            let message = "no repository to copy from was named: use --from or PACKSTONE_FROM_REPOSITORY";
            Error::new(ErrorKind::Usage, message)
        })?;
        open::open_other(context, location, self.credential(context)?)
    }

    const fn has_credential(&self) -> bool {
        self.from_password_file.is_some()
            || self.from_password_command.is_some()
            || self.from_key_file.is_some()
    }

    fn credential(&self, context: &Context) -> Outcome<Option<Source>> {
        let flags = [
            self.from_password_file.clone().map(|file| ("--from-password-file", Source::PasswordFile(file))),
            self.from_password_command
                .clone()
                .map(|command| ("--from-password-command", Source::PasswordCommand(command))),
            self.from_key_file.clone().map(|file| ("--from-key-file", Source::KeyFile(file))),
        ];
        let variables = [
            environment::FROM_PASSWORD,
            environment::FROM_PASSWORD_FILE,
            environment::FROM_PASSWORD_COMMAND,
            environment::FROM_KEY_FILE,
        ];
        Ok(credentials::choose_among(flags, variables, &context.environment)?)
    }
}
