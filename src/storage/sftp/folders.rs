//! Folders on the server: made when something is to be put into them, removed when they are empty, listed.
//!
//! What must hold: what is in an object's or a folder's place and is neither is damage, not absence; a folder that
//! vanishes meanwhile is empty.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Sftp;
use super::operations::Server;
use super::packet::{Attributes, FileKind};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::storage::name::{NAME_PARTS_MAX, UNFINISHED_FOLDER, is_unfinished};
use crate::storage::remote::errors::{Attempt, Failure};
use crate::storage::remote::listing::Entry;
use crate::storage::remote::transport::Purpose;
use crate::storage::{ObjectName, Stray};

impl Sftp {
    /// Makes a folder below the root, and those above it as far as they are missing.
    pub(super) async fn make_folder(&self, server: Server<'_>, folder: &str) -> Attempt<()> {
        let path = self.path(folder);
        // Those that are missing, the deepest first.
        let mut missing = Vec::new();
        let mut next = Some(path.as_str());
        while let Some(path) = next {
            match server.make_folder(path).await {
                Ok(()) => {
                    self.remember_made(path);
                    break;
                }
                Err(failure) if failure.error.kind() == ErrorKind::NotFound => {
                    missing.push(path);
                    next = path.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty());
                }
                Err(failure) => {
                    self.expect_folder(server, path, failure).await?;
                    break;
                }
            }
        }
        for path in missing.into_iter().rev() {
            match server.make_folder(path).await {
                Ok(()) => self.remember_made(path),
                Err(failure) => self.expect_folder(server, path, failure).await?,
            }
        }
        Ok(())
    }

    /// The name of a folder that was made is to be made durable.
    fn remember_made(&self, path: &str) {
        match path.rsplit_once('/') {
            None => self.remember_path("."),
            Some(("", _)) => self.remember_path("/"),
            Some((above, _)) => self.remember_path(above),
        }
    }

    /// A folder could not be made, which is well if it is there.
    async fn expect_folder(&self, server: Server<'_>, path: &str, failure: Failure) -> Attempt<()> {
        // Where the repository is, and what is above it, may be a link.
        let is_below = path.strip_prefix(&self.prefix).is_some_and(|below| !below.is_empty());
        let found = if is_below { server.look(path).await? } else { server.follow(path).await? };
        match found.map(|found| found.kind()) {
            Some(FileKind::Folder | FileKind::Unknown) => Ok(()),
            Some(_) => Err(Failure::lasting(Error::damaged(format!("{path} is not a directory")))),
            None => {
                let error = failure.error.while_doing(format!("cannot create directory {path}"));
                Err(Failure { error, ..failure })
            }
        }
    }

    /// Removes the folder of an object, and those above it, as far as they are empty.
    pub(super) async fn remove_empty(&self, server: Server<'_>, name: &ObjectName) {
        let mut next = name.split_last().0;
        while let Some(folder) = next {
            if server.remove_folder(&self.path(folder)).await.is_err() {
                return;
            }
            next = folder.rsplit_once('/').map(|(above, _)| above);
        }
    }

    /// Whether there is a folder to be listed.
    pub(super) fn has_folder(&self, folder: &ObjectName) -> Result<bool> {
        let found = self.call(Purpose::List, async |server| server.look(&self.path(folder.as_str())).await);
        match found.wrap(|| format!("cannot list {folder}"))?.map(|found| found.kind()) {
            None => Ok(false),
            Some(FileKind::Folder | FileKind::Unknown) => Ok(true),
            Some(_) => Err(Error::damaged(format!("{folder} is not a directory"))),
        }
    }

    /// What is to be listed of a folder, whose path ends with a slash, in the order of whole names.
    pub(super) fn entries(&self, folder: &str) -> Result<Vec<Entry>> {
        let bare = folder.trim_end_matches('/');
        let mut entries = Vec::new();
        for (name, kind, size_bytes) in
            self.read_folder(&self.path(bare)).wrap(|| format!("cannot list {bare}"))?
        {
            let path = std::str::from_utf8(&name).ok().map(|name| format!("{folder}{name}"));
            let Some(name) = path.and_then(|path| ObjectName::parse(&path)) else { continue };
            match (kind, size_bytes) {
                (FileKind::Folder, _) => entries.push(Entry { path: format!("{name}/"), size_bytes: 0 }),
                (FileKind::Regular, Some(size_bytes)) => {
                    entries.push(Entry { path: name.to_string(), size_bytes });
                }
                _ => return Err(super::not_regular(&name)),
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries.dedup_by(|one, other| one.path == other.path);
        self.remember_folder(bare);
        Ok(entries)
    }

    /// Names in a folder, what each is, and its size in bytes as far as it has one.
    fn read_folder(&self, path: &str) -> Result<Vec<(Bytes, FileKind, Option<u64>)>> {
        self.call(Purpose::List, async |server| {
            let mut described = Vec::new();
            for (name, attributes) in server.read_folder(path).await? {
                let Some(attributes) = describe(server, path, &name, attributes).await? else { continue };
                described.push((name, attributes.kind(), attributes.size_bytes));
            }
            Ok(described)
        })
    }

    /// Visits all that is neither an object in one of these folders nor a folder on the way to one.
    pub(super) fn visit_strays(
        &self,
        known: &[&str],
        visit: &mut dyn FnMut(Stray) -> Result<()>,
    ) -> Result<()> {
        let known: BTreeSet<&[u8]> = known.iter().map(|folder| folder.as_bytes()).collect();
        for (name, kind, size_bytes) in self.read_folder(&self.path("."))? {
            let is_folder = kind == FileKind::Folder;
            if is_folder && name == UNFINISHED_FOLDER {
                self.visit_unfinished(visit)?;
            } else if is_folder && name == "lost+found" {
                // Every file system of the common kind has it.
            } else if let (true, true, Ok(folder)) =
                (is_folder, known.contains(&*name), std::str::from_utf8(&name))
            {
                self.visit_folder(folder, 1, visit)?;
            } else {
                visit(stray(name.to_vec(), kind, size_bytes))?;
            }
        }
        Ok(())
    }

    fn visit_unfinished(&self, visit: &mut dyn FnMut(Stray) -> Result<()>) -> Result<()> {
        for (name, kind, size_bytes) in self.read_folder(&self.path(UNFINISHED_FOLDER))? {
            let found = stray([UNFINISHED_FOLDER.as_bytes(), b"/", &name].concat(), kind, size_bytes);
            visit(Stray { is_unfinished: kind == FileKind::Regular && is_unfinished(&name), ..found })?;
        }
        Ok(())
    }

    /// As deep as names have parts.
    fn visit_folder(
        &self,
        folder: &str,
        depth: usize,
        visit: &mut dyn FnMut(Stray) -> Result<()>,
    ) -> Result<()> {
        for (name, kind, size_bytes) in self.read_folder(&self.path(folder))? {
            let path = [folder.as_bytes(), b"/", &name].concat();
            let object = std::str::from_utf8(&path).ok().filter(|text| ObjectName::parse(text).is_some());
            match object {
                Some(below) if kind == FileKind::Folder && depth + 1 < NAME_PARTS_MAX => {
                    self.visit_folder(below, depth + 1, visit)?;
                }
                Some(_) if kind == FileKind::Regular => {}
                _ => visit(stray(path, kind, size_bytes))?,
            }
        }
        Ok(())
    }
}

fn stray(path: Vec<u8>, kind: FileKind, size_bytes: Option<u64>) -> Stray {
    let size_bytes = size_bytes.filter(|_| kind == FileKind::Regular).unwrap_or_default();
    Stray { path, size_bytes, is_unfinished: false }
}

/// What a folder's entry is, asked for where the listing does not say; nothing if it has vanished.
async fn describe(
    server: Server<'_>,
    folder: &str,
    name: &Bytes,
    attributes: Attributes,
) -> Attempt<Option<Attributes>> {
    match (attributes.kind(), std::str::from_utf8(name)) {
        (FileKind::Unknown, Ok(name)) => server.look(&format!("{folder}/{name}")).await,
        _ => Ok(Some(attributes)),
    }
}
