//! `packstone repo key passwd`: replaces the password or the key in use.

use clap::Args;

use super::{COST, new_slot};
use crate::context::Context;
use crate::json::SlotChange;
use crate::new_credential::NewCredential;
use crate::report::{Done, Outcome, conclude};
use crate::{default_repository, open};

const AFTER_HELP: &str = "\
A key slot is added for the new password or key, read back and opened, and only then is the slot removed by which the \
repository was opened. Other key slots stay. Without a --new-… option, a new password is asked for on the terminal.

Whoever copied the old slot before and has its password or key can still open the repository with the copy: the keys \
within stay in use.

Examples:
  packstone -r /srv/backup repo key passwd
  packstone -r /srv/backup --key-file ~/old.key repo key passwd --new-key-file ~/new.key";

/// Arguments of `repo key passwd`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    new: NewCredential,
    /// What to call the new key slot; as the old one where not given
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Replaces the password or the key in use.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let old = opened.repository.own_slot();
    let label = arguments.label.clone().unwrap_or_else(|| old.label.clone());
    let (slot, shown) = new_slot(&arguments.new, label, context, &opened)?;
    let name = opened.repository.replace_own_slot(&slot, COST)?;
    let lines = || {
        vec![
            format!("key slot {name} added: it opens with {shown}"),
            format!("key slot {} removed, which {} opened", old.name, opened.obtained.name),
        ]
    };
    conclude(&context.global, lines, || SlotChange::replaced(old.name, name));
    default_repository::warn_of_old_key_file(context)?;
    Ok(Done::Fully)
}
