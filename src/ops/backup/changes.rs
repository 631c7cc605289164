//! What may be taken over from an earlier snapshot instead of being read again.
//!
//! What must hold: a file is taken for unchanged only if size, times and inode are what they were, and it was at rest
//! when it was read: a change in the same tick of the clock would leave no trace. An id is named again only from a
//! snapshot that the session saw, and without a look only where collections allow it; what cannot be taken over is
//! read.

use crate::base::monitor::show_path;
use crate::base::{ChunkId, ErrorKind, Monitor, Result, SessionId, Timestamp};
use crate::format::cbor;
use crate::format::node::{Content, Metadata, Node, NodeKind, Regular, Xattr, XattrValue};
use crate::fsmeta::capture::{Stat, StatKind};
use crate::ops::backup::BackupOptions;
use crate::ops::backup::file::Before;
use crate::ops::backup::sources::Prepared;
use crate::ops::list::path_components;
use crate::repository::{Reader, Session, SnapshotEntry, SnapshotList};
use crate::state::{self, LastRun, Row};
use crate::tree::{BundlePlace, DirectoryEntries, Entry, Member, Tree};

/// Which earlier snapshot a backup is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Comparison {
    /// The newest of the same host, job and paths.
    #[default]
    Newest,
    /// None: everything is read.
    Nothing,
    /// This one, as a user names it.
    With(String),
}

/// The earlier snapshot.
struct Origin {
    time: Timestamp,
    tree: ChunkId,
    /// The local rows are of this snapshot.
    has_rows: bool,
    /// What it names may be named again without looking up each chunk.
    is_free: bool,
}

/// What is known from earlier runs.
pub(super) struct Earlier<'s> {
    session: &'s Session<'s>,
    reader: Reader<'s>,
    last_run: Option<LastRun>,
    origin: Option<Origin>,
    /// The newest snapshot of the group, or the one that was named, and its tree.
    followed: Option<(SessionId, ChunkId)>,
    ignore_ctime: bool,
    ignore_inode: bool,
}

/// What is known of a directory.
pub(super) enum Known {
    /// Nothing, so that everything in it is new.
    Nothing,
    /// What the last run saw of it, and its node.
    Row(Box<(Row, Node)>),
    /// Its tree in the earlier snapshot, and its node unless it is the root.
    Tree(ChunkId, Option<Box<Node>>),
}

/// What is known of a file.
pub(super) struct OldFile {
    entry: Entry,
    /// Where the last run told; 0 for one that is to be read again.
    inode: Option<u64>,
}

/// What is taken over of a file.
pub(super) struct TakenOver {
    pub(super) regular: Regular,
    pub(super) member: Option<Member>,
    /// `None`: they are to be read.
    pub(super) xattrs: Option<Vec<Xattr>>,
}

/// What the runs have in common that follow each other.
pub(super) enum Group {
    /// Sorted paths.
    Paths(Vec<Vec<u8>>),
    /// A job, and the names of those of its sources that this run takes, sorted. Which paths these are may change from
    /// run to run.
    Job(String, Vec<String>),
}

impl Group {
    pub(super) fn of(prepared: &Prepared<'_>, options: &BackupOptions) -> Self {
        match &options.job {
            None => Self::Paths(prepared.shown_paths.clone()),
            Some(job) => {
                let names = prepared.all.iter().filter_map(|(counts, _)| counts.name.clone());
                let mut names: Vec<String> = names.collect();
                names.sort();
                names.dedup();
                Self::Job(job.clone(), names)
            }
        }
    }

    /// The newest snapshot of the group; of a job, if it has none of just these sources, the newest of all.
    fn newest<'l>(&self, list: &'l SnapshotList, host: &str) -> Option<&'l SnapshotEntry> {
        match self {
            Self::Paths(paths) => list.group(host, None, paths).pop(),
            Self::Job(job, names) => {
                let of_job = list.of_job(host, job);
                let like = of_job.iter().rev().find(|entry| entry.snapshot.source_names() == *names);
                like.or(of_job.last()).copied()
            }
        }
    }

    /// By what local state tells groups apart.
    fn parts(&self) -> Vec<&[u8]> {
        match self {
            Self::Paths(paths) => paths.iter().map(Vec::as_slice).collect(),
            // No path is like it.
            Self::Job(job, names) => [b"job".as_slice(), job.as_bytes()]
                .into_iter()
                .chain(names.iter().map(String::as_bytes))
                .collect(),
        }
    }
}

