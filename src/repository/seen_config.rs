//! The newest config that this machine has seen, so that a storage that was put back to an older state, or that withholds
//! what is newer, is noticed.
//!
//! What must hold: only a config whose code was checked is remembered; a file that cannot be read or written remembers
//! nothing, and stops nobody.

use std::path::Path;

use crate::base::monitor::show_file;
use crate::base::{ContentName, Error, Result};
use crate::format::names;
use crate::repository::records::write_file;

const HEAD: &str = "packstone config";
const FILE_BYTES_MAX: u64 = 1 << 10;

/// A config that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeenConfig {
    /// Its number.
    pub(super) number: u32,
    /// BLAKE3 of its bytes.
    pub(super) hash: ContentName,
}

impl SeenConfig {
    /// Compares the newest config of the storage with the one that this machine remembers in a folder; remembers it.
    /// `Damaged` if it is older, or another one of the same number.
    pub(super) fn check(self, folder: &Path) -> Result<()> {
        let path = folder.join("config");
        match Self::read(&path) {
            Some(seen) if seen == self => Ok(()),
            Some(seen) if seen.number >= self.number => {
                let (seen_name, name) = (names::config(seen.number), names::config(self.number));
                let difference = if seen.number == self.number {
                    format!("the storage shows another {name} than the one that this machine has seen")
                } else {
                    format!("this machine has seen {seen_name}, the storage shows nothing newer than {name}")
                };
                let noted = format!("(noted in {})", show_file(&path));
                Err(Error::damaged(format!(
                    "the repository was put back to an older state: {difference} {noted}"
                )))
            }
            _ => {
                // Who cannot remember notices nothing.
                let _ = write_file(&path, self.text().as_bytes());
                Ok(())
            }
        }
    }

    fn text(self) -> String {
        format!("{HEAD} {} {}\n", self.number, self.hash)
    }

    fn read(path: &Path) -> Option<Self> {
        if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        let text = std::fs::read_to_string(path).ok()?;
        let (number, hash) = text.strip_prefix(HEAD)?.trim().split_once(' ')?;
        let seen = Self { number: number.parse().ok()?, hash: ContentName::from_hex(hash)? };
        (seen.text() == text).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::ErrorKind;
    use crate::format::config::Config;
    use crate::repository::Repository;
    use crate::repository::object::object_name;
    use crate::repository::tests::{Memory, key, new_repository};

    /// Adds the next config, as a later version does.
    fn add_config(memory: &Memory, repository: &Repository, number: u32) {
        let name = names::config(number);
        let config =
            Config { kept: vec![(64, vec![u8::try_from(number).unwrap()])], ..repository.config.clone() };
        let covered = config.encode();
        let code = repository.keys.config_code(config.generation, &name, &covered).unwrap();
        memory.replace(&object_name(&name).unwrap(), [covered.as_slice(), &code].concat());
    }

    #[test]
    fn an_older_config_than_the_one_that_was_seen_is_refused() {
        let (memory, repository) = new_repository();
        let folder = tempfile::tempdir().unwrap();
        let open_in = |folder: Option<&Path>| {
            Repository::open(Arc::new(memory.clone()), &key(1), folder.map(Path::to_owned))
        };
        let open =
            || open_in(Some(folder.path())).map(drop).map_err(|error| (error.kind(), error.to_string()));
        open().unwrap();
        add_config(&memory, &repository, 2);
        open().unwrap();
        open().unwrap();
        // Rolled back.
        let second = object_name(&names::config(2)).unwrap();
        let bytes = memory.remove(&second).unwrap();
        let (kind, message) = open().unwrap_err();
        assert_eq!(kind, ErrorKind::Damaged);
        assert!(message.contains("config/00000002") && message.contains("config/00000001"), "{message}");
        // Who remembers nothing, or another machine, cannot tell.
        assert!(open_in(None).is_ok());
        let other = tempfile::tempdir().unwrap();
        assert!(open_in(Some(other.path())).is_ok());
        // Rolled back and gone on differently.
        add_config(&memory, &repository, 3);
        let third = memory.remove(&object_name(&names::config(3)).unwrap()).unwrap();
        memory.replace(&second, bytes.clone());
        open().unwrap();
        let different = Config { kept: vec![(64, vec![9])], ..repository.config.clone() }.encode();
        let code =
            repository.keys.config_code(repository.config.generation, second.as_str(), &different).unwrap();
        memory.replace(&second, [different.as_slice(), &code].concat());
        let (kind, message) = open().unwrap_err();
        assert_eq!(kind, ErrorKind::Damaged);
        assert!(message.contains("shows another config/00000002"), "{message}");
        // Newer than all that was seen.
        memory.replace(&object_name(&names::config(3)).unwrap(), third);
        open().unwrap();
        memory.replace(&second, bytes);
        open().unwrap();
    }

    #[test]
    fn a_file_that_is_spoiled_remembers_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let seen = |number| SeenConfig { number, hash: ContentName([7; 32]) };
        seen(5).check(folder.path()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(seen(4).check(folder.path()).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "what was seen stays");
        for spoiled in
            ["", "packstone config", "packstone config 5 x\n", &text[..text.len() - 1], &text.repeat(2)]
        {
            std::fs::write(&path, spoiled).unwrap();
            seen(4).check(folder.path()).unwrap();
            assert_eq!(SeenConfig::read(&path), Some(seen(4)), "{spoiled:?}");
        }
    }
}
