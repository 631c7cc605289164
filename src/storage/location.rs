//! Where a repository is, as a user writes it: a directory, or a place on a storage behind a network.
//!
//! What must hold: no location holds a secret: one with a password or with a setting that is none is refused, and the
//! refusal shows nothing of it but the scheme. What is shown of a location is written here once, and reads back as the
//! same place.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result};

/// A place for a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory of this machine.
    Local(PathBuf),
    /// A place on a service.
    Remote(RemoteLocation),
}

/// A place on a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteLocation {
    /// The service, and where on it.
    pub service: Service,
    /// Where in it the repository is: parts joined by `/`, none at its ends; empty: all of it.
    pub path: String,
    /// What was set behind a `?`.
    pub settings: Settings,
}

/// A service and the container of objects on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what speaks its protocol.
    S3 {
        /// `https://host[:port]` or `http://…`; none: Amazon's for the region.
        endpoint: Option<String>,
        /// The bucket.
        bucket: String,
    },
    /// WebDAV.
    Webdav {
        /// `https://host[:port]` or `http://…`.
        endpoint: String,
    },
    /// SFTP by the system's ssh.
    Sftp {
        /// Who logs in; none: as ssh is configured.
        user: Option<String>,
        /// Host, or a name that ssh's configuration knows.
        host: String,
        /// Port; none: as ssh is configured.
        port: Option<u16>,
        /// Whether the path begins at the root of the host, not at the login directory.
        is_absolute: bool,
    },
    /// Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
    },
    /// Azure's object storage.
    Azure {
        /// The container.
        container: String,
    },
    /// Backblaze B2 by its own protocol.
    B2 {
        /// The bucket.
        bucket: String,
    },
    /// What a configured remote of rclone reaches.
    Rclone {
        /// The remote's name, with whatever rclone takes up to its path, and a colon.
        remote: String,
    },
}

/// What may be set behind a `?` in a location.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Region of the bucket.
    pub region: Option<String>,
    /// The bucket's name stands in the host name, not in the path.
    pub virtual_host: Option<bool>,
    /// Objects are created under the condition that they are not there. `false`: the storage refuses conditions.
    pub conditional: Option<bool>,
    /// Writes carry checksums that the storage compares.
    pub checksums: Option<bool>,
    /// Section of the user's AWS configuration.
    pub profile: Option<String>,
    /// Another address of the service, for its emulators and private installations.
    pub endpoint: Option<String>,
}

impl Location {
    /// The directory, of a location on this machine.
    pub fn directory(&self) -> Option<&std::path::Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Remote(_) => None,
        }
    }

    /// Reads a location. `Usage` if it makes no sense, shown without anything that might be a secret.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.is_empty() {
            return Err(usage("the location of the repository is empty"));
        }
        let is_of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = text.iter().take_while(|byte| is_of_scheme(byte)).count();
        match text.split_at(length) {
            (scheme @ [first, ..], [b':', rest @ ..]) if first.is_ascii_alphabetic() => {
                let scheme = String::from_utf8_lossy(scheme).into_owned();
                let refused = |why: &str| usage(format!("the repository's location {scheme}:… {why}"));
                let rest = std::str::from_utf8(rest).map_err(|_| refused("is not UTF-8"))?;
                if rest.chars().any(char::is_control) {
                    return Err(refused("has a control character"));
                }
                remote(&scheme, rest).map(Self::Remote).map_err(|why| refused(&why))
            }
            _ => Ok(Self::Local(PathBuf::from(OsStr::from_bytes(text)))),
        }
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, message)
}

type Refused<T> = std::result::Result<T, String>;

const SCHEMES: &str = "s3:, webdav:, sftp:, rclone:, gs:, azure: and b2:";

fn remote(scheme: &str, rest: &str) -> Refused<RemoteLocation> {
    // What rclone takes is its own affair.
    if scheme == "rclone" {
        return rclone(rest);
    }
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, query)| (place, query));
    let mut settings = Settings::parse(scheme, query)?;
    let (service, path) = match scheme {
        "s3" => s3(place, &mut settings)?,
        "webdav" => webdav(place)?,
        "sftp" => sftp(place)?,
        "gs" => bucket(place).map(|(bucket, path)| (Service::Gcs { bucket }, path))?,
        "azure" => bucket(place).map(|(container, path)| (Service::Azure { container }, path))?,
        "b2" => bucket(place).map(|(bucket, path)| (Service::B2 { bucket }, path))?,
        _ => {
            return Err(format!(
                "has an unknown scheme; known are {SCHEMES} (write ./{scheme}:… for a directory of such a name)"
            ));
        }
    };
    Ok(RemoteLocation { service, path: clean_path(path)?, settings })
}

