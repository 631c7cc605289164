//! Each hostile reply to each kind of call, once and for ever.
//!
//! What must hold: a call succeeds and is right, or fails and says so: never a part of an object under its name, never
//! a listing that lacks names, never other bytes than were asked for, never a success of something that was not done.
//! Wrong bytes in an object and a shorter one are left to the layers above, which authenticate what they read
//! (`whole`); so is a listing of the right form that is not true.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use packstone::base::{Error, ErrorKind, Result};
use packstone::storage::remote::Remote;
use packstone::storage::{ObjectName, Storage};

use super::place::Place;
use crate::support::need::Server;
use crate::support::proxy::{Deed, Proxy};
use crate::support::random::Random;

/// Everything that a server or the way to it does wrong.
pub const DEEDS: [Deed; 19] = [
    Deed::Delay(Duration::from_millis(2)),
    Deed::CutRequest(0),
    Deed::CutRequest(1000),
    Deed::Lose,
    Deed::DoAndSay(500),
    Deed::Say(500),
    Deed::Say(502),
    Deed::SayLater(503),
    Deed::SayLater(429),
    Deed::CutAnswer,
    Deed::ResetAnswer,
    Deed::ShortAnswer,
    Deed::EmptyAnswer,
    Deed::WrongByte,
    Deed::SuccessWithError,
    Deed::SuccessWithPage,
    Deed::SuccessWithNothing,
    Deed::Whole,
    Deed::OtherPlace,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Put,
    Get,
    Range,
    List,
    Delete,
    Prove,
}

const SORTS: [Sort; 6] = [Sort::Put, Sort::Get, Sort::Range, Sort::List, Sort::Delete, Sort::Prove];

/// Something comes back that only who authenticates it can know to be wrong.
fn is_left_to_others(sort: Sort, deed: Deed) -> bool {
    use Deed::{EmptyAnswer, ShortAnswer, SuccessWithError, SuccessWithNothing, WrongByte};
    match sort {
        Sort::Get => {
            [EmptyAnswer, ShortAnswer, SuccessWithError, SuccessWithNothing, WrongByte].contains(&deed)
        }
        Sort::Range | Sort::List => deed == WrongByte,
        _ => false,
    }
}

struct Bench {
    place: Place,
    proxy: Proxy,
    /// Not disturbed.
    direct: Arc<Remote>,
    payload: Vec<u8>,
    listed: Vec<ObjectName>,
}

const RANGE: std::ops::Range<usize> = 500..1700;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("a name")
}

impl Bench {
    fn new(server: Server) -> Option<Self> {
        let place = Place::new(server, "hostile replies to every kind of call")?;
        let (direct, proxy) = (place.open(), Proxy::start(&place.address));
        let payload = Random::new(31).bytes(3000);
        let listed: Vec<_> = (0..7).map(|number| name(&format!("listed/{number}"))).collect();
        for name in &listed {
            direct.put_if_absent(name, &[Bytes::from(payload.clone())]).expect("an object");
        }
        Some(Self { place, proxy, direct, payload, listed })
    }

    /// A handle that has seen what the storage does.
    fn handle(&self, patience: Duration, case: &str) -> Arc<Remote> {
        self.proxy.obey(|_| Deed::Pass);
        let storage = self.place.open_by(&self.proxy.address(), patience);
        let bodies = ["1", "2", "3"].map(|text| [Bytes::from(text)]);
        storage
            .prove_create(&name(&format!("proof/{case}")), [&bodies[0], &bodies[1], &bodies[2]])
            .expect("a proof");
        storage
    }

    /// Whether the call succeeded; nothing if it was over before it came to that; an error if something is wrong.
    fn hit(
        &self,
        storage: &Remote,
        sort: Sort,
        deed: Deed,
        at: Option<usize>,
        case: usize,
    ) -> std::result::Result<Option<bool>, String> {
        let name = name(&format!("cases/{case:05}"));
        if [Sort::Get, Sort::Range, Sort::Delete].contains(&sort) {
            self.direct.put_if_absent(&name, &[Bytes::from(self.payload.clone())]).expect("an object");
        }
        self.proxy.obey(move |asked| match at {
            Some(at) if asked.number != at => Deed::Pass,
            _ => deed,
        });
        let outcome = self.call(storage, sort, &name);
        let seen = self.proxy.seen();
        self.proxy.obey(|_| Deed::Pass);
        if at.is_some_and(|at| seen.len() <= at) {
            return outcome.map(|_| None).map_err(|what| format!("undisturbed: {what}"));
        }
        let methods: Vec<&str> = seen.iter().map(|(asked, _)| asked.method()).collect();
        self.judge(sort, deed, outcome, &name).map(Some).map_err(|what| format!("{what} ({methods:?})"))
    }

