//! Unit tests of the walk through all trees, and of what is found to be hurt: pages as only a holder of the keys can
//! write them wrong.

use std::sync::Mutex;

use super::{Inspected, TreeCounts, inspect};
use crate::base::host::Host;
use crate::base::{ChunkId, Finding, Monitor};
use crate::format::list::ListPage;
use crate::format::node::tests::{plain, regular};
use crate::format::node::{ChunkRef, Content, Node, NodeKind, Xattr, XattrValue};
use crate::format::page::{Child, encode_inner, encode_leaf};
use crate::format::snapshot::Snapshot;
use crate::repository::tests::new_repository;
use crate::repository::{ChunkKind, Repository, Session, SessionOptions};
use crate::tree::{Hurt, find_hurt};

/// Keeps the problems and notes that it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        let line = format!("{}: {}", String::from_utf8_lossy(&finding.path), finding.message);
        self.0.lock().unwrap().push(line);
    }

    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(format!("note: {text}"));
    }
}

/// What was told of a repository, what was counted, and what is hurt.
struct Outcome {
    told: Vec<String>,
    counts: TreeCounts,
    hurt: Hurt,
}

impl Outcome {
    fn of(repository: &Repository) -> Self {
        let told = Told::default();
        let audit = repository.audit(&told).unwrap();
        let Inspected::Done(counts, damage) = inspect(&audit).unwrap() else {
            panic!("nobody else is there")
        };
        let hurt = find_hurt(&audit, &damage).unwrap();
        drop(audit);
        Self { told: told.0.into_inner().unwrap(), counts, hurt }
    }

    /// The paths that are hurt, in one snapshot.
    fn paths(&self) -> Vec<String> {
        let shown = self.hurt.by_damage.values().flat_map(|by| &by.shown_paths);
        let mut paths: Vec<String> =
            shown.map(|(_, path)| String::from_utf8(path.clone()).unwrap()).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len() as u64, self.hurt.paths, "{:?}", self.hurt);
        paths
    }

    #[track_caller]
    fn assert_told(&self, words: &str) {
        assert_eq!(self.told.len(), 1, "{:?}", self.told);
        assert!(self.told[0].contains(words), "{:?}", self.told);
    }
}

fn page(session: &Session<'_>, bytes: &[u8]) -> ChunkId {
    session.store(ChunkKind::Tree, bytes).unwrap().id
}

fn leaf_with(session: &Session<'_>, nodes: &[Node], bundles: &[ChunkId]) -> ChunkId {
    page(session, &encode_leaf(&nodes.iter().collect(), bundles))
}

fn leaf(session: &Session<'_>, nodes: &[Node]) -> ChunkId {
    leaf_with(session, nodes, &[])
}

fn inner(session: &Session<'_>, level: u8, children: &[(&[u8], ChunkId)]) -> ChunkId {
    let child = |(name, id): &(&[u8], ChunkId)| Child { last_name: name.to_vec(), id: *id };
    let children: Vec<Child> = children.iter().map(child).collect();
    page(session, &encode_inner(level, &children.iter().collect()))
}

fn data(session: &Session<'_>, length: usize) -> ChunkId {
    session.store(ChunkKind::Data, &vec![7; length]).unwrap().id
}

fn file(name: &[u8], id: ChunkId, length: u64) -> Node {
    regular(name, length, Content::Chunk(id))
}

fn empty(name: &[u8]) -> Node {
    regular(name, 0, Content::Empty)
}

fn directory(name: &[u8], root: ChunkId) -> Node {
    plain(name, NodeKind::Directory(root))
}

