//! Servers that are not here, by exact transcript: Valkey, Redis 6, servers behind TLS, on other machines and in
//! containers; and whose file it is that lies in a folder.
//!
//! What must hold: every client is called as it was found to need it, and never with a password; what is no file of the
//! server that was asked is no dump.

use std::path::Path;

use packstone::base::ErrorKind;
use packstone::source::engine::redis::{Method, Tls};
use packstone::source::engine::{Access, Container, Redis};
use packstone::source::{Engine, Listener};

use super::super::{Fakes, deaf, password, said, whole};
use super::{Server, dump, engine};

/// An RDB file that says when it was saved, if it does. Its checksum is left out.
fn rdb(saved_at: Option<u32>) -> Vec<u8> {
    let mut bytes = b"REDIS0011\xFA\x09redis-ver\x067.0.15".to_vec();
    if let Some(second) = saved_at {
        bytes.extend(b"\xFA\x05ctime\xC2");
        bytes.extend(second.to_le_bytes());
    }
    bytes.extend(b"\xFE\x00\xFB\x01\x00\x00\x01a\x01b\xFF\0\0\0\0\0\0\0\0");
    bytes
}

/// Answers as a server does that is asked by this client.
const ANSWERS: &str = r#"
    case "$*" in
        *"--version") echo 'cli 8.1.1' ;;
        *"INFO server") printf '# Server\r\nSERVER\r\n' ;;
        *"INFO persistence") printf '# Persistence\r\nloading:0\r\nrdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\n' ;;
        *"--rdb -") echo 'SYNC sent to master' >&2; cat "$HERE/dump.rdb" ;;
        *LASTSAVE) cat "$HERE/saved" ;;
        *TIME) cat "$HERE/time"; echo 5 ;;
        *"BGSAVE SCHEDULE")
            echo 1000 >"$HERE/saved"
            [ -e "$HERE/docker" ] || [ -e "$HERE/stale" ] || sed -i '' "$HERE/dump.rdb"
            echo 'Background saving started' ;;
        *"CONFIG GET dbfilename") printf 'dbfilename\ndump.rdb\n' ;;
        *"CONFIG GET dir") printf 'dir\n%s\n' "${DIRECTORY:-$HERE}" ;;
        *) exit 9 ;;
    esac"#;

const VALKEY: &str = r"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1";
const REDIS_6: &str = r"redis_version:6.0.16\r\nredis_mode:standalone";

fn fakes(name: &str, server: &str) -> Fakes {
    let fakes = Fakes::new();
    let secrets = r#"printf '%s|%s\n' "$REDISCLI_AUTH" "$VALKEYCLI_AUTH" >>"$HERE/secrets""#;
    fakes.add(name, &format!("{secrets}\n{}", ANSWERS.replace("SERVER", server)));
    for (name, text) in [("saved", "990\n"), ("time", "1000\n")] {
        std::fs::write(fakes.join(name), text).expect("written");
    }
    std::fs::write(fakes.join("dump.rdb"), rdb(Some(1000))).expect("written");
    fakes
}

fn played(fakes: &Fakes, method: Method) -> Redis {
    let access = Access {
        programs: Some(fakes.folder()),
        host: Some("127.0.0.1".into()),
        port: Some(6380),
        user: Some("backup".into()),
        password: Some(password("pass-word-1")),
        ..Access::default()
    };
    let stop_command = Vec::new();
    Redis { access, tls: None, method, folder: None, start_command: stop_command.clone(), stop_command }
}

