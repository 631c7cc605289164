//! The configuration that is begun from what was found on a machine.
//!
//! What must hold: whatever the names of what was found, the text is a configuration without a problem; what was found
//! stands in it ready to run, all else as a remark.

use std::collections::BTreeSet;

use crate::commands::config::found::{Found, FoundContainer, FoundRedis};

const HEAD: &str = r#"# packstone: what is backed up, where, and what is kept. docs/configuration.md describes every key;
# "packstone config check" says what is wrong here, "packstone run" runs all jobs.
# No secret stands in this file: it names where each one is.

[repository.main]
url = "/var/backups/packstone"          # or s3:https://HOST/BUCKET/PATH, sftp:USER@HOST:/PATH, webdav:https://…, rclone:REMOTE:PATH
key-file = "main.key"                   # beside this file; make it once, and keep a copy elsewhere:
                                        #   (umask 077; head -c 32 /dev/urandom > main.key)
# password-file, password-command, password-env or password-credential open it by a password instead.
# limit-upload = "5M"                   # bytes a second

# A second repository, in another place.
# [repository.offsite]
# url = "s3:https://s3.example.com/bucket/host"
# password-command = "pass show backup"

[job.nightly]
repository = "main"
schedule = "daily 03:00"
keep = { daily = 7, weekly = 4, monthly = 12, yearly = 3 }
check = "2%"                            # of the packs, read back after each run
# copy = [{ repository = "offsite", keep = { monthly = 24 } }]
# on-failure = "keep-previous"          # or "fail"; what becomes of a run if a source fails, "partial" if nothing is said
exclude-caches = true
"#;

const TAIL: &str = r#"
# Further sources, as they may look:
#
# [[job.nightly.source]]
# type = "postgres"
# name = "shop"
# container = "shop-db"                 # the clients of the container are run in it
# user = "shop"
# databases = ["shop"]
# container-password = "POSTGRES_PASSWORD"
#
# [[job.nightly.source]]
# type = "mariadb"
# name = "wiki"
# host = "127.0.0.1"
# user = "backup"
# password-file = "wiki.password"
#
# [[job.nightly.source]]
# type = "redis"
# host = "127.0.0.1"
#
# [[job.nightly.source]]
# type = "sqlite"
# paths = ["/srv/*/data/*.db"]
#
# [[job.nightly.source]]
# type = "mongodb"
# container = "mongo"
#
# [[job.nightly.source]]
# type = "command"
# name = "gitea"
# command = ["docker", "exec", "-u", "git", "gitea", "gitea", "dump", "--file", "-"]
# filename = "gitea.zip"
"#;

/// The text.
pub fn text(found: &Found) -> String {
    let mut text = Text { text: HEAD.to_owned(), names: BTreeSet::new() };
    text.paths("configs", "Configurations, and what describes containers", &[&found.configs, &found.compose]);
    text.paths("volumes", "Data of services", &[&found.data]);
    if !found.data.is_empty() {
        text.line("# The files of a database that runs are of no use as they are; it is dumped below. Leave them out:");
        text.line("# exclude = [\"/var/lib/docker/volumes/shop_db\"]");
    }
    if found.configs.is_empty() && found.compose.is_empty() && found.data.is_empty() {
        text.paths("files", "Nothing was found; name what you want to keep", &[&["/home".to_owned()]]);
    }
    for (folder, port) in &found.postgres {
        let port = if *port == 5432 { None } else { Some(format!("port = {port}")) };
        let lines = [
            format!("host = {}", quoted(folder)),
            "user = \"postgres\"".into(),
            "run-as = \"postgres\"".into(),
        ];
        text.source("postgres", "postgres", lines.into_iter().chain(port));
    }
    for (socket, is_mysql) in &found.mariadb {
        let kind = if *is_mysql { "mysql" } else { "mariadb" };
        text.source(kind, kind, [format!("socket = {}", quoted(socket)), "user = \"root\"".into()]);
    }
    for FoundRedis { socket, is_valkey } in &found.redis {
        let kind = if *is_valkey { "valkey" } else { "redis" };
        let place = match socket {
            Some(socket) => format!("socket = {}", quoted(socket)),
            None => "host = \"127.0.0.1\"".to_owned(),
        };
        text.source(kind, kind, [place, "# password-file = \"redis.password\"".to_owned()]);
    }
    found.containers.iter().for_each(|container| text.container(container));
    if !found.sqlite.is_empty() {
        text.source("sqlite", "sqlite", [format!("paths = {}", list(&found.sqlite))]);
    }
    for folder in &found.chroma {
        text.source("chromadb", "chromadb", [format!("path = {}", quoted(folder))]);
    }
    text.text + TAIL
}

