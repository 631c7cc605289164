//! Named objects: where bytes are kept, and nothing about what they mean.
//!
//! What must hold for every storage, and what `contract` proves of each:
//! 1. An object is there whole or not at all, under its final name, from the moment `put_if_absent` returns.
//! 2. What a completed `put_if_absent` wrote is seen by every `get` and `list` that starts later, in any process.
//! 3. Objects are written once. Where creation is atomic, of many creators of one name exactly one succeeds and the
//!    others get `ErrorKind::Exists`; `capabilities` says whether that is known to hold.
//! 4. After `barrier` returns, everything that was put before it, by anybody whose objects were listed or read, survives
//!    a loss of power.

pub mod conformance;
pub mod contract;
mod forward;
pub mod local;
pub mod location;
pub mod memory;
mod name;
mod refusal;
#[cfg(feature = "remote")]
#[cfg_attr(
    not(all(feature = "s3", feature = "webdav", feature = "sftp")),
    allow(dead_code, unused_variables, reason = "each service uses a part of what they share")
)]
pub mod remote;
#[cfg(feature = "sftp")]
pub mod sftp;
mod traffic;

use std::fmt::Debug;

use bytes::Bytes;

use crate::base::{ErrorKind, Result, ThawRequest, Thawing};
pub use forward::forward_storage;
pub use name::{NAME_PART_BYTES_MAX, NAME_PARTS_MAX, ObjectName};
pub use traffic::{Requests, Traffic};

/// The bytes of a new object: shared slices that are written one after the other and never joined in memory.
pub type Body = [Bytes];

/// Total length of a body in bytes.
pub fn body_bytes(body: &Body) -> u64 {
    body.iter().map(|slice| slice.len() as u64).sum()
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Full name.
    pub name: ObjectName,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// Something that lies where objects are kept and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where it lies, below the storage's root; any bytes.
    pub path: Vec<u8>,
    /// Size in bytes; 0 of what is no regular file.
    pub size_bytes: u64,
    /// It was to become an object, or is about to.
    pub is_unfinished: bool,
}

/// What a storage can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Of many creators of one name exactly one succeeds. None: not known before `prove_create` has tried it.
    pub atomic_create: Option<bool>,
}

/// A place for named objects.
///
/// Errors have the kinds `NotFound` (no such object), `Exists` (name taken), `Denied`, `OutOfSpace`, `Damaged` (the
/// storage holds something impossible), `Frozen` (to be thawed before it can be read), `Unreachable` (no answer, or none
/// that helps, however often it was asked) and `Failed`; each message names the object.
pub trait Storage: Send + Sync + Debug {
    /// Creates the object; `Exists` if the name is taken. Nothing is left under the name if it fails.
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()>;

    /// As `put_if_absent`, of an object that is read only to give data back: it may go where reading costs more, or must be
    /// asked for in advance.
    fn put_data_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.put_if_absent(name, body)
    }

    /// Finds out whether creation is atomic: creates the object with the first body, then with the second, which must be
    /// refused. If it is not, or is known not to be, the third body, which tells the truth, lies there in the end. True if
    /// it was refused; `Exists` if the name was taken before, or meanwhile.
    fn prove_create(&self, name: &ObjectName, bodies: [&Body; 3]) -> Result<bool> {
        let [first, second, truth] = bodies;
        if self.capabilities().atomic_create == Some(false) {
            return self.put_if_absent(name, truth).map(|()| false);
        }
        self.put_if_absent(name, first)?;
        match self.put_if_absent(name, second) {
            Ok(()) => self.put_if_absent(name, truth).map(|()| false),
            Err(error) if error.kind() == ErrorKind::Exists => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// All bytes of an object; an object larger than `size_bytes_max` is refused as `Damaged` before memory is taken.
    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>>;

    /// Exactly `length` bytes from `offset`; `Damaged` if the object ends earlier.
    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>>;

    /// Calls `visit` for each object whose name begins with `folder` and a slash, in ascending order of names, only
    /// those after `start_after` if given. A folder that is not there is empty. What is stored under a name that is no
    /// `ObjectName` is passed over. An error of `visit` ends the listing and is returned. `visit` may itself use the
    /// storage.
    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()>;

    /// Calls `visit` for all that is neither an object in one of these folders nor a folder on the way to one. A storage
    /// that can hold nothing else has none; where folders stay, those that hold nothing are passed over.
    fn strays(&self, _folders: &[&str], _visit: &mut dyn FnMut(Stray) -> Result<()>) -> Result<()> {
        Ok(())
    }

    /// Whether an object can be read; with a request, one that nobody asked for yet is asked for. `NotFound` if it is not
    /// there, as far as that is looked at: a storage that freezes nothing need not.
    fn thaw(&self, _name: &ObjectName, _request: Option<&ThawRequest>) -> Result<Thawing> {
        Ok(Thawing::Readable)
    }

    /// Removes an object; `NotFound` if it is not there.
    fn delete(&self, name: &ObjectName) -> Result<()>;

    /// Makes all that was put before durable. A failed barrier is final: later puts and barriers fail as well, because
    /// the system may have dropped the pages it could not write.
    fn barrier(&self) -> Result<()>;

    /// What this storage can promise.
    fn capabilities(&self) -> Capabilities;

    /// How many calls at a time keep it busy: 1 where a call takes the processor rather than time.
    fn parallel_calls(&self) -> usize {
        1
    }

    /// What was asked of it and moved so far; nothing where a call costs nothing that anybody counts.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Where it is, for messages; without secrets.
    fn location(&self) -> String;
}
