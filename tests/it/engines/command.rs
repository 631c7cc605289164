//! Any command: what it writes, what takes it back.

use packstone::base::ErrorKind;
use packstone::source::engine::{AnyCommand, Container};
use packstone::source::{Engine, LoadOptions};

use super::{Fakes, deaf, listener, load, password, read_all, said, whole};

fn command(parts: &[&str]) -> AnyCommand {
    AnyCommand {
        command: parts.iter().map(|part| (*part).to_owned()).collect(),
        file_name: "images/app.tar".into(),
        environment: Vec::new(),
        container: None,
        run_as: None,
        ends_with: None,
        restore_command: Vec::new(),
    }
}

#[test]
fn what_a_command_writes_is_given_back_to_another() {
    let fakes = Fakes::new();
    fakes.add("save", r#"echo "saving as $WHO" >&2; printf 'an image\nof %s\nend of image\n\n' "$TOKEN""#);
    fakes.add("restore", r#"cat >"$HERE/restored""#);
    let (save, restore) = (fakes.folder() + "/save", fakes.folder() + "/restore");
    let mut engine = command(&[&save, "--all", "a b"]);
    engine.environment = vec![("WHO".into(), password("me")), ("TOKEN".into(), password("s3cret-token"))];
    engine.ends_with = Some("end of image".into());
    engine.restore_command = vec![restore, "--yes".into()];
    assert_eq!(engine.kind(), "command");
    let (told, lines) = listener();
    let dumps = engine.dump(&told).expect("dumps");
    assert_eq!(dumps.consistency, format!("as {save} makes it"));
    let dumps = whole(dumps);
    assert_eq!(
        dumps,
        [("images/app.tar".to_owned(), b"an image\nof s3cret-token\nend of image\n\n".to_vec())]
    );
    assert_eq!(*lines.lock().unwrap(), ["saving as me"]);

    let options = LoadOptions { may_replace: true, ..LoadOptions::default() };
    let (done, replaced) = load(&engine, &dumps, &options, &told).expect("it is taken back");
    assert_eq!(done, [format!("give images/app.tar to {}/restore", fakes.folder())]);
    assert_eq!(replaced, [format!("whatever {}/restore replaces", fakes.folder())]);
    assert_eq!(std::fs::read(fakes.join("restored")).unwrap(), dumps[0].1);
    assert_eq!(fakes.calls(), [r"save --all a\ b", "restore --yes"]);

    std::fs::remove_file(fakes.join("restored")).unwrap();
    let refused =
        load(&engine, &dumps, &LoadOptions::default(), &told).expect_err("not without being allowed to");
    assert_eq!(refused.kind(), ErrorKind::Exists);
    assert!(!fakes.join("restored").exists());
}

#[test]
fn half_of_what_a_command_writes_is_nothing() {
    let fakes = Fakes::new();
    fakes
        .add("half", "printf 'an image'")
        .add("none", "exit 0")
        .add("fails", "printf 'end of image'; exit 9");
    for (name, wanted) in [
        ("half", "the output of HERE/half breaks off: it does not end with \"end of image\""),
        ("none", "HERE/none succeeded, but wrote nothing"),
        ("fails", "HERE/fails exited with status 9"),
        ("absent", "there is no program HERE/absent on this machine"),
    ] {
        let engine = AnyCommand {
            ends_with: Some("end of image".into()),
            ..command(&[&format!("{}/{name}", fakes.folder())])
        };
        let dumps = read_all(engine.dump(&deaf()).expect("a command"));
        let error = dumps[0].1.as_ref().expect_err("not whole");
        let text = said(error).replace(&fakes.folder(), "HERE");
        assert_eq!(text, format!("cannot take the output of HERE/{name}\n{wanted}"));
    }
}

#[test]
fn a_command_runs_in_a_container() {
    let fakes = Fakes::new();
    fakes.add_docker("HOME=/nowhere");
    let mut engine = command(&["printenv", "TOKEN"]);
    engine.environment = vec![("TOKEN".into(), password("s3cret-token"))];
    engine.container = Some(Container { name: "gitea".into(), program: fakes.folder() + "/docker" });
    engine.run_as = Some("git".into());
    let dumps = whole(engine.dump(&deaf()).expect("dumps"));
    assert_eq!(dumps[0].1, b"s3cret-token\n");
    assert_eq!(fakes.calls(), ["docker exec -i -u git --env TOKEN gitea printenv TOKEN"]);
    engine.command = vec!["no-such-program".into()];
    let failed = read_all(engine.dump(&deaf()).expect("dumps")).remove(0).1.expect_err("no program");
    assert!(
        said(&failed).contains("no-such-program in the container gitea exited with status 127"),
        "{failed:?}"
    );
}
