//! Storages that break one promise each: the contract must name it. A check that no broken storage fails proves nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::storage::memory::Memory;
use crate::storage::{Capabilities, refusal};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    ChangesAByte,
    RefusesEmptyBodies,
    DropsEmptyRanges,
    KeepsTheFirstSlice,
    ReversesSlices,
    CutsAtFourMebibytes,
    RefusesLongNames,
    FailsOtherwiseIfAbsent,
    InventsAbsentObjects,
    DeletesWhatIsNotThere,
    Overwrites,
    OverwritesAndSaysExists,
    AcceptsTheSameBytesAgain,
    ShortRanges,
    ShiftsRanges,
    GivesWhatIsLeftOfARange,
    IgnoresTheBound,
    RefusesAtTheBound,
    DeletesNothing,
    DeletesByPrefix,
    KeepsNamesOfTheDeleted,
    BarrierFails,
    ListsBackwards,
    ListsFoldersFirst,
    ListsTwice,
    LosesTheLastListed,
    ListsOtherSizes,
    StartsAtTheGivenName,
    IgnoresTheStart,
    StartsAfterTheFolder,
    ListsByPrefix,
    ListsOnlyTheFolderItself,
    ListsLate,
    SwallowsTheVisitorsError,
    GoesOnAfterTheVisitorsError,
    IsBusyWhileItLists,
    ShowsHalfAnObject,
    ListsBeforeItIsThere,
    TwoWinners,
    TheLoserIsStored,
}

/// A storage with one defect.
#[derive(Debug)]
struct Broken {
    inner: Memory,
    defect: Defect,
    /// Names that were deleted.
    deleted: Mutex<BTreeSet<ObjectName>>,
    /// Names that a listing has not shown yet.
    unlisted: Mutex<BTreeSet<ObjectName>>,
    /// What is being written, while readers are to see it too early.
    half: Mutex<Option<ObjectName>>,
    half_was_read: AtomicBool,
    is_listing: AtomicBool,
    atomic_create: bool,
}

impl Broken {
    fn new(defect: Defect) -> Self {
        Self {
            inner: Memory::new(),
            defect,
            deleted: Mutex::default(),
            unlisted: Mutex::default(),
            half: Mutex::default(),
            half_was_read: AtomicBool::new(false),
            is_listing: AtomicBool::new(false),
            atomic_create: true,
        }
    }

    /// Does what a reader asks, and notes if it was asked while something was half there.
    fn read<T>(&self, work: impl FnOnce(Option<ObjectName>) -> T) -> T {
        let half = self.half.lock().unwrap().clone();
        let is_half = half.is_some();
        let result = work(half);
        self.half_was_read.fetch_or(is_half, Ordering::SeqCst);
        result
    }

    /// Lets readers see what is not whole, until one has.
    fn show_half(&self, name: &ObjectName) {
        *self.half.lock().unwrap() = Some(name.clone());
        while !self.half_was_read.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        *self.half.lock().unwrap() = None;
    }

    fn put_broken(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let joined = body.concat();
        match self.defect {
            Defect::ChangesAByte if joined.len() == 256 => {
                let changed: Vec<u8> = joined.iter().map(|byte| byte & 0x7f).collect();
                self.inner.replace(name, changed);
            }
            Defect::RefusesEmptyBodies if joined.is_empty() => {
                return Err(Error::new(ErrorKind::Failed, "an empty body"));
            }
            Defect::IsBusyWhileItLists if self.is_listing.load(Ordering::SeqCst) => {
                return Err(Error::new(ErrorKind::Failed, "busy"));
            }
            Defect::KeepsTheFirstSlice => {
                self.inner.replace(name, body.first().cloned().unwrap_or_default());
            }
            Defect::ReversesSlices => {
                self.inner.replace(name, body.iter().rev().cloned().collect::<Vec<_>>().concat());
            }
            Defect::CutsAtFourMebibytes => {
                self.inner.replace(name, joined.into_iter().take(4 << 20).collect::<Vec<_>>());
            }
            Defect::RefusesLongNames if name.as_str().len() > 240 => {
                return Err(Error::new(ErrorKind::Failed, "a long name"));
            }
            Defect::KeepsNamesOfTheDeleted if self.deleted.lock().unwrap().contains(name) => {
                return Err(refusal::taken(name));
            }
            Defect::ShowsHalfAnObject if name.as_str().contains("/whole/") => {
                self.inner.replace(name, joined.get(..joined.len() / 2).unwrap().to_vec());
                self.show_half(name);
                self.inner.replace(name, joined);
            }
            Defect::ListsBeforeItIsThere if name.as_str().contains("/whole/") => {
                self.show_half(name);
                self.inner.put_if_absent(name, body)?;
            }
            _ => self.inner.put_if_absent(name, body)?,
        }
        Ok(())
    }
}

