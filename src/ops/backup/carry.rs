//! What takes the place of a source that failed: the last good tree of the same source in the same job.
//!
//! What must hold: an id is named again only from a snapshot that the session saw, and only if every chunk below it may
//! be built upon; the snapshot says of each source that it was taken over, and from which run it really is.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::{ChunkId, Error, ErrorKind, FindingKind, Result};
use crate::format::node::{Content, NodeKind, XattrValue};
use crate::format::page::Page;
use crate::format::snapshot::{Carried, SourceOutcome, SourceStatus};
use crate::ops::backup::BackupOptions;
use crate::ops::backup::directory::Finished;
use crate::ops::backup::dumps::failing;
use crate::ops::backup::run::{Run, SourceCounts};
use crate::ops::backup::sources::{OnFailure, Prepared};
use crate::ops::backup::{DUMPS_FOLDER, roots};
use crate::ops::list::path_components;
use crate::repository::{Session, SnapshotEntry};
use crate::tree::{BundlePlace, DirectoryBuilder, Entry, Joined, Member, Tree};

/// Does for each source that is meant and failed what the user chose. Fails if one must not fail.
pub(super) fn replace_failed(
    run: &Run<'_>,
    prepared: &Prepared<'_>,
    options: &BackupOptions,
    is_meant: &dyn Fn(&SourceCounts) -> bool,
) -> Result<()> {
    for (counts, on_failure) in prepared.all.iter().filter(|(counts, _)| is_meant(counts)) {
        let status = counts.status();
        let is_lacking = match status.kind {
            // A few files that cannot be read are no reason to give up what could be.
            None => status.outcome == SourceOutcome::Failed,
            Some(_) => status.outcome != SourceOutcome::Complete,
        };
        if !is_lacking {
            continue;
        }
        // What this run remembers of it is of another tree than the snapshot will have.
        run.earlier.forget(&counts.path);
        match on_failure {
            OnFailure::Fail => {
                let message = status.message.unwrap_or_else(|| "nothing of it could be read".into());
                return Err(failing(counts, Error::new(ErrorKind::Failed, message)));
            }
            OnFailure::Partial => {}
            OnFailure::KeepPrevious => take_earlier(run, counts, options)?,
        }
    }
    Ok(())
}

/// Fails if all sources of a job did, and nothing took the place of one.
pub(super) fn check_any(prepared: &Prepared<'_>, options: &BackupOptions) -> Result<()> {
    let has_nothing = |(counts, _): &(std::sync::Arc<SourceCounts>, OnFailure)| {
        let status = counts.status();
        status.outcome == SourceOutcome::Failed && status.carried.is_none()
    };
    if options.job.is_some() && prepared.all.iter().all(has_nothing) {
        return Err(Error::new(ErrorKind::Failed, "no source could be read; no snapshot was made"));
    }
    Ok(())
}

/// Puts the last good tree of a source in its place; what stands in the way is a finding.
fn take_earlier(run: &Run<'_>, counts: &SourceCounts, options: &BackupOptions) -> Result<()> {
    let Some((entry, status)) = last_good(run.session, counts, options) else {
        run.monitor.note(&format!("{}: there is no earlier tree to take its place", shown(counts)));
        return Ok(());
    };
    let found = find(run, entry, &counts.path);
    let reason = match found {
        Ok(Some((found, amount))) => {
            let carried = status.carried.unwrap_or(Carried { snapshot: entry.id, time: entry.snapshot.time });
            let Entry { node, bundle } = found;
            let finished = Finished { node, member: bundle.map(Member::Stored), inode: 0 };
            roots::put(run, Path::new(std::ffi::OsStr::from_bytes(&counts.path)).to_owned(), Some(finished));
            if let Some(consistency) = &status.consistency {
                counts.set_consistency(consistency.clone());
            }
            counts.carry(carried, amount.files + amount.directories, amount.bytes);
            counts.changes.replace_by_unmodified(amount.files, amount.directories);
            let id = carried.snapshot.short();
            run.monitor.note(&format!("{}: the tree of snapshot {id} takes its place", shown(counts)));
            return Ok(());
        }
        Ok(None) => "parts of it are about to be removed".to_owned(),
        Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
        Err(error) => error.chain().join(": "),
    };
    let message = format!("the tree of snapshot {} cannot take its place: {reason}", entry.id.short());
    run.finding(counts, counts.path.clone(), FindingKind::Unreadable, message);
    Ok(())
}

fn shown(counts: &SourceCounts) -> String {
    counts.name.clone().unwrap_or_else(|| crate::base::monitor::show_path(&counts.path))
}

/// The newest snapshot of the job that has a good tree of this source, and what it says of it.
fn last_good<'s>(
    session: &'s Session<'_>,
    counts: &SourceCounts,
    options: &BackupOptions,
) -> Option<(&'s SnapshotEntry, &'s SourceStatus)> {
    let of_job = session.snapshots().of_job(options.host_name(), options.job.as_deref()?);
    of_job.into_iter().rev().find_map(|entry| {
        let is_it = |status: &&SourceStatus| (&status.name, &status.path) == (&counts.name, &counts.path);
        let status = entry.snapshot.sources.iter().find(is_it)?;
        let is_good = match (&status.kind, status.outcome) {
            (_, SourceOutcome::Complete) | (None, SourceOutcome::Partial) => true,
            _ => status.carried.is_some(),
        };
        (is_good && status.nodes > 0).then_some((entry, status))
    })
}