/// `//bucket/prefix`, `https://host/bucket/prefix`, `host/bucket/prefix`.
fn s3<'p>(place: &'p str, settings: &mut Settings) -> Refused<(Service, &'p str)> {
    if let Some(place) = place.strip_prefix("//") {
        let (bucket, path) = bucket(place)?;
        return Ok((Service::S3 { endpoint: settings.endpoint.take(), bucket }, path));
    }
    if settings.endpoint.is_some() {
        return Err("names its host twice".into());
    }
    let form = "must be s3:https://HOST/BUCKET[/PATH] or s3://BUCKET[/PATH]";
    let (protocol, address) = protocol(place).unwrap_or(("https", place));
    let (host, rest) = address.split_once('/').ok_or(form)?;
    let endpoint = format!("{protocol}://{}", checked_host(host)?);
    let (bucket, path) = bucket(rest).map_err(|_| form)?;
    Ok((Service::S3 { endpoint: Some(endpoint), bucket }, path))
}

/// `https://host/path`.
fn webdav(place: &str) -> Refused<(Service, &str)> {
    let (protocol, address) = protocol(place).ok_or("must be webdav:https://HOST/PATH")?;
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    Ok((Service::Webdav { endpoint: format!("{protocol}://{}", checked_host(host)?) }, path))
}

/// `user@host:path`, or `//user@host:port/path`, in which a second slash begins an absolute path.
fn sftp(place: &str) -> Refused<(Service, &str)> {
    let (address, path, port) = match place.strip_prefix("//") {
        Some(url) => {
            let (address, path) = url.split_once('/').unwrap_or((url, ""));
            match address.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
                Some((address, port)) => {
                    (address, path, Some(port.parse().map_err(|_| "has a port that is no number")?))
                }
                None => (address, path, None),
            }
        }
        None => {
            let (address, path) = place.split_once(':').ok_or("must be sftp:[USER@]HOST:PATH")?;
            (address, path, None)
        }
    };
    let (user, host) = match address.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => return Err(PASSWORD.into()),
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, address),
    };
    // Neither may be taken for an option by the program that is called with it.
    let parts = user.iter().map(String::as_str).chain([host]);
    for part in parts {
        if part.is_empty() || part.starts_with('-') || part.contains([' ', '@', '/']) {
            return Err("must be sftp:[USER@]HOST:PATH".into());
        }
    }
    // A colon before the password was taken for the end of the host.
    if port.is_none() && path.split_once('@').is_some_and(|(_, after)| after.contains(':')) {
        return Err(PASSWORD.into());
    }
    let is_absolute = path.starts_with('/');
    Ok((Service::Sftp { user, host: host.to_owned(), port, is_absolute }, path))
}

/// `remote:path`, `:type:path`, `remote,option=value:path`.
fn rclone(rest: &str) -> Refused<RemoteLocation> {
    let colon = match rest.strip_prefix(':') {
        Some(after) => after.find(':').map(|position| position + 1),
        None => rest.find(':'),
    };
    let colon = colon.filter(|position| *position > 0).ok_or("must be rclone:REMOTE:PATH")?;
    let (remote, path) = rest.split_at(colon + 1);
    if remote.starts_with('-') {
        return Err("must be rclone:REMOTE:PATH".into());
    }
    if ["pass", "secret", "token", "key"]
        .iter()
        .any(|word| remote.to_ascii_lowercase().contains(&format!("{word}=")))
    {
        return Err("holds a secret; keep it in rclone's configuration".into());
    }
    let path = path.trim_end_matches('/').to_owned();
    Ok(RemoteLocation {
        service: Service::Rclone { remote: remote.to_owned() },
        path,
        settings: Settings::default(),
    })
}

const PASSWORD: &str = "holds a user name or password, which would be seen in lists of processes and in logs; \
                        set them in the environment";

