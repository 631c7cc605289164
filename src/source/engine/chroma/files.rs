//! The files of ChromaDB's indexes, and whether they are still what they were.
//!
//! What must hold: each is given only as it was noted, before the database was copied; what cannot be given is told;
//! nothing is reached but by the opened folder and one name at a time, so that no link leads elsewhere.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::later::later;
use super::super::sqlite::copy::beside_names;
use super::super::{Dump, OpenDump};
use super::{DATABASE, changed};
use crate::base::monitor::show_file;
use crate::base::{Result, Wrap};
use crate::fsmeta::capture::{Stat, StatKind, metadata};
use crate::fsmeta::owners::Owners;
use crate::source::{Directory, File};

/// All files of a folder but its database, by their names below it, as they were at a moment.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
    opened: Arc<Directory>,
    noted: BTreeMap<PathBuf, Stat>,
}

impl Files {
    /// Notes them; and says what of the folder is no file that can be given.
    pub(super) fn of(folder: &Path) -> Result<(Self, Vec<String>)> {
        let opened = Directory::open_absolute(folder).wrap(|| show_file(folder))?;
        let mut files = Self { folder: folder.to_owned(), opened: Arc::new(opened), noted: BTreeMap::new() };
        let problems = files.note_all()?;
        Ok((files, problems))
    }

    fn note_all(&mut self) -> Result<Vec<String>> {
        self.noted.clear();
        let mut problems = Vec::new();
        let opened = Arc::clone(&self.opened);
        self.note(&opened, Path::new(""), &mut problems)?;
        Ok(problems)
    }

    fn note(&mut self, directory: &Directory, below: &Path, problems: &mut Vec<String>) -> Result<()> {
        let place = self.folder.join(below);
        let listing = directory.list().wrap(|| show_file(&place))?;
        problems.extend(
            listing.problems.into_iter().map(|problem| format!("{}: {problem:?}", show_file(&place))),
        );
        for entry in listing.entries {
            let name = below.join(std::ffi::OsStr::from_bytes(&entry.name));
            if beside_names(DATABASE).any(|database| name == Path::new(&database)) {
                continue;
            }
            let path = self.folder.join(&name);
            match entry.stat.kind {
                StatKind::Directory => {
                    let inner = directory.open_child(&entry.name).wrap(|| show_file(&path))?;
                    self.note(&inner, &name, problems)?;
                }
                StatKind::Regular if name.to_str().is_some() => drop(self.noted.insert(name, entry.stat)),
                StatKind::Regular => problems.push(format!("{}: its name is not UTF-8", show_file(&path))),
                _ => problems.push(format!("{} is no regular file and is left out", show_file(&path))),
            }
        }
        Ok(())
    }

    /// A dump of each.
    pub(super) fn dumps(&self, owners: &Owners) -> Vec<Dump> {
        let dump = |(name, stat): (&PathBuf, &Stat)| {
            let (name, path, noted) = (name.clone(), self.folder.join(name), *stat);
            let opened = Arc::clone(&self.opened);
            Dump {
                name: name.to_string_lossy().into_owned(),
                metadata: Some(metadata(stat, owners, None)),
                open: Box::new(move || {
                    let file = open(&opened, &name).wrap(|| format!("cannot open {}", show_file(&path)))?;
                    give(file, path, noted)
                }),
            }
        };
        self.noted.iter().map(dump).collect()
    }

    /// Whether they are now what they were when these were noted.
    pub(super) fn are_as(&self, before: &Self) -> bool {
        let same = |(name, then): (&PathBuf, &Stat)| {
            self.noted.get(name).is_some_and(|now| then.same_content_as(now))
        };
        self.noted.len() == before.noted.len() && before.noted.iter().all(same)
    }

    /// An error if one came, went or changed.
    pub(super) fn are_unchanged(&self) -> Result<()> {
        let (now, _) = Self::of(&self.folder)?;
        if now.opened.stat()?.inode != self.opened.stat()?.inode {
            return Err(changed(&self.folder, "was exchanged"));
        }
        for (name, then) in &self.noted {
            match now.noted.get(name) {
                None => return Err(changed(&self.folder.join(name), "was removed")),
                Some(stat) if !then.same_content_as(stat) => {
                    return Err(changed(&self.folder.join(name), "was written"));
                }
                Some(_) => {}
            }
        }
        match now.noted.keys().find(|name| !self.noted.contains_key(*name)) {
            Some(name) => Err(changed(&self.folder.join(name), "was made")),
            None => Ok(()),
        }
    }
}

/// Opens a file below a folder, step by step.
fn open(folder: &Directory, name: &Path) -> Result<File> {
    let mut steps: Vec<&[u8]> = name.iter().map(OsStrExt::as_bytes).collect();
    let last = steps.pop().unwrap_or_default();
    let mut inner: Option<Directory> = None;
    for step in steps {
        inner = Some(inner.as_ref().unwrap_or(folder).open_child(step)?);
    }
    inner.as_ref().unwrap_or(folder).open_file(last)
}

/// Gives a file if it is as it was noted, and stays so.
fn give(file: File, path: PathBuf, noted: Stat) -> Result<OpenDump> {
    let file = Arc::new(file);
    let again = Arc::clone(&file);
    let as_noted = move || {
        let now = again.stat()?;
        if noted.same_content_as(&now) { Ok(()) } else { Err(changed(&path, "was written")) }
    };
    as_noted()?;
    let reading = Reading { file, offset: 0 };
    let open = later("cannot read a file of the index", move |_| Ok(Box::new(reading)));
    let end = open.end;
    Ok(OpenDump { end: Box::new(move || end().and_then(|()| as_noted())), ..open })
}

/// Reads a file from its beginning.
struct Reading {
    file: Arc<File>,
    offset: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset);
        let count = read.map_err(|error| std::io::Error::other(error.chain().join(": ")))?;
        self.offset += count as u64;
        Ok(count)
    }
}
