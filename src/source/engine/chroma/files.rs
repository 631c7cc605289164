//! The files of ChromaDB's indexes, and whether they are still what they were.
//!
//! What must hold: each is given only as it was noted, before the database was copied; what cannot be given is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::later::later;
use super::super::sqlite::copy::beside_names;
use super::super::{Dump, OpenDump};
use super::{DATABASE, changed};
use crate::base::monitor::show_file;
use crate::base::{Result, Wrap};
use crate::fsmeta::capture::{Stat, StatKind, metadata, stat_at, stat_fd};
use crate::fsmeta::owners::Owners;

/// All files of a folder but its database, by their names below it, as they were at a moment.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
    noted: BTreeMap<PathBuf, Stat>,
}

impl Files {
    /// Notes them; and says what of the folder is no file that can be given.
    pub(super) fn of(folder: &Path) -> Result<(Self, Vec<String>)> {
        let mut files = Self { folder: folder.to_owned(), noted: BTreeMap::new() };
        let mut problems = Vec::new();
        files.note(Path::new(""), &mut problems)?;
        Ok((files, problems))
    }

    fn note(&mut self, below: &Path, problems: &mut Vec<String>) -> Result<()> {
        let place = self.folder.join(below);
        let what = || format!("cannot read directory {}", show_file(&place));
        for entry in std::fs::read_dir(&place).wrap(what)? {
            let name = below.join(entry.wrap(what)?.file_name());
            if beside_names(DATABASE).any(|database| name == Path::new(&database)) {
                continue;
            }
            let path = self.folder.join(&name);
            let stat = stat_at(rustix::fs::CWD, path.as_os_str().as_encoded_bytes())?;
            match stat.kind {
                StatKind::Directory => self.note(&name, problems)?,
                StatKind::Regular if name.to_str().is_some() => drop(self.noted.insert(name, stat)),
                StatKind::Regular => problems.push(format!("{}: its name is not UTF-8", show_file(&path))),
                _ => problems.push(format!("{} is no regular file and is left out", show_file(&path))),
            }
        }
        Ok(())
    }

    /// A dump of each.
    pub(super) fn dumps(&self, owners: &Owners) -> Vec<Dump> {
        let dump = |(name, stat): (&PathBuf, &Stat)| {
            let (path, noted) = (self.folder.join(name), *stat);
            Dump {
                name: name.to_string_lossy().into_owned(),
                metadata: Some(metadata(stat, owners, None)),
                open: Box::new(move || open(&path, noted)),
            }
        };
        self.noted.iter().map(dump).collect()
    }

    /// An error if one came, went or changed.
    pub(super) fn are_unchanged(&self) -> Result<()> {
        let (now, _) = Self::of(&self.folder)?;
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

fn open(path: &Path, noted: Stat) -> Result<OpenDump> {
    let file = File::open(path).wrap(|| format!("cannot open {}", show_file(path)))?;
    let again = file.try_clone().wrap(|| format!("cannot open {}", show_file(path)))?;
    let path = path.to_owned();
    let as_noted = move || {
        let now = stat_fd(&again)?;
        if noted.same_content_as(&now) { Ok(()) } else { Err(changed(&path, "was written")) }
    };
    as_noted()?;
    let open = later("cannot read a file of the index", move |_| Ok(Box::new(file)));
    let end = open.end;
    Ok(OpenDump { end: Box::new(move || end().and_then(|()| as_noted())), ..open })
}
