//! How the server is reached to which a stored source goes: by single keys that somebody gives, over what the
//! configuration says of the source.
//!
//! What must hold: a key means what it means in a configuration; no secret is among what is given; a key that is given
//! takes the place of those that it contradicts; only keys that are needed to dump may be missing.

use std::path::{Path, PathBuf};

use toml_edit::{Item, Table, Value};

use super::{EngineConfig, TYPES, engines};
use crate::config::nearest::nearest;
use crate::config::problem::Problem;
use crate::config::reader::{Problems, Section};
use crate::config::secrets::{INLINE_KEYS, PASSWORD_KEYS};

/// What a source said, key by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Where relative paths begin.
    pub folder: PathBuf,
    /// The keys.
    pub values: Vec<(String, Plain)>,
}

/// A value of one of the kinds that a configuration has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Text(String),
    Flag(bool),
    Number(i64),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
}

/// Keys of one side contradict those of the other.
const RIVALS: [(&[&str], &[&str]); 3] = [
    (&["socket"], &["host", "port"]),
    (&["container", "container-program", "container-password"], &["run-as", "programs"]),
    (&["container-password"], &PASSWORD_KEYS),
];
/// What a source is, and what becomes of a run if it fails or takes long.
const OF_SOURCE: [&str; 4] = ["type", "name", "on-failure", "time-limit"];
/// Keys that mean nothing without a container.
const OF_CONTAINER: [&str; 2] = ["container-program", "container-password"];
/// Keys whose values are no texts.
const FLAGS: [&str; 2] = ["oplog", "tls"];

/// What is given to put a stored source back.
#[derive(Clone, Copy, Debug)]
pub struct Given<'g> {
    /// The word of its type.
    pub kind: &'g str,
    /// Keys and values; a value that is empty takes away what the configuration says.
    pub pairs: &'g [(String, String)],
    /// Where relative paths of these begin.
    pub folder: &'g Path,
    /// What the configuration says of it.
    pub configured: Option<&'g EngineConfig>,
    /// The name of its dump, where that is needed to know it again.
    pub file_name: Option<&'g str>,
}

impl Given<'_> {
    /// The engine that puts it back, or all that is wrong with what is given. `None` if nobody knows the kind.
    pub fn read(&self) -> Option<Result<EngineConfig, Vec<Problem>>> {
        // An engine calls itself by another word than its type.
        let word = if self.kind == "chroma" { "chromadb" } else { self.kind };
        let (_, kind) = TYPES.iter().find(|(known, kind)| *known == word && kind.word != "path")?;
        let problems = Problems::new("");
        let table = self.table(kind.keys, &problems);
        let written = self.configured.map(|configured| &configured.written);
        let folder = written.map_or(self.folder, |written| &written.folder);
        let mut section = Section::root(&table, kind.keys, &problems);
        let engine = engines::read(&mut section, kind.word, folder);
        section.finish();
        Some(match (problems.into_list(), engine) {
            (list, Some(engine)) if list.is_empty() => Ok(engine),
            (list, _) => Err(list),
        })
    }

    /// All keys that hold.
    fn table(&self, known: &'static [&'static str], problems: &Problems<'_>) -> Table {
        let mut table = Table::new();
        let mut set = |key: &str, value: Value| drop(table.insert(key, Item::Value(value)));
        match self.kind {
            "sqlite" => set("paths", Value::from_iter(["/"])),
            "command" => {
                set("command", Value::from_iter(["true"]));
                set("filename", self.file_name.unwrap_or("output").into());
            }
            _ => {}
        }
        for (key, value) in self.configured.iter().flat_map(|configured| &configured.written.values) {
            set(key, value.to_value());
        }
        for (key, _) in self.pairs {
            rivals(key).for_each(|rival| drop(table.remove(rival)));
        }
        for (number, (key, text)) in self.pairs.iter().enumerate() {
            let refuse = |message: &str, nearest| problems.add(0, key, message, nearest);
            if INLINE_KEYS.contains(&key.as_str()) {
                refuse(WAYS, None);
            } else if OF_SOURCE.contains(&key.as_str()) || !known.contains(&key.as_str()) {
                let possible: Vec<&str> =
                    known.iter().copied().filter(|key| !OF_SOURCE.contains(key)).collect();
                refuse("is no key that is known here", nearest(key, &possible));
            } else if self.pairs.iter().take(number).any(|(other, _)| other == key) {
                refuse("is given twice", None);
            } else if text.is_empty() {
                let with = if key == "container" { OF_CONTAINER.as_slice() } else { &[] };
                with.iter().chain([&key.as_str()]).for_each(|key| drop(table.remove(key)));
            } else {
                table.insert(key, Item::Value(self.value(key, text)));
            }
        }
        table
    }

    /// What a text means: a list or a table as it is written in a configuration, anything else as it is.
    fn value(&self, key: &str, text: &str) -> Value {
        let is_toml = text.starts_with(['[', '{']) || FLAGS.contains(&key);
        if let (true, Ok(value)) = (is_toml, text.parse::<Value>()) {
            return value;
        }
        // `~` stays at the beginning, to be refused.
        match key == "password-file" && !text.starts_with('~') {
            true => self.folder.join(text).to_string_lossy().as_ref().into(),
            false => text.into(),
        }
    }
}

const WAYS: &str = "no secret stands on a command line, which everybody on the machine can read: name where it is, with \
                    password-file, password-command, password-env or password-credential";

/// Whether two words mean one kind of database: that of a type, and that by which its engine calls itself.
pub fn is_same_kind(one: &str, other: &str) -> bool {
    let family = |word| match word {
        "mysql" => "mariadb",
        "valkey" => "redis",
        "chroma" => "chromadb",
        word => word,
    };
    family(one) == family(other)
}

/// The keys that cannot stand beside one.
fn rivals(key: &str) -> impl Iterator<Item = &'static str> {
    let sides = RIVALS.iter().flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
    let of_sides =
        sides.filter(move |(side, _)| side.contains(&key)).flat_map(|(_, other)| other.iter().copied());
    let is_password = PASSWORD_KEYS.contains(&key);
    of_sides.chain(PASSWORD_KEYS.into_iter().filter(move |other| is_password && *other != key))
}

/// What a table says of its source, but for what is the job's.
pub(super) fn written(section: &Section<'_>, folder: &Path) -> Written {
    let is_told = |key: &str| !OF_SOURCE.contains(&key);
    let values = section.values().filter(|(key, _)| is_told(key));
    let values = values.filter_map(|(key, item)| Some((key.to_owned(), Plain::of(item)?)));
    Written { folder: folder.to_owned(), values: values.collect() }
}

impl Plain {
    fn of(item: &Item) -> Option<Self> {
        if let Some(text) = item.as_str() {
            return Some(Self::Text(text.to_owned()));
        }
        if let Some(table) = item.as_table_like() {
            let pairs = table.iter().filter_map(|(key, item)| Some((key.to_owned(), Self::of(item)?)));
            return Some(Self::Table(pairs.collect()));
        }
        if let Some(array) = item.as_array() {
            let values = array.iter().filter_map(|value| Self::of(&Item::Value(value.clone())));
            return Some(Self::List(values.collect()));
        }
        item.as_bool().map(Self::Flag).or_else(|| item.as_integer().map(Self::Number))
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Number(number) => (*number).into(),
            Self::List(values) => values.iter().map(Self::to_value).collect(),
            Self::Table(pairs) => Value::InlineTable(
                pairs.iter().map(|(key, value)| (key.as_str(), value.to_value())).collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
