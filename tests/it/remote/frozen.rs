//! Cold storage classes of S3: what goes there, what is told of it, how it is asked for.
//!
//! What must hold: only packs of data have the class; whatever the service answers to a request to thaw, an object is
//! called readable only if it is. How far the server is with thawing is one setting for all of its buckets: one test
//! changes it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use packstone::base::{ErrorKind, ThawRequest, ThawSpeed, Thawing};
use packstone::storage::remote::{Remote, RemoteOptions};
use packstone::storage::{ObjectName, Storage};

use super::place::Place;
use crate::engine::KEY;
use crate::support::dump::{assert_same, dump};
use crate::support::http::ask;
use crate::support::need::Server;
use crate::support::proxy::{Deed, Proxy};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

const REQUEST: ThawRequest = ThawRequest { days: 2, speed: Some(ThawSpeed::Bulk) };

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("a name")
}

fn freezing(class: &str) -> RemoteOptions {
    RemoteOptions { storage_class: Some(class.to_owned()), ..RemoteOptions::default() }
}

/// All keys of a bucket, and the class that the server tells of each.
fn classes(place: &Place) -> Vec<(String, String)> {
    let answer = ask(&place.address, &format!("GET /{}?list-type=2&max-keys=10000", place.bucket), &[], "");
    let text = String::from_utf8(answer.body).expect("XML");
    let field = |part: &str, name: &str| {
        let after = part.split(&format!("<{name}>")).nth(1);
        after.and_then(|rest| rest.split("</").next()).expect("a field").to_owned()
    };
    text.split("<Contents>").skip(1).map(|part| (field(part, "Key"), field(part, "StorageClass"))).collect()
}

/// A program at work in one bucket, that writes packs of data to a cold class.
struct Life {
    place: Place,
    scratch: Scratch,
}

impl Life {
    fn new(skipped: &str) -> Option<Self> {
        let place = Place::new(Server::S3, skipped)?;
        let scratch = Scratch::new();
        std::fs::write(scratch.join("key"), KEY).expect("a key file");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(scratch.join("key"), mode).expect("a mode");
        let source = scratch.join("source");
        std::fs::create_dir(&source).expect("a directory");
        let mut random = Random::new(51);
        for name in ["one", "two"] {
            std::fs::write(source.join(name), random.bytes(200_000)).expect("a file");
        }
        std::fs::write(source.join("tiny"), "tiny").expect("a file");
        Some(Self { place, scratch })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.place.program(&self.scratch.join("home"), &self.scratch.join("key"));
        command.args(arguments).current_dir(self.scratch.path()).output().expect("the program runs")
    }

    /// The same for a repository in a directory.
    fn run_locally(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        let home = self.scratch.join("home");
        command.env_clear().env("HOME", home).args(["-q", "-r", "local", "--key-file", "key"]);
        command.args(arguments).current_dir(self.scratch.path()).output().expect("the program runs")
    }

    /// Runs a command that must succeed, and gives what it prints.
    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must end with this code, and gives what it says of that.
    #[track_caller]
    fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    fn source(&self) -> String {
        self.scratch.join("source").display().to_string()
    }
}

const COLD: [&str; 2] = ["--storage-class", "GLACIER"];

/// Sets how the server goes on with thawing; forgotten with the value.
struct Progression<'p>(&'p Place);

impl<'p> Progression<'p> {
    /// What is asked for is under way when it is looked at for the first time, and readable the next time.
    fn by_looks(place: &'p Place) -> Self {
        let progression = Self(place);
        progression.set("{\"progression\": \"manual\", \"times\": 1}");
        progression
    }

    /// What is under way stays so.
    fn hold(&self) {
        self.set("{\"progression\": \"manual\", \"times\": 1000000}");
    }

    fn set(&self, transition: &str) {
        let body = format!("{{\"model_name\": \"s3::keyrestore\", \"transition\": {transition}}}");
        let headers = [("content-type", "application/json")];
        let answer = ask(&self.0.address, "POST /moto-api/state-manager/set-transition", &headers, &body);
        assert_eq!(answer.status(), 201, "{answer:?}");
    }

    fn go_on(&self) {
        self.set("{\"progression\": \"immediate\"}");
    }
}

