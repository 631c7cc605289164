//! The vocabulary that every other module speaks: names of things, errors, findings, the clock, the limits.
//!
//! Nothing here depends on another module, does input or output, or knows a stored byte.

pub mod clock;
pub mod error;
pub mod host;
pub mod id;
pub mod item;
pub mod limits;
pub mod monitor;
pub mod size;
pub mod thaw;

pub use clock::Timestamp;
pub use error::{Error, ErrorKind, Result, Wrap};
pub use id::{ChunkId, ContentName, RepositoryId, SessionId, SlotName};
pub use item::{Item, ItemAction, Lack, Lacks, MetadataParts};
pub use monitor::{Change, Finding, FindingKind, Monitor, Silent};
pub use thaw::{ThawCount, ThawCounts, ThawRequest, ThawSpeed, Thawing};

#[cfg(test)]
#[path = "../tests/it/support/skip.rs"]
pub(crate) mod skip;
