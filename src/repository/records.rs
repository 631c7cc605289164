//! What this machine keeps of small objects that never change: commit keys and collections, as they are stored.
//!
//! What must hold: a kept record counts only while a listing shows the object with the same length; its bytes are sealed
//! as they were in the repository, so that whatever became of the file, nothing but what was stored comes out of it: what
//! does not open is read from the storage. A cache that cannot be read or written costs requests and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ContentName, ErrorKind, Result};
use crate::crypto::content_name;
use crate::format::cbor::{Reader, Writer};
use crate::format::collection::Verdict;
use crate::repository::Repository;
use crate::repository::object::object_name;

/// A larger file is neither written nor read: 100,000 records of usual size take less.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// What the head of an array, a text or a sequence of bytes takes at most.
const HEAD_BYTES_MAX: u64 = 9;

/// Kept records.
#[derive(Debug, Default)]
pub(super) struct Records {
    path: Option<PathBuf>,
    file_bytes_max: u64,
    kept: Mutex<Option<Kept>>,
    /// Verdicts that this process has opened, by number, with the sizes of their objects: there are many after years.
    verdicts: Mutex<BTreeMap<u64, (u64, Arc<Verdict>)>>,
}

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<String, Vec<u8>>,
    is_changed: bool,
    /// What the file says.
    written: Option<ContentName>,
}

impl Records {
    /// Records kept in this folder; without one, while the process runs.
    pub(super) fn new(folder: Option<&Path>) -> Self {
        Self {
            path: folder.map(|folder| folder.join("records")),
            file_bytes_max: FILE_BYTES_MAX,
            ..Self::default()
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept: MutexGuard<'_, _> = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let read = || read_file(self.path.as_deref()?, self.file_bytes_max);
        work(kept.get_or_insert_with(|| read().unwrap_or_default()))
    }

    /// A verdict that was opened before, or that `read` opens now.
    pub(super) fn verdict(
        &self,
        number: u64,
        size_bytes: u64,
        read: impl FnOnce() -> Result<Verdict>,
    ) -> Result<Arc<Verdict>> {
        let known = |verdicts: &BTreeMap<u64, (u64, Arc<Verdict>)>| {
            verdicts
                .get(&number)
                .filter(|(size, _)| *size == size_bytes)
                .map(|(_, verdict)| Arc::clone(verdict))
        };
        if let Some(verdict) = known(&self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(verdict);
        }
        let verdict = Arc::new(read()?);
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.insert(number, (size_bytes, Arc::clone(&verdict)));
        Ok(verdict)
    }

    fn has(&self, name: &str, size_bytes: u64) -> bool {
        self.with(|kept| kept.objects.get(name).is_some_and(|object| object.len() as u64 == size_bytes))
    }

    fn find(&self, name: &str, size_bytes: u64) -> Option<Vec<u8>> {
        self.with(|kept| kept.objects.get(name).filter(|object| object.len() as u64 == size_bytes).cloned())
    }

    fn keep(&self, name: &str, object: Vec<u8>) {
        self.with(|kept| {
            kept.objects.insert(name.to_owned(), object);
            kept.is_changed = true;
        });
    }

    /// Forgets the records of a folder that a listing does not show, and writes down what changed.
    pub(super) fn settle(&self, folder: &str, is_listed: impl Fn(&str) -> bool) {
        let written = self.with(|kept| {
            let count = kept.objects.len();
            kept.objects.retain(|name, _| {
                let is_here = name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
                !is_here || is_listed(name)
            });
            kept.is_changed |= kept.objects.len() < count;
            let bytes = std::mem::take(&mut kept.is_changed)
                .then(|| encode(&fitting(&kept.objects, self.file_bytes_max)))?;
            // What does not fit is kept by each process anew, and changes nothing in the file.
            let name = Some(content_name([bytes.as_slice()]));
            (std::mem::replace(&mut kept.written, name) != name).then_some(bytes)
        });
        if let (Some(path), Some(bytes)) = (&self.path, written) {
            // What is not kept is read again.
            let _ = write_file(path, &bytes);
        }
    }
}

/// The most records of which a file of this size has room: each saves one request, so those that take least.
fn fitting(objects: &BTreeMap<String, Vec<u8>>, file_bytes_max: u64) -> BTreeMap<&str, &[u8]> {
    let mut all: Vec<(&str, &[u8])> =
        objects.iter().map(|(name, object)| (name.as_str(), object.as_slice())).collect();
    all.sort_by_key(|(name, object)| (object.len(), *name));
    let mut left = file_bytes_max.saturating_sub(HEAD_BYTES_MAX);
    let fits = |(name, object): &(&str, &[u8])| {
        let taken = name.len() as u64 + object.len() as u64 + 2 * HEAD_BYTES_MAX;
        left.checked_sub(taken).map(|rest| left = rest).is_some()
    };
    all.into_iter().take_while(fits).collect()
}

fn encode(objects: &BTreeMap<&str, &[u8]>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(objects.len() * 2);
    for (name, object) in objects {
        writer.text(name).bytes(object);
    }
    writer.into_bytes()
}

fn read_file(path: &Path, bytes_max: u64) -> Option<Kept> {
    let length = std::fs::metadata(path).ok()?.len();
    let bytes = if length <= bytes_max { std::fs::read(path).ok()? } else { return None };
    let mut reader = Reader::new(&bytes);
    let mut objects = BTreeMap::new();
    for _ in 0..reader.array().ok()? / 2 {
        objects.insert(reader.text().ok()?.to_owned(), reader.bytes().ok()?.to_vec());
    }
    reader.end().ok()?;
    Some(Kept { objects, is_changed: false, written: Some(content_name([bytes.as_slice()])) })
}

/// Replaces a file in one step, in a folder that is made where it is missing, readable to its owner alone.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&temporary)))
}

