//! MongoDB, by transcripts: with what its tools are called, what they are given, what they write.
//!
//! What must hold: the played tools write what the real ones write, as their source has it; the password is in their
//! configuration and nowhere else.

use packstone::base::ErrorKind;
use packstone::source::engine::{Access, Container, Databases, Mongodb};
use packstone::source::{Engine, LoadOptions};

use super::{Fakes, deaf, load, password, read_all, said, whole};

/// A document of texts, and of one truth.
fn document(texts: &[(&str, &str)], is_end: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, text) in texts {
        let length = u32::try_from(text.len() + 1).expect("short");
        bytes.extend(
            [b"\x02", name.as_bytes(), b"\0", &length.to_le_bytes(), text.as_bytes(), b"\0"].concat(),
        );
    }
    bytes.extend([&b"\x08EOF\0"[..], &[u8::from(is_end)], b"\x12CRC\0\0\0\0\0\0\0\0\0", b"\0"].concat());
    let length = u32::try_from(bytes.len() + 4).expect("short");
    [&length.to_le_bytes()[..], &bytes].concat()
}

/// What mongodump writes of one collection.
fn dump_of(database: &str) -> Vec<u8> {
    let name = [("db", database), ("collection", "goods")];
    let end = [0xff; 4];
    [
        &[0x6d, 0xe2, 0x99, 0x81][..],
        &document(&[("version", "0.1"), ("server_version", "7.0.5")], false),
        &document(&[("db", database), ("collection", "goods"), ("metadata", "{}")], false),
        &end,
        &document(&name, false),
        &document(&[("name", "stone")], false),
        &end,
        &document(&name, true),
        &end,
    ]
    .concat()
}

/// Where what a dump says of itself ends.
fn begin_of(dump: &[u8]) -> usize {
    let end = dump.windows(4).position(|bytes| bytes == [0xff; 4]);
    end.expect("a terminator") + 4
}

/// Tools that are played: they keep their configuration and give or take a dump.
fn tools() -> Fakes {
    let fakes = Fakes::new();
    let configuration =
        r#"for part; do case $part in --config=*) cat "${part#*=}" >>"$HERE/configuration" ;; esac; done"#;
    let dump = r#"
        [ "$1" = --version ] && { echo "mongodump version: 100.9.4"; echo "git version: x"; exit 0; }
        CONFIGURATION
        cat "$HERE/dump""#;
    let restore = "CONFIGURATION\ncat >\"$HERE/restored\"";
    fakes.add("mongodump", &dump.replace("CONFIGURATION", configuration));
    fakes.add("mongorestore", &restore.replace("CONFIGURATION", configuration));
    std::fs::write(fakes.join("dump"), dump_of("shop")).expect("a dump");
    fakes
}

fn engine(access: Access) -> Mongodb {
    Mongodb {
        access: Access { user: Some("root".into()), ..access },
        databases: Databases::All,
        with_oplog: false,
        authentication_database: Some("admin".into()),
        options: vec!["--readPreference=secondary".into()],
    }
}

/// The calls, without the numbers of a process and of a file.
fn calls(fakes: &Fakes) -> Vec<String> {
    let plain = |call: String| match call.split_once("--config=/proc/") {
        Some((before, after)) => {
            let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{before}--config=FILE {rest}")
        }
        None => call,
    };
    fakes.calls().into_iter().map(plain).collect()
}

#[test]
fn the_tools_of_this_machine_get_their_password_by_a_file() {
    let fakes = tools();
    let mut engine = engine(Access {
        host: Some("db.example".into()),
        port: Some(27018),
        password: Some(password("s3cret \"word\"")),
        programs: Some(fakes.folder()),
        ..Access::default()
    });
    engine.with_oplog = true;
    let dumps = engine.dump(&deaf()).expect("dumps");
    assert_eq!(dumps.consistency, "one moment of all databases, by the log of changes (mongodump 100.9.4)");
    let dumps = whole(dumps);
    assert_eq!(dumps, [("all.mongodump".to_owned(), dump_of("shop"))]);
    let options = LoadOptions { may_replace: true, ..LoadOptions::default() };
    let (done, replaced) = load(&engine, &dumps, &options, &deaf()).expect("it is put back");
    assert_eq!(done, ["restore all databases from all.mongodump"]);
    let users = "all users and roles, if the dump has some: those that it lacks are removed";
    assert_eq!(replaced, ["the collections that the dump has", users]);
    assert_eq!(std::fs::read(fakes.join("restored")).expect("restored"), dump_of("shop"));
    let one = LoadOptions { databases: vec!["shop".into()], new_name: Some("a_b".into()), may_replace: true };
    let (done, replaced) = load(&engine, &dumps, &one, &deaf()).expect("it is put back");
    assert_eq!(done, ["restore the database shop as a_b from all.mongodump"]);
    assert_eq!(replaced, ["the collections of the database a_b that the dump has"]);

    let server = "--host=db.example --port=27018 --username=root --authenticationDatabase=admin --config=FILE --archive";
    assert_eq!(
        calls(&fakes),
        [
            "mongodump --version".to_owned(),
            format!("mongodump {server} --oplog --readPreference=secondary"),
            format!("mongorestore {server} --stopOnError --drop --oplogReplay"),
            format!(
                "mongorestore {server} --stopOnError --drop --nsInclude=shop.\\* --nsFrom=shop.\\* \
             --nsTo=a_b.\\*"
            ),
        ]
    );
    let configuration = std::fs::read_to_string(fakes.join("configuration")).expect("configurations");
    assert_eq!(configuration, "password: \"s3cret \\\"word\\\"\"".repeat(3));
    assert!(fakes.calls().iter().all(|call| !call.contains("s3cret")));
}

