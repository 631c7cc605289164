//! That a server is back is not believed because it has keys: it must have read what was put in place.
//!
//! What must hold: a server that has read files of its own keeps its data, or they are kept beside the new ones; what it
//! would not read is refused before anything is changed; one of which nothing was known is put back in one go.

use packstone::base::ErrorKind;
use packstone::source::engine::Redis;
use packstone::source::engine::redis::Method;
use packstone::source::{Engine, LoadOptions, StoredDump};

use super::{Server, dump, engine, fake};
use crate::engines::kept::{Kept, listening, printing, replacing};
use crate::engines::said;

const APPENDING: &str = "appendonly yes";

/// A server with one key, and what was dumped of it before that was changed.
fn begun(lines: &str, method: Method) -> Option<(Server, Redis, Kept)> {
    let server = Server::start(lines, "proofs that data of Redis are back")?;
    assert_eq!(server.ask(&["SET", "of", "the-dump"]), "OK");
    let engine = engine(&server, method);
    let kept = dump(&engine).expect("a dump");
    assert_eq!(server.ask(&["SET", "of", "today"]), "OK");
    Some((server, engine, kept))
}

fn start(server: &Server) {
    let words = server.start_command();
    assert!(std::process::Command::new(&words[0]).args(&words[1..]).status().expect("it runs").success());
    server.wait(true);
}

fn left_in(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.data()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    names.filter(|name| name.contains("packstone")).collect()
}

#[test]
fn a_server_that_hides_its_configuration_is_asked_otherwise() {
    let hidden = format!("{APPENDING}\nrename-command CONFIG \"\"");
    let Some((server, engine, kept)) = begun(&hidden, Method::Stream) else { return };
    kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(server.ask(&["GET", "of"]), "the-dump");
    assert_eq!(left_in(&server), [""; 0]);
    // Where it has its files in a place that it does not tell, it has not read the new ones.
    for line in ["appenddirname elsewhere", "appendfilename other.aof"] {
        let Some((server, engine, kept)) = begun(&format!("{hidden}\n{line}"), Method::Stream) else {
            return;
        };
        let error = kept.load(&engine, &replacing()).expect_err("it has read its own");
        assert!(said(&error).contains("the server has read append-only files of"), "{}", said(&error));
        assert_eq!(server.ask(&["GET", "of"]), "today");
        assert_eq!(left_in(&server), [""; 0]);
    }
}

#[test]
fn append_only_files_that_the_server_would_not_read_are_refused() {
    let Some((_first, _, kept)) = begun(APPENDING, Method::AppendOnly) else { return };
    for (line, wanted) in [
        ("appenddirname elsewhere", "appenddirname is \"elsewhere\""),
        ("appendfilename other.aof", "appendfilename is \"other.aof\""),
        ("", "older than version 7"),
    ] {
        let Some(server) = Server::start(&format!("{APPENDING}\n{line}"), "other names") else { return };
        assert_eq!(server.ask(&["SET", "of", "today"]), "OK");
        let process = server.ask(&["INFO", "server"]);
        let mut engine = engine(&server, Method::AppendOnly);
        if line.is_empty() {
            let older = r#"redis-cli "$@" | sed 's/^redis_version:7/redis_version:6/'"#;
            engine.access.programs = Some(fake(server.folder(), older));
        }
        let error = kept.load(&engine, &replacing()).expect_err("it reads others");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(said(&error).contains(wanted), "{}", said(&error));
        assert_eq!(server.ask(&["GET", "of"]), "today");
        let of = |text: &str| text.lines().find(|line| line.starts_with("run_id")).map(str::to_owned);
        assert_eq!(of(&server.ask(&["INFO", "server"])), of(&process), "it was never stopped");
    }
}

#[test]
fn the_single_file_of_an_older_server_becomes_the_first_of_many() {
    let Some((server, engine, mut kept)) = begun(APPENDING, Method::AppendOnly) else { return };
    let bytes = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$2\r\nof\r\n$5\r\nredis\r\n".to_vec();
    let stored = StoredDump { name: "appendonly.aof".into(), ..kept.dumps[0].0.clone() };
    kept.dumps = vec![(stored, bytes)];
    kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(server.ask(&["GET", "of"]), "redis");
    assert_eq!(left_in(&server), [""; 0]);
}

#[test]
fn a_server_that_something_else_starts_again_is_not_back() {
    for lines in ["", APPENDING] {
        let Some((server, engine, kept)) = begun(lines, Method::Stream) else { return };
        crate::engines::until(|| server.ask(&["SAVE"]) == "OK");
        let plan = engine.load(&kept.stored(), &replacing(), &printing()).expect("a plan");
        let mut error = None;
        for (index, step) in plan.steps.into_iter().enumerate() {
            let bytes = step.dump.as_deref().map(|name| kept.bytes(name)).unwrap_or_default();
            let mut feed = |writer: &mut dyn std::io::Write| {
                writer.write_all(bytes).expect("written");
                Ok(())
            };
            error = (step.run)(&mut feed).err();
            if index == 0 {
                // As systemd and docker do.
                start(&server);
            }
        }
        let error = error.expect("it runs already");
        assert!(said(&error).contains("something else has started it again"), "{}", said(&error));
        assert!(said(&error).contains("in their place again, and the server runs"), "{}", said(&error));
        assert_eq!(server.ask(&["GET", "of"]), "today");
        assert_eq!(left_in(&server), [""; 0]);
    }
}

