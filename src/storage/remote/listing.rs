//! Listing names on a service: all below a prefix at once, or folder by folder.
//!
//! What must hold: names come in ascending order, each once, whatever the service and however often a page had to be
//! asked for again; a page is complete before anybody sees it, and visitors run outside of the runtime, so that they
//! may use the storage.

use futures::TryStreamExt;
use opendal::Lister;
use opendal::options::ListOptions;

use super::Remote;
use super::errors::Failure;
use super::transport::Purpose;
use crate::base::{Error, Result, Wrap};
use crate::storage::{Listed, ObjectName};

/// Names that are taken over at a time; services send as many.
const PAGE_NAMES: usize = 1000;

/// An entry of a folder.
pub(in crate::storage) struct Entry {
    /// Path below the root; that of a folder ends with a slash.
    pub(in crate::storage) path: String,
    /// Size in bytes of an object; 0 of a folder.
    pub(in crate::storage) size_bytes: u64,
}

/// Visits what is in and below a folder, whose path ends with a slash, in the order that whole names have. What
/// `entries_of` gives for a folder is sorted by path.
pub(in crate::storage) fn visit_in_order(
    entries_of: &dyn Fn(&str) -> Result<Vec<Entry>>,
    folder: &str,
    start_after: Option<&ObjectName>,
    visit: &mut dyn FnMut(Listed) -> Result<()>,
) -> Result<()> {
    let after = start_after.map(ObjectName::as_str).unwrap_or_default();
    for entry in entries_of(folder)? {
        if entry.path.ends_with('/') {
            // All of it may come before.
            if entry.path.as_str() > after || after.starts_with(&entry.path) {
                visit_in_order(entries_of, &entry.path, start_after, visit)?;
            }
        } else if entry.path.as_str() > after
            && let Some(name) = ObjectName::parse(&entry.path)
        {
            visit(Listed { name, size_bytes: entry.size_bytes })?;
        }
    }
    Ok(())
}

impl Remote {
    /// The name, or the folder, of a path that a listing holds; an error if it lies elsewhere.
    fn below<'p>(&self, folder: &str, path: &'p str) -> std::result::Result<&'p str, Failure> {
        let name = path.strip_prefix(&self.prefix).filter(|name| name.starts_with(folder));
        name.ok_or_else(|| {
            Failure::lasting(Error::damaged("the storage lists names that were not asked for"))
        })
    }

    /// Lists what is below a folder, by pages.
    pub(super) fn list_flat(
        &self,
        folder: &ObjectName,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let prefix = format!("{folder}/");
        let mut last: Option<String> = match start_after {
            Some(after) if after.as_str() >= prefix.as_str() => {
                // Names of other folders, all of which are later.
                if !after.as_str().starts_with(&prefix) {
                    return Ok(());
                }
                Some(after.as_str().to_owned())
            }
            _ => None,
        };
        // What cannot begin anywhere begins at the beginning, and what comes before is passed over.
        let begins_anywhere = self.operator.info().capability().list_with_start_after;
        let mut lister: Option<Lister> = None;
        loop {
            let page = self.run(Purpose::List, async {
                self.try_often(async || {
                    let outcome =
                        self.page(&prefix, last.as_deref().filter(|_| begins_anywhere), &mut lister).await;
                    if outcome.is_err() {
                        lister = None;
                    }
                    outcome
                })
                .await
            });
            let page = page.wrap(|| format!("cannot list {folder}"))?;
            let is_last = page.len() < PAGE_NAMES;
            for entry in page {
                if last.as_deref().is_some_and(|last| entry.path.as_str() <= last) {
                    // A service may give the name after which it was to begin.
                    if !begins_anywhere || last.as_deref() == Some(entry.path.as_str()) {
                        continue;
                    }
                    let message = format!("{} lists its objects out of order", self.caller.shown);
                    return Err(Error::damaged(message));
                }
                if let Some(name) = ObjectName::parse(&entry.path) {
                    visit(Listed { name, size_bytes: entry.size_bytes })?;
                }
                last = Some(entry.path);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        lister: &mut Option<Lister>,
    ) -> std::result::Result<Vec<Entry>, Failure> {
        let of_service = |cause: opendal::Error| Failure::of_service(&cause);
        let mut running = match lister.take() {
            Some(lister) => lister,
            None => {
                let options = ListOptions {
                    recursive: true,
                    start_after: after.map(|after| self.path(after)),
                    ..ListOptions::default()
                };
                self.operator.lister_options(&self.path(prefix), options).await.map_err(of_service)?
            }
        };
        let mut page = Vec::new();
        while page.len() < PAGE_NAMES {
            let Some(entry) = running.try_next().await.map_err(of_service)? else { return Ok(page) };
            let name = self.below(prefix, entry.path())?;
            page.extend(file(&entry, name));
        }
        *lister = Some(running);
        Ok(page)
    }

    /// Lists what is below a folder, folder by folder.
    pub(super) fn list_folder(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        visit_in_order(&|folder| self.entries(folder), folder, start_after, visit)
    }

    /// The same as `folder`, tried often.
    pub(super) fn entries(&self, folder: &str) -> Result<Vec<Entry>> {
        let entries = self.run(Purpose::List, self.try_often(async || self.folder(folder).await));
        entries.wrap(|| format!("cannot list {folder}"))
    }

    /// Entries of a folder, sorted by path; that of the root is a slash.
    pub(super) async fn folder(&self, folder: &str) -> std::result::Result<Vec<Entry>, Failure> {
        let asked = if folder == "/" { "" } else { folder };
        let path = Some(self.path(asked)).filter(|path| !path.is_empty());
        let listed = match self.operator.list(path.as_deref().unwrap_or("/")).await {
            Err(cause) if cause.kind() == opendal::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(|cause| Failure::of_service(&cause))?,
        };
        let mut entries: Vec<Entry> = Vec::with_capacity(listed.len());
        for entry in &listed {
            // The folder itself is in it, or an object in its place.
            let itself = path.as_deref().unwrap_or("/");
            if itself.trim_end_matches('/') == entry.path().trim_end_matches('/') {
                continue;
            }
            let name = self.below(asked, entry.path())?;
            if entry.metadata().is_dir() {
                entries.push(Entry { path: format!("{}/", name.trim_end_matches('/')), size_bytes: 0 });
            } else {
                entries.extend(file(entry, name));
            }
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        entries.dedup_by(|one, other| one.path == other.path);
        Ok(entries)
    }
}

fn file(entry: &opendal::Entry, name: &str) -> Option<Entry> {
    let metadata = entry.metadata();
    metadata.is_file().then(|| Entry { path: name.to_owned(), size_bytes: metadata.content_length() })
}
