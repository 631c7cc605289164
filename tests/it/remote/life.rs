//! A repository's whole life behind a network.

use std::sync::Arc;
use std::time::Duration;

use packstone::base::Silent;
use packstone::format::config::Parameters;
use packstone::ops::check::{CheckOptions, Portion, check};
use packstone::ops::prune::{PruneOptions, prune};
use packstone::repository::{MaxUnused, PlanOptions};
use packstone::storage::{Storage, Traffic};

use super::place::Place;
use crate::engine::{Findings, back_up, give_back, init, open};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::mutate::mutate;
use crate::support::need::Server;
use crate::support::proxy::{Deed, Proxy};
use crate::support::scratch::Scratch;
use crate::{process, prune as pruning};

/// Made, written twice, checked, pruned and read back, each time by another handle.
fn life(server: Server) {
    let Some(place) = Place::new(server, "the life of a repository") else { return };
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(11, &source, Size::Small);
    init(place.open(), Parameters::tiny(), None);
    let first = back_up(&open(place.open(), None), &source).id;
    mutate(12, &source);
    let second = back_up(&open(place.open(), None), &source).id;
    let sound = || {
        let options = CheckOptions { read: Some(Portion::All) };
        let findings = Findings::default();
        let found = check(&open(place.open(), None), &options, &findings).unwrap();
        findings.assert_none();
        assert_eq!((found.damaged, found.unreadable), (0, 0), "{found:?}");
    };
    sound();
    process::forget(place.open(), first).unwrap();
    let storage = place.open();
    let options = PruneOptions {
        plan: PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None },
        // Nobody else prunes here, which is to be said where creation is not atomic.
        is_sole: !server.creates_atomically(),
        ..pruning::options()
    };
    let pruned = prune(&open(storage, None), &options, &Silent).unwrap();
    assert!(pruned.removed.count > 0, "{pruned:?}");
    sound();
    let repository = open(place.open(), None);
    assert!(repository.snapshots().unwrap().find(&first.hex()).is_err());
    give_back(&repository, second, Some(&source), &scratch.join("restored"));
    assert_same(&dump(&source), &dump(&scratch.join("restored")));
}

#[test]
fn s3_holds_a_whole_life() {
    life(Server::S3);
}

#[test]
fn s3_without_conditions_holds_a_whole_life() {
    life(Server::S3WithoutConditions);
}

#[test]
fn webdav_holds_a_whole_life() {
    life(Server::Webdav);
}

#[cfg(feature = "azure")]
#[test]
fn azure_holds_a_whole_life() {
    life(Server::Azure);
}

/// What an unchanged nightly backup may ask: 12 requests.
#[test]
fn an_unchanged_backup_asks_little() {
    let Some(place) = Place::new(Server::S3, "requests of an unchanged backup") else { return };
    let scratch = Scratch::new();
    let (source, cache) = (scratch.join("source"), scratch.join("cache"));
    generate(13, &source, Size::Small);
    init(place.open(), Parameters::tiny(), Some(&cache));
    let proxy = Proxy::start(&place.address);
    let again = || {
        proxy.obey(|_| Deed::Pass);
        let storage = place.open_by(&proxy.address(), Duration::from_secs(5));
        back_up(&open(Arc::clone(&storage) as Arc<dyn Storage>, Some(&cache)), &source);
        storage.traffic().unwrap()
    };
    let is_little = |asked: &Traffic| asked.requests.total() <= 12 + 2 * asked.repeated;
    // What a change adds at most: a look at the index, a pack and an index run.
    let is_about_little = |asked: &Traffic| asked.requests.total() <= 12 + 3 + 2 * asked.repeated;
    for _ in 0..2 {
        again();
    }
    // The folder of all tests' folders is a parent of the source: what others make there is a change, but seldom each time.
    let mut asked = again();
    for _ in 0..5 {
        assert!(is_about_little(&asked), "{asked:?}");
        if is_little(&asked) {
            break;
        }
        asked = again();
    }
    for (asked, _) in proxy.seen() {
        println!("{} {}", asked.method(), asked.target());
    }
    println!("{} requests of an unchanged backup: {asked:?}", asked.requests.total());
    // After a request of which nobody knows what became of it, one looks; that is the server's fault.
    assert!(is_little(&asked), "{asked:?}");
}
