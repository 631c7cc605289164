//! Bounds on everything that is read from a repository, checked before memory is taken (format-spec, chapter 1).
//!
//! A writer stays far below them; a reader refuses what is above, so that a hostile repository can cost no more than
//! these sizes.

/// Longest plaintext of one chunk.
pub const CHUNK_BYTES_MAX: u32 = 8 << 20;
/// Longest plaintext of one segment.
pub const SEGMENT_RAW_BYTES_MAX: u32 = 16 << 20;
/// Largest pack.
pub const PACK_BYTES_MAX: u64 = 256 << 20;
/// Largest directory of a pack.
pub const PACK_DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// Largest encoded tree page or list page.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Largest encoded node.
pub const NODE_BYTES_MAX: usize = 256 << 10;
/// Longest name of a directory entry.
pub const NAME_BYTES_MAX: usize = 255;
/// Deepest directory.
pub const DEPTH_MAX: usize = 2000;
/// Longest value of one extended attribute.
pub const XATTR_BYTES_MAX: usize = 64 << 10;
/// Longest value of an extended attribute that stands in the node itself; longer ones are data chunks.
pub const XATTR_INLINE_BYTES_MAX: usize = 512;
/// Longest target of a symbolic link.
pub const LINK_TARGET_BYTES_MAX: usize = 4096;
/// Most data extents of a sparse file that a node can hold; beyond it, neighbours are stored as one.
pub const EXTENTS_MAX: usize = 4096;
/// Largest config object.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Largest key slot.
pub const SLOT_BYTES_MAX: u64 = 64 << 10;
/// Most key slots that are tried.
pub const SLOTS_MAX: usize = 64;
/// Largest index run.
pub const INDEX_RUN_BYTES_MAX: u64 = 256 << 20;
/// Largest snapshot, session record, tombstone or collection record.
pub const RECORD_BYTES_MAX: u64 = 64 << 20;
/// Largest window of a zstd frame, as a power of two.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 24;
/// Nesting of CBOR items.
pub const CBOR_DEPTH_MAX: usize = 16;
/// Chunk pairs that a node holds itself; more go to list pages.
pub const NODE_CHUNKS_MAX: usize = 16;
/// Levels of tree pages or list pages above each other.
pub const PAGE_LEVELS_MAX: u8 = 16;
/// Argon2 memory in KiB that is still accepted from a slot: 4 GiB.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 4 << 20;
/// Argon2 passes that are still accepted from a slot.
pub const ARGON2_PASSES_MAX: u32 = 32;
/// Argon2 lanes that are still accepted from a slot.
pub const ARGON2_LANES_MAX: u32 = 16;