#[test]
fn valkey_by_its_own_client() {
    let fakes = fakes("valkey-cli", VALKEY);
    let dumps = played(&fakes, Method::Stream).dump(&deaf()).expect("dumps");
    assert_eq!(dumps.consistency, "RDB stream of one moment (Valkey 8.1.1)");
    assert_eq!(whole(dumps), [("dump.rdb".to_owned(), rdb(Some(1000)))]);
    assert_eq!(
        fakes.calls(),
        [
            "valkey-cli --version",
            "valkey-cli -h 127.0.0.1 -p 6380 --user backup INFO server",
            "valkey-cli -h 127.0.0.1 -p 6380 --user backup INFO persistence",
            "valkey-cli -h 127.0.0.1 -p 6380 --user backup --rdb -",
        ]
    );
    // Up to version 8 it looks at the first, from 9 on at the second before.
    let secrets = std::fs::read_to_string(fakes.join("secrets")).expect("secrets");
    let secrets: Vec<_> = secrets.lines().skip(1).collect();
    assert_eq!(secrets, ["pass-word-1|pass-word-1"; 3]);
}

#[test]
fn valkey_in_a_container_with_a_password_of_the_container() {
    let fakes = fakes("valkey-cli", VALKEY);
    let mut engine = played(&fakes, Method::Save);
    engine.access = Access {
        container: Some(Container {
            name: "cache".into(),
            program: fakes.join("docker").display().to_string(),
        }),
        container_password: Some("VALKEY_PASSWORD".into()),
        ..Access::default()
    };
    // The client that is looked for first is not in the container.
    for program in ["sh", "cat"] {
        std::os::unix::fs::symlink(format!("/bin/{program}"), fakes.join(program)).expect("a link");
    }
    fakes.add_docker(&format!("VALKEY_PASSWORD=pass-word-2 PATH={}", fakes.folder()));
    let dumps = engine.dump(&deaf()).expect("dumps");
    assert_eq!(dumps.consistency, "RDB file of one moment, by BGSAVE (Valkey 8.1.1)");
    assert_eq!(whole(dumps), [("dump.rdb".to_owned(), rdb(Some(1000)))]);
    let calls: Vec<_> = fakes.calls().into_iter().filter(|call| !call.starts_with("docker")).collect();
    assert_eq!(calls[..3], ["valkey-cli --version", "valkey-cli INFO server", "valkey-cli INFO persistence"]);
    assert_eq!(
        calls[3..],
        [
            "valkey-cli CONFIG GET dbfilename",
            "valkey-cli CONFIG GET dir",
            "valkey-cli INFO persistence",
            "valkey-cli LASTSAVE",
            "valkey-cli TIME",
            "valkey-cli BGSAVE SCHEDULE",
            "valkey-cli LASTSAVE",
            "valkey-cli INFO persistence",
            "valkey-cli TIME",
        ]
    );
    let secrets = std::fs::read_to_string(fakes.join("secrets")).expect("secrets");
    assert!(secrets.lines().skip(1).all(|line| line == "pass-word-2|"), "{secrets}");
}

