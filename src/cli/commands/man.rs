//! `packstone man [DIR]`: prints the manual page, or writes a page for each command to a directory.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use packstone::base::monitor::show_file;
use packstone::base::{Result, Wrap};

use crate::args;
use crate::context::Context;
use crate::json::PagesWritten;
use crate::output::Output;
use crate::report::{Done, Outcome, conclude};
use crate::show;

const AFTER_HELP: &str = "\
Examples:
  packstone man | man -l -
  packstone man /usr/local/share/man/man1";

/// Arguments of `man`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Write all pages to this directory, which is made where it is missing: packstone.1, packstone-backup.1, …
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints the page of the program, or writes those of all commands.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let mut program = args::Arguments::command();
    // It gives each command its full name and the flags that all have.
    program.build();
    let Some(directory) = &arguments.directory else {
        let mut output = Output::open()?;
        let written =
            render(&program).and_then(|page| output.write_all(&page).wrap(|| "cannot write the output"));
        return Ok(output.end(written.map(|()| Done::Fully))?);
    };
    std::fs::create_dir_all(directory)
        .wrap(|| format!("cannot make the directory {}", show_file(directory)))?;
    let mut written = Vec::new();
    for command in commands(&program) {
        let name = Man::new(command.clone()).get_filename();
        let path = directory.join(&name);
        std::fs::write(&path, render(command)?).wrap(|| format!("cannot write {}", show_file(&path)))?;
        written.push(name);
    }
    let lines = || {
        let pages = show::count(written.len() as u64, "manual page");
        vec![format!("{pages} written to {}", show_file(directory))]
    };
    conclude(&context.global, lines, || PagesWritten::of(&written));
    Ok(Done::Fully)
}

fn render(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let source = concat!("packstone ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).render(&mut page).wrap(|| "cannot make a manual page")?;
    Ok(page)
}

/// A command and those below it that its help lists.
fn commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    std::iter::once(command).chain(below.flat_map(commands)).collect()
}
