//! One hostile reply at any request of a whole operation.
//!
//! What must hold: the operation succeeds, or fails with an error; afterwards everything that was committed is there and
//! comes back, by a storage that nobody disturbs; what is read through the disturbed one is right or an error.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use packstone::base::{Result, SessionId};
use packstone::storage::{ObjectName, Storage};

use super::hostile::DEEDS;
use super::place::Place;
use crate::faults::scenario::{self, Done, Scenario};
use crate::process::open;
use crate::support::need::{Server, is_full};
use crate::support::proxy::{Deed, Proxy};
use crate::support::random::Random;
use crate::witness::Sources;

/// So many requests of an operation that only reads are hit by each deed, and one of others; all of them when all sizes are
/// wanted.
const HIT: usize = 2;

/// Puts what the scenario begins with into a place.
fn lay_out(scenario: &Scenario, place: &Place) {
    let storage = place.open();
    let names = scenario.image.names();
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(4)) {
            let storage = &storage;
            scope.spawn(move || part.iter().for_each(|name| copy(scenario, &**storage, name)));
        }
    });
}

fn copy(scenario: &Scenario, storage: &dyn Storage, name: &ObjectName) {
    let bytes = scenario.image.get(name, u64::MAX).expect("an object");
    storage.put_if_absent(name, &[Bytes::from(bytes)]).expect("an object");
}

/// What an operation is, and what it says that it did.
type Run = fn(&Scenario, Arc<dyn Storage>, &Sources) -> Result<Done>;

struct Trial<'t> {
    sources: &'t Sources,
    scenario: &'t Scenario,
    run: Run,
    proxy: &'t Proxy,
}

impl Trial<'_> {
    /// Runs it with one deed, and looks at what is there. Whether it succeeded, and how much it asked.
    fn hit(&self, place: &Place, deed: Deed, at: usize) -> std::result::Result<(bool, usize), String> {
        self.proxy.obey(move |asked| if asked.number == at { deed } else { Deed::Pass });
        let storage = place.open_by(&self.proxy.address(), Duration::from_secs(5));
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.run)(self.scenario, storage, self.sources)));
        let asked = self.proxy.seen().len();
        let outcome = outcome.map_err(|_| "a panic".to_owned())?;
        let repository = open(place.open()).map_err(|error| format!("afterwards: {error}"))?;
        let visible: BTreeSet<SessionId> = self.sources.judge(&repository)?.into_iter().collect();
        let done = *outcome.as_ref().unwrap_or(&Done::default());
        if !self.scenario.allows(done, &visible) {
            return Err(format!("{outcome:?}, and visible is {visible:?}"));
        }
        match outcome {
            Ok(_) => Ok((true, asked)),
            Err(error) if error.chain().join(": ").is_empty() => Err("an error without a word".to_owned()),
            Err(error) => {
                println!("{deed:?} at {at}: {:?}: {}", error.kind(), error.chain().join(": "));
                Ok((false, asked))
            }
        }
    }
}

/// `is_reading`: nothing is changed, so that one place will do.
fn try_all(make: fn(&Sources) -> Scenario, run: Run, is_reading: bool) {
    let Some(place) = Place::new(Server::S3, "hostile replies to whole operations") else { return };
    let sources = Sources::new();
    let scenario = make(&sources);
    let proxy = Proxy::start(&place.address);
    let trial = Trial { sources: &sources, scenario: &scenario, run, proxy: &proxy };
    let begin = |case: &str| {
        let place = if is_reading { place.clone() } else { place.beside(case) };
        if !is_reading || case == "calm" {
            lay_out(&scenario, &place);
        }
        place
    };
    let (succeeded, asked) = trial.hit(&begin("calm"), Deed::Pass, 0).expect("nothing went wrong");
    assert!(succeeded && asked > 4, "{succeeded} {asked}");
    let mut random = Random::new(41);
    let (mut wrong, mut successes, mut errors) = (Vec::new(), 0, 0);
    for deed in DEEDS {
        let positions: Vec<usize> = match is_full() {
            true => (0..asked).collect(),
            false => (0..if is_reading { HIT } else { 1 }).map(|_| random.range(0..asked)).collect(),
        };
        for at in positions {
            match trial.hit(&begin(&format!("{deed:?}-{at}-{}", random.next())), deed, at) {
                Ok((true, _)) => successes += 1,
                Ok((false, _)) => errors += 1,
                Err(what) => wrong.push(format!("{deed:?} at {at} of {asked}: {what}")),
            }
        }
    }
    println!("{} cases of {asked} requests: {successes} successes, {errors} errors", successes + errors);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(successes > 10, "{successes}");
}

fn as_it_is(scenario: &Scenario, storage: Arc<dyn Storage>, sources: &Sources) -> Result<Done> {
    scenario.run(storage, sources)
}

/// Everything visible is read; what comes is right, or the error says why it does not.
fn read_all(scenario: &Scenario, storage: Arc<dyn Storage>, sources: &Sources) -> Result<Done> {
    let repository = open(storage)?;
    match sources.judge(&repository) {
        Ok(visible) => assert_eq!(visible, scenario.visible),
        Err(what) => {
            assert!(!what.contains("holds something else"), "{what}");
            return Err(packstone::base::Error::new(packstone::base::ErrorKind::Failed, what));
        }
    }
    Ok(Done::default())
}

#[test]
fn a_backup_survives_any_reply() {
    try_all(scenario::first_backup, as_it_is, false);
}

#[test]
fn a_prune_survives_any_reply() {
    try_all(scenario::after_forget, as_it_is, false);
}

#[test]
fn a_check_survives_any_reply() {
    try_all(scenario::check, as_it_is, true);
}

#[test]
fn a_restore_survives_any_reply() {
    try_all(scenario::same_backup, read_all, true);
}
