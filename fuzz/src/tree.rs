//! Target: a tree whose pages say what nobody ever backed up.
//!
//! What must hold: a walk ends within what its snapshot says; what it meets has names of one component, in order; what
//! is looked up by its path is what the walk met; content has the length that its node says, or is damage.

use std::sync::Arc;

use packstone::base::{ChunkId, ErrorKind, SessionId, Silent, Timestamp};
use packstone::crypto::{ChunkKind, content_name};
use packstone::format::index::{Entry as IndexEntry, IndexRun, IndexedPack};
use packstone::format::list::ListPage;
use packstone::format::names;
use packstone::format::node::{ChunkRef, Content, Extent, Metadata, Node, NodeKind, Regular, check_name};
use packstone::format::pack::{Codec, SegmentRow};
use packstone::format::page::{Child, Page, encode_inner, encode_leaf};
use packstone::format::sealing::{HEADER_BYTES, TAG_BYTES};
use packstone::repository::Repository;
use packstone::storage::memory::Memory;
use packstone::tree::{Budget, Tree, Walk, WalkItem, mark_reachable};

use super::forge::{self, Seal, chunk_id, met, put, put_run, snapshot};
use super::input::Input;

/// Most pages of a case.
const PAGES_MAX: usize = 24;
/// Most entries of a page.
const ENTRIES_MAX: usize = 12;
/// Chunks of content that are visited before a long file is given up.
const CHUNKS_MAX: usize = 200;

/// All pages and chunks of a case.
#[derive(Default)]
struct Stored {
    /// In the order in which they were made: later ones may name earlier ones.
    pages: Vec<Vec<u8>>,
    data: Vec<Vec<u8>>,
}

impl Stored {
    fn page(&self, input: &mut Input<'_>) -> ChunkId {
        self.page_and_last_name(input).0
    }

    /// A page that is there, unless none is, and the last name in it.
    fn page_and_last_name(&self, input: &mut Input<'_>) -> (ChunkId, Option<Vec<u8>>) {
        let chosen = input.byte();
        let page =
            usize::from(chosen).checked_rem(self.pages.len()).and_then(|number| self.pages.get(number));
        let Some(page) = page else { return (ChunkId([chosen; 32]), None) };
        let read = Page::decode(page).ok();
        let last_name = read.and_then(|page| page.last_name().map(<[u8]>::to_vec));
        (chunk_id(ChunkKind::Tree, page), last_name)
    }

    fn chunk(&mut self, input: &mut Input<'_>) -> ChunkRef {
        let length = 1 + input.below(40);
        let content = vec![u8::try_from(length).expect("small"); length];
        let id = chunk_id(ChunkKind::Data, &content);
        if !self.data.contains(&content) {
            self.data.push(content);
        }
        // Once in a while of another length than it is.
        let wrong = u64::from(input.byte() == 0xff);
        ChunkRef { id, length: length as u64 + wrong }
    }

    fn regular(&mut self, input: &mut Input<'_>) -> Regular {
        let (size, content) = match input.below(5) {
            0 => (u64::from(input.byte() & 0x0f), Content::Bundle(u32::from(input.byte() >> 6))),
            1 => {
                let chunk = self.chunk(input);
                (chunk.length, Content::Chunk(chunk.id))
            }
            2 => {
                let chunks: Vec<ChunkRef> = (0..2 + input.below(3)).map(|_| self.chunk(input)).collect();
                (chunks.iter().map(|chunk| chunk.length).sum(), Content::Chunks(chunks))
            }
            3 => {
                let (level, id) = (input.byte() & 0x0f, self.page(input));
                (input.number(2), Content::List { level: level & 3, id })
            }
            _ => (0, Content::Empty),
        };
        let hole = u64::from(input.byte() & 0x07);
        let extents = (hole > 0).then(|| match size {
            0 => Vec::new(),
            length => vec![Extent { offset: hole, length }],
        });
        let size = extents.as_ref().map_or(size, |_| size + hole);
        Regular { size, content, extents, changed_while_read: false }
    }

