//! Several writers and a pruner at once in one place.
//!
//! What must hold: nothing that was committed and not forgotten is lost. Where creation is not atomic, that holds as long
//! as only one prunes.

use std::collections::BTreeSet;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use packstone::base::host::Host;
use packstone::base::{SessionId, Silent};
use packstone::ops::prune::{PruneOptions, prune};
use packstone::storage::Storage;

use super::place::Place;
use crate::engine::{KEY, init};
use crate::process::{self, BackUp};
use crate::support::need::Server;
use crate::support::scratch::Scratch;
use crate::witness::{PARAMETERS, Sources};

/// How many write at once, and how often each.
const WRITERS: usize = 3;
const ROUNDS: usize = 3;

fn write_and_prune(server: Server) {
    let Some(place) = Place::new(server, "many writers and a pruner") else { return };
    let sources = Sources::new();
    let is_sole = !server.creates_atomically();
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

/// The same by processes of the program, all of which begin at once.
fn processes(server: Server) {
    let Some(place) = Place::new(server, "many processes and a pruner") else { return };
    let (sources, scratch) = (Sources::new(), Scratch::new());
    let key_file = scratch.join("key");
    std::fs::write(&key_file, KEY).expect("a file");
    init(place.open(), PARAMETERS, None);
    let forgotten = BackUp::new(WRITERS).run(place.open(), &sources).expect("a backup");
    process::forget(place.open(), forgotten).expect("forgotten");
    for _ in 0..2 {
        sources.touch();
        let mut running: Vec<Child> = (0..WRITERS)
            .map(|source| {
                let mut backup = place.program(scratch.path(), &key_file);
                backup.arg("backup").arg(sources.path(source)).spawn().expect("the program")
            })
            .collect();
        let mut prune = place.program(scratch.path(), &key_file);
        prune.args(["repo", "prune", "--yes", "--wait", "0s", "--max-unused", "0"]);
        if !server.creates_atomically() {
            prune.arg("--sole-pruner");
        }
        running.push(prune.spawn().expect("the program"));
        for mut child in running {
            assert!(child.wait().expect("an end").success());
        }
    }
    let repository = process::open(place.open()).expect("the repository opens");
    let visible = sources.judge(&repository).expect("all comes back");
    assert_eq!(visible.len(), 2 * WRITERS);
    assert!(!visible.contains(&forgotten));
    println!("{} snapshots by processes beside a pruner", visible.len());
}

#[test]
fn processes_lose_nothing() {
    processes(Server::S3);
}

#[test]
fn processes_beside_a_sole_pruner_lose_nothing_without_conditions() {
    processes(Server::S3WithoutConditions);
}

#[cfg(feature = "azure")]
#[test]
fn writers_and_a_pruner_lose_nothing_on_azure() {
    write_and_prune(Server::Azure);
}
