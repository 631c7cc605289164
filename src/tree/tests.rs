//! Unit tests of stored trees: what is built is read back, however large, and small changes stay small.

use std::collections::BTreeSet;

use super::*;
use crate::base::host::Host;
use crate::base::{ChunkId, ErrorKind};
use crate::format::node::tests::{plain, regular};
use crate::format::node::{ChunkRef, Content, Node, NodeKind, Regular};
use crate::repository::tests::new_repository;
use crate::repository::{ChunkKind, Repository, Session, SessionOptions};

fn repository() -> Repository {
    new_repository().1
}

fn start(repository: &Repository) -> Session<'_> {
    repository.start_session(&Host::current(), SessionOptions::default()).unwrap()
}

/// Runs a session to its commit, and gives what it made.
fn committed<T>(repository: &Repository, work: impl FnOnce(&Session<'_>) -> T) -> T {
    let session = start(repository);
    let made = work(&session);
    session.commit(crate::format::snapshot::tests::snapshot).unwrap();
    made
}

fn name(number: usize) -> Vec<u8> {
    format!("entry-{number:05}").into_bytes()
}

/// Some entries with tiny contents, some without.
fn build(session: &Session<'_>, numbers: impl Iterator<Item = usize>) -> ChunkId {
    let mut builder = DirectoryBuilder::new(session);
    for number in numbers {
        if number % 3 == 0 {
            builder.push(plain(&name(number), NodeKind::Fifo), None).unwrap();
        } else {
            let content = name(number).repeat(1 + number % 7);
            let node = regular(&name(number), content.len() as u64, Content::Empty);
            builder.push(node, Some(Member::Content(content))).unwrap();
        }
    }
    builder.finish().unwrap()
}

fn read(tree: Tree<'_>, root: ChunkId) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    tree.directory(root)
        .map(|entry| {
            let entry = entry.unwrap();
            let content = entry.bundle.map(|place| tree.bundled(&place, entry.node.size()).unwrap());
            (entry.node.name, content)
        })
        .collect()
}

#[test]
fn directories_of_any_size_are_read_back_and_searched() {
    for count in [0, 1, 2, 10, 100, 3000] {
        let repository = repository();
        let root = committed(&repository, |session| build(session, 0..count));
        let reader = repository.reader().unwrap();
        let tree = Tree::new(&reader);
        let entries = read(tree, root);
        assert_eq!(entries.len(), count);
        for (number, (found, content)) in entries.iter().enumerate() {
            assert_eq!(*found, name(number));
            let expected = (number % 3 != 0).then(|| name(number).repeat(1 + number % 7));
            assert_eq!(*content, expected);
        }
        for number in (0..count).step_by(97) {
            let found = tree.find_entry(&root, &name(number)).unwrap().unwrap();
            assert_eq!(found.node.name, name(number));
        }
        for absent in [b"a".as_slice(), b"entry-00001x", b"zzz"] {
            assert!(tree.find_entry(&root, absent).unwrap().is_none());
        }
    }
}

#[test]
fn one_changed_entry_moves_few_pages() {
    let repository = repository();
    let pages = |numbers: Vec<usize>| {
        let session = start(&repository);
        build(&session, numbers.into_iter());
        let before = session.commit(crate::format::snapshot::tests::snapshot).unwrap().1.statistics;
        let added = |statistic| before.0.get(&statistic).copied().unwrap_or(0);
        added(crate::format::snapshot::Statistic::TreeChunksAdded)
    };
    let all = pages((0..3000).collect());
    assert!(all > 100, "{all} pages");
    assert_eq!(pages((0..3000).collect()), 0, "the same entries give the same pages");
    let changed = pages((0..3000).filter(|number| *number != 1234).collect());
    assert!((1..=8).contains(&changed), "{changed} pages");
}

#[test]
fn entries_out_of_order_are_refused() {
    let repository = repository();
    let session = start(&repository);
    for second in [b"a".as_slice(), b"b"] {
        let mut builder = DirectoryBuilder::new(&session);
        builder.push(plain(b"b", NodeKind::Fifo), None).unwrap();
        assert!(builder.push(plain(second, NodeKind::Fifo), None).is_err());
    }
}

fn chunk(number: u64) -> ChunkRef {
    let id = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
    ChunkRef { id, length: 1 + number % 1000 }
}

#[test]
fn chunk_lists_of_any_length_are_read_back() {
    for count in [0, 1, 2, 16, 17, 255, 256, 5000, 20_000] {
        let repository = repository();
        let content = committed(&repository, |session| {
            let mut list = ListBuilder::new();
            (0..count).for_each(|number| list.push(session, chunk(number)).unwrap());
            list.finish(session).unwrap()
        });
        let is_list = matches!(content, Content::List { .. });
        assert_eq!(is_list, count > 16, "{count}");
        let size = (0..count).map(|number| chunk(number).length).sum();
        let file = Regular { size, content, extents: None, changed_while_read: false };
        let reader = repository.reader().unwrap();
        let mut found = Vec::new();
        let collect = &mut |chunk| {
            found.push(chunk);
            Ok(())
        };
        Tree::new(&reader).content(&file, collect).unwrap();
        assert_eq!(found, (0..count).map(chunk).collect::<Vec<_>>(), "{count}");
    }
}

#[test]
fn an_inserted_chunk_moves_few_list_pages() {
    let repository = repository();
    let pages = |numbers: Vec<u64>| -> BTreeSet<ChunkId> {
        let session = start(&repository);
        let mut list = ListBuilder::new();
        numbers.into_iter().for_each(|number| list.push(&session, chunk(number)).unwrap());
        let content = list.finish(&session).unwrap();
        session.commit(crate::format::snapshot::tests::snapshot).unwrap();
        let Content::List { id, level } = content else { panic!("a list") };
        assert_eq!(level, 1);
        let reader = repository.reader().unwrap();
        let bytes = reader.chunk(ChunkKind::Tree, &id).unwrap();
        ids_of_page(&bytes)
    };
    let before = pages((0..20_000).collect());
    let after = pages((0..20_000).map(|number| if number == 3000 { 999_999 } else { number }).collect());
    assert!(before.len() > 4);
    assert!(before.difference(&after).count() <= 2);
}

/// The ids of a page, read without knowing its total.
fn ids_of_page(bytes: &[u8]) -> BTreeSet<ChunkId> {
    let mut reader = crate::format::cbor::Reader::new(bytes);
    let mut map = reader.map().unwrap();
    let mut ids = BTreeSet::new();
    while let Some(key) = map.next(&mut reader).unwrap() {
        if key != 2 {
            reader.item().unwrap();
            continue;
        }
        for _ in 0..reader.array().unwrap() / 2 {
            ids.insert(ChunkId(reader.fixed().unwrap()));
            reader.unsigned().unwrap();
        }
    }
    ids
}

#[test]
fn a_tree_that_says_more_than_its_snapshot_is_stopped() {
    let repository = repository();
    // Each directory names the one below it ten times: 10^20 entries in twenty pages.
    let root = committed(&repository, |session| {
        let mut below = build(session, 0..1);
        for _ in 0..20 {
            let mut builder = DirectoryBuilder::new(session);
            for number in 0..10 {
                builder.push(plain(&name(number), NodeKind::Directory(below)), None).unwrap();
            }
            below = builder.finish().unwrap();
        }
        below
    });
    let reader = repository.reader().unwrap();
    let mut snapshot = crate::format::snapshot::tests::snapshot();
    snapshot.total_nodes = 1000;
    snapshot.tree = root;
    let walked: Vec<_> = Walk::new(Tree::new(&reader), root, Budget::of(&snapshot)).collect();
    let last = walked.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.kind(), ErrorKind::Damaged);
    assert!(last.to_string().contains("SNAP-6"));
    let entries = walked.iter().filter(|item| matches!(item, Ok(WalkItem::Entry(_)))).count();
    assert_eq!(entries, 1000);
}

