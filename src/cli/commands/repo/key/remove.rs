//! `packstone repo key remove SLOT`: removes a key slot.

use clap::Args;
use packstone::base::ErrorKind;

use crate::context::Context;
use crate::json::SlotChange;
use crate::report::{Done, Hint, Outcome, conclude};
use crate::{default_repository, open, show};

const AFTER_HELP: &str = "\
The last key slot that can be used is not removed. Whoever copied the slot before and has its password or key can still \
open the repository with the copy: the keys within stay in use.

Examples:
  packstone repo key list
  packstone repo key remove 4f1c";

/// Arguments of `repo key remove`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The beginning of the name of a key slot, as "packstone repo key list" shows it
    #[arg(value_name = "SLOT")]
    slot: String,
}

/// Removes a key slot.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let repository = &opened.repository;
    let slots = repository.slots()?;
    let lists_them = || "\"packstone repo key list\" lists them".to_owned();
    let name = slots.find(&arguments.slot).hint(ErrorKind::NotFound, lists_them)?.name;
    let others = slots.whole().filter(|other| other.name != name).count();
    let removed = repository.remove_slot(&name);
    if others == 0 {
        let hint = || "\"packstone repo key add\" adds another first".to_owned();
        removed.hint(ErrorKind::Failed, hint)?;
    } else {
        removed?;
    }
    let was_in_use = name == repository.own_slot().name;
    let lines = || {
        let by = if was_in_use { format!(", which {} opened", opened.obtained.name) } else { String::new() };
        let left = show::count(others as u64, "key slot");
        vec![format!("key slot {name} removed{by}"), format!("{left} left")]
    };
    conclude(&context.global, lines, || SlotChange::removed(name));
    if was_in_use {
        default_repository::warn_of_old_key_file(context)?;
    }
    Ok(Done::Fully)
}
