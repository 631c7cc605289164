//! Bytes in memory or mapped from a file: the one place of the crate that maps files.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use crate::base::monitor::show_file;
use crate::base::{Result, Wrap};

/// Bytes that are read like a slice.
#[derive(Debug)]
pub enum Bytes {
    /// In memory.
    Owned(Vec<u8>),
    /// Mapped.
    Mapped(memmap2::Mmap),
}

impl Bytes {
    /// Maps a file of ours that is written once under another name and never changed after its rename.
    pub fn map(path: &Path) -> Result<Self> {
        let context = || format!("cannot read the local index {}", show_file(path));
        let file = File::open(path).wrap(context)?;
        if file.metadata().wrap(context)?.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        // A map is only sound while nobody changes or shortens the file. Ours lies in a directory of mode 0700, is
        // replaced by rename alone, and is never opened for writing again; who changes it against that can only harm
        // a cache of his own.
        #[expect(unsafe_code, reason = "mapping a file is unsafe by nature; argued above")]
        let map = unsafe { memmap2::Mmap::map(&file) }.wrap(context)?;
        Ok(Self::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}