    fn node(&mut self, input: &mut Input<'_>, position: usize) -> Node {
        // Mostly in order.
        let name = match input.byte() {
            0..0xf0 => vec![b'a' + u8::try_from(position).expect("small")],
            odd => vec![odd, input.byte()],
        };
        let kind = match input.below(4) {
            0 => NodeKind::Directory(self.page(input)),
            1 => NodeKind::Symlink(vec![b'x'; 1 + input.below(3)]),
            _ => NodeKind::Regular(self.regular(input)),
        };
        let time = Timestamp::default();
        let metadata = Metadata { mode: 0o644, mtime: time, ctime: time, ..Metadata::default() };
        Node { name, kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
    }

    /// A page that may name those before it.
    fn add_page(&mut self, input: &mut Input<'_>) {
        let mut page = match input.below(8) {
            0..4 => {
                let count = input.below(ENTRIES_MAX);
                let first = input.below(ENTRIES_MAX);
                let positions = first..first + count;
                let nodes: Vec<Node> = positions.map(|position| self.node(input, position)).collect();
                let bundles: Vec<ChunkId> = (0..input.below(3)).map(|_| self.chunk(input).id).collect();
                encode_leaf(&nodes.iter().collect(), &bundles)
            }
            4 | 5 => {
                let level = 1 + input.byte() % 3;
                let count = 1 + input.below(ENTRIES_MAX);
                let child = |_| {
                    let (id, last_name) = self.page_and_last_name(input);
                    let odd = input.byte();
                    let last_name = last_name.filter(|_| odd < 0xf0).unwrap_or_else(|| vec![odd]);
                    Child { last_name, id }
                };
                let children: Vec<Child> = (0..count).map(child).collect();
                encode_inner(level, &children.iter().collect())
            }
            6 => {
                let level = input.byte() & 3;
                let entries = (0..1 + input.below(ENTRIES_MAX)).map(|_| match level {
                    0 => self.chunk(input),
                    _ => ChunkRef { id: self.page(input), length: input.number(2) },
                });
                let entries = entries.collect();
                ListPage { level, entries }.encode()
            }
            _ => {
                let length = input.length();
                input.take(length).to_vec()
            }
        };
        if input.byte() == 0xff && !page.is_empty() {
            let position = input.length() % page.len();
            page[position] ^= input.byte();
        }
        if !page.is_empty() {
            self.pages.push(page);
        }
    }

    /// Puts a pack with all chunks of a kind, and gives what an index run says of it.
    fn put(memory: &Memory, kind: ChunkKind, chunks: &[Vec<u8>]) -> (IndexedPack, Vec<IndexEntry>) {
        let small = |number: usize| u32::try_from(number).expect("small");
        let salt = [small(chunks.len()).to_le_bytes()[0]; 32];
        let session = SessionId([9; 16]);
        let raw = chunks.concat();
        let object = forge::seal(
            &Seal { kind: kind.pack_kind(), name: None, session, salt },
            std::slice::from_ref(&raw),
        );
        let name = content_name([object.as_slice()]);
        let size_bytes = object.len() as u64;
        put(memory, &names::pack(&name), object);
        let segment = SegmentRow {
            offset: small(HEADER_BYTES),
            stored_bytes: small(raw.len() + TAG_BYTES),
            raw_bytes: small(raw.len()),
            codec: Codec::Raw,
        };
        let mut offset = 0;
        let entries = chunks.iter().map(|chunk| {
            let length = small(chunk.len());
            offset += length;
            IndexEntry { id: chunk_id(kind, chunk), pack: 0, segment: 0, offset: offset - length, length }
        });
        let entries = entries.collect();
        let generation = 1;
        let kind = kind.pack_kind();
        (IndexedPack { name, size_bytes, session, salt, generation, kind, segments: vec![segment] }, entries)
    }

    fn put_all(&self, memory: &Memory) {
        for (kind, chunks) in [(ChunkKind::Tree, &self.pages), (ChunkKind::Data, &self.data)] {
            if !chunks.is_empty() {
                let (pack, mut entries) = Self::put(memory, kind, chunks);
                entries.sort_unstable();
                entries.dedup_by_key(|entry| entry.id);
                let run = IndexRun { superseded: Vec::new(), packs: vec![pack], entries };
                put_run(memory, run.encode());
            }
        }
    }
}

/// Reads a file's content and compares its length.
fn read_content(tree: &Tree<'_>, entry: &packstone::tree::Entry, regular: &Regular) {
    if let Some(place) = &entry.bundle {
        if let Some(content) = met(tree.bundled(place, regular.size)) {
            assert_eq!(content.len() as u64, regular.size);
        }
        return;
    }
    let (mut count, mut length) = (0, 0_u64);
    let visited = tree.content(regular, &mut |chunk| {
        count += 1;
        length += chunk.length;
        match count {
            CHUNKS_MAX => Err(packstone::base::Error::damaged("long enough")),
            _ => Ok(()),
        }
    });
    if met(visited).is_some() {
        assert_eq!(length, regular.content_bytes(), "{regular:?}");
    }
}

/// Walks a whole tree, and looks up again what it met.
fn walk(repository: &Repository, root: ChunkId, nodes: u64, bytes: u64) {
    let Some(reader) = met(repository.reader()) else { return };
    let tree = Tree::new(&reader);
    let snapshot = snapshot(root, nodes, bytes);
    let (mut left_nodes, mut left_bytes) = (nodes, bytes);
    let mut path: Vec<Vec<u8>> = Vec::new();
    let mut last: Vec<Option<Vec<u8>>> = vec![None];
    for item in Walk::new(tree, root, Budget::of(&snapshot)) {
        // Only the directory whose page is damaged is lost.
        let Some(item) = met(item) else { continue };
        let entry = match item {
            WalkItem::Leave => {
                path.pop().expect("a directory was entered");
                last.pop();
                continue;
            }
            WalkItem::Entry(entry) => entry,
        };
        left_nodes = left_nodes.checked_sub(1).expect("no more nodes than the snapshot says");
        left_bytes = left_bytes.checked_sub(entry.node.size()).expect("no more bytes than the snapshot says");
        check_name(&entry.node.name).expect("one component");
        let before = last.last_mut().expect("a directory is open");
        assert!(before.as_ref().is_none_or(|before| *before < entry.node.name), "names in order");
        *before = Some(entry.node.name.clone());
        path.push(entry.node.name.clone());
        let components: Vec<&[u8]> = path.iter().map(Vec::as_slice).collect();
        match tree.lookup(&root, &components) {
            Ok(found) => assert_eq!(found.node, entry.node, "looked up by its path"),
            // A page may say another last name than it has: a walk meets that, a look into one page may not.
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged), "{error}")
            }
        }
        match &entry.node.kind {
            NodeKind::Directory(_) => last.push(None),
            kind => {
                if let NodeKind::Regular(regular) = kind {
                    read_content(&tree, &entry, regular);
                }
                path.pop();
            }
        }
    }
}

/// Marks what the tree needs: it comes to an end, whatever names what.
fn mark(repository: &Repository, root: ChunkId) {
    met(repository.view(None, &|reader, _, marks| {
        mark_reachable(reader, &[root], marks, &Silent, &|_, error| {
            met::<()>(Err(error));
            Ok(())
        })
    }));
}

/// Any pages as a tree.
pub fn tree(data: &[u8]) {
    let mut input = Input::new(data);
    let (nodes, bytes) = (u64::from(input.byte()) * 4, input.number(3));
    let mut stored = Stored::default();
    while !input.is_over() && stored.pages.len() < PAGES_MAX {
        stored.add_page(&mut input);
    }
    let memory = forge::repository();
    stored.put_all(&memory);
    let Some(root) = stored.pages.last() else { return };
    let repository = forge::open(Arc::new(memory)).expect("config and key slot are good");
    let root = chunk_id(ChunkKind::Tree, root);
    walk(&repository, root, nodes, bytes);
    mark(&repository, root);
}
