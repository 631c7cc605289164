//! `[repository.NAME]`: where a repository is, what opens it, and the limits for work on it.
//!
//! What must hold: what opens it is named at most once, and never stands there itself.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::{Entry, Section};
use super::secrets::{self, SecretSource};
use super::{keys, values};
use crate::storage::location::Location;

/// A repository.
#[derive(Clone, Debug, PartialEq)]
pub struct RepositoryConfig {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// What opens it; `None`: what flags, the environment or the terminal say.
    pub credential: Option<CredentialSource>,
    /// The limits for work on it.
    pub limits: Limits,
}

/// Where what opens a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A password.
    Password(SecretSource),
    /// A key file.
    KeyFile(PathBuf),
    /// A key file that is a credential of systemd's, of this name.
    KeyCredential(String),
}

/// Limits for work on a repository; each `None`: as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are sent in a second.
    pub upload_bytes_per_second: Option<u64>,
    /// Bytes that are received in a second.
    pub download_bytes_per_second: Option<u64>,
    /// Requests at the same time.
    pub connections: Option<usize>,
    /// For how long is tried again what fails for no lasting reason.
    pub retry_for: Option<Duration>,
    /// The class of the service into which packs of contents are put.
    pub storage_class: Option<String>,
    /// Authorities that are trusted as well.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the storage.
    pub tls_client_cert: Option<PathBuf>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Where what speeds up later work is kept.
    pub cache_folder: Option<PathBuf>,
    /// How much of it.
    pub cache_bytes: Option<u64>,
}

const CREDENTIAL_KEYS: [&str; 6] = [
    "password-file",
    "password-command",
    "password-env",
    "password-credential",
    "key-file",
    "key-credential",
];

/// Reads a repository. `None` if it has no location; that was told.
pub(super) fn read(name: &str, entry: &Entry<'_>, folder: &Path) -> Option<RepositoryConfig> {
    let mut section = entry.section(keys::REPOSITORY)?;
    secrets::refuse_inline(&mut section);
    let location = location(&mut section, folder);
    let credential = credential(&mut section, folder);
    let path =
        |section: &mut Section<'_>, name| section.take(name).and_then(|entry| secrets::path(&entry, folder));
    let limits = Limits {
        upload_bytes_per_second: section.parsed("limit-upload", values::parse_rate),
        download_bytes_per_second: section.parsed("limit-download", values::parse_rate),
        connections: section.parsed("connections", values::parse_connections),
        retry_for: section.parsed("retry-for", values::parse_duration),
        storage_class: section.text("storage-class"),
        ca_file: path(&mut section, "ca-file"),
        tls_client_cert: path(&mut section, "tls-client-cert"),
        memory_bytes: section.parsed("memory-limit", values::parse_memory),
        cache_folder: path(&mut section, "cache-dir"),
        cache_bytes: section.parsed("cache-size", values::parse_size),
    };
    if let (Some(Location::Local(_)), true) = (&location, section.has("storage-class")) {
        section.refuse("storage-class", "means nothing for a directory, which has no storage classes");
    }
    section.finish();
    Some(RepositoryConfig { name: name.to_owned(), location: location?, credential, limits })
}

fn location(section: &mut Section<'_>, folder: &Path) -> Option<Location> {
    let Some(entry) = section.take("url") else {
        section.missing("url");
        return None;
    };
    let text = entry.address()?;
    match Location::parse(text.as_bytes()) {
        Ok(Location::Local(path)) => match path.as_os_str().as_bytes() {
            [b'~', ..] => {
                entry.refuse("begins with ~, which only a shell knows: write the whole path");
                None
            }
            _ => Some(Location::Local(folder.join(path))),
        },
        Ok(remote) => Some(remote),
        Err(error) => {
            entry.refuse(error.to_string());
            None
        }
    }
}

fn credential(section: &mut Section<'_>, folder: &Path) -> Option<CredentialSource> {
    // Refused once, whatever the pair is.
    let is_contradiction = CREDENTIAL_KEYS.iter().filter(|name| section.has(name)).count() > 1;
    let password = match is_contradiction {
        false => secrets::password(section, folder),
        true => {
            section.only_one(&CREDENTIAL_KEYS);
            CREDENTIAL_KEYS.iter().for_each(|name| drop(section.take(name)));
            None
        }
    };
    let key_file = section.take("key-file").and_then(|entry| secrets::path(&entry, folder));
    let key_credential = section.take("key-credential").and_then(|entry| secrets::credential_name(&entry));
    password
        .map(CredentialSource::Password)
        .or(key_file.map(CredentialSource::KeyFile))
        .or(key_credential.map(CredentialSource::KeyCredential))
}
