//! What every storage says alike when it refuses, so that a message does not depend on where the bytes are kept.

use super::ObjectName;
use crate::base::{Error, ErrorKind};

/// There is no such object.
pub(super) fn not_found(name: &ObjectName) -> Error {
    Error::new(ErrorKind::NotFound, format!("object {name} not found"))
}

/// The name is taken.
pub(super) fn taken(name: &ObjectName) -> Error {
    Error::new(ErrorKind::Exists, format!("object {name} is there already"))
}

/// The object is larger than its reader allows.
pub(super) fn too_large(name: &ObjectName, size_bytes: u64, size_bytes_max: u64) -> Error {
    Error::damaged(format!(
        "object {name} has {size_bytes} bytes, more than the {size_bytes_max} it may have"
    ))
}

/// The object ends before the range that was asked for.
pub(super) fn too_short(name: &ObjectName, size_bytes: u64, offset: u64, length: usize) -> Error {
    Error::damaged(format!(
        "object {name} has {size_bytes} bytes and ends before {length} bytes from offset {offset}"
    ))
}
