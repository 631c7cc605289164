//! What can be told of a repository without any key: for whoever keeps it and shall not read it.
//!
//! What must hold: nothing is opened; an object is damaged if its head, its length or its hash cannot be those of an
//! object of its name; that it is whole is only known of objects whose names are hashes, once they are read.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::findings::{Damage, Findings};
use super::packs::Gate;
use crate::base::limits::{
    CONFIG_BYTES_MAX, INDEX_RUN_BYTES_MAX, PACK_BYTES_MAX, RECORD_BYTES_MAX, SLOT_BYTES_MAX,
};
use crate::base::{ContentName, Error, ErrorKind, Monitor, Result, SlotName};
use crate::crypto::content_name;
use crate::crypto::slot::slot_name;
use crate::format::names::{self, Phase, SessionRecord};
use crate::format::pack::trailer_offset;
use crate::format::padding::padded;
use crate::format::sealing::{HEAD_BYTES, HEADER_BYTES, ObjectKind, TAG_BYTES};
use crate::repository::{MemoryLimit, ObjectCount, reader_count};
use crate::storage::{Listed, Storage};

/// Objects that are looked at together.
const BATCH: usize = 1024;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSummary {
    /// Objects of the repository.
    pub objects: ObjectCount,
    /// Those of them whose bytes were held against their names.
    pub hashed: ObjectCount,
    /// What is no object of a repository.
    pub foreign: ObjectCount,
    /// What was never published: being written, or left by a process that was killed.
    pub unfinished: ObjectCount,
    /// Objects that are damaged.
    pub damaged: u64,
    /// What is damaged; of more than `DAMAGES_KEPT_MAX` the first.
    pub damages: Vec<Damage>,
    /// Objects that could not be read or judged for another reason.
    pub unreadable: u64,
    /// Objects that cannot be read before they are thawed.
    pub frozen: ObjectCount,
}

/// What an object's name says of it.
#[derive(Clone, Copy)]
enum Named {
    Config,
    Slot(SlotName),
    Pack(ContentName),
    IndexRun(ContentName),
    Record(ObjectKind),
}

impl Named {
    fn of(name: &str) -> Option<Self> {
        let record = |kind| move |_: crate::base::SessionId| Self::Record(kind);
        None.or_else(|| names::parse_pack(name).map(Self::Pack))
            .or_else(|| names::parse_index(name).map(Self::IndexRun))
            .or_else(|| names::parse_commit(name).map(record(ObjectKind::Commit)))
            .or_else(|| names::parse_tombstone(name).map(record(ObjectKind::Tombstone)))
            .or_else(|| {
                names::parse_session(name).map(|(_, record)| match record {
                    SessionRecord::Start => Self::Record(ObjectKind::SessionStart),
                    SessionRecord::Beat(_) => Self::Record(ObjectKind::SessionBeat),
                })
            })
            .or_else(|| {
                names::parse_collection(name).map(|(_, phase)| match phase {
                    Phase::Condemned => Self::Record(ObjectKind::Condemned),
                    Phase::Verdict => Self::Record(ObjectKind::Verdict),
                })
            })
            .or_else(|| names::parse_slot(name).map(Self::Slot))
            .or_else(|| names::parse_config(name).map(|_| Self::Config))
    }

    /// Whether the name is a hash of the bytes.
    const fn is_hash(self) -> bool {
        matches!(self, Self::Slot(_) | Self::Pack(_) | Self::IndexRun(_))
    }

    const fn kinds(self) -> &'static [ObjectKind] {
        match self {
            Self::Config => &[ObjectKind::Config],
            Self::Slot(_) => &[ObjectKind::Slot],
            Self::Pack(_) => &[ObjectKind::DataPack, ObjectKind::TreePack],
            Self::IndexRun(_) => &[ObjectKind::IndexRun],
            Self::Record(kind) => match kind {
                ObjectKind::Commit => &[ObjectKind::Commit],
                ObjectKind::Tombstone => &[ObjectKind::Tombstone],
                ObjectKind::SessionStart => &[ObjectKind::SessionStart],
                ObjectKind::SessionBeat => &[ObjectKind::SessionBeat],
                ObjectKind::Condemned => &[ObjectKind::Condemned],
                _ => &[ObjectKind::Verdict],
            },
        }
    }

    const fn bytes_max(self) -> u64 {
        match self {
            Self::Config => CONFIG_BYTES_MAX,
            Self::Slot(_) => SLOT_BYTES_MAX,
            Self::Pack(_) => PACK_BYTES_MAX,
            Self::IndexRun(_) => INDEX_RUN_BYTES_MAX,
            Self::Record(_) => RECORD_BYTES_MAX,
        }
    }
}