impl<'s> Earlier<'s> {
    /// Finds the snapshot to compare with and what is kept of it on this machine.
    pub(super) fn new(
        session: &'s Session<'s>,
        group: &Group,
        options: &BackupOptions,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        let parent = parent(session, group, options)?;
        let last_run = open_state(session, group, options, monitor);
        let mut earlier = Self {
            session,
            reader: session.reader(),
            last_run,
            origin: None,
            followed: None,
            ignore_ctime: options.ignore_ctime,
            ignore_inode: options.ignore_inode,
        };
        let rows_of = earlier.last_run.as_ref().and_then(LastRun::snapshot);
        let repository = session.repository().id();
        // One with other tags may have taken the place of the snapshot, with the same tree.
        let is_of = |entry: &SnapshotEntry, id: SessionId| {
            let origin = entry.snapshot.origin.as_ref();
            entry.id == id
                || origin.is_some_and(|origin| (origin.repository, origin.snapshot) == (repository, id))
        };
        let visible = |id: SessionId| session.snapshots().visible.iter().find(|entry| is_of(entry, id));
        let with_rows = match options.comparison {
            Comparison::Nothing => None,
            Comparison::Newest => rows_of.and_then(visible),
            Comparison::With(_) => parent.filter(|parent| rows_of.is_some_and(|id| is_of(parent, id))),
        };
        let with_rows = with_rows.filter(|entry| earlier.rows_lead_to(&entry.snapshot.tree));
        if let (None, Some(last_run)) = (with_rows, &earlier.last_run) {
            last_run.clear();
        }
        let is_compared = options.comparison != Comparison::Nothing;
        let parent = parent.filter(|_| is_compared);
        earlier.followed = parent.map(|entry| (entry.id, entry.snapshot.tree));
        earlier.origin = with_rows.or(parent).map(|entry| Origin {
            time: entry.snapshot.time,
            tree: entry.snapshot.tree,
            has_rows: with_rows.is_some(),
            is_free: session.may_take_over(&entry.id),
        });
        Ok(earlier)
    }

    /// Whether the rows are those of a snapshot with this root. A file that was put together of two runs' tells so here.
    fn rows_lead_to(&self, tree: &ChunkId) -> bool {
        self.row(b"", b"").is_some_and(|(_, root)| root.kind == NodeKind::Directory(*tree))
    }

