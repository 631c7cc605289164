//! `packstone repo key list`: lists the key slots.

use std::io::Write;

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::monitor::show_path;
use packstone::base::{ErrorKind, Result, Wrap, size};
use packstone::format::slot::Way;
use packstone::repository::{OwnSlot, SlotList, SlotState};

use crate::context::Context;
use crate::json;
use crate::output::Output;
use crate::report::{self, Done, Outcome};
use crate::table::{self, Column};
use crate::{open, show};

const AFTER_HELP: &str = "\
Columns: the name of the slot, with a * before the one in use; what opens it; what it costs to try a password; when it \
was made, and its label. The last two are sealed with the slot's key, so they are shown of the slot in use only: open \
the repository with another password or key to see those of its slot.

Examples:
  packstone repo key list
  packstone -r /srv/backup --key-file paper.key repo key list";

/// Arguments of `repo key list`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {}

/// Lists the key slots.
pub fn run(_arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let list = opened.repository.slots()?;
    let own = opened.repository.own_slot();
    let mut output = Output::open()?;
    let written = match context.global.json {
        true => json::write_line(&mut output, &json::slots(&list, own)),
        false => write(&mut output, &list, own, context.global.quiet),
    };
    let done = if tell_unusable(list, "key") { Done::WithDamage } else { Done::Fully };
    Ok(output.end(written.map(|()| done))?)
}

fn write(output: &mut Output, list: &SlotList, own: &OwnSlot, is_quiet: bool) -> Result<()> {
    let columns = [" Slot", "Opened by", "Cost", "Made", "Label"].map(Column::Left);
    let mut lines = table::lines(&columns, &rows(list, own, &TimeZone::system()));
    if !is_quiet {
        lines.push(show::count(list.slots.len() as u64, "key slot"));
    }
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
}

fn rows(list: &SlotList, own: &OwnSlot, zone: &TimeZone) -> Vec<[String; 5]> {
    let of_slots = list.slots.iter().map(|entry| {
        let is_own = entry.name == own.name;
        let name = format!("{}{}", if is_own { '*' } else { ' ' }, entry.name);
        let (opened_by, cost) = match &entry.state {
            SlotState::Whole(Way::KeyFile) => ("key file", String::new()),
            SlotState::Whole(Way::Password(cost)) => {
                let memory = size::show(u64::from(cost.memory_kib) << 10);
                ("password", format!("Argon2id {memory}, {} passes, {} lanes", cost.passes, cost.lanes))
            }
            SlotState::Unusable(error) => match error.kind() {
                ErrorKind::Damaged => ("(damaged)", String::new()),
                ErrorKind::Unsupported => ("(too new)", String::new()),
                _ => ("(not usable)", String::new()),
            },
        };
        let (made, label) = match is_own {
            true => (show::time(own.created, zone), show_path(own.label.as_bytes())),
            false => Default::default(),
        };
        [name, opened_by.to_owned(), cost, made, label]
    });
    let foreign = list.foreign.iter().map(|name| {
        let [cost, made, label]: [String; 3] = Default::default();
        [format!(" {}", show_path(name.as_bytes())), "(no key slot)".to_owned(), cost, made, label]
    });
    of_slots.chain(foreign).collect()
}

/// Says of each slot that cannot be used why; true if one is damaged.
pub fn tell_unusable(list: SlotList, during: &str) -> bool {
    let mut is_damaged = false;
    for entry in list.slots {
        if let SlotState::Unusable(error) = entry.state {
            is_damaged |= error.kind() == ErrorKind::Damaged;
            let error = error.while_doing(format!("cannot use key slot {}", entry.name));
            report::error_aside(&error, during, &entry.name.hex());
        }
    }
    is_damaged
}