impl Storage for Broken {
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let joined = body.concat();
        let is_taken = self.inner.bytes(name).is_some();
        let is_race = name.as_str().contains("/race/");
        match self.defect {
            Defect::Overwrites if is_taken => drop(self.inner.replace(name, joined)),
            Defect::OverwritesAndSaysExists if is_taken => {
                self.inner.replace(name, joined);
                return Err(refusal::taken(name));
            }
            Defect::AcceptsTheSameBytesAgain if self.inner.bytes(name).is_some_and(|old| old == joined) => {}
            Defect::TwoWinners if is_race => drop(self.inner.put_if_absent(name, body)),
            Defect::TheLoserIsStored if is_race => {
                let result = self.inner.put_if_absent(name, body);
                self.inner.replace(name, &b"mixture"[..]);
                return result;
            }
            _ if is_taken => return Err(refusal::taken(name)),
            _ => self.put_broken(name, body)?,
        }
        self.unlisted.lock().unwrap().insert(name.clone());
        Ok(())
    }

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        match self.defect {
            Defect::IgnoresTheBound => self.inner.get(name, u64::MAX),
            Defect::RefusesAtTheBound if size_bytes_max == 1000 => self.inner.get(name, size_bytes_max - 1),
            Defect::FailsOtherwiseIfAbsent => {
                self.inner.get(name, size_bytes_max).map_err(|error| error.of_kind(ErrorKind::Failed))
            }
            Defect::InventsAbsentObjects => self.inner.get(name, size_bytes_max).or_else(|_| Ok(Vec::new())),
            Defect::ShowsHalfAnObject => self.read(|_| self.inner.get(name, size_bytes_max)),
            _ => self.inner.get(name, size_bytes_max),
        }
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        match self.defect {
            Defect::DropsEmptyRanges if length == 0 => {
                Err(Error::new(ErrorKind::Failed, "a range of no bytes"))
            }
            Defect::ShortRanges => self.inner.get_range(name, offset, length - length / 1000),
            Defect::ShiftsRanges if offset > 0 && length > 0 => {
                self.inner.get_range(name, offset - 1, length)
            }
            Defect::GivesWhatIsLeftOfARange => {
                let bytes = self.inner.get(name, u64::MAX)?;
                let begin = usize::try_from(offset).unwrap();
                Ok(bytes.into_iter().skip(begin).take(length).collect())
            }
            _ => self.inner.get_range(name, offset, length),
        }
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let mut listed = Vec::new();
        let (asked, start) = match self.defect {
            // Everything, and by the beginning of the name alone.
            Defect::ListsByPrefix => ("", None),
            Defect::IgnoresTheStart => (folder, None),
            Defect::StartsAtTheGivenName => (folder, None),
            _ => (folder, start_after),
        };
        if asked.is_empty() {
            for name in self.inner.names() {
                let size_bytes = self.inner.bytes(&name).unwrap().len() as u64;
                if name.as_str().starts_with(folder) && start_after.is_none_or(|start| name > *start) {
                    listed.push(Listed { name, size_bytes });
                }
            }
        } else {
            self.inner.list(asked, start, &mut |object| {
                listed.push(object);
                Ok(())
            })?;
        }
        match self.defect {
            Defect::ListsBackwards => listed.reverse(),
            Defect::ListsFoldersFirst => {
                listed.sort_by_key(|object| object.name.as_str().replace('/', " "));
            }
            Defect::ListsTwice => listed.extend(listed.last().cloned()),
            Defect::LosesTheLastListed if listed.len() > 5 => drop(listed.pop()),
            Defect::ListsOtherSizes => listed.iter_mut().for_each(|object| object.size_bytes |= 1),
            Defect::StartsAtTheGivenName => {
                listed.retain(|object| start_after.is_none_or(|start| object.name >= *start));
            }
            Defect::StartsAfterTheFolder
                if start_after.is_some_and(|start| !start.as_str().starts_with(folder)) =>
            {
                listed.clear();
            }
            Defect::ListsOnlyTheFolderItself => {
                let depth = folder.split('/').count() + 1;
                listed.retain(|object| object.name.as_str().split('/').count() == depth);
            }
            Defect::ListsLate => {
                let unlisted = std::mem::take(&mut *self.unlisted.lock().unwrap());
                listed.retain(|object| !unlisted.contains(&object.name));
            }
            Defect::ListsBeforeItIsThere => self.read(|half| {
                listed.extend(half.map(|name| Listed { name, size_bytes: 0 }));
            }),
            _ => {}
        }
        match self.defect {
            Defect::SwallowsTheVisitorsError => {
                let _ = listed.into_iter().try_for_each(visit);
                Ok(())
            }
            Defect::GoesOnAfterTheVisitorsError => {
                let results: Vec<_> = listed.into_iter().map(visit).collect();
                results.into_iter().collect()
            }
            _ => {
                self.is_listing.store(true, Ordering::SeqCst);
                let result = listed.into_iter().try_for_each(visit);
                self.is_listing.store(false, Ordering::SeqCst);
                result
            }
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        self.deleted.lock().unwrap().insert(name.clone());
        match self.defect {
            Defect::DeletesNothing => self.inner.get(name, u64::MAX).map(drop),
            Defect::DeletesWhatIsNotThere => {
                self.inner.remove(name);
                Ok(())
            }
            Defect::DeletesByPrefix => {
                for other in self.inner.names() {
                    if other != *name && other.as_str().starts_with(name.as_str()) {
                        self.inner.remove(&other);
                    }
                }
                self.inner.delete(name)
            }
            _ => self.inner.delete(name),
        }
    }

    fn barrier(&self) -> Result<()> {
        match self.defect {
            Defect::BarrierFails => Err(Error::new(ErrorKind::Failed, "no barrier")),
            _ => Ok(()),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_create: Some(self.atomic_create) }
    }

    fn location(&self) -> String {
        format!("{:?}", self.defect)
    }
}

