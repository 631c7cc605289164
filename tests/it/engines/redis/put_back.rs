//! What becomes of a server whose data could not be put back: it has what it had.
//!
//! What must hold: whatever step fails, and if everything is to end in the middle, the old data are in their place and
//! the server runs; what an earlier attempt set aside is never removed.

use std::io::Write;

use packstone::base::{Error, ErrorKind, Result};
use packstone::source::engine::Redis;
use packstone::source::engine::redis::Method;
use packstone::source::{Engine, LoadPlan};

use super::{Server, dump, engine};
use crate::engines::kept::{Kept, listening, printing, replacing};

const APPENDING: &str = "appendonly yes";

/// A server with one key, what was dumped of it before, and what puts that back.
fn begun(lines: &str, method: Method) -> Option<(Server, Redis, Kept)> {
    let server = Server::start(lines, "data of Redis put back")?;
    assert_eq!(server.ask(&["SET", "of", "the-dump"]), "OK");
    let engine = engine(&server, method);
    let kept = dump(&engine).expect("a dump");
    assert_eq!(server.ask(&["SET", "of", "today"]), "OK");
    // The process that gave the dump may not be gone yet.
    crate::engines::until(|| server.ask(&["SAVE"]) == "OK");
    Some((server, engine, kept))
}

fn names_in(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.data()).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// Does the steps up to one, which is given only so many bytes of its dump.
fn break_off(plan: LoadPlan, kept: &Kept, number: usize, bytes: usize) -> Result<()> {
    for (index, step) in plan.steps.into_iter().enumerate() {
        let dump = step.dump.as_deref().map(|name| kept.bytes(name)).unwrap_or_default();
        let mut feed = |writer: &mut dyn Write| {
            let count = if index == number { bytes.min(dump.len()) } else { dump.len() };
            writer.write_all(&dump[..count]).map_err(|cause| Error::system("cannot feed", cause))?;
            if index == number {
                Err(Error::new(ErrorKind::Damaged, "the repository is damaged"))
            } else {
                Ok(())
            }
        };
        println!("  {}", step.what);
        (step.run)(&mut feed)?;
        if index == number {
            break;
        }
    }
    Ok(())
}

fn has_what_it_had(server: &Server, before: &[String]) {
    assert_eq!(server.ask(&["GET", "of"]), "today");
    assert_eq!(names_in(server), before);
}

#[test]
fn a_step_that_fails_leaves_the_server_as_it_was() {
    for (lines, method, steps) in [
        ("", Method::Stream, [1].as_slice()),
        (APPENDING, Method::Stream, &[2]),
        (APPENDING, Method::AppendOnly, &[2, 3, 4]),
    ] {
        let Some((server, engine, kept)) = begun(lines, method) else { return };
        let before = names_in(&server);
        for step in steps {
            let plan = engine.load(&kept.stored(), &replacing(), &printing()).expect("a plan");
            let error = break_off(plan, &kept, *step, 30).expect_err("it breaks off");
            let text = error.chain().join(": ");
            assert!(text.contains("in their place again, and the server runs"), "{text}");
            assert!(text.contains("the repository is damaged"), "{text}");
            has_what_it_had(&server, &before);
        }
        kept.load(&engine, &replacing()).expect("loaded");
        assert_eq!(server.ask(&["GET", "of"]), "the-dump");
        assert!(!names_in(&server).iter().any(|name| name.contains("packstone")), "{:?}", names_in(&server));
    }
}

#[test]
fn a_plan_that_ends_in_the_middle_leaves_the_server_as_it_was() {
    let Some((server, engine, kept)) = begun(APPENDING, Method::Stream) else { return };
    let before = names_in(&server);
    let (listener, told) = listening();
    let mut plan = engine.load(&kept.stored(), &replacing(), &listener).expect("a plan");
    let rest = plan.steps.split_off(2);
    for step in plan.steps {
        (step.run)(&mut |_| Ok(())).expect("a step");
    }
    assert!(!server.answers());
    assert_ne!(names_in(&server), before);
    // As when somebody presses Ctrl-C.
    listener.stops().stop_all();
    drop(rest);
    has_what_it_had(&server, &before);
    let told = told.lock().expect("no panic").join("\n");
    assert!(told.contains("in their place again, and the server runs"), "{told}");
}