fn protocol(place: &str) -> Option<(&str, &str)> {
    place.split_once("://").filter(|(protocol, _)| ["http", "https"].contains(protocol))
}

fn checked_host(host: &str) -> Refused<&str> {
    if host.contains('@') {
        return Err(PASSWORD.into());
    }
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_of_host) {
        return Err("names no host".into());
    }
    Ok(host)
}

/// `name/path`, `name:/path`, `//name/path`.
fn bucket(place: &str) -> Refused<(String, &str)> {
    let place = place.strip_prefix("//").unwrap_or(place);
    let end = place.find(['/', ':']).unwrap_or(place.len());
    let (name, path) = place.split_at(end);
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_$".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_of_name) {
        return Err("names no bucket or container".into());
    }
    Ok((name.to_owned(), path.strip_prefix(':').unwrap_or(path)))
}

/// Parts joined by single slashes; none may lead out or be taken for something else.
fn clean_path(path: &str) -> Refused<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| [".", ".."].contains(part)) {
        return Err("has a part . or .. in its path".into());
    }
    Ok(parts.join("/"))
}

impl Settings {
    fn parse(scheme: &str, query: &str) -> Refused<Self> {
        let mut settings = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("has a setting without a value")?;
            let is_on = || match value {
                "on" => Ok(Some(true)),
                "off" => Ok(Some(false)),
                _ => Err(format!("must have {name}=on or {name}=off")),
            };
            match (scheme, name) {
                ("s3", "region") => settings.region = Some(value.to_owned()),
                ("s3", "profile") => settings.profile = Some(value.to_owned()),
                ("s3", "virtual-host") => settings.virtual_host = is_on()?,
                ("s3", "checksums") => settings.checksums = is_on()?,
                ("s3" | "gs" | "azure", "conditional") => settings.conditional = is_on()?,
                ("s3" | "gs" | "azure", "endpoint") => {
                    let (protocol, host) = protocol(value).ok_or("must have endpoint=https://HOST")?;
                    let host = host.trim_end_matches('/');
                    // The emulator of Azure has the account's name in the path.
                    let bare = if scheme == "azure" { host.split('/').next().unwrap_or(host) } else { host };
                    checked_host(bare)?;
                    settings.endpoint = Some(format!("{protocol}://{host}"));
                }
                // What it is may be a secret.
                _ => {
                    let known = match scheme {
                        "s3" => "region, endpoint, profile, virtual-host, conditional, checksums",
                        "gs" | "azure" => "endpoint, conditional",
                        _ => "none",
                    };
                    return Err(format!("has an unknown setting behind the ?; known: {known}"));
                }
            }
        }
        Ok(settings)
    }

    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switch = |on: Option<bool>| on.map(|on| if on { "on" } else { "off" }.to_owned());
        let pairs = [
            ("region", self.region.clone()),
            ("endpoint", self.endpoint.clone()),
            ("profile", self.profile.clone()),
            ("virtual-host", switch(self.virtual_host)),
            ("conditional", switch(self.conditional)),
            ("checksums", switch(self.checksums)),
        ];
        let mut separator = '?';
        for (name, value) in pairs {
            if let Some(value) = value {
                write!(formatter, "{separator}{name}={value}")?;
                separator = '&';
            }
        }
        Ok(())
    }
}

