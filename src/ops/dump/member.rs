//! What a folder is dumped as: members in order, and what each form of file makes of them.

use std::ops::Range;

use crate::base::Result;
use crate::format::node::{Node, NodeKind, Regular};
use crate::tree::XattrValues;

/// The form in which a folder is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tar file with extended headers of POSIX.1-2001 (pax), as GNU tar reads them.
    Tar,
    /// The same, compressed by zstd.
    TarZst,
    /// A zip file.
    Zip,
}

/// The longest name that a zip file can hold, in bytes.
const ZIP_NAME_BYTES_MAX: usize = 0xffff;

impl Format {
    /// Why an object cannot be held, if it cannot.
    pub(super) fn refusal(self, name: &[u8], kind: &NodeKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::Tar | Self::TarZst, NodeKind::Socket) => Some("a tar file cannot hold a socket"),
            (Self::Zip, NodeKind::Socket) => Some("a zip file cannot hold a socket"),
            (Self::Zip, NodeKind::Fifo) => Some("a zip file cannot hold a named pipe"),
            (Self::Zip, NodeKind::CharacterDevice { .. } | NodeKind::BlockDevice { .. }) => {
                Some("a zip file cannot hold a device")
            }
            (Self::Zip, _) if name.len() >= ZIP_NAME_BYTES_MAX => {
                Some("a zip file cannot hold a path of more than 65,534 bytes")
            }
            _ => None,
        }
    }

    /// Whether it holds extended attributes, several names of one object, and the folder itself.
    pub(super) const fn is_full(self) -> bool {
        matches!(self, Self::Tar | Self::TarZst)
    }
}

/// An object that is written.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path below the folder that is dumped, without a slash at either end; of the folder itself none.
    pub(super) name: Vec<u8>,
    /// What it is.
    pub(super) node: Node,
    /// Its extended attributes, as far as they can be read.
    pub(super) xattrs: XattrValues,
    /// An earlier member that is the same object, of which this is a further name.
    pub(super) link: Option<Vec<u8>>,
}

impl Member {
    /// Its content, unless it has none or an earlier member has it.
    pub(super) const fn content(&self) -> Option<&Regular> {
        match &self.node.kind {
            NodeKind::Regular(regular) if self.link.is_none() => Some(regular),
            _ => None,
        }
    }

    /// About what it takes in memory beside its own size.
    pub(super) fn outer_bytes(&self) -> usize {
        let target = match &self.node.kind {
            NodeKind::Symlink(target) => target.len(),
            NodeKind::Regular(regular) => regular.extents.as_deref().map_or(0, size_of_val),
            _ => 0,
        };
        let xattrs: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        let link = self.link.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + self.name.len() + self.node.name.len() + target + 2 * xattrs + link
    }
}

/// Writes members one after the other.
pub(super) trait Sink {
    /// Which parts of a file are written, ascending: all of it, or what holds its data.
    fn regions(&self, regular: &Regular) -> Vec<Range<u64>>;

    /// Begins a member; the bytes of its regions follow, if it has content.
    fn begin(&mut self, member: &Member) -> Result<()>;

    /// Writes bytes of the member that was begun last.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Ends a member that has content.
    fn end(&mut self) -> Result<()>;

    /// Ends the whole.
    fn finish(&mut self) -> Result<()>;
}
