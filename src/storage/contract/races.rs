//! Promises about what happens at the same time, tried with threads on one handle.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use bytes::Bytes;

use super::{Probe, expect, sample};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::storage::ObjectName;

const CREATOR_ROUNDS: u32 = 50;
const CREATORS: u32 = 4;
const READER_ROUNDS: u32 = 10;
const READERS: u32 = 3;
const READ_BYTES: u32 = 256 << 10;

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).wrap(|| "cannot start a thread")
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> Result<T> {
    handle.join().map_err(|_| Error::new(ErrorKind::Failed, "a thread of the check panicked"))
}

pub(super) fn creators(probe: &Probe<'_>) -> Result<()> {
    for round in 0..CREATOR_ROUNDS {
        let name = probe.name(&format!("race/{round}"))?;
        let bodies: Vec<Bytes> = (0..CREATORS)
            .map(|creator| Bytes::from(sample(round * CREATORS + creator, 1000 + creator)))
            .collect();
        let outcomes = race(probe, &name, &bodies)?;
        let mut winners = Vec::new();
        for (body, outcome) in bodies.iter().zip(outcomes) {
            match outcome {
                Ok(()) => winners.push(body),
                Err(error) if error.kind() == ErrorKind::Exists => {}
                Err(error) => return Err(error.while_doing("a creator that lost did not fail as Exists")),
            }
        }
        let stored = probe.storage.get(&name, u64::MAX)?;
        expect(winners.len() == 1, || {
            format!("{} of {CREATORS} creators of {name} succeeded", winners.len())
        })?;
        expect(winners.iter().all(|body| **body == stored), || {
            format!("{name} is not what its creator wrote")
        })?;
    }
    let listed = probe.list("race", None)?.len();
    expect(listed == CREATOR_ROUNDS as usize, || format!("of {CREATOR_ROUNDS} objects {listed} are listed"))
}

/// Puts all bodies under one name at once.
fn race(probe: &Probe<'_>, name: &ObjectName, bodies: &[Bytes]) -> Result<Vec<Result<()>>> {
    at_once(bodies, |body| probe.storage.put_if_absent(name, std::slice::from_ref(body)))
}

/// Does this with each of these, all at the same time.
pub(super) fn at_once<I: Sync, T: Send>(each: &[I], work: impl Fn(&I) -> T + Sync) -> Result<Vec<T>> {
    let gate = RwLock::new(());
    let (gate, work) = (&gate, &work);
    std::thread::scope(|scope| {
        let closed = gate.write();
        let started = each.iter().map(|one| {
            spawn(scope, move || {
                drop(gate.read());
                work(one)
            })
        });
        let started = started.collect::<Result<Vec<_>>>();
        drop(closed);
        started?.into_iter().map(join).collect()
    })
}

pub(super) fn readers(probe: &Probe<'_>) -> Result<()> {
    for round in 0..READER_ROUNDS {
        let name = probe.name(&format!("whole/{round}"))?;
        let bytes = Bytes::from(sample(round, READ_BYTES));
        let body = [bytes.slice(..1000), bytes.slice(1000..)];
        let written = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers = (0..READERS)
                .map(|_| spawn(scope, || read_until(probe, &name, &bytes, &written)))
                .collect::<Result<Vec<_>>>();
            let put = readers.is_ok().then(|| probe.storage.put_if_absent(&name, &body));
            written.store(true, Ordering::SeqCst);
            let read = readers?.into_iter().try_for_each(|reader| join(reader)?);
            // What the readers saw follows from how the put ended.
            put.unwrap_or(Ok(())).and(read)
        })?;
    }
    Ok(())
}

/// Reads the object in every way until it was seen after it had been written.
fn read_until(probe: &Probe<'_>, name: &ObjectName, bytes: &Bytes, written: &AtomicBool) -> Result<()> {
    loop {
        let must_be_there = written.load(Ordering::SeqCst);
        let listed = probe.list("whole", None)?.into_iter().find(|object| object.name == *name);
        let last = probe.storage.get_range(name, u64::from(READ_BYTES) - 1, 1);
        let whole = probe.storage.get(name, u64::MAX);
        expect(listed.as_ref().is_none_or(|object| object.size_bytes == u64::from(READ_BYTES)), || {
            format!("{name} is listed while it is written as {listed:?}")
        })?;
        for (found, expected) in [(&last, bytes.slice(bytes.len() - 1..)), (&whole, bytes.clone())] {
            match found {
                Ok(found) => expect(*found == expected, || format!("{name} was read before it was whole"))?,
                Err(error) if error.kind() == ErrorKind::NotFound && !must_be_there => {}
                Err(error) => {
                    return Err(Error::new(
                        ErrorKind::Failed,
                        format!("{name} cannot be read: {}", error.chain().join(": ")),
                    ));
                }
            }
        }
        if must_be_there {
            return expect(listed.is_some(), || format!("{name} was put and is not listed"));
        }
        std::thread::yield_now();
    }
}
