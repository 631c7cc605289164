//! The password or the key that a new key slot opens with: a flag, else a question on the terminal.
//!
//! What must hold: a new key is on the disk before anything is sealed for it; an existing key file is used as it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind};
use packstone::crypto::slot::Credential;

use crate::context::Context;
use crate::credentials::{self, Obtained, Purpose, Source};
use crate::key_file;
use crate::report::{Hint, Outcome, sum_up};

/// Where the new password or key is; asked for on the terminal where none is given.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct NewCredential {
    /// Take the new password from the first line of a file
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Take the new password from the first line that a shell command prints
    #[arg(long, value_name = "COMMAND")]
    new_password_command: Option<OsString>,
    /// Use this key file; where there is none, make one of random bytes
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

impl NewCredential {
    /// Gets it. `Usage` if it is the one by which the repository was opened.
    pub fn obtain(&self, context: &Context, current: &Obtained) -> Outcome<Obtained> {
        let mut source = None;
        if let Some(file) = &self.new_key_file {
            make_if_missing(file, context)?;
            source = Some(Source::KeyFile(file.clone()));
        } else if let Some(file) = &self.new_password_file {
            source = Some(Source::PasswordFile(file.clone()));
        } else if let Some(command) = &self.new_password_command {
            source = Some(Source::PasswordCommand(command.clone()));
        }
        let is_password = !matches!(source, Some(Source::KeyFile(_)));
        let new = credentials::take(source, context, Purpose::Add);
        let new = if is_password {
            new.hint(ErrorKind::NotFound, || "the file must hold the new password in its first line".into())?
        } else {
            new?
        };
        if is_same(&new.credential, &current.credential) {
            let message = format!("{} is what opens the repository now: give another one", new.name);
            return Err(Error::new(ErrorKind::Usage, message).into());
        }
        Ok(new)
    }
}

fn make_if_missing(file: &Path, context: &Context) -> Outcome<()> {
    // A link that leads nowhere is there, and nothing is made in its place.
    if file.symlink_metadata().is_ok() {
        return Ok(());
    }
    match key_file::create(file) {
        Err(error) if error.kind() == ErrorKind::Exists => {}
        made => {
            made?;
            if !context.global.quiet {
                sum_up(&format!("key file {} made: keep a copy in another place", show_file(file)));
            }
        }
    }
    Ok(())
}

fn is_same(one: &Credential, other: &Credential) -> bool {
    match (one, other) {
        (Credential::Password(one), Credential::Password(other)) => one == other,
        (Credential::KeyFile(one), Credential::KeyFile(other)) => one == other,
        _ => false,
    }
}
