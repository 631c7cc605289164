//! Tree pages (format-spec chapter 8): a directory as a tree of pages that one changed entry hardly moves.
//!
//! What must hold: names are sorted bytewise and unique over all pages of a directory; where a page ends depends on
//! the names and lengths of its entries alone; what a page says of its bundles adds up.

use crate::base::ChunkId;
use crate::base::limits::{CHUNK_BYTES_MAX, PAGE_BYTES_MAX, PAGE_LEVELS_MAX};
use crate::format::cbor::{KeptPair, MapWriter, Reader, Writer, keep_unknown, needed};
use crate::format::node::{Content, Node, NodeKind, check_name};
use crate::format::{DecodeError, Decoded, require};

const LEAF: u64 = 1;
const INNER: u64 = 2;
/// More than the heads of a page take.
const HEADS_BYTES: usize = 32;
/// What the id of a bundle takes.
const BUNDLE_BYTES: usize = ChunkId::WIDTH + 2;

/// A child of an inner page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The last name below it.
    pub last_name: Vec<u8>,
    /// The child page.
    pub id: ChunkId,
}

/// A part of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Entries.
    Leaf {
        /// Sorted by name.
        nodes: Vec<Node>,
        /// Data chunks that hold the joined contents of tiny files of this page.
        bundles: Vec<ChunkId>,
    },
    /// Pages below it.
    Inner {
        /// 1 directly above leaves.
        level: u8,
        /// In order of names, at least one.
        children: Vec<Child>,
    },
}

/// Entries of a page that is being made, encoded, one after the other.
#[derive(Debug, Default)]
pub struct EncodedEntries {
    count: usize,
    encoded: Writer,
}

impl EncodedEntries {
    /// Adds an entry of a leaf; gives the length of its encoding.
    pub fn add_node(&mut self, node: &Node) -> u64 {
        self.add(|writer| node.encode_behind(writer))
    }

    /// Adds an entry of an inner page; gives the length of its encoding.
    pub fn add_child(&mut self, child: &Child) -> u64 {
        self.add(|mut writer| {
            writer.array(2).bytes(&child.last_name).bytes(child.id.as_bytes());
            writer
        })
    }

    fn add(&mut self, encode: impl FnOnce(Writer) -> Writer) -> u64 {
        let before = self.bytes();
        self.encoded = encode(std::mem::take(&mut self.encoded));
        self.count += 1;
        self.bytes() - before
    }

    fn gathered<T>(items: impl IntoIterator<Item = T>, add: impl Fn(&mut Self, T) -> u64) -> Self {
        let mut entries = Self::default();
        for item in items {
            add(&mut entries, item);
        }
        entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What all take together.
    pub fn bytes(&self) -> u64 {
        self.encoded.written().len() as u64
    }

    fn encode(&self, value: &mut Writer) {
        value.array(self.count).raw(self.encoded.written());
    }
}

impl<'n> FromIterator<&'n Node> for EncodedEntries {
    fn from_iter<I: IntoIterator<Item = &'n Node>>(nodes: I) -> Self {
        Self::gathered(nodes, Self::add_node)
    }
}

impl<'c> FromIterator<&'c Child> for EncodedEntries {
    fn from_iter<I: IntoIterator<Item = &'c Child>>(children: I) -> Self {
        Self::gathered(children, Self::add_child)
    }
}

/// The encoding of a leaf.
pub fn encode_leaf(nodes: &EncodedEntries, bundles: &[ChunkId]) -> Vec<u8> {
    let room = nodes.encoded.written().len() + BUNDLE_BYTES * bundles.len() + HEADS_BYTES;
    let mut map = MapWriter::behind(Writer::with_capacity(room));
    map.key(0).unsigned(LEAF);
    nodes.encode(map.key(2));
    if !bundles.is_empty() {
        let value = map.key(3).array(bundles.len());
        for bundle in bundles {
            value.bytes(bundle.as_bytes());
        }
    }
    map.into_bytes()
}

/// The encoding of an inner page.
pub fn encode_inner(level: u8, children: &EncodedEntries) -> Vec<u8> {
    let room = children.encoded.written().len() + HEADS_BYTES;
    let mut map = MapWriter::behind(Writer::with_capacity(room));
    map.key(0).unsigned(INNER);
    map.key(1).unsigned(level);
    children.encode(map.key(2));
    map.into_bytes()
}

