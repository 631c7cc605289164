//! The directories of a mount above its snapshots.
//!
//! What must hold: every snapshot that is visible and asked for stands at each of its paths, under a name that no other
//! has there; a directory or link keeps its number as long as the mount is there, and a number never comes to mean
//! something else.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::{SessionId, Timestamp};
use crate::mount::template::PathTemplate;
use crate::repository::SnapshotEntry;

/// Number of the topmost directory; the kernel wants it so.
pub(super) const ROOT: u64 = 1;
/// The link to the newest snapshot of a directory.
const LATEST: &[u8] = b"latest";

/// What stands in a directory above the snapshots.
#[derive(Clone, Debug)]
pub(super) enum Above {
    /// Another such directory.
    Directory(u64),
    /// A link to a neighbour.
    Link(u64),
    /// A snapshot.
    Snapshot(Arc<SnapshotEntry>),
}

/// A directory above the snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// The one in which it stands.
    pub(super) parent: u64,
    /// By name.
    pub(super) entries: BTreeMap<Vec<u8>, Above>,
    /// That of the newest snapshot at or below it.
    pub(super) time: Timestamp,
}

/// All directories above the snapshots, by number.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) directories: HashMap<u64, Directory>,
    /// Links by number.
    links: HashMap<u64, (Vec<u8>, Timestamp)>,
    /// How many snapshots there are, what they say they hold in bytes and in nodes.
    pub(super) totals: (u64, u64),
}

/// Gives out numbers, the same for the same path.
#[derive(Debug)]
pub(super) struct Numbers {
    by_path: HashMap<Vec<u8>, u64>,
    next: u64,
    /// The name that a snapshot has in a directory, and which snapshot a name stands for there, for as long as the mount
    /// is there: whoever reads below a name must not come into another snapshot.
    names: HashMap<(u64, SessionId), Vec<u8>>,
    owners: HashMap<(u64, Vec<u8>), SessionId>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { by_path: HashMap::new(), next: ROOT + 1, names: HashMap::new(), owners: HashMap::new() }
    }
}

