//! Unit tests of key slots: damage, the last one, faults at every call, two processes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::repository::tests::{CHEAP, key, new_repository, open, password};
use crate::storage::memory::Memory;
use crate::storage::{Body, Listed, ObjectName};

fn new_slot(credential: Credential, label: &str) -> NewSlot {
    NewSlot { credential, label: label.into() }
}

fn slot_object(name: &SlotName) -> ObjectName {
    object_name(&names::slot(name)).unwrap()
}

/// A repository with slots of a key file, a password and another key file.
fn with_three_slots() -> (Memory, Repository, SlotName) {
    let (memory, repository) = new_repository();
    let name = repository.add_slot(&new_slot(key(3), "third"), CHEAP).unwrap();
    (memory, repository, name)
}

fn opens(memory: &Memory, credential: &Credential) -> std::result::Result<SlotName, ErrorKind> {
    open(memory, credential).map(|opened| opened.own_slot().name).map_err(|error| error.kind())
}

#[test]
fn a_new_slot_opens_and_shows_its_label_to_its_own_credential() {
    let (memory, repository) = new_repository();
    assert_eq!(repository.own_slot().label, "file");
    for (credential, label) in [(key(9), "städte"), (password("new"), "")] {
        let name = repository.add_slot(&new_slot(credential.clone(), label), CHEAP).unwrap();
        let opened = open(&memory, &credential).unwrap();
        assert_eq!(opened.own_slot().name, name);
        assert_eq!(opened.own_slot().label, label);
        assert_eq!(opened.keys, repository.keys);
    }
    let list = repository.slots().unwrap();
    let passwords = list.whole().filter(|entry| matches!(entry.state, SlotState::Whole(Way::Password(_))));
    assert_eq!((list.whole().count(), passwords.count()), (4, 2));
    assert!(list.slots.is_sorted_by_key(|entry| entry.name));

    let kind = |slot: NewSlot| repository.add_slot(&slot, CHEAP).unwrap_err().kind();
    assert_eq!(kind(new_slot(key(9), "again")), ErrorKind::Exists);
    assert_eq!(kind(new_slot(key(10), &"x".repeat(1025))), ErrorKind::Usage);
    repository.add_slot(&new_slot(key(10), &"x".repeat(1024)), CHEAP).unwrap();
    assert_eq!(repository.slots().unwrap().whole().count(), 5);
}

#[test]
fn no_more_slots_are_made_than_are_tried() {
    let (memory, repository) = new_repository();
    for number in 0..62 {
        repository.add_slot(&new_slot(key(100 + number), ""), CHEAP).unwrap();
    }
    let error = repository.add_slot(&new_slot(key(99), ""), CHEAP).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
    // One more that somebody else put there is told, and is the one in the last place.
    let name = ObjectName::parse("keys/ffffffffffffffff").unwrap();
    memory.replace(&name, Bytes::from_static(b"x"));
    let list = repository.slots().unwrap();
    assert_eq!((list.slots.len(), list.whole().count()), (65, 64));
    let SlotState::Unusable(error) = &list.slots[64].state else { panic!("it is never tried") };
    assert_eq!(error.kind(), ErrorKind::Failed);
}

