//! Copies between places on one service that are opened by different credentials, by the program.
//!
//! What must hold: each request is signed by what opens its own place, whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::place::Place;
use crate::support::need::Server;
use crate::support::proxy::Proxy;
use crate::support::scratch::Scratch;

fn make_key(path: &Path) {
    std::fs::write(path, [9; 32]).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, permissions).unwrap();
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn source_and_target_on_one_service_have_credentials_of_their_own() {
    let Some(place) = Place::new(Server::S3, "two credentials of one service") else { return };
    let scratch = Scratch::new();
    let [key, secret] = ["key", "secret"].map(|name| scratch.join(name));
    make_key(&key);
    std::fs::write(&secret, "of-the-source\n").unwrap();
    let proxy = Proxy::start(&place.address);
    let [source, target, second] = ["from-here", "to-there", "to-there-2"].map(|name| place.beside(name));
    let program = |place: &Place| place.program_by(&proxy.address(), scratch.path(), &key);
    run(program(&source).args(["repo", "init"]));
    run(program(&source).arg("backup").arg(&key));
    run(program(&target).args(["repo", "init"]));
    run(program(&second).args(["repo", "init"]));
    let from = source.location(&proxy.address());
    let copy = || {
        let mut copy = program(&target);
        copy.args(["repo", "copy", "--from", &from, "--to", &second.location(&proxy.address())]);
        copy.arg("--from-key-file").arg(&key).env("PACKSTONE_FROM_AWS_ACCESS_KEY_ID", "SOURCEKEY");
        copy
    };
    // The secret of another key is not taken for its own.
    let refused = copy().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("is given in part only: set PACKSTONE_FROM_AWS_ACCESS_KEY_ID"), "{said}");
    proxy.obey(|_| crate::support::proxy::Deed::Pass);
    let printed = run(copy().env("PACKSTONE_FROM_AWS_SECRET_ACCESS_KEY_FILE", &secret));
    assert_eq!(printed.matches("1 snapshot copied").count(), 2, "{printed}");
    let mut met = BTreeSet::new();
    for (asked, _) in proxy.seen() {
        let signed = asked.head.header("authorization").unwrap();
        let id = signed.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        let is_of_source = asked.target().contains("from-here");
        met.insert((is_of_source, id.to_owned()));
    }
    let expected = [(false, "packstone".to_owned()), (true, "SOURCEKEY".to_owned())];
    assert_eq!(met, BTreeSet::from(expected));
}
