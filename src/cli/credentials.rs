//! Where the password or the key comes from: a flag, else the environment, else a question on the terminal.
//!
//! What must hold: two sources of the same rank are a contradiction, never a choice; a secret lies only in memory that
//! is wiped, and no child process is given it.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::crypto::slot::Credential;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::environment::{self, Environment};
use crate::{args::Global, key_file, secrets};

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 4096;

const WAYS: &str = "--password-file, --password-command, --key-file, PACKSTONE_PASSWORD, PACKSTONE_PASSWORD_FILE, \
                    PACKSTONE_PASSWORD_COMMAND or PACKSTONE_KEY_FILE";

/// Where the user says the secret is.
pub enum Source {
    /// In a file, as a password.
    PasswordFile(PathBuf),
    /// A shell command prints the password.
    PasswordCommand(OsString),
    /// In a key file.
    KeyFile(PathBuf),
    /// It is this password, from this variable of the environment.
    Password(String, Zeroizing<Vec<u8>>),
}

/// The ways to give a new password or key.
const NEW_WAYS: &str = "--new-password-file, --new-password-command or --new-key-file";

/// The ways to give what opens the other repository of a command.
const OTHER_WAYS: &str = "--from-password-file, --from-password-command, --from-key-file, PACKSTONE_FROM_PASSWORD, \
                          PACKSTONE_FROM_PASSWORD_FILE, PACKSTONE_FROM_PASSWORD_COMMAND or PACKSTONE_FROM_KEY_FILE";

/// A secret, and what to call it.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The secret.
    pub credential: Credential,
    /// Which one it is, as `the key file /etc/key`.
    pub name: String,
}

/// What a secret is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To open a repository.
    Open,
    /// To open another one than the one that is meant.
    OpenOther,
    /// To make one that it will open: a typed password is asked for twice, and none may be empty.
    Create,
    /// To open one from now on that is open by another; as for `Create`.
    Add,
}

impl Purpose {
    /// What is asked on the terminal.
    const fn questions(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Open => ("password: ", None),
            Self::OpenOther => ("password of the other repository: ", None),
            Self::Create => ("password: ", Some("the same password again: ")),
            Self::Add => ("new password: ", Some("the same new password again: ")),
        }
    }

    const fn ways(self) -> &'static str {
        match self {
            Self::Open | Self::Create => WAYS,
            Self::OpenOther => OTHER_WAYS,
            Self::Add => NEW_WAYS,
        }
    }
}

/// What the flags say, else what the environment says, else the configuration. `Usage` if they contradict themselves.
pub fn choose(global: &Global, environment: &Environment) -> Result<Option<Source>> {
    let flags = [
        global.password_file.clone().map(|file| ("--password-file", Source::PasswordFile(file))),
        global
            .password_command
            .clone()
            .map(|command| ("--password-command", Source::PasswordCommand(command))),
        global.key_file.clone().map(|file| ("--key-file", Source::KeyFile(file))),
    ];
    let variables = [
        environment::PASSWORD,
        environment::PASSWORD_FILE,
        environment::PASSWORD_COMMAND,
        environment::KEY_FILE,
    ];
    match choose_among(flags, variables, environment)? {
        None => global.configured.as_ref().map(|source| secrets::credential(source, environment)).transpose(),
        named => Ok(named),
    }
}

