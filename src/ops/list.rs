//! Listing what a snapshot holds.

use crate::base::{Error, ErrorKind, Monitor, Result};
use crate::format::node::NodeKind;
use crate::repository::{Repository, SnapshotEntry};
use crate::tree::{Budget, Entry, Tree, Walk, WalkItem};

/// Calls `visit` with the absolute path and the entry of everything at and below `path` in a snapshot, parents first,
/// names in order. Without a path, everything is listed. `NotFound` if the snapshot does not hold the path.
pub fn list(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: Option<&[u8]>,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(&[u8], &Entry) -> Result<()>,
) -> Result<()> {
    list_within(repository, snapshot, path, None, monitor, visit)
}

/// As `list`, of what is below the path or the root only so many levels, if that is said: with 1 what is in it.
pub fn list_within(
    repository: &Repository,
    snapshot: &SnapshotEntry,
    path: Option<&[u8]>,
    depth: Option<usize>,
    monitor: &dyn Monitor,
    visit: &mut dyn FnMut(&[u8], &Entry) -> Result<()>,
) -> Result<()> {
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let components = path_components(path.unwrap_or_default())?;
    let mut current: Vec<u8> = Vec::new();
    let mut root = snapshot.snapshot.tree;
    let mut budget = Budget::of(&snapshot.snapshot);
    if !components.is_empty() {
        let entry = tree.lookup(&root, &components)?;
        budget.spend(&entry)?;
        components.iter().for_each(|name| current.extend([b"/", *name].concat()));
        visit(&current, &entry)?;
        match entry.node.kind {
            NodeKind::Directory(below) => root = below,
            _ => return Ok(()),
        }
    }
    let mut ends: Vec<usize> = Vec::new();
    let mut walk = Walk::new(tree, root, budget);
    while let Some(item) = walk.next() {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        match item? {
            WalkItem::Leave => current.truncate(ends.pop().unwrap_or_default()),
            WalkItem::Entry(entry) => {
                let end = current.len();
                current.push(b'/');
                current.extend_from_slice(&entry.node.name);
                visit(&current, &entry)?;
                match entry.node.kind {
                    NodeKind::Directory(_) if depth.is_none_or(|depth| ends.len() + 1 < depth) => {
                        ends.push(end);
                    }
                    NodeKind::Directory(_) => {
                        walk.skip_directory();
                        current.truncate(end);
                    }
                    _ => current.truncate(end),
                }
            }
        }
    }
    Ok(())
}

/// The components of a path within a snapshot; empty ones and `.` do not count, `..` is refused.
pub fn path_components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let components: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if components.iter().any(|part| *part == b"..") {
        let shown = crate::base::monitor::show_path(path);
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{shown}: .. cannot stand in a path within a snapshot"),
        ));
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::host::Host;
    use crate::base::{ContentName, SessionId, Silent};
    use crate::format::node::tests::plain;
    use crate::format::snapshot::tests::snapshot;
    use crate::repository::SessionOptions;
    use crate::repository::tests::new_repository;
    use crate::tree::DirectoryBuilder;

    #[test]
    fn a_listing_ends_where_the_tree_says_more_than_its_snapshot() {
        let (_, repository) = new_repository();
        let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
        // Each directory names the one below it ten times: 10^20 entries in twenty pages.
        let mut tree = DirectoryBuilder::new(&session).finish().unwrap();
        for _ in 0..20 {
            let mut builder = DirectoryBuilder::new(&session);
            for name in b'a'..b'k' {
                builder.push(plain(&[name], NodeKind::Directory(tree)), None).unwrap();
            }
            tree = builder.finish().unwrap();
        }
        session.commit(snapshot).unwrap();
        let entry = SnapshotEntry {
            id: SessionId([1; 16]),
            stored_hash: ContentName([1; 32]),
            snapshot: crate::format::snapshot::Snapshot { tree, total_nodes: 1000, ..snapshot() },
        };
        let mut seen = 0;
        let error = list(&repository, &entry, None, &Silent, &mut |_, _| {
            seen += 1;
            Ok(())
        });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("SNAP-6"), "{error}");
        assert_eq!(seen, 1000);
    }

    #[test]
    fn a_path_is_taken_apart() {
        let parts = |path: &'static [u8]| path_components(path).ok();
        assert_eq!(parts(b""), Some(vec![]));
        assert_eq!(parts(b"/"), Some(vec![]));
        assert_eq!(parts(b"/a//b/./c/"), Some(vec![b"a".as_slice(), b"b", b"c"]));
        assert_eq!(parts(b"a/../b"), None);
        assert_eq!(parts(b"..."), Some(vec![b"...".as_slice()]));
    }
}
