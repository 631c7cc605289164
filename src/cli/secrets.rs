//! Secrets that the configuration names by their place.
//!
//! What must hold: a secret is read when it is needed and not before, and lies only in memory that is wiped; an empty one
//! is refused.

use std::path::PathBuf;

use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::config::{CredentialSource, SecretSource, Secrets};
use zeroize::Zeroizing;

use crate::credentials::{self, Source};
use crate::environment::{self, Environment};

/// Reads the secrets of sources.
pub struct OfSources<'e> {
    /// Where variables are, and where the credentials of systemd are.
    pub environment: &'e Environment,
}

impl Secrets for OfSources<'_> {
    fn read(&self, source: &SecretSource) -> Result<Zeroizing<String>> {
        let bytes = match password(source, self.environment)? {
            Source::PasswordFile(path) => credentials::from_file(&path)?,
            Source::PasswordCommand(command) => credentials::from_command(&command, self.environment)?,
            Source::KeyFile(_) => Zeroizing::default(),
            Source::Password(_, bytes) => bytes,
        };
        let what = shown(source);
        if bytes.is_empty() {
            return Err(Error::new(ErrorKind::Usage, format!("{what} is empty")));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Error::new(ErrorKind::Usage, format!("{what} is no UTF-8")))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

/// What a place of a secret is called.
pub fn shown(source: &SecretSource) -> String {
    match source {
        SecretSource::File(path) => format!("the password in {}", show_file(path)),
        SecretSource::Shell(_) => "the password that the password command printed".to_owned(),
        SecretSource::Variable(name) => format!("the password in {name}"),
        SecretSource::Credential(name) => format!("the systemd credential {name}"),
    }
}

/// Where what opens a repository is.
pub fn credential(source: &CredentialSource, environment: &Environment) -> Result<Source> {
    match source {
        CredentialSource::Password(source) => password(source, environment),
        CredentialSource::KeyFile(path) => Ok(Source::KeyFile(path.clone())),
        CredentialSource::KeyCredential(name) => credential_file(name, environment).map(Source::KeyFile),
    }
}

fn password(source: &SecretSource, environment: &Environment) -> Result<Source> {
    Ok(match source {
        SecretSource::File(path) => Source::PasswordFile(path.clone()),
        SecretSource::Shell(command) => Source::PasswordCommand(command.into()),
        SecretSource::Variable(name) => {
            let value = environment.password(name).cloned();
            let plain = || environment.get(name).map(|value| value.as_encoded_bytes().to_vec().into());
            let missing = || {
                let message =
                    format!("the configuration takes a password from the variable {name}, which is not set");
                Error::new(ErrorKind::Usage, message)
            };
            Source::Password(name.clone(), value.or_else(plain).ok_or_else(missing)?)
        }
        SecretSource::Credential(name) => Source::PasswordFile(credential_file(name, environment)?),
    })
}

/// The file of a credential that systemd gives to the service.
pub fn credential_file(name: &str, environment: &Environment) -> Result<PathBuf> {
    let folder = environment.get(environment::CREDENTIALS_DIRECTORY).map(PathBuf::from);
    folder
        .map(|folder| folder.join(name))
        .ok_or_else(|| {
            let message = "CREDENTIALS_DIRECTORY is not set: systemd gives credentials only to a service";
            Error::new(ErrorKind::Usage, message)
        })
        .wrap(|| format!("cannot read the systemd credential {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;

    #[test]
    fn secrets_are_read_where_the_configuration_says() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("secret");
        std::fs::write(&file, "of the file\nsecond line\n").expect("a file");
        std::fs::write(folder.path().join("empty"), "\n").expect("a file");
        let variables =
            [("DB", "of the variable"), ("CREDENTIALS_DIRECTORY", folder.path().to_str().expect("UTF-8"))];
        let environment = environment(&variables);
        let read = |source| {
            let secret = OfSources { environment: &environment }.read(&source);
            secret.map(|secret| secret.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(read(SecretSource::File(file)), Ok("of the file".into()));
        assert_eq!(read(SecretSource::Shell("echo of; echo more".into())), Ok("of".into()));
        assert_eq!(read(SecretSource::Variable("DB".into())), Ok("of the variable".into()));
        assert_eq!(read(SecretSource::Credential("secret".into())), Ok("of the file".into()));
        let empty = read(SecretSource::Credential("empty".into()));
        assert_eq!(empty, Err("the systemd credential empty is empty".into()));
        assert!(read(SecretSource::Variable("NONE".into())).is_err());
        assert!(read(SecretSource::Shell("exit 3".into())).is_err());
    }
}
