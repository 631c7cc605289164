//! What a server of Redis or Valkey is asked, by its own client.
//!
//! What must hold: an answer counts only if it looks as it must; errors come on the standard output, and with success.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::{Access, Listener};
use super::{Redis, Tls};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::Program;

/// How the lines begin by which redis-cli tells of a transfer.
const STEPS: [&str; 3] = ["sending REPLCONF", "SYNC sent to", "Transfer finished with success"];

/// The clients, the first that is there being taken.
const CLIENTS: [&str; 2] = ["redis-cli", VALKEY];
const VALKEY: &str = "valkey-cli";
/// What errors begin with, and what they mean.
const ERRORS: [(&str, ErrorKind, &str); 8] = [
    ("NOAUTH", ErrorKind::Denied, "the server does not accept this user or password"),
    ("WRONGPASS", ErrorKind::Denied, "the server does not accept this user or password"),
    ("AUTH failed", ErrorKind::Denied, "the server does not accept this user or password"),
    ("NOPERM", ErrorKind::Denied, "this user may not do that"),
    ("DENIED", ErrorKind::Denied, "the server does not take connections from here"),
    ("LOADING", ErrorKind::Unreachable, "the server still loads its data"),
    ("MISCONF", ErrorKind::Failed, "the server cannot save its data on its disk"),
    ("MASTERDOWN", ErrorKind::Unreachable, "the server is a replica that has lost its master"),
];

/// A way to ask a server.
#[derive(Clone)]
pub(super) struct Client {
    name: &'static str,
    access: Access,
    tls: Option<Tls>,
    listener: Listener,
}

/// What a server says of itself.
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    version: String,
}

impl Server {
    /// For people, as `Redis 7.0.15`.
    pub(super) fn shown(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The first number of its version.
    pub(super) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }
}

impl Client {
    /// Finds a client that is there.
    pub(super) fn find(redis: &Redis, listener: &Listener) -> Result<Self> {
        let mut missing = None;
        for name in CLIENTS {
            match Program::client(name, &redis.access, listener).argument("--version").capture() {
                Ok(_) => return Ok(Self::of(name, redis, listener)),
                Err(error) => drop(missing.get_or_insert(error)),
            }
        }
        Err(missing.unwrap_or_else(|| Error::new(ErrorKind::NotFound, "there is no client")))
    }

    /// A client that may not be there.
    pub(super) fn of(name: &'static str, redis: &Redis, listener: &Listener) -> Self {
        let passed_on = listener.clone();
        // It tells each step of a transfer, which is no news as long as all is well.
        let listener = listener.with(move |line| {
            if !STEPS.iter().any(|step| line.starts_with(step)) {
                passed_on.tell(line);
            }
        });
        Self { name, access: redis.access.clone(), tls: redis.tls.clone(), listener }
    }

    /// The same for what is done even if everything is to end.
    pub(super) fn for_undoing(&self) -> Self {
        Self { listener: self.listener.for_undoing(), ..self.clone() }
    }

    /// Who is told what the client says.
    pub(super) const fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Whether the end was asked for.
    pub(super) fn is_over(&self) -> bool {
        self.listener.stops().is_over()
    }