impl Numbers {
    fn of(&mut self, path: Vec<u8>) -> u64 {
        *self.by_path.entry(path).or_insert_with(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

impl Layout {
    /// Of these snapshots, oldest first; `name_of_time` gives what stands for `%T`.
    pub(super) fn of(
        snapshots: &[Arc<SnapshotEntry>],
        templates: &[PathTemplate],
        name_of_time: &dyn Fn(Timestamp) -> String,
        numbers: &mut Numbers,
    ) -> Self {
        let mut layout = Self::default();
        layout.directories.insert(ROOT, Directory { parent: ROOT, ..Directory::default() });
        for snapshot in snapshots {
            let snapshot = &snapshot.snapshot;
            let (bytes, nodes) = layout.totals;
            layout.totals =
                (bytes.saturating_add(snapshot.total_bytes), nodes.saturating_add(snapshot.total_nodes));
        }
        // One that has nothing to show is as old as the last thing that came to the others.
        let newest = snapshots.iter().map(|entry| entry.snapshot.time).max().unwrap_or_default();
        for template in templates {
            layout.reach(&template.fixed(), Timestamp::default(), numbers);
        }
        // Directories first, so that a snapshot that bears the name of one steps aside.
        let mut placed = Vec::new();
        for template in templates {
            for entry in snapshots {
                for mut path in template.paths(entry, &name_of_time(entry.snapshot.time)) {
                    let Some(name) = path.pop() else { continue };
                    let directory = layout.reach(&path, entry.snapshot.time, numbers);
                    placed.push((directory, path, name, entry, template.ends_in_time()));
                }
            }
        }
        let mut latest = BTreeMap::new();
        for (directory, path, name, entry, ends_in_time) in placed {
            let name = layout.add(directory, name, entry, numbers);
            if ends_in_time {
                latest.insert(directory, (path, name, entry.snapshot.time));
            }
        }
        for (directory, (path, target, time)) in latest {
            layout.link(directory, &path, target, time, numbers);
        }
        for directory in layout.directories.values_mut() {
            if directory.time == Timestamp::default() {
                directory.time = newest;
            }
        }
        layout
    }

    /// The target of a link, and the time of what it leads to.
    pub(super) fn link_of(&self, number: u64) -> Option<&(Vec<u8>, Timestamp)> {
        self.links.get(&number)
    }

    /// The directory at a path, made where it is missing.
    fn reach(&mut self, path: &[Vec<u8>], time: Timestamp, numbers: &mut Numbers) -> u64 {
        let mut here = ROOT;
        self.touch(here, time);
        for (depth, name) in path.iter().enumerate() {
            let known = self.directories.get(&here).and_then(|directory| directory.entries.get(name));
            let below = match known {
                Some(Above::Directory(number)) => *number,
                _ => {
                    let number = numbers.of(path.get(..=depth).unwrap_or_default().join(&b'/'));
                    let directory = Directory { parent: here, ..Directory::default() };
                    self.directories.insert(number, directory);
                    if let Some(parent) = self.directories.get_mut(&here) {
                        parent.entries.insert(name.clone(), Above::Directory(number));
                    }
                    number
                }
            };
            self.touch(below, time);
            here = below;
        }
        here
    }

    fn touch(&mut self, number: u64, time: Timestamp) {
        if let Some(directory) = self.directories.get_mut(&number) {
            directory.time = directory.time.max(time);
        }
    }

    /// Adds a snapshot under the name that it had before, or one like `name` that was never another's; gives that.
    fn add(
        &mut self,
        number: u64,
        name: Vec<u8>,
        entry: &Arc<SnapshotEntry>,
        numbers: &mut Numbers,
    ) -> Vec<u8> {
        let Some(directory) = self.directories.get_mut(&number) else { return name };
        let is_free = |name: &Vec<u8>, numbers: &Numbers| {
            let owner = numbers.owners.get(&(number, name.clone()));
            owner.is_none_or(|owner| *owner == entry.id) && !directory.entries.contains_key(name)
        };
        let before = numbers.names.get(&(number, entry.id)).cloned();
        let mut free = before.filter(|before| is_free(before, numbers)).unwrap_or_else(|| name.clone());
        for suffix in 1_u32.. {
            if is_free(&free, numbers) {
                break;
            }
            free = [name.as_slice(), format!("-{suffix}").as_bytes()].concat();
        }
        directory.entries.insert(free.clone(), Above::Snapshot(Arc::clone(entry)));
        numbers.owners.insert((number, free.clone()), entry.id);
        numbers.names.insert((number, entry.id), free.clone());
        free
    }

    fn link(
        &mut self,
        directory: u64,
        path: &[Vec<u8>],
        target: Vec<u8>,
        time: Timestamp,
        numbers: &mut Numbers,
    ) {
        // A link that leads elsewhere is another one: the kernel may keep what the first one said.
        let number = numbers.of([&path.join(&b'/'), LATEST, &target].join(&0));
        let Some(directory) = self.directories.get_mut(&directory) else { return };
        if !directory.entries.contains_key(LATEST) {
            self.links.insert(number, (target, time));
            directory.entries.insert(LATEST.to_vec(), Above::Link(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ContentName, SessionId};
    use crate::format::snapshot::tests::snapshot;
    use crate::mount::template::PATH_TEMPLATES;

    fn entry(number: u8, seconds: i64, host: &str, tags: &[&str]) -> Arc<SnapshotEntry> {
        let mut snapshot = snapshot();
        snapshot.time = Timestamp { seconds, nanoseconds: 0 };
        snapshot.host = host.into();
        snapshot.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        snapshot.job = None;
        Arc::new(SnapshotEntry { id: SessionId([number; 16]), stored_hash: ContentName([1; 32]), snapshot })
    }

    fn layout(snapshots: &[Arc<SnapshotEntry>], templates: &[&str], numbers: &mut Numbers) -> Layout {
        let templates: Vec<PathTemplate> =
            templates.iter().map(|text| text.parse().expect("a template")).collect();
        Layout::of(snapshots, &templates, &|time| format!("t{}", time.seconds), numbers)
    }

    /// Everything below a directory, one path a line.
    fn shown(layout: &Layout, number: u64, path: &str, lines: &mut Vec<String>) {
        for (name, above) in &layout.directories[&number].entries {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            match above {
                Above::Directory(below) => {
                    lines.push(format!("{path}/"));
                    assert_eq!(layout.directories[below].parent, number);
                    shown(layout, *below, &path, lines);
                }
                Above::Link(number) => {
                    let (target, _) = layout.link_of(*number).expect("a link");
                    lines.push(format!("{path} -> {}", String::from_utf8_lossy(target)));
                }
                Above::Snapshot(entry) => lines.push(format!("{path} = {:?}", entry.id.0[0])),
            }
        }
    }

    fn lines(layout: &Layout) -> Vec<String> {
        let mut lines = Vec::new();
        shown(layout, ROOT, "", &mut lines);
        lines
    }

    #[test]
    fn every_snapshot_stands_at_each_of_its_paths() {
        let snapshots =
            [entry(1, 10, "web", &["a"]), entry(2, 20, "db", &[]), entry(3, 20, "web", &["a", "b"])];
        let layout = layout(&snapshots, &PATH_TEMPLATES, &mut Numbers::default());
        let expected = "/hosts/
            /hosts/db/
            /hosts/db/latest -> t20
            /hosts/db/t20 = 2
            /hosts/web/
            /hosts/web/latest -> t20
            /hosts/web/t10 = 1
            /hosts/web/t20 = 3
            /ids/
            /ids/01010101 = 1
            /ids/02020202 = 2
            /ids/03030303 = 3
            /jobs/
            /snapshots/
            /snapshots/latest -> t20-1
            /snapshots/t10 = 1
            /snapshots/t20 = 2
            /snapshots/t20-1 = 3
            /tags/
            /tags/a/
            /tags/a/latest -> t20
            /tags/a/t10 = 1
            /tags/a/t20 = 3
            /tags/b/
            /tags/b/latest -> t20
            /tags/b/t20 = 3";
        assert_eq!(lines(&layout), expected.lines().map(str::trim).collect::<Vec<_>>());
        assert_eq!(layout.directories[&ROOT].time.seconds, 20);
    }

    #[test]
    fn numbers_stay_and_a_link_that_leads_elsewhere_is_another() {
        let mut numbers = Numbers::default();
        let (first, second) = (entry(1, 10, "web", &[]), entry(2, 20, "web", &[]));
        let before = layout(&[Arc::clone(&first)], &["snapshots/%T"], &mut numbers);
        let after = layout(&[first, second], &["snapshots/%T"], &mut numbers);
        let number = |layout: &Layout| match layout.directories[&ROOT].entries[b"snapshots".as_slice()] {
            Above::Directory(number) => number,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(number(&before), number(&after));
        let link = |layout: &Layout| match layout.directories[&number(layout)].entries[LATEST] {
            Above::Link(number) => number,
            ref other => panic!("{other:?}"),
        };
        assert_ne!(link(&before), link(&after));
        assert_eq!(after.link_of(link(&after)).expect("a link").0, b"t20");
    }

    #[test]
    fn a_name_never_comes_to_mean_another_snapshot() {
        let mut numbers = Numbers::default();
        let snapshots = [entry(1, 10, "web", &[]), entry(2, 10, "web", &[]), entry(3, 10, "web", &[])];
        layout(&snapshots[..2], &["%T"], &mut numbers);
        let after = layout(&snapshots[1..], &["%T"], &mut numbers);
        assert_eq!(lines(&after), ["/latest -> t10-2", "/t10-1 = 2", "/t10-2 = 3"]);
    }

    #[test]
    fn snapshots_step_aside_for_directories_and_for_each_other() {
        let snapshots = [entry(1, 10, "t10", &[]), entry(2, 10, "x", &[])];
        let layout = layout(&snapshots, &["%T", "%h/%i"], &mut Numbers::default());
        let expected = "/latest -> t10-2
            /t10/
            /t10/01010101 = 1
            /t10-1 = 1
            /t10-2 = 2
            /x/
            /x/02020202 = 2";
        assert_eq!(lines(&layout), expected.lines().map(str::trim).collect::<Vec<_>>());
    }
}
