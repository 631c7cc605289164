//! Several writers and a pruner at once in one place.
//!
//! What must hold: nothing that was committed and not forgotten is lost. Where creation is not atomic, that holds as long
//! as only one prunes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use packstone::base::host::Host;
use packstone::base::{SessionId, Silent};
use packstone::ops::prune::{PruneOptions, prune};
use packstone::storage::Storage;

use super::place::Place;
use crate::engine::init;
use crate::process::{self, BackUp};
use crate::support::need::Server;
use crate::witness::{PARAMETERS, Sources};

/// How many write at once, and how often each.
const WRITERS: usize = 3;
const ROUNDS: usize = 3;

fn write_and_prune(server: Server) {
    let Some(place) = Place::new(server, "many writers and a pruner") else { return };
    let sources = Sources::new();
    let is_sole = server != Server::S3;
    let storage = || place.open() as Arc<dyn Storage>;
    init(storage(), PARAMETERS, None);
    let by_now = |source| BackUp { host: Host::current(), ..BackUp::new(source) };
    let forgotten = by_now(WRITERS).run(storage(), &sources).expect("a backup");
    process::forget(storage(), forgotten).expect("forgotten");
    let is_over = AtomicBool::new(false);
    let mut expected = BTreeSet::new();
    let mut prunes = 0;
    std::thread::scope(|scope| {
        let write = |source: usize| -> Vec<SessionId> {
            let storage = storage();
            (0..ROUNDS)
                .map(|_| {
                    sources.touch();
                    by_now(source).run(Arc::clone(&storage), &sources).expect("a backup")
                })
                .collect()
        };
        let writers: Vec<ScopedJoinHandle<'_, _>> =
            (0..WRITERS).map(|source| scope.spawn(move || write(source))).collect();
        let pruner = scope.spawn(|| {
            let mut prunes = 0;
            while !is_over.load(Ordering::SeqCst) {
                let options = PruneOptions { is_sole, ..process::prune_options(&Host::current()) };
                let repository = process::open(storage()).expect("the repository opens");
                prune(&repository, &options, &Silent).expect("a prune");
                prunes += 1;
            }
            prunes
        });
        let made: Vec<_> = writers.into_iter().map(ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        prunes = pruner.join().expect("the pruner ends");
        expected.extend(made.into_iter().flat_map(|made| made.expect("every writer ends")));
    });
    let options = PruneOptions { is_sole, ..process::prune_options(&Host::current()) };
    let repository = process::open(storage()).expect("the repository opens");
    prune(&repository, &options, &Silent).expect("a last prune");
    let repository = process::open(storage()).expect("the repository opens");
    let visible: BTreeSet<SessionId> =
        sources.judge(&repository).expect("all comes back").into_iter().collect();
    assert_eq!(visible, expected);
    sources.assert_restore(&repository);
    println!("{} snapshots by {WRITERS} writers beside {prunes} prunes", visible.len());
}

#[test]
fn writers_and_a_pruner_lose_nothing() {
    write_and_prune(Server::S3);
}

#[test]
fn writers_and_a_sole_pruner_lose_nothing_without_conditions() {
    write_and_prune(Server::S3WithoutConditions);
}

#[test]
fn writers_and_a_sole_pruner_lose_nothing_on_webdav() {
    write_and_prune(Server::Webdav);
}