/// What these flags say, else what these variables say: the password, its file, its command, the key file.
pub fn choose_among(
    flags: [Option<(&'static str, Source)>; 3],
    variables: [&'static str; 4],
    environment: &Environment,
) -> Result<Option<Source>> {
    if let Some(source) = only_one(flags.into_iter().flatten())? {
        return Ok(Some(source));
    }
    let [password, file, command, key_file] = variables;
    let path = |name| environment.get(name).map(PathBuf::from);
    let variables = [
        environment
            .password(password)
            .cloned()
            .map(|secret| (password, Source::Password(password.to_owned(), secret))),
        path(file).map(|path| (file, Source::PasswordFile(path))),
        environment.get(command).map(|text| (command, Source::PasswordCommand(text.to_owned()))),
        path(key_file).map(|path| (key_file, Source::KeyFile(path))),
    ];
    only_one(variables.into_iter().flatten())
}

fn only_one(mut sources: impl Iterator<Item = (&'static str, Source)>) -> Result<Option<Source>> {
    let Some((name, source)) = sources.next() else { return Ok(None) };
    match sources.next() {
        None => Ok(Some(source)),
        Some((other, _)) => {
            let message = format!("{name} and {other} contradict each other: give one of them");
            Err(Error::new(ErrorKind::Usage, message))
        }
    }
}

/// Gets the secret from where the user says it is, or asks for a password.
pub fn obtain(context: &Context, purpose: Purpose) -> Result<Obtained> {
    take(choose(&context.global, &context.environment)?, context, purpose)
}

/// Gets the secret from its source; from a question where there is none.
pub fn take(source: Option<Source>, context: &Context, purpose: Purpose) -> Result<Obtained> {
    let (password, name) = match source {
        Some(Source::KeyFile(path)) => return key_file::obtain(&path),
        Some(Source::PasswordFile(path)) => {
            let name = format!("the password in {}", show(&path));
            (from_file(&path)?, name)
        }
        Some(Source::PasswordCommand(command)) => (
            from_command(&command, &context.environment)?,
            "the password that the password command printed".to_owned(),
        ),
        Some(Source::Password(variable, password)) => (password, format!("the password in {variable}")),
        None => (ask(context, purpose)?, "the password that was typed".to_owned()),
    };
    if matches!(purpose, Purpose::Create | Purpose::Add) && password.is_empty() {
        return Err(Error::new(ErrorKind::Usage, format!("{name} is empty")));
    }
    Ok(Obtained { credential: Credential::Password(password), name })
}

/// The first line of a file.
pub fn from_file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = || format!("cannot read the password file {}", show(path));
    let file = std::fs::File::open(path).wrap(failed)?;
    first_line(file).wrap(failed)
}

/// The first line that a command of the shell prints.
pub fn from_command(command: &OsStr, environment: &Environment) -> Result<Zeroizing<Vec<u8>>> {
    let failed = || "cannot run the password command";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped());
    for secret in environment.withheld() {
        shell.env_remove(secret);
    }
    let mut child = shell.spawn().wrap(failed)?;
    let line = match child.stdout.take() {
        Some(output) => first_line(output),
        None => Ok(Zeroizing::default()),
    };
    let status = child.wait().wrap(failed)?;
    if !status.success() {
        return Err(Error::new(ErrorKind::Failed, format!("the password command failed: {status}")));
    }
    line.wrap(failed)
}

/// The first line, without its end; the rest is read and dropped, so that no writer is cut off.
fn first_line(mut reader: impl Read) -> Result<Zeroizing<Vec<u8>>> {
    let failed = || "cannot read the password";
    // As long as it can become, so that no copy is left behind by growing.
    let mut line = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX + 1));
    let mut buffer = Zeroizing::new([0; 512]);
    let mut is_over = false;
    loop {
        let count = match reader.read(&mut *buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.wrap(failed)?,
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        for byte in bytes {
            is_over |= *byte == b'\n';
            if !is_over && line.len() <= PASSWORD_BYTES_MAX {
                line.push(*byte);
            }
        }
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    if line.len() > PASSWORD_BYTES_MAX {
        let message = format!("the password is longer than {PASSWORD_BYTES_MAX} bytes");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    Ok(line)
}

fn ask(context: &Context, purpose: Purpose) -> Result<Zeroizing<Vec<u8>>> {
    let is_attended = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
    if !is_attended || std::fs::File::open("/dev/tty").is_err() {
        let what = match purpose {
            Purpose::Add => "new password or key",
            Purpose::OpenOther => "password or key of the other repository",
            Purpose::Open | Purpose::Create => "password or key",
        };
        let ways = purpose.ways();
        let message = format!("no {what} was given, and there is no terminal to ask: use {ways}");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    // The question itself hears Ctrl-C, and puts the terminal back in order before it fails.
    context.interruption.gently(|| {
        let (question, again) = purpose.questions();
        let password = prompt(question)?;
        if let Some(again) = again
            && *prompt(again)? != *password
        {
            return Err(Error::new(ErrorKind::Usage, "the two passwords differ"));
        }
        Ok(Zeroizing::new(password.as_bytes().to_vec()))
    })
}

fn prompt(question: &str) -> Result<Zeroizing<String>> {
    rpassword::prompt_password(question).map(Zeroizing::new).map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => Error::new(ErrorKind::Interrupted, "interrupted"),
        _ => Error::system("cannot ask for the password", error),
    })
}

fn show(path: &Path) -> String {
    show_path(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::tests::environment;

    fn chosen(global: &Global, variables: &[(&str, &str)]) -> std::result::Result<String, ErrorKind> {
        let source = choose(global, &environment(variables)).map_err(|error| error.kind())?;
        Ok(match source {
            None => "none".into(),
            Some(Source::PasswordFile(path)) => format!("password file {}", path.display()),
            Some(Source::PasswordCommand(command)) => format!("command {}", command.display()),
            Some(Source::KeyFile(path)) => format!("key file {}", path.display()),
            Some(Source::Password(_, password)) => format!("password {}", password.len()),
        })
    }

    #[test]
    fn a_flag_goes_before_a_variable_and_equals_contradict_each_other() {
        let none = Global::default();
        let key = Global { key_file: Some("k".into()), ..Global::default() };
        let both = Global { password_file: Some("p".into()), ..key.clone() };
        let command = Global { password_command: Some("c".into()), ..Global::default() };
        let password = ("PACKSTONE_PASSWORD", "secret");
        let file = ("PACKSTONE_PASSWORD_FILE", "f");
        assert_eq!(chosen(&none, &[]).as_deref(), Ok("none"));
        assert_eq!(chosen(&none, &[password]).as_deref(), Ok("password 6"));
        assert_eq!(chosen(&none, &[("PACKSTONE_PASSWORD_COMMAND", "c")]).as_deref(), Ok("command c"));
        assert_eq!(
            chosen(&none, &[("PACKSTONE_KEY_FILE", "k"), ("PACKSTONE_PASSWORD", "")]).as_deref(),
            Ok("key file k")
        );
        assert_eq!(chosen(&key, &[password, file]).as_deref(), Ok("key file k"));
        assert_eq!(chosen(&command, &[file]).as_deref(), Ok("command c"));
        assert_eq!(chosen(&none, &[password, file]), Err(ErrorKind::Usage));
        assert_eq!(chosen(&both, &[]), Err(ErrorKind::Usage));
    }

    #[test]
    fn the_first_line_is_the_password() {
        let line = |text: &[u8]| first_line(text).map(|line| line.to_vec()).map_err(|error| error.kind());
        assert_eq!(line(b"secret"), Ok(b"secret".to_vec()));
        assert_eq!(line(b"secret\nmore\n"), Ok(b"secret".to_vec()));
        assert_eq!(line(b" two words \r\n"), Ok(b" two words ".to_vec()));
        assert_eq!(line(b"\nmore"), Ok(Vec::new()));
        assert_eq!(line(b""), Ok(Vec::new()));
        let longest = vec![b'x'; PASSWORD_BYTES_MAX];
        assert_eq!(line(&longest), Ok(longest.clone()));
        assert_eq!(line(&[longest.as_slice(), b"x\n"].concat()), Err(ErrorKind::Usage));
    }
}