    fn tree(&'s self) -> Tree<'s> {
        Tree::new(&self.reader)
    }

    /// What is known of the directory `name` in `parent`, which is known as `above`.
    pub(super) fn directory(&'s self, parent: &[u8], name: &[u8], above: &Known) -> Result<Known> {
        let Some(origin) = &self.origin else { return Ok(Known::Nothing) };
        if origin.has_rows {
            return Ok(self.row(parent, name).map_or(Known::Nothing, |row| Known::Row(Box::new(row))));
        }
        let Known::Tree(above, _) = above else { return Ok(Known::Nothing) };
        Ok(Known::as_stored(self.tree().find_entry(above, name)?))
    }

    /// What is known of the directory at a path from the root on, in whose parent nothing was looked up.
    pub(super) fn source_directory(&'s self, parent: &[u8], name: &[u8]) -> Result<Known> {
        let Some(origin) = &self.origin else { return Ok(Known::Nothing) };
        if origin.has_rows {
            return self.directory(parent, name, &Known::Nothing);
        }
        let path = state::join(parent, name);
        if path == b"/" {
            return Ok(Known::Tree(origin.tree, None));
        }
        Ok(Known::as_stored(self.entry(&origin.tree, &path)?))
    }

    /// What is known of a source that is a file.
    pub(super) fn source_file(&'s self, path: &[u8]) -> Result<Option<OldFile>> {
        let Some(origin) = &self.origin else { return Ok(None) };
        Ok(self.entry(&origin.tree, path)?.map(|entry| OldFile { entry, inode: None }))
    }

    fn entry(&'s self, tree: &ChunkId, path: &[u8]) -> Result<Option<Entry>> {
        match self.tree().lookup(tree, &path_components(path)?) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn row(&self, parent: &[u8], name: &[u8]) -> Option<(Row, Node)> {
        let row = self.last_run.as_ref()?.row(parent, name)?;
        let mut reader = cbor::Reader::new(&row.node);
        let node = Node::decode(&mut reader).ok()?;
        Some((row, Node { name: name.to_vec(), ..node }))
    }

    /// The entries that the directory had.
    pub(super) fn entries(&'s self, known: &Known) -> Option<OldEntries<'s>> {
        let (tree, inodes) = match known {
            Known::Nothing => return None,
            Known::Tree(tree, _) => (*tree, None),
            Known::Row(row) => match row.1.kind {
                NodeKind::Directory(tree) => {
                    (tree, Some(row.0.inodes.clone()).filter(|list| !list.is_empty()))
                }
                _ => return None,
            },
        };
        Some(OldEntries { entries: self.tree().directory(tree), next: None, inodes, others_met: 0 })
    }

    /// The node of a directory whose print is what the row says: its tree may be named again.
    pub(super) fn unchanged<'k>(&self, known: &'k Known) -> Option<(&'k [u8; 32], &'k Node)> {
        let origin = self.origin.as_ref()?;
        let Known::Row(row) = known else { return None };
        let print = row.0.print.as_ref()?;
        (origin.is_free && !self.ignore_ctime && !self.ignore_inode).then_some((print, &row.1))
    }

    /// The attributes of a directory that is itself as it was.
    pub(super) fn own_xattrs<'k>(
        &self,
        known: &'k Known,
        metadata: &Metadata,
        inode: u64,
    ) -> Option<&'k [Xattr]> {
        let Known::Row(row) = known else { return None };
        let (row, node) = &**row;
        let is_at_rest = metadata.ctime < row.clean_before;
        let is_known = row.inode != 0 && row.inode == inode;
        let is_same = node.metadata == *metadata && is_known && is_at_rest && !self.ignore_ctime;
        (is_same && self.may_keep(&node.xattrs)).then_some(&node.xattrs)
    }

    /// What changed at or after this moment may have changed again unseen; in a directory whose file system has this
    /// margin.
    fn clean_before(&self, known: &Known, margin_seconds: u32) -> Option<Timestamp> {
        match known {
            Known::Row(row) => Some(row.0.clean_before),
            _ => self.origin.as_ref().map(|origin| origin.time.earlier(margin_seconds)),
        }
    }

    /// The content of a file that is as it was; `None` if it is to be read.
    pub(super) fn take_over(
        &self,
        old: OldFile,
        known: &Known,
        stat: &Stat,
        margin_seconds: u32,
        is_bundled: bool,
    ) -> Result<Option<TakenOver>> {
        let Some(clean_before) = self.clean_before(known, margin_seconds) else { return Ok(None) };
        let OldFile { entry: Entry { node, bundle }, inode } = old;
        let NodeKind::Regular(regular) = node.kind else { return Ok(None) };
        let is_same = stat.kind == StatKind::Regular
            && regular.size == stat.size
            && node.metadata.mtime == stat.mtime
            && stat.mtime < clean_before
            && (self.ignore_ctime || (node.metadata.ctime == stat.ctime && stat.ctime < clean_before))
            && (self.ignore_inode || inode.is_none_or(|inode| inode != 0 && inode == stat.inode))
            && !regular.changed_while_read
            // With another number of names it would be stored in another way.
            && bundle.is_some() == (is_bundled && regular.extents.is_none());
        if !is_same || !self.holds(&regular.content, bundle.as_ref())? {
            return Ok(None);
        }
        // Without the row's inode it is not known that they were read without a problem.
        let knows_xattrs = !self.ignore_ctime && !self.ignore_inode && inode.is_some();
        let xattrs = (knows_xattrs && self.may_keep(&node.xattrs)).then_some(node.xattrs);
        Ok(Some(TakenOver { regular, member: bundle.map(Member::Stored), xattrs }))
    }

