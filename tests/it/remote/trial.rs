//! A repository is made by the program: the storage is tried out first, and what is found is told.
//!
//! What must hold: where a repository would be lost nothing of it is made; who may not delete makes one all the same.

use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};

use packstone::storage::Storage;

use super::place::Place;
use crate::support::http::ask;
use crate::support::need::Server;
use crate::support::proxy::{Asked, Deed, Proxy};
use crate::support::scratch::Scratch;

/// A home with a key file, and a way to a place.
struct Bench {
    place: Place,
    proxy: Proxy,
    scratch: Scratch,
}

impl Bench {
    fn new(server: Server, headers: &[(&str, &str)]) -> Option<Self> {
        let place = Place::prepared(server, "trials before a repository is made", headers)?;
        let (proxy, scratch) = (Proxy::start(&place.address), Scratch::new());
        let bench = Self { place, proxy, scratch };
        std::fs::write(bench.key_file(), [7; 32]).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(bench.key_file(), permissions).unwrap();
        Some(bench)
    }

    fn key_file(&self) -> PathBuf {
        self.scratch.join("key")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.place.program_by(&self.proxy.address(), self.scratch.path(), &self.key_file());
        command.args(arguments).output().unwrap()
    }

    /// Makes a repository, which succeeds; gives what is printed.
    #[track_caller]
    fn made(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["repo", "init"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails to make one, with exit code 1; gives what is said.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["repo", "init"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Names of all objects in a bucket of S3, without the place's own beginning.
    fn names(&self) -> Vec<String> {
        let answer = ask(&self.place.address, &format!("GET /{}?list-type=2", self.place.bucket), &[], "");
        let text = String::from_utf8(answer.body).unwrap();
        let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.map(|key| key.splitn(3, '/').last().unwrap_or_default().to_owned()).collect()
    }
}

fn is_of_trial(asked: &Asked) -> bool {
    asked.target().contains("probe-")
}

#[test]
fn what_a_storage_does_is_told_when_a_repository_is_made() {
    let atomic =
        "The storage was tried; creation is atomic: any number of machines may back up and prune here.";
    let not_atomic = "The storage was tried; creation is not atomic: any number of machines may back up here, and one \
                      may prune, with --sole-pruner.";
    for (server, told) in
        [(Server::S3, atomic), (Server::S3WithoutConditions, not_atomic), (Server::Webdav, not_atomic)]
    {
        let Some(bench) = Bench::new(server, &[]) else { return };
        let printed = bench.made(&[]);
        assert_eq!(printed.lines().nth(3), Some(told), "{printed}");
        assert_eq!(printed.lines().count(), 4, "{printed}");
        let seen = bench.proxy.seen();
        let of_trial = seen.iter().filter(|(asked, _)| is_of_trial(asked)).count();
        println!("{server:?}: {of_trial} requests to try, {} in all", seen.len());
        assert!((8..=25).contains(&of_trial), "{seen:?}");
        let mut left = Vec::new();
        let visited = bench.place.open().strays(&["config", "keys"], &mut |stray| {
            left.push(String::from_utf8_lossy(&stray.path).into_owned());
            Ok(())
        });
        visited.unwrap();
        assert_eq!(left, [""; 0], "{server:?}");
        let again = bench.refused(&[]);
        assert!(again.contains("there is a repository at"), "{again}");
    }
}

#[test]
fn a_trial_is_silent_or_a_document_if_that_is_asked_for() {
    let Some(bench) = Bench::new(Server::S3, &[]) else { return };
    let printed = bench.made(&["--json"]);
    assert!(printed.ends_with(",\"atomic_create\":true,\"deletes\":true}\n"), "{printed}");
    let names = bench.names();
    assert!(names.iter().all(|name| !name.starts_with("probe-")), "{names:?}");
    let Some(bench) = Bench::new(Server::S3WithoutConditions, &[]) else { return };
    assert_eq!(bench.made(&["--quiet"]), "");
}

#[test]
fn who_may_not_delete_makes_a_repository_and_one_object_is_left() {
    // Deletes leave versions behind there.
    let headers = [("x-amz-bucket-object-lock-enabled", "true")];
    let Some(bench) = Bench::new(Server::S3, &headers) else { return };
    bench.proxy.obey(|asked| match asked.method() {
        "GET" | "HEAD" => Deed::Pass,
        "PUT" if asked.head.header("if-none-match") == Some("*") => Deed::Pass,
        _ => Deed::Say(403),
    });
    let printed = bench.made(&[]);
    let told = "It deletes nothing for who made the repository: backups need no delete, a prune needs another credential";
    assert!(printed.lines().nth(4).is_some_and(|line| line.starts_with(told)), "{printed}");
    let answer = ask(&bench.place.address, &format!("GET /{}?versions", bench.place.bucket), &[], "");
    let versions = String::from_utf8(answer.body).unwrap();
    let of_trial = versions.split("<Version>").filter(|version| version.contains("probe-")).count();
    assert_eq!(of_trial, 1, "{versions}");
    // It disturbs nobody.
    let checked = bench.run(&["repo", "check", "--read-data"]);
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
}

/// Making a repository fails with these words while requests of the trial meet this rule, and leaves none.
#[track_caller]
fn assert_refused(rule: impl Fn(&Asked) -> Deed + Send + Sync + 'static, arguments: &[&str], words: &[&str]) {
    let Some(bench) = Bench::new(Server::S3, &[]) else { return };
    bench.proxy.obey(move |asked| if asked.target().contains("probe-") { rule(asked) } else { Deed::Pass });
    let said = bench.refused(arguments);
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let names = bench.names();
    assert!(names.iter().all(|name| name.starts_with("probe-")), "{names:?}");
}

#[test]
fn where_a_repository_would_be_lost_none_is_made() {
    let hint = "hint: no repository was made; a bucket must be there already, and \"packstone -r ";
    let is_list = |asked: &Asked| asked.target().contains("list-type");
    let is_get = move |asked: &Asked| asked.method() == "GET" && !is_list(asked);
    let is_part = |asked: &Asked| asked.head.header("range").is_some_and(|range| range != "bytes=0-");
    let when = |is_met: bool, deed: Deed| if is_met { deed } else { Deed::Pass };
    let of_list = move |asked: &Asked| when(is_list(asked), Deed::AnotherName);
    assert_refused(of_list, &[], &["of 1000 bytes was put, and its folder is listed as empty", hint]);
    let of_gets = move |asked: &Asked| when(is_get(asked), Deed::AnotherName);
    assert_refused(of_gets, &[], &["what was put cannot be read", hint]);
    let of_whole = move |asked: &Asked| when(is_get(asked) && !is_part(asked), Deed::WrongByte);
    assert_refused(of_whole, &[], &["was put, and other bytes come back", hint]);
    let of_parts = move |asked: &Asked| when(is_part(asked), Deed::WrongByte);
    assert_refused(of_parts, &[], &["others come", hint]);
}

#[test]
fn a_storage_whose_creators_win_together_is_refused() {
    // On one connection they come one after the other, and each creates twice.
    let puts = AtomicUsize::new(0);
    let rule = move |asked: &Asked| match asked.method() {
        "PUT" => match puts.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Deed::Pass,
            number if number % 2 == 0 => Deed::SuccessWithTag,
            _ => Deed::Say(412),
        },
        _ => Deed::Pass,
    };
    let words = ["of those who came at the same time 4 succeeded", "conditional=off in the location"];
    assert_refused(rule, &["--connections", "1"], &words);
}

#[test]
fn who_may_not_put_is_told_what_is_needed() {
    let rule = |asked: &Asked| if asked.method() == "PUT" { Deed::Say(403) } else { Deed::Pass };
    assert_refused(rule, &[], &["cannot write object probe-", "must be let put, get and list"]);
}
