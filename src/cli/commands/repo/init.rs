//! `packstone repo init`: makes a repository.

mod expert;

use clap::Args;
use packstone::base::{Error, ErrorKind};
use packstone::storage::contract::{Creation, Deletion, Trial};

use crate::commands::repo::probe;
use crate::context::Context;
use crate::create::{Content, Made};
use crate::credentials::{self, Purpose, Source};
use crate::json::Initialized;
use crate::open::{self, Place};
use crate::other::Other;
use crate::report::{Done, Hint, Outcome, conclude};
use crate::{create, show};
use expert::Expert;

const AFTER_HELP: &str = "\
A storage behind a network is tried out by some fifteen requests first: what would lose data is refused, and what is said \
of atomic creation is what \"packstone repo probe\" tries at length.

The repository opens with the password or the key file that is given here; without one, a password is asked for on \
the terminal. Whoever loses it loses the backups.

With --from the new repository is a sibling of another: both give equal content the same names, so that \"packstone repo \
copy\" sends from one to the other only what is missing there, as it is. What opens one opens nothing of the other. \
PACKSTONE_FROM_PASSWORD and the other variables for what opens the \
other repository and its storage are those of \"packstone repo copy\"; where it is, only --from says.

Examples:
  packstone -r /srv/backup repo init
  packstone -r s3:https://s3.example.com/bucket/host1 repo init
  (umask 077; head -c 32 /dev/urandom > ~/backup.key)
  packstone -r /srv/backup --key-file ~/backup.key repo init
  packstone -r /mnt/usb/backup repo init --from /srv/backup --from-key-file ~/backup.key
  packstone -r /srv/disks repo init --chunker fixed --chunk-size 64k";

/// Arguments of `repo init`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    other: Other,
    #[command(flatten)]
    expert: Expert,
}

/// Makes a repository.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let Place::Named(location) = open::place(context)? else {
        let message = "no place for the repository was named: use --repository or PACKSTONE_REPOSITORY";
        return Err(Error::new(ErrorKind::Usage, message).into());
    };
    let parameters = arguments.expert.parameters()?;
    if let Some(option) = arguments.expert.given()
        && arguments.other.is_named()
    {
        let message =
            format!("{option} cannot be chosen with --from: a sibling cuts as the other repository does");
        return Err(Error::new(ErrorKind::Usage, message).into());
    }
    // Before anybody types a password for nothing.
    match location.directory() {
        // It writes nothing where there is a directory.
        Some(directory) if directory.exists() => drop(create::prepare(directory)?),
        Some(_) => {}
        None => match open::find(context, &location) {
            Ok(_) => {
                let message = format!("there is a repository at {location} already");
                return Err(Error::new(ErrorKind::Exists, message).into());
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Denied) => {
                return Err(error.into());
            }
            Err(_) => {}
        },
    }
    let other = arguments.other.open_if_named(context)?.map(|opened| opened.repository);
    let obtained =
        credentials::obtain(context, Purpose::Create).hint(ErrorKind::NotFound, || missing_file(context))?;
    let content = other.as_ref().map_or(Content::Of(parameters), Content::Sibling);
    let Made { repository, trial } = create::create_tried(context, &location, &obtained, &content)?;
    let lines = || {
        let made = format!("repository {} made at {}", repository.id(), repository.location());
        let sibling = other.as_ref().map(|other| format!(", a sibling of the one at {}", other.location()));
        let mut lines = vec![
            made + &sibling.unwrap_or_default(),
            format!("It opens with {}.", obtained.name),
            "Without that nobody can read it: keep a copy in another place.".to_owned(),
        ];
        lines.extend(trial.iter().flat_map(seen));
        lines
    };
    conclude(&context.global, lines, || Initialized::of(&repository, trial.as_ref()));
    Ok(Done::Fully)
}

/// What the storage was seen to do, in words.
fn seen(trial: &Trial) -> Vec<String> {
    let is_atomic = trial.creation == Creation::Atomic;
    let mut lines = vec![format!("The storage was tried; {}.", probe::verdict(is_atomic))];
    match &trial.deletion {
        Deletion::Works => {}
        Deletion::Refused(error) => {
            let reason = error.chain().pop().unwrap_or_default();
            lines.push(format!(
                "It deletes nothing for who made the repository: backups need no delete, a prune needs another \
                 credential ({reason})."
            ));
        }
        Deletion::Ignored => lines.push(
            "It says that it deletes, and does not: backups need no delete, a prune will free nothing."
                .to_owned(),
        ),
    }
    lines
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
