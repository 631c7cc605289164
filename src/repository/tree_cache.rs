//! What this machine keeps of tree packs: segments, each in a file of its own, as they are stored, so that whoever looks for
//! a path a second time waits for no network.
//!
//! What must hold: a kept segment is sealed as it was in the repository, and opened as if it had just come from there:
//! whatever became of the file, nothing but what was stored comes out of it, and what does not open is fetched again.
//! What is kept says nothing of what the repository still has: `Audit` does not look here. Any number of processes share
//! the folder, which grows beyond its limit by no more than what each writes between two looks. A cache that cannot be
//! read or written costs requests and nothing else.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::ContentName;
use crate::repository::records::write_file;

/// The usual limit: the trees of some ten million files.
pub const CACHE_BYTES: u64 = 1 << 30;

/// The folder of segments, below that of the repository.
const FOLDER: &str = "trees";
/// The least that a file takes on a disk.
const BLOCK_BYTES: u64 = 4 << 10;
/// After so large a part of the limit a process looks what the folder has become.
const LOOK_PART: u64 = 16;
/// So large a part of the limit is made free at a time.
const FREE_PART: u64 = 8;

/// Segments of tree packs on this machine.
#[derive(Debug, Default)]
pub(super) struct TreeCache {
    /// Where everything is kept of this repository, if anything is.
    folder: Option<PathBuf>,
    /// What may be kept there altogether; nothing is kept of trees where other things take more.
    bytes_max: u64,
    /// Bytes that may be written until the next look; none: nobody has looked.
    unseen_bytes: Mutex<Option<u64>>,
    /// A file could not be written: the next one could not either.
    is_off: AtomicBool,
}

/// A file of the folder.
struct Kept {
    changed: Option<std::time::SystemTime>,
    bytes: u64,
    path: PathBuf,
}

impl TreeCache {
    /// Segments kept below this folder, which may hold so many bytes; without a folder none are.
    pub(super) fn new(folder: Option<&Path>, bytes_max: u64) -> Self {
        Self { folder: folder.map(Path::to_owned), bytes_max, ..Self::default() }
    }

    /// Whether anything is kept.
    pub(super) const fn is_used(&self) -> bool {
        self.folder.is_some() && self.bytes_max > 0
    }

    fn path(&self, pack: &ContentName, segment: u32) -> Option<PathBuf> {
        let folder = self.folder.as_ref().filter(|_| self.is_used())?;
        Some(folder.join(FOLDER).join(format!("{pack}-{segment}")))
    }

    /// The sealed bytes of a segment, if so many are kept.
    pub(super) fn find(&self, pack: &ContentName, segment: u32, stored_bytes: u32) -> Option<Vec<u8>> {
        let path = self.path(pack, segment)?;
        let is_whole = |length: u64| length == u64::from(stored_bytes);
        // Asked before it is opened: what is no file would keep its reader waiting.
        let described = std::fs::symlink_metadata(&path).ok()?;
        if !described.is_file() || !is_whole(described.len()) {
            return None;
        }
        let sealed = std::fs::read(&path).ok().filter(|sealed| is_whole(sealed.len() as u64))?;
        touch(&path);
        Some(sealed)
    }

    /// Keeps the sealed bytes of a segment.
    pub(super) fn keep(&self, pack: &ContentName, segment: u32, sealed: &[u8]) {
        let Some(path) = self.path(pack, segment).filter(|_| !self.is_off.load(Ordering::Relaxed)) else {
            return;
        };
        let bytes = on_disk(sealed.len() as u64);
        if self.make_room(bytes) && write_file(&path, sealed).is_err() {
            self.is_off.store(true, Ordering::Relaxed);
        }
    }

    /// Removes what does not open.
    pub(super) fn forget(&self, pack: &ContentName, segment: u32) {
        if let Some(path) = self.path(pack, segment) {
            // What stays is found out again.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Whether so many bytes may be written: those not asked for longest go first.
    fn make_room(&self, bytes: u64) -> bool {
        let mut unseen = self.unseen_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match unseen.and_then(|left| left.checked_sub(bytes)) {
            Some(left) => *unseen = Some(left),
            None => {
                let Some(room) = self.look(bytes) else { return false };
                *unseen = Some(room.min(self.bytes_max / LOOK_PART).saturating_sub(bytes));
            }
        }
        true
    }

    /// Looks what is kept, removes what is too much, and gives the bytes that are free; none if `bytes` are not.
    fn look(&self, bytes: u64) -> Option<u64> {
        let folder = self.folder.as_ref()?;
        let others: u64 = files_in(folder).iter().map(|file| file.bytes).sum();
        let room = self.bytes_max.checked_sub(others).filter(|room| *room >= bytes)?;
        let mut kept = files_in(&folder.join(FOLDER));
        let mut taken: u64 = kept.iter().map(|file| file.bytes).sum();
        if taken + bytes > room {
            let aim = (room - room / FREE_PART).min(room - bytes);
            kept.sort_by_key(|file| file.changed);
            for file in kept {
                if taken <= aim {
                    break;
                }
                // Another process may have been faster.
                let _ = std::fs::remove_file(&file.path);
                taken -= file.bytes;
            }
        }
        room.checked_sub(taken)
    }
}

/// The regular files of a folder; what cannot be asked is not counted.
fn files_in(folder: &Path) -> Vec<Kept> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let described = entries.filter_map(|entry| {
        let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Kept { changed: metadata.modified().ok(), bytes: on_disk(metadata.len()), path: entry.path() })
    });
    described.collect()
}

const fn on_disk(length: u64) -> u64 {
    length.next_multiple_of(BLOCK_BYTES)
}

/// Notes that a file was asked for now.
fn touch(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    // Then it goes earlier than it should.
    let _ = utimensat(CWD, path, &times, AtFlags::empty());
}

#[cfg(test)]
mod tests;
