//! Storage behind a network: the contract, a repository's whole life, and what servers and networks do wrong.
//!
//! What must hold: each test works in a place of its own on servers that `scripts/test` starts, and leaves nothing to
//! the next; what is expected of a place was read from the disk, or by a storage that nobody disturbs.

mod cold;
mod copying;
mod frozen;
mod hostile;
mod life;
mod locked;
mod many;
mod place;
mod trial;
mod whole;

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use packstone::storage::contract::check_contract;
use packstone::storage::{ObjectName, Storage};

use self::place::Place;
use crate::support::need::Server;

fn contract(server: Server) {
    let Some(place) = Place::new(server, "the contract of a storage") else { return };
    let storage = place.open();
    let name = ObjectName::parse("proof/1").unwrap();
    let bodies = ["first", "second", "truth"].map(|text| [Bytes::from(text)]);
    let bodies = [&bodies[0][..], &bodies[1][..], &bodies[2][..]];
    let before = storage.capabilities().atomic_create;
    assert_eq!(before, (server == Server::Webdav).then_some(false), "nothing is known that was not tried");
    let is_atomic = storage.prove_create(&name, bodies).unwrap();
    assert_eq!(is_atomic, server.creates_atomically());
    assert_eq!(storage.capabilities().atomic_create, Some(is_atomic));
    assert_eq!(storage.get(&name, 10).unwrap(), if is_atomic { b"first" } else { b"truth" });
    let taken = storage.put_if_absent(&name, bodies[1]).unwrap_err();
    assert_eq!(taken.kind(), packstone::base::ErrorKind::Exists);
    // That creation is atomic is checked where it is promised.
    let checked = check_contract(&*storage, "contract", &mut |promise| println!("{promise}")).unwrap();
    assert_eq!(checked, 19 + usize::from(is_atomic));
    println!("{checked} promises kept by {}", storage.location());
}

#[test]
fn s3_keeps_the_contract() {
    contract(Server::S3);
}

#[test]
fn s3_without_conditions_keeps_the_contract() {
    contract(Server::S3WithoutConditions);
}

#[test]
fn webdav_keeps_the_contract() {
    contract(Server::Webdav);
}

#[cfg(feature = "azure")]
#[test]
fn azure_keeps_the_contract() {
    contract(Server::Azure);
}

/// More than a page has, and more than two.
fn pages(server: Server, objects: usize) {
    let Some(place) = Place::new(server, "listings of many pages") else { return };
    let storage = place.open();
    let name = |number: usize| ObjectName::parse(&format!("many/{:02x}/{number:05}", number % 3)).unwrap();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..storage.parallel_calls() {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= objects {
                        return;
                    }
                    storage.put_if_absent(&name(number), &[Bytes::from(vec![1; number % 7])]).unwrap();
                }
            });
        }
    });
    let mut expected: Vec<_> = (0..objects).map(|number| (name(number), (number % 7) as u64)).collect();
    expected.sort();
    let before = storage.traffic().unwrap().requests.list;
    for start in [0, 1, 999, 1000, 1001, objects - 1] {
        let after = (start > 0).then(|| &expected[start - 1].0);
        let mut listed = Vec::new();
        storage
            .list("many", after, &mut |object| {
                listed.push((object.name, object.size_bytes));
                Ok(())
            })
            .unwrap();
        assert_eq!(listed, expected[start..], "from {start}");
    }
    println!("{} requests for 6 listings", storage.traffic().unwrap().requests.list - before);
}

#[test]
fn s3_lists_many_pages() {
    pages(Server::S3, 1100);
}

#[test]
fn s3_without_conditions_lists_many_pages() {
    pages(Server::S3WithoutConditions, 2100);
}

/// A page there has 5,000 names.
#[cfg(feature = "azure")]
#[test]
fn azure_lists_many_pages() {
    pages(Server::Azure, 5100);
}

#[test]
fn webdav_lists_many_names() {
    pages(Server::Webdav, 1100);
}