/// Looks at every object without a key; those whose names are hashes are read, if they should be.
///
/// Errors: `Interrupted`, and whatever keeps a folder from being listed.
pub fn check_storage(
    storage: &dyn Storage,
    read_data: bool,
    memory: MemoryLimit,
    monitor: &dyn Monitor,
) -> Result<StorageSummary> {
    let findings = Findings::new(monitor);
    if read_data {
        expect_all(storage, &findings)?;
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(reader_count(storage, memory))
        .build()
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot start threads", cause))?;
    let check = Check {
        storage,
        read_data,
        gate: Gate::new((memory.bytes() / 2) as u64),
        findings,
        hashed: [AtomicU64::new(0), AtomicU64::new(0)],
        frozen: Mutex::default(),
    };
    let mut summary = StorageSummary::default();
    let mut batch: Vec<(Listed, Named)> = Vec::new();
    for folder in names::FOLDERS {
        storage.list(folder, None, &mut |listed| {
            match Named::of(listed.name.as_str()) {
                None => check.findings.foreign(listed.name.as_str(), listed.size_bytes),
                Some(named) => {
                    summary.objects.add(listed.size_bytes);
                    batch.push((listed, named));
                }
            }
            if batch.len() < BATCH { Ok(()) } else { check.all(&pool, &mut batch) }
        })?;
    }
    check.all(&pool, &mut batch)?;
    summary.unfinished = find_strays(storage, &check.findings)?;
    let [count, size_bytes] = check.hashed.map(AtomicU64::into_inner);
    Ok(StorageSummary {
        frozen: check.frozen.into_inner().unwrap_or_else(PoisonError::into_inner),
        hashed: ObjectCount { count, size_bytes },
        foreign: check.findings.foreign_count(),
        damaged: check.findings.damaged(),
        damages: check.findings.kept(),
        unreadable: check.findings.unreadable(),
        ..summary
    })
}

/// Tells how much is to be read.
fn expect_all(storage: &dyn Storage, findings: &Findings<'_>) -> Result<()> {
    for folder in names::FOLDERS {
        storage.list(folder, None, &mut |listed| {
            if Named::of(listed.name.as_str()).is_some_and(Named::is_hash) {
                findings.monitor().expect(1, listed.size_bytes);
            }
            findings.go_on()
        })?;
    }
    findings.monitor().expected_all();
    Ok(())
}

/// Takes what is no object; gives what was never published.
pub(super) fn find_strays(storage: &dyn Storage, findings: &Findings<'_>) -> Result<ObjectCount> {
    let unfinished = Mutex::new(ObjectCount::default());
    storage.strays(&names::FOLDERS, &mut |stray| {
        match stray.is_unfinished {
            true => unfinished.lock().unwrap_or_else(PoisonError::into_inner).add(stray.size_bytes),
            false => findings.foreign(&String::from_utf8_lossy(&stray.path), stray.size_bytes),
        }
        findings.go_on()
    })?;
    Ok(unfinished.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Check<'s> {
    storage: &'s dyn Storage,
    read_data: bool,
    gate: Gate,
    findings: Findings<'s>,
    /// How many objects, and their bytes.
    hashed: [AtomicU64; 2],
    frozen: Mutex<ObjectCount>,
}

impl Check<'_> {
    fn all(&self, pool: &rayon::ThreadPool, batch: &mut Vec<(Listed, Named)>) -> Result<()> {
        pool.install(|| {
            batch.par_iter().try_for_each(|(listed, named)| {
                self.findings.go_on()?;
                match self.one(listed, *named) {
                    // It was removed since it was listed.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) if error.kind() == ErrorKind::Frozen => {
                        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
                        frozen.add(listed.size_bytes);
                    }
                    Err(error) => drop(self.findings.tell(listed.name.as_str(), &error)),
                    Ok(()) => {}
                }
                Ok(())
            })
        })?;
        batch.clear();
        Ok(())
    }

    fn one(&self, listed: &Listed, named: Named) -> Result<()> {
        let size_bytes = listed.size_bytes;
        if size_bytes > named.bytes_max() {
            return Err(Error::damaged(format!(
                "it has {size_bytes} bytes, more than the {}",
                named.bytes_max()
            )));
        }
        if named.is_hash() && (self.read_data || matches!(named, Named::Slot(_))) {
            return self.whole(listed, named);
        }
        let length = HEAD_BYTES.min(usize::try_from(size_bytes).unwrap_or(HEAD_BYTES));
        check_head(named, &self.storage.get_range(&listed.name, 0, length)?)?;
        check_length(named, size_bytes)?;
        if let (Named::Pack(_), Some(tail)) = (named, size_bytes.checked_sub(8)) {
            let last = self.storage.get_range(&listed.name, tail, 8)?;
            trailer_offset(size_bytes, &last).map_err(|error| error.of_object("the pack"))?;
        }
        Ok(())
    }

    fn whole(&self, listed: &Listed, named: Named) -> Result<()> {
        let _entered = self.gate.enter(listed.size_bytes);
        let object = self.storage.get(&listed.name, named.bytes_max())?;
        for (counter, more) in self.hashed.iter().zip([1, object.len() as u64]) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
        self.findings.monitor().advance(1, object.len() as u64);
        let has_name = match named {
            Named::Slot(name) => slot_name(&object) == name,
            Named::Pack(name) | Named::IndexRun(name) => content_name([object.as_slice()]) == name,
            Named::Config | Named::Record(_) => true,
        };
        if !has_name {
            return Err(Error::damaged("its bytes are not those that it is named after"));
        }
        check_head(named, &object)
    }
}

fn check_head(named: Named, bytes: &[u8]) -> Result<()> {
    let mut refused = None;
    for kind in named.kinds() {
        match kind.check_head(bytes) {
            Ok(_) => return Ok(()),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(()), |error| Err(error.of_object("the object")))
}

/// A sealed record has a padded length.
fn check_length(named: Named, size_bytes: u64) -> Result<()> {
    let (Named::Record(_) | Named::IndexRun(_)) = named else { return Ok(()) };
    let body = size_bytes.checked_sub((HEADER_BYTES + TAG_BYTES) as u64);
    match body {
        Some(body @ 1..) if padded(body) == body => Ok(()),
        _ => Err(Error::damaged(format!("it has {size_bytes} bytes, which no object of its kind has"))),
    }
}
