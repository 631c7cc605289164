//! Where a restore puts what it gives back, and what must not be harmed there.
//!
//! What must hold: nothing is restored into the repository; what belongs to it is never deleted; nothing is deleted in
//! all of a machine at once; what goes to where it came from is asked for first, where somebody can answer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use packstone::base::host::Host;
use packstone::base::monitor::{show_file, show_path};
use packstone::base::{Error, ErrorKind, Result};
use packstone::ops::restore::{DeleteOptions, Selection, origin};
use packstone::repository::SnapshotEntry;

use crate::context::Context;
use crate::default_repository;
use crate::environment::{KEY_FILE, PASSWORD_FILE};
use crate::open::Opened;

/// Where it is put.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Destination {
    /// Where to put it; the directory is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    target: Option<PathBuf>,
    /// Put it where it came from; on a terminal, asks before anything that is there is replaced
    #[arg(long)]
    to_origin: bool,
    /// Put a single file there, under this name
    #[arg(long = "as", value_name = "FILE")]
    named: Option<PathBuf>,
}

/// The directory of a restore, and the name in it if that is another.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
    /// The name of a single object.
    pub name: Option<Vec<u8>>,
    /// Whether it is where everything came from.
    pub is_origin: bool,
}

impl Destination {
    /// Where a part of a snapshot goes.
    pub fn place(&self, opened: &Opened, snapshot: &SnapshotEntry, path: Option<&[u8]>) -> Result<Place> {
        if self.to_origin {
            let directory = origin(&opened.repository, snapshot, path)?;
            return Ok(Place { directory, name: None, is_origin: true });
        }
        if let Some(file) = &self.named {
            let is_name = !file.as_os_str().as_bytes().ends_with(b"/");
            let name = file.file_name().filter(|_| is_name);
            let refused = || {
                let shown = show_file(file);
                Error::new(ErrorKind::Usage, format!("--as {shown} names no file: it must end with its name"))
            };
            let name = Some(name.ok_or_else(refused)?.as_bytes().to_vec());
            let directory = match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            };
            return Ok(Place { directory, name, is_origin: false });
        }
        let directory = self.target.clone().unwrap_or_default();
        Ok(Place { directory, name: None, is_origin: false })
    }
}

impl Place {
    /// As people are told of it.
    pub fn shown(&self) -> String {
        match &self.name {
            Some(name) => show_file(&self.directory.join(OsStr::from_bytes(name))),
            None => show_file(&self.directory),
        }
    }

    /// Refuses to delete in all of a machine at once: in `/` only parts of a whole snapshot that say where they are.
    pub fn refuse_everything(&self, path: Option<&[u8]>, selection: &Selection) -> Result<()> {
        let is_anchored = path.is_none()
            && match selection {
                Selection::Include(patterns) => patterns.given().all(|pattern| says_where(&pattern.text)),
                Selection::All | Selection::Exclude(_) => false,
            };
        if is_anchored || !is_root(&self.directory) {
            return Ok(());
        }
        let message = "--delete in / could delete all of this machine: restore into the directory itself, as \
             latest:/srv -t /srv, or with --to-origin; or a whole snapshot with --include /srv, whose patterns must all \
             begin with / and name a directory without wildcards";
        Err(Error::new(ErrorKind::Usage, message))
    }

    /// Refuses to put another machine's files where they came from, unless that is agreed to.
    pub fn refuse_stranger(&self, snapshot: &SnapshotEntry, is_agreed: bool) -> Result<()> {
        let host = &snapshot.snapshot.host;
        if !self.is_origin || is_agreed || is_of_this_machine(snapshot) {
            return Ok(());
        }
        let message = format!(
            "snapshot {} is of the machine {}: to put it where it came from, but on this one, add --yes",
            snapshot.id.short(),
            show_path(host.as_bytes())
        );
        Err(Error::new(ErrorKind::Usage, message))
    }
}

/// Whether a directory is the root of the machine, under whatever name. What cannot be told counts as that, if it is
/// there.
fn is_root(directory: &Path) -> bool {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let identity = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
    match (identity(directory), identity(Path::new("/"))) {
        (Err(error), _) => error.kind() != std::io::ErrorKind::NotFound,
        (Ok(_), Err(_)) => true,
        (Ok(there), Ok(root)) => {
            there == root || directory.canonicalize().map_or(true, |path| path == Path::new("/"))
        }
    }
}

/// Whether a pattern can only match within one directory of `/`, or below a name.
fn says_where(pattern: &[u8]) -> bool {
    let Some(anchored) = pattern.strip_prefix(b"/") else { return false };
    let mut names = anchored.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    let is_name = |name: &[u8]| !name.iter().any(|byte| b"*?[\\".contains(byte));
    names.clone().all(|name| name != b"." && name != b"..") && names.any(is_name)
}

/// What `--delete` never takes: the repository, its cache, and what opens it, with the links that lead there.
pub fn delete_options(
    opened: &Opened,
    context: &Context,
    snapshot: &SnapshotEntry,
    is_agreed: bool,
) -> DeleteOptions {
    let of_environment = [KEY_FILE, PASSWORD_FILE].map(|name| context.environment.get(name).map(Path::new));
    let of_flags = [&context.global.key_file, &context.global.password_file].map(Option::as_deref);
    let places = default_repository::places(&context.environment).ok();
    let of_default =
        places.iter().flat_map(|places| [places.key_file.as_path(), places.repository.as_path()]);
    let files = of_environment.into_iter().chain(of_flags).flatten().chain(of_default);
    let own = opened.location.directory().into_iter().chain(opened.cache.as_deref());
    let mut spared = opened.own_directories();
    for file in files.chain(own) {
        let there = [file.metadata(), file.symlink_metadata()];
        spared.extend(there.into_iter().flatten().map(|metadata| (metadata.dev(), metadata.ino())));
    }
    // What agrees to restore another machine's files does not agree to lose this one's.
    DeleteOptions { any_number: is_agreed && is_of_this_machine(snapshot), spared }
}

/// Whether a snapshot was made on this machine.
pub fn is_of_this_machine(snapshot: &SnapshotEntry) -> bool {
    snapshot.snapshot.host == Host::current().name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_name_a_directory_say_where() {
        for pattern in ["/srv", "/srv/*.txt", "/**/x", "/*/x/"] {
            assert!(says_where(pattern.as_bytes()), "{pattern}");
        }
        for pattern in
            ["*", "srv", "/", "/*", "/**", "/*/**", "/?*", "/[a-z]*", "!/srv", "/srv/..", "/./srv", ""]
        {
            assert!(!says_where(pattern.as_bytes()), "{pattern}");
        }
    }

    #[test]
    fn the_root_is_known_under_every_name() {
        assert!(is_root(Path::new("/")) && is_root(Path::new("/usr/..")) && is_root(Path::new("//.")));
        assert!(!is_root(Path::new("/usr")) && !is_root(Path::new("/not/there")));
    }
}