impl Drop for Progression<'_> {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// All that goes on between backups and restores while packs of data are frozen, and the restore itself.
#[test]
fn a_whole_life_in_a_cold_class() {
    let Some(life) = Life::new("a life in a cold storage class") else { return };
    let source = life.source();
    let backup: Vec<&str> = ["backup", &source].into_iter().chain(COLD).collect();
    life.succeed(&["repo", "init", "--storage-class", "GLACIER"]);
    let refused = life.fail(1, &["backup", &source, "--storage-class", "NONSENSE"]);
    assert!(refused.contains("InvalidStorageClass"), "{refused}");
    life.succeed(&backup);
    std::fs::write(life.scratch.join("source/three"), Random::new(52).bytes(100_000)).expect("a file");
    life.succeed(&backup);
    std::fs::remove_file(life.scratch.join("source/one")).expect("it is there");
    life.succeed(&backup);
    life.succeed(&["snapshots"]);
    life.succeed(&["ls", "latest"]);
    life.succeed(&["repo", "check"]);
    life.succeed(&["stats"]);
    life.succeed(&["forget", "--keep-last", "1", "--storage-class", "GLACIER"]);
    let pruned =
        life.succeed(&["--json", "repo", "prune", "--max-unused", "0", "--storage-class", "GLACIER"]);
    assert!(pruned.contains("\"frozen\":{\"count\":"), "{pruned}");
    life.succeed(&["repo", "check"]);
    assert_only_data_is_cold(&life.place);
    let frozen = life.fail(3, &["repo", "check", "--read-data"]);
    assert!(!frozen.contains("damaged"), "{frozen}");
    let said = life.fail(1, &["cat", &format!("latest:{source}/two")]);
    assert!(said.contains("InvalidObjectState") && said.contains("--thaw"), "{said}");
    restores(&life, &source);
}

/// Of all objects only packs have the class, and there are packs that have not.
#[track_caller]
fn assert_only_data_is_cold(place: &Place) {
    let all = classes(place);
    let is_pack = |key: &str| key.contains("/packs/");
    let cold: Vec<&str> =
        all.iter().filter(|(_, class)| class == "GLACIER").map(|(key, _)| key.as_str()).collect();
    assert!(cold.iter().all(|key| is_pack(key)) && !cold.is_empty(), "{all:?}");
    let warm: Vec<&str> =
        all.iter().filter(|(_, class)| class != "GLACIER").map(|(key, _)| key.as_str()).collect();
    for folder in ["/config/", "/keys/", "/index/", "/snapshots/", "/packs/"] {
        assert!(warm.iter().any(|key| key.contains(folder)), "{folder}: {warm:?}");
    }
    // Which packs hold data is not to be told from their names; all that trees need was read by a check before.
    println!("{} cold objects, {} others", cold.len(), warm.len());
}

