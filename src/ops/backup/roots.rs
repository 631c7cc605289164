//! Where sources stand in the snapshot: nested under their absolute paths, their parents with their real metadata.
//!
//! What must hold: a source that is gone or unreadable is a finding of that source and has no node; the root directory
//! and all parents are there in any case.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rayon::Scope;

use crate::base::monitor::show_file;
use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result, SessionId, Timestamp};
use crate::format::node::{Metadata, Node, NodeKind};
use crate::fsmeta::capture::{StatKind, metadata};
use crate::ops::backup::big::{OpenLater, WaitingFile};
use crate::ops::backup::changes::{self, Earlier, Known};
use crate::ops::backup::directory::{self, Finished, Found, Goal};
use crate::ops::backup::file::{self, Place, Taken};
use crate::ops::backup::print::Seen;
use crate::ops::backup::run::{Run, SourceCounts};
use crate::ops::path::PathLink;
use crate::source::{Directory, Listed, Planned, PlannedDirectory};
use crate::tree::{BundlePlace, DirectoryBuilder, Joined};

/// The whole tree.
pub(super) struct Assembled {
    pub(super) tree: ChunkId,
    /// Parents of sources, which no source counts.
    pub(super) parents: u64,
    /// Parents whose metadata could not be read.
    pub(super) findings: u64,
    /// What became of each source.
    pub(super) roots: Vec<(Vec<u8>, Option<Node>)>,
}

/// Fails if not one of the paths can be found, before anything is written.
pub(super) fn check_any_exists(paths: &[PathBuf]) -> Result<()> {
    use std::io::ErrorKind as Io;
    let mut first = None;
    for path in paths {
        let (what, cause) = match std::fs::symlink_metadata(path) {
            Err(cause) if matches!(cause.kind(), Io::NotFound | Io::NotADirectory) => ("there is no", cause),
            Err(cause) if cause.kind() == Io::PermissionDenied => ("cannot reach", cause),
            // Also where it is too long to be asked for at once.
            _ => return Ok(()),
        };
        first.get_or_insert_with(|| Error::system(format!("{what} {}", show_file(path)), cause));
    }
    Err(first.unwrap_or_else(|| Error::new(ErrorKind::Usage, "no path to back up was given")))
}

/// Takes what became of the root of a source: nothing if it is gone or unreadable.
pub(super) fn put(run: &Run<'_>, path: PathBuf, finished: Option<Finished>) {
    run.roots.lock().unwrap_or_else(PoisonError::into_inner).insert(path, finished);
}

/// Begins a source.
pub(super) fn begin<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    path: &Path,
    source: &Arc<SourceCounts>,
) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        // The root of everything has neither.
        let link = Arc::new(PathLink { parent: None, name: Vec::new() });
        let (source, goal) = (Arc::clone(source), Goal::Root(path.to_owned()));
        let found = Found {
            opened: Directory::open_absolute(path),
            path: link,
            parent_path: Arc::from([]),
            known: run.earlier.source_directory(b"", b""),
            depth: 0,
            source,
            goal,
        };
        return directory::begin(run, scope, found);
    };
    let (parent_path, name) = (parent.as_os_str().as_bytes(), name.as_bytes().to_vec());
    let listed = Directory::open_absolute(parent).and_then(|directory| {
        directory.stat_at(&name).map(|stat| (directory, Listed { name: name.clone(), stat }))
    });
    match listed {
        Err(error) => {
            run.unreadable(source, source.path.clone(), &error);
            put(run, path.to_owned(), None);
        }
        Ok((directory, listed)) if listed.stat.kind == StatKind::Directory => {
            let parent_link = Arc::new(link_of(parent));
            let found = Found {
                opened: directory.open_child(&name),
                known: run.earlier.source_directory(parent_path, &name),
                path: Arc::new(PathLink { parent: Some(parent_link), name }),
                parent_path: parent_path.into(),
                // As deep as it stands in the snapshot; the root, which is the first component, is at depth 0.
                depth: path.components().count() - 1,
                source: Arc::clone(source),
                goal: Goal::Root(path.to_owned()),
            };
            directory::begin(run, scope, found);
        }
        Ok((directory, listed)) => begin_file(run, scope, path, source, directory, listed),
    }
}