    /// Does it; an error of the storage is no failure, other bytes than there are is one.
    fn call(
        &self,
        storage: &Remote,
        sort: Sort,
        name: &ObjectName,
    ) -> std::result::Result<Result<bool>, String> {
        let right = |is_right: bool| {
            if is_right { Ok(Ok(true)) } else { Err("a success that is none".to_owned()) }
        };
        let body = [Bytes::from(self.payload.clone())];
        match sort {
            Sort::Put => Ok(storage.put_if_absent(name, &body).map(|()| true)),
            Sort::Get => match storage.get(name, 1 << 20) {
                Ok(bytes) => right(bytes == self.payload),
                Err(error) => Ok(Err(error)),
            },
            Sort::Range => match storage.get_range(name, RANGE.start as u64, RANGE.len()) {
                Ok(bytes) => right(bytes == self.payload[RANGE]),
                Err(error) => Ok(Err(error)),
            },
            Sort::List => {
                let mut listed = Vec::new();
                let outcome = storage.list("listed", None, &mut |object| {
                    listed.push(object.name);
                    Ok(())
                });
                match outcome {
                    Ok(()) => right(listed == self.listed),
                    Err(error) => Ok(Err(error)),
                }
            }
            Sort::Delete => Ok(storage.delete(name).map(|()| true)),
            Sort::Prove => {
                let second = [Bytes::from("second")];
                let truth = [Bytes::from("truth")];
                Ok(storage.prove_create(name, [&body, &second, &truth]))
            }
        }
    }

    /// Looks at what is there after the call.
    fn judge(
        &self,
        sort: Sort,
        deed: Deed,
        outcome: std::result::Result<Result<bool>, String>,
        name: &ObjectName,
    ) -> std::result::Result<bool, String> {
        let outcome = outcome?;
        let stored = match self.direct.get(name, 1 << 20) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("what is there cannot be read: {error}")),
        };
        let is_payload = stored.as_ref() == Some(&self.payload);
        let is_as_said = match (sort, &outcome) {
            (Sort::Put, outcome) => is_payload || (outcome.is_err() && stored.is_none()),
            (Sort::Get | Sort::Range, _) => is_payload,
            (Sort::List, _) => true,
            (Sort::Delete, outcome) => stored.is_none() || (outcome.is_err() && is_payload),
            (Sort::Prove, Ok(true)) => is_payload && self.place.server.creates_atomically(),
            (Sort::Prove, Ok(false)) => stored.as_deref() == Some(b"truth".as_slice()),
            (Sort::Prove, Err(_)) => {
                is_payload
                    || stored.as_deref().is_none_or(|stored| [&b"second"[..], b"truth"].contains(&stored))
            }
        };
        if !is_as_said {
            let stored = stored.map(|bytes| bytes.len());
            return Err(format!("{outcome:?}, and there are {stored:?} bytes"));
        }
        match outcome {
            Ok(_) => Ok(true),
            Err(error) => is_clear(&error, sort, deed).map(|()| false),
        }
    }
}

/// An error that says which object, why, and nothing that is not so.
fn is_clear(error: &Error, sort: Sort, deed: Deed) -> std::result::Result<(), String> {
    let chain = error.chain().join(": ");
    let is_right_kind = match error.kind() {
        ErrorKind::Unreachable | ErrorKind::Failed | ErrorKind::Damaged => true,
        // The look before it was told so.
        ErrorKind::Exists => {
            [Deed::SuccessWithError, Deed::SuccessWithNothing].contains(&deed)
                && [Sort::Put, Sort::Prove].contains(&sort)
        }
        _ => false,
    };
    let named = if sort == Sort::List { "listed" } else { "cases/" };
    if is_right_kind && chain.contains(named) && !chain.contains('\n') && !chain.contains("secret") {
        Ok(())
    } else {
        Err(format!("not a clear error: {:?}: {chain}", error.kind()))
    }
}

