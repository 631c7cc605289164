//! A host that is lost: its configuration, volumes and databases come back from the repository alone.
//!
//! What must hold: the new host has servers without data, the program, the location and the key, and nothing else of the
//! old one; what comes back is of one consistent moment each, though somebody wrote all the while.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::engine::KEY;
use crate::support::dump::{assert_same, dump};
use crate::support::need::postgres;
use crate::support::scratch::Scratch;
use crate::support::servers::mariadb::Mariadb;
use crate::support::servers::postgres::Cluster;
use crate::support::servers::redis::Redis;

/// Accounts between which money moves, and their sum.
const ACCOUNTS: u32 = 100;
const SUM: u32 = 100 * 1000;

const SCHEMA: &str = "CREATE TABLE account (id int PRIMARY KEY, cents int NOT NULL CHECK (cents > -1000000));
    CREATE TABLE note (id int PRIMARY KEY, account int NOT NULL REFERENCES account (id), text varchar(200));";

/// The servers of a host, at addresses that stay the same.
struct Servers {
    postgres: Cluster,
    mariadb: Mariadb,
    redis: Redis,
}

impl Servers {
    /// Starts all, without data, at the addresses below a folder. `None`, which is told, where one is missing.
    fn start(addresses: &Path) -> Option<Self> {
        const WHAT: &str = "that a lost host comes back";
        postgres(WHAT)?;
        let mariadb = Mariadb::start(WHAT)?;
        let redis = Redis::start("", WHAT)?;
        let servers = Self { postgres: Cluster::new(&[]), mariadb, redis };
        std::fs::create_dir_all(addresses).unwrap();
        let places = [
            ("postgres", PathBuf::from(servers.postgres.host())),
            ("mariadb", PathBuf::from(servers.mariadb.socket())),
            ("redis", PathBuf::from(servers.redis.socket())),
            ("redis-data", servers.redis.data()),
        ];
        for (name, place) in places {
            let _ = std::fs::remove_file(addresses.join(name));
            std::os::unix::fs::symlink(place, addresses.join(name)).unwrap();
        }
        // Whatever the servers, the same commands stop and start that one.
        let redis = &servers.redis;
        let script = |line: String| format!("#!/bin/sh\nexec {line}\n");
        for (name, line) in [
            ("stop-redis", format!("redis-cli -s {} shutdown nosave", redis.socket())),
            ("start-redis", redis.start_command().join(" ")),
        ] {
            let path = addresses.join(name);
            std::fs::write(&path, script(line)).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Some(servers)
    }

    /// Data of which a sum never changes.
    fn fill(&self) {
        let rows = |from: u32, to: u32| {
            (from..to)
                .map(|id| format!("({id}, {}, 'note {id}')", id % ACCOUNTS))
                .collect::<Vec<_>>()
                .join(",")
        };
        let accounts = (0..ACCOUNTS).map(|id| format!("({id}, 1000)")).collect::<Vec<_>>().join(",");
        let data = format!(
            "{SCHEMA} INSERT INTO account VALUES {accounts}; INSERT INTO note VALUES {};",
            rows(0, 5000)
        );
        self.postgres.run("postgres", "CREATE ROLE clerk LOGIN PASSWORD 'x'");
        self.postgres.run("postgres", "CREATE DATABASE shop OWNER clerk");
        self.postgres.run("shop", &data);
        self.mariadb.ask("CREATE DATABASE wiki");
        self.mariadb.ask(&format!("USE wiki; {data}"));
        self.redis.ask(&["set", "greeting", "hello"]);
        (0..50).for_each(|number| drop(self.redis.ask(&["set", &format!("key{number}"), "value"])));
    }

    /// Moves money between accounts until it is told to stop; gives how often.
    fn write(&self, is_over: &AtomicBool) -> u32 {
        let mut count = 0;
        while !is_over.load(Ordering::Relaxed) {
            let (from, to) = (count % ACCOUNTS, (count * 7 + 3) % ACCOUNTS);
            let note = 10_000 + count;
            let moved = format!(
                "BEGIN; UPDATE account SET cents = cents - 5 WHERE id = {from}; \
                 UPDATE account SET cents = cents + 5 WHERE id = {to}; \
                 INSERT INTO note VALUES ({note}, {to}, 'moved'); COMMIT;"
            );
            self.postgres.run("shop", &moved);
            self.mariadb.ask(&format!("USE wiki; {moved}"));
            count += 1;
        }
        count
    }

    /// What must hold of the databases at any one moment: the sum, and as many notes as there were moves.
    fn check(&self) {
        let sum = "SELECT sum(cents) FROM account";
        let orphans = "SELECT count(*) FROM note WHERE account NOT IN (SELECT id FROM account)";
        assert_eq!(self.postgres.run("shop", sum).trim(), SUM.to_string());
        assert_eq!(self.postgres.run("shop", orphans).trim(), "0");
        let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'";
        assert_eq!(self.postgres.run("postgres", owner).trim(), "clerk");
        let constraints =
            "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'f', 'c') AND conrelid >= 16384";
        assert_eq!(self.postgres.run("shop", constraints).trim(), "4");
        assert_eq!(self.mariadb.ask(&format!("USE wiki; {sum}")), SUM.to_string());
        assert_eq!(self.mariadb.ask(&format!("USE wiki; {orphans}")), "0");
        assert_eq!(self.redis.ask(&["get", "greeting"]), "hello");
        assert_eq!(self.redis.ask(&["dbsize"]), "51");
    }
}

/// Where everything of the old host is, and the repository, which is elsewhere.
struct Place {
    scratch: Scratch,
}

impl Place {
    fn packstone(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command.args(arguments).env("HOME", self.scratch.join("home")).env("TZ", "UTC");
        for variable in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"] {
            command.env_remove(variable);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "packstone {arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn write_host(&self) {
        let shown = self.scratch.path().to_str().unwrap();
        let host = self.scratch.join("host");
        for (name, text) in [
            ("etc/app/.env", "SECRET=1\n"),
            ("etc/app/compose.yaml", "services: {}\n"),
            ("srv/volumes/uploads/picture", "not much of a picture\n"),
        ] {
            let path = host.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let configuration = format!(
            r#"
[repository.main]
url = "{shown}/elsewhere/repository"
key-file = "{shown}/elsewhere/key"

[job.nightly]
[[job.nightly.source]]
type = "path"
name = "files"
paths = ["{shown}/host/etc", "{shown}/host/srv/*"]
[[job.nightly.source]]
type = "postgres"
name = "shop"
host = "{shown}/run/postgres"
user = "postgres"
[[job.nightly.source]]
type = "mariadb"
name = "wiki"
socket = "{shown}/run/mariadb"
user = "root"
[[job.nightly.source]]
type = "redis"
name = "cache"
socket = "{shown}/run/redis"
folder = "{shown}/run/redis-data"
stop-command = ["{shown}/run/stop-redis"]
start-command = ["{shown}/run/start-redis"]
"#
        );
        let path = host.join("etc/packstone");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("packstone.toml"), configuration).unwrap();
    }
}

#[test]
fn an_empty_host_is_brought_back_by_four_commands() {
    let place = Place { scratch: Scratch::new() };
    let addresses = place.scratch.join("run");
    let Some(servers) = Servers::start(&addresses) else { return };
    place.write_host();
    servers.fill();
    std::fs::create_dir_all(place.scratch.join("elsewhere")).unwrap();
    let key = place.scratch.join("elsewhere/key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    let host = place.scratch.join("host");
    let configuration = host.join("etc/packstone/packstone.toml");
    let configuration = configuration.to_str().unwrap();
    place.packstone(&["--config", configuration, "-r", "main", "repo", "init"]);

    let is_over = AtomicBool::new(false);
    let (told, moves) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| servers.write(&is_over));
        let told = place.packstone(&["--config", configuration, "run", "nightly"]);
        is_over.store(true, Ordering::Relaxed);
        (told, writer.join().unwrap())
    });
    assert!(!told.contains("FAILED") && !told.contains("PARTIAL"), "{told}");
    let before = dump(&host);

    // Nothing of it is left, nor of what the program kept beside it.
    drop(servers);
    for folder in [host.clone(), place.scratch.join("home")] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    let Some(servers) = Servers::start(&addresses) else { return };
    let since = Instant::now();
    let repository = place.scratch.join("elsewhere/repository");
    let [repository, key] = [&repository, &key].map(|path| path.to_str().unwrap());
    place.packstone(&["-r", repository, "--key-file", key, "restore", "latest", "--to-origin"]);
    for name in ["shop", "wiki", "cache"] {
        place.packstone(&["--config", configuration, "restore-database", "latest", name, "--yes"]);
    }
    let seconds = since.elapsed().as_secs_f32();
    servers.check();
    assert_same(&before, &dump(&host));
    assert!(!Path::new("/dumps/shop").exists());
    println!(
        "configuration, volumes and 3 databases were back after {seconds:.1} s; {moves} transactions meanwhile"
    );
}