/// Begins a source that is no directory.
fn begin_file<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    path: &Path,
    source: &Arc<SourceCounts>,
    directory: Directory,
    mut listed: Listed,
) {
    let old = run.earlier.source_file(&source.path).unwrap_or_else(|error| {
        changes::note_unreadable(run.monitor, &source.path, &error);
        None
    });
    let shown = |_: &[u8]| source.path.clone();
    // Of the directory's own file system; the file may lie on another one, if it is itself a mount point.
    let device = directory.stat().map_or(listed.stat.device, |stat| stat.device);
    let margin_seconds = run.margin_seconds(device, &directory);
    let place = Place { directory: &directory, known: &Known::Nothing, margin_seconds, source, path: &shown };
    match file::take(run, &place, &mut listed, old) {
        Ok(Taken::Finished(finished)) => put(run, path.to_owned(), Some(*finished)),
        Ok(Taken::Nothing) => put(run, path.to_owned(), None),
        Ok(Taken::Big(opened, before)) => {
            let open: OpenLater<'s> = match opened {
                Some(opened) => Box::new(move || Ok(*opened)),
                None => Box::new(move || file::open(&directory, &listed.name)),
            };
            let before = before.map(|before| *before);
            let (shown, goal) = (source.path.clone(), Goal::Root(path.to_owned()));
            let source = Arc::clone(source);
            run.big_files.begin(run, scope, WaitingFile { open, path: shown, source, goal, before });
        }
        Err(error) => run.fail(error),
    }
}

/// The path of a source's parent as one link; `/` is the empty name.
fn link_of(parent: &Path) -> PathLink {
    let bytes = parent.as_os_str().as_bytes();
    PathLink { parent: None, name: if bytes == b"/" { Vec::new() } else { bytes.to_vec() } }
}

impl Assembled {
    /// Nothing yet.
    pub(super) const fn nothing() -> Self {
        Self { tree: ChunkId([0; 32]), parents: 0, findings: 0, roots: Vec::new() }
    }
}

/// Builds what stands in the root beside all that the machine has in it, from sources that are done.
pub(super) fn put_beside(
    run: &Run<'_>,
    plan: &Planned,
    began: Timestamp,
    assembled: &mut Assembled,
) -> Result<()> {
    let Planned::Directory(root) = plan else { return Ok(()) };
    let clean_before = began.earlier(run.longest_margin_seconds());
    for (name, planned) in &root.children {
        let Planned::Directory(below) = planned else { continue };
        let tree = build(run, below, clean_before, assembled)?;
        assembled.parents += 1;
        let node = bare_directory(name.clone(), tree);
        run.beside.put(Box::new(Finished { node, member: None, inode: 0 }));
    }
    Ok(())
}

/// Builds the directories above the sources. `began` is a moment before anything was looked at.
pub(super) fn assemble(
    run: &Run<'_>,
    plan: &Planned,
    began: Timestamp,
    mut assembled: Assembled,
) -> Result<Assembled> {
    let clean_before = began.earlier(run.longest_margin_seconds());
    match plan {
        Planned::Directory(root) => {
            assembled.tree = build(run, root, clean_before, &mut assembled)?;
        }
        Planned::Path => {
            let root = run.roots.lock().unwrap_or_else(PoisonError::into_inner).remove(Path::new("/"));
            let root = root.ok_or_else(unfinished)?;
            assembled.roots.push((b"/".to_vec(), root.as_ref().map(|root| root.node.clone())));
            assembled.tree = match root.map(|root| root.node.kind) {
                Some(NodeKind::Directory(tree)) => tree,
                _ => {
                    let mut builder = DirectoryBuilder::new(run.session);
                    if let Some(beside) = run.beside.take() {
                        builder.push(beside.node, None)?;
                    }
                    builder.finish()?
                }
            };
        }
    }
    Ok(assembled)
}

/// The snapshot that this run's would follow, if it has the same sources. The directories above them are not asked: the
/// times of `/tmp` say nothing of what lies in it. One that cannot be read is not the same.
pub(super) fn same_as(
    earlier: &Earlier<'_>,
    roots: &[(Vec<u8>, Option<Node>)],
    monitor: &dyn Monitor,
) -> Option<SessionId> {
    let (id, tree) = earlier.followed()?;
    let is_same = are_unchanged(earlier, &tree, roots).unwrap_or_else(|error| {
        let why = error.chain().join(": ");
        monitor.note(&format!(
            "a snapshot is made, whether anything changed or not, as the earlier one cannot be read: {why}"
        ));
        false
    });
    is_same.then_some(id)
}