#[test]
fn a_tree_deeper_than_the_limit_is_stopped() {
    let repository = repository();
    // Directories within each other and one entry in the last: with 1999 of them that one is 2000 deep.
    let (good, bad) = committed(&repository, |session| {
        let within = |below| {
            let mut builder = DirectoryBuilder::new(session);
            builder.push(plain(b"d", NodeKind::Directory(below)), None).unwrap();
            builder.finish().unwrap()
        };
        let good = (0..1999).fold(build(session, 0..1), |below, _| within(below));
        (good, within(good))
    });
    let reader = repository.reader().unwrap();
    let mut snapshot = crate::format::snapshot::tests::snapshot();
    snapshot.total_nodes = u64::MAX;
    let walk = |root| Walk::new(Tree::new(&reader), root, Budget::of(&snapshot));
    let walked = walk(good).filter(|item| matches!(item, Ok(WalkItem::Entry(_)))).count();
    assert_eq!(walked, 2000);
    assert!(walk(good).all(|item| item.is_ok()));
    let error = walk(bad).last().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("(format rule TREE-1)"), "{error}");
    assert_eq!(walk(bad).filter(std::result::Result::is_ok).count(), 1999);
}

/// Stores a page as it is.
fn store_page(session: &Session<'_>, page: &[u8]) -> ChunkId {
    session.store(ChunkKind::Tree, page).unwrap().id
}