impl Page {
    /// Reads a page.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        require(bytes.len() <= PAGE_BYTES_MAX, "PAGE-1", || format!("a page of {} bytes", bytes.len()))?;
        let mut reader = Reader::new(bytes);
        let mut kind = None;
        let mut level = None;
        let mut entries = None;
        let mut bundles = None;
        let mut kept: Vec<KeptPair> = Vec::new();
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => kind = Some(reader.unsigned()?),
                1 => level = Some(reader.narrow::<u8>()?),
                2 => entries = Some(decode_entries(kind, &mut reader)?),
                3 => bundles = Some(decode_bundles(&mut reader)?),
                _ => keep_unknown(key, &mut reader, &mut kept)?,
            }
        }
        reader.end()?;
        match (needed(entries, "the entries")?, level, bundles) {
            (Entries::Leaf(nodes), None, bundles) => {
                let bundles = bundles.unwrap_or_default();
                check_bundles(&nodes, bundles.len())?;
                Ok(Self::Leaf { nodes, bundles })
            }
            (Entries::Inner(children), Some(level), None) => {
                require((1..PAGE_LEVELS_MAX).contains(&level), "PAGE-2", || format!("level {level}"))?;
                Ok(Self::Inner { level, children })
            }
            _ => Err(DecodeError::new("PAGE-2", "a field that this type of page does not have")),
        }
    }

    /// Name of the last entry below this page; `None` for an empty leaf.
    pub fn last_name(&self) -> Option<&[u8]> {
        match self {
            Self::Leaf { nodes, .. } => nodes.last().map(|node| node.name.as_slice()),
            Self::Inner { children, .. } => children.last().map(|child| child.last_name.as_slice()),
        }
    }
}

/// Where each bundled file of a leaf begins: (bundle index, offset in the bundle), at the position of its node; nothing for
/// the other nodes.
pub fn bundle_places(nodes: &[Node]) -> Vec<Option<(u32, u64)>> {
    let mut places = Vec::with_capacity(nodes.len());
    let mut current = None;
    let mut offset = 0;
    for node in nodes {
        let mut place = None;
        if let NodeKind::Regular(regular) = &node.kind
            && let Content::Bundle(index) = regular.content
        {
            if current != Some(index) {
                current = Some(index);
                offset = 0;
            }
            place = Some((index, offset));
            offset += regular.size;
        }
        places.push(place);
    }
    places
}

enum Entries {
    Leaf(Vec<Node>),
    Inner(Vec<Child>),
}

fn decode_entries(kind: Option<u64>, reader: &mut Reader<'_>) -> Decoded<Entries> {
    let count = reader.array()?;
    match needed(kind, "the type of page")? {
        LEAF => {
            let mut nodes: Vec<Node> = Vec::new();
            for _ in 0..count {
                let node = Node::decode(reader)?;
                let in_order = nodes.last().is_none_or(|last| last.name < node.name);
                require(in_order, "PAGE-3", || "names out of order or twice".into())?;
                nodes.push(node);
            }
            Ok(Entries::Leaf(nodes))
        }
        INNER => {
            let mut children: Vec<Child> = Vec::new();
            for _ in 0..count {
                reader.array_of(2)?;
                let child = Child { last_name: reader.bytes()?.to_vec(), id: ChunkId(reader.fixed()?) };
                check_name(&child.last_name)?;
                let in_order = children.last().is_none_or(|last| last.last_name < child.last_name);
                require(in_order, "PAGE-3", || "names out of order or twice".into())?;
                children.push(child);
            }
            require(!children.is_empty(), "PAGE-4", || "an inner page without children".into())?;
            Ok(Entries::Inner(children))
        }
        other => Err(DecodeError::new("PAGE-2", format!("type of page {other}"))),
    }
}

fn decode_bundles(reader: &mut Reader<'_>) -> Decoded<Vec<ChunkId>> {
    let count = reader.array()?;
    require(count > 0, "PAGE-5", || "an empty list of bundles".into())?;
    (0..count).map(|_| Ok(ChunkId(reader.fixed()?))).collect()
}

