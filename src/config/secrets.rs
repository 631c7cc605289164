//! Where secrets are: a configuration names the place, never the secret.
//!
//! What must hold: no secret stands in a configuration, and nothing here reads one; who is given the place reads it, when
//! it is needed.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::plain_secrets;
use super::reader::{Entry, Section};
use crate::base::Result;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// In the first line of a file.
    File(PathBuf),
    /// In the first line that a command of the shell prints.
    Shell(String),
    /// In a variable of the environment.
    Variable(String),
    /// In a credential that systemd gives to the service.
    Credential(String),
}

impl SecretSource {
    /// The name of the variable in which it is, if it is in one.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            _ => None,
        }
    }
}

/// Reads secrets.
pub trait Secrets {
    /// The secret; fails if it is not there or is empty.
    fn read(&self, source: &SecretSource) -> Result<Zeroizing<String>>;
}

/// The keys by which a password is named.
pub(super) const PASSWORD_KEYS: [&str; 4] =
    ["password-file", "password-command", "password-env", "password-credential"];

/// Keys under which a secret itself would stand.
pub(super) const INLINE_KEYS: [&str; 6] = ["password", "passphrase", "pass", "secret", "token", "key"];

const WAYS: &str = "no secret stands in this file, which gets copied and read: name where it is, with password-file, \
                    password-command, password-env or password-credential";

/// The password of a table: one of the four keys at most.
pub(super) fn password(section: &mut Section<'_>, folder: &Path) -> Option<SecretSource> {
    let [file, command, variable, credential] = PASSWORD_KEYS;
    let found = [
        section.take(file).and_then(|entry| path(&entry, folder)).map(SecretSource::File),
        section.take(command).and_then(|entry| shell(&entry)).map(SecretSource::Shell),
        section.take(variable).and_then(|entry| variable_name(&entry)).map(SecretSource::Variable),
        section.take(credential).and_then(|entry| credential_name(&entry)).map(SecretSource::Credential),
    ];
    section.only_one(&PASSWORD_KEYS);
    found.into_iter().flatten().next()
}

/// A command of the shell that prints a secret, and has none in it.
fn shell(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    if let Some(name) = plain_secrets::in_words([text.as_str()]) {
        entry.refuse(format!("holds a secret in {name}: it must print one that is kept elsewhere"));
        return None;
    }
    Some(text)
}

/// Refuses secrets that stand in the table themselves.
pub(super) fn refuse_inline(section: &mut Section<'_>) {
    for name in INLINE_KEYS {
        if section.take_refused(name) {
            section.refuse(name, WAYS);
        }
    }
}

/// A path, which begins at the folder of the configuration if it is relative.
pub(super) fn path(entry: &Entry<'_>, folder: &Path) -> Option<PathBuf> {
    let text = entry.text()?;
    if text.starts_with('~') {
        entry.refuse("begins with ~, which only a shell knows: write the whole path");
        return None;
    }
    Some(folder.join(text))
}

/// The name of a variable.
pub(super) fn variable_name(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    let is_name = !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        entry.refuse("must be the name of a variable: letters, digits and _");
    }
    is_name.then_some(text)
}

/// The name of a credential of systemd's.
pub(super) fn credential_name(entry: &Entry<'_>) -> Option<String> {
    let text = entry.text()?;
    let is_name = !text.contains('/') && !text.starts_with('.');
    if !is_name {
        entry.refuse("must be the name of a systemd credential, which is no path");
    }
    is_name.then_some(text)
}

/// A secret of a table of its own: `{ file = … }`, `{ command = … }`, `{ env = … }` or `{ credential = … }`.
pub(super) fn of_table(entry: &Entry<'_>, folder: &Path) -> Option<SecretSource> {
    let mut section = entry.section(super::keys::SECRET)?;
    let found = [
        section.take("file").and_then(|entry| path(&entry, folder)).map(SecretSource::File),
        section.take("command").and_then(|entry| shell(&entry)).map(SecretSource::Shell),
        section.take("env").and_then(|entry| variable_name(&entry)).map(SecretSource::Variable),
        section.take("credential").and_then(|entry| credential_name(&entry)).map(SecretSource::Credential),
    ];
    if section.only_one(super::keys::SECRET).is_none() {
        section.refuse_all("must name one of file, command, env, credential");
    }
    section.finish();
    found.into_iter().flatten().next()
}