fn broken_promise(storage: &Broken) -> String {
    let error =
        check_contract(storage, "x", &mut |_| ()).expect_err(&format!("{:?} is found", storage.defect));
    let message = error.to_string();
    message.strip_prefix(&format!("promise broken in {:?}: ", storage.defect)).expect(&message).to_owned()
}

/// Runs one check on a storage with a defect, and nothing else.
fn run_alone(defect: Defect, promise: &str) -> Result<()> {
    let storage = Broken::new(defect);
    let (_, check) = CHECKS.iter().find(|(words, _)| *words == promise).expect(promise);
    check(&Probe::new(&storage, "x").unwrap())
}

/// What is broken, and the promise whose check must find it by itself.
const DEFECTS: [(Defect, &str); 41] = [
    (Defect::ChangesAByte, "an object is read back as it was written"),
    (Defect::RefusesEmptyBodies, "an object may be empty"),
    (Defect::DropsEmptyRanges, "an object may be empty"),
    (Defect::KeepsTheFirstSlice, "the slices of a body are joined in their order"),
    (Defect::ReversesSlices, "the slices of a body are joined in their order"),
    (Defect::CutsAtFourMebibytes, "a large object is stored whole"),
    (Defect::RefusesLongNames, "the longest name is a name"),
    (Defect::FailsOtherwiseIfAbsent, "what is not there is not found"),
    (Defect::InventsAbsentObjects, "what is not there is not found"),
    (Defect::DeletesWhatIsNotThere, "what is not there is not found"),
    (Defect::Overwrites, "a name that is taken stays as it is"),
    (Defect::OverwritesAndSaysExists, "a name that is taken stays as it is"),
    (Defect::AcceptsTheSameBytesAgain, "a name that is taken stays as it is"),
    (Defect::ShortRanges, "a range is exactly the bytes asked for"),
    (Defect::ShiftsRanges, "a range is exactly the bytes asked for"),
    (Defect::DropsEmptyRanges, "a range is exactly the bytes asked for"),
    (Defect::GivesWhatIsLeftOfARange, "a range beyond the end is refused"),
    (Defect::IgnoresTheBound, "an object larger than its reader allows is refused"),
    (Defect::RefusesAtTheBound, "an object larger than its reader allows is refused"),
    (Defect::DeletesNothing, "a deleted object is gone and its name is free"),
    (Defect::DeletesByPrefix, "a deleted object is gone and its name is free"),
    (Defect::KeepsNamesOfTheDeleted, "a deleted object is gone and its name is free"),
    (Defect::BarrierFails, "a barrier can be passed, again and again"),
    (Defect::ListsBackwards, "a listing has every object in order of names, with its size"),
    (Defect::ListsFoldersFirst, "a listing has every object in order of names, with its size"),
    (Defect::ListsTwice, "a listing has every object in order of names, with its size"),
    (Defect::LosesTheLastListed, "a listing has every object in order of names, with its size"),
    (Defect::ListsOtherSizes, "a listing has every object in order of names, with its size"),
    (Defect::ListsOnlyTheFolderItself, "a listing has every object in order of names, with its size"),
    (Defect::StartsAtTheGivenName, "a listing begins after the name given"),
    (Defect::IgnoresTheStart, "a listing begins after the name given"),
    (Defect::StartsAfterTheFolder, "a listing begins after the name given"),
    (Defect::ListsByPrefix, "a listing holds no other folder's objects"),
    (Defect::ListsLate, "a listing shows what was put before it"),
    (Defect::SwallowsTheVisitorsError, "a listing ends with the error of its visitor"),
    (Defect::GoesOnAfterTheVisitorsError, "a listing ends with the error of its visitor"),
    (Defect::IsBusyWhileItLists, "a listing lets its visitor use the storage"),
    (Defect::ShowsHalfAnObject, "a reader sees an object whole or not at all"),
    (Defect::ListsBeforeItIsThere, "a reader sees an object whole or not at all"),
    (Defect::TwoWinners, ATOMIC_CREATE),
    (Defect::TheLoserIsStored, ATOMIC_CREATE),
];