#[test]
fn the_tools_of_a_container_get_their_password_by_a_pipe() {
    for own in [false, true] {
        let fakes = tools();
        fakes.add_docker(&format!("PATH={}:$PATH MONGO_PASSWORD=\"it's s3cret\"", fakes.folder()));
        let container = Container { name: "mongo".into(), program: fakes.folder() + "/docker" };
        let mut engine = engine(Access {
            container: Some(container),
            password: (!own).then(|| password("it's s3cret")),
            container_password: own.then(|| "MONGO_PASSWORD".into()),
            ..Access::default()
        });
        engine.databases = Databases::Named(vec!["shop".into()]);
        let dumps = whole(engine.dump(&deaf()).expect("dumps"));
        assert_eq!(dumps, [("shop.mongodump".to_owned(), dump_of("shop"))]);
        let options = LoadOptions { may_replace: true, ..LoadOptions::default() };
        load(&engine, &dumps, &options, &deaf()).expect("it is put back");
        assert_eq!(std::fs::read(fakes.join("restored")).expect("restored"), dump_of("shop"));

        let (variable, script, line) = if own {
            let script = r#"LINE=$(printf %s "${MONGO_PASSWORD?}" | sed "s/'/''/g")
exec 3<<END
password: '$LINE'
END
unset LINE; exec "$@""#;
            ("", script, "password: 'it''s s3cret'\n")
        } else {
            let script = r#"exec 3<<END
$PACKSTONE_MONGODB_CONFIG
END
unset PACKSTONE_MONGODB_CONFIG; exec "$@""#;
            (" --env PACKSTONE_MONGODB_CONFIG", script, "password: \"it's s3cret\"\n")
        };
        let calls: Vec<String> =
            fakes.calls().into_iter().filter(|call| call.starts_with("docker")).collect();
        let quoted = std::process::Command::new("bash").args(["-c", "printf %q \"$0\"", script]).output();
        let quoted = String::from_utf8(quoted.expect("bash").stdout).expect("text");
        let server = "--username=root --authenticationDatabase=admin --config=/dev/fd/3 --archive";
        assert_eq!(
            calls,
            [
                "docker exec -i --env LC_ALL=C mongo mongodump --version".to_owned(),
                format!(
                    "docker exec -i --env LC_ALL=C{variable} mongo sh -c {quoted} sh mongodump {server} --db=shop \
                 --readPreference=secondary"
                ),
                format!(
                    "docker exec -i --env LC_ALL=C{variable} mongo sh -c {quoted} sh mongorestore {server} \
                 --stopOnError --drop --nsInclude=shop.\\*"
                ),
            ]
        );
        let configuration = std::fs::read_to_string(fakes.join("configuration")).expect("configurations");
        assert_eq!(configuration, line.repeat(2));
        assert!(fakes.calls().iter().all(|call| !call.contains("s3cret")));
    }
}

#[test]
fn half_a_dump_and_refusals_of_mongodb_are_said() {
    let fakes = tools();
    let here = Access { programs: Some(fakes.folder()), ..Access::default() };
    let engine = engine(here);
    let all = dump_of("shop");
    for (bytes, wanted) in [
        (&all[..all.len() - 4], "the output of mongodump breaks off: it does not end with a terminator"),
        (&all[..all.len() / 2], "the output of mongodump breaks off: it does not end with a terminator"),
        // Exactly where a part ends.
        (
            &all[..begin_of(&all)],
            "the output of mongodump breaks off: the collection shop.goods does not end",
        ),
        (&b""[..], "mongodump succeeded, but wrote nothing"),
        (&b"no dump"[..], "the output of mongodump is damaged: it does not begin as mongodump does"),
    ] {
        std::fs::write(fakes.join("dump"), bytes).expect("a dump");
        let failed = read_all(engine.dump(&deaf()).expect("dumps")).remove(0).1.expect_err("half a dump");
        assert_eq!(said(&failed), format!("cannot dump the databases\n{wanted}"));
    }
    let failing = r#"[ "$1" = --version ] && { echo "mongodump version: 100.9.4"; exit 0; }
        echo "Failed: can't create session: could not connect to server: auth error: sasl conversation error" >&2; exit 1"#;
    fakes.add("mongodump", failing);
    let failed = read_all(engine.dump(&deaf()).expect("dumps")).remove(0).1.expect_err("refused");
    assert!(said(&failed).contains("the server does not accept this user or password"), "{failed:?}");

    let dumps = vec![("all.mongodump".to_owned(), all)];
    let refused =
        load(&engine, &dumps, &LoadOptions::default(), &deaf()).expect_err("not without being allowed to");
    assert_eq!(refused.kind(), ErrorKind::Exists);
    assert!(!fakes.join("restored").exists());
    let renamed = LoadOptions { new_name: Some("x".into()), ..LoadOptions::default() };
    assert_eq!(load(&engine, &dumps, &renamed, &deaf()).expect_err("which one").kind(), ErrorKind::Usage);
    let dotted =
        LoadOptions { databases: vec!["shop".into()], new_name: Some("a.b".into()), may_replace: true };
    let refused = load(&engine, &dumps, &dotted, &deaf()).expect_err("no name");
    assert!(said(&refused).starts_with("\"a.b\" is no name of a MongoDB database"), "{refused:?}");
}
