//! Tar files in the pax form of POSIX.1-2001, as GNU tar reads them: what does not fit a header of 512 bytes stands in an
//! extended header before it.
//!
//! What must hold: a header says the length of what follows, and exactly that follows; a member that GNU tar can restore
//! comes back with all that the node says of it: any name, times with nanoseconds, large numbers, extended attributes and
//! access control lists, holes.

mod header;
mod sparse;

use std::io::Write;
use std::ops::Range;

use crate::base::{Result, Timestamp, Wrap};
use crate::format::node::{Node, NodeKind, Regular};
use crate::fsmeta::acl;
use crate::ops::dump::member::{Member, Sink};
use header::{Extended, Header, NAME_BYTES, OWNER_BYTES};

/// Everything is written in records of so many bytes.
const RECORD_LENGTH: usize = 512;
const RECORD_BYTES: u64 = RECORD_LENGTH as u64;
/// The largest number in a field of 7 octal digits: owners, groups, devices.
const SMALL_MAX: u64 = 0o7_777_777;
/// The largest number in a field of 11 octal digits: sizes and times.
const LARGE_MAX: u64 = 0o77_777_777_777;

/// Writes a tar file.
pub(super) struct Tar<W: Write> {
    output: W,
    /// Bytes of the member that is being written.
    written: u64,
}

impl<W: Write> Tar<W> {
    /// A tar file from its first byte on.
    pub(super) const fn new(output: W) -> Self {
        Self { output, written: 0 }
    }

    /// Where it went.
    pub(super) fn into_output(self) -> W {
        self.output
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.output.write_all(bytes).wrap(|| "cannot write the output")
    }

    /// Fills the record that was begun last.
    fn pad(&mut self) -> Result<()> {
        let missing = self.written.next_multiple_of(RECORD_BYTES) - self.written;
        let missing = usize::try_from(missing).unwrap_or_default();
        self.put([0; RECORD_LENGTH].get(..missing).unwrap_or_default())?;
        self.written = 0;
        Ok(())
    }

    fn put_extended(&mut self, name: &[u8], extended: &Extended) -> Result<()> {
        let bytes = extended.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let last = name.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or(b"root");
        let header = Header {
            name: [b"PaxHeaders/".as_slice(), last].concat(),
            mode: 0o644,
            size: bytes.len() as u64,
            kind: b'x',
            ..Header::default()
        };
        self.put(&header.encode())?;
        self.put(&bytes)?;
        self.pad()
    }
}

impl<W: Write> Sink for Tar<W> {
    fn regions(&self, regular: &Regular) -> Vec<Range<u64>> {
        sparse::regions(regular)
    }

    fn begin(&mut self, member: &Member) -> Result<()> {
        let (header, extended, map) = headers(member);
        self.put_extended(&header.name, &extended)?;
        self.put(&header.encode())?;
        self.written = 0;
        self.put(&map)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.put(bytes)
    }

    fn end(&mut self) -> Result<()> {
        self.pad()
    }

    fn finish(&mut self) -> Result<()> {
        self.put(&[0; 2 * RECORD_LENGTH])?;
        self.output.flush().wrap(|| "cannot write the output")
    }
}

/// The headers of a member, and the map of data that stands before the content of a sparse file.
fn headers(member: &Member) -> (Header, Extended, Vec<u8>) {
    let node = &member.node;
    let mut extended = Extended::default();
    let mut header = Header { mode: node.metadata.mode, ..Header::default() };
    let mut map = Vec::new();
    header.name = match (&node.kind, member.name.as_slice()) {
        (NodeKind::Directory(_), b"") => b"./".to_vec(),
        (NodeKind::Directory(_), name) => [name, b"/"].concat(),
        (_, name) => name.to_vec(),
    };
    match (&member.link, &node.kind) {
        (Some(link), _) => (header.kind, header.link) = (b'1', link.clone()),
        (None, NodeKind::Regular(regular)) => {
            header.kind = b'0';
            header.size = regular.size;
            if regular.extents.is_some() {
                map = sparse_map(regular, &mut header, &mut extended);
            }
        }
        (None, NodeKind::Directory(_)) => header.kind = b'5',
        (None, NodeKind::Symlink(target)) => (header.kind, header.link) = (b'2', target.clone()),
        // A socket is refused before.
        (None, NodeKind::Fifo | NodeKind::Socket) => header.kind = b'6',
        (None, NodeKind::CharacterDevice { major, minor }) => {
            (header.kind, header.device) = (b'3', (*major, *minor));
        }
        (None, NodeKind::BlockDevice { major, minor }) => {
            (header.kind, header.device) = (b'4', (*major, *minor));
        }
    }
    if header.size > LARGE_MAX {
        extended.add(b"size", header.size.to_string().as_bytes());
    }
    names(&header, &mut extended);
    metadata(node, &mut header, &mut extended);
    if member.link.is_none() {
        attributes(member, &mut extended);
    }
    (header, extended, map)
}