#[test]
fn every_check_finds_the_defects_it_is_for() {
    for (defect, promise) in DEFECTS {
        run_alone(Defect::None, promise).expect(promise);
        run_alone(defect, promise).expect_err(&format!("{defect:?} breaks: {promise}"));
    }
    for (promise, _) in CHECKS {
        assert!(DEFECTS.iter().any(|(_, broken)| *broken == promise), "nothing breaks: {promise}");
    }
}

#[test]
fn the_contract_names_the_first_broken_promise() {
    assert_eq!(broken_promise(&Broken::new(Defect::Overwrites)), "an object may be empty");
    assert_eq!(
        broken_promise(&Broken::new(Defect::BarrierFails)),
        "a barrier can be passed, again and again"
    );
    assert_eq!(broken_promise(&Broken::new(Defect::TwoWinners)), ATOMIC_CREATE);
}

#[test]
fn without_defect_every_promise_is_reported_and_nothing_is_left() {
    let storage = Broken::new(Defect::None);
    let other = ObjectName::parse("probe-x0/other").unwrap();
    storage.inner.replace(&other, &b"not ours"[..]);
    let mut reported = Vec::new();
    let checked = check_contract(&storage, "x", &mut |promise| reported.push(promise.to_owned())).unwrap();
    assert_eq!(checked, CHECKS.len());
    assert_eq!(reported, CHECKS.map(|(promise, _)| promise));
    assert_eq!(storage.inner.names(), [other]);
}

#[test]
fn a_broken_storage_is_cleaned_up_too() {
    for defect in [Defect::ShortRanges, Defect::LosesTheLastListed, Defect::TwoWinners] {
        let storage = Broken::new(defect);
        broken_promise(&storage);
        assert_eq!(storage.inner.names(), [], "{defect:?}");
    }
}

#[test]
fn atomic_creation_is_left_out_where_it_is_not_promised() {
    let storage = Broken { atomic_create: false, ..Broken::new(Defect::TwoWinners) };
    let mut reported = Vec::new();
    let checked = check_contract(&storage, "x", &mut |promise| reported.push(promise.to_owned())).unwrap();
    assert_eq!(checked, CHECKS.len() - 1);
    assert_eq!(reported.last().map(String::as_str), Some(&*format!("{ATOMIC_CREATE}: not promised")));
}