    /// The name of a client, if a word is one.
    pub(super) fn known(word: &str) -> Option<&'static str> {
        CLIENTS.into_iter().find(|name| *name == word)
    }

    /// The client with all that it needs to reach the server.
    pub(super) fn program(&self) -> Result<Program> {
        let access = &self.access;
        let port = access.port.map(|port| port.to_string());
        let options = [("-s", &access.socket), ("-h", &access.host), ("-p", &port), ("--user", &access.user)];
        let mut program = Program::client(self.name, access, &self.listener);
        for (option, value) in options {
            if let Some(value) = value {
                program = program.arguments([option, value]);
            }
        }
        if let Some(tls) = &self.tls {
            program = program.argument("--tls");
            for (option, file) in
                [("--cacert", &tls.ca_file), ("--cert", &tls.certificate_file), ("--key", &tls.key_file)]
            {
                if let Some(file) = file {
                    program = program.arguments([option, file]);
                }
            }
        }
        let program = program.password("REDISCLI_AUTH", access)?;
        Ok(match &access.password {
            // From version 9 on it looks at this one first, before that at the other alone.
            Some(password) if self.name == VALKEY => program.secret("VALKEYCLI_AUTH", password),
            _ => program,
        })
    }

    /// Asks, and gives the answer without white space at its end. An answer that is an error is one.
    pub(super) fn ask(&self, words: &[&str]) -> Result<String> {
        let what = || format!("cannot ask the server: {}", words.join(" "));
        let answer = self.program()?.arguments(words).capture_text().wrap(what)?;
        let answer = answer.trim_end();
        let line = answer.strip_prefix("(error) ").unwrap_or(answer);
        for (word, kind, sentence) in ERRORS {
            if line.starts_with(word) {
                return Err(Error::new(kind, line.to_owned()).while_doing(sentence).while_doing(what()));
            }
        }
        if line.starts_with("ERR ") || line.starts_with("Error:") || answer.starts_with("(error)") {
            return Err(Error::new(ErrorKind::Failed, line.to_owned()).while_doing(what()));
        }
        Ok(answer.to_owned())
    }

    /// A part of what the server says of itself.
    pub(super) fn information(&self, section: &str) -> Result<Information> {
        let answer = self.ask(&["INFO", section])?;
        if answer.starts_with('#') {
            return Ok(Information(answer));
        }
        Err(unexpected(&["INFO", section], &answer))
    }

    /// One line of its configuration.
    pub(super) fn configuration(&self, name: &str) -> Result<String> {
        let words = ["CONFIG", "GET", name];
        let answer = self.ask(&words)?;
        match answer.split_once('\n') {
            Some((found, value)) if found.trim_end() == name => Ok(value.to_owned()),
            // Empty values and their line feed are cut off above.
            None if answer == name => Ok(String::new()),
            _ => Err(unexpected(&words, &answer)),
        }
    }

    /// A number.
    pub(super) fn number(&self, words: &[&str]) -> Result<u64> {
        let answer = self.ask(words)?;
        answer.lines().next().unwrap_or_default().parse().map_err(|_| unexpected(words, &answer))
    }

    /// The server's name and version, once it has loaded its data.
    pub(super) fn server(&self) -> Result<Server> {
        let told = self.information("server")?;
        let (name, version) = match (told.get("valkey_version"), told.get("redis_version")) {
            (Some(version), _) => ("Valkey", version),
            (None, Some(version)) => ("Redis", version),
            (None, None) => return Err(unexpected(&["INFO", "server"], "no version")),
        };
        if self.information("persistence")?.is("loading", "1") {
            let message = "the server still loads its data";
            return Err(Error::new(ErrorKind::Unreachable, message));
        }
        Ok(Server { name, version: version.to_owned() })
    }

    /// How many keys it has, in all its databases.
    pub(super) fn keys(&self) -> Result<u64> {
        Ok(self.information("keyspace")?.keys())
    }

    /// The folder of its data.
    pub(super) fn folder(&self) -> Result<PathBuf> {
        self.configuration("dir").map(PathBuf::from)
    }

    /// Whether the server is a process of this machine that works in this folder. In a container, and behind a port that
    /// is passed on, it calls another folder so.
    pub(super) fn works_in(&self, folder: &Path) -> bool {
        let told = self.information("server").ok();
        let Some(process) = told.and_then(|told| told.number("process_id")) else { return false };
        let which = |path: &Path| std::fs::metadata(path).ok().map(|stat| (stat.dev(), stat.ino()));
        let there = which(Path::new(&format!("/proc/{process}/cwd")));
        there.is_some() && there == which(folder)
    }
}

/// An answer that is none.
fn unexpected(words: &[&str], answer: &str) -> Error {
    let line: String = answer.lines().next().unwrap_or_default().chars().take(200).collect();
    Error::new(ErrorKind::Failed, format!("the server's answer to {} is {line:?}", words.join(" ")))
}

/// Lines of `name:value`.
#[derive(Debug)]
pub(super) struct Information(String);

impl Information {
    /// Such lines, as a server could give them.
    #[cfg(test)]
    pub(super) const fn new(lines: String) -> Self {
        Self(lines)
    }

    /// The value of a name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
    }

    /// The number of a name.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// How many keys are in all databases that are told of.
    pub(super) fn keys(&self) -> u64 {
        self.databases().map(|(_, keys)| keys).sum()
    }

    /// How many of them are in one.
    pub(super) fn keys_of(&self, number: u64) -> u64 {
        self.databases().find(|(found, _)| *found == number).map_or(0, |(_, keys)| keys)
    }

    /// Databases, and how many keys they have.
    fn databases(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.lines().filter_map(|line| {
            let (number, keys) = line.strip_prefix("db")?.split_once(":keys=")?;
            Some((number.parse().ok()?, keys.split(',').next()?.parse().ok()?))
        })
    }

    /// Whether it has this value.
    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }
}

impl Client {
    /// Another program in the container of the server, if it has one.
    pub(super) fn in_container(&self, name: &str) -> Option<Program> {
        let container = self.access.container.as_ref()?;
        Some(Program::of_command(name, Some(container), self.access.run_as.as_deref(), &self.listener))
    }
}
