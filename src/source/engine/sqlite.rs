//! SQLite: copies by its online backup interface, right while others write.
//!
//! What must hold: a copy is of one moment, whatever other processes do to the database meanwhile, and whatever other
//! parts of this process do to its files; the original is not changed by being copied; a file is put back whole or
//! not at all, and never under a process that has the old one open.

mod check;
pub(super) mod copy;
mod hold;
pub(super) mod place;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::place::Beside;
use super::{Dump, Dumps, Engine, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result};
use crate::fsmeta::capture::{Stat, StatKind, metadata, stat_at};
use crate::fsmeta::owners::Owners;
use crate::source::glob;
use copy::Room;

/// What every SQLite database begins with, unless it is encrypted or empty.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// What SQLite keeps beside a database while it is open.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// SQLite databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sqlite {
    /// Absolute paths and patterns of their files, expanded when it is dumped.
    pub paths: Vec<String>,
    /// Where a copy that does not fit the memory is put together, as an unnamed file.
    pub scratch: Option<PathBuf>,
    /// Copies up to this size are put together in memory, which for a moment needs twice as much.
    pub memory_bytes: u64,
}

/// Whether a file begins as a database of SQLite does.
fn is_database(path: &std::path::Path) -> bool {
    let mut head = [0; 16];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.is_ok() && head == *b"SQLite format 3\0"
}

impl Engine for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn files(&self) -> Vec<PathBuf> {
        let found = |pattern: &String| expand(pattern, &mut Vec::new()).unwrap_or_default();
        // What is none cannot be dumped, and must not be left out elsewhere.
        self.paths.iter().flat_map(found).filter(|path| is_database(path)).collect()
    }

    fn dump(&self, listener: &Listener) -> Result<Dumps> {
        let mut problems = Vec::new();
        let mut paths = Vec::new();
        for pattern in &self.paths {
            match expand(pattern, &mut problems) {
                Ok(found) => paths.extend(found),
                Err(error) => problems.push(error.chain().join(": ")),
            }
        }
        paths.sort();
        paths.dedup();
        let room = Arc::new(Room { scratch: self.scratch.clone(), memory_bytes: self.memory_bytes });
        let owners = Owners::new();
        let mut dumps = Vec::new();
        for path in paths {
            match dump_of(&path, &room, &owners, listener) {
                Ok(dump) => dumps.push(dump),
                Err(error) => problems.push(error.chain().join(": ")),
            }
        }
        if dumps.is_empty() {
            let why = if problems.is_empty() { "none is named".to_owned() } else { problems.join("; ") };
            return Err(Error::new(ErrorKind::NotFound, format!("no SQLite database can be copied: {why}")));
        }
        Ok(Dumps { consistency: consistency(), dumps, problems, end: None })
    }

    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan> {
        let chosen = chosen(stored, &options.databases)?;
        let mut plan = LoadPlan::default();
        for dump in chosen {
            let target = target_of(dump, options)?;
            plan.replaced.extend(place::replaced(&target)?);
            plan.steps.push(step(dump, target, options.may_replace, listener));
        }
        if options.new_name.is_some() && plan.steps.len() > 1 {
            let message = format!("{} databases cannot all get one path", plan.steps.len());
            return Err(Error::new(ErrorKind::Usage, message));
        }
        Ok(plan)
    }
}

/// How it is done, for people.
fn consistency() -> String {
    format!("online backup of SQLite {}", rusqlite::version())
}

/// The files that a pattern means, without those that SQLite keeps beside its databases.
fn expand(pattern: &str, problems: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    if !pattern.starts_with('/') {
        return Err(Error::new(ErrorKind::Usage, format!("{pattern:?} is no absolute path")));
    }
    let globbed = glob(pattern.as_bytes(), Path::new("/"))?;
    let unlisted = globbed.problems.into_iter().map(|(path, error)| (path, error.chain().join(": ")));
    problems.extend(unlisted.map(|(path, why)| format!("{}: {why}", show_file(&path))));
    let mut paths = globbed.paths;
    paths.retain(|path| !is_beside_another(path));
    if paths.is_empty() {
        problems.push(format!("the pattern {pattern} matches no file"));
    }
    Ok(paths)
}

fn is_beside_another(path: &Path) -> bool {
    let Some(name) = path.to_str() else { return false };
    BESIDE.iter().filter_map(|suffix| name.strip_suffix(suffix)).any(|main| Path::new(main).is_file())
}

fn dump_of(path: &Path, room: &Arc<Room>, owners: &Owners, listener: &Listener) -> Result<Dump> {
    let name = path.to_str().ok_or_else(|| {
        let message = format!("{}: a path that is not UTF-8 cannot name a dump", show_file(path));
        Error::new(ErrorKind::Unsupported, message)
    })?;
    let stat = looks_right(path)?;
    let (path, room, listener) = (path.to_owned(), Arc::clone(room), listener.clone());
    Ok(Dump {
        name: name.trim_start_matches('/').to_owned(),
        metadata: Some(metadata(&stat, owners, None)),
        open: Box::new(move || copy::open(&path, room, &listener)),
    })
}

/// The status of a file that may well be a database. A look at how it begins is all that can be had for nothing.
pub(super) fn looks_right(path: &Path) -> Result<Stat> {
    use std::io::Read;
    let opened = |cause| Error::system(format!("cannot open {}", show_file(path)), cause);
    let real = std::fs::canonicalize(path).map_err(opened)?;
    let stat = stat_at(rustix::fs::CWD, real.as_os_str().as_encoded_bytes())?;
    if stat.kind != StatKind::Regular {
        let message = format!("{} is no regular file", show_file(path));
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let mut start = Vec::new();
    let file = std::fs::File::open(&real).map_err(opened)?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(opened)?;
    // One without a table yet has no bytes at all.
    if start.is_empty() || start == MAGIC {
        return Ok(stat);
    }
    let message = format!("{} is no SQLite database, or it is encrypted", show_file(path));
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// The stored dumps that are wanted, by the paths that they had.
fn chosen<'s>(stored: &'s [StoredDump], wanted: &[String]) -> Result<Vec<&'s StoredDump>> {
    let is_named = |dump: &StoredDump, name: &String| dump.name == name.trim_start_matches('/');
    if let Some(unknown) = wanted.iter().find(|name| !stored.iter().any(|dump| is_named(dump, name))) {
        let message = format!("the source holds no database {unknown}");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let is_wanted = |dump: &&StoredDump| wanted.is_empty() || wanted.iter().any(|name| is_named(dump, name));
    Ok(stored.iter().filter(is_wanted).collect())
}

fn target_of(dump: &StoredDump, options: &LoadOptions) -> Result<PathBuf> {
    let Some(path) = &options.new_name else { return Ok(Path::new("/").join(&dump.name)) };
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(Error::new(ErrorKind::Usage, format!("{path:?} is no absolute path")))
}

fn step(dump: &StoredDump, target: PathBuf, may_replace: bool, listener: &Listener) -> LoadStep {
    let (metadata, listener) = (dump.metadata.clone(), listener.clone());
    let what = format!("restore the SQLite database {} from {}", show_file(&target), dump.name);
    let run = Box::new(move |feed: &mut super::Feed<'_>| {
        let waiting = Beside::write(&target, feed)?;
        place::check_whole(&waiting, may_replace, &listener)?;
        waiting.set(&metadata, &listener)?;
        place::swap(waiting, may_replace, &listener)
    });
    LoadStep { what, dump: Some(dump.name.clone()), run }
}

#[cfg(test)]
mod tests;