#[test]
fn any_damage_of_one_slot_is_told_from_a_wrong_key_and_stands_in_no_others_way() {
    let (memory, repository, _) = with_three_slots();
    let credentials = [key(1), password("right"), key(3)];
    for credential in &credentials {
        let own = opens(&memory, credential).unwrap();
        let object = slot_object(&own);
        let whole = memory.bytes(&object).unwrap();
        let flipped = (0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
        for damaged in flipped.chain(cut) {
            memory.replace(&object, damaged);
            for other in &credentials {
                let is_own = std::ptr::eq(other, credential);
                assert_eq!(opens(&memory, other).err(), is_own.then_some(ErrorKind::Damaged));
            }
        }
        let list = repository.slots().unwrap();
        let entry = list.slots.iter().find(|entry| entry.name == own).unwrap();
        assert!(matches!(&entry.state, SlotState::Unusable(error) if error.kind() == ErrorKind::Damaged));
        memory.replace(&object, whole);
    }
    assert_eq!(opens(&memory, &key(2)), Err(ErrorKind::WrongKey));
}

#[test]
fn what_is_no_slot_is_passed_over_and_told() {
    let (memory, repository) = new_repository();
    for name in ["keys/x", "keys/00", "keys/00112233445566778", "keys/deep/0011223344556677"] {
        memory.replace(&ObjectName::parse(name).unwrap(), Bytes::from_static(b"x"));
    }
    assert_eq!(opens(&memory, &key(2)), Err(ErrorKind::WrongKey));
    let list = repository.slots().unwrap();
    assert_eq!((list.slots.len(), list.whole().count(), list.foreign.len()), (2, 2, 4));
}

#[test]
fn the_beginning_of_a_name_finds_a_slot() {
    let entry =
        |byte| SlotEntry { name: SlotName([byte; 8]), state: SlotState::Unusable(Error::damaged("bits")) };
    let list = SlotList { slots: vec![entry(0x11), entry(0x12), entry(0x21)], foreign: Vec::new() };
    let found = |wanted: &str| list.find(wanted).map(|entry| entry.name.0[0]).map_err(|error| error.kind());
    assert_eq!(found("2"), Ok(0x21));
    assert_eq!(found("12"), Ok(0x12));
    assert_eq!(found(&"11".repeat(8)), Ok(0x11));
    assert_eq!(found("1"), Err(ErrorKind::Usage));
    for bad in ["", "3", "g", "111111111111111111"] {
        assert_eq!(found(bad), Err(ErrorKind::NotFound), "{bad}");
    }
}

#[test]
fn the_last_slot_that_can_be_used_stays() {
    let (memory, repository, third) = with_three_slots();
    let own = repository.own_slot().name;
    let second = opens(&memory, &password("right")).unwrap();
    let unknown = repository.remove_slot(&SlotName([0; 8])).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    // The other two are damaged: what is left is the last.
    for name in [second, third] {
        memory.replace(&slot_object(&name), Bytes::from_static(b"cut"));
    }
    assert_eq!(repository.remove_slot(&own).unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(opens(&memory, &key(1)), Ok(own));
    repository.remove_slot(&second).unwrap();
    // The one in use needs nothing special, once another can be used.
    let fourth = repository.add_slot(&new_slot(key(4), ""), CHEAP).unwrap();
    repository.remove_slot(&own).unwrap();
    assert_eq!(opens(&memory, &key(4)), Ok(fourth));
    assert_eq!(repository.remove_slot(&fourth).unwrap_err().kind(), ErrorKind::Failed);
    // Nothing is removed while nothing can be used: what is damaged may be mended.
    memory.replace(&slot_object(&fourth), Bytes::from_static(b"cut"));
    assert_eq!(repository.remove_slot(&third).unwrap_err().kind(), ErrorKind::Failed);
}

#[test]
fn a_slot_gives_way_to_another() {
    let (memory, repository) = new_repository();
    let name = repository.replace_own_slot(&new_slot(password("new"), "word"), CHEAP).unwrap();
    assert_eq!(opens(&memory, &password("new")), Ok(name));
    assert_eq!(opens(&memory, &key(1)), Err(ErrorKind::WrongKey));
    // The old one is gone already, which is what was wanted.
    let name = repository.replace_own_slot(&new_slot(key(5), ""), CHEAP).unwrap();
    assert_eq!(opens(&memory, &key(5)), Ok(name));
}

/// A storage on which something goes wrong at one call.
#[derive(Debug)]
struct Faulty {
    memory: Memory,
    calls: AtomicUsize,
    at: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The call fails and does nothing.
    Before,
    /// The call does its work and fails all the same.
    After,
    /// From this call on nothing works.
    Forever,
    /// What is deleted takes all other slots along, as another process may.
    Race,
    /// What is put is there with a bit that flipped.
    Flip,
}

impl Faulty {
    fn call<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = || Err(Error::new(ErrorKind::Failed, "a fault that the test made"));
        match self.fault {
            Fault::Before if number == self.at => fails(),
            Fault::After if number == self.at => work().and_then(|_| fails()),
            Fault::Forever if number >= self.at => fails(),
            _ => work(),
        }
    }
}

impl Storage for Faulty {
    crate::storage::forward_storage!(self => self.memory; capabilities, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        if self.fault == Fault::Flip {
            let mut bytes = body.concat();
            bytes[70] ^= 1;
            return self.memory.put_if_absent(name, &[Bytes::from(bytes)]);
        }
        self.call(|| self.memory.put_if_absent(name, body))
    }
    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.call(|| self.memory.get(name, size_bytes_max))
    }
    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.call(|| self.memory.get_range(name, offset, length))
    }
    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        self.call(|| self.memory.list(folder, start_after, visit))
    }
    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.call(|| {
            if self.fault == Fault::Race {
                let others = self.memory.names();
                let others = others.iter().filter(|other| other.folder() == "keys" && *other != name);
                others.for_each(|other| drop(self.memory.remove(other)));
            }
            self.memory.delete(name)
        })
    }
    fn barrier(&self) -> Result<()> {
        self.call(|| self.memory.barrier())
    }
}