#[test]
fn a_server_that_does_not_start_with_the_new_data_gets_the_old_ones() {
    let Some((server, mut engine, kept)) = begun("", Method::Stream) else { return };
    let before = names_in(&server);
    // Says at once whether it starts, as systemd does.
    let script = format!(
        "redis-check-rdb '{}' && exec redis-server '{}'",
        server.data().join("dump.rdb").display(),
        engine.start_command[1]
    );
    engine.start_command = ["sh", "-c", &script].map(str::to_owned).into();
    let mut broken = Kept { consistency: String::new(), problems: Vec::new(), dumps: kept.dumps.clone() };
    let bytes = &mut broken.dumps[0].1;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    let error = broken.load(&engine, &replacing()).expect_err("the server refuses it");
    let text = error.chain().join(": ");
    assert!(text.contains("in their place again, and the server runs"), "{text}");
    has_what_it_had(&server, &before);
}

#[test]
fn what_an_earlier_attempt_set_aside_is_kept() {
    for (lines, name) in [("", "dump.rdb.packstone-old"), (APPENDING, "appendonlydir.packstone-old")] {
        let Some((server, engine, kept)) = begun(lines, Method::Stream) else { return };
        // As one that was killed leaves it.
        std::fs::create_dir(server.data().join(name)).expect("a folder");
        std::fs::write(server.data().join(name).join("precious"), "x").expect("written");
        let (listener, told) = listening();
        let plan = engine.load(&kept.stored(), &replacing(), &listener).expect("a plan");
        let error = break_off(plan, &kept, usize::from(!lines.is_empty()) + 1, 0).expect_err("it breaks off");
        println!("{:?}", error.chain());
        let plan = engine.load(&kept.stored(), &replacing(), &listener).expect("a plan");
        break_off(plan, &kept, usize::MAX, 0).expect("loaded");
        assert_eq!(server.ask(&["GET", "of"]), "the-dump");
        assert_eq!(std::fs::read(server.data().join(name).join("precious")).expect("kept"), b"x");
        let told = told.lock().expect("no panic").join("\n");
        assert!(told.contains("kept, as an earlier attempt set it aside"), "{told}");
        let left: Vec<_> = names_in(&server).into_iter().filter(|name| name.contains("packstone")).collect();
        assert_eq!(left, [name]);
    }
}

#[test]
fn a_server_that_does_not_stop_goes_on_as_it_was() {
    let Some((server, mut engine, kept)) = begun("", Method::Stream) else { return };
    let before = names_in(&server);
    engine.stop_command = vec!["false".into()];
    let error = kept.load(&engine, &replacing()).expect_err("it does not stop");
    let text = error.chain().join(": ");
    assert!(text.contains("nothing was changed") && text.contains("cannot stop the server"), "{text}");
    assert_eq!(error.kind(), ErrorKind::Failed);
    has_what_it_had(&server, &before);
    // What cannot be reached may run: nothing is done.
    let (mut lost, wrong) = (engine.clone(), engine);
    lost.access.socket = None;
    lost.access.host = Some("name.invalid".into());
    for engine in [lost, wrong] {
        kept.load(&engine, &replacing()).expect_err("it may run");
        has_what_it_had(&server, &before);
    }
}

#[test]
fn if_even_the_old_data_cannot_be_put_back_it_is_said_where_they_are() {
    let Some((server, mut engine, kept)) = begun("", Method::Stream) else { return };
    // It stops once, and never again; and it does not start.
    let once = server.folder().join("once");
    let stop = format!(
        "[ ! -e '{0}' ] && touch '{0}' && redis-cli -s '{1}' SHUTDOWN NOSAVE",
        once.display(),
        server.socket()
    );
    engine.stop_command = ["sh", "-c", &stop].map(str::to_owned).into();
    let start = engine.start_command.clone();
    engine.start_command = vec!["false".into()];
    let error = kept.load(&engine, &replacing()).expect_err("it does not start");
    let text = error.chain().join(": ");
    assert!(text.contains("the old data are in their place again, but the server does not run"), "{text}");
    // One that runs with the new data and cannot be stopped keeps them, and the old ones stay aside.
    assert!(std::process::Command::new(&start[0]).args(&start[1..]).status().expect("runs").success());
    server.wait(true);
    assert_eq!(server.ask(&["GET", "of"]), "today");
    std::fs::remove_file(&once).expect("removed");
    let lost = server.folder().join("lost");
    let script = format!(
        "mv '{}' '{}' && exec redis-server '{}'",
        server.data().join("dump.rdb").display(),
        lost.display(),
        start[1]
    );
    engine.start_command = ["sh", "-c", &script].map(str::to_owned).into();
    engine.stop_command[2].push_str(" || exit 1");
    let error = kept.load(&engine, &replacing()).expect_err("it is back without any key");
    let text = error.chain().join(": ");
    assert!(text.contains("could not be put back") && text.contains("dump.rdb.packstone-old"), "{text}");
    assert!(server.data().join("dump.rdb.packstone-old").exists());
}
