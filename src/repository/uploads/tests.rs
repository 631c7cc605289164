//! Packs on their way: how many at a time, and what becomes of failures, panics and threads that cannot be had.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::storage::memory::Memory;
use crate::storage::{Body, ObjectName, body_bytes};

/// A storage of several calls at a time, of which each waits for a permit.
#[derive(Debug, Default)]
struct Gate {
    memory: Memory,
    /// Permits that nobody took yet; none: nobody needs one.
    permits: Option<Mutex<usize>>,
    changed: Condvar,
    entered: AtomicUsize,
    bytes: AtomicUsize,
    bytes_most: AtomicUsize,
    /// The first byte of a body that is not taken, and how.
    refused: Option<(u8, Refusal)>,
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Error,
    Panic,
}

impl Gate {
    fn permit(&self) {
        *self.permits.as_ref().unwrap().lock().unwrap() += 1;
        self.changed.notify_all();
    }

    fn has(&self, number: u8) -> bool {
        let name = crate::format::names::pack(&crate::base::ContentName([number; 32]));
        self.memory.get(&ObjectName::parse(&name).unwrap(), u64::MAX).is_ok()
    }
}

impl Storage for Gate {
    crate::storage::forward_storage!(self => self.memory; get, get_range, list, delete, barrier, capabilities, location);

    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let bytes = usize::try_from(body_bytes(body)).unwrap();
        let now = self.bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.bytes_most.fetch_max(now, Ordering::SeqCst);
        self.entered.fetch_add(1, Ordering::SeqCst);
        if let Some(permits) = &self.permits {
            let mut permits = permits.lock().unwrap();
            while *permits == 0 {
                permits = self.changed.wait(permits).unwrap();
            }
            *permits -= 1;
        }
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        match self.refused {
            Some((number, refusal)) if body[0][0] == number => match refusal {
                Refusal::Error => Err(Error::new(ErrorKind::OutOfSpace, "there is no room")),
                Refusal::Panic => panic!("a fault of a storage"),
            },
            _ => self.memory.put_if_absent(name, body),
        }
    }

    fn parallel_calls(&self) -> usize {
        4
    }
}

fn uploads(gate: Gate, bytes_max: usize) -> (Arc<Gate>, Uploads) {
    let gate = Arc::new(gate);
    let uploads = Uploads::new(Arc::clone(&gate) as Arc<dyn Storage>, bytes_max);
    (gate, uploads)
}

fn numbers(packs: Vec<PublishedPack>) -> Vec<u8> {
    packs.iter().map(|published| published.pack.name.as_bytes()[0]).collect()
}

/// What a call gives that must not wait for ever.
fn within_a_minute<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(call()));
    receiver.recv_timeout(Duration::from_secs(60)).expect("it waits for ever")
}

#[test]
fn no_more_bytes_are_on_their_way_than_may_be() {
    let (gate, uploads) = uploads(Gate { permits: Some(Mutex::new(0)), ..Gate::default() }, 100);
    std::thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            let mut arrived = Vec::new();
            for number in 1..=20 {
                arrived.extend(uploads.publish(SealedPack::of_bytes(number, 40)).unwrap());
                assert!(uploads.shared.lock().bytes <= 100);
            }
            arrived.extend(uploads.finish().unwrap());
            arrived
        });
        for released in 0..20 {
            // Two at once, as many as fit; the last has nobody beside it.
            while gate.entered.load(Ordering::SeqCst) < (released + 2).min(20) {
                std::thread::yield_now();
            }
            gate.permit();
        }
        let mut arrived = numbers(accepted.join().unwrap());
        arrived.sort_unstable();
        assert_eq!(arrived, (1..=20).collect::<Vec<u8>>(), "each once");
    });
    assert_eq!(gate.bytes_most.load(Ordering::SeqCst), 80);
    assert_eq!(uploads.shared.lock().bytes, 0);
}

#[test]
fn a_pack_that_is_larger_than_the_bound_goes_alone() {
    let (gate, uploads) = uploads(Gate::default(), 100);
    let mut arrived = Vec::new();
    for number in 1..=3 {
        arrived.extend(uploads.publish(SealedPack::of_bytes(number, 500)).unwrap());
    }
    arrived.extend(uploads.finish().unwrap());
    assert_eq!(numbers(arrived), [1, 2, 3]);
    assert_eq!(gate.bytes_most.load(Ordering::SeqCst), 500);
}

#[test]
fn the_end_waits_for_what_is_on_its_way() {
    let (gate, uploads) = uploads(Gate { permits: Some(Mutex::new(0)), ..Gate::default() }, 1000);
    for number in 1..=3 {
        assert_eq!(numbers(uploads.publish(SealedPack::of_bytes(number, 40)).unwrap()), [0; 0]);
    }
    std::thread::scope(|scope| {
        let finished = scope.spawn(|| {
            let mut arrived = numbers(uploads.finish().unwrap());
            arrived.sort_unstable();
            // All of it, at this moment.
            assert!((1..=3).all(|number| gate.has(number)));
            arrived
        });
        (0..3).for_each(|_| gate.permit());
        assert_eq!(finished.join().unwrap(), [1, 2, 3]);
    });
    assert_eq!(numbers(uploads.finish().unwrap()), [0; 0], "nothing is told twice");
}

#[test]
fn a_failure_reaches_the_caller_and_ends_it() {
    let (gate, uploads) = uploads(Gate { refused: Some((2, Refusal::Error)), ..Gate::default() }, 40);
    let first = uploads.publish(SealedPack::of_bytes(1, 40)).and_then(|_| {
        uploads.publish(SealedPack::of_bytes(2, 40))?;
        uploads.finish()
    });
    let error = first.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
    // Later ones are not accepted, and not sent.
    let later = uploads.publish(SealedPack::of_bytes(3, 40)).unwrap_err();
    assert!(later.to_string().contains("another pack could not be written"), "{later}");
    assert!(uploads.finish().is_err());
    assert!(gate.has(1) && !gate.has(2) && !gate.has(3));
}

#[test]
fn a_panic_of_the_storage_is_an_error() {
    let (gate, uploads) = uploads(Gate { refused: Some((1, Refusal::Panic)), ..Gate::default() }, 100);
    let error = within_a_minute(move || {
        uploads.publish(SealedPack::of_bytes(1, 40)).unwrap();
        let error = uploads.finish().unwrap_err();
        assert!(uploads.publish(SealedPack::of_bytes(2, 40)).is_err());
        error
    });
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("a fault of this program"), "{error}");
    assert!(!gate.has(2));
}

#[test]
fn without_threads_the_caller_sends() {
    let (gate, mut uploads) = uploads(Gate { refused: Some((3, Refusal::Error)), ..Gate::default() }, 100);
    uploads.start = |_| Err(std::io::Error::other("no thread can be had"));
    within_a_minute(move || {
        assert_eq!(numbers(uploads.publish(SealedPack::of_bytes(1, 40)).unwrap()), [1]);
        assert_eq!(numbers(uploads.publish(SealedPack::of_bytes(2, 500)).unwrap()), [2]);
        assert_eq!(numbers(uploads.finish().unwrap()), [0; 0]);
        let error = uploads.publish(SealedPack::of_bytes(3, 40)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
        assert!(uploads.publish(SealedPack::of_bytes(4, 40)).is_err());
    });
    assert!(gate.has(2) && !gate.has(4));
}