/// An open repository with three slots on a storage that is sound until now.
fn on_faulty(at: usize, fault: Fault) -> (Memory, Repository, SlotName) {
    let (memory, repository, third) = with_three_slots();
    let storage = Faulty { memory: memory.clone(), calls: AtomicUsize::new(0), at, fault };
    (memory, Repository { storage: Arc::new(storage), ..repository }, third)
}

#[test]
fn two_processes_that_take_the_last_slots_at_once_leave_one() {
    let (memory, repository, third) = on_faulty(0, Fault::Race);
    let error = repository.remove_slot(&third).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert_eq!(opens(&memory, &key(3)), Ok(third), "it was put back");
}

#[test]
fn a_slot_that_does_not_read_back_is_not_added() {
    let (memory, repository, _) = on_faulty(0, Fault::Flip);
    let before = memory.names();
    let error = repository.add_slot(&new_slot(key(7), ""), CHEAP).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    let error = repository.replace_own_slot(&new_slot(key(7), ""), CHEAP).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    assert_eq!(memory.names(), before);
}

/// More calls than any change of slots makes here.
const CALLS_MAX: usize = 40;

#[test]
fn no_fault_at_any_call_locks_anybody_out() {
    for fault in [Fault::Before, Fault::After, Fault::Forever] {
        for at in 0..=CALLS_MAX {
            let (memory, repository, _) = on_faulty(at, fault);
            let result = repository.add_slot(&new_slot(key(7), ""), CHEAP);
            for credential in [key(1), password("right"), key(3)] {
                opens(&memory, &credential).unwrap();
            }
            assert!(result.is_err() || opens(&memory, &key(7)).is_ok());
            let is_left = fault != Fault::Forever && result.is_err() && opens(&memory, &key(7)).is_ok();
            assert!(!is_left, "{fault:?} at call {at} left a slot behind");

            let (memory, repository, third) = on_faulty(at, fault);
            let removed = repository.remove_slot(&third);
            for credential in [key(1), password("right")] {
                opens(&memory, &credential).unwrap();
            }
            assert!(removed.is_err() || opens(&memory, &key(3)) == Err(ErrorKind::WrongKey));

            let (memory, repository, _) = on_faulty(at, fault);
            let replaced = repository.replace_own_slot(&new_slot(key(7), ""), CHEAP);
            assert!(opens(&memory, &key(1)).is_ok() || opens(&memory, &key(7)).is_ok(), "{fault:?} {at}");
            assert!(replaced.is_err() || opens(&memory, &key(7)).is_ok());
            let is_beyond = at == CALLS_MAX;
            assert!(!is_beyond || (result.is_ok() && removed.is_ok() && replaced.is_ok()), "{at} calls");
        }
    }
}