    /// Whether all chunks of a content may be named again.
    fn holds(&self, content: &Content, bundle: Option<&BundlePlace>) -> Result<bool> {
        if self.origin.as_ref().is_some_and(|origin| origin.is_free) {
            return Ok(true);
        }
        match (content, bundle) {
            (_, Some(place)) => self.session.is_known(&place.id),
            (Content::Empty, None) => Ok(true),
            (Content::Chunk(id), None) => self.session.is_known(id),
            (Content::Chunks(chunks), None) => {
                for chunk in chunks {
                    if !self.session.is_known(&chunk.id)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            // Rare, and reading is always right.
            (Content::List { .. } | Content::Bundle(_), None) => Ok(false),
        }
    }

    /// Whether attributes may be taken over: those with stored values only where ids may.
    fn may_keep(&self, xattrs: &[Xattr]) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.is_free)
            || xattrs.iter().all(|xattr| matches!(xattr.value, XattrValue::Inline(_)))
    }

    /// The content of a file from its bundle.
    pub(super) fn bundled(&'s self, place: &BundlePlace, size: u64) -> Result<Vec<u8>> {
        self.tree().bundled(place, size)
    }

    /// The snapshot that this run's will follow, and its root tree; nothing if nothing is to be compared. What is
    /// remembered may be of an older one, if another machine or user made the newest.
    pub(super) const fn followed(&self) -> Option<(SessionId, ChunkId)> {
        self.followed
    }

    /// The node at a path of a tree.
    pub(super) fn node(&'s self, tree: &ChunkId, path: &[u8]) -> Result<Option<Node>> {
        Ok(self.entry(tree, path)?.map(|entry| entry.node))
    }

    /// Remembers what this run saw of a directory, and forgets the subdirectories that it no longer has.
    pub(super) fn remember(&self, parent: &[u8], name: &[u8], row: &Row, children: &[Vec<u8>]) {
        if let Some(last_run) = &self.last_run {
            last_run.put(parent, name, row);
            last_run.keep_only(&state::join(parent, name), children);
        }
    }

    /// Forgets what was seen at a path and below it: something else stands there in this run's snapshot, or nothing.
    pub(super) fn forget(&self, path: &[u8]) {
        let Some(last_run) = &self.last_run else { return };
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
        let (parent, name) = path.split_at(end);
        let parent = if parent.is_empty() { b"/" } else { parent };
        match name.get(1..).filter(|name| !name.is_empty()) {
            Some(name) => last_run.forget(parent, name),
            None => last_run.clear(),
        }
    }

    /// Remembers that a directory's own metadata changed, and nothing in it.
    pub(super) fn remember_itself(&self, parent: &[u8], name: &[u8], row: &Row) {
        if let Some(last_run) = &self.last_run {
            last_run.put(parent, name, row);
        }
    }

    /// Gives what this run saw, to be kept once its snapshot is committed.
    pub(super) fn into_last_run(self) -> Option<LastRun> {
        self.last_run
    }
}

impl Known {
    /// Whether a directory is as it was. Of the root only the tree is known, without local state.
    pub(super) fn is(&self, now: &Node) -> bool {
        match self {
            Self::Nothing => false,
            Self::Row(row) => row.1 == *now,
            Self::Tree(tree, None) => now.kind == NodeKind::Directory(*tree),
            Self::Tree(_, Some(before)) => **before == *now,
        }
    }

    /// What the earlier snapshot has where a directory stands now.
    fn as_stored(entry: Option<Entry>) -> Self {
        let Some(Entry { node, .. }) = entry else { return Self::Nothing };
        match node.kind {
            NodeKind::Directory(tree) => Self::Tree(tree, Some(Box::new(node))),
            _ => Self::Nothing,
        }
    }
}

/// The snapshot that a backup follows or is told to be compared with.
pub(super) fn parent<'s>(
    session: &'s Session<'_>,
    group: &Group,
    options: &BackupOptions,
) -> Result<Option<&'s SnapshotEntry>> {
    match &options.comparison {
        Comparison::With(wanted) => session.snapshots().find(wanted).map(Some),
        _ => Ok(group.newest(session.snapshots(), options.host_name())),
    }
}

/// The file of this group of runs. Whatever is wrong with it costs time alone.
fn open_state(
    session: &Session<'_>,
    group: &Group,
    options: &BackupOptions,
    monitor: &dyn Monitor,
) -> Option<LastRun> {
    let repository = session.repository();
    let folder = repository.cache_folder()?;
    let open = || {
        let key = repository.local_key("runs")?;
        let mut name = blake3::Hasher::new_keyed(key.expose());
        name.update(options.host_name().as_bytes());
        for part in group.parts() {
            name.update(b"\0").update(part);
        }
        let name = name.finalize().to_hex();
        LastRun::open(&state::file_in(folder, name.get(..16).unwrap_or_default())?, key)
    };
    match open() {
        Ok(opened) => {
            if let Some(error) = opened.discarded {
                let why = error.chain().join(": ");
                monitor.note(&format!("what was kept of the last run is thrown away, and all files are compared with the repository: {why}"));
            }
            Some(opened.last_run)
        }
        Err(error) => {
            monitor.note(&format!("nothing is kept for the next run: {}", error.chain().join(": ")));
            None
        }
    }
}

