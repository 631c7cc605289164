//! One entry of a directory (format-spec chapter 8): a CBOR map with integer keys.
//!
//! What must hold: a node stands for exactly one object of the source; what it says of its content adds up; a name
//! is one component and can lead nowhere else.

use smol_str::SmolStr;

use crate::base::limits::{
    CHUNK_BYTES_MAX, EXTENTS_MAX, LINK_TARGET_BYTES_MAX, NAME_BYTES_MAX, NODE_BYTES_MAX, NODE_CHUNKS_MAX,
    PAGE_LEVELS_MAX, XATTR_BYTES_MAX, XATTR_INLINE_BYTES_MAX,
};
use crate::base::{ChunkId, Timestamp};
use crate::format::cbor::{KeptPair, MapWriter, Reader, Writer, keep_unknown, needed};
use crate::format::{DecodeError, Decoded, require};

/// Flag: the file changed while it was read.
const FLAG_CHANGED_WHILE_READ: u64 = 1;
/// Room for most nodes.
const TYPICAL_BYTES: usize = 160;

/// A chunk and the length of its plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    /// Its name.
    pub id: ChunkId,
    /// Length in bytes.
    pub length: u64,
}

/// Where the content of a regular file stands: all its bytes, or of a sparse file the bytes of its data extents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// No bytes.
    Empty,
    /// In the bundle with this index of the same page.
    Bundle(u32),
    /// One data chunk, as long as the content.
    Chunk(ChunkId),
    /// 2 to 16 data chunks in order.
    Chunks(Vec<ChunkRef>),
    /// More: the root list page and its level.
    List {
        /// Levels of list pages below and including the root, minus one.
        level: u8,
        /// The root list page.
        id: ChunkId,
    },
}

/// A piece of a sparse file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes, at least one.
    pub length: u64,
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regular {
    /// Size in bytes, holes included.
    pub size: u64,
    /// Where the bytes stand.
    pub content: Content,
    /// Of a sparse file: where its data lies, ascending, apart from each other, within `size`. An empty list: the
    /// whole file is a hole.
    pub extents: Option<Vec<Extent>>,
    /// It changed while it was read.
    pub changed_while_read: bool,
}

impl Regular {
    /// Number of content bytes: the sum of the extents, or the size.
    pub fn content_bytes(&self) -> u64 {
        match &self.extents {
            None => self.size,
            Some(extents) => extents.iter().fold(0, |sum, extent| extent.length.saturating_add(sum)),
        }
    }
}

/// What kind of object a node stands for, with what only that kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    Regular(Regular),
    /// A directory and the id of its root page.
    Directory(ChunkId),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl NodeKind {
    const fn number(&self) -> u64 {
        match self {
            Self::Regular(_) => 1,
            Self::Directory(_) => 2,
            Self::Symlink(_) => 3,
            Self::Fifo => 4,
            Self::Socket => 5,
            Self::CharacterDevice { .. } => 6,
            Self::BlockDevice { .. } => 7,
        }
    }

    /// The kind in a word, as listings show it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Regular(_) => "file",
            Self::Directory(_) => "dir",
            Self::Symlink(_) => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharacterDevice { .. } => "chardev",
            Self::BlockDevice { .. } => "dev",
        }
    }
}

/// An extended attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XattrValue {
    /// Up to 512 bytes.
    Inline(Vec<u8>),
    /// More: a data chunk.
    Chunk(ChunkRef),
}

/// An extended attribute; POSIX ACLs and file capabilities are such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Full name with its namespace.
    pub name: Vec<u8>,
    /// Its value.
    pub value: XattrValue,
}

/// Objects with the same group in one snapshot are one object with several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup {
    /// Which file system within the source, counted as they were met.
    pub filesystem: u64,
    /// Inode number.
    pub inode: u64,
}

/// What every kind of object has, its name and extended attributes apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with set-user-id, set-group-id and sticky: the low 12 bits.
    pub mode: u16,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Owner by name, where there is one.
    pub user: Option<SmolStr>,
    /// Group by name, where there is one.
    pub group: Option<SmolStr>,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or metadata; cannot be restored, serves to tell change.
    pub ctime: Timestamp,
    /// Where the object has several names.
    pub links: Option<LinkGroup>,
    /// How many names it had, whether they are stored or not; not restored. Earlier nodes do not say it.
    pub link_count: Option<u32>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// One component, any bytes.
    pub name: Vec<u8>,
    /// The kind and what only that kind has.
    pub kind: NodeKind,
    /// What every kind has.
    pub metadata: Metadata,
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
    /// Ignorable pairs of a later version, kept on rewrite.
    pub kept: Vec<KeptPair>,
}

impl Node {
    /// The size of a regular file; 0 for every other kind.
    pub const fn size(&self) -> u64 {
        match &self.kind {
            NodeKind::Regular(regular) => regular.size,
            _ => 0,
        }
    }