fn restores(life: &Life, source: &str) {
    let target = life.scratch.join("restored");
    let shown = target.display().to_string();
    let wanted = format!("latest:{source}");
    let restore = |more: &[&str]| {
        let mut arguments = vec!["--json", "restore", &wanted, "-t", &shown];
        arguments.extend_from_slice(more);
        life.run(&arguments)
    };
    let lines = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let is_empty = |path: &Path| path.read_dir().map_or(true, |mut entries| entries.next().is_none());
    let unasked = restore(&[]);
    assert_eq!(unasked.status.code(), Some(1), "{unasked:?}");
    let said = String::from_utf8_lossy(&unasked.stderr).into_owned();
    assert!(said.contains("must be thawed") && said.contains("--thaw"), "{said}");
    assert!(lines(&unasked).contains("\"frozen\":{\"count\":"), "{unasked:?}");
    std::fs::remove_dir_all(&target).expect("an incomplete restore");
    let dry = restore(&["--thaw", "--dry-run"]);
    assert!(dry.status.success() && !lines(&dry).contains("\"frozen\":{\"count\":0"), "{dry:?}");
    let progression = Progression::by_looks(&life.place);
    let of = |output: &Output, state: &str| {
        let (text, field) = (lines(output), format!("\"{state}\":{{\"count\":"));
        let number = text.split(&field).nth(1).and_then(|rest| rest.split(',').next());
        number.and_then(|number| number.parse::<u32>().ok()).unwrap_or_else(|| panic!("{output:?}"))
    };
    let asked = restore(&["--thaw", "--thaw-days", "3", "--thaw-speed", "bulk"]);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(of(&asked, "asked") > 0 && of(&asked, "asked") == of(&asked, "needed"), "{asked:?}");
    let looked = restore(&["--thaw", "--dry-run"]);
    assert_eq!(of(&looked, "under_way"), of(&asked, "asked"), "{looked:?}");
    progression.hold();
    let again = restore(&["--thaw"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    assert_eq!((of(&again, "under_way"), of(&again, "asked")), (of(&asked, "asked"), 0), "{again:?}");
    let waited = restore(&["--thaw", "--thaw-wait", "2s"]);
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    assert_eq!(lines(&waited).matches("\"message_type\":\"thaw\"").count(), 2, "{waited:?}");
    assert!(is_empty(&target));
    progression.go_on();
    let done = restore(&["--thaw"]);
    assert!(done.status.success(), "{done:?}");
    assert_same(&dump(&life.scratch.join("source")), &dump(&target));
    life.succeed(&["repo", "check", "--read-data-subset", "1/1"]);
}

/// A copy into a cold class, from a repository that lies in a directory, which has no classes.
#[test]
fn a_copy_writes_its_packs_to_the_class() {
    let Some(life) = Life::new("a copy into a cold storage class") else { return };
    let source = life.source();
    for arguments in [&["repo", "init"][..], &["backup", &source]] {
        let output = life.run_locally(arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let from = ["--from", "local", "--from-key-file", "key"];
    let run = |command: &[&str]| {
        let arguments: Vec<&str> = command.iter().copied().chain(from).chain(COLD).collect();
        life.succeed(&arguments)
    };
    run(&["repo", "init"]);
    run(&["repo", "copy"]);
    assert_only_data_is_cold(&life.place);
    life.succeed(&["repo", "check"]);
    let refused = life.run_locally(&["backup", &source, "--storage-class", "GLACIER"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

/// An object of a class, and another handle by way of a proxy.
struct Bench {
    place: Place,
    proxy: Proxy,
    direct: Arc<Remote>,
}

impl Bench {
    fn new(class: &str, skipped: &str) -> Option<Self> {
        let place = Place::new(Server::S3, skipped)?;
        let proxy = Proxy::start(&place.address);
        let direct = place.open_with(&place.address, Duration::from_secs(10), freezing(class));
        direct.put_data_if_absent(&name("packs/1"), &[Bytes::from("frozen")]).expect("an object");
        Some(Self { place, proxy, direct })
    }

    fn by_proxy(&self, patience: Duration) -> Arc<Remote> {
        self.place.open_by(&self.proxy.address(), patience)
    }
}

#[test]
fn what_can_be_read_at_once_is_never_asked_for() {
    for class in ["STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING"] {
        let Some(bench) = Bench::new(class, "storage classes that can be read at once") else { return };
        let storage = bench.by_proxy(Duration::from_secs(5));
        assert_eq!(storage.thaw(&name("packs/1"), Some(&REQUEST)).unwrap(), Thawing::Readable, "{class}");
        let methods: Vec<String> =
            bench.proxy.seen().iter().map(|(asked, _)| asked.method().to_owned()).collect();
        assert_eq!(methods, ["HEAD"]);
        assert_eq!(storage.get(&name("packs/1"), 10).unwrap(), b"frozen");
        assert_eq!(classes(&bench.place).first().map(|(_, class)| class.as_str()), Some(class));
    }
}

#[test]
fn a_frozen_object_is_told_and_one_that_is_missing_too() {
    let Some(bench) = Bench::new("DEEP_ARCHIVE", "the state of a frozen object") else { return };
    let storage = bench.by_proxy(Duration::from_secs(5));
    assert_eq!(storage.thaw(&name("packs/1"), None).unwrap(), Thawing::Frozen);
    let reads = [storage.get(&name("packs/1"), 10), storage.get_range(&name("packs/1"), 1, 2)];
    for read in reads {
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Frozen, "{error:?}");
        assert!(error.chain().join(": ").contains("packs/1"), "{error:?}");
    }
    for request in [None, Some(&REQUEST)] {
        let error = storage.thaw(&name("packs/2"), request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
    let traffic = storage.traffic().unwrap();
    assert_eq!(
        (traffic.requests.other, traffic.requests.get, traffic.requests.put),
        (3, 2, 0),
        "{traffic:?}"
    );
}

/// A lost answer to a creation is made good although what was created cannot be read.
#[test]
fn a_creation_of_which_the_answer_was_lost_is_not_repeated_in_a_cold_class() {
    let Some(bench) = Bench::new("GLACIER", "lost answers in a cold class") else { return };
    let options = freezing("GLACIER");
    let storage = bench.place.open_with(&bench.proxy.address(), Duration::from_secs(5), options);
    bench.proxy.obey(
        |asked| {
            if asked.method() == "PUT" && asked.number < 3 { Deed::Lose } else { Deed::Pass }
        },
    );
    storage.put_data_if_absent(&name("packs/2"), &[Bytes::from("again")]).unwrap();
    let taken = storage.put_data_if_absent(&name("packs/1"), &[Bytes::from("other bytes")]).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Exists);
}

#[test]
fn no_reply_to_a_request_is_taken_for_another() {
    let Some(bench) = Bench::new("GLACIER", "hostile replies to requests to thaw") else { return };
    let deeds = [
        Deed::Delay(Duration::from_millis(2)),
        Deed::CutRequest(0),
        Deed::CutRequest(1000),
        Deed::Lose,
        Deed::DoAndSay(500),
        Deed::Say(500),
        Deed::Say(502),
        Deed::SayLater(503),
        Deed::SayLater(429),
        Deed::Say(403),
        Deed::Say(404),
        Deed::Say(400),
        Deed::Say(405),
        Deed::Say(409),
        Deed::Say(501),
        Deed::SuccessWithError,
        Deed::SuccessWithPage,
    ];
    let (mut succeeded, mut failed) = (0, 0);
    for (number, (deed, at)) in
        deeds.into_iter().flat_map(|deed| [(deed, Some(0)), (deed, Some(1)), (deed, None)]).enumerate()
    {
        let object = name(&format!("packs/hostile{number}"));
        bench.direct.put_data_if_absent(&object, &[Bytes::from("frozen")]).expect("an object");
        let patience = Duration::from_millis(if at.is_some() { 5000 } else { 20 });
        let storage = bench.by_proxy(patience);
        bench.proxy.obey(move |asked| match at {
            Some(at) if asked.number != at => Deed::Pass,
            _ => deed,
        });
        let outcome = storage.thaw(&object, Some(&REQUEST));
        bench.proxy.obey(|_| Deed::Pass);
        let state = bench.direct.thaw(&object, None).expect("a state");
        let case = format!("{deed:?} at {at:?}: {outcome:?}, and it is {state:?}");
        match outcome {
            Ok(Thawing::Frozen) => panic!("{case}"),
            // What the server knows of it depends on another test.
            Ok(_) => assert!(state != Thawing::Frozen, "{case}"),
            Err(error) => {
                failed += 1;
                let chain = error.chain().join(": ");
                assert!(chain.contains(object.as_str()), "{case}");
                assert!(
                    !chain.contains("secret") && !chain.contains('\n') && !chain.contains("Signature"),
                    "{case}"
                );
                let is_clear = match deed {
                    Deed::Say(404) => [ErrorKind::NotFound, ErrorKind::Failed].contains(&error.kind()),
                    Deed::Say(403) => error.kind() == ErrorKind::Denied,
                    _ => error.kind() != ErrorKind::Frozen,
                };
                assert!(is_clear, "{case}");
                continue;
            }
        }
        succeeded += 1;
    }
    println!("{succeeded} successes, {failed} errors");
    assert!(succeeded > 15 && failed > 15, "{succeeded} {failed}");
}

/// A server that compares signatures takes these for right. It knows no classes, and is said to know them.
#[test]
fn requests_are_signed_as_servers_expect() {
    let Some(place) = Place::new(Server::S3WithoutConditions, "signatures of requests to thaw") else {
        return;
    };
    let proxy = Proxy::start(&place.address);
    let storage = place.open_by(&proxy.address(), Duration::from_secs(5));
    storage.put_if_absent(&name("packs/1"), &[Bytes::from("x")]).expect("an object");
    assert_eq!(storage.thaw(&name("packs/1"), Some(&REQUEST)).unwrap(), Thawing::Readable);
    let missing = storage.thaw(&name("packs/2"), None).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    proxy.obey(|asked| if asked.method() == "HEAD" { Deed::SayCold } else { Deed::Pass });
    let refused = storage.thaw(&name("packs/1"), Some(&REQUEST)).unwrap_err();
    let seen = proxy.seen();
    assert!(seen.iter().any(|(asked, _)| asked.method() == "POST" && asked.target().ends_with("?restore")));
    println!("{refused:?}");
    assert!(
        refused.kind() != ErrorKind::Denied && !format!("{refused:?}").contains("Signature"),
        "{refused:?}"
    );
}
