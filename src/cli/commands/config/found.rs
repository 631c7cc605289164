//! What of a machine is worth a backup: folders with data, databases, containers, as far as they can be seen.
//!
//! What must hold: nothing is changed and no server is asked; the search ends after a bounded number of entries, follows
//! no links, and what it cannot see it passes over, for the user reads what it found.

use std::collections::VecDeque;
use std::fs::DirEntry;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::environment;

/// Where data of services lie.
const DATA: [&str; 3] = ["srv", "opt", "var/lib/docker/volumes"];
/// Where configurations lie.
const CONFIGS: [&str; 1] = ["etc"];
/// Where else there may be files that describe containers.
const HOMES: [&str; 2] = ["root", "home"];
const COMPOSE: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
/// What stands beside them, with what they leave open.
const ENV: &str = ".env";
const SQLITE_ENDINGS: [&str; 4] = [".db", ".db3", ".sqlite", ".sqlite3"];
const SQLITE_BEGINS: &[u8] = b"SQLite format 3\0";
const CHROMA: &str = "chroma.sqlite3";

/// Most entries that are looked at, and how deep below a folder.
const ENTRIES_MAX: usize = 50_000;
const DEPTH_MAX: usize = 7;
/// Most files of databases that are listed.
const LISTED_MAX: usize = 50;
/// For how long the program of containers may think.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found. Paths are absolute, as the machine itself sees them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Folders with configurations.
    pub configs: Vec<String>,
    /// Files that describe containers and lie outside of all folders.
    pub compose: Vec<String>,
    /// Folders with data.
    pub data: Vec<String>,
    /// Ports of PostgreSQL, by the folders of its sockets.
    pub postgres: Vec<(String, u16)>,
    /// Sockets of MariaDB, and whether it is MySQL.
    pub mariadb: Vec<(String, bool)>,
    /// Servers of Redis.
    pub redis: Vec<FoundRedis>,
    /// Files of SQLite.
    pub sqlite: Vec<String>,
    /// Folders of ChromaDB.
    pub chroma: Vec<String>,
    /// Containers with databases.
    pub containers: Vec<FoundContainer>,
}

/// A server of Redis.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundRedis {
    /// Its socket; without one it is reached by the address of the machine itself.
    pub socket: Option<String>,
    /// It is Valkey.
    pub is_valkey: bool,
}

/// A container with a database.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundContainer {
    /// Its name.
    pub name: String,
    /// The type of the source that it is.
    pub kind: &'static str,
    /// Its image.
    pub image: String,
}

/// Looks around below a folder that is the root of a machine.
pub fn look(root: &Path) -> Found {
    let mut found = Found {
        configs: folders(root, &CONFIGS),
        data: folders(root, &DATA),
        containers: containers(root),
        ..Found::default()
    };
    for (socket, port) in sockets(root, &["run/postgresql", "var/run/postgresql"], ".s.PGSQL.") {
        let port = port.parse::<u16>().ok();
        let folder = socket.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        found.postgres.extend(folder.zip(port));
    }
    let is_mysql = !root.join("usr/bin/mariadb-dump").exists() && root.join("usr/bin/mysqldump").exists();
    let mariadb = sockets(root, &["run/mysqld", "var/run/mysqld"], "mysqld.sock");
    found.mariadb = mariadb.into_iter().map(|(socket, _)| (socket, is_mysql)).collect();
    for (folder, name, is_valkey) in
        [("run/redis", "redis-server", false), ("run/valkey", "valkey-server", true)]
    {
        let socket = sockets(root, &[folder], &format!("{name}.sock")).pop().map(|(socket, _)| socket);
        // The usual configuration has no socket.
        if socket.is_some() || root.join(folder).join(format!("{name}.pid")).exists() {
            found.redis.push(FoundRedis { socket, is_valkey });
        }
    }
    search(root, &mut found);
    found
}

/// A path as the machine itself sees it; `None` if it is not UTF-8.
fn seen(root: &Path, path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root).ok()?.to_str()?;
    Some(format!("/{inside}"))
}

/// Those of some folders that are there, no links, and not empty.
fn folders(root: &Path, names: &[&str]) -> Vec<String> {
    let is_used = |path: &PathBuf| {
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
            && path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
    };
    let there = names.iter().map(|name| root.join(name)).filter(is_used);
    there.filter_map(|path| seen(root, &path)).collect()
}

/// What in the first of some folders that is there has a name that begins so, and what follows that.
fn sockets(root: &Path, folders: &[&str], begins: &str) -> Vec<(String, String)> {
    for folder in folders {
        let mut found: Vec<(String, String)> = entries(&root.join(folder))
            .iter()
            .filter_map(|entry| {
                let rest = entry.file_name().to_str()?.strip_prefix(begins)?.to_owned();
                Some((seen(root, &entry.path())?, rest))
            })
            .filter(|(path, _)| !path.ends_with(".lock") && !path.ends_with(".pid"))
            .collect();
        if !found.is_empty() {
            found.sort();
            return found;
        }
    }
    Vec::new()
}

/// The entries of a folder in order; none if it cannot be read.
fn entries(folder: &Path) -> Vec<DirEntry> {
    let mut entries: Vec<DirEntry> =
        folder.read_dir().map(|entries| entries.filter_map(Result::ok).collect()).unwrap_or_default();
    entries.sort_by_key(DirEntry::file_name);
    entries
}

