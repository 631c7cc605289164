//! The databases and programs, each from its table.
//!
//! What must hold: what an engine could not do is refused here, with the key that asks for it.

use std::path::Path;

use zeroize::Zeroizing;

use super::access::{self, absolute, command, container, databases, options};
use super::given::Written;
use super::{EngineConfig, EngineOptions, absolute_paths};
use crate::config::plain_secrets;
use crate::config::reader::Section;
use crate::config::secrets::{self, SecretSource};
use crate::source::engine::options::Client;
use crate::source::engine::{
    AnyCommand, Chroma, Databases, Mariadb, Mongodb, Password, Postgres, Redis, Sqlite, postgres, redis,
};

/// Reads a source that is a database or a program.
pub(super) fn read(section: &mut Section<'_>, kind: &str, folder: &Path) -> Option<EngineConfig> {
    match kind {
        "postgres" => Some(postgres(section, folder)),
        "mariadb" | "mysql" => Some(mariadb(section, folder, kind == "mysql")),
        "redis" | "valkey" => Some(redis(section, folder)),
        "mongodb" => Some(mongodb(section, folder)),
        "sqlite" => {
            let paths = absolute_paths(section, &mut |_| Ok(()))?;
            Some(without_password(EngineOptions::Sqlite(Sqlite { paths, scratch: None, memory_bytes: 0 })))
        }
        "chromadb" => chromadb(section).map(without_password),
        _ => any_command(section, folder),
    }
}

fn without_password(options: EngineOptions) -> EngineConfig {
    with_password(options, None)
}

fn with_password(options: EngineOptions, password: Option<SecretSource>) -> EngineConfig {
    EngineConfig { options, password, environment: Vec::new(), written: Written::default() }
}

fn postgres(section: &mut Section<'_>, folder: &Path) -> EngineConfig {
    use postgres::Format;
    let (access, password) = access::read(section, folder);
    let words = [("plain", Format::Plain), ("custom", Format::Custom), ("base-backup", Format::BaseBackup)];
    let format = section.word("format", &words).unwrap_or_default();
    let databases = databases(section);
    if format == Format::BaseBackup && databases != Databases::All {
        section.refuse("databases", "contradicts format = \"base-backup\", which holds the whole cluster");
    }
    let client = if format == Format::BaseBackup { Client::PgBasebackup } else { Client::PgDump };
    let options = options(section, client);
    with_password(EngineOptions::Postgres(Postgres { access, databases, format, options }), password)
}

fn mariadb(section: &mut Section<'_>, folder: &Path, is_mysql: bool) -> EngineConfig {
    let (access, password) = access::read(section, folder);
    let databases = databases(section);
    let options = options(section, Client::MariadbDump);
    with_password(EngineOptions::Mariadb(Mariadb { access, databases, options, is_mysql }), password)
}

fn redis(section: &mut Section<'_>, folder: &Path) -> EngineConfig {
    use redis::Method;
    let (access, password) = access::read(section, folder);
    let words = [("stream", Method::Stream), ("save", Method::Save), ("append-only", Method::AppendOnly)];
    let method = section.word("method", &words).unwrap_or_default();
    let folder = section.take("folder").and_then(|entry| absolute(&entry));
    let [stop_command, start_command] = ["stop-command", "start-command"].map(|name| command(section, name));
    for (one, other) in [("stop-command", "start-command"), ("start-command", "stop-command")] {
        if section.has(one) && !section.has(other) {
            section.refuse(one, format!("needs {other}: a server that is stopped must be started again"));
        }
    }
    let redis = Redis { access, tls: tls(section), method, folder, stop_command, start_command };
    with_password(EngineOptions::Redis(redis), password)
}

