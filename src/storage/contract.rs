//! The promises of a storage as checks that anybody can run against any storage, and that a storage which breaks one
//! of them fails.
//!
//! The checks work only in two folders of their own and leave nothing there. They are deterministic but for the races,
//! which can only ever find a fault, never prove that there is none. What a loss of power does cannot be checked here.

mod listings;
mod objects;
mod races;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::{Body, Listed, ObjectName, Storage};
use crate::base::{Error, ErrorKind, Result, Wrap};
pub use trial::{Creation, Deletion, Trial, try_out};

/// A promise in words, and what finds out whether it is kept.
type Check = (&'static str, fn(&Probe<'_>) -> Result<()>);

const CHECKS: [Check; 20] = [
    ("an object is read back as it was written", objects::read_back),
    ("an object may be empty", objects::empty),
    ("the slices of a body are joined in their order", objects::many_slices),
    ("a large object is stored whole", objects::large),
    ("the longest name is a name", objects::longest_name),
    ("what is not there is not found", objects::absent),
    ("a name that is taken stays as it is", objects::taken),
    ("a range is exactly the bytes asked for", objects::ranges),
    ("a range beyond the end is refused", objects::ranges_beyond_the_end),
    ("an object larger than its reader allows is refused", objects::bound),
    ("a deleted object is gone and its name is free", objects::deleted),
    ("a barrier can be passed, again and again", objects::barrier),
    ("a listing has every object in order of names, with its size", listings::order),
    ("a listing begins after the name given", listings::start_after),
    ("a listing holds no other folder's objects", listings::other_folders),
    ("a listing shows what was put before it", listings::after_put),
    ("a listing ends with the error of its visitor", listings::visitor_error),
    ("a listing lets its visitor use the storage", listings::visitor_puts),
    ("a reader sees an object whole or not at all", races::readers),
    (ATOMIC_CREATE, races::creators),
];

const ATOMIC_CREATE: &str = "of many creators of one name exactly one succeeds";

/// Checks that a storage keeps its contract; gives the number of promises that were checked.
///
/// It works in the folders `probe-<token>` and `probe-<token>-beside`, which nobody else may use; the token has at most
/// 60 characters of `a`–`z`, `0`–`9` and `-`. `report` is told each promise before it is checked, and each that is left
/// out because the storage does not give it. The first broken promise is the error, whose message names it.
pub fn check_contract(storage: &dyn Storage, token: &str, report: &mut dyn FnMut(&str)) -> Result<usize> {
    let probe = Probe::new(storage, token)?;
    if storage.capabilities().atomic_create.is_none() {
        prove_creation(storage, token)?;
    }
    let mut checked = 0;
    let outcome = CHECKS.iter().try_for_each(|(promise, check)| {
        if *promise == ATOMIC_CREATE && storage.capabilities().atomic_create != Some(true) {
            report(&format!("{promise}: not promised"));
            return Ok(());
        }
        report(promise);
        checked += 1;
        check(&probe).wrap(|| format!("promise broken in {}: {promise}", storage.location()))
    });
    let removed = probe.remove_all().wrap(|| "cannot remove the objects of the probe");
    // The broken promise says more than what followed from it.
    outcome.and(removed).map(|()| checked)
}

/// Finds out whether creation is atomic as far as one creator can see, in the folder `probe-<token>`, and leaves nothing
/// there. A storage that only learns this by trying remembers it.
pub fn prove_creation(storage: &dyn Storage, token: &str) -> Result<bool> {
    let probe = Probe::new(storage, token)?;
    let name = probe.name("proof")?;
    let bodies = [1, 2, 3].map(|seed| [Bytes::from(sample(seed, 100))]);
    let [first, second, truth] = &bodies;
    let proven = storage.prove_create(&name, [first, second, truth]);
    let removed = probe.remove_all().wrap(|| "cannot remove the object of the probe");
    // What cannot be removed is told only if all else went well.
    proven.and_then(|is_proven| removed.map(|()| is_proven))
}

