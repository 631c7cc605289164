//! Redis under a client that writes all the time, by all three methods, and everything that goes wrong on the way.
//!
//! What must hold: money only moves between accounts, in transactions that note each move; so of whatever moment a dump
//! is, the sum is zero and the notes are as many as the counter says.

mod played;
mod proven;
mod put_back;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use packstone::base::ErrorKind;
use packstone::source::engine::redis::Method;
use packstone::source::engine::{Access, Password, Redis};
use zeroize::Zeroizing;

use super::kept::{Kept, dump, keep_while, printing, replacing};
use crate::support::need::has_program;
use crate::support::servers::redis::Redis as Server;

const FILL: &str = "for i = 1, 30000 do redis.call('SET', 'filling:' .. i, string.rep(i % 10, 300)) end";
const CHECK: &str = "local sum = 0; for i = 0, 9 do sum = sum + tonumber(redis.call('GET', 'account:' .. i) or 0) end
    return {sum, redis.call('LLEN', 'notes') - tonumber(redis.call('GET', 'moves') or 0), redis.call('LLEN', 'notes')}";

fn server(lines: &str) -> Option<Server> {
    let server = Server::start(lines, "dumps of Redis")?;
    assert_eq!(server.ask(&["EVAL", FILL, "0"]), "");
    Some(server)
}

fn engine(server: &Server, method: Method) -> Redis {
    let password = server.password.clone().map(|text| Password::new(Zeroizing::new(text)));
    let access = Access { socket: Some(server.socket()), password, ..Access::default() };
    let stop_command = ["redis-cli", "SHUTDOWN", "NOSAVE"].map(str::to_owned).into();
    let folder = Some(server.data().display().to_string());
    Redis { access, tls: None, method, folder, stop_command, start_command: server.start_command() }
}

/// Moves money until it is dropped.
struct Writer(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Writer {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let mut child =
            server.client().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("redis-cli runs");
        let thread = std::thread::spawn(move || {
            let mut input = child.stdin.take().expect("an input");
            for count in 0_u64.. {
                let (giver, taker, sum) = (count * 7 % 10, count * 3 % 10, count % 97);
                let move_text = format!(
                    "MULTI\nDECRBY account:{giver} {sum}\nINCRBY account:{taker} {sum}\nINCR moves\n\
                     RPUSH notes {giver}-{taker}-{sum}\nEXEC\n"
                );
                if stopping.load(Ordering::Relaxed) || input.write_all(move_text.as_bytes()).is_err() {
                    break;
                }
            }
            drop(input);
            drop(child.kill());
            child.wait().expect("it ends");
        });
        super::until(|| server.ask(&["EXISTS", "notes"]) == "1");
        Self(stop, Some(thread))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().expect("a thread").join().expect("no panic");
    }
}

/// The moves that a server knows of; panics unless its data are of one moment.
fn moves_of(server: &Server) -> u64 {
    let told = server.ask(&["EVAL", CHECK, "0"]);
    let numbers: Vec<i64> = told.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(numbers[..2], [0, 0], "{told}");
    u64::try_from(numbers[2]).expect("a count")
}

/// Dumps under a writer, destroys everything, and puts it back.
fn round(server: &Server, engine: &Redis) {
    let writer = Writer::start(server);
    let before = server.ask(&["LLEN", "notes"]).parse::<u64>().expect("a number");
    let dumps = packstone::source::Engine::dump(engine, &printing()).expect("dumps");
    let moves = || server.ask(&["GET", "moves"]).parse::<u64>().expect("a number");
    let mut during = 0;
    let kept = keep_while(dumps, || {
        let seen = moves();
        super::until(|| moves() > seen);
        during += moves() - seen;
    });
    let kept = kept.expect("a dump");
    drop(writer);
    println!("{during} moves during the dump");
    let sizes: Vec<_> = kept.dumps.iter().map(|(stored, bytes)| (&stored.name, bytes.len())).collect();
    println!("{}: {sizes:?}", kept.consistency);
    let after = moves_of(server);
    let error = kept.load(engine, &packstone::source::LoadOptions::default()).expect_err("there are keys");
    assert_eq!(error.kind(), ErrorKind::Exists, "{error:?}");
    server.ask(&["FLUSHALL"]);
    let replaced = kept.load(engine, &replacing()).expect("loaded");
    println!("  replaced: {replaced:?}");
    let moves = moves_of(server);
    assert!(before <= moves && moves <= after, "{before} {moves} {after}");
    assert!(server.ask(&["GET", "filling:30000"]).len() == 300);
    // And from nothing.
    server.kill();
    std::fs::remove_dir_all(server.data()).expect("removed");
    std::fs::create_dir(server.data()).expect("a folder");
    kept.load(engine, &replacing()).expect("loaded");
    assert_eq!(moves_of(server), moves);
}

