//! `packstone cat SNAP:PATH`: prints a file of a snapshot.

use std::ffi::OsString;

use clap::Args;
use packstone::base::{Error, ErrorKind};
use packstone::ops::dump::dump_file;

use crate::context::Context;
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{Done, Outcome};
use crate::selection::Selection;
use crate::{commands, open};

const AFTER_HELP: &str = "\
Examples:
  packstone cat latest:/etc/hosts
  packstone cat latest:/dumps/shop.sql | psql shop";

/// Arguments of `cat`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id), and the path of a file in it
    #[arg(value_name = "SNAP:PATH")]
    wanted: OsString,
    #[command(flatten)]
    selection: Selection,
}

/// Prints a file.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    let Some(path) = path else {
        let message = format!("no path was given: write {}:PATH", snapshot.id.short());
        return Err(Error::new(ErrorKind::Usage, message).into());
    };
    let progress = Progress::hidden(&context.global, &context.interruption, Work::Other("cat"));
    let mut output = Output::open()?;
    let dumped = context
        .interruption
        .gently(|| dump_file(&opened.repository, &snapshot, path, &mut output, &progress));
    Ok(output.end(dumped.map(|()| Done::Fully))?)
}
