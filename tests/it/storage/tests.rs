//! The storage of the tests does what its director says, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use packstone::base::{Error, ErrorKind};
use packstone::storage::contract::check_contract;
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use super::{AT_THE_END, Call, Deed, Director, Handle, Kept, Sort, World};

/// One call has this fate.
#[derive(Debug)]
struct At(usize, Deed);

impl Director for At {
    fn decide(&self, call: &Call) -> Deed {
        if call.number == self.0 { self.1 } else { Deed::Do }
    }
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn put(handle: &Handle, text: &str) -> Result<(), Error> {
    handle.put_if_absent(&name(text), &[Bytes::from_static(b"content")])
}

fn listed(handle: &Handle) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    let outcome = handle.list("a", None, &mut |listed| {
        names.push(listed.name.to_string());
        Ok(())
    });
    (names, outcome.is_ok())
}

#[test]
fn a_calm_handle_keeps_the_contract() {
    let world = World::new(Memory::new());
    assert!(check_contract(&*world.calm(), "memory", &mut |_| ()).expect("the contract is kept") >= 15);
    assert_eq!(world.memory().names(), []);
}

#[test]
fn a_put_and_a_delete_have_the_fate_that_was_decided() {
    for (deed, is_ok, is_there, is_there_later) in [
        (Deed::Do, true, true, true),
        (Deed::FailBefore, false, false, false),
        (Deed::FailAfter, false, true, true),
        (Deed::Torn, false, false, false),
        (Deed::Twice(AT_THE_END), true, true, true),
        (Deed::Late(AT_THE_END), false, false, true),
        (Deed::Die { done: true }, false, true, true),
        (Deed::Die { done: false }, false, false, false),
    ] {
        let world = World::new(Memory::new());
        let is_stored = || world.memory().bytes(&name("a/b")).is_some();
        assert_eq!(put(&world.handle(Arc::new(At(0, deed))), "a/b").is_ok(), is_ok, "{deed:?}");
        assert_eq!(is_stored(), is_there, "{deed:?}");
        world.settle();
        assert_eq!(is_stored(), is_there_later, "{deed:?}");

        world.memory().replace(&name("a/b"), &b"x"[..]);
        assert_eq!(world.handle(Arc::new(At(0, deed))).delete(&name("a/b")).is_ok(), is_ok, "{deed:?}");
        assert_eq!(is_stored(), !is_there, "{deed:?}");
        world.settle();
        assert_eq!(is_stored(), !is_there_later, "{deed:?}");
    }
}

#[test]
fn what_arrives_twice_comes_back_after_so_many_calls() {
    let world = World::new(Memory::new());
    let handle = world.handle(Arc::new(At(0, Deed::Twice(2))));
    put(&handle, "a/b").unwrap();
    world.calm().delete(&name("a/b")).unwrap();
    assert_eq!(listed(&handle).0, [""; 0]);
    assert_eq!(listed(&handle).0, [""; 0]);
    assert_eq!(listed(&handle).0, ["a/b"]);
}

#[test]
fn who_is_dead_does_nothing_more_and_a_failed_barrier_is_final() {
    let world = World::new(Memory::new());
    let dead = world.handle(Arc::new(At(1, Deed::Die { done: true })));
    put(&dead, "a/1").unwrap();
    put(&dead, "a/2").unwrap_err();
    put(&dead, "a/3").unwrap_err();
    dead.get(&name("a/1"), 100).unwrap_err();
    assert_eq!(listed(&world.calm()).0, ["a/1", "a/2"]);

    let undurable = world.handle(Arc::new(At(0, Deed::FailBefore)));
    undurable.barrier().unwrap_err();
    undurable.barrier().unwrap_err();
    put(&undurable, "a/3").unwrap_err();
    assert_eq!(undurable.get(&name("a/1"), 100).unwrap(), b"content");
}

#[test]
fn a_read_has_the_fate_that_was_decided() {
    let world = World::new(Memory::new());
    ["a/1", "a/2", "a/3"].iter().for_each(|text| put(&world.calm(), text).unwrap());
    for (deed, visited, is_ok) in [
        (Deed::Do, 3, true),
        (Deed::FailBefore, 0, false),
        (Deed::FailAfter, 3, false),
        (Deed::Torn, 1, false),
        (Deed::Twice(0), 3, true),
        (Deed::Late(0), 0, false),
    ] {
        let (names, outcome) = listed(&world.handle(Arc::new(At(0, deed))));
        assert_eq!((names.len(), outcome), (visited, is_ok), "{deed:?}");
        let got = world.handle(Arc::new(At(0, deed))).get(&name("a/1"), 100);
        assert_eq!(got.is_ok(), is_ok, "{deed:?}");
    }
    let torn = world.handle(Arc::new(At(0, Deed::Torn))).get_range(&name("a/1"), 0, 3).unwrap_err();
    assert_eq!(torn.kind(), ErrorKind::Damaged);
    assert!(Sort::List.is_reading() && !Sort::Barrier.is_reading());
}

#[test]
fn what_no_barrier_made_durable_goes_with_the_power() {
    for (kept, left) in [(Kept::Nothing, &["a/1", "a/2"][..]), (Kept::Last, &["a/1", "a/2", "a/4"])] {
        let world = World::new(Memory::new());
        let handle = world.handle(Arc::new(At(6, Deed::LosePower(kept))));
        ["a/1", "a/2"].iter().for_each(|text| put(&handle, text).unwrap());
        handle.barrier().unwrap();
        handle.delete(&name("a/1")).unwrap();
        ["a/3", "a/4"].iter().for_each(|text| put(&handle, text).unwrap());
        handle.barrier().unwrap_err();
        put(&handle, "a/5").unwrap_err();
        assert_eq!(listed(&world.calm()).0, left, "{kept:?}");
    }
}