/// Says where the data of a sparse file lies: the form that GNU tar calls 1.0. Gives the map that stands before it.
fn sparse_map(regular: &Regular, header: &mut Header, extended: &mut Extended) -> Vec<u8> {
    let regions = sparse::regions(regular);
    let map = sparse::map(&regions, regular.size);
    let data: u64 = regions.iter().map(|region| region.end - region.start).sum();
    extended.add(b"GNU.sparse.major", b"1");
    extended.add(b"GNU.sparse.minor", b"0");
    extended.add_name(b"GNU.sparse.name", &header.name);
    extended.add(b"GNU.sparse.realsize", regular.size.to_string().as_bytes());
    // What knows nothing of sparse files leaves what it makes of it here.
    header.name = [b"GNUSparseFile/".as_slice(), &header.name].concat();
    header.name.truncate(NAME_BYTES);
    header.size = map.len() as u64 + data;
    map
}

/// Names that do not fit the header, or are no plain text.
fn names(header: &Header, extended: &mut Extended) {
    let is_plain = |name: &[u8]| name.len() <= NAME_BYTES && name.is_ascii();
    if !is_plain(&header.name) && !extended.is_sparse() {
        extended.add_name(b"path", &header.name);
    }
    if !is_plain(&header.link) {
        extended.add_name(b"linkpath", &header.link);
    }
}

fn metadata(node: &Node, header: &mut Header, extended: &mut Extended) {
    let metadata = &node.metadata;
    for (key, number, field) in
        [(b"uid", metadata.uid, &mut header.uid), (b"gid", metadata.gid, &mut header.gid)]
    {
        *field = u64::from(number);
        if *field > SMALL_MAX {
            extended.add(key, number.to_string().as_bytes());
        }
    }
    let fields = [
        (b"uname", metadata.user.as_deref(), &mut header.user),
        (b"gname", metadata.group.as_deref(), &mut header.group),
    ];
    for (key, name, field) in fields {
        let name = name.unwrap_or_default().as_bytes();
        *field = name.to_vec();
        if name.len() > OWNER_BYTES || !name.is_ascii() {
            extended.add(key, name);
        }
    }
    let Timestamp { seconds, nanoseconds } = metadata.mtime;
    header.mtime = u64::try_from(seconds).unwrap_or_default();
    if nanoseconds != 0 || seconds < 0 || header.mtime > LARGE_MAX {
        extended.add(b"mtime", time(metadata.mtime).as_bytes());
    }
    extended.add(b"ctime", time(metadata.ctime).as_bytes());
}

/// Extended attributes, and access control lists as text in addition: who sets these takes the text.
fn attributes(member: &Member, extended: &mut Extended) {
    for (name, value) in &member.xattrs {
        let key = match name.as_slice() {
            acl::ACCESS => Some(b"SCHILY.acl.access".as_slice()),
            acl::DEFAULT => Some(b"SCHILY.acl.default".as_slice()),
            _ => None,
        };
        if let Some((key, text)) = key.zip(acl::text(value)) {
            extended.add(key, text.as_bytes());
        }
        extended.add(&attribute_key(name), value);
    }
}

/// The keyword of an attribute: `=` ends a keyword, so that it and `%` are written as GNU tar writes them.
fn attribute_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend(b"%25"),
            b'=' => key.extend(b"%3D"),
            other => key.push(*other),
        }
    }
    key
}

/// Seconds since 1970, with a minus before all of it if it was earlier.
fn time(time: Timestamp) -> String {
    let exact = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if exact < 0 { "-" } else { "" };
    let exact = exact.unsigned_abs();
    match exact % 1_000_000_000 {
        0 => format!("{sign}{}", exact / 1_000_000_000),
        rest => format!("{sign}{}.{rest:09}", exact / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests;
