//! When this machine last verified each pack of a repository.
//!
//! ```text
//! mark 16 | pack's name 32, seconds since 1970 8 … | code 32
//! ```
//!
//! What must hold: it decides which packs are read next, and nothing else. A file that is damaged, foreign or of another
//! version counts as if there were none; it is replaced in one step, and holds no pack that is gone.

use std::path::Path;

use crate::base::monitor::show_file;
use crate::base::{ContentName, Result, Wrap};
use crate::crypto::Secret;

const MARK: [u8; 16] = *b"pkst verified 1\n";
const ROW_BYTES: usize = 40;
const CODE_BYTES: usize = 32;
/// Five million packs; a larger file is not read.
const FILE_BYTES_MAX: u64 = 200 << 20;

/// When each of these packs, in ascending order, was verified, in seconds since 1970; 0 is never.
pub fn read(path: &Path, key: &Secret, packs: impl Iterator<Item = ContentName>) -> Vec<u64> {
    let bytes = read_rows(path, key).unwrap_or_default();
    let mut rows = bytes.as_chunks::<ROW_BYTES>().0.iter().filter_map(row).peekable();
    packs
        .map(|pack| {
            while rows.next_if(|(name, _)| *name < pack).is_some() {}
            rows.next_if(|(name, _)| *name == pack).map_or(0, |(_, seconds)| seconds)
        })
        .collect()
}

fn row(bytes: &[u8; ROW_BYTES]) -> Option<(ContentName, u64)> {
    let (name, seconds) = bytes.split_first_chunk::<32>()?;
    Some((ContentName(*name), u64::from_be_bytes(*seconds.first_chunk()?)))
}

/// The rows of a whole file.
fn read_rows(path: &Path, key: &Secret) -> Option<Vec<u8>> {
    if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let mut bytes = std::fs::read(path).ok()?;
    let (covered, code) = bytes.split_last_chunk::<CODE_BYTES>()?;
    let is_ours = blake3::keyed_hash(key.expose(), covered) == *code && covered.starts_with(&MARK);
    let end = covered.len();
    bytes.truncate(end);
    is_ours.then(|| bytes.split_off(MARK.len()))
}

/// Replaces the file by these packs, in ascending order, each with when it was verified; those with 0 are left out.
pub fn write(path: &Path, key: &Secret, packs: impl Iterator<Item = (ContentName, u64)>) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = || format!("cannot remember which packs were verified in {}", show_file(path));
    let mut bytes = MARK.to_vec();
    for (name, seconds) in packs.filter(|(_, seconds)| *seconds > 0) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&seconds.to_be_bytes());
    }
    let code = blake3::keyed_hash(key.expose(), &bytes);
    bytes.extend_from_slice(code.as_bytes());
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).wrap(failed)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::write(&temporary, &bytes).and_then(|()| std::fs::rename(&temporary, path));
    written
        .inspect_err(|_| {
            // What cannot be removed is of no use to anybody.
            drop(std::fs::remove_file(&temporary));
        })
        .wrap(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(byte: u8) -> ContentName {
        ContentName([byte; 32])
    }

    #[test]
    fn what_was_verified_is_remembered_of_packs_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("verified");
        let key = Secret::new([1; 32]);
        let packs = [1, 3, 5].map(name);
        assert_eq!(read(&path, &key, packs.into_iter()), [0, 0, 0]);
        write(&path, &key, [(name(1), 10), (name(2), 20), (name(3), 0), (name(5), 50)].into_iter()).unwrap();
        assert_eq!(read(&path, &key, packs.into_iter()), [10, 0, 50]);
        assert_eq!(read(&path, &key, [0, 2, 9].map(name).into_iter()), [0, 20, 0]);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let size_bytes = std::fs::metadata(&path).unwrap().len();
        assert_eq!(size_bytes, 16 + 3 * 40 + 32, "never is not written down");
    }

    #[test]
    fn a_spoiled_file_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verified");
        let key = Secret::new([1; 32]);
        write(&path, &key, [(name(1), 10), (name(2), 20)].into_iter()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let found = || read(&path, &key, [1, 2].map(name).into_iter());
        for position in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[position] ^= 0x10;
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(found(), [0, 0], "byte {position}");
            std::fs::write(&path, &whole[..position]).unwrap();
            assert_eq!(found(), [0, 0], "{position} bytes");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(found(), [10, 20]);
        assert_eq!(read(&path, &Secret::new([2; 32]), [name(1)].into_iter()), [0], "of another repository");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(found(), [0, 0]);
        assert!(write(&path, &key, [(name(1), 10)].into_iter()).is_err());
    }
}