#[test]
fn a_token_that_is_no_part_of_a_name_is_refused() {
    for token in ["A", "a/b", ".", &"x".repeat(61)] {
        let error = check_contract(&Memory::new(), token, &mut |_| ()).expect_err(token);
        assert_eq!(error.kind(), ErrorKind::Usage, "{token}");
    }
}

#[test]
fn samples_tell_shifts_and_seeds_apart() {
    let one = sample(1, 4096);
    assert_ne!(one, sample(2, 4096));
    assert!((1..1024).all(|shift| one.get(shift..).unwrap() != one.get(..4096 - shift).unwrap()));
}

/// What a trial finds, in short.
fn tried(storage: &dyn Storage) -> Result<(Creation, &'static str)> {
    try_out(storage, "x").map(|trial| {
        let deletion = match trial.deletion {
            Deletion::Works => "works",
            Deletion::Refused(_) => "refused",
            Deletion::Ignored => "ignored",
        };
        (trial.creation, deletion)
    })
}

#[test]
fn a_trial_finds_what_loses_data_and_tells_the_rest() {
    for (defect, creation, deletion) in [
        (Defect::None, Creation::Atomic, "works"),
        (Defect::Overwrites, Creation::NotAtomic, "works"),
        (Defect::DeletesNothing, Creation::Atomic, "ignored"),
    ] {
        let storage = Broken::new(defect);
        assert_eq!(tried(&storage).unwrap(), (creation, deletion), "{defect:?}");
        assert_eq!(storage.inner.names().len(), usize::from(deletion == "ignored"), "{defect:?}");
    }
    let cautious = Broken { atomic_create: false, ..Broken::new(Defect::None) };
    assert_eq!(tried(&cautious).unwrap(), (Creation::NotAtomic, "works"));
    for defect in [
        Defect::ShiftsRanges,
        Defect::GivesWhatIsLeftOfARange,
        Defect::RefusesAtTheBound,
        Defect::ListsTwice,
        Defect::ListsOtherSizes,
        Defect::ListsLate,
    ] {
        let storage = Broken::new(defect);
        let found = tried(&storage).map_err(|error| error.kind());
        assert_eq!(found, Err(ErrorKind::Failed), "{defect:?}");
        assert_eq!(storage.inner.names(), [], "{defect:?}");
    }
}

/// Lets so many creators win a race, changes what they write, or refuses to delete.
#[derive(Debug, Default)]
struct Odd {
    memory: Memory,
    winners: u32,
    changes: bool,
    refuses_deletes: bool,
    asked: Mutex<u32>,
}

impl Storage for Odd {
    crate::storage::forward_storage!(self => self.memory; put_if_absent, get, get_range, list, barrier, capabilities, location);

    fn prove_create(&self, name: &ObjectName, bodies: [&Body; 3]) -> Result<bool> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked > self.winners {
            return Err(refusal::taken(name));
        }
        let mut bytes = bodies[0].concat();
        bytes[500] ^= u8::from(self.changes);
        self.memory.replace(name, bytes);
        Ok(true)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        match self.refuses_deletes {
            true => Err(Error::new(ErrorKind::Denied, "no")),
            false => self.memory.delete(name),
        }
    }
}

#[test]
fn a_trial_tells_races_denials_and_changed_bytes() {
    let odd = |winners| Odd { winners, ..Odd::default() };
    assert_eq!(tried(&odd(1)).unwrap(), (Creation::Atomic, "works"));
    assert_eq!(tried(&odd(3)).unwrap(), (Creation::Racy(3), "works"));
    let told = tried(&odd(0)).unwrap_err().chain().join(": ");
    assert!(told.contains("probe-x/one was new, and each of its 4 creators"), "{told}");
    let told = tried(&Odd { changes: true, ..odd(1) }).unwrap_err().chain().join(": ");
    assert!(told.ends_with("probe-x/one was put, and other bytes come back"), "{told}");
    let denying = Odd { refuses_deletes: true, ..odd(1) };
    assert_eq!(tried(&denying).unwrap(), (Creation::Atomic, "refused"));
    assert_eq!(denying.memory.names(), [ObjectName::parse("probe-x/one").unwrap()]);
}