    /// The encoding; deterministic.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_behind(Writer::with_capacity(TYPICAL_BYTES)).into_bytes()
    }

    /// Adds the encoding to what is written already.
    pub(super) fn encode_behind(&self, writer: Writer) -> Writer {
        let mut map = MapWriter::behind(writer);
        let metadata = &self.metadata;
        map.key(0).unsigned(self.kind.number());
        map.key(1).bytes(&self.name);
        map.key(2).unsigned(metadata.mode);
        map.key(3).unsigned(metadata.uid);
        map.key(4).unsigned(metadata.gid);
        if let Some(user) = &metadata.user {
            map.key(5).text(user);
        }
        if let Some(group) = &metadata.group {
            map.key(6).text(group);
        }
        map.key(7).time(metadata.mtime);
        map.key(8).time(metadata.ctime);
        if let NodeKind::Regular(regular) = &self.kind {
            map.key(9).unsigned(regular.size);
        }
        if let Some(links) = metadata.links {
            map.key(10).array(2).unsigned(links.filesystem).unsigned(links.inode);
        }
        match &self.kind {
            NodeKind::Symlink(target) => drop(map.key(11).bytes(target)),
            NodeKind::CharacterDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                map.key(12).array(2).unsigned(*major).unsigned(*minor);
            }
            _ => {}
        }
        if !self.xattrs.is_empty() {
            encode_xattrs(map.key(13), &self.xattrs);
        }
        match &self.kind {
            NodeKind::Regular(regular) => encode_regular(&mut map, regular),
            NodeKind::Directory(tree) => drop(map.key(20).bytes(tree.as_bytes())),
            _ => {}
        }
        if let Some(count) = metadata.link_count {
            map.key(64).unsigned(count);
        }
        map.kept(&self.kept);
        map.into_writer()
    }

    /// Reads one node.
    pub fn decode(reader: &mut Reader<'_>) -> Decoded<Self> {
        let before = reader.rest().len();
        let mut fields = Fields::default();
        let mut map = reader.map()?;
        while let Some(key) = map.next(reader)? {
            fields.read(key, reader)?;
        }
        let length = before - reader.rest().len();
        require(length <= NODE_BYTES_MAX, "NODE-1", || format!("a node of {length} bytes"))?;
        fields.into_node()
    }
}

/// Refuses a name that is not one component: rule NODE-2.
pub fn check_name(name: &[u8]) -> Decoded<()> {
    let is_component = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.contains(&b'/')
        && !name.contains(&0)
        && name != b"."
        && name != b"..";
    require(is_component, "NODE-2", || format!("the name {:?}", String::from_utf8_lossy(name)))
}

fn encode_regular(map: &mut MapWriter, regular: &Regular) {
    if let Some(extents) = &regular.extents {
        let value = map.key(14).array(2 * extents.len());
        for extent in extents {
            value.unsigned(extent.offset).unsigned(extent.length);
        }
    }
    if regular.changed_while_read {
        map.key(15).unsigned(FLAG_CHANGED_WHILE_READ);
    }
    match &regular.content {
        Content::Empty => {}
        Content::Chunk(id) => drop(map.key(16).bytes(id.as_bytes())),
        Content::Chunks(chunks) => {
            let value = map.key(17).array(2 * chunks.len());
            for chunk in chunks {
                value.bytes(chunk.id.as_bytes()).unsigned(chunk.length);
            }
        }
        Content::List { level, id } => drop(map.key(18).array(2).unsigned(*level).bytes(id.as_bytes())),
        Content::Bundle(index) => drop(map.key(19).unsigned(*index)),
    }
}

fn encode_xattrs(value: &mut Writer, xattrs: &[Xattr]) {
    value.array(xattrs.len());
    for xattr in xattrs {
        match &xattr.value {
            XattrValue::Inline(bytes) => value.array(2).bytes(&xattr.name).bytes(bytes),
            XattrValue::Chunk(chunk) => {
                value.array(3).bytes(&xattr.name).bytes(chunk.id.as_bytes()).unsigned(chunk.length)
            }
        };
    }
}