#[test]
fn a_stream_with_and_without_a_mark() {
    for lines in [
        "requirepass pass-word-1\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0",
        "repl-diskless-sync no",
    ] {
        let Some(server) = server(lines) else { return };
        round(&server, &engine(&server, Method::Stream));
    }
}

#[test]
fn a_save_is_awaited() {
    let Some(server) = server("") else { return };
    round(&server, &engine(&server, Method::Save));
    // Also one right after the other, and while one runs.
    let engine = engine(&server, Method::Save);
    for count in 0..3 {
        assert_eq!(server.ask(&["SET", "count", &count.to_string()]), "OK");
        server.ask(&["BGSAVE"]);
        let kept = dump(&engine).expect("a dump");
        server.ask(&["DEL", "count"]);
        kept.load(&engine, &replacing()).expect("loaded");
        assert_eq!(server.ask(&["GET", "count"]), count.to_string());
    }
}

#[test]
fn append_only_files() {
    let lines = "appendonly yes\nauto-aof-rewrite-percentage 1\nauto-aof-rewrite-min-size 1mb\naof-timestamp-enabled yes";
    let Some(server) = server(lines) else { return };
    round(&server, &engine(&server, Method::AppendOnly));
    // What comes of a stream becomes their base.
    round_of_stream(&server);
}

fn round_of_stream(server: &Server) {
    let engine = engine(server, Method::Stream);
    let kept = dump(&engine).expect("a dump");
    let moves = moves_of(server);
    server.ask(&["FLUSHALL"]);
    kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(moves_of(server), moves);
    assert_eq!(server.ask(&["CONFIG", "GET", "appendonly"]), "appendonly\nyes");
    // It goes on writing there.
    assert_eq!(server.ask(&["SET", "later", "x"]), "OK");
    server.ask(&["SHUTDOWN"]);
    server.wait(false);
    assert!(
        std::process::Command::new("redis-server")
            .args(&server.start_command()[1..])
            .status()
            .expect("runs")
            .success()
    );
    server.wait(true);
    assert_eq!(server.ask(&["GET", "later"]), "x");
    assert_eq!(moves_of(server), moves);
}

fn refused(engine: &Redis, words: &[&str]) -> String {
    let error = dump(engine).map(|kept: Kept| kept.consistency).expect_err("no dump");
    let text = format!("{:?}", error.chain());
    for word in words {
        assert!(text.contains(word), "{text} without {word}");
    }
    assert!(!text.contains("pass-word"), "{text}");
    text
}

/// A program that does something else than its name says.
fn fake(folder: &Path, script: &str) -> String {
    let programs = folder.join("programs");
    std::fs::create_dir_all(&programs).expect("a folder");
    let path = programs.join("redis-cli");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    programs.display().to_string()
}

