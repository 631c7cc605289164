//! `packstone repo init`: makes a repository.

use clap::Args;
use packstone::base::{Error, ErrorKind};

use crate::context::Context;
use crate::credentials::{self, Purpose, Source};
use crate::json::Initialized;
use crate::open::{self, Place};
use crate::report::{Done, Hint, Outcome, conclude};
use crate::{create, show};

const AFTER_HELP: &str = "\
The repository opens with the password or the key file that is given here; without one, a password is asked for on \
the terminal. Whoever loses it loses the backups.

Examples:
  packstone -r /srv/backup repo init
  packstone -r s3:https://s3.example.com/bucket/host1 repo init
  (umask 077; head -c 32 /dev/urandom > ~/backup.key)
  packstone -r /srv/backup --key-file ~/backup.key repo init";

/// Arguments of `repo init`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {}

/// Makes a repository.
pub fn run(_arguments: &Arguments, context: &Context) -> Outcome<Done> {
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
    let obtained =
        credentials::obtain(context, Purpose::Create).hint(ErrorKind::NotFound, || missing_file(context))?;
    let repository = create::create(context, &location, &obtained)?;
    let lines = || {
        vec![
            format!("repository {} made at {}", repository.id(), repository.location()),
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
