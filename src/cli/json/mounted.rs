//! The line of `mount`.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::name;

/// A mount is there.
#[derive(Debug, Serialize)]
pub struct MountedLine {
    message_type: &'static str,
    directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory_hex: Option<String>,
}

impl MountedLine {
    /// At this directory.
    pub fn of(directory: &Path) -> Self {
        let (directory, directory_hex) = name(directory.as_os_str().as_bytes());
        Self { message_type: "mounted", directory, directory_hex }
    }
}
