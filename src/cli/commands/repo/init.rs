//! `packstone repo init`: makes a repository.

use clap::Args;
use packstone::base::{Error, ErrorKind};

use crate::context::Context;
use crate::credentials::{self, Purpose, Source};
use crate::json::Initialized;
use crate::open::{self, Place};
use crate::other::Other;
use crate::report::{Done, Hint, Outcome, conclude};
use crate::{create, show};

const AFTER_HELP: &str = "\
The repository opens with the password or the key file that is given here; without one, a password is asked for on \
the terminal. Whoever loses it loses the backups.

With --from the new repository is a sibling of another: both give equal content the same names, so that \"packstone repo \
copy\" sends from one to the other only what is missing there, as it is. What opens one opens nothing of the other. \
PACKSTONE_FROM_PASSWORD and the other variables for what opens the \
other repository are those of \"packstone repo copy\"; where it is, only --from says.

Examples:
  packstone -r /srv/backup repo init
  packstone -r s3:https://s3.example.com/bucket/host1 repo init
  (umask 077; head -c 32 /dev/urandom > ~/backup.key)
  packstone -r /srv/backup --key-file ~/backup.key repo init
  packstone -r /mnt/usb/backup repo init --from /srv/backup --from-key-file ~/backup.key";

/// Arguments of `repo init`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    other: Other,
}

/// Makes a repository.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let Place::Named(location) = open::place(context)? else {
        let message = "no place for the repository was named: use --repository or PACKSTONE_REPOSITORY";
        return Err(Error::new(ErrorKind::Usage, message).into());
    };
    // Before anybody types a password for nothing.
    match location.directory() {
        // It writes nothing where there is a directory.
        Some(directory) if directory.exists() => drop(create::prepare(directory)?),
        Some(_) => {}
        None if open::find(context, &location).is_ok() => {
            let message = format!("there is a repository at {location} already");
            return Err(Error::new(ErrorKind::Exists, message).into());
        }
        None => {}
    }
    let other = arguments.other.open_if_named(context)?.map(|opened| opened.repository);
    let obtained =
        credentials::obtain(context, Purpose::Create).hint(ErrorKind::NotFound, || missing_file(context))?;
    let repository = match &other {
        Some(other) => create::create_sibling(context, &location, &obtained, other)?,
        None => create::create(context, &location, &obtained)?,
    };
    let lines = || {
        let made = format!("repository {} made at {}", repository.id(), repository.location());
        let sibling = other.as_ref().map(|other| format!(", a sibling of the one at {}", other.location()));
        vec![
            made + &sibling.unwrap_or_default(),
            format!("It opens with {}.", obtained.name),
            "Without that nobody can read it: keep a copy in another place.".to_owned(),
        ]
    };
    conclude(&context.global, lines, || Initialized::of(&repository));
    Ok(Done::Fully)
}

/// What helps where the file of a password or a key is not there.
fn missing_file(context: &Context) -> String {
    match credentials::choose(&context.global, &context.environment) {
        Ok(Some(Source::KeyFile(path))) => {
            let file = show::argument(&path, "FILE");
            format!("\"(umask 077; head -c 32 /dev/urandom > {file})\" makes a key file")
        }
        _ => "the file must hold the password in its first line".to_owned(),
    }
}