fn tls(section: &mut Section<'_>) -> Option<redis::Tls> {
    let names = ["tls-ca-cert-file", "tls-cert-file", "tls-key-file"];
    let is_encrypted = section.flag("tls").unwrap_or_default();
    let [ca_file, certificate_file, key_file] =
        names.map(|name| section.take(name).and_then(|entry| absolute(&entry)));
    if !is_encrypted && let Some(name) = names.into_iter().find(|name| section.has(name)) {
        section.refuse(name, "needs tls = true");
    }
    let [_, certificate, key] = names;
    for (one, other) in [(certificate, key), (key, certificate)] {
        if section.has(one) && !section.has(other) {
            section.refuse(one, format!("needs {other}: a certificate and its key"));
        }
    }
    is_encrypted.then_some(redis::Tls { ca_file, certificate_file, key_file })
}

fn mongodb(section: &mut Section<'_>, folder: &Path) -> EngineConfig {
    let (access, password) = access::read(section, folder);
    let databases = databases(section);
    let with_oplog = section.flag("oplog").unwrap_or_default();
    if with_oplog && databases != Databases::All {
        section.refuse("oplog", "contradicts databases: the log of changes is of all databases");
    }
    let authentication_database = section.text("authentication-database");
    let options = options(section, Client::Mongodump);
    let mongodb = Mongodb { access, databases, with_oplog, authentication_database, options };
    with_password(EngineOptions::Mongodb(mongodb), password)
}

fn chromadb(section: &mut Section<'_>) -> Option<EngineOptions> {
    let paused_container = container(section, "paused-container");
    let Some(entry) = section.take("path") else {
        section.missing("path");
        return None;
    };
    let path = absolute(&entry)?;
    Some(EngineOptions::Chroma(Chroma { path, scratch: None, memory_bytes: 0, paused_container }))
}

fn any_command(section: &mut Section<'_>, folder: &Path) -> Option<EngineConfig> {
    let container = container(section, "container");
    let run_as = section.text("run-as");
    if section.has("run-as") && section.has("container") {
        section.refuse("run-as", "contradicts container: in a container its own user runs the command");
    }
    let (plain, environment) = environment(section, folder);
    let file_name = match section.take("filename") {
        Some(entry) => entry.text().and_then(|text| match check_file_name(&text) {
            Ok(()) => Some(text),
            Err(why) => {
                entry.refuse(why);
                None
            }
        }),
        None => {
            section.missing("filename");
            None
        }
    };
    if !section.has("command") {
        section.missing("command");
    }
    let options = AnyCommand {
        command: command(section, "command"),
        restore_command: command(section, "restore-command"),
        ends_with: section.text("ends-with"),
        file_name: file_name?,
        environment: plain,
        container,
        run_as,
    };
    Some(EngineConfig {
        options: EngineOptions::AnyCommand(options),
        password: None,
        environment,
        written: Written::default(),
    })
}

/// A name below the folder of the source.
fn check_file_name(text: &str) -> Result<(), String> {
    let is_name = !text.starts_with('/') && text.split('/').all(|part| !["", ".", ".."].contains(&part));
    match is_name {
        true => Ok(()),
        false => Err(format!("{text:?} is no name of a file below the folder of the source")),
    }
}

type Variables<S> = Vec<(String, S)>;

/// `environment`: variables that stand there, and those that are secret.
fn environment(section: &mut Section<'_>, folder: &Path) -> (Variables<Password>, Variables<SecretSource>) {
    let (mut plain, mut secret) = (Vec::new(), Vec::new());
    let Some(variables) = section.section("environment", &[]) else { return (plain, secret) };
    for (name, entry) in variables.named() {
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        if !is_name {
            entry.refuse("is no name of a variable");
        } else if !entry.is_text() {
            secret.extend(secrets::of_table(&entry, folder).map(|source| (name, source)));
        } else if let Some(text) = entry.address() {
            if plain_secrets::is_in_address(&text)
                || (plain_secrets::is_name(&name) && plain_secrets::is_value(&text))
            {
                entry.refuse(
                    "looks like a secret, and none stands in this file: write { file = \"…\" }, { command = \"…\" }, \
                     { env = \"…\" } or { credential = \"…\" }",
                );
            } else {
                plain.push((name, Password::new(Zeroizing::new(text))));
            }
        }
    }
    (plain, secret)
}