/// A repository of one snapshot of a tree that is said to have so many nodes and bytes.
fn snapshot(nodes: u64, bytes: u64, build: impl FnOnce(&Session<'_>) -> ChunkId) -> Repository {
    let (_, repository) = new_repository();
    let session = repository.start_session(&Host::current(), SessionOptions::default()).unwrap();
    let tree = build(&session);
    let made = || Snapshot {
        parent: None,
        tree,
        total_nodes: nodes,
        total_bytes: bytes,
        ..crate::format::snapshot::tests::snapshot()
    };
    session.commit(made).unwrap();
    repository
}

#[test]
fn a_tree_of_all_kinds_is_right() {
    let repository = snapshot(8, 10 + 4 + 6 + 70_000, |session| {
        let chunk = data(session, 10);
        let bundle = data(session, 10);
        let value = data(session, 600);
        let big = data(session, 3500);
        let list = ListPage { level: 0, entries: vec![ChunkRef { id: big, length: 3500 }; 20] };
        let list = page(session, &list.encode());
        let mut with_xattr = empty(b"d");
        let of_chunk = XattrValue::Chunk(ChunkRef { id: value, length: 600 });
        with_xattr.xattrs.push(Xattr { name: b"user.a".to_vec(), value: of_chunk });
        let first = leaf_with(
            session,
            &[
                file(b"a", chunk, 10),
                regular(b"b", 4, Content::Bundle(0)),
                regular(b"c", 6, Content::Bundle(0)),
                with_xattr,
            ],
            &[bundle],
        );
        let below = leaf(session, &[regular(b"big", 70_000, Content::List { level: 0, id: list })]);
        let second =
            leaf(session, &[directory(b"e", below), directory(b"f", leaf(session, &[])), empty(b"g")]);
        inner(session, 1, &[(b"d", first), (b"g", second)])
    });
    let outcome = Outcome::of(&repository);
    assert_eq!(outcome.told, [""; 0]);
    assert_eq!(outcome.counts, TreeCounts { pages: 6 });
    assert_eq!(outcome.hurt, Hurt::default());
}

#[test]
fn pages_that_are_not_what_names_them_are_found() {
    type Build = fn(&Session<'_>) -> ChunkId;
    let wrong_level: Build = |session| {
        let below = leaf(session, &[empty(b"a")]);
        inner(session, 2, &[(b"a", below)])
    };
    let wrong_end: Build = |session| {
        let below = leaf(session, &[empty(b"a")]);
        inner(session, 1, &[(b"b", below)])
    };
    let overlap: Build = |session| {
        let first = leaf(session, &[empty(b"a"), empty(b"c")]);
        let second = leaf(session, &[empty(b"b"), empty(b"d")]);
        inner(session, 1, &[(b"c", first), (b"d", second)])
    };
    let empty_below: Build = |session| {
        let below = leaf(session, &[]);
        inner(session, 1, &[(b"a", below)])
    };
    let no_page: Build = |session| page(session, b"no page");
    for (build, words) in [
        (wrong_level, "(format rule PAGE-6)"),
        (wrong_end, "(format rule PAGE-7)"),
        (overlap, "(format rule PAGE-7)"),
        (empty_below, "(format rule PAGE-7)"),
        (no_page, "(format rule CBOR-"),
    ] {
        let repository = snapshot(5, 0, |session| {
            let bad = build(session);
            leaf(session, &[directory(b"bad", bad), empty(b"good")])
        });
        let outcome = Outcome::of(&repository);
        outcome.assert_told(words);
        assert!(outcome.told[0].starts_with("tree page "), "{:?}", outcome.told);
        assert_eq!(outcome.paths(), ["/bad/"], "{words}");
    }
}

#[test]
fn a_page_that_was_read_before_must_fit_again() {
    // The same leaf, once as it is and once under another name; the order in which both are met does not matter.
    for names in [[b"x", b"y"], [b"y", b"x"]] {
        let repository = snapshot(6, 0, |session| {
            let below = leaf(session, &[empty(b"a")]);
            let [good, bad] = [b"a", b"b"].map(|last| inner(session, 1, &[(last.as_slice(), below)]));
            let mut nodes = [directory(names[0], good), directory(names[1], bad)];
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            leaf(session, &nodes)
        });
        let outcome = Outcome::of(&repository);
        // Either the leaf is called wrong, by whoever was first, or the page that names it so.
        assert_eq!(outcome.told.len(), 1, "{:?}", outcome.told);
        assert!(outcome.told[0].contains("PAGE-7"), "{:?}", outcome.told);
        assert!(outcome.hurt.paths >= 1);
    }
}

#[test]
fn lengths_that_do_not_fit_are_found_and_hurt_their_files_alone() {
    let repository = snapshot(6, 11 + 5 + 7 + 60_001, |session| {
        let chunk = data(session, 10);
        let bundle = data(session, 13);
        let big = data(session, 3000);
        let list = ListPage { level: 0, entries: vec![ChunkRef { id: big, length: 3000 }; 20] };
        let list = page(session, &list.encode());
        let mut with_xattr = empty(b"d");
        let of_chunk = XattrValue::Chunk(ChunkRef { id: data(session, 600), length: 601 });
        with_xattr.xattrs.push(Xattr { name: b"user.a".to_vec(), value: of_chunk });
        let nodes = [
            file(b"a", chunk, 11),
            regular(b"b", 5, Content::Bundle(0)),
            regular(b"c", 7, Content::Bundle(0)),
            with_xattr,
            regular(b"e", 60_001, Content::List { level: 0, id: list }),
            empty(b"good"),
        ];
        leaf_with(session, &nodes, &[bundle])
    });
    let outcome = Outcome::of(&repository);
    let has = |words: &str| outcome.told.iter().filter(|line| line.contains(words)).count();
    // The page is told once, with the first thing that is wrong with it.
    assert_eq!((has("(format rule CHUNK-2)"), has("(format rule LIST-4)")), (1, 1), "{:?}", outcome.told);
    assert_eq!(outcome.told.len(), 2, "{:?}", outcome.told);
    assert_eq!(outcome.paths(), ["/a", "/b", "/c", "/d", "/e"]);
}

#[test]
fn what_a_snapshot_says_it_holds_is_held_against_its_tree() {
    let tree = |session: &Session<'_>| {
        let chunk = data(session, 10);
        let below = leaf(session, &[file(b"a", chunk, 10), file(b"b", chunk, 10)]);
        leaf(session, &[directory(b"x", below), directory(b"y", below)])
    };
    for (nodes, bytes, words) in [
        (6, 40, None),
        (6, u64::MAX, None),
        (5, 40, Some("(format rule SNAP-6)")),
        (6, 39, Some("(format rule SNAP-6)")),
        (5, u64::MAX, Some("(format rule SNAP-6)")),
        (7, 40, Some("note: the tree of snapshot")),
        (6, 41, Some("note: the tree of snapshot")),
    ] {
        let outcome = Outcome::of(&snapshot(nodes, bytes, tree));
        match words {
            None => assert_eq!(outcome.told, [""; 0]),
            Some(words) => outcome.assert_told(words),
        }
        assert_eq!(outcome.counts, TreeCounts { pages: 2 }, "a page is read once");
    }
}

#[test]
fn a_tree_that_names_itself_over_and_over_is_read_in_no_time() {
    let repository = snapshot(1000, 0, |session| {
        let mut tree = leaf(session, &[empty(b"a")]);
        for _ in 0..200 {
            tree = leaf(session, &[directory(b"a", tree), directory(b"b", tree)]);
        }
        tree
    });
    let outcome = Outcome::of(&repository);
    outcome.assert_told("(format rule SNAP-6)");
    assert_eq!(outcome.counts, TreeCounts { pages: 201 });
}

#[test]
fn a_directory_that_is_too_deep_is_found() {
    let deep = |levels: usize| {
        let nodes = u64::try_from(levels).unwrap();
        snapshot(nodes, 0, |session| {
            (0..levels).fold(leaf(session, &[]), |tree, _| leaf(session, &[directory(b"a", tree)]))
        })
    };
    assert_eq!(Outcome::of(&deep(super::DEPTH_MAX - 1)).told, [""; 0]);
    Outcome::of(&deep(super::DEPTH_MAX)).assert_told("(format rule TREE-1)");
}

#[test]
fn chunks_that_no_run_names_are_one_damage_and_every_path_is_named() {
    let repository = snapshot(5, 30, |session| {
        let [one, two, three] = [1, 2, 3].map(|byte| ChunkId([byte; 32]));
        let below = leaf(session, &[file(b"a", one, 10), directory(b"lost", three)]);
        leaf(session, &[directory(b"x", below), file(b"y", two, 10), file(b"z", one, 10)])
    });
    let outcome = Outcome::of(&repository);
    outcome.assert_told("index: no run has a place for 3 of the chunks that snapshots need");
    assert_eq!(outcome.paths(), ["/x/a", "/x/lost/", "/y", "/z"]);
    assert_eq!(outcome.hurt.snapshots, 1);
}