fn are_unchanged(earlier: &Earlier<'_>, tree: &ChunkId, roots: &[(Vec<u8>, Option<Node>)]) -> Result<bool> {
    for (path, node) in roots {
        let before = match path.as_slice() {
            b"/" => Some(bare_directory(Vec::new(), *tree)),
            _ => earlier.node(tree, path)?,
        };
        let is_same = match (&before, node) {
            (Some(before), Some(node)) if path == b"/" => before.kind == node.kind,
            _ => before == *node,
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Without a word from a source, nothing can be said of it.
fn unfinished() -> Error {
    Error::new(ErrorKind::Failed, "a source was not read to its end")
}

fn build(
    run: &Run<'_>,
    directory: &PlannedDirectory,
    clean_before: Timestamp,
    assembled: &mut Assembled,
) -> Result<ChunkId> {
    let mut children = Vec::new();
    let mut seen = Seen::new(clean_before, true);
    for (name, planned) in &directory.children {
        let path = directory.path.join(std::ffi::OsStr::from_bytes(name));
        let finished = match planned {
            Planned::Path => {
                let root = run.roots.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                let root = root.ok_or_else(unfinished)?;
                let node = root.as_ref().map(|root| root.node.clone());
                assembled.roots.push((path.into_os_string().into_vec(), node));
                root
            }
            Planned::Directory(below) => {
                let tree = build(run, below, clean_before, assembled)?;
                assembled.parents += 1;
                Some(match run.real_parents.contains(&path) {
                    true => parent_node(run, &path, name.clone(), tree, assembled)?,
                    false => Finished { node: bare_directory(name.clone(), tree), member: None, inode: 0 },
                })
            }
        };
        if let Some(finished) = finished {
            seen.add(&finished.node, finished.inode);
            children.push(finished);
        }
    }
    let parent_path = directory.path.parent().map_or(&b""[..], |parent| parent.as_os_str().as_bytes());
    let name = directory.path.file_name().map_or(&b""[..], |name| name.as_bytes());
    let known = run.earlier.directory(parent_path, name, &Known::Nothing)?;
    if let Some((print, node)) = run.earlier.unchanged(&known)
        && *print == seen.print()
        && let NodeKind::Directory(tree) = node.kind
    {
        return Ok(tree);
    }
    let read_again = |joined: &Joined, place: &BundlePlace| {
        let directory = Directory::open_absolute(&directory.path);
        match directory.ok().and_then(|directory| file::read_same(&directory, joined)) {
            Some(content) => {
                run.add_bytes_read(content.len() as u64);
                Ok(content)
            }
            None => run.earlier.bundled(place, joined.size),
        }
    };
    let mut builder = DirectoryBuilder::new(run.session);
    for Finished { node, member, .. } in children {
        builder.push_reading(node, member, &read_again)?;
    }
    let tree = builder.finish_reading(&read_again)?;
    let (row, children) = seen.into_row(0, &bare_directory(name.to_vec(), tree));
    run.earlier.remember(parent_path, name, &row, &children);
    Ok(tree)
}

/// The node of a directory above a source.
fn parent_node(
    run: &Run<'_>,
    path: &Path,
    name: Vec<u8>,
    tree: ChunkId,
    assembled: &mut Assembled,
) -> Result<Finished> {
    let kind = NodeKind::Directory(tree);
    let counts = SourceCounts::new(path.as_os_str().as_bytes().to_vec());
    let read = Directory::open_absolute(path)
        .and_then(|directory| directory.stat().and_then(|stat| Ok((stat, directory.xattrs()?))));
    let node = match read {
        Ok((stat, xattrs)) => {
            let xattrs = run.xattrs(&counts, || counts.path.clone(), xattrs)?;
            Node { name, kind, metadata: metadata(&stat, &run.owners, None), xattrs, kept: Vec::new() }
        }
        Err(error) => {
            run.unreadable(&counts, counts.path.clone(), &error);
            bare_directory(name, tree)
        }
    };
    assembled.findings += counts.status().findings;
    Ok(Finished { node, member: None, inode: 0 })
}

/// A directory of which nothing is known but its entries: those above and of dumps, and parents that are gone.
pub(super) fn bare_directory(name: Vec<u8>, tree: ChunkId) -> Node {
    let now = Timestamp::now();
    let metadata = Metadata { mode: 0o755, mtime: now, ctime: now, ..Metadata::default() };
    Node { name, kind: NodeKind::Directory(tree), metadata, xattrs: Vec::new(), kept: Vec::new() }
}