#[test]
fn redis_6_and_a_connection_by_tls() {
    let fakes = fakes("redis-cli", REDIS_6);
    let mut engine = played(&fakes, Method::Stream);
    engine.tls = Some(Tls {
        ca_file: Some("/etc/redis/ca.crt".into()),
        certificate_file: Some("/etc/redis/client.crt".into()),
        key_file: Some("/etc/redis/client.key".into()),
    });
    let dumps = engine.dump(&deaf()).expect("dumps");
    assert_eq!(dumps.consistency, "RDB stream of one moment (Redis 6.0.16)");
    whole(dumps);
    let access = "-h 127.0.0.1 -p 6380 --user backup --tls --cacert /etc/redis/ca.crt --cert /etc/redis/client.crt \
                  --key /etc/redis/client.key";
    let wanted = ["INFO server", "INFO persistence", "--rdb -"];
    assert_eq!(fakes.calls()[1..], wanted.map(|words| format!("redis-cli {access} {words}")));
    engine.tls = Some(Tls::default());
    whole(engine.dump(&deaf()).expect("dumps"));
    assert_eq!(fakes.calls()[7], "redis-cli -h 127.0.0.1 -p 6380 --user backup --tls --rdb -");
    // Its append-only file is one, and counted as such.
    let name = "appendonly.aof";
    fakes.add(
        "redis-cli",
        &format!(
            r#"case "$*" in
                *"--version") echo 'redis-cli 6.0.16' ;;
                *"INFO server") printf '# Server\r\n{REDIS_6}\r\n' ;;
                *"INFO persistence") printf '# Persistence\r\nloading:0\r\naof_current_size:%d\r\naof_base_size:0\r\n' "$(cat "$HERE/size")" ;;
                *"CONFIG GET appendonly") printf 'appendonly\nyes\n' ;;
                *"CONFIG GET appendfilename") printf 'appendfilename\n{name}\n' ;;
                *"CONFIG GET dir") printf 'dir\n%s\n' "$HERE" ;;
                *) exit 9 ;;
            esac"#
        ),
    );
    let command = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n";
    std::fs::write(fakes.join(name), command).expect("written");
    engine.method = Method::AppendOnly;
    std::fs::write(fakes.join("size"), command.len().to_string()).expect("written");
    assert_eq!(whole(engine.dump(&deaf()).expect("dumps")), [(name.to_owned(), command.to_vec())]);
    std::fs::write(fakes.join("size"), "1000000").expect("written");
    let error = engine.dump(&deaf()).map(drop).expect_err("of another server");
    assert!(said(&error).contains("are not those that this server writes"), "{}", said(&error));
}

#[test]
fn a_file_that_the_server_has_not_just_saved_is_no_dump() {
    let fakes = fakes("redis-cli", REDIS_6);
    let engine = played(&fakes, Method::Save);
    for (saved_at, wanted) in [
        (Some(999), "not the file that the server has just saved"),
        (Some(1001), "not the file"),
        (None, "does not say when"),
    ] {
        std::fs::write(fakes.join("saved"), "990\n").expect("written");
        std::fs::write(fakes.join("dump.rdb"), rdb(saved_at)).expect("written");
        let error = dump(&engine).map(|kept| kept.consistency).expect_err("of another server");
        assert!(said(&error).contains(wanted), "{}", said(&error));
    }
    std::fs::write(fakes.join("saved"), "990\n").expect("written");
    std::fs::write(fakes.join("dump.rdb"), rdb(Some(1000))).expect("written");
    dump(&engine).expect("its own");
    // One that another server saved within the same second.
    std::fs::write(fakes.join("saved"), "990\n").expect("written");
    std::fs::write(fakes.join("stale"), "").expect("written");
    let error = dump(&engine).map(|kept| kept.consistency).expect_err("of another server");
    assert!(said(&error).contains("as it was before the server saved"), "{}", said(&error));
    // What a server on another machine calls its folder is none of this one.
    let mut remote = played(&fakes, Method::Save);
    remote.access.host = Some("192.0.2.1".into());
    for method in [Method::Save, Method::AppendOnly] {
        remote.method = method;
        fakes.add(
            "redis-cli",
            &ANSWERS
                .replace("SERVER", REDIS_6)
                .replace("*LASTSAVE", "*'CONFIG GET appendonly') printf 'appendonly\\nyes\\n' ;;\n*LASTSAVE"),
        );
        let error = remote.dump(&deaf()).map(drop).expect_err("on another machine");
        assert_eq!(error.kind(), ErrorKind::Usage);
        let wanted = "the server 192.0.2.1 runs on another machine: its data folder, as this machine sees it, must be named";
        assert!(said(&error).contains(wanted), "{}", said(&error));
    }
}