impl Repository {
    /// Fetches records that will be asked for, many at a time where that is faster. Whatever fails here fails again, and is
    /// told, when the record is read.
    pub(super) fn prefetch(&self, listed: impl Iterator<Item = (String, u64)>) {
        let calls = self.storage.parallel_calls();
        if calls < 2 {
            return;
        }
        let missing: Vec<String> = listed
            .filter(|(name, size_bytes)| !self.records.has(name, *size_bytes))
            .map(|(name, _)| name)
            .collect();
        let next = AtomicUsize::new(0);
        let fetch = || {
            while let Some(name) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let object = object_name(name).and_then(|object| self.storage.get(&object, RECORD_BYTES_MAX));
                if let Ok(object) = object {
                    self.records.keep(name, object);
                }
            }
        };
        if missing.len() > 1 {
            std::thread::scope(|scope| {
                // With fewer threads it takes longer, without any the records are read one by one.
                let start = |_| drop(std::thread::Builder::new().spawn_scoped(scope, fetch));
                (0..calls.min(missing.len())).for_each(start);
            });
        }
    }

    /// What `read` makes of an object that a listing showed with this size: of the kept record, else of what the storage
    /// has, which is then kept.
    pub(super) fn record<T>(
        &self,
        name: &str,
        size_bytes: u64,
        read: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<T> {
        if let Some(object) = self.records.find(name, size_bytes)
            && let Ok(value) = read(&object)
        {
            return Ok(value);
        }
        let object = self.storage.get(&object_name(name)?, RECORD_BYTES_MAX)?;
        let value = read(&object)?;
        self.records.keep(name, object);
        Ok(value)
    }
}

/// Whether an object that was listed is gone.
pub(super) fn is_gone<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_until_no_listing_shows_them_and_a_spoiled_file_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a").join("b");
        let records = Records::new(Some(&place));
        records.keep("snapshots/1", vec![1; 10]);
        records.keep("snapshots/2", vec![2; 20]);
        records.keep("snapshots2/3", vec![3; 30]);
        records.settle("snapshots", |name| name == "snapshots/1");
        let again = Records::new(Some(&place));
        assert_eq!(again.find("snapshots/1", 10), Some(vec![1; 10]));
        assert_eq!(again.find("snapshots/1", 11), None);
        assert_eq!(again.find("snapshots/2", 20), None);
        assert_eq!(again.find("snapshots2/3", 30), Some(vec![3; 30]));
        let path = place.join("records");
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(Records::new(Some(&place)).find("snapshots/1", 10), None);
        }
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn of_more_than_the_file_may_hold_the_smallest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let small = |path: &Path| Records { file_bytes_max: 1000, ..Records::new(Some(path)) };
        let records = small(folder.path());
        let lengths = [100_u8, 200, 90, 250, 110, 210];
        for length in lengths {
            records.keep(&format!("snapshots/{length}"), vec![length; length.into()]);
        }
        records.settle("snapshots", |_| true);
        let path = folder.path().join("records");
        let whole = std::fs::read(&path).unwrap();
        assert!(whole.len() <= 1000, "{}", whole.len());
        let found = |records: &Records| -> Vec<u8> {
            let is_kept =
                |length: &u8| records.find(&format!("snapshots/{length}"), (*length).into()).is_some();
            lengths.into_iter().filter(is_kept).collect()
        };
        assert_eq!(found(&records), lengths, "this process has them all");
        let next = small(folder.path());
        assert_eq!(found(&next), [100, 200, 90, 110, 210]);
        // The one that was read again does not make the file another one.
        std::fs::remove_file(&path).unwrap();
        next.keep("snapshots/250", vec![250; 250]);
        next.settle("snapshots", |_| true);
        assert!(!path.exists());
        next.settle("snapshots", |name| name != "snapshots/200");
        assert_eq!(found(&small(folder.path())), [100, 90, 250, 110, 210]);
    }
}
