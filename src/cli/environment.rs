//! The variables of the environment that this program reads, taken once; and who runs it.
//!
//! What must hold: this is the only place that reads the environment; the password in it is wiped when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

/// Where the repository is.
pub const REPOSITORY: &str = "PACKSTONE_REPOSITORY";
/// The password itself.
pub const PASSWORD: &str = "PACKSTONE_PASSWORD";
/// A file that holds the password.
pub const PASSWORD_FILE: &str = "PACKSTONE_PASSWORD_FILE";
/// A command that prints the password.
pub const PASSWORD_COMMAND: &str = "PACKSTONE_PASSWORD_COMMAND";
/// A key file.
pub const KEY_FILE: &str = "PACKSTONE_KEY_FILE";
/// The folder for what speeds up later commands.
pub const CACHE_DIR: &str = "PACKSTONE_CACHE_DIR";
/// The configuration file.
pub const CONFIG: &str = "PACKSTONE_CONFIG";
/// The folder in which systemd keeps the credentials of a service.
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// The number of the user who became root by sudo.
pub const SUDO_UID: &str = "SUDO_UID";
/// The command by which SFTP is reached, for the shell.
#[cfg(feature = "remote")]
pub const SSH_COMMAND: &str = "PACKSTONE_SSH_COMMAND";
/// The program that is rclone.
#[cfg(feature = "remote")]
pub const RCLONE_COMMAND: &str = "PACKSTONE_RCLONE_COMMAND";
/// What stands before the names of variables that are for the other repository of a command alone.
#[cfg(feature = "remote")]
pub const FROM_PREFIX: &str = "PACKSTONE_FROM_";
/// What stands before the names of all variables of this program.
#[cfg(feature = "remote")]
pub const PREFIX: &str = "PACKSTONE_";

/// Where the repository is from which is copied.
pub const FROM_REPOSITORY: &str = "PACKSTONE_FROM_REPOSITORY";
/// Its password itself.
pub const FROM_PASSWORD: &str = "PACKSTONE_FROM_PASSWORD";
/// A file that holds its password.
pub const FROM_PASSWORD_FILE: &str = "PACKSTONE_FROM_PASSWORD_FILE";
/// A command that prints its password.
pub const FROM_PASSWORD_COMMAND: &str = "PACKSTONE_FROM_PASSWORD_COMMAND";
/// A key file that opens it.
pub const FROM_KEY_FILE: &str = "PACKSTONE_FROM_KEY_FILE";

/// What no child process is given: the two passwords.
pub const SECRETS: [&str; 2] = packstone::source::program::OWN_SECRETS;

/// The name of the user who runs this program, if the number has one that is UTF-8.
pub fn user() -> Option<String> {
    uzers::get_user_by_uid(uzers::get_current_uid()).and_then(|user| user.name().to_str().map(str::to_owned))
}

/// Whether root runs this program.
pub fn is_root() -> bool {
    uzers::get_effective_uid() == 0
}

/// The home of the user who runs this program, as the system knows it.
pub fn home() -> Option<std::path::PathBuf> {
    use uzers::os::unix::UserExt;
    uzers::get_user_by_uid(uzers::get_current_uid()).map(|user| user.home_dir().to_owned())
}

/// Variables that are set and not empty.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    passwords: BTreeMap<&'static str, Zeroizing<Vec<u8>>>,
    /// Names of variables that the configuration says hold secrets; never their values.
    named: Arc<Mutex<BTreeSet<String>>>,
}

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of a variable other than the passwords; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Has variables withheld from all programs that are started from now on, by whoever holds this environment.
    pub fn withhold<'n>(&self, names: impl Iterator<Item = &'n str>) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).extend(names.map(str::to_owned));
    }

    /// The names of variables that no other program is given: the passwords, and what the configuration named.
    pub fn withheld(&self) -> Vec<String> {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        SECRETS.iter().copied().map(str::to_owned).chain(named.iter().cloned()).collect()
    }

    /// The value of a variable that is a password.
    pub fn password(&self, name: &str) -> Option<&Zeroizing<Vec<u8>>> {
        self.passwords.get(name)
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if value.is_empty() {
                continue;
            }
            match SECRETS.iter().find(|secret| name == **secret) {
                Some(secret) => {
                    environment.passwords.insert(secret, Zeroizing::new(value.into_vec()));
                }
                None => {
                    environment.variables.insert(name, value);
                }
            }
        }
        environment
    }
}

#[cfg(test)]
pub mod tests {
    use super::{Environment, FROM_PASSWORD, PASSWORD, REPOSITORY, SECRETS};

    /// An environment of these variables alone.
    pub fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn both_passwords_are_secret() {
        assert_eq!(SECRETS, [PASSWORD, FROM_PASSWORD]);
    }

    #[test]
    fn an_empty_variable_counts_as_absent() {
        let environment = environment(&[("HOME", ""), (PASSWORD, ""), (REPOSITORY, "x")]);
        assert_eq!(environment.get("HOME"), None);
        assert_eq!(environment.password(PASSWORD), None);
        assert_eq!(environment.get(REPOSITORY), Some("x".as_ref()));
    }
}
