//! The embedded default: the repository of a user who named none.
//!
//! What must hold: it is made by the first backup alone, with a key file that nobody else may read, and the user is
//! told where both are; an existing key is never replaced; of two first backups at the same time both succeed, into
//! one repository.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result};
use packstone::storage::location::Location;

use crate::context::Context;
use crate::credentials::{self, Obtained, Purpose};
use crate::environment::Environment;
use crate::folders::Folder;
use crate::open::{self, Opened, Place};
use crate::{create, key_file, report};

/// Where the default repository and its key are.
#[derive(Debug, PartialEq, Eq)]
pub struct DefaultPlaces {
    /// The repository's directory.
    pub repository: PathBuf,
    /// What opens it.
    pub key_file: PathBuf,
}

impl DefaultPlaces {
    /// The repository's location.
    pub fn location(&self) -> Location {
        Location::Local(self.repository.clone())
    }
}

/// Says where they are. `Usage` if the environment names no home.
pub fn places(environment: &Environment) -> Result<DefaultPlaces> {
    let folders = Folder::Data.of_program(environment).zip(Folder::Config.of_program(environment));
    let (data, config) = folders.ok_or_else(|| {
        let message = "no repository was named, and without HOME there is no default: use --repository or \
                       PACKSTONE_REPOSITORY";
        Error::new(ErrorKind::Usage, message)
    })?;
    Ok(DefaultPlaces { repository: data.join("repository"), key_file: config.join("key") })
}

/// Opens the default repository. `NoRepository` if there is none.
pub fn open(context: &Context, places: &DefaultPlaces) -> Result<Opened> {
    let location = places.location();
    let found = open::find(context, &location)?;
    let obtained = obtain(context, places, Purpose::Open)?;
    open::open_with(context, found, location, obtained)
}

/// Opens the default repository, which is made if there is none.
pub fn open_or_create(context: &Context, places: &DefaultPlaces) -> Result<Opened> {
    match open(context, places) {
        Err(error) if error.kind() == ErrorKind::NoRepository => {}
        other => return other,
    }
    let obtained = obtain(context, places, Purpose::Create)?;
    match create::create(context, &places.location(), &obtained) {
        Ok(_) => announce(places, &obtained),
        // Another first backup was faster.
        Err(error)
            if error.kind() == ErrorKind::Exists && open::find(context, &places.location()).is_ok() => {}
        Err(error) => return Err(error),
    }
    open(context, places)
}

/// What the user named, else the key file in its place, which is made when a repository is.
fn obtain(context: &Context, places: &DefaultPlaces, purpose: Purpose) -> Result<Obtained> {
    if credentials::choose(&context.global, &context.environment)?.is_some() {
        return credentials::obtain(context, purpose);
    }
    if purpose == Purpose::Create {
        match key_file::create_with_folder(&places.key_file) {
            // One that is there, from an earlier time or a faster program, is the one to use.
            Err(error) if error.kind() == ErrorKind::Exists => {}
            other => other?,
        }
    }
    key_file::obtain(&places.key_file).map_err(|error| {
        if error.kind() != ErrorKind::NotFound {
            return error;
        }
        let message = format!("the default repository at {} needs its key file", show(&places.repository));
        error.of_kind(ErrorKind::WrongKey).while_doing(message)
    })
}

/// After the key slot in use was removed: what opens the default repository by itself was its key file, if nothing else
/// was named.
pub fn warn_of_old_key_file(context: &Context) -> Result<()> {
    if let Place::Default(places) = open::place(context)?
        && credentials::choose(&context.global, &context.environment)?.is_none()
    {
        report::warn(&format!(
            "later commands go on trying the key file {} unless another key or a password is named",
            show(&places.key_file)
        ));
    }
    Ok(())
}

fn announce(places: &DefaultPlaces, obtained: &Obtained) {
    report::say(&format!(
        "No repository was named, so one was made in your home directory. Later commands find it by themselves.
  repository: {}
  opened by:  {}
Without the latter nobody can read the backups, you included: keep a copy of it on another machine or on paper.
A disk that breaks takes a repository on it along: \"packstone -r LOCATION repo init\" makes one elsewhere.",
        show(&places.repository),
        obtained.name
    ));
}

fn show(path: &Path) -> String {
    show_path(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;

    #[test]
    fn the_default_lies_in_the_home_directory() {
        let found = places(&environment(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")])).expect("places");
        let expected = DefaultPlaces {
            repository: "/h/.local/share/packstone/repository".into(),
            key_file: "/c/packstone/key".into(),
        };
        assert_eq!(found, expected);
        assert_eq!(places(&environment(&[])).expect_err("no home").kind(), ErrorKind::Usage);
    }
}
