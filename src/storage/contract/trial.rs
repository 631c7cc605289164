//! What a storage does, found out at little cost before a repository is made there.
//!
//! What must hold: a single small object is written, and it is all that is left where nothing can be deleted; it has a
//! name that no object of a repository has. What would lose data is an error; all else is told.

use bytes::Bytes;

use super::races::at_once;
use super::{Probe, expect, expect_refused, sample};
use crate::base::{Error, ErrorKind, Result};
use crate::storage::{Listed, ObjectName, Storage};

/// Who is there at the same time to create the object.
const CREATORS: u32 = 4;
/// Size of the object.
const OBJECT_BYTES: u32 = 1000;

/// What a storage was seen to do.
#[derive(Debug)]
pub struct Trial {
    /// What becomes of several creators of one name.
    pub creation: Creation,
    /// What becomes of a delete.
    pub deletion: Deletion,
}

/// What becomes of several creators of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// Of those who came at the same time one succeeded, and whoever came later was refused.
    Atomic,
    /// Whoever comes later is not refused.
    NotAtomic,
    /// Whoever came later was refused, yet of those who came at the same time so many succeeded. Such a storage must not
    /// be trusted to create atomically, for each session by itself believes that it does.
    Racy(u32),
}

/// What becomes of a delete.
#[derive(Debug)]
pub enum Deletion {
    /// What was deleted is gone.
    Works,
    /// The storage does not delete, for this reason; the object of the trial stays.
    Refused(Error),
    /// It succeeds, and the object stays.
    Ignored,
}

/// Tries a storage out by some fifteen requests: several create an object at the same time, which is then listed, read
/// whole and in parts, and deleted.
///
/// It works in the folder `probe-<token>`, which nobody else may use; the token is one as for `check_contract`. Errors:
/// `Failed` if the storage loses or changes what it is given, so that no repository must be made there; others if it
/// cannot be tried.
pub fn try_out(storage: &dyn Storage, token: &str) -> Result<Trial> {
    let probe = Probe::new(storage, token)?;
    let name = probe.name("one")?;
    let tried =
        create(&probe, &name).and_then(|(creation, bodies)| read(&probe, &name, &bodies).map(|()| creation));
    let creation = match tried {
        Ok(creation) => creation,
        Err(error) => {
            // Who does not answer need not be asked again. What went wrong first says more than what followed from it.
            if error.kind() != ErrorKind::Unreachable {
                let _ = storage.delete(&name);
            }
            return Err(error.while_doing(format!("cannot use the storage at {}", storage.location())));
        }
    };
    Ok(Trial { creation, deletion: delete(storage, &name)? })
}

/// Lets several create the object at the same time; gives what became of it, and the bytes that it may have now.
fn create(probe: &Probe<'_>, name: &ObjectName) -> Result<(Creation, Vec<Vec<u8>>)> {
    let storage = probe.storage;
    // A race of those who are known to overwrite each other tells nothing.
    let creators = if storage.capabilities().atomic_create == Some(false) { 1 } else { CREATORS };
    let bodies: Vec<[Vec<u8>; 3]> = (0..creators)
        .map(|creator| [0, 1, 2].map(|round| sample(3 * creator + round, OBJECT_BYTES)))
        .collect();
    let outcomes = at_once(&bodies, |bodies| {
        let [first, second, truth] = bodies.each_ref().map(|bytes| [Bytes::copy_from_slice(bytes)]);
        storage.prove_create(name, [&first, &second, &truth])
    })?;
    let mut first_of_winners = Vec::new();
    let (mut overwriters, mut failure) = (0, None);
    for (outcome, [first, ..]) in outcomes.into_iter().zip(&bodies) {
        match outcome {
            Ok(true) => first_of_winners.push(first.clone()),
            Ok(false) => overwriters += 1,
            Err(error) if error.kind() == ErrorKind::Exists => {}
            Err(error) => failure = Some(failure.unwrap_or(error)),
        }
    }
    match failure {
        // Who overwrites may have removed what was there.
        Some(error) if !(overwriters > 0 && error.kind() == ErrorKind::NotFound) => return Err(error),
        _ => {}
    }
    let winners = u32::try_from(first_of_winners.len()).unwrap_or(u32::MAX);
    match (winners, overwriters) {
        (0, 0) => Err(Error::new(
            ErrorKind::Failed,
            format!("{name} was new, and each of its {creators} creators was told that it is there"),
        )),
        (1, 0) => Ok((Creation::Atomic, first_of_winners)),
        (0, _) => Ok((Creation::NotAtomic, bodies.into_iter().flatten().collect())),
        _ => Ok((Creation::Racy(winners + overwriters), bodies.into_iter().flatten().collect())),
    }
}

/// Reads what was put, in every way.
fn read(probe: &Probe<'_>, name: &ObjectName, bodies: &[Vec<u8>]) -> Result<()> {
    let storage = probe.storage;
    let size_bytes = u64::from(OBJECT_BYTES);
    let whole = storage.get(name, size_bytes).map_err(lost)?;
    expect(bodies.contains(&whole), || format!("{name} was put, and other bytes come back"))?;
    let listed = probe.list_any(probe.folder.as_str(), None).map_err(lost)?;
    expect(listed == [Listed { name: name.clone(), size_bytes }], || {
        format!("{name} of {size_bytes} bytes was put, and its folder is listed as {}", shown(&listed))
    })?;
    for (begin, length) in [(1, 500), (whole.len() - 1, 1)] {
        let part = storage.get_range(name, begin as u64, length).map_err(lost)?;
        expect(whole.get(begin..begin + length) == Some(&part), || {
            format!("of {name} {length} bytes from {begin} were asked for, and {} others come", part.len())
        })?;
    }
    let beyond = storage.get_range(name, size_bytes - 1, 2);
    expect_refused(beyond, ErrorKind::Damaged, &format!("a read beyond the end of {name}"))
}

/// What was just put must be there and whole.
fn lost(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Damaged => {
            error.while_doing("what was put cannot be read").of_kind(ErrorKind::Failed)
        }
        _ => error,
    }
}

fn shown(listed: &[Listed]) -> String {
    let objects: Vec<String> =
        listed.iter().map(|object| format!("{} of {} bytes", object.name, object.size_bytes)).collect();
    if objects.is_empty() { "empty".to_owned() } else { objects.join(", ") }
}

/// Deletes the object, and looks whether it is gone.
fn delete(storage: &dyn Storage, name: &ObjectName) -> Result<Deletion> {
    match storage.delete(name) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Interrupted) => {
            return Err(error);
        }
        Err(error) => return Ok(Deletion::Refused(error)),
    }
    match storage.get(name, u64::from(OBJECT_BYTES)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Deletion::Works),
        Err(error) => Err(error),
        Ok(_) => Ok(Deletion::Ignored),
    }
}
