//! `packstone repo probe`: finds out what a storage can be trusted with.

use clap::Args;
use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::crypto::random;
use packstone::storage::Storage;
use packstone::storage::conformance::TABLE;
use packstone::storage::contract::{check_contract, prove_creation};

use crate::context::Context;
use crate::json::{ProbeLine, StorageKind};
use crate::open::{self, Place};
use crate::report::{self, Done, Hint, Outcome};
use crate::storages::{self, Role};
use crate::table::{self, Column};

const AFTER_HELP: &str = "\
Objects are written, listed, read, raced for and deleted in a folder of its own, probe-…, beside whatever else is there. \
A storage that fails loses or mixes up objects: do not use it.

Where creation is atomic, any number of machines may back up and prune at any time. Where it is not, backups of any \
number of machines are safe, but nobody is given up by silence, and a prune must be the only one: repo prune \
--sole-pruner.

Examples:
  packstone -r s3:https://s3.example.com/bucket/host1 repo probe
  packstone repo probe --table";

/// Arguments of `repo probe`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Print what each kind of storage promises, and with what that was tested
    #[arg(long)]
    table: bool,
}

/// Finds out what a storage can be trusted with.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    if arguments.table {
        return Ok(print_table(context));
    }
    let Place::Named(location) = open::place(context)? else {
        let message = "no storage was named: use --repository or PACKSTONE_REPOSITORY";
        return Err(Error::new(ErrorKind::Usage, message).into());
    };
    let storage = storages::open(context, &location, Role::Meant)?;
    let probed = context.interruption.gently(|| probe(&*storage, context)).hint(ErrorKind::Denied, || {
        "a probe writes, reads, lists and deletes; a writer needs no delete".to_owned()
    })?;
    let lines = || vec![format!("{} promises hold", probed.promises), verdict(probed.is_atomic).to_owned()];
    report::conclude(&context.global, lines, || {
        ProbeLine::new(storage.location(), probed.promises, probed.is_atomic)
    });
    Ok(Done::Fully)
}

/// What was found out.
#[derive(Debug)]
pub struct Probed {
    /// Promises that hold.
    pub promises: usize,
    /// Of many creators of one name exactly one succeeds.
    pub is_atomic: bool,
}

/// In words, what creation means for its users.
pub const fn verdict(is_atomic: bool) -> &'static str {
    match is_atomic {
        true => "creation is atomic: any number of machines may back up and prune here",
        false => {
            "creation is not atomic: any number of machines may back up here, and one may prune, with --sole-pruner"
        }
    }
}

/// Tries a storage out.
pub fn probe(storage: &dyn Storage, context: &Context) -> Result<Probed> {
    let token: [u8; 8] = random::array()?;
    let token = packstone::base::id::to_hex(&token);
    let is_proven = prove_creation(storage, &format!("{token}-proof")).wrap(|| "cannot try the storage")?;
    let promises = check_contract(storage, &token, &mut |promise| {
        if context.global.verbose {
            report::say(promise);
        }
    })?;
    Ok(Probed { promises, is_atomic: is_proven && storage.capabilities().atomic_create == Some(true) })
}

fn print_table(context: &Context) -> Done {
    let columns = ["Storage", "Feature", "Published by", "Creation atomic", "Durable", "Tested with"];
    let rows = TABLE.map(|row| {
        [row.storage, row.feature, row.published, row.atomic_create, row.durable, row.tested]
            .map(str::to_owned)
    });
    let lines = || table::lines(&columns.map(Column::Left), &rows);
    report::conclude(&context.global, lines, || TABLE.map(StorageKind::of));
    Done::Fully
}
