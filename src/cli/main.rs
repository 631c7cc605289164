//! The program `packstone`: arguments, prompts, progress, messages and exit codes around the engine.
//!
//! What must hold: everything that a user asks for is done by the library; what goes wrong is said on the standard
//! error and told by the exit code, and a summary that cannot be printed does not make a good backup a bad one; a
//! secret is never an argument, a message or a variable of a child process.
//!
//! The layers of this crate: `main` → `commands` → everything else here → the library.

mod args;
mod commands;
mod configuration;
mod context;
mod create;
mod credentials;
mod dates;
mod default_repository;
mod environment;
mod folders;
mod interruption;
mod jobs;
mod json;
mod key_file;
mod key_sheet;
mod new_credential;
mod open;
mod other;
mod output;
mod patterns;
mod progress;
mod report;
mod secrets;
mod selection;
mod show;
mod snapshot_path;
mod storages;
mod table;
mod target_file;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::context::Context;
use crate::environment::Environment;
use crate::interruption::Interruption;

fn main() -> ExitCode {
    let arguments = match args::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) => {
            if args::ask_for_json(std::env::args_os()) {
                report::use_json();
            }
            return report::refuse(&refusal);
        }
    };
    if arguments.global.json {
        report::use_json();
    }
    raise_descriptor_limit();
    let context = Context {
        given: Arc::new(arguments.global.clone()),
        global: arguments.global,
        environment: Environment::of_process(),
        interruption: Interruption::listen(),
        storages: storages::Storages::default(),
        configuration: configuration::Loaded::default(),
    };
    let outcome = commands::run(arguments.command, &context);
    tell_traffic(&context);
    match outcome {
        Ok(done) => done.exit_code(),
        Err(failure) => report::fail(failure, &context.interruption),
    }
}

/// What storages were asked for costs money.
fn tell_traffic(context: &Context) {
    if let Some(traffic) = context.storages.traffic() {
        if report::is_json() {
            report::tell(&json::TrafficLine::of(&traffic));
        } else if context.global.verbose {
            report::say(&storages::told(&traffic));
        }
    }
}

/// A directory is held open for each level of a tree that is being read, more than the usual soft limit allows.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused, it leaves the limit that there was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
