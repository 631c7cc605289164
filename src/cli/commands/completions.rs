//! `packstone completions SHELL`: prints what makes a shell complete the arguments of this program.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use packstone::base::Wrap;

use crate::args;
use crate::output::Output;
use crate::report::{Done, Outcome};

const AFTER_HELP: &str = "\
Examples:
  packstone completions bash > ~/.local/share/bash-completion/completions/packstone
  packstone completions zsh > ~/.zfunc/_packstone
  packstone completions fish > ~/.config/fish/completions/packstone.fish";

/// Arguments of `completions`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Outcome<Done> {
    // To memory first: the generator cannot say that a write failed.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut args::Arguments::command(), "packstone", &mut script);
    let mut output = Output::open()?;
    let written = output.write_all(&script).wrap(|| "cannot write the output");
    Ok(output.end(written.map(|()| Done::Fully))?)
}
