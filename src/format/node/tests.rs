//! Unit tests of nodes.

use super::*;

pub(crate) fn plain(name: &[u8], kind: NodeKind) -> Node {
    Node {
        name: name.to_vec(),
        kind,
        metadata: Metadata {
            mode: 0o644,
            uid: 1000,
            gid: 100,
            user: Some("ada".into()),
            group: None,
            mtime: Timestamp { seconds: -5, nanoseconds: 1 },
            ctime: Timestamp { seconds: 5_000_000_000, nanoseconds: 999_999_999 },
            links: None,
            link_count: None,
        },
        xattrs: Vec::new(),
        kept: Vec::new(),
    }
}

pub(crate) fn regular(name: &[u8], size: u64, content: Content) -> Node {
    plain(name, NodeKind::Regular(Regular { size, content, extents: None, changed_while_read: false }))
}

const ID: ChunkId = ChunkId([7; 32]);

fn rejected(node: &Node) -> &'static str {
    let bytes = node.encode();
    Node::decode(&mut Reader::new(&bytes)).expect_err("must be refused").rule
}

#[test]
fn every_kind_is_read_back_as_it_was() {
    let chunk = |length| ChunkRef { id: ID, length };
    let sparse = Regular {
        size: 100,
        content: Content::Chunks(vec![chunk(3), chunk(4)]),
        extents: Some(vec![Extent { offset: 0, length: 5 }, Extent { offset: 98, length: 2 }]),
        changed_while_read: true,
    };
    let hole =
        Regular { size: 9, content: Content::Empty, extents: Some(Vec::new()), changed_while_read: false };
    let mut nodes = vec![
        regular(b"empty", 0, Content::Empty),
        regular(b"bundled", 5, Content::Bundle(3)),
        regular(b"one", 5, Content::Chunk(ID)),
        regular(b"list", 1 << 40, Content::List { level: 1, id: ID }),
        plain(b"sparse", NodeKind::Regular(sparse)),
        plain(b"hole", NodeKind::Regular(hole)),
        plain(b"dir", NodeKind::Directory(ID)),
        plain(b"link", NodeKind::Symlink(b"../x\xff".to_vec())),
        plain(b"fifo", NodeKind::Fifo),
        plain(b"socket", NodeKind::Socket),
        plain(b"tty", NodeKind::CharacterDevice { major: 4, minor: u32::MAX }),
        plain(b"disk", NodeKind::BlockDevice { major: 8, minor: 0 }),
        regular(b"\xff\n", 0, Content::Empty),
    ];
    let mut rich = regular(b"rich", 0, Content::Empty);
    rich.metadata.links = Some(LinkGroup { filesystem: 2, inode: u64::MAX });
    rich.metadata.link_count = Some(3);
    rich.xattrs = vec![
        Xattr { name: b"user.a".to_vec(), value: XattrValue::Inline(Vec::new()) },
        Xattr { name: b"user.b".to_vec(), value: XattrValue::Chunk(chunk(513)) },
    ];
    rich.kept = vec![(65, vec![0x01]), (70, vec![0x61, b'x'])];
    nodes.push(rich);
    for node in nodes {
        let bytes = node.encode();
        let mut reader = Reader::new(&bytes);
        assert_eq!(Node::decode(&mut reader), Ok(node.clone()), "{node:?}");
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(node.encode(), bytes);
    }
}

#[test]
fn every_rule_of_the_chapter_is_enforced() {
    for name in [b"".as_slice(), b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
        assert_eq!(rejected(&regular(name, 0, Content::Empty)), "NODE-2");
    }
    let mut node = regular(b"a", 0, Content::Empty);
    node.metadata.mode = 0o10000;
    assert_eq!(rejected(&node), "NODE-3");
    let mut node = plain(b"d", NodeKind::Directory(ID));
    node.metadata.links = Some(LinkGroup { filesystem: 0, inode: 1 });
    assert_eq!(rejected(&node), "NODE-4");
    for target in [Vec::new(), vec![0], vec![b'x'; 4097]] {
        assert_eq!(rejected(&plain(b"l", NodeKind::Symlink(target))), "NODE-5");
    }
    let chunk = |length| ChunkRef { id: ID, length };
    for chunks in
        [vec![], vec![chunk(4)], vec![chunk(0), chunk(4)], vec![chunk(1); 17], vec![chunk(9 << 20); 2]]
    {
        let size = chunks.iter().map(|chunk| chunk.length).sum();
        assert_eq!(rejected(&regular(b"a", size, Content::Chunks(chunks))), "NODE-6");
    }
    assert_eq!(rejected(&regular(b"a", 9, Content::List { level: 16, id: ID })), "NODE-6");
    for (size, content) in [
        (1, Content::Empty),
        (0, Content::Bundle(0)),
        (0, Content::Chunk(ID)),
        (9 << 20, Content::Chunk(ID)),
        (3, Content::Chunks(vec![chunk(1), chunk(1)])),
        (1, Content::Chunks(vec![chunk(1), chunk(u64::from(CHUNK_BYTES_MAX))])),
        (0, Content::List { level: 0, id: ID }),
    ] {
        assert_eq!(rejected(&regular(b"a", size, content)), "NODE-7");
    }
    let extent = |offset, length| Extent { offset, length };
    for extents in [
        vec![extent(0, 0)],
        vec![extent(5, 2), extent(0, 2)],
        vec![extent(0, 2), extent(2, 2)],
        vec![extent(9, 2)],
        vec![extent(u64::MAX, 2)],
        vec![extent(0, 10)],
    ] {
        let content = Content::Chunk(ID);
        let sparse = Regular { size: 10, content, extents: Some(extents), changed_while_read: false };
        assert_eq!(rejected(&plain(b"a", NodeKind::Regular(sparse))), "NODE-8");
    }
    let xattr = |name: &[u8], value| Xattr { name: name.to_vec(), value };
    let inline = |length| XattrValue::Inline(vec![1; length]);
    for (xattrs, rule) in [
        (vec![xattr(b"b", inline(1)), xattr(b"a", inline(1))], "NODE-9"),
        (vec![xattr(b"b", inline(1)), xattr(b"b", inline(1))], "NODE-9"),
        (vec![xattr(b"", inline(1))], "NODE-9"),
        (vec![xattr(b"b", inline(513))], "NODE-10"),
        (vec![xattr(b"b", XattrValue::Chunk(chunk(512)))], "NODE-10"),
        (vec![xattr(b"b", XattrValue::Chunk(chunk(65537)))], "NODE-10"),
    ] {
        let mut node = regular(b"a", 0, Content::Empty);
        node.xattrs = xattrs;
        assert_eq!(rejected(&node), rule);
    }
    let mut node = regular(b"a", 0, Content::Empty);
    let mut long = Writer::new();
    long.bytes(&vec![0; NODE_BYTES_MAX]);
    node.kept = vec![(70, long.into_bytes())];
    assert_eq!(rejected(&node), "NODE-1");
    node.kept = vec![(15, vec![2])];
    assert_eq!(rejected(&node), "NODE-11");
    node.kept = vec![(21, vec![0])];
    assert_eq!(rejected(&node), "CBOR-12");
}

#[test]
fn a_field_of_another_kind_is_refused() {
    let mut node = plain(b"f", NodeKind::Fifo);
    for (key, value) in [(9, vec![0]), (11, vec![0x41, b'x']), (15, vec![1]), (19, vec![0])] {
        node.kept = vec![(key, value)];
        assert_eq!(rejected(&node), "NODE-4", "key {key}");
    }
}
