//! ChromaDB's folder as a unit: its SQLite database, and the folders of its vector indexes, of one moment.
//!
//! What must hold: a set of files counts only if none of them changed from before the database was copied until all of
//! them were read; a container that was paused for that goes on, however it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::later::stopped;
use super::sqlite::copy::{self, Moment, Room};
use super::sqlite::looks_right;
use super::{Container, Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, OpenDump, StoredDump};
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result};
use crate::fsmeta::capture::metadata;
use crate::fsmeta::owners::Owners;

mod files;
mod pause;
mod put_back;

use files::Files;
use pause::Paused;

/// The database of the folder.
const DATABASE: &str = "chroma.sqlite3";
/// How long a writer may be waited for.
const WAIT: Duration = Duration::from_secs(copy::BUSY_SECONDS);
/// The same once it is paused: it cannot let go.
const PAUSED_WAIT: Duration = Duration::from_millis(100);

/// So long an index must not have been written before the pause.
const AT_REST: Duration = Duration::from_millis(250);
/// As often it is paused, if it never is at rest.
const PAUSES_MAX: u32 = 4;

/// A folder of ChromaDB's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chroma {
    /// The absolute path of the folder with `chroma.sqlite3`.
    pub path: String,
    /// As for SQLite.
    pub scratch: Option<PathBuf>,
    /// As for SQLite.
    pub memory_bytes: u64,
    /// A container that is paused for the moment of copying.
    pub paused_container: Option<Container>,
}

impl Engine for Chroma {
    fn kind(&self) -> &'static str {
        "chromadb"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.folder().into_iter().collect()
    }

    fn plan(&self, _: &Listener) -> Result<Vec<String>> {
        // Without pausing the container.
        let folder = self.folder()?;
        looks_right(&folder.join(DATABASE))?;
        let (_, problems) = Files::of(&folder)?;
        let problems = problems.into_iter().map(|problem| format!("problem: {problem}"));
        Ok(std::iter::once(format!("{DATABASE} and the index files beside it")).chain(problems).collect())
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let folder = self.folder()?;
        let database = folder.join(DATABASE);
        let stat = looks_right(&database)?;
        let room = Arc::new(Room { scratch: self.scratch.clone(), memory_bytes: self.memory_bytes });
        let (paused, moment) = self.pause_at_rest(&folder, listener)?;
        let (files, problems) = Files::of(&folder)?;
        let owners = Owners::new();
        let (at, of_copy) = (database.clone(), listener.clone());
        let mut dumps = vec![Dump {
            name: DATABASE.to_owned(),
            metadata: Some(metadata(&stat, &owners, None)),
            open: Box::new(move || open_database(&at, moment, room, &of_copy)),
        }];
        dumps.extend(files.dumps(&owners));
        let how = if paused.is_some() { "while its container was paused" } else { "no file of it changed" };
        let consistency =
            format!("online backup of SQLite {} and its index files; {how}", rusqlite::version());
        let end = Box::new(move || {
            let same = files.are_unchanged();
            paused.map_or(Ok(()), Paused::go_on)?;
            same
        });
        Ok(Dumps { consistency, dumps, problems, end: Some(end) })
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        if !options.databases.is_empty() {
            let message = "a folder of ChromaDB is restored as a whole, not single databases of it";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        let target =
            Self { path: options.new_name.clone().unwrap_or_else(|| self.path.clone()), ..self.clone() };
        put_back::plan(&target.folder()?, stored, options.may_replace, listener)
    }
}

impl Chroma {
    fn folder(&self) -> Result<PathBuf> {
        if self.path.starts_with('/') {
            return Ok(PathBuf::from(self.path.trim_end_matches('/')));
        }
        Err(Error::new(ErrorKind::Usage, format!("{:?} is no absolute path", self.path)))
    }

    /// Pauses the container, if one is named, at a moment at which it has not written to its index for a while: what is
    /// written to it takes many calls, and in the middle of them it is of no use.
    fn pause_at_rest(&self, folder: &Path, listener: &Listener) -> Result<(Option<Paused>, Option<Moment>)> {
        let database = folder.join(DATABASE);
        let mut attempts = 0;
        loop {
            let (before, _) = Files::of(folder)?;
            if self.paused_container.is_some() {
                std::thread::sleep(AT_REST);
            }
            let (paused, moment) = self.pause(&database, listener)?;
            attempts += 1;
            if paused.is_none() || Files::of(folder)?.0.are_as(&before) {
                return Ok((paused, moment));
            }
            if attempts == PAUSES_MAX {
                let message = "its index was being written whenever its container was paused, and may be half of one \
                               state and half of another";
                listener.finding(message.to_owned());
                return Ok((paused, moment));
            }
            if listener.stops().is_over() {
                return Err(stopped());
            }
            drop(moment);
            paused.map_or(Ok(()), Paused::go_on)?;
        }
    }

    /// Pauses the container, if one is named, and holds the database as it is then.
    fn pause(&self, database: &Path, listener: &Listener) -> Result<(Option<Paused>, Option<Moment>)> {
        let Some(container) = &self.paused_container else { return Ok((None, None)) };
        // One that stands still may keep the database locked.
        Paused::refuse_paused(container, listener)?;
        // Held before, so that the container does not stand still in the middle of a change and keeps it locked.
        let before = Moment::begin(database, WAIT, listener)?;
        let paused = Paused::pause(container, listener)?;
        match Moment::begin(database, PAUSED_WAIT, listener) {
            Ok(moment) => Ok((Some(paused), Some(moment))),
            // It waits to write until nobody reads, so that what was held before is how it still is.
            Err(error) if error.kind() == ErrorKind::Fenced => Ok((Some(paused), Some(before))),
            Err(error) => Err(error),
        }
    }
}

fn open_database(
    path: &Path,
    moment: Option<Moment>,
    room: Arc<Room>,
    listener: &Listener,
) -> Result<OpenDump> {
    match moment {
        Some(moment) => Ok(copy::give(moment, room, listener)),
        None => copy::open(path, room, listener),
    }
}

/// What is wrong if files change while they are copied.
fn changed(path: &Path, how: &str) -> Error {
    let message = format!(
        "{} {how} while the folder was copied, so that its files are not of one moment; name the container that writes \
         to it as paused-container",
        show_file(path)
    );
    Error::new(ErrorKind::Failed, message)
}