fn decode_xattrs(reader: &mut Reader<'_>) -> Decoded<Vec<Xattr>> {
    let count = reader.array()?;
    require(count > 0, "NODE-9", || "an empty list of extended attributes".into())?;
    let mut xattrs: Vec<Xattr> = Vec::new();
    for _ in 0..count {
        let parts = reader.array()?;
        let name = reader.bytes()?.to_vec();
        let is_name = !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(&0);
        let in_order = xattrs.last().is_none_or(|last| last.name < name);
        require(is_name && in_order, "NODE-9", || "extended attributes out of order or misnamed".into())?;
        let value = match parts {
            2 => XattrValue::Inline(reader.bytes()?.to_vec()),
            3 => XattrValue::Chunk(ChunkRef { id: ChunkId(reader.fixed()?), length: reader.unsigned()? }),
            _ => return Err(DecodeError::new("CBOR-7", "an extended attribute that is no pair")),
        };
        let fits = match &value {
            XattrValue::Inline(bytes) => bytes.len() <= XATTR_INLINE_BYTES_MAX,
            XattrValue::Chunk(chunk) => {
                (XATTR_INLINE_BYTES_MAX as u64 + 1..=XATTR_BYTES_MAX as u64).contains(&chunk.length)
            }
        };
        require(fits, "NODE-10", || "the value of an extended attribute in the wrong place".into())?;
        xattrs.push(Xattr { name, value });
    }
    Ok(xattrs)
}

/// The fields of a node as they are met.
#[derive(Default)]
struct Fields {
    kind: Option<u64>,
    name: Option<Vec<u8>>,
    mode: Option<u16>,
    uid: Option<u32>,
    gid: Option<u32>,
    user: Option<SmolStr>,
    group: Option<SmolStr>,
    mtime: Option<Timestamp>,
    ctime: Option<Timestamp>,
    size: Option<u64>,
    links: Option<LinkGroup>,
    target: Option<Vec<u8>>,
    device: Option<(u32, u32)>,
    xattrs: Vec<Xattr>,
    extents: Option<Vec<Extent>>,
    flags: Option<u64>,
    content: Option<Content>,
    tree: Option<ChunkId>,
    link_count: Option<u32>,
    kept: Vec<KeptPair>,
}

impl Fields {
    fn read(&mut self, key: u64, reader: &mut Reader<'_>) -> Decoded<()> {
        match key {
            0 => self.kind = Some(reader.unsigned()?),
            1 => self.name = Some(reader.bytes()?.to_vec()),
            2 => self.mode = Some(reader.narrow()?),
            3 => self.uid = Some(reader.narrow()?),
            4 => self.gid = Some(reader.narrow()?),
            5 => self.user = Some(reader.text()?.into()),
            6 => self.group = Some(reader.text()?.into()),
            7 => self.mtime = Some(reader.time()?),
            8 => self.ctime = Some(reader.time()?),
            9 => self.size = Some(reader.unsigned()?),
            10 => {
                reader.array_of(2)?;
                self.links = Some(LinkGroup { filesystem: reader.unsigned()?, inode: reader.unsigned()? });
            }
            11 => self.target = Some(reader.bytes()?.to_vec()),
            12 => {
                reader.array_of(2)?;
                self.device = Some((reader.narrow()?, reader.narrow()?));
            }
            13 => self.xattrs = decode_xattrs(reader)?,
            14 => self.extents = Some(decode_extents(reader)?),
            15 => self.flags = Some(reader.unsigned()?),
            16..=19 => {
                let content = decode_content(key, reader)?;
                require(self.content.is_none(), "NODE-6", || "content twice".into())?;
                self.content = Some(content);
            }
            20 => self.tree = Some(ChunkId(reader.fixed()?)),
            64 => self.link_count = Some(reader.narrow()?),
            _ => keep_unknown(key, reader, &mut self.kept)?,
        }
        Ok(())
    }

    fn into_node(mut self) -> Decoded<Node> {
        let name = needed(self.name.take(), "the name")?;
        check_name(&name)?;
        let mode = needed(self.mode, "the mode")?;
        require(mode <= 0o7777, "NODE-3", || format!("mode {mode:o}"))?;
        let metadata = Metadata {
            mode,
            uid: needed(self.uid, "the owner")?,
            gid: needed(self.gid, "the group")?,
            user: self.user.take(),
            group: self.group.take(),
            mtime: needed(self.mtime, "the time of change")?,
            ctime: needed(self.ctime, "the time of status change")?,
            links: self.links,
            link_count: self.link_count,
        };
        let xattrs = std::mem::take(&mut self.xattrs);
        let kept = std::mem::take(&mut self.kept);
        let kind = self.take_kind()?;
        let has_foreign = self.size.is_some()
            || self.target.is_some()
            || self.device.is_some()
            || self.extents.is_some()
            || self.flags.is_some()
            || self.content.is_some()
            || self.tree.is_some();
        require(!has_foreign, "NODE-4", || "a field that this type does not have".into())?;
        let is_linked_directory = matches!(kind, NodeKind::Directory(_)) && metadata.links.is_some();
        require(!is_linked_directory, "NODE-4", || "a directory with several names".into())?;
        Ok(Node { name, kind, metadata, xattrs, kept })
    }