/// What stands at a path of a snapshot, and how much that is; `None` if not all of it may be built upon.
fn find(run: &Run<'_>, entry: &SnapshotEntry, path: &[u8]) -> Result<Option<(Entry, Amount)>> {
    let reader = run.session.reader();
    let tree = Tree::new(&reader);
    let components = path_components(path)?;
    if components.is_empty() {
        return find_root(run, entry, tree);
    }
    let found = tree.lookup(&entry.snapshot.tree, &components)?;
    let is_free = run.session.may_take_over(&entry.id);
    if !is_free && !holds(run, tree, &found)? {
        return Ok(None);
    }
    let amount = Amount::of(run, &found)?;
    Ok(Some((found, amount)))
}

/// The same of the root, with the dumps of this run in the place of those that the snapshot has.
fn find_root(run: &Run<'_>, entry: &SnapshotEntry, tree: Tree<'_>) -> Result<Option<(Entry, Amount)>> {
    let is_free = run.session.may_take_over(&entry.id);
    // It stays where it is: the root takes it if nothing else can take the root's place.
    let mut beside = run.beside.node();
    let has_dumps = beside.is_some() || entry.snapshot.sources.iter().any(|source| source.kind.is_some());
    let folder = DUMPS_FOLDER.trim_start_matches('/').as_bytes();
    let read_again = |joined: &Joined, place: &BundlePlace| run.earlier.bundled(place, joined.size);
    let mut builder = DirectoryBuilder::new(run.session);
    let mut amount = Amount { directories: 1, ..Amount::default() };
    for found in tree.directory(entry.snapshot.tree) {
        let found = found?;
        if has_dumps && found.node.name == folder {
            continue;
        }
        if !is_free && !holds(run, tree, &found)? {
            return Ok(None);
        }
        amount.add_all(run, &found)?;
        if let Some(node) = beside.take_if(|node| node.name < found.node.name) {
            builder.push(node, None)?;
        }
        builder.push_reading(found.node, found.bundle.map(Member::Stored), &read_again)?;
    }
    if let Some(node) = beside {
        builder.push(node, None)?;
    }
    let node = roots::bare_directory(Vec::new(), builder.finish_reading(&read_again)?);
    Ok(Some((Entry { node, bundle: None }, amount)))
}

/// How much a tree holds.
#[derive(Default)]
struct Amount {
    files: u64,
    directories: u64,
    bytes: u64,
}

impl Amount {
    /// Of an entry and all below it.
    fn of(run: &Run<'_>, entry: &Entry) -> Result<Self> {
        let mut amount = Self::default();
        amount.add_all(run, entry)?;
        Ok(amount)
    }

    fn add_all(&mut self, run: &Run<'_>, entry: &Entry) -> Result<()> {
        let reader = run.session.reader();
        let tree = Tree::new(&reader);
        let mut waiting = Vec::new();
        self.add(&entry.node.kind, &mut waiting);
        while let Some(directory) = waiting.pop() {
            if run.is_over() {
                return Err(super::interrupted());
            }
            for entry in tree.directory(directory) {
                self.add(&entry?.node.kind, &mut waiting);
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: &NodeKind, waiting: &mut Vec<ChunkId>) {
        match kind {
            NodeKind::Directory(tree) => {
                self.directories += 1;
                waiting.push(*tree);
            }
            NodeKind::Regular(regular) => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(regular.size);
            }
            _ => self.files += 1,
        }
    }
}

/// Whether every chunk of an entry and of all below it may be built upon.
fn holds(run: &Run<'_>, tree: Tree<'_>, entry: &Entry) -> Result<bool> {
    let mut known = Known { run, tree, is_whole: true, pages: Vec::new() };
    if let Some(place) = &entry.bundle {
        known.look(&place.id)?;
    }
    known.node(&entry.node)?;
    while let Some(page) = known.pages.pop().filter(|_| known.is_whole) {
        if run.is_over() {
            return Err(super::interrupted());
        }
        known.page(&page)?;
    }
    Ok(known.is_whole)
}

/// A walk that only asks whether chunks are known.
struct Known<'k, 's> {
    run: &'k Run<'s>,
    tree: Tree<'k>,
    is_whole: bool,
    pages: Vec<ChunkId>,
}

impl Known<'_, '_> {
    fn look(&mut self, id: &ChunkId) -> Result<()> {
        self.is_whole = self.is_whole && self.run.session.is_known(id)?;
        Ok(())
    }

    fn page(&mut self, id: &ChunkId) -> Result<()> {
        self.look(id)?;
        if !self.is_whole {
            return Ok(());
        }
        match self.tree.page(id)? {
            Page::Inner { children, .. } => self.pages.extend(children.into_iter().map(|child| child.id)),
            Page::Leaf { nodes, bundles } => {
                bundles.iter().try_for_each(|bundle| self.look(bundle))?;
                nodes.iter().try_for_each(|node| self.node(node))?;
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &crate::format::node::Node) -> Result<()> {
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(chunk) = &xattr.value {
                self.look(&chunk.id)?;
            }
        }
        match &node.kind {
            NodeKind::Directory(tree) => self.pages.push(*tree),
            NodeKind::Regular(regular) => match &regular.content {
                Content::Empty | Content::Bundle(_) => {}
                Content::Chunk(id) => self.look(id)?,
                Content::Chunks(chunks) => chunks.iter().try_for_each(|chunk| self.look(&chunk.id))?,
                Content::List { level, id } => self.list(*level, *id, regular.content_bytes())?,
            },
            _ => {}
        }
        Ok(())
    }

    fn list(&mut self, level: u8, id: ChunkId, length: u64) -> Result<()> {
        self.look(&id)?;
        if !self.is_whole {
            return Ok(());
        }
        let page = crate::format::node::ChunkRef { id, length };
        for entry in self.tree.list_page(level, page)? {
            match level.checked_sub(1) {
                None => self.look(&entry.id)?,
                Some(below) => self.list(below, entry.id, entry.length)?,
            }
        }
        Ok(())
    }
}
