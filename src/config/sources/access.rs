//! How a server is reached: the keys that all servers of databases have.
//!
//! What must hold: of two ways to the same thing only one is taken; an address never holds a password.

use std::path::Path;

use crate::config::plain_secrets;
use crate::config::reader::{Entry, Section};
use crate::config::secrets::{self, SecretSource};
use crate::source::engine::options::Client;
use crate::source::engine::{Access, Container, Databases};

/// Programs that reach containers, by the names that need no path.
const CONTAINER_PROGRAMS: [&str; 2] = ["docker", "podman"];

/// Reads how a server is reached, and where the password is.
pub(super) fn read(section: &mut Section<'_>, folder: &Path) -> (Access, Option<SecretSource>) {
    secrets::refuse_inline(section);
    let password = secrets::password(section, folder);
    let container = container(section, "container");
    let container_password =
        section.take("container-password").and_then(|entry| secrets::variable_name(&entry));
    let access = Access {
        run_as: section.text("run-as"),
        host: section.take("host").and_then(|entry| host(&entry)),
        port: section.parsed("port", parse_port),
        socket: if section.knows("socket") { socket(section) } else { None },
        user: section.text("user"),
        password: None,
        programs: section.take("programs").and_then(|entry| absolute(&entry)),
        container,
        container_password,
    };
    refuse_contradictions(section);
    (access, password)
}

fn refuse_contradictions(section: &Section<'_>) {
    if section.has("container-password") {
        if !section.has("container") {
            section.refuse("container-password", "names a variable of a container: it needs container");
        }
        if let Some(other) = secrets::PASSWORD_KEYS.iter().find(|name| section.has(name)) {
            section.refuse("container-password", format!("contradicts {other}: give one of them"));
        }
    }
    for (name, why) in [
        ("run-as", "contradicts container: in a container its own user runs the clients"),
        ("programs", "contradicts container: in a container its own clients are run"),
    ] {
        if section.has("container") && section.has(name) {
            section.refuse(name, why);
        }
    }
    if section.knows("socket") && section.has("socket") {
        for name in ["host", "port"].into_iter().filter(|name| section.has(name)) {
            section.refuse(name, "contradicts socket: a server is reached by one of them");
        }
    }
}

/// A container under the name of this key, by the program that reaches it.
pub(super) fn container(section: &mut Section<'_>, key: &'static str) -> Option<Container> {
    let name = section.take(key).and_then(|entry| match entry.text()? {
        name if name.starts_with('-') || name.contains(char::is_whitespace) => {
            entry.refuse(format!("{name:?} is no name of a container"));
            None
        }
        name => Some(name),
    });
    let program = section.take("container-program").and_then(|entry| match entry.text()? {
        program if CONTAINER_PROGRAMS.contains(&program.as_str()) || program.starts_with('/') => {
            Some(program)
        }
        program => {
            entry.refuse(format!(
                "{program:?} is neither \"docker\" nor \"podman\" nor the path of a program"
            ));
            None
        }
    });
    if section.has("container-program") && !section.has(key) {
        section.refuse("container-program", format!("reaches a container: it needs {key}"));
    }
    Some(Container { name: name?, program: program.unwrap_or_else(|| "docker".to_owned()) })
}

fn host(entry: &Entry<'_>) -> Option<String> {
    let text = entry.address()?;
    if text.contains("://") || text.contains('@') {
        entry.refuse(
            "must be a name, an address or the folder of a socket; the user stands in user, and a password never here",
        );
        return None;
    }
    if text.starts_with('-') || text.contains(char::is_whitespace) {
        entry.refuse(format!("{text:?} is no name of a host"));
        return None;
    }
    Some(text)
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("{text:?} is no port: 1 to 65535")),
    }
}

fn socket(section: &mut Section<'_>) -> Option<String> {
    section.take("socket").and_then(|entry| absolute(&entry))
}

/// A path that must be absolute.
pub(super) fn absolute(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    match super::check_absolute(&text) {
        Ok(()) => Some(text),
        Err(why) => {
            entry.refuse(why);
            None
        }
    }
}

/// `databases`: a list of names, or `"all"`, which it also is if nothing is said.
pub(super) fn databases(section: &mut Section<'_>) -> Databases {
    let Some(entry) = section.take("databases") else { return Databases::All };
    if entry.is_text() {
        match entry.text().as_deref() {
            Some("all") | None => {}
            Some(name) => entry.refuse(format!("must be \"all\" or a list of names: write [{name:?}]")),
        }
        return Databases::All;
    }
    let names = entry.texts();
    for name in names.iter().filter(|name| name.starts_with('-') || name.contains(['/', '\n'])) {
        entry.refuse(format!("{name:?} is a name that no dump could be called"));
    }
    let mut sorted = names.clone();
    sorted.sort_unstable();
    if let Some([name, _]) = sorted.array_windows().find(|[one, other]| one == other) {
        entry.refuse(format!("{name:?} is named twice"));
    }
    if entry.elements().is_some_and(|elements| elements.is_empty()) {
        entry.refuse("is empty: nothing would be dumped");
    }
    Databases::Named(names)
}

/// `options`: further arguments of the program that dumps, none of which may hold a password or spoil the dump.
pub(super) fn options(section: &mut Section<'_>, client: Client) -> Vec<String> {
    let Some(entry) = section.take("options") else { return Vec::new() };
    let options = entry.texts();
    client.refusals(&options).into_iter().for_each(|why| entry.refuse(why));
    // To PostgreSQL's programs it is the port.
    let short = matches!(client, Client::MariadbDump | Client::Mongodump).then_some("-p");
    for option in &options {
        let is_short = short.is_some_and(|short| option.starts_with(short) && !option.starts_with("--"));
        let has_password = is_short || option.to_ascii_lowercase().starts_with("--pass");
        let name = option.split(['=', ' ', ':']).next().unwrap_or_default();
        let name = if is_short { short.unwrap_or_default() } else { name };
        let found = has_password.then(|| name.to_owned());
        if let Some(name) = found.or_else(|| plain_secrets::in_words([option.as_str()])) {
            entry.refuse(format!(
                "holds a password in {name}, which every user could read in the list of processes: use password-file or \
                 its like"
            ));
        }
    }
    options
}

/// A program and its arguments.
pub(super) fn command(section: &mut Section<'_>, name: &'static str) -> Vec<String> {
    let Some(entry) = section.take(name) else { return Vec::new() };
    if entry.is_text() {
        entry.refuse("must be a list, as [\"program\", \"argument\"]: no shell runs it; [\"sh\", \"-c\", \"…\"] runs one");
        return Vec::new();
    }
    if entry.elements().is_some_and(|elements| elements.is_empty()) {
        entry.refuse("is empty: it must begin with a program");
    }
    let words = entry.texts();
    if let Some(name) = plain_secrets::in_words(words.iter().map(String::as_str)) {
        entry.refuse(format!(
            "holds a secret in {name}: it would stand in this file, and every user could read it in the list of processes: \
             let the program read it from a file, or from a variable that environment = {{ NAME = {{ file = \"…\" }} }} sets"
        ));
    }
    words
}