    fn take_kind(&mut self) -> Decoded<NodeKind> {
        let number = needed(self.kind, "the type")?;
        Ok(match number {
            1 => NodeKind::Regular(self.take_regular()?),
            2 => NodeKind::Directory(needed(self.tree.take(), "the page")?),
            3 => {
                let target = needed(self.target.take(), "the target")?;
                let fits =
                    !target.is_empty() && target.len() <= LINK_TARGET_BYTES_MAX && !target.contains(&0);
                require(fits, "NODE-5", || "a link target that is empty, too long or has a NUL".into())?;
                NodeKind::Symlink(target)
            }
            4 => NodeKind::Fifo,
            5 => NodeKind::Socket,
            6 | 7 => {
                let (major, minor) = needed(self.device.take(), "the device number")?;
                match number {
                    6 => NodeKind::CharacterDevice { major, minor },
                    _ => NodeKind::BlockDevice { major, minor },
                }
            }
            other => return Err(DecodeError::new("NODE-4", format!("type {other}"))),
        })
    }

    fn take_regular(&mut self) -> Decoded<Regular> {
        let flags = self.flags.take();
        require(flags.is_none_or(|flags| flags == FLAG_CHANGED_WHILE_READ), "NODE-11", || {
            "unknown flags".into()
        })?;
        let regular = Regular {
            size: needed(self.size.take(), "the size")?,
            content: self.content.take().unwrap_or(Content::Empty),
            extents: self.extents.take(),
            changed_while_read: flags.is_some(),
        };
        if let Some(extents) = &regular.extents {
            check_extents(extents, regular.size)?;
        }
        let bytes = regular.content_bytes();
        let adds_up = match &regular.content {
            Content::Empty => bytes == 0,
            Content::Bundle(_) => bytes > 0 && regular.extents.is_none() && self.links.is_none(),
            Content::Chunk(_) => bytes > 0 && bytes <= u64::from(CHUNK_BYTES_MAX),
            Content::Chunks(chunks) => {
                chunks.iter().try_fold(0_u64, |sum, chunk| sum.checked_add(chunk.length)) == Some(bytes)
            }
            Content::List { .. } => bytes > 0,
        };
        require(adds_up, "NODE-7", || format!("content that does not add up to {bytes} bytes"))?;
        Ok(regular)
    }
}

fn decode_extents(reader: &mut Reader<'_>) -> Decoded<Vec<Extent>> {
    let count = reader.array()?;
    require(count % 2 == 0 && count / 2 <= EXTENTS_MAX, "NODE-8", || format!("{count} numbers of extents"))?;
    (0..count / 2).map(|_| Ok(Extent { offset: reader.unsigned()?, length: reader.unsigned()? })).collect()
}

fn check_extents(extents: &[Extent], size: u64) -> Decoded<()> {
    let mut free = 0;
    for (index, extent) in extents.iter().enumerate() {
        let apart = extent.offset > free || (index == 0 && extent.offset == 0);
        let end = extent.offset.checked_add(extent.length);
        match end {
            Some(end) if apart && extent.length > 0 && end <= size => free = end,
            _ => return Err(DecodeError::new("NODE-8", "extents out of order or beyond the size")),
        }
    }
    let is_sparse = extents.iter().fold(0, |sum, extent| sum + extent.length) < size;
    require(is_sparse, "NODE-8", || "extents without a hole".into())
}

fn decode_content(key: u64, reader: &mut Reader<'_>) -> Decoded<Content> {
    Ok(match key {
        16 => Content::Chunk(ChunkId(reader.fixed()?)),
        17 => {
            let count = reader.array()?;
            let fits = count % 2 == 0 && (2..=NODE_CHUNKS_MAX).contains(&(count / 2));
            require(fits, "NODE-6", || format!("{count} items of content"))?;
            let chunks: Vec<ChunkRef> =
                (0..count / 2).map(|_| decode_chunk(reader)).collect::<Decoded<_>>()?;
            let long = chunks.iter().any(|chunk| chunk.length > u64::from(CHUNK_BYTES_MAX));
            require(!long, "NODE-6", || "a chunk above the limit".into())?;
            Content::Chunks(chunks)
        }
        18 => {
            reader.array_of(2)?;
            let level: u8 = reader.narrow()?;
            require(level < PAGE_LEVELS_MAX, "NODE-6", || format!("{level} levels of list pages"))?;
            Content::List { level, id: ChunkId(reader.fixed()?) }
        }
        _ => Content::Bundle(reader.narrow()?),
    })
}

/// Reads a chunk's id and length, which is at least one.
pub(crate) fn decode_chunk(reader: &mut Reader<'_>) -> Decoded<ChunkRef> {
    let chunk = ChunkRef { id: ChunkId(reader.fixed()?), length: reader.unsigned()? };
    require(chunk.length > 0, "NODE-6", || "an empty chunk".into())?;
    Ok(chunk)
}

#[cfg(test)]
pub(crate) mod tests;