struct Text {
    text: String,
    names: BTreeSet<String>,
}

impl Text {
    /// A name that no other source has.
    fn name(&mut self, wanted: &str) -> String {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let plain: String = wanted.chars().filter(|letter| is_of_name(*letter)).take(48).collect();
        let plain = plain.trim_start_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let plain = if plain.is_empty() { "source" } else { plain };
        let numbered = (2_u32..).map(|number| format!("{plain}-{number}"));
        let mut names = std::iter::once(plain.to_owned()).chain(numbered);
        let name = names.find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn source(&mut self, kind: &str, name: &str, lines: impl IntoIterator<Item = String>) {
        let name = self.name(name);
        self.line("\n[[job.nightly.source]]");
        self.line(&format!("type = \"{kind}\""));
        if name != kind {
            self.line(&format!("name = \"{name}\""));
        }
        lines.into_iter().for_each(|line| self.line(&line));
    }

    fn paths(&mut self, name: &str, remark: &str, lists: &[&[String]]) {
        let paths: Vec<String> = lists.iter().flat_map(|list| list.iter().cloned()).collect();
        if !paths.is_empty() {
            self.line(&format!("\n# {remark}."));
            self.line("[[job.nightly.source]]");
            self.line("type = \"path\"");
            let name = self.name(name);
            self.line(&format!("name = \"{name}\""));
            self.line(&format!("paths = {}", list(&paths)));
        }
    }

    fn container(&mut self, container: &FoundContainer) {
        let FoundContainer { name, kind, .. } = container;
        let lines: &[&str] = match *kind {
            "postgres" => {
                &["user = \"postgres\"                       # as POSTGRES_USER of the container says"]
            }
            "mariadb" => &["user = \"root\"", "container-password = \"MARIADB_ROOT_PASSWORD\""],
            "mysql" => &["user = \"root\"", "container-password = \"MYSQL_ROOT_PASSWORD\""],
            "mongodb" => &["# user = \"root\"", "# container-password = \"MONGO_INITDB_ROOT_PASSWORD\""],
            _ => &[],
        };
        let container = format!("container = {}", quoted(name));
        self.source(
            kind,
            name,
            std::iter::once(container).chain(lines.iter().map(|line| (*line).to_owned())),
        );
    }
}

/// Paths as patterns that match them and nothing else.
fn list(paths: &[String]) -> String {
    let pattern = |path: &String| {
        let escaped = path.chars().flat_map(|letter| {
            let is_special = "*?[\\".contains(letter);
            is_special.then_some('\\').into_iter().chain([letter])
        });
        quoted(&escaped.collect::<String>())
    };
    let patterns: Vec<String> = paths.iter().map(pattern).collect();
    match patterns.join(", ") {
        line if line.len() <= 90 => format!("[{line}]"),
        _ => {
            format!("[\n{}]", patterns.iter().map(|pattern| format!("    {pattern},\n")).collect::<String>())
        }
    }
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => quoted.push_str(&format!("\\U{:08X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use packstone::config::{Config, Input};

    use super::*;
    use crate::commands::config::found;

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("/etc/packstone"))
            .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
    }

    #[test]
    fn what_is_begun_has_no_problem_whatever_was_found() {
        parse(&text(&Found::default()));
        let odd = [
            "/a",
            "/with \"quotes\"",
            "/back\\slash",
            "/new\nline",
            "/\u{7f}\u{1}",
            "/[x]*?",
            "/städte",
            "/#",
        ];
        let paths: Vec<String> = odd.iter().map(|path| (*path).to_owned()).collect();
        let below = |folder: &str| odd.iter().map(|path| format!("/{folder}{path}")).collect();
        let container = |name: &str, kind| FoundContainer { name: name.into(), kind, image: String::new() };
        let found = Found {
            configs: paths.clone(),
            compose: below("compose"),
            data: below("data"),
            postgres: vec![("/run/postgresql".into(), 5432), ("/run/postgresql".into(), 5433)],
            mariadb: vec![("/run/mysqld/mysqld.sock".into(), false)],
            redis: vec![
                FoundRedis { socket: None, is_valkey: false },
                FoundRedis { socket: Some("/run/valkey/valkey-server.sock".into()), is_valkey: true },
            ],
            sqlite: paths.clone(),
            chroma: paths.clone(),
            containers: ["postgres", "mariadb", "mysql", "redis", "valkey", "mongodb"]
                .into_iter()
                .flat_map(|kind| [container("configs", kind), container("odd-Näme_1", kind)])
                .collect(),
        };
        let config = parse(&text(&found));
        let sources = &config.jobs[0].sources;
        assert_eq!(sources.len(), 2 + 2 + 1 + 2 + 12 + 1 + odd.len());
        let Input::Paths(first) = &sources[0].input else { panic!("paths") };
        assert_eq!(first.paths[0], "/a");
        assert_eq!(first.paths[5], "/\\[x]\\*\\?");
        assert_eq!(first.paths[3], "/new\nline");
    }

    #[test]
    fn what_stands_there_as_a_remark_is_right_too() {
        let is_remark =
            |line: &&str| line.starts_with("# ") && line.contains(['=', '[']) && !line.contains("packstone");
        let remarks: Vec<&str> = TAIL.lines().filter(is_remark).collect();
        let mut text = text(&Found::default());
        remarks.iter().for_each(|line| text += &format!("{}\n", line.trim_start_matches("# ")));
        assert!(parse(&text).jobs[0].sources.len() > 6);
    }

    #[test]
    fn a_made_up_machine_is_found() {
        let folder = tempfile::tempdir().expect("a directory");
        let make = |path: &str, content: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::write(path, content).expect("a file");
        };
        assert_eq!(found::look(folder.path()), Found::default());
        make("etc/hostname", b"x");
        make("srv/shop/data/shop.db", b"SQLite format 3\0and more");
        make("srv/shop/other.db", b"something else");
        make("srv/vectors/chroma.sqlite3", b"SQLite format 3\0");
        make("home/stack/compose.yaml", b"x");
        make("run/postgresql/.s.PGSQL.5433", b"");
        make("run/postgresql/.s.PGSQL.5433.lock", b"");
        make("run/mysqld/mysqld.sock", b"");
        make("run/redis/redis-server.sock", b"");
        make("run/redis/redis-server.pid", b"1");
        make("run/valkey/valkey-server.pid", b"2");
        make("home/stack/.env", b"A=b");
        make("root/.env", b"A=b");
        std::fs::create_dir_all(folder.path().join("opt")).expect("a folder");
        let found = found::look(folder.path());
        let expected = Found {
            configs: vec!["/etc".into()],
            compose: vec!["/home/stack/.env".into(), "/home/stack/compose.yaml".into()],
            data: vec!["/srv".into()],
            postgres: vec![("/run/postgresql".into(), 5433)],
            mariadb: vec![("/run/mysqld/mysqld.sock".into(), false)],
            redis: vec![
                FoundRedis { socket: Some("/run/redis/redis-server.sock".into()), is_valkey: false },
                FoundRedis { socket: None, is_valkey: true },
            ],
            sqlite: vec!["/srv/shop/data/shop.db".into()],
            chroma: vec!["/srv/vectors".into()],
            containers: Vec::new(),
        };
        assert_eq!(found, expected);
        parse(&text(&found));
    }
}
