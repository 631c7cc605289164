//! Key files: 32 random bytes, raw, as 64 hexadecimal digits, or as 24 words.
//!
//! What must hold: a new key file appears with all its bytes, readable to its owner alone, and never in the place of
//! another; the key lies only in memory that is wiped.

pub mod text;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::crypto::{Secret, random, slot::Credential};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::credentials::Obtained;
use crate::report;

const KEY_BYTES: usize = 32;
/// More than a key takes in any form, and one byte that shows that there is more.
const BUFFER_BYTES: usize = 1024 + 1;

/// Reads a key file. Warns if others than its owner may.
pub fn obtain(path: &Path) -> Result<Obtained> {
    let shown = show_path(path.as_os_str().as_bytes());
    let failed = || format!("cannot read the key file {shown}");
    let mut file = File::open(path).wrap(failed)?;
    let metadata = file.metadata().wrap(failed)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o777;
        report::warn(&format!(
            "others than its owner may use the key file {shown}: its mode is {mode:04o}, not 0600"
        ));
    }
    let mut buffer = Zeroizing::new([0; BUFFER_BYTES]);
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::system(failed(), error)),
        }
    }
    let key = parse(buffer.get(..length).unwrap_or_default()).map_err(|found| {
        let message =
            format!("{shown} is no key file: it must hold 32 bytes, 64 hexadecimal digits, or 24 words");
        Error::new(ErrorKind::Usage, found).while_doing(message)
    })?;
    Ok(Obtained { credential: Credential::KeyFile(key), name: format!("the key file {shown}") })
}

/// The key in a file of these bytes; else what they are, without a word of what they say.
fn parse(bytes: &[u8]) -> std::result::Result<Secret, String> {
    if let Ok(raw) = <[u8; KEY_BYTES]>::try_from(bytes) {
        let raw = Zeroizing::new(raw);
        return Ok(Secret::new(*raw));
    }
    match std::str::from_utf8(bytes) {
        _ if bytes.len() >= BUFFER_BYTES => Err(format!("it holds more than {} bytes", BUFFER_BYTES - 1)),
        Ok(text) => text::parse(text),
        Err(_) => Err(format!("it holds {} bytes", bytes.len())),
    }
}

/// Makes a key file of random bytes, and its directory where that is missing. `Exists` if there is one.
pub fn create_with_folder(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path)).wrap(|| cannot_make(path))?;
    create(path)
}

/// Makes a key file of random bytes, which is durable when this returns. `Exists` if there is one.
pub fn create(path: &Path) -> Result<()> {
    let failed = || cannot_make(path);
    let folder = folder_of(path);
    // Written whole under another name first, because a second program that finds it will use it.
    let suffix: [u8; 8] = random::array()?;
    let unfinished = folder.join(format!(".key-{}", packstone::base::id::to_hex(&suffix)));
    let key = Zeroizing::new(random::array::<KEY_BYTES>()?);
    let made = write_new(&unfinished, &*key).and_then(|()| publish(&unfinished, path));
    drop(std::fs::remove_file(&unfinished));
    made.and_then(|()| File::open(folder)?.sync_all()).wrap(failed)
}

fn cannot_make(path: &Path) -> String {
    format!("cannot make the key file {}", show_path(path.as_os_str().as_bytes()))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    }
}

/// Gives a file its final name, unless that is taken.
fn publish(unfinished: &Path, path: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, unfinished, CWD, path, RenameFlags::NOREPLACE) {
        // Not every file system knows how.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => std::fs::hard_link(unfinished, path),
        renamed => Ok(renamed?),
    }
}

fn write_new(path: &Path, key: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &Path) -> Secret {
        match obtain(path).expect("a key file").credential {
            Credential::KeyFile(secret) => secret,
            Credential::Password(_) => panic!("a key file gives a key"),
        }
    }

    #[test]
    fn keys_are_read_raw_and_as_text() {
        let expected = Ok(Secret::new([0xab; 32]));
        assert_eq!(parse(&[0xab; 32]), expected);
        assert_eq!(parse("ab".repeat(32).as_bytes()), expected);
        // Text of that length is raw, as any other 32 bytes.
        assert_eq!(parse(&[b'a'; 32]), Ok(Secret::new([b'a'; 32])));
        for (bad, found) in [
            (vec![0xab; 31], "31 bytes"),
            (vec![0xab; 33], "33 bytes"),
            (Vec::new(), "no text"),
            (b"ab".repeat(2000), "more than 1024 bytes"),
        ] {
            let bad = &bad[..bad.len().min(BUFFER_BYTES)];
            assert_eq!(parse(bad), Err(format!("it holds {found}")));
        }
    }

    #[test]
    fn a_new_key_file_is_private_and_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("config/packstone/key");
        assert_eq!(create(&path).expect_err("no folder").kind(), ErrorKind::NotFound);
        create_with_folder(&path).expect("a key file");
        let metadata = path.metadata().expect("it is there");
        assert_eq!((metadata.mode() & 0o7777, metadata.len()), (0o600, 32));
        assert_eq!(path.parent().expect("a folder").metadata().expect("it is there").mode() & 0o7777, 0o700);
        let first = key(&path);
        assert_eq!(create(&path).expect_err("it is there").kind(), ErrorKind::Exists);
        assert_eq!(key(&path), first);
        let left: Vec<_> = path.parent().expect("a folder").read_dir().expect("a folder").collect();
        assert_eq!(left.len(), 1, "nothing unfinished is left: {left:?}");
        let other = folder.path().join("other");
        create(&other).expect("a key file");
        assert_ne!(key(&other), first);
    }
}
