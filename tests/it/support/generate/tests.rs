//! Proof that generated trees are what property tests need: repeatable by seed, and holding every feature.

use std::collections::BTreeSet;

use super::census::{Census, OF_EVERYONE, OF_ROOT};
use super::{Size, generate};
use crate::support::dump::{assert_same, differences, dump};
use crate::support::is_root;
use crate::support::mutate::{CHANGES, Change, mutate, mutate_by};
use crate::support::scratch::Scratch;

#[test]
fn a_seed_is_a_tree() {
    let mut different = BTreeSet::new();
    for seed in 0..40 {
        let scratch = Scratch::new();
        let (first, second) = (scratch.join("first"), scratch.join("second"));
        generate(seed, &first, Size::Small);
        generate(seed, &second, Size::Small);
        let dumped = dump(&first);
        assert_same(&dumped, &dump(&second));
        different.insert(dumped.lines());
    }
    assert_eq!(different.len(), 40);
}

#[test]
fn sizes_are_as_documented() {
    let objects = |seed: u64, size: Size| {
        let scratch = Scratch::new();
        generate(seed, &scratch.join("tree"), size);
        dump(&scratch.join("tree")).lines().len() - 1
    };
    let small: usize = (100..160).map(|seed| objects(seed, Size::Small)).sum();
    assert!((20..30).contains(&(small / 60)), "{} objects on average", small / 60);
    let medium = objects(1, Size::Medium);
    assert!((140..450).contains(&medium), "{medium} objects");
}

#[test]
fn over_many_seeds_every_feature_occurs() {
    let mut census = Census::default();
    for seed in 0..60 {
        let scratch = Scratch::new();
        census.add(&generate(seed, &scratch.join("tree"), Size::Small));
    }
    let is_root = is_root("that owners, devices and the like are generated");
    for feature in OF_EVERYONE.iter().chain(OF_ROOT.iter().filter(|_| is_root)) {
        let (created, refused) = (census.created(*feature), census.refused(*feature));
        let wanted = if is_root { created } else { created + refused };
        assert!(wanted > 0, "{feature:?} was never made and {refused} times refused");
    }
}

#[test]
fn every_change_is_possible_and_is_seen() {
    let is_root = is_root("that owners are changed");
    for change in CHANGES.iter().filter(|change| is_root || **change != Change::SetOwner) {
        let mut made = 0;
        for seed in 0..12 {
            let scratch = Scratch::new();
            let root = scratch.join("tree");
            generate(1000 + seed, &root, Size::Small);
            let before = dump(&root);
            if mutate_by(*change, seed, &root) {
                made += 1;
                assert!(
                    !differences(&before, &dump(&root)).is_empty(),
                    "{change:?} with seed {seed} is not seen"
                );
            } else {
                assert_same(&before, &dump(&root));
            }
        }
        assert!(made > 2, "{change:?} was made {made} times");
    }
}

#[test]
fn mutations_change_a_tree_and_leave_one_that_can_be_dumped() {
    let mut changes = 0;
    for seed in 0..40 {
        let scratch = Scratch::new();
        let root = scratch.join("tree");
        generate(seed, &root, Size::Small);
        let before = dump(&root);
        let made = mutate(seed, &root);
        assert_eq!(made > 0, !differences(&before, &dump(&root)).is_empty(), "seed {seed}, {made} changes");
        changes += made;
    }
    assert!(changes > 100, "only {changes} changes");
}
