//! One directory as a run saw it.
//!
//! ```text
//! code 16 | clean before: seconds 8, nanoseconds 4 | has print 4 | print 32 | inode number 8
//! count 4, inode numbers 8 each | node
//! ```
//!
//! What must hold: the code covers the directory's place and everything else, so that no bit of a row is believed that
//! was not written for this directory by this program with the repository's key.

use crate::base::Timestamp;
use crate::crypto::Secret;
use crate::format::Decoded;
use crate::format::fields::FieldReader;

const CODE_BYTES: usize = 16;

/// What a run saw of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What changed at or after this moment, by the clock of the file system, may have changed again unseen.
    pub clean_before: Timestamp,
    /// Of everything in it, if nothing in it was changed since `clean_before`.
    pub print: Option<[u8; 32]>,
    /// Its own inode number; 0 if its own metadata are to be read again.
    pub inode: u64,
    /// Inode numbers of its entries that are no directories, in order of names, 0 for one that is to be read again;
    /// none at all if they were too many.
    pub inodes: Vec<u64>,
    /// Its encoded node, which names its tree.
    pub node: Vec<u8>,
}

impl Row {
    /// The bytes that are kept.
    pub(super) fn seal(&self, key: &Secret, parent: &[u8], name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; CODE_BYTES];
        bytes.reserve(64 + 8 * self.inodes.len() + self.node.len());
        bytes.extend_from_slice(&self.clean_before.seconds.to_le_bytes());
        bytes.extend_from_slice(&self.clean_before.nanoseconds.to_le_bytes());
        bytes.extend_from_slice(&u32::from(self.print.is_some()).to_le_bytes());
        bytes.extend_from_slice(&self.print.unwrap_or_default());
        bytes.extend_from_slice(&self.inode.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.inodes.len()).unwrap_or(u32::MAX).to_le_bytes());
        for inode in &self.inodes {
            bytes.extend_from_slice(&inode.to_le_bytes());
        }
        bytes.extend_from_slice(&self.node);
        let code = code_of(key, parent, name, bytes.get(CODE_BYTES..).unwrap_or_default());
        if let Some(room) = bytes.first_chunk_mut() {
            *room = code;
        }
        bytes
    }

    /// Reads what was kept; `None` if it was not written for this directory with this key.
    pub(super) fn open(bytes: &[u8], key: &Secret, parent: &[u8], name: &[u8]) -> Option<Self> {
        let (code, covered) = bytes.split_first_chunk::<CODE_BYTES>()?;
        if *code != code_of(key, parent, name, covered) {
            return None;
        }
        Self::decode(&mut FieldReader::new(covered, "")).ok()
    }

    fn decode(fields: &mut FieldReader<'_>) -> Decoded<Self> {
        let seconds = i64::from_le_bytes(fields.fixed()?);
        let clean_before = Timestamp { seconds, nanoseconds: fields.u32()? };
        let has_print = fields.u32()? == 1;
        let print = fields.fixed()?;
        let inode = fields.u64()?;
        let count = fields.u32()?;
        let inodes = (0..count).map(|_| fields.u64()).collect::<Decoded<_>>()?;
        Ok(Self {
            clean_before,
            print: has_print.then_some(print),
            inode,
            inodes,
            node: fields.rest().to_vec(),
        })
    }
}

fn code_of(key: &Secret, parent: &[u8], name: &[u8], covered: &[u8]) -> [u8; CODE_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    // A NUL is in no path.
    for part in [parent, b"\0", name, b"\0", covered] {
        hasher.update(part);
    }
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}
