//! Which snapshots are meant: by host, tags and paths, by name, by group.
//!
//! What must hold: every command that takes a snapshot or several chooses them here, so that `latest` of a host means
//! the same to all; what cannot be read may be meant, and is never passed over where it matters.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, SessionId};
use crate::format::snapshot::Snapshot;
use crate::repository::{SnapshotEntry, SnapshotList};

/// Which snapshots are meant, by what they say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// Names of machines, one of which must be the snapshot's; none: any.
    pub hosts: Vec<String>,
    /// Sets of tags, one of which the snapshot must have as a whole; none: any. An empty set means snapshots without
    /// tags.
    pub tags: Vec<Vec<String>>,
    /// Absolute paths that must all be among those that were backed up.
    pub paths: Vec<Vec<u8>>,
    /// Names of jobs, one of which must have made it; none: any, or no job.
    pub jobs: Vec<String>,
    /// Whether it must be one for which only some of the job's sources were asked for; `None`: either.
    pub is_selective: Option<bool>,
}

impl SnapshotFilter {
    /// Whether every snapshot is meant.
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
            && self.tags.is_empty()
            && self.paths.is_empty()
            && self.jobs.is_empty()
            && self.is_selective.is_none()
    }

    /// Whether this one is.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let has_tags = |wanted: &Vec<String>| match wanted.as_slice() {
            [] => snapshot.tags.is_empty(),
            wanted => wanted.iter().all(|tag| snapshot.tags.contains(tag)),
        };
        (self.hosts.is_empty() || self.hosts.contains(&snapshot.host))
            && (self.tags.is_empty() || self.tags.iter().any(has_tags))
            && self.paths.iter().all(|path| snapshot.paths.contains(path))
            && (self.jobs.is_empty() || snapshot.job.as_ref().is_some_and(|job| self.jobs.contains(job)))
            && self.is_selective.is_none_or(|wanted| wanted == snapshot.is_selective)
    }
}

/// By what snapshots are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// By machine.
    pub host: bool,
    /// By job.
    pub job: bool,
    /// By the paths that were backed up.
    pub paths: bool,
    /// By tags.
    pub tags: bool,
}

/// What the snapshots of a group have in common; `None` where they are not grouped by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Name of the machine.
    pub host: Option<String>,
    /// The job; the inner `None`: no job made them.
    pub job: Option<Option<String>>,
    /// The paths that were backed up.
    pub paths: Option<Vec<Vec<u8>>>,
    /// Tags.
    pub tags: Option<Vec<String>>,
}

impl Grouping {
    /// The grouping in which `latest` has its meaning.
    pub const HISTORY: Self = Self { host: true, job: true, paths: true, tags: false };

    /// What a snapshot has in common with its group.
    pub fn key_of(&self, snapshot: &Snapshot) -> GroupKey {
        GroupKey {
            host: self.host.then(|| snapshot.host.clone()),
            job: self.job.then(|| snapshot.job.clone()),
            paths: self.paths.then(|| snapshot.paths.clone()),
            tags: self.tags.then(|| snapshot.tags.clone()),
        }
    }

    /// Puts snapshots together, groups in order of their keys, snapshots in the given order.
    pub fn group<'l>(
        &self,
        snapshots: impl IntoIterator<Item = &'l SnapshotEntry>,
    ) -> BTreeMap<GroupKey, Vec<&'l SnapshotEntry>> {
        let mut groups: BTreeMap<GroupKey, Vec<&SnapshotEntry>> = BTreeMap::new();
        for entry in snapshots {
            groups.entry(self.key_of(&entry.snapshot)).or_default().push(entry);
        }
        groups
    }

    /// The newest so many of each group, in the given order.
    pub fn newest<'l>(&self, snapshots: Vec<&'l SnapshotEntry>, count: usize) -> Vec<&'l SnapshotEntry> {
        let mut kept = BTreeSet::new();
        for mut group in self.group(snapshots.iter().copied()).into_values() {
            in_order_of_making(&mut group);
            kept.extend(group.iter().rev().take(count).map(|entry| entry.id));
        }
        snapshots.into_iter().filter(|entry| kept.contains(&entry.id)).collect()
    }
}

/// The order in a group: a host's clock may have gone back, its generations have not.
fn in_order_of_making(group: &mut [&SnapshotEntry]) {
    group.sort_by_key(|entry| (entry.snapshot.generation, entry.snapshot.time, entry.id));
}

impl SnapshotList {
    /// The snapshot that a user means by `latest`, `latest~N` or a prefix of its id.
    pub fn find(&self, wanted: &str) -> Result<&SnapshotEntry> {
        self.find_among(wanted, &SnapshotFilter::default())
    }