#[test]
fn a_folder_of_another_server_is_noticed() {
    let Some(server) = Server::start("appendonly yes", "folders of other servers") else { return };
    let Some(other) = Server::start("appendonly yes", "folders of other servers") else { return };
    let long = "x".repeat(100_000);
    for (one, text) in [(&server, "short"), (&other, long.as_str())] {
        assert_eq!(one.ask(&["SET", "a", text]), "OK");
        assert_eq!(one.ask(&["SAVE"]), "OK");
    }
    for (asked, folder) in [(&server, &other), (&other, &server)] {
        let foreign =
            |method| Redis { folder: Some(folder.data().display().to_string()), ..engine(asked, method) };
        let error = dump(&foreign(Method::Save)).map(drop).expect_err("of another server");
        assert!(said(&error).contains("folder must be the data folder of this server"), "{}", said(&error));
        let error = dump(&foreign(Method::AppendOnly)).map(drop).expect_err("of another server");
        assert!(said(&error).contains("are not those that this server writes"), "{}", said(&error));
        dump(&engine(asked, Method::Save)).expect("its own");
        dump(&engine(asked, Method::AppendOnly)).expect("its own");
    }
}

/// A server whose last file ends in the middle of a command when it starts counts what it cuts off for ever.
#[test]
fn a_server_that_cut_off_the_end_of_its_file_is_believed() {
    let Some(server) = Server::start("appendonly yes", "append-only files after a crash") else { return };
    assert_eq!(server.ask(&["SET", "a", "b"]), "OK");
    server.kill();
    let folder = server.data().join("appendonlydir");
    let file = folder.join("appendonly.aof.1.incr.aof");
    let mut bytes = std::fs::read(&file).expect("read");
    bytes.extend(b"*3\r\n$3\r\nSET\r\n$1");
    std::fs::write(&file, bytes).expect("written");
    assert!(start(&server.start_command()));
    server.wait(true);
    let (listener, told) = super::super::listener();
    let dumps = engine(&server, Method::AppendOnly).dump(&listener).expect("dumps");
    whole(dumps);
    let told = told.lock().expect("a list").join("\n");
    assert!(told.contains("the server counts 15 bytes more"), "{told}");
}

fn start(words: &[String]) -> bool {
    std::process::Command::new(&words[0]).args(&words[1..]).status().expect("it runs").success()
}

#[test]
fn who_may_not_replicate_is_told_what_is_needed() {
    let Some(server) = Server::start("", "users of Redis") else { return };
    assert_eq!(server.ask(&["SET", "a", "b"]), "OK");
    let user = ["ACL", "SETUSER", "backup", "on", ">pass-word-1", "resetkeys", "+ping", "+info"];
    assert_eq!(server.ask(&user), "OK");
    let mut asking = engine(&server, Method::Stream);
    asking.access.user = Some("backup".into());
    asking.access.password = Some(password("pass-word-1"));
    let error = dump(&asking).map(drop).expect_err("refused");
    assert!(said(&error).contains("ACL SETUSER … +psync +sync +replconf +ping"), "{}", said(&error));
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(server.ask(&["ACL", "SETUSER", "backup", "+psync", "+sync", "+replconf"]), "OK");
    dump(&asking).expect("allowed");
}

#[test]
fn waiting_for_a_save_ends_when_that_is_asked_for() {
    let fakes = fakes("redis-cli", REDIS_6);
    let running = r"loading:0\r\nrdb_bgsave_in_progress:1\r\nrdb_last_bgsave_status:ok";
    let script = ANSWERS
        .replace("SERVER", REDIS_6)
        .replace(r"loading:0\r\nrdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok", running);
    fakes.add("redis-cli", &script);
    let listener = Listener::silent();
    let stops = std::sync::Arc::clone(listener.stops());
    let dumps = played(&fakes, Method::Save).dump(&listener).expect("dumps");
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| super::super::kept::keep(dumps).map(drop));
        super::super::until(|| asked(&fakes.join("calls"), "INFO persistence") > 3);
        stops.stop_all();
        let error = reading.join().expect("no panic").expect_err("stopped");
        println!("{:?}", error.chain());
    });
}

fn asked(calls: &Path, words: &str) -> usize {
    std::fs::read_to_string(calls).expect("calls").lines().filter(|call| call.ends_with(words)).count()
}