#[test]
fn pages_that_do_not_fit_what_names_them_are_damage() {
    use crate::format::page::{Child, encode_inner, encode_leaf};
    let repository = repository();
    let leaf = |names: &[&[u8]]| {
        let nodes: Vec<Node> = names.iter().map(|name| plain(name, NodeKind::Fifo)).collect();
        encode_leaf(&nodes.iter().collect(), &[])
    };
    let inner = |level, children: &[(&[u8], ChunkId)]| {
        let child = |(name, id): &(&[u8], ChunkId)| Child { last_name: name.to_vec(), id: *id };
        let children: Vec<Child> = children.iter().map(child).collect();
        encode_inner(level, &children.iter().collect())
    };
    let (good, bad) = committed(&repository, |session| {
        let [ab, cd, bc, none] = [leaf(&[b"a", b"b"]), leaf(&[b"c", b"d"]), leaf(&[b"b", b"c"]), leaf(&[])]
            .map(|page| store_page(session, &page));
        let good = store_page(session, &inner(1, &[(b"b", ab), (b"d", cd)]));
        let bad = [
            ("PAGE-7", inner(1, &[(b"b", ab), (b"e", cd)])),
            ("PAGE-7", inner(1, &[(b"b", ab), (b"c", bc)])),
            ("PAGE-7", inner(1, &[(b"b", none)])),
            ("PAGE-6", inner(2, &[(b"b", ab)])),
            ("PAGE-6", inner(1, &[(b"d", good)])),
        ];
        (good, bad.map(|(rule, page)| (rule, store_page(session, &page))))
    });
    let reader = repository.reader().unwrap();
    let tree = Tree::new(&reader);
    assert_eq!(read(tree, good).len(), 4);
    for (rule, root) in bad {
        let error = tree.directory(root).find_map(std::result::Result::err).expect("must be refused");
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains(rule), "{error}");
    }
}

#[test]
fn a_bundle_of_another_length_is_damage() {
    let repository = repository();
    let (root, _) = committed(&repository, |session| {
        let bundle = session.store(ChunkKind::Data, b"0123456789").unwrap().id;
        let node = |name: &[u8], size| regular(name, size, Content::Bundle(0));
        let nodes = [node(b"a", 4), node(b"b", 5)];
        let page = crate::format::page::encode_leaf(&nodes.iter().collect(), &[bundle]);
        (store_page(session, &page), bundle)
    });
    let reader = repository.reader().unwrap();
    let tree = Tree::new(&reader);
    let entry = tree.find_entry(&root, b"a").unwrap().unwrap();
    let error = tree.bundled(&entry.bundle.unwrap(), 4).unwrap_err();
    assert!(error.to_string().contains("CHUNK-2"), "{error}");
}

#[test]
fn bundled_files_of_one_moment_are_one_version_only_with_the_same_bytes() {
    let repository = repository();
    let roots = committed(&repository, |session| {
        [&b"1234"[..], b"4321", b"12345"].map(|content| {
            let bundle = session.store(ChunkKind::Data, content).unwrap().id;
            let mut nodes = vec![regular(b"a", 4, Content::Bundle(0))];
            if content.len() > 4 {
                nodes.push(regular(b"b", 1, Content::Bundle(0)));
            }
            store_page(session, &crate::format::page::encode_leaf(&nodes.iter().collect(), &[bundle]))
        })
    });
    let reader = repository.reader().unwrap();
    let tree = Tree::new(&reader);
    let [one, other, again] = roots.map(|root| tree.find_entry(&root, b"a").unwrap().unwrap());
    assert_eq!(one.node.metadata.ctime, other.node.metadata.ctime);
    let mut bundles = LastBundles::default();
    let mut same = |one, other| same_version(tree, &mut bundles, one, other).unwrap();
    assert_eq!([same(&one, &one), same(&one, &other), same(&one, &again)], [true, false, true]);
}

#[test]
fn a_path_is_looked_up_and_its_missing_part_named() {
    let repository = repository();
    let root = committed(&repository, |session| {
        let etc = build(session, 0..5);
        let mut builder = DirectoryBuilder::new(session);
        let file: Node = plain(b"file", NodeKind::Fifo);
        builder.push(plain(b"etc", NodeKind::Directory(etc)), None).unwrap();
        builder.push(file, None).unwrap();
        builder.finish().unwrap()
    });
    let reader = repository.reader().unwrap();
    let tree = Tree::new(&reader);
    let found = tree.lookup(&root, &[b"etc", &name(3)]).unwrap();
    assert_eq!(found.node.name, name(3));
    for (path, part) in
        [(vec![b"etc".as_slice(), b"x"], "/etc/x"), (vec![b"y", b"x"], "/y"), (vec![b"file", b"x"], "/file")]
    {
        let error = tree.lookup(&root, &path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().starts_with(&format!("{part} ")), "{error}");
    }
}