/// Bundles are used in order, each by at least one file, none longer than a chunk may be: rule PAGE-5.
fn check_bundles(nodes: &[Node], bundles: usize) -> Decoded<()> {
    let mut used = 0;
    let mut length = 0_u64;
    for node in nodes {
        let NodeKind::Regular(regular) = &node.kind else { continue };
        let Content::Bundle(index) = regular.content else { continue };
        let index = u64::from(index);
        if index == used {
            used += 1;
            length = 0;
        } else {
            require(index + 1 == used, "PAGE-5", || format!("bundle {index} after {used} bundles"))?;
        }
        length = length.saturating_add(regular.size);
        require(length <= u64::from(CHUNK_BYTES_MAX), "PAGE-5", || format!("a bundle of {length} bytes"))?;
    }
    require(used == bundles as u64, "PAGE-5", || format!("{bundles} bundles of which {used} are used"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::tests::regular;

    const ID: ChunkId = ChunkId([9; 32]);

    fn leaf(nodes: &[Node], bundles: &[ChunkId]) -> Vec<u8> {
        encode_leaf(&nodes.iter().collect(), bundles)
    }

    fn rejected(bytes: &[u8]) -> &'static str {
        Page::decode(bytes).expect_err("must be refused").rule
    }

    fn inner(level: u8, names: &[&[u8]]) -> Vec<u8> {
        let child = |name: &&[u8]| Child { last_name: name.to_vec(), id: ID };
        let children: Vec<Child> = names.iter().map(child).collect();
        encode_inner(level, &children.iter().collect())
    }

    #[test]
    fn pages_are_read_back_as_they_were() {
        assert_eq!(Page::decode(&leaf(&[], &[])), Ok(Page::Leaf { nodes: vec![], bundles: vec![] }));
        let nodes = [
            regular(b"a", 5, Content::Bundle(0)),
            regular(b"b", 0, Content::Empty),
            regular(b"c", 6, Content::Bundle(0)),
            regular(b"d", 7, Content::Bundle(1)),
        ];
        let page = Page::decode(&leaf(&nodes, &[ID, ID])).expect("a good page");
        assert_eq!(page.last_name(), Some(b"d".as_slice()));
        assert_eq!(page, Page::Leaf { nodes: nodes.to_vec(), bundles: vec![ID, ID] });
        assert_eq!(bundle_places(&nodes), [Some((0, 0)), None, Some((0, 5)), Some((1, 0))]);
        let page = Page::decode(&inner(1, &[b"a", b"b"])).expect("a good page");
        assert_eq!(page.last_name(), Some(b"b".as_slice()));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        assert_eq!(rejected(&vec![0; PAGE_BYTES_MAX + 1]), "PAGE-1");
        assert_eq!(rejected(&inner(0, &[b"a"])), "PAGE-2");
        assert_eq!(rejected(&inner(16, &[b"a"])), "PAGE-2");
        assert_eq!(rejected(&[0xa2, 0, 3, 2, 0x80]), "PAGE-2");
        assert_eq!(rejected(&[0xa3, 0, 1, 1, 1, 2, 0x80]), "PAGE-2");
        let file = |name: &[u8]| regular(name, 0, Content::Empty);
        assert_eq!(rejected(&leaf(&[file(b"b"), file(b"a")], &[])), "PAGE-3");
        assert_eq!(rejected(&leaf(&[file(b"a"), file(b"a")], &[])), "PAGE-3");
        assert_eq!(rejected(&inner(1, &[b"b", b"a"])), "PAGE-3");
        assert_eq!(rejected(&inner(1, &[])), "PAGE-4");
        assert_eq!(rejected(&inner(1, &[b".."])), "NODE-2");
        let bundled = |name: &[u8], index| regular(name, 5, Content::Bundle(index));
        for (nodes, bundles) in [
            (vec![bundled(b"a", 0)], 0),
            (vec![bundled(b"a", 0)], 2),
            (vec![bundled(b"a", 1)], 2),
            (vec![bundled(b"a", 0), bundled(b"b", 1), bundled(b"c", 0)], 2),
            (vec![regular(b"a", 9 << 20, Content::Bundle(0))], 1),
        ] {
            assert_eq!(rejected(&leaf(&nodes, &vec![ID; bundles])), "PAGE-5", "{nodes:?}");
        }
        let mut trailing = leaf(&[], &[]);
        trailing.push(0);
        assert_eq!(rejected(&trailing), "CBOR-1");
    }
}
