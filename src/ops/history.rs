//! What became of one path: its versions over many snapshots, and when it was not there.
//!
//! What must hold: a snapshot that says nothing of the path, because nothing near it was backed up, is no gap; a
//! directory on the way that several snapshots share is read once.

use std::collections::{BTreeMap, HashMap};

use crate::base::{ChunkId, Error, ErrorKind, Monitor, Result};
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::ops::find::tell_damage;
use crate::ops::list::path_components;
use crate::repository::{Repository, SnapshotEntry};
use crate::tree::{Entry, LastBundles, Tree, same_version};

/// A time in which nothing changed.
#[derive(Clone, Debug)]
pub struct Period {
    /// What was there; nothing where it was absent.
    pub entry: Option<Entry>,
    /// Positions of the snapshots that saw it so, in order of time; one at least.
    pub snapshots: Vec<usize>,
}

/// What became of a path on one machine.
#[derive(Clone, Debug)]
pub struct HostHistory {
    /// Name of the machine.
    pub host: String,
    /// Periods in order of time. The first one is never an absence.
    pub periods: Vec<Period>,
}

/// What became of a path.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Machines that have it, by name.
    pub hosts: Vec<HostHistory>,
    /// Snapshots in which the path could not be looked up; each was told.
    pub damaged: u64,
}

/// Looks up a path in snapshots, which are given in order of time. `NotFound` if none of them has it, `Usage` if it is the
/// root directory.
pub fn history(
    repository: &Repository,
    snapshots: &[&SnapshotEntry],
    path: &[u8],
    monitor: &dyn Monitor,
) -> Result<History> {
    let components = path_components(path)?;
    if components.is_empty() {
        return Err(Error::new(ErrorKind::Usage, "the root directory has no versions of its own"));
    }
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let (known, versions, bundles) = (HashMap::new(), Vec::new(), LastBundles::default());
    let mut lookup = Lookup { tree, components: &components, known, versions, bundles };
    let mut found = History::default();
    let mut hosts: BTreeMap<&str, Vec<Seen>> = BTreeMap::new();
    for (position, entry) in snapshots.iter().enumerate() {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        let version = match lookup.version(&entry.snapshot.tree) {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                found.damaged += 1;
                tell_damage(monitor, entry, path, &error);
                continue;
            }
            version => version?,
        };
        if version.is_some() || is_about(&entry.snapshot, &components) {
            hosts.entry(&entry.snapshot.host).or_default().push(Seen { position, version });
        }
    }
    for (host, seen) in hosts {
        let mut periods: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
        for Seen { position, version } in seen {
            match periods.last_mut() {
                Some((last, positions)) if *last == version => positions.push(position),
                None if version.is_none() => {}
                _ => periods.push((version, vec![position])),
            }
        }
        let entry = |number: usize| lookup.versions.get(number).cloned();
        let periods: Vec<Period> = periods
            .into_iter()
            .map(|(version, snapshots)| Period { entry: version.and_then(entry), snapshots })
            .collect();
        if !periods.is_empty() {
            found.hosts.push(HostHistory { host: host.to_owned(), periods });
        }
    }
    if found.hosts.is_empty() && found.damaged == 0 {
        let shown = crate::base::monitor::show_path(path);
        let message = match snapshots.len() {
            0 => format!("there is no snapshot in which {shown} could be"),
            1 => format!("the snapshot does not hold {shown}"),
            count => format!("none of {count} snapshots holds {shown}"),
        };
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    Ok(found)
}

/// What a snapshot has at the path: the number of a version.
struct Seen {
    position: usize,
    version: Option<usize>,
}

/// Whether a backup would have met a path: something in which it lies, or that lies in it, was backed up.
fn is_about(snapshot: &Snapshot, components: &[&[u8]]) -> bool {
    snapshot.paths.iter().any(|source| {
        let mut names = source.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let mut wanted = components.iter();
        loop {
            match (names.next(), wanted.next()) {
                (Some(name), Some(wanted)) if name == *wanted => {}
                (Some(_), Some(_)) => return false,
                _ => return true,
            }
        }
    })
}

/// Finds the path in one tree after the other.
struct Lookup<'l> {
    tree: Tree<'l>,
    components: &'l [&'l [u8]],
    /// What stands at the path below a directory, by how deep that is and its root page.
    known: HashMap<(usize, ChunkId), Option<usize>>,
    versions: Vec<Entry>,
    bundles: LastBundles,
}

impl Lookup<'_> {
    fn version(&mut self, root: &ChunkId) -> Result<Option<usize>> {
        let mut passed = Vec::new();
        let mut directory = *root;
        let mut found = None;
        for (depth, name) in self.components.iter().enumerate() {
            if let Some(known) = self.known.get(&(depth, directory)) {
                found = *known;
                break;
            }
            passed.push((depth, directory));
            let Some(entry) = self.tree.find_entry(&directory, name)? else { break };
            if depth + 1 == self.components.len() {
                found = Some(self.number(entry)?);
                break;
            }
            match entry.node.kind {
                NodeKind::Directory(below) => directory = below,
                _ => break,
            }
        }
        self.known.extend(passed.into_iter().map(|place| (place, found)));
        Ok(found)
    }

    fn number(&mut self, entry: Entry) -> Result<usize> {
        for (number, version) in self.versions.iter().enumerate().rev() {
            if same_version(self.tree, &mut self.bundles, version, &entry)? {
                return Ok(number);
            }
        }
        self.versions.push(entry);
        Ok(self.versions.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::snapshot::tests::snapshot;

    #[test]
    fn a_snapshot_is_about_what_lies_on_one_line_with_its_paths() {
        let is_about = |paths: &[&str], path: &str| {
            let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            let components = path_components(path.as_bytes()).unwrap();
            is_about(&Snapshot { paths, ..snapshot() }, &components)
        };
        assert!(is_about(&["/etc"], "/etc/hosts"));
        assert!(is_about(&["/etc"], "/etc"));
        assert!(is_about(&["/etc/ssh"], "/etc"));
        assert!(is_about(&["/home", "/"], "/etc"));
        assert!(!is_about(&["/etc"], "/etcetera"));
        assert!(!is_about(&["/etc", "/home/a"], "/home/b"));
        assert!(!is_about(&[], "/etc"));
    }
}