#[test]
fn what_goes_wrong_is_no_dump() {
    let Some(server) = server("requirepass pass-word-1") else { return };
    let good = engine(&server, Method::Stream);
    let with = |change: &dyn Fn(&mut Redis)| {
        let mut engine = good.clone();
        change(&mut engine);
        engine
    };
    let wrong = Some(Password::new(Zeroizing::new("pass-word-2".to_owned())));
    refused(
        &with(&|engine| engine.access.password = wrong.clone()),
        &["does not accept this user or password"],
    );
    refused(&with(&|engine| engine.access.password = None), &["does not accept this user or password"]);
    refused(&with(&|engine| engine.access.socket = Some("/nowhere/s".into())), &["onnect"]);
    refused(
        &with(&|engine| engine.access.programs = Some("/nowhere".into())),
        &["there is no program redis-cli"],
    );
    refused(&with(&|engine| engine.method = Method::AppendOnly), &["appendonly is no"]);
    // Half of it, and success; and arguments without the password.
    for (count, tail) in
        ["head -c 100000", "head -c 0", "head -c 5", "tr 3 4", "sed 's/^REDIS/RADIS/'"].iter().enumerate()
    {
        let log = server.folder().join("log");
        let script = format!(
            "echo \"$*\" >>'{}'\ncase \"$*\" in *--rdb*) redis-cli \"$@\" 2>/dev/null | {tail};; *) exec redis-cli \"$@\";; esac\nexit 0",
            log.display()
        );
        let programs = Some(fake(server.folder(), &script));
        refused(&with(&|engine| engine.access.programs = programs.clone()), &[]);
        let arguments = std::fs::read_to_string(log).expect("a log");
        assert!(arguments.contains("--rdb") && !arguments.contains("pass-word"), "{count}: {arguments}");
    }
    // An error on the standard output, and success.
    let programs = Some(fake(server.folder(), "echo 'LOADING Redis is loading the dataset in memory'"));
    refused(&with(&|engine| engine.access.programs = programs.clone()), &["still loads"]);
}

#[test]
fn a_server_that_dies_or_whose_disk_is_full_gives_no_dump() {
    let Some(server) = server("rdb-key-save-delay 100") else { return };
    for method in [Method::Stream, Method::Save] {
        let engine = engine(&server, method);
        let dumps = packstone::source::Engine::dump(&engine, &printing()).expect("dumps");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| super::kept::keep(dumps).map(drop));
            // It saves for three seconds.
            super::until(|| server.ask(&["INFO", "persistence"]).contains("rdb_bgsave_in_progress:1"));
            server.kill();
            let error = reading.join().expect("no panic").expect_err("it died");
            println!("{:?}", error.chain());
        });
        let started = std::process::Command::new("redis-server").args(&server.start_command()[1..]).status();
        assert!(started.expect("runs").success());
        server.wait(true);
        assert_eq!(server.ask(&["EVAL", FILL, "0"]), "");
    }
    drop(server);
    let Some(server) = Server::start_limited("", Some(2000), "a full disk") else { return };
    assert_eq!(server.ask(&["EVAL", FILL.replace("300)", "3000)").as_str(), "0"]), "");
    refused(&engine(&server, Method::Save), &["could not save"]);
    assert!(has_program("redis-cli", "clients of Redis"));
}

#[test]
fn what_the_server_would_not_read_or_write_over_is_refused() {
    let Some(server) = server("") else { return };
    let mut engine = engine(&server, Method::Stream);
    let kept = dump(&engine).expect("a dump");
    engine.stop_command = Vec::new();
    let error = kept.load(&engine, &replacing()).expect_err("it runs");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert_eq!(server.ask(&["EXISTS", "filling:1"]), "1");
    assert!(!server.data().join("dump.rdb").exists());
}

#[test]
fn a_server_that_reads_something_else_is_not_back() {
    let Some(server) = server("") else { return };
    let mut engine = engine(&server, Method::Stream);
    let kept = dump(&engine).expect("a dump");
    // A server that is down when this is planned says nothing of what it reads.
    server.kill();
    let elsewhere = server.folder().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    engine.folder = Some(elsewhere.display().to_string());
    let error = kept.load(&engine, &replacing()).expect_err("it reads another folder");
    assert!(format!("{error:?}").contains("without any key"), "{error:?}");

    let Some(writing) = Server::start("appendonly yes", "append-only files") else { return };
    assert_eq!(writing.ask(&["SET", "a", "b"]), "OK");
    let kept = dump(&self::engine(&writing, Method::AppendOnly)).expect("a dump");
    let engine = self::engine(&server, Method::AppendOnly);
    server.kill();
    let error = kept.load(&engine, &replacing()).expect_err("it reads no such files");
    assert!(format!("{error:?}").contains("appendonly is no"), "{error:?}");
    // Where there is nothing to read, no key is what is meant.
    let Some(empty) = Server::start("", "an empty server") else { return };
    let engine = self::engine(&empty, Method::Stream);
    dump(&engine).expect("a dump").load(&engine, &replacing()).expect("loaded");
}
