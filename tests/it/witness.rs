//! What must come back: a few tiny sources that have much in common, and a judge of what a repository gives back.
//!
//! What must hold: what is expected is read from the sources by the standard library alone; each visible snapshot is
//! judged by everything that is below its source: names, kinds, contents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use packstone::base::{Result, SessionId};
use packstone::format::config::{Bundling, Chunking, Packing, Paging, Parameters};
use packstone::format::node::NodeKind;
use packstone::ops::list::path_components;
use packstone::repository::{ChunkKind, Reader, Repository, SnapshotEntry};
use packstone::tree::{Budget, Tree, Walk, WalkItem};

use crate::engine::give_back;
use crate::support::dump::{assert_same, dump};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// So small that a source of a few thousand bytes is several packs. Nothing is cut where the keys of a repository say, so
/// that all repositories of one source have as many objects.
pub const PARAMETERS: Parameters = Parameters {
    chunking: Chunking::Fixed { bytes: 512 },
    bundling: Bundling { file_bytes_max: 128, average_bytes: 2048, min_bytes: 2048, max_bytes: 4096 },
    paging: Paging { min_bytes: 8192, average_bytes: 8192, max_bytes: 16_384 },
    packing: Packing { segment_bytes: 1024, pack_bytes: 2048 },
};

/// How many sources there are.
pub const SOURCES: usize = 4;

/// What is below a directory, by path: the content of files, nothing of directories.
type Contents = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Tiny directories. All of them share some files, each has some with the next, and some of its own.
#[derive(Debug)]
pub struct Sources {
    scratch: Scratch,
    sources: Vec<(PathBuf, Contents)>,
}

impl Sources {
    /// Makes them.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let content = |seed: usize, length: usize| Random::new(seed as u64).bytes(length);
        let sources = (0..SOURCES).map(|number| {
            let path = scratch.join(&format!("source-{number}"));
            std::fs::create_dir_all(path.join("below")).expect("a directory");
            let next = (number + 1) % SOURCES;
            let files = [
                ("common".to_owned(), content(1, 900)),
                ("own".to_owned(), content(10 + number, 900)),
                (format!("shared-{number}"), content(20 + number, 900)),
                (format!("shared-{next}"), content(20 + next, 900)),
                ("tiny".to_owned(), content(30 + number, 100)),
                ("below/tiny".to_owned(), content(2, 100)),
                ("below/empty".to_owned(), Vec::new()),
            ];
            for (name, bytes) in files {
                std::fs::write(path.join(name), bytes).expect("a file");
            }
            let contents = contents(&path);
            assert!(contents.len() > 6);
            (path, contents)
        });
        let sources = sources.collect();
        crate::engine::pass_tick();
        Self { sources, scratch }
    }

    /// The path of a source.
    pub fn path(&self, number: usize) -> &Path {
        &self.sources[number % SOURCES].0
    }

    /// Changes the directory above the sources, so that the next backup stores at least the pages that lead to it,
    /// whatever other programs do in the directories above that.
    pub fn touch(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        rustix::fs::utimensat(rustix::fs::CWD, self.scratch.path(), &times, rustix::fs::AtFlags::empty())
            .expect("a time can be set");
    }

    /// Restores all visible snapshots as files, and compares these with their sources.
    #[track_caller]
    pub fn assert_restore(&self, repository: &Repository) {
        let targets = Scratch::new();
        for entry in repository.snapshots().expect("snapshots").visible {
            let is = |path: &Path| entry.snapshot.paths == [path.as_os_str().as_encoded_bytes().to_vec()];
            let (path, _) = self.sources.iter().find(|(path, _)| is(path)).expect("a source");
            let target = targets.join(&entry.id.hex());
            give_back(repository, entry.id, Some(path), &target);
            assert_same(&dump(path), &dump(&target));
        }
    }

    /// Reads all visible snapshots and says which they are, or what did not come back.
    pub fn judge(&self, repository: &Repository) -> std::result::Result<Vec<SessionId>, String> {
        let told =
            |what: &str, error: &packstone::base::Error| format!("{what}: {}", error.chain().join(": "));
        let snapshots = repository.snapshots().map_err(|error| told("snapshots", &error))?;
        if let Some((id, error)) = snapshots.damaged.first() {
            return Err(told(&format!("commit key {id}"), error));
        }
        let reader = repository.reader().map_err(|error| told("index", &error))?;
        for entry in &snapshots.visible {
            let found =
                read(&reader, entry).map_err(|error| told(&format!("snapshot {}", entry.id), &error))?;
            let is = |path: &Path| entry.snapshot.paths == [path.as_os_str().as_encoded_bytes().to_vec()];
            let expected = self.sources.iter().find(|(path, _)| is(path));
            let expected = expected.map(|(_, contents)| contents).ok_or("a snapshot of nothing known")?;
            if found != *expected {
                return Err(format!("snapshot {} holds something else than its source", entry.id));
            }
        }
        Ok(snapshots.visible.iter().map(|entry| entry.id).collect())
    }
}

fn contents(path: &Path) -> Contents {
    let mut found = Contents::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a directory") {
            let below = entry.expect("an entry").path();
            let name = below.strip_prefix(path).expect("below").as_os_str().as_encoded_bytes().to_vec();
            if below.is_dir() {
                found.insert(name, None);
                folders.push(below);
            } else {
                found.insert(name, Some(std::fs::read(below).expect("a file")));
            }
        }
    }
    found
}

/// What a snapshot holds below its one path.
fn read(reader: &Reader<'_>, entry: &SnapshotEntry) -> Result<Contents> {
    let tree = Tree::new(reader);
    let root = entry.snapshot.paths.first().map(Vec::as_slice).unwrap_or_default();
    let root = tree.lookup(&entry.snapshot.tree, &path_components(root)?)?;
    let NodeKind::Directory(root) = root.node.kind else { return Ok(Contents::new()) };
    let mut found = Contents::new();
    let mut path: Vec<Vec<u8>> = Vec::new();
    for item in Walk::new(Tree::new(reader), root, Budget::of(&entry.snapshot)) {
        let entry = match item? {
            WalkItem::Leave => {
                path.pop();
                continue;
            }
            WalkItem::Entry(entry) => entry,
        };
        path.push(entry.node.name.to_vec());
        let name = path.join(&b'/');
        match &entry.node.kind {
            NodeKind::Directory(_) => {
                found.insert(name, None);
                continue;
            }
            NodeKind::Regular(regular) => {
                let mut content = match &entry.bundle {
                    Some(place) => tree.bundled(place, regular.size)?,
                    None => Vec::new(),
                };
                tree.content(regular, &mut |chunk| {
                    content.extend(reader.chunk(ChunkKind::Data, &chunk.id)?);
                    Ok(())
                })?;
                found.insert(name, Some(content));
            }
            _ => drop(found.insert(name, None)),
        }
        path.pop();
    }
    Ok(found)
}