#[test]
fn the_folder_that_a_server_names_must_be_its_own() {
    let Some((server, mut engine, kept)) = begun("", Method::Stream) else { return };
    engine.folder = None;
    // As in a container, where it is the first process and its folder is another one.
    let contained = r#"case "$*" in
        *"INFO server") redis-cli "$@" | sed 's/^process_id:.*/process_id:1/' ;;
        *) exec redis-cli "$@" ;;
    esac"#;
    let programs = Some(fake(server.folder(), contained));
    let mut there = engine.clone();
    there.access.programs = programs;
    let error = kept.load(&there, &replacing()).expect_err("it is elsewhere");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(said(&error).contains("must be named (folder)"), "{}", said(&error));
    assert_eq!(server.ask(&["GET", "of"]), "today");
    kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(server.ask(&["GET", "of"]), "the-dump");
}

#[test]
fn a_server_that_has_read_other_keys_is_not_believed() {
    let Some((server, mut engine, kept)) = begun("", Method::Stream) else { return };
    assert_eq!(server.ask(&["SET", "more", "x"]), "OK");
    crate::engines::until(|| server.ask(&["SAVE"]) == "OK");
    let (rdb, other) = (server.data().join("dump.rdb"), server.folder().join("other.rdb"));
    std::fs::copy(&rdb, &other).expect("copied");
    let script =
        format!("cp '{}' '{}' && redis-server '{}'", other.display(), rdb.display(), engine.start_command[1]);
    engine.start_command = ["sh", "-c", &script].map(str::to_owned).into();
    let (listener, told) = listening();
    let plan = engine.load(&kept.stored(), &replacing(), &listener).expect("a plan");
    for step in plan.steps {
        let bytes = step.dump.as_deref().map(|name| kept.bytes(name)).unwrap_or_default();
        let mut feed = |writer: &mut dyn std::io::Write| {
            writer.write_all(bytes).expect("written");
            Ok(())
        };
        (step.run)(&mut feed).expect("a step");
    }
    let told = told.lock().expect("no panic").join("\n");
    assert!(told.contains("cannot be told: it has read 2 keys, and the RDB file begins with 1"), "{told}");
    assert!(told.contains("the old data are kept"), "{told}");
    assert_eq!(left_in(&server), ["dump.rdb.packstone-old"]);
}

#[test]
fn a_server_that_stood_still_and_reads_append_only_files_gets_them_in_one_go() {
    for line in ["", "appenddirname elsewhere\nappendfilename other.aof"] {
        let Some((server, engine, kept)) = begun(&format!("{APPENDING}\n{line}"), Method::Stream) else {
            return;
        };
        // It has data of its own, of which nobody could know.
        server.kill();
        let error = kept.load(&engine, &LoadOptions::default()).expect_err("its data would be replaced");
        assert_eq!(error.kind(), ErrorKind::Exists, "{}", said(&error));
        assert!(!server.answers(), "it stood still before");
        start(&server);
        assert_eq!(server.ask(&["GET", "of"]), "today");
        server.kill();
        kept.load(&engine, &replacing()).expect("loaded");
        assert_eq!(server.ask(&["GET", "of"]), "the-dump");
        assert_eq!(left_in(&server), [""; 0]);
        // And from nothing.
        server.kill();
        std::fs::remove_dir_all(server.data()).expect("removed");
        std::fs::create_dir(server.data()).expect("a folder");
        kept.load(&engine, &LoadOptions::default()).expect("loaded");
        assert_eq!(server.ask(&["GET", "of"]), "the-dump");
        assert_eq!(server.ask(&["SET", "later", "x"]), "OK");
        server.ask(&["SHUTDOWN"]);
        server.wait(false);
        start(&server);
        assert_eq!(
            (server.ask(&["GET", "of"]), server.ask(&["GET", "later"])),
            ("the-dump".into(), "x".into())
        );
        assert_eq!(left_in(&server), [""; 0]);
        assert!(!server.data().join("dump.rdb").exists());
    }
}

#[test]
fn keys_that_have_expired_and_those_of_other_databases_are_known() {
    let Some(server) = Server::start("", "keys of Redis that expire") else { return };
    let engine = engine(&server, Method::Stream);
    for databases in [["0", "0"], ["0", "5"]] {
        assert_eq!(server.ask(&["FLUSHALL"]), "OK");
        for (database, name) in databases.iter().zip(["of", "other"]) {
            assert_eq!(server.ask(&["-n", database, "SET", name, "the-dump"]), "OK");
        }
        assert_eq!(server.ask(&["SET", "brief", "x", "PX", "900"]), "OK");
        let kept = dump(&engine).expect("a dump");
        crate::engines::until(|| server.ask(&["EXISTS", "brief"]) == "0");
        kept.load(&engine, &replacing()).expect("loaded");
        let found: Vec<_> = databases
            .iter()
            .zip(["of", "other"])
            .map(|(database, name)| server.ask(&["-n", database, "GET", name]))
            .collect();
        assert_eq!(found, ["the-dump", "the-dump"]);
        assert_eq!(left_in(&server), [""; 0]);
    }
}
