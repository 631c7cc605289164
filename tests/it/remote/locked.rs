//! Buckets in which nothing may be changed: versions, default retention, and a writer who may only get, list and create.
//!
//! What must hold: a backup neither deletes nor overwrites, whether or not it would be let.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use packstone::base::SessionId;
use packstone::format::config::Parameters;
use packstone::storage::Storage;

use super::place::Place;
use crate::engine::{back_up, give_back, init, open};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::http::ask;
use crate::support::mutate::mutate;
use crate::support::need::Server;
use crate::support::proxy::{Asked, Deed, Proxy};
use crate::support::scratch::Scratch;

/// For a day, nobody but who may do everything removes a version.
const RETENTION: &str = "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
    <ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days>\
    </DefaultRetention></Rule></ObjectLockConfiguration>";

/// Made and written twice, each time by another handle; gives the newest snapshot.
fn make_and_write(source: &Path, storage: impl Fn() -> Arc<dyn Storage>) -> SessionId {
    init(storage(), Parameters::tiny(), None);
    back_up(&open(storage(), None), source);
    mutate(22, source);
    back_up(&open(storage(), None), source).id
}

fn assert_restores(storage: Arc<dyn Storage>, id: SessionId, source: &Path, target: &Path) {
    give_back(&open(storage, None), id, Some(source), target);
    assert_same(&dump(source), &dump(target));
}

/// How many versions and delete markers there are of each key.
fn versions(place: &Place) -> (BTreeMap<String, usize>, usize) {
    let answer = ask(&place.address, &format!("GET /{}?versions&max-keys=10000", place.bucket), &[], "");
    let text = String::from_utf8(answer.body).expect("XML");
    let mut found = BTreeMap::new();
    for version in text.split("<Version>").skip(1) {
        let key = version.split("<Key>").nth(1).and_then(|rest| rest.split("</Key>").next());
        *found.entry(key.expect("a key").to_owned()).or_insert(0) += 1;
    }
    (found, text.matches("<DeleteMarker>").count())
}

#[test]
fn in_a_locked_bucket_nothing_is_changed() {
    let headers = [("x-amz-bucket-object-lock-enabled", "true")];
    let Some(place) = Place::prepared(Server::S3, "a bucket with retention", &headers) else { return };
    let locked = ask(&place.address, &format!("PUT /{}?object-lock", place.bucket), &[], RETENTION);
    assert_eq!(locked.status(), 200, "{locked:?}");
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(21, &source, Size::Small);
    let proxy = Proxy::start(&place.address);
    let storage = || place.open_by(&proxy.address(), Duration::from_secs(5)) as Arc<dyn Storage>;
    let newest = make_and_write(&source, storage);
    // Amazon takes nothing into such a bucket without a checksum.
    let is_put = |asked: &Asked| asked.method() == "PUT";
    let seen: Vec<Asked> = proxy.seen().into_iter().map(|(asked, _)| asked).filter(is_put).collect();
    for asked in &seen {
        assert!(asked.head.header("content-md5").is_some(), "{asked:?}");
    }
    let (versions, delete_markers) = versions(&place);
    println!("{} objects, {} requests to write", versions.len(), seen.len());
    assert!(versions.len() > 10, "{versions:?}");
    assert!(versions.values().all(|count| *count == 1), "{versions:?}");
    assert_eq!(delete_markers, 0);
    assert_restores(place.open(), newest, &source, &scratch.join("restored"));
}

#[test]
fn who_may_only_get_list_and_create_can_back_up() {
    let Some(place) = Place::new(Server::S3, "a writer who may only get, list and create") else { return };
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(23, &source, Size::Small);
    let proxy = Proxy::start(&place.address);
    proxy.obey(|asked| match asked.method() {
        "GET" | "HEAD" => Deed::Pass,
        "PUT" if asked.head.header("if-none-match") == Some("*") => Deed::Pass,
        _ => Deed::Say(403),
    });
    let storage = || place.open_by(&proxy.address(), Duration::from_secs(5)) as Arc<dyn Storage>;
    let newest = make_and_write(&source, storage);
    assert_restores(storage(), newest, &source, &scratch.join("restored"));
    // Nothing was even tried.
    let refused: Vec<_> = proxy.seen().into_iter().filter(|(_, deed)| *deed != Deed::Pass).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
