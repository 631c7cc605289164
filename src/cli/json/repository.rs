//! A repository as a whole, and its key slots.

use packstone::base::{ErrorKind, SlotName};
use packstone::format::config::{Chunking, Parameters};
use packstone::format::slot::Way;
use packstone::repository::{ObjectCount, OwnSlot, RepositoryInfo, SlotList, SlotState};
use serde::Serialize;

use super::time;

/// What can be told of a repository.
#[derive(Debug, Serialize)]
pub struct InfoDocument {
    id: String,
    repository: String,
    format_version: u8,
    suite: u64,
    created: String,
    key_generation: u32,
    parameters: ParametersDocument,
    features: FeaturesDocument,
    key_slots: usize,
    key_slots_unusable: usize,
    snapshots: usize,
    snapshots_damaged: usize,
    packs: ObjectsDocument,
    index_runs: ObjectsDocument,
}

impl InfoDocument {
    /// Of a repository.
    pub fn of(info: &RepositoryInfo) -> Self {
        let usable = info.slots.whole().count();
        Self {
            id: info.id.hex(),
            repository: info.location.clone(),
            format_version: info.format_version,
            suite: info.suite,
            created: time(info.created),
            key_generation: info.key_generation,
            parameters: ParametersDocument::of(&info.parameters),
            features: FeaturesDocument {
                required: info.features.required.clone(),
                for_writers: info.features.for_writers.clone(),
                optional: info.features.optional.clone(),
            },
            key_slots: usable,
            key_slots_unusable: info.slots.slots.len() - usable,
            snapshots: info.snapshots.visible.len(),
            snapshots_damaged: info.snapshots.damaged.len(),
            packs: ObjectsDocument::of(info.packs),
            index_runs: ObjectsDocument::of(info.index_runs),
        }
    }
}

/// How input becomes chunks; sizes in bytes.
#[derive(Debug, Serialize)]
struct ParametersDocument {
    chunking: &'static str,
    chunk_min: u32,
    chunk_average: u32,
    chunk_max: u32,
    bundled_file_max: u32,
    page_average: u32,
    segment: u32,
    pack: u32,
}

impl ParametersDocument {
    const fn of(parameters: &Parameters) -> Self {
        let (chunking, chunk_min, chunk_average, chunk_max) = match parameters.chunking {
            Chunking::FastCdc { min_bytes, average_bytes, max_bytes } => {
                ("content", min_bytes, average_bytes, max_bytes)
            }
            Chunking::Fixed { bytes } => ("fixed", bytes, bytes, bytes),
        };
        let bundled_file_max = parameters.bundling.file_bytes_max;
        let (segment, pack) = (parameters.packing.segment_bytes, parameters.packing.pack_bytes);
        let page_average = parameters.paging.average_bytes;
        Self { chunking, chunk_min, chunk_average, chunk_max, bundled_file_max, page_average, segment, pack }
    }
}

/// What later versions added.
#[derive(Debug, Serialize)]
struct FeaturesDocument {
    required: Vec<String>,
    for_writers: Vec<String>,
    optional: Vec<String>,
}

/// So many objects.
#[derive(Debug, Serialize)]
pub struct ObjectsDocument {
    count: u64,
    size: u64,
}

impl ObjectsDocument {
    /// Of a kind of objects.
    pub const fn of(objects: ObjectCount) -> Self {
        Self { count: objects.count, size: objects.size_bytes }
    }
}

/// A key slot. Label and time are sealed with the slot's key, and known of the one in use alone.
#[derive(Debug, Serialize)]
pub struct SlotDocument {
    current: bool,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    opened_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<CostDocument>,
}

/// What a try of a password costs.
#[derive(Debug, Serialize)]
struct CostDocument {
    kdf: &'static str,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The key slots of a repository.
pub fn slots(list: &SlotList, own: &OwnSlot) -> Vec<SlotDocument> {
    let of_slots = list.slots.iter().map(|entry| {
        let current = entry.name == own.name;
        let (opened_by, cost) = match &entry.state {
            SlotState::Whole(Way::KeyFile) => ("key-file", None),
            SlotState::Whole(Way::Password(cost)) => {
                let (memory_kib, passes, lanes) = (cost.memory_kib, cost.passes, cost.lanes);
                ("password", Some(CostDocument { kdf: "argon2id", memory_kib, passes, lanes }))
            }
            SlotState::Unusable(error) => match error.kind() {
                ErrorKind::Damaged => ("damaged", None),
                ErrorKind::Unsupported => ("too-new", None),
                _ => ("unusable", None),
            },
        };
        let created = current.then(|| time(own.created));
        let label = current.then(|| own.label.clone());
        SlotDocument { current, id: entry.name.hex(), created, label, opened_by, cost }
    });
    let foreign = list.foreign.iter().map(|name| SlotDocument {
        current: false,
        id: name.clone(),
        created: None,
        label: None,
        opened_by: "no-slot",
        cost: None,
    });
    of_slots.chain(foreign).collect()
}

/// What became of a key slot.
#[derive(Debug, Serialize)]
pub struct SlotChange {
    message_type: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_id: Option<String>,
}

impl SlotChange {
    /// It was added.
    pub fn added(slot: SlotName) -> Self {
        Self { message_type: "key_added", id: slot.hex(), old_id: None }
    }

    /// It was removed.
    pub fn removed(slot: SlotName) -> Self {
        Self { message_type: "key_removed", id: slot.hex(), old_id: None }
    }

    /// One took the place of another.
    pub fn replaced(old: SlotName, new: SlotName) -> Self {
        Self { message_type: "key_replaced", id: new.hex(), old_id: Some(old.hex()) }
    }

    /// Its key is in a file; it may be a new one.
    pub fn exported(slot: SlotName, is_new: bool) -> Self {
        let message_type = if is_new { "key_added" } else { "key_exported" };
        Self { message_type, id: slot.hex(), old_id: None }
    }
}