impl fmt::Display for RemoteLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        let below = if path.is_empty() { String::new() } else { format!("/{path}") };
        match &self.service {
            Service::S3 { endpoint: Some(endpoint), bucket } => {
                write!(formatter, "s3:{endpoint}/{bucket}{below}")
            }
            Service::S3 { endpoint: None, bucket } => write!(formatter, "s3://{bucket}{below}"),
            Service::Webdav { endpoint } => write!(formatter, "webdav:{endpoint}{below}"),
            Service::Sftp { user, host, port: Some(port), is_absolute } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let root = if *is_absolute { "/" } else { "" };
                write!(formatter, "sftp://{user}{host}:{port}/{root}{path}")
            }
            Service::Sftp { user, host, port: None, is_absolute } => {
                let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let root = if *is_absolute { "/" } else { "" };
                write!(formatter, "sftp:{user}{host}:{root}{path}")
            }
            Service::Gcs { bucket } => write!(formatter, "gs:{bucket}{below}"),
            Service::Azure { container } => write!(formatter, "azure:{container}{below}"),
            Service::B2 { bucket } => write!(formatter, "b2:{bucket}{below}"),
            Service::Rclone { remote } => write!(formatter, "rclone:{remote}{path}"),
        }?;
        self.settings.fmt(formatter)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => formatter.write_str(&show_path(path.as_os_str().as_bytes())),
            Self::Remote(remote) => remote.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let location = Location::parse(text.as_bytes()).expect(text);
        let shown = location.to_string();
        assert_eq!(Location::parse(shown.as_bytes()).expect(text), location, "{text} as {shown}");
        shown
    }

    #[test]
    fn paths_are_directories() {
        for path in [b"/srv/backup".as_slice(), b"backup", b"./a:b", b"a/b:c", b"1:2", b":x", b"\xff:"] {
            let expected = Location::Local(PathBuf::from(OsStr::from_bytes(path)));
            assert_eq!(Location::parse(path).expect("a path"), expected);
        }
    }

    #[test]
    fn every_service_has_its_forms_and_what_is_shown_reads_back() {
        for (text, expected) in [
            ("s3:https://h.example/b", "s3:https://h.example/b"),
            ("s3:http://127.0.0.1:9000/b/a//c/", "s3:http://127.0.0.1:9000/b/a/c"),
            ("s3:h.example:443/b/p", "s3:https://h.example:443/b/p"),
            ("s3:http://[::1]:9000/b", "s3:http://[::1]:9000/b"),
            ("s3://b/p?region=eu-west-1", "s3://b/p?region=eu-west-1"),
            ("s3://b?endpoint=http://h:1/", "s3:http://h:1/b"),
            (
                "s3:https://h/b?profile=x&conditional=off&checksums=on&virtual-host=on",
                "s3:https://h/b?profile=x&virtual-host=on&conditional=off&checksums=on",
            ),
            ("webdav:https://h/a/b/", "webdav:https://h/a/b"),
            ("webdav:http://h:8080", "webdav:http://h:8080"),
            ("sftp:u@h:/srv/x", "sftp:u@h:/srv/x"),
            ("sftp:h:x/y", "sftp:h:x/y"),
            ("sftp:h:", "sftp:h:"),
            ("sftp://u@h:2222//srv/x", "sftp://u@h:2222//srv/x"),
            ("sftp://h/x", "sftp:h:x"),
            ("gs:b/p", "gs:b/p"),
            ("gs://b/p", "gs:b/p"),
            ("gs:b:/p", "gs:b/p"),
            ("azure:c:/p", "azure:c/p"),
            (
                "azure:c?endpoint=http://127.0.0.1:10000/account",
                "azure:c?endpoint=http://127.0.0.1:10000/account",
            ),
            ("b2:b:p/q", "b2:b/p/q"),
            ("rclone:drive:a/b/", "rclone:drive:a/b"),
            ("rclone:drive:/a", "rclone:drive:/a"),
            ("rclone::local:/a", "rclone::local:/a"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_or_holds_a_secret_is_refused_without_being_shown() {
        for text in [
            "",
            "s3:",
            "s3:https://",
            "s3:https://h",
            "s3:https://h/",
            "s3://",
            "s3:https://u:hunter2@h/b",
            "s3:https://h/b?access-key=hunter2",
            "s3:https://h/b?hunter2",
            "s3:https://h/b?checksums=hunter2",
            "s3:https://h/b?endpoint=https://x",
            "s3://b?endpoint=https://hunter2@x",
            "s3:https://h/b/../c",
            "s3:https://h/b/a\nb",
            "webdav:h/x",
            "webdav:https://u:hunter2@h/x",
            "webdav:https://h/x?password=hunter2",
            "sftp:u:hunter2@h:/x",
            "sftp://u:hunter2@h/x",
            "sftp://h:port/x",
            "sftp:h",
            "sftp:-oProxyCommand=x:/y",
            "sftp:u@:/x",
            "gs:",
            "azure:/x",
            "b2:b/./c",
            "rclone:drive",
            "rclone:",
            "rclone::x",
            "rclone:-x:y",
            "rclone::sftp,host=h,pass=hunter2:x",
            "memory:",
            "file:/x",
            "http://h/x",
        ] {
            let error = Location::parse(text.as_bytes()).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
            let message = error.to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