    /// The snapshot that a user means by `latest`, `latest~N` or a prefix of its id, among those that a filter lets
    /// through.
    ///
    /// `latest` is the newest by time of those that nothing in their group (host, job, paths) follows; `latest~N` is
    /// the N-th before it in its group. `NotFound` if there is none, or if the filter does not let it through.
    pub fn find_among(&self, wanted: &str, filter: &SnapshotFilter) -> Result<&SnapshotEntry> {
        if let Some(back) = parse_latest(wanted) {
            return self.find_latest(wanted, back, filter);
        }
        let found = self.find_id(wanted)?;
        if !filter.matches(&found.snapshot) {
            let message =
                format!("snapshot {} is not of the host, tags, paths or job asked for", found.id.short());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(found)
    }

    /// The snapshots that are named, each once, or without names all that a filter lets through; oldest first.
    pub fn select(&self, names: &[impl AsRef<str>], filter: &SnapshotFilter) -> Result<Vec<&SnapshotEntry>> {
        if names.is_empty() {
            return Ok(self.visible.iter().filter(|entry| filter.matches(&entry.snapshot)).collect());
        }
        let mut wanted = BTreeSet::new();
        for name in names {
            wanted.insert(self.find_among(name.as_ref(), filter)?.id);
        }
        Ok(self.visible.iter().filter(|entry| wanted.contains(&entry.id)).collect())
    }

    /// The ids of the snapshots that are named, each once, in the given order. One that cannot be read has a name all the
    /// same, if that is unmistakable and no filter asks what it says.
    pub fn find_ids(&self, names: &[impl AsRef<str>], filter: &SnapshotFilter) -> Result<Vec<SessionId>> {
        let mut ids = Vec::new();
        for name in names {
            let id = match self.find_damaged(name.as_ref(), filter)? {
                Some(id) => id,
                None => self.find_among(name.as_ref(), filter)?.id,
            };
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// The snapshot that cannot be read and that a beginning of its id names, if it names no other.
    fn find_damaged(&self, wanted: &str, filter: &SnapshotFilter) -> Result<Option<SessionId>> {
        let is_meant = |id: &SessionId| !wanted.is_empty() && id.hex().starts_with(wanted);
        let mut damaged = self.damaged.iter().map(|(id, _)| *id).filter(is_meant);
        let Some(id) = damaged.next() else { return Ok(None) };
        if damaged.next().is_some() || self.visible.iter().any(|entry| is_meant(&entry.id)) {
            return Err(several(wanted));
        }
        // What it is of cannot be told, so that the usual error says that it cannot be read.
        Ok(filter.is_empty().then_some(id))
    }

    /// The snapshots of the same host, job and paths, in order of generation, then time.
    pub fn group_of(&self, like: &Snapshot) -> Vec<&SnapshotEntry> {
        self.group(&like.host, like.job.as_deref(), &like.paths)
    }

    /// The snapshots of a host, job and sorted paths, in order of generation, then time.
    pub fn group(&self, host: &str, job: Option<&str>, paths: &[Vec<u8>]) -> Vec<&SnapshotEntry> {
        let is_member = |entry: &&SnapshotEntry| {
            let Snapshot { host: of_host, job: of_job, paths: of_paths, .. } = &entry.snapshot;
            (of_host.as_str(), of_job.as_deref(), of_paths.as_slice()) == (host, job, paths)
        };
        let mut group: Vec<_> = self.visible.iter().filter(is_member).collect();
        in_order_of_making(&mut group);
        group
    }

    /// The snapshots of a host's job, whatever its sources were, in the order in which they were made: a host counts its
    /// snapshots, while generations count those of the same sources.
    pub fn of_job(&self, host: &str, job: &str) -> Vec<&SnapshotEntry> {
        let is_member = |entry: &&SnapshotEntry| {
            entry.snapshot.host == host && entry.snapshot.job.as_deref() == Some(job)
        };
        let mut of_job: Vec<_> = self.visible.iter().filter(is_member).collect();
        of_job.sort_by_key(|entry| (entry.snapshot.sequence, entry.snapshot.time, entry.id));
        of_job
    }

    fn find_latest(&self, wanted: &str, back: usize, filter: &SnapshotFilter) -> Result<&SnapshotEntry> {
        let not_found = |message: String| Error::new(ErrorKind::NotFound, message);
        // One that cannot be read may be the newest: an older one must not be taken for it.
        if let Some((id, error)) = self.damaged.first() {
            return Err(Error::new(error.kind(), error.chain().join(": ")).while_doing(format!(
                "cannot tell which snapshot is the latest: snapshot {id} cannot be read"
            )));
        }
        let matching = self.visible.iter().filter(|entry| filter.matches(&entry.snapshot));
        let mut groups: Vec<_> = Grouping::HISTORY.group(matching).into_values().collect();
        groups.iter_mut().for_each(|group| in_order_of_making(group));
        let newest = groups
            .into_iter()
            .max_by_key(|group| group.last().map(|entry| (entry.snapshot.time, entry.id)))
            .ok_or_else(|| match filter.is_empty() {
                true => not_found("there is no snapshot".into()),
                false => not_found("there is no snapshot of the host, tags, paths or job asked for".into()),
            })?;
        let found = newest.len().checked_sub(1).and_then(|last| last.checked_sub(back));
        found.and_then(|position| newest.get(position).copied()).ok_or_else(|| {
            let count = newest.len();
            not_found(format!("there is no snapshot {wanted}: the newest one's group has {count}"))
        })
    }

    fn find_id(&self, wanted: &str) -> Result<&SnapshotEntry> {
        let is_prefix =
            !wanted.is_empty() && wanted.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut matching =
            self.visible.iter().filter(|entry| is_prefix && entry.id.hex().starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(entry), None) => Ok(entry),
            (Some(_), Some(_)) => Err(several(wanted)),
            (None, _) => {
                let damaged = self.damaged.iter().find(|(id, _)| is_prefix && id.hex().starts_with(wanted));
                Err(match damaged {
                    Some((id, error)) => Error::new(error.kind(), error.chain().join(": "))
                        .while_doing(format!("cannot use snapshot {id}")),
                    None => {
                        let shown = show_path(wanted.as_bytes());
                        Error::new(ErrorKind::NotFound, format!("there is no snapshot {shown}"))
                    }
                })
            }
        }
    }
}

fn several(wanted: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("{wanted} is the beginning of more than one snapshot's id"))
}

fn parse_latest(wanted: &str) -> Option<usize> {
    match wanted.strip_prefix("latest")? {
        "" => Some(0),
        back => back.strip_prefix('~')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{ChunkId, ContentName, Timestamp};

    fn entry(id: u8, host: &str, generation: u64, seconds: i64) -> SnapshotEntry {
        let snapshot = Snapshot {
            host: host.into(),
            generation,
            time: Timestamp { seconds, nanoseconds: 0 },
            tree: ChunkId([0; 32]),
            ..crate::format::snapshot::tests::snapshot()
        };
        SnapshotEntry { id: SessionId([id; 16]), stored_hash: ContentName([id; 32]), snapshot }
    }

    fn tagged(id: u8, host: &str, tags: &[&str], paths: &[&str]) -> SnapshotEntry {
        let mut entry = entry(id, host, 1, id.into());
        entry.snapshot.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        entry.snapshot.paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        entry
    }

    fn numbers(entries: &[&SnapshotEntry]) -> Vec<u8> {
        entries.iter().map(|entry| entry.id.0[0]).collect()
    }

    fn found(list: &SnapshotList, wanted: &str) -> std::result::Result<u8, ErrorKind> {
        list.find(wanted).map(|entry| entry.id.0[0]).map_err(|error| error.kind())
    }

    #[test]
    fn a_user_finds_the_snapshot_that_was_meant() {
        let list = SnapshotList {
            // The clock of the second host went back: its newest generation has an older time.
            visible: vec![
                entry(0x11, "a", 1, 10),
                entry(0x12, "b", 2, 20),
                entry(0x13, "b", 1, 30),
                entry(0x21, "a", 2, 25),
            ],
            damaged: vec![(SessionId([0x99; 16]), Error::damaged("bits"))],
        };
        for wanted in ["latest", "latest~1"] {
            assert_eq!(
                found(&list, wanted),
                Err(ErrorKind::Damaged),
                "{wanted}: the damaged one may be the newest"
            );
        }
        assert_eq!(found(&list, "99"), Err(ErrorKind::Damaged));
        let list = SnapshotList { damaged: Vec::new(), ..list };
        assert_eq!(found(&list, "latest"), Ok(0x21));
        assert_eq!(found(&list, "latest~0"), Ok(0x21));
        assert_eq!(found(&list, "latest~1"), Ok(0x11));
        assert_eq!(found(&list, "latest~2"), Err(ErrorKind::NotFound));
        assert_eq!(found(&list, "2"), Ok(0x21));
        assert_eq!(found(&list, &"12".repeat(16)), Ok(0x12));
        assert_eq!(found(&list, "1"), Err(ErrorKind::Usage));
        for bad in ["", "3", "latest~", "latest~x", "g", "2121212121212121212121212121212121"] {
            assert_eq!(found(&list, bad), Err(ErrorKind::NotFound), "{bad}");
        }
        assert_eq!(found(&SnapshotList::default(), "latest"), Err(ErrorKind::NotFound));
    }

    #[test]
    fn a_filter_asks_for_one_host_one_set_of_tags_and_all_paths() {
        let list = SnapshotList {
            visible: vec![
                tagged(1, "a", &["x", "y"], &["/etc"]),
                tagged(2, "b", &["x"], &["/etc", "/home"]),
                tagged(3, "c", &[], &["/home"]),
            ],
            damaged: Vec::new(),
        };
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let select = |hosts: &[&str], tags: &[&[&str]], paths: &[&str]| {
            let filter = SnapshotFilter {
                hosts: texts(hosts),
                tags: tags.iter().map(|tags| texts(tags)).collect(),
                paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
                ..SnapshotFilter::default()
            };
            numbers(&list.select(&[""; 0], &filter).unwrap())
        };
        assert_eq!(select(&[], &[], &[]), [1, 2, 3]);
        assert_eq!(select(&["a", "c"], &[], &[]), [1, 3]);
        assert_eq!(select(&[], &[&["x", "y"]], &[]), [1]);
        assert_eq!(select(&[], &[&["y"], &["x"]], &[]), [1, 2]);
        assert_eq!(select(&[], &[&[]], &[]), [3]);
        assert_eq!(select(&[], &[], &["/home"]), [2, 3]);
        assert_eq!(select(&[], &[], &["/home", "/etc"]), [2]);
        assert_eq!(select(&["a"], &[], &["/home"]), [0; 0]);
    }

    #[test]
    fn the_latest_is_the_newest_of_those_that_match() {
        let list = SnapshotList {
            visible: vec![entry(1, "a", 1, 10), entry(2, "b", 1, 20), entry(3, "a", 2, 30)],
            damaged: Vec::new(),
        };
        let filter = SnapshotFilter { hosts: vec!["b".into()], ..SnapshotFilter::default() };
        let found = |wanted| list.find_among(wanted, &filter).map(|entry| entry.id.0[0]);
        assert_eq!(found("latest").unwrap(), 2);
        assert_eq!(found("latest~1").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(found("02").unwrap(), 2);
        assert!(found("03").unwrap_err().to_string().contains("03030303 is not of the host"));
        let all = SnapshotFilter::default();
        let selected = list.select(&["03", "latest~1", "0303", "01"], &all).unwrap();
        assert_eq!(numbers(&selected), [1, 3], "each once, oldest first");
    }

    #[test]
    fn ids_name_what_cannot_be_read_too() {
        let damaged = |id| (SessionId([id; 16]), Error::damaged("bits"));
        let list = SnapshotList {
            visible: vec![entry(0x11, "a", 1, 10), entry(0x12, "b", 2, 20)],
            damaged: vec![damaged(0x13), damaged(0x21), damaged(0x22)],
        };
        let found = |names: &[&str], filter: &SnapshotFilter| {
            let ids = list.find_ids(names, filter).map_err(|error| error.kind())?;
            Ok(ids.iter().map(|id| id.0[0]).collect::<Vec<_>>())
        };
        let all = SnapshotFilter::default();
        assert_eq!(found(&["21", "12", "2121", "13"], &all), Ok(vec![0x21, 0x12, 0x13]));
        assert_eq!(found(&["12", "1"], &all), Err(ErrorKind::Usage));
        assert_eq!(found(&["2"], &all), Err(ErrorKind::Usage));
        assert_eq!(found(&["latest"], &all), Err(ErrorKind::Damaged));
        assert_eq!(found(&["3"], &all), Err(ErrorKind::NotFound));
        assert_eq!(found(&[""], &all), Err(ErrorKind::NotFound));
        let of_a = SnapshotFilter { hosts: vec!["a".into()], ..all };
        assert_eq!(found(&["21"], &of_a), Err(ErrorKind::Damaged));
        assert_eq!(found(&["11"], &of_a), Ok(vec![0x11]));
    }

    #[test]
    fn groups_have_in_common_what_they_are_grouped_by() {
        let entries =
            [tagged(1, "b", &["x"], &["/etc"]), tagged(2, "a", &[], &["/etc"]), tagged(3, "b", &[], &["/x"])];
        let groups = |grouping: Grouping| -> Vec<Vec<u8>> {
            grouping.group(&entries).values().map(|group| numbers(group)).collect()
        };
        assert_eq!(groups(Grouping::default()), [vec![1, 2, 3]]);
        assert_eq!(groups(Grouping { host: true, ..Grouping::default() }), [vec![2], vec![1, 3]]);
        assert_eq!(groups(Grouping { paths: true, ..Grouping::default() }), [vec![1, 2], vec![3]]);
        assert_eq!(groups(Grouping { tags: true, ..Grouping::default() }), [vec![2, 3], vec![1]]);
        assert_eq!(groups(Grouping::HISTORY), [vec![2], vec![1], vec![3]]);
        let key = Grouping { host: true, ..Grouping::default() }.key_of(&entries[0].snapshot);
        assert_eq!(key, GroupKey { host: Some("b".into()), ..GroupKey::default() });
    }
}
