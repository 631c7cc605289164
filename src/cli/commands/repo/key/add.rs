//! `packstone repo key add`: adds a password or a key file.

use clap::Args;

use super::{COST, new_slot};
use crate::context::Context;
use crate::json::SlotChange;
use crate::new_credential::NewCredential;
use crate::report::{Done, Outcome, conclude};
use crate::{create, open};

const AFTER_HELP: &str = "\
Without a --new-… option, a new password is asked for on the terminal. A key file that is not there is made, with 32 \
random bytes and for its owner alone; one that is there is used as it is. The repository is opened first, by one of \
its present keys.

Examples:
  packstone -r /srv/backup repo key add
  packstone -r /srv/backup --key-file ~/backup.key repo key add --new-password-file ~/password --label laptop
  packstone -r /srv/backup repo key add --new-key-file /etc/packstone-2.key";

/// Arguments of `repo key add`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(flatten)]
    new: NewCredential,
    /// What to call the key slot; USER@HOST where not given
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

/// Adds a password or a key file.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let label = arguments.label.clone().unwrap_or_else(create::slot_label);
    let (slot, shown) = new_slot(&arguments.new, label, context, &opened)?;
    let name = opened.repository.add_slot(&slot, COST)?;
    let lines = || vec![format!("key slot {name} added: it opens with {shown}")];
    conclude(&context.global, lines, || SlotChange::added(name));
    Ok(Done::Fully)
}