/// Whether a call succeeds where this is done to one of its requests, or to all; nothing if that depends on which of its
/// answers have a body.
fn is_expected(sort: Sort, deed: Deed, is_once: bool) -> Option<bool> {
    match deed {
        Deed::Delay(_) => Some(true),
        Deed::Whole => Some(is_once || sort != Sort::Range),
        // A service that lists what was not asked for is not asked again.
        Deed::OtherPlace => Some(sort != Sort::List),
        // Of a deletion it says neither that it was done nor that it was not.
        Deed::SuccessWithNothing if sort == Sort::Delete && is_once => None,
        // What it is in decides.
        Deed::WrongByte => None,
        _ if is_once => Some(true),
        Deed::CutAnswer | Deed::ResetAnswer | Deed::ShortAnswer | Deed::EmptyAnswer => None,
        _ => Some(false),
    }
}

fn matrix(server: Server) {
    let Some(bench) = Bench::new(server) else { return };
    let (mut wrong, mut case) = (Vec::new(), 0);
    let (mut succeeded, mut failed) = (0, 0);
    let patient = bench.handle(Duration::from_secs(10), "patient");
    let impatient = bench.handle(Duration::from_millis(20), "impatient");
    // A server that compares signatures refuses what was asked for in another way.
    let is_possible = |deed| deed != Deed::Whole || [Server::S3, Server::Webdav].contains(&server);
    for sort in SORTS {
        let deeds = DEEDS.into_iter().filter(|deed| is_possible(*deed) && !is_left_to_others(sort, *deed));
        for deed in deeds {
            // Once at the first request and the next ones, then at all of them.
            for at in [Some(0), Some(1), Some(2), Some(3), None] {
                // What it knows of the storage must not depend on the case before.
                let fresh = (sort == Sort::Prove).then(|| {
                    let patience = Duration::from_millis(if at.is_some() { 10_000 } else { 20 });
                    bench.place.open_by(&bench.proxy.address(), patience)
                });
                let known = if at.is_some() { &patient } else { &impatient };
                case += 1;
                match bench.hit(fresh.as_ref().unwrap_or(known), sort, deed, at, case) {
                    Ok(None) => {}
                    Ok(Some(succeeds)) => {
                        if is_expected(sort, deed, at.is_some()).is_some_and(|expected| expected != succeeds)
                        {
                            wrong.push(format!("{sort:?}, {deed:?} at {at:?}: success is {succeeds}"));
                        }
                        *(if succeeds { &mut succeeded } else { &mut failed }) += 1;
                    }
                    Err(what) => wrong.push(format!("{sort:?}, {deed:?} at {at:?}: {what}")),
                }
            }
        }
    }
    println!("{server:?}: {} cases, {succeeded} successes, {failed} errors", succeeded + failed);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Where paths begin with other words than were asked for, nothing panics and nothing is taken for an object of ours.
fn elsewhere(server: Server) {
    let Some(bench) = Bench::new(server) else { return };
    let storage = bench.handle(Duration::from_secs(10), "elsewhere");
    bench.proxy.obey(|_| Deed::OtherPlace);
    let error = storage.list("listed", None, &mut |_| Ok(())).unwrap_err();
    let chain = error.chain().join(": ");
    assert_eq!(error.kind(), ErrorKind::Damaged, "{chain}");
    // A panic that was caught is told by other words.
    assert!(chain.contains("names that were not asked for"), "{chain}");
}

#[test]
fn names_of_elsewhere_are_refused_by_s3() {
    elsewhere(Server::S3);
}

#[test]
fn names_of_elsewhere_are_refused_by_webdav() {
    elsewhere(Server::Webdav);
}

#[cfg(feature = "azure")]
#[test]
fn names_of_elsewhere_are_refused_by_azure() {
    elsewhere(Server::Azure);
}

#[test]
fn no_reply_of_s3_is_taken_for_another() {
    matrix(Server::S3);
}

#[test]
fn no_reply_of_s3_without_conditions_is_taken_for_another() {
    matrix(Server::S3WithoutConditions);
}

#[test]
fn no_reply_of_webdav_is_taken_for_another() {
    matrix(Server::Webdav);
}

#[cfg(feature = "azure")]
#[test]
fn no_reply_of_azure_is_taken_for_another() {
    matrix(Server::Azure);
}
