//! Where sources stand in the snapshot: nested under their absolute paths, their parents with their real metadata.
//!
//! What must hold: a source that is gone or unreadable is a finding of that source and has no node; the root directory
//! and all parents are there in any case.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rayon::Scope;

use crate::base::monitor::show_file;
use crate::base::{ChunkId, Error, ErrorKind, Result, Timestamp};
use crate::format::node::{Metadata, Node, NodeKind};
use crate::fsmeta::capture::{StatKind, metadata};
use crate::ops::backup::big::{OpenLater, WaitingFile};
use crate::ops::backup::directory::{self, Found, Goal};
use crate::ops::backup::file::{self, Taken};
use crate::ops::backup::run::{Run, SourceCounts};
use crate::ops::path::PathLink;
use crate::source::{Directory, Listed, Planned, PlannedDirectory};
use crate::tree::DirectoryBuilder;

/// What became of the root of a source.
pub(super) struct Root {
    pub(super) node: Option<Node>,
    pub(super) bundled: Option<Vec<u8>>,
}

/// The whole tree.
pub(super) struct Assembled {
    pub(super) tree: ChunkId,
    /// Parents of sources, which no source counts.
    pub(super) parents: u64,
    /// Parents whose metadata could not be read.
    pub(super) findings: u64,
}

/// Fails if not one of the paths is there, before anything is written.
pub(super) fn check_any_exists(paths: &[PathBuf]) -> Result<()> {
    let mut missing = None;
    for path in paths {
        match std::fs::symlink_metadata(path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                missing
                    .get_or_insert_with(|| Error::system(format!("there is no {}", show_file(path)), cause));
            }
            _ => return Ok(()),
        }
    }
    Err(missing.unwrap_or_else(|| Error::new(ErrorKind::Usage, "no path to back up was given")))
}

pub(super) fn put(run: &Run<'_>, path: PathBuf, node: Option<Node>, bundled: Option<Vec<u8>>) {
    run.roots.lock().unwrap_or_else(PoisonError::into_inner).insert(path, Root { node, bundled });
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
        let opened = Directory::open_absolute(path);
        let (source, goal) = (Arc::clone(source), Goal::Root(path.to_owned()));
        return directory::begin(run, scope, Found { opened, path: link, depth: 0, source, goal });
    };
    let name = name.as_bytes().to_vec();
    let listed = Directory::open_absolute(parent).and_then(|directory| {
        directory.stat_at(&name).map(|stat| (directory, Listed { name: name.clone(), stat }))
    });
    match listed {
        Err(error) => {
            run.unreadable(source, source.path.clone(), &error);
            put(run, path.to_owned(), None, None);
        }
        Ok((directory, listed)) if listed.stat.kind == StatKind::Directory => {
            let parent_link = Arc::new(link_of(parent));
            let link = Arc::new(PathLink { parent: Some(parent_link), name: name.clone() });
            let opened = directory.open_child(&name);
            // As deep as it stands in the snapshot; the root, which is the first component, is at depth 0.
            let depth = path.components().count() - 1;
            let (source, goal) = (Arc::clone(source), Goal::Root(path.to_owned()));
            directory::begin(run, scope, Found { opened, path: link, depth, source, goal });
        }
        Ok((directory, listed)) if file::is_big(&listed) => {
            begin_big(run, scope, path, source, Box::new(move || file::open(&directory, &listed.name)));
        }
        Ok((directory, listed)) => {
            let shown = || source.path.clone();
            match file::take(run, &directory, &listed, source, &shown) {
                Ok(Taken::Node(node, bundled)) => put(run, path.to_owned(), Some(*node), bundled),
                Ok(Taken::Nothing) => put(run, path.to_owned(), None, None),
                Ok(Taken::Big(open)) => begin_big(run, scope, path, source, Box::new(move || Ok(*open))),
                Err(error) => run.fail(error),
            }
        }
    }
}

fn begin_big<'s: 'scope, 'scope>(
    run: &'scope Run<'s>,
    scope: &Scope<'scope>,
    path: &Path,
    source: &Arc<SourceCounts>,
    open: OpenLater<'s>,
) {
    let (shown, goal) = (source.path.clone(), Goal::Root(path.to_owned()));
    run.big_files.begin(run, scope, WaitingFile { open, path: shown, source: Arc::clone(source), goal });
}

/// The path of a source's parent as one link; `/` is the empty name.
fn link_of(parent: &Path) -> PathLink {
    let bytes = parent.as_os_str().as_bytes();
    PathLink { parent: None, name: if bytes == b"/" { Vec::new() } else { bytes.to_vec() } }
}

/// Builds the directories above the sources.
pub(super) fn assemble(run: &Run<'_>, plan: &Planned) -> Result<Assembled> {
    let mut assembled = Assembled { tree: ChunkId([0; 32]), parents: 0, findings: 0 };
    match plan {
        Planned::Directory(root) => assembled.tree = build(run, root, &mut assembled)?,
        Planned::Path => {
            let root = run.roots.lock().unwrap_or_else(PoisonError::into_inner).remove(Path::new("/"));
            assembled.tree = match root.ok_or_else(unfinished)?.node.map(|node| node.kind) {
                Some(NodeKind::Directory(tree)) => tree,
                _ => DirectoryBuilder::new(run.session).finish()?,
            };
        }
    }
    Ok(assembled)
}

/// Without a word from a source, nothing can be said of it.
fn unfinished() -> Error {
    Error::new(ErrorKind::Failed, "a source was not read to its end")
}

fn build(run: &Run<'_>, directory: &PlannedDirectory, assembled: &mut Assembled) -> Result<ChunkId> {
    let mut builder = DirectoryBuilder::new(run.session);
    for (name, planned) in &directory.children {
        let path = directory.path.join(std::ffi::OsStr::from_bytes(name));
        match planned {
            Planned::Path => {
                let root = run.roots.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
                let Root { node, bundled } = root.ok_or_else(unfinished)?;
                if let Some(node) = node {
                    builder.push(node, bundled.as_deref())?;
                }
            }
            Planned::Directory(below) => {
                let tree = build(run, below, assembled)?;
                assembled.parents += 1;
                builder.push(parent_node(run, &path, name.clone(), tree, assembled)?, None)?;
            }
        }
    }
    builder.finish()
}

/// The node of a directory above a source.
fn parent_node(
    run: &Run<'_>,
    path: &Path,
    name: Vec<u8>,
    tree: ChunkId,
    assembled: &mut Assembled,
) -> Result<Node> {
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
    Ok(node)
}

/// A directory of which nothing is known but its entries: parents of a stream, and parents that are gone.
pub(super) fn bare_directory(name: Vec<u8>, tree: ChunkId) -> Node {
    let now = Timestamp::now();
    let metadata = Metadata { mode: 0o755, mtime: now, ctime: now, ..Metadata::default() };
    Node { name, kind: NodeKind::Directory(tree), metadata, xattrs: Vec::new(), kept: Vec::new() }
}