/// The entries that a directory had, in order of names.
pub(super) struct OldEntries<'s> {
    entries: DirectoryEntries<'s>,
    next: Option<Entry>,
    inodes: Option<Vec<u64>>,
    /// Entries that are no directories, up to and without `next`.
    others_met: usize,
}

impl OldEntries<'_> {
    /// The entry of this name; names are asked for in order.
    pub(super) fn find(&mut self, name: &[u8]) -> Result<Option<OldFile>> {
        loop {
            let entry = match self.next.take() {
                Some(entry) => entry,
                None => match self.entries.next() {
                    None => return Ok(None),
                    Some(entry) => entry?,
                },
            };
            if entry.node.name.as_slice() > name {
                self.next = Some(entry);
                return Ok(None);
            }
            let is_directory = matches!(entry.node.kind, NodeKind::Directory(_));
            let inode = self.inodes.as_ref().map(|list| list.get(self.others_met).copied().unwrap_or(0));
            self.others_met += usize::from(!is_directory);
            if entry.node.name == name {
                let inode = if is_directory { None } else { inode };
                return Ok(Some(OldFile { entry, inode }));
            }
        }
    }
}

impl OldFile {
    /// What it was, if it was a regular file.
    pub(super) fn regular(&self) -> Option<Before> {
        match &self.entry.node.kind {
            NodeKind::Regular(regular) => Some((self.entry.node.metadata.clone(), regular.clone())),
            _ => None,
        }
    }
}

/// Says that an earlier tree cannot be read, whose files are then read again.
pub(super) fn note_unreadable(monitor: &dyn Monitor, path: &[u8], error: &crate::base::Error) {
    let (shown, why) = (show_path(path), error.chain().join(": "));
    monitor.note(&format!(
        "{shown}: everything in it is read again, as the earlier snapshot cannot be read: {why}"
    ));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::Silent;
    use crate::base::host::Host;
    use crate::ops::backup::backup_paths;
    use crate::ops::tag::{TagChange, TagOptions, tag};
    use crate::repository::SessionOptions;
    use crate::repository::tests::new_repository_with_cache;

    #[test]
    fn rows_serve_the_snapshot_that_replaced_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let (_, repository) = new_repository_with_cache(folder.path().join("cache"));
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        let options = BackupOptions::new(Host::current());
        backup_paths(&repository, std::slice::from_ref(&source), Path::new("/"), &options, &Silent).unwrap();
        let group = Group::Paths(vec![source.into_os_string().into_encoded_bytes()]);
        let has_rows = |comparison| {
            let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
            let options = BackupOptions { comparison, ..options.clone() };
            let earlier = Earlier::new(&session, &group, &options, &Silent).unwrap();
            earlier.origin.is_some_and(|origin| origin.has_rows && origin.is_free)
        };
        assert!(has_rows(Comparison::Newest));
        let list = repository.snapshots().unwrap();
        let tagging = TagOptions {
            change: TagChange { add: vec!["a".into()], ..TagChange::default() },
            host: Host::current(),
            session: SessionOptions::default(),
            user: None,
        };
        tag(&repository, &[&list.visible[0]], &tagging, &Silent, &mut |_| ()).unwrap();
        assert!(has_rows(Comparison::Newest));
        assert!(has_rows(Comparison::With("latest".into())));
        let new = repository.snapshots().unwrap().visible[0].id;
        let forgetter = crate::ops::forget::Forgetter { host: "h".into(), user: None, program: "p".into() };
        let tombstone = forgetter.tombstone(crate::format::tombstone::ForgetReason::Named);
        crate::ops::forget::forget(&repository, &[new], &tombstone, &Silent).unwrap();
        assert!(!has_rows(Comparison::Newest), "nothing is left that they could serve");
    }
}