/// Files of databases and descriptions of containers, the upper ones first.
fn search(root: &Path, found: &mut Found) {
    let mut left = ENTRIES_MAX;
    let mut queue: VecDeque<(PathBuf, usize, bool)> = VecDeque::new();
    let starts = DATA
        .iter()
        .map(|name| (root.join(name), true))
        .chain(HOMES.iter().map(|name| (root.join(name), false)));
    queue.extend(starts.map(|(folder, is_data)| (folder, 0, is_data)));
    while let Some((folder, depth, is_data)) = queue.pop_front() {
        let entries = entries(&folder);
        let has_compose = entries.iter().any(|entry| COMPOSE.iter().any(|name| entry.file_name() == *name));
        let is_chroma = entries.iter().any(|entry| entry.file_name() == CHROMA);
        if is_chroma && is_data && found.chroma.len() < LISTED_MAX {
            found.chroma.extend(seen(root, &folder));
        }
        for entry in entries {
            if left == 0 {
                return;
            }
            left -= 1;
            let Ok(kind) = entry.file_type() else { continue };
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_str().unwrap_or_default();
            let may_descend = if is_data { depth < DEPTH_MAX } else { depth < 2 };
            if kind.is_dir() && may_descend {
                queue.push_back((path, depth + 1, is_data));
            } else if kind.is_file() && !is_data && (COMPOSE.contains(&name) || (has_compose && name == ENV))
            {
                found.compose.extend(seen(root, &path));
            } else if kind.is_file()
                && is_data
                && !is_chroma
                && is_sqlite(name, &path)
                && found.sqlite.len() < LISTED_MAX
            {
                found.sqlite.extend(seen(root, &path));
            }
        }
    }
}

fn is_sqlite(name: &str, path: &Path) -> bool {
    let mut begins = [0; SQLITE_BEGINS.len()];
    let has_name = SQLITE_ENDINGS.iter().any(|ending| name.ends_with(ending));
    has_name
        && std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut begins)).is_ok()
        && begins == SQLITE_BEGINS
}

/// Running containers with databases, if the program of containers is there and answers quickly.
fn containers(root: &Path) -> Vec<FoundContainer> {
    let places = ["usr/bin/docker", "usr/local/bin/docker"].map(|place| root.join(place));
    let Some(program) = places.into_iter().find(|place| place.exists()) else { return Vec::new() };
    let mut command = Command::new(program);
    command.args(["ps", "--format", "{{.Names}}\t{{.Image}}"]);
    for secret in environment::SECRETS {
        command.env_remove(secret);
    }
    let listed = quickly(command).unwrap_or_default();
    let line = |line: &str| {
        let (name, image) = line.split_once('\t')?;
        Some(FoundContainer { name: name.to_owned(), kind: kind_of(image)?, image: image.to_owned() })
    };
    let mut found: Vec<FoundContainer> = listed.lines().filter_map(line).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// What a program prints, if it ends well and in time.
fn quickly(mut command: Command) -> Option<String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || drop(child.wait_with_output().map(|output| sender.send(output))));
    match receiver.recv_timeout(PATIENCE) {
        Ok(output) => String::from_utf8(output.stdout).ok().filter(|_| output.status.success()),
        Err(_) => {
            // It may have ended in this moment.
            let _ = process.map(|process| kill_process(process, Signal::KILL));
            None
        }
    }
}

/// The type of source that a container of this image is.
fn kind_of(image: &str) -> Option<&'static str> {
    let image = image.split('@').next().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split(':').next().unwrap_or_default() {
        "postgres" | "postgis" | "pgvector" | "timescaledb" => Some("postgres"),
        "mariadb" => Some("mariadb"),
        "mysql" => Some("mysql"),
        "redis" => Some("redis"),
        "valkey" => Some("valkey"),
        "mongo" => Some("mongodb"),
        _ => None,
    }
}

impl Found {
    /// A line for each thing.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut add =
            |what: &str, all: &[String]| lines.extend(all.iter().map(|path| format!("{what} {path}")));
        add("configurations in", &self.configs);
        add("what describes containers in", &self.compose);
        add("data in", &self.data);
        add("SQLite", &self.sqlite);
        add("ChromaDB in", &self.chroma);
        lines.extend(
            self.postgres.iter().map(|(folder, port)| format!("PostgreSQL in {folder}, port {port}")),
        );
        let name =
            |is_other: bool, one: &'static str, other: &'static str| if is_other { other } else { one };
        lines.extend(
            self.mariadb.iter().map(|(socket, is)| format!("{} at {socket}", name(*is, "MariaDB", "MySQL"))),
        );
        lines.extend(self.redis.iter().map(|FoundRedis { socket, is_valkey }| {
            let socket = socket.as_deref().unwrap_or("127.0.0.1");
            format!("{} at {socket}", name(*is_valkey, "Redis", "Valkey"))
        }));
        lines.extend(self.containers.iter().map(|container| {
            format!("{} in the container {} ({})", container.kind, container.name, container.image)
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn images_are_known_by_their_last_name() {
        for (image, kind) in [
            ("postgres", Some("postgres")),
            ("postgres:16-alpine", Some("postgres")),
            ("docker.io/library/mariadb:11", Some("mariadb")),
            ("registry:5000/mirror/redis@sha256:00ff", Some("redis")),
            ("valkey/valkey:8", Some("valkey")),
            ("mongo:7", Some("mongodb")),
            ("prom/mysqld-exporter", None),
            ("", None),
        ] {
            assert_eq!(kind_of(image), kind, "{image}");
        }
    }
}
