//! `packstone repo key export`: prints a key to keep on paper.
//!
//! What must hold: a key slot stays only if its key was printed in full; no file is replaced; the key and the sheet are
//! wiped from memory.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Result, SlotName, Timestamp, Wrap};
use packstone::crypto::slot::Credential;
use packstone::crypto::{Secret, random};
use packstone::repository::NewSlot;
use packstone::storage::location::Location;

use super::COST;
use crate::context::Context;
use crate::json::SlotChange;
use crate::key_sheet::KeySheet;
use crate::open::{self, Opened};
use crate::output::Output;
use crate::report::{self, Done, Outcome, conclude};

const AFTER_HELP: &str = "\
Prints a sheet with a new key as hexadecimal digits, as 24 words and as a QR code, and adds a key slot for it. A file \
with the digits or with the words opens the repository by --key-file. Whoever sees the sheet can read all backups.

Examples:
  packstone repo key export | lp
  packstone repo key export --output /media/stick/sheet.txt
  packstone -r /srv/backup --key-file ~/backup.key repo key export --current";

/// Arguments of `repo key export`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// Write the sheet to a new file that only its owner may read
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to call the key slot
    #[arg(long, value_name = "TEXT", default_value = "paper")]
    label: String,
    /// Print the key file in use, and add no key slot
    #[arg(long, conflicts_with = "label")]
    current: bool,
}

/// Prints a key to keep on paper.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    if let Some(file) = arguments.output.as_deref().filter(|file| file.symlink_metadata().is_ok()) {
        let message = format!("{} is there already, and is not replaced", show_file(file));
        return Err(Error::new(ErrorKind::Exists, message).into());
    }
    let opened = open::open(context)?;
    let current = if arguments.current { Some(current_key(&opened)?) } else { None };
    let target = Target::open(arguments.output.as_deref())?;
    // A signal must not end the process between the slot and the sheet.
    let (slot, done) = context.interruption.gently(|| match current {
        Some(key) => {
            let own = opened.repository.own_slot();
            let sheet = sheet(&opened, own.name, &own.label, own.created, key);
            target.write(&sheet).map(|done| (own.name, done))
        }
        None => export_new(&opened, &arguments.label, target),
    })?;
    if let Some(file) = arguments.output.as_deref() {
        let shown = show_file(file);
        let line = || match current {
            None => vec![format!("key slot {slot} added: it opens with the key in {shown}")],
            Some(_) => vec![format!("the key of key slot {slot} is in {shown}")],
        };
        conclude(&context.global, line, || SlotChange::exported(slot, current.is_none()));
    }
    Ok(done)
}

fn current_key(opened: &Opened) -> Result<&Secret> {
    match &opened.obtained.credential {
        Credential::KeyFile(key) => Ok(key),
        Credential::Password(_) => {
            let message = format!(
                "--current prints a key file, and the repository opened with {}",
                opened.obtained.name
            );
            Err(Error::new(ErrorKind::Usage, message))
        }
    }
}

/// Adds a key slot and prints its key; takes it away again if that fails.
fn export_new(opened: &Opened, label: &str, target: Target<'_>) -> Result<(SlotName, Done)> {
    let key = random::secret()?;
    let slot = NewSlot { credential: Credential::KeyFile(key.clone()), label: label.to_owned() };
    let name = opened.repository.add_slot(&slot, COST)?;
    let printed = target.write(&sheet(opened, name, label, Timestamp::now(), &key));
    if !matches!(printed, Ok(Done::Fully)) {
        match opened.repository.remove_slot(&name) {
            Ok(()) => {
                report::say(&format!("key slot {name} was removed again: its key was not printed in full"))
            }
            Err(error) => {
                let error = error.while_doing(format!(
                    "key slot {name} is still there, and its key was not printed in full"
                ));
                report::error_aside(&error, "key", &name.hex());
            }
        }
    }
    printed.map(|done| (name, done))
}

fn sheet<'a>(
    opened: &'a Opened,
    slot: SlotName,
    label: &'a str,
    created: Timestamp,
    key: &'a Secret,
) -> KeySheet<'a> {
    // Where the sheet is read, no directory is the current one.
    let directory = opened.location.directory().and_then(|directory| directory.canonicalize().ok());
    let location = directory.map_or_else(|| opened.location.clone(), Location::Local);
    KeySheet { repository: opened.repository.id(), location, slot, label, created, key }
}

/// Where the sheet goes.
enum Target<'a> {
    Output(Output),
    File(NewFile<'a>),
}

impl<'a> Target<'a> {
    fn open(file: Option<&'a Path>) -> Result<Self> {
        match file {
            Some(path) => NewFile::create(path).map(Self::File),
            None => {
                if std::io::stdout().is_terminal() {
                    report::warn("this shows a key that opens the repository: see that nobody else reads it");
                }
                Output::open_unbuffered().map(Self::Output)
            }
        }
    }

    /// Writes all of it, or fails.
    fn write(self, sheet: &KeySheet<'_>) -> Result<Done> {
        let text = sheet.render()?;
        match self {
            Self::Output(mut output) => {
                let written = output.write_all(text.as_bytes()).wrap(|| "cannot write the output");
                output.end(written.map(|()| Done::Fully))
            }
            Self::File(file) => file.finish(&text).map(|()| Done::Fully),
        }
    }
}

/// A file that goes again if it is not finished.
struct NewFile<'a> {
    path: &'a Path,
    file: File,
    is_finished: bool,
}

impl<'a> NewFile<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .wrap(|| format!("cannot make the file {}", show_file(path)))?;
        Ok(Self { path, file, is_finished: false })
    }

    fn finish(mut self, text: &str) -> Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_all())
            .and_then(|()| File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
            .wrap(|| format!("cannot write the file {}", show_file(self.path)))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            // Half a sheet opens nothing.
            drop(std::fs::remove_file(self.path));
        }
    }
}