/// The storage under examination, and what was put into it.
struct Probe<'storage> {
    storage: &'storage dyn Storage,
    folder: ObjectName,
    folder_beside: ObjectName,
    /// Every name under which a check may have put something, so that it can be removed even if no listing shows it.
    names: Mutex<BTreeSet<ObjectName>>,
}

impl<'storage> Probe<'storage> {
    fn new(storage: &'storage dyn Storage, token: &str) -> Result<Self> {
        let name = |text: String| {
            ObjectName::parse(&text)
                .filter(|_| token.len() <= 60 && !token.contains('/'))
                .ok_or_else(|| Error::new(ErrorKind::Usage, format!("{text} cannot be a folder's name")))
        };
        Ok(Self {
            storage,
            folder: name(format!("probe-{token}"))?,
            folder_beside: name(format!("probe-{token}-beside"))?,
            names: Mutex::default(),
        })
    }

    /// A name in the probe's folder.
    fn name(&self, text: &str) -> Result<ObjectName> {
        self.name_never_put(text).map(|name| self.noted(name))
    }

    /// A name in the folder beside it, whose own name begins alike.
    fn name_beside(&self, text: &str) -> Result<ObjectName> {
        parse(&format!("{}/{text}", self.folder_beside)).map(|name| self.noted(name))
    }

    /// A name in the probe's folder under which there is never an object; it may be that of a folder.
    fn name_never_put(&self, text: &str) -> Result<ObjectName> {
        parse(&format!("{}/{text}", self.folder))
    }

    fn noted(&self, name: ObjectName) -> ObjectName {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        name
    }

    /// Puts a new object with these bytes and gives its name.
    fn put(&self, text: &str, bytes: &[u8]) -> Result<ObjectName> {
        let name = self.name(text)?;
        self.storage.put_if_absent(&name, &[Bytes::copy_from_slice(bytes)])?;
        Ok(name)
    }

    /// The names in a folder of the probe's folder, as listed.
    fn list(&self, folder: &str, start_after: Option<&ObjectName>) -> Result<Vec<Listed>> {
        self.list_any(&format!("{}/{folder}", self.folder), start_after)
    }

    fn list_any(&self, folder: &str, start_after: Option<&ObjectName>) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        self.storage.list(folder, start_after, &mut |object| {
            listed.push(object);
            Ok(())
        })?;
        Ok(listed)
    }

    /// The object can be read whole and is these bytes.
    fn expect_bytes(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let expected = body.concat();
        let found = self.storage.get(name, expected.len() as u64)?;
        expect(found == expected, || format!("object {name} is not what was written"))
    }

    fn remove_all(&self) -> Result<()> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for folder in [&self.folder, &self.folder_beside] {
            let listed = self.list_any(folder.as_str(), None)?;
            names.extend(listed.into_iter().map(|object| object.name));
        }
        for name in names {
            match self.storage.delete(&name) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<ObjectName> {
    ObjectName::parse(text).ok_or_else(|| Error::new(ErrorKind::Failed, format!("{text} is no object name")))
}

/// Fails with what was observed unless it holds.
fn expect<M: Into<String>>(holds: bool, observed: impl FnOnce() -> M) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Failed, observed())) }
}

/// Something that must fail in a certain way did so.
fn expect_refused<T>(result: Result<T>, kind: ErrorKind, what: &str) -> Result<()> {
    match result {
        Ok(_) => Err(Error::new(ErrorKind::Failed, format!("{what} succeeded"))),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => {
            let message = format!("{what} failed as {:?}, not as {kind:?}", error.kind());
            Err(error.while_doing(message).of_kind(ErrorKind::Failed))
        }
    }
}

/// Bytes that differ at every shift and for every `seed`.
fn sample(seed: u32, length: u32) -> Vec<u8> {
    (0..length)
        .map(|position| {
            let mixed = (position ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            let [byte, ..] = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35).to_be_bytes();
            byte
        })
        .collect()
}
