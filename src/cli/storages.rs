//! Where repositories are kept: from a location to a storage, with what the user set for networks.
//!
//! What must hold: a secret comes from the environment or from a file that it names, never from an argument; what opens
//! the storage of the other repository is taken whole from one place, never half of it from another; what every storage
//! of the command was asked for can be told at its end.

#[cfg(feature = "remote")]
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use packstone::base::{Error, ErrorKind, Result};
use packstone::storage::local::Local;
#[cfg(feature = "remote")]
use packstone::storage::location::Service;
use packstone::storage::location::{Location, RemoteLocation};
use packstone::storage::{Requests, Storage, Traffic};

use crate::context::Context;
#[cfg(feature = "remote")]
use crate::environment::{self, Environment};

/// Which repository of a command a storage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that is meant.
    Meant,
    /// The other one, which may have variables of its own.
    Other,
}

/// Storages that a command uses.
#[derive(Clone, Default)]
pub struct Storages(Arc<Mutex<Vec<Arc<dyn Storage>>>>);

impl Storages {
    fn add(&self, storage: Arc<dyn Storage>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(storage);
    }

    /// What was asked of them in all; nothing if none of them counts.
    pub fn traffic(&self) -> Option<Traffic> {
        let storages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        storages.iter().filter_map(|storage| storage.traffic()).reduce(|one, other| one + other)
    }
}

/// What a location names, which may be nothing yet. `NotFound` for a directory that is not there.
pub fn open(context: &Context, location: &Location, role: Role) -> Result<Arc<dyn Storage>> {
    let storage: Arc<dyn Storage> = match location {
        Location::Local(directory) => {
            refuse_class(context)?;
            Arc::new(Local::open(directory)?)
        }
        Location::Remote(remote) => open_remote(context, remote, role)?,
    };
    context.storages.add(Arc::clone(&storage));
    Ok(storage)
}

/// Refuses a storage class where there are none: it would be forgotten in silence.
pub fn refuse_class(context: &Context) -> Result<()> {
    match context.global.network.storage_class {
        None => Ok(()),
        Some(_) => {
            let message =
                "a directory has no storage classes: --storage-class is for S3 and Google Cloud Storage";
            Err(Error::new(ErrorKind::Usage, message))
        }
    }
}

#[cfg(feature = "remote")]
fn open_remote(context: &Context, location: &RemoteLocation, role: Role) -> Result<Arc<dyn Storage>> {
    if role == Role::Other {
        check_whole(&location.service, &context.environment)?;
    }
    packstone::storage::remote::open(location, &options(context, role)?)
}

#[cfg(not(feature = "remote"))]
fn open_remote(_context: &Context, _location: &RemoteLocation, _role: Role) -> Result<Arc<dyn Storage>> {
    let message = "this program was built without storages behind a network";
    Err(Error::new(ErrorKind::Usage, message))
}

#[cfg(feature = "remote")]
fn options(context: &Context, role: Role) -> Result<packstone::storage::remote::RemoteOptions> {
    use packstone::storage::remote::{Credentials, RemoteOptions, Stopped};
    let network = &context.global.network;
    let environment = &context.environment;
    let usual = RemoteOptions::default();
    let interruption = context.interruption.clone();
    Ok(RemoteOptions {
        connections: network.connections.unwrap_or(usual.connections),
        upload_bytes_per_second: network.limit_upload,
        download_bytes_per_second: network.limit_download,
        patience: network.retry_for.unwrap_or(usual.patience),
        first_wait: usual.first_wait,
        authorities: network.ca_file.as_deref().map(|path| read("--ca-file", path)).transpose()?,
        identity: network
            .tls_client_cert
            .as_deref()
            .map(|path| read("--tls-client-cert", path).map(zeroize::Zeroizing::new))
            .transpose()?,
        storage_class: network.storage_class.clone(),
        rclone_program: of_role(environment, environment::RCLONE_COMMAND, role)
            .map_or(usual.rclone_program, std::path::PathBuf::from),
        runtime_folder: ["XDG_RUNTIME_DIR", "TMPDIR"]
            .iter()
            .filter_map(|name| environment.get(name))
            .map(std::path::PathBuf::from)
            .find(|folder| folder.is_dir())
            .unwrap_or(usual.runtime_folder),
        ssh_command: ssh_command(environment, role),
        withheld: environment.withheld(),
        credentials: Credentials::gather(|name| credential(environment, name, role))?,
        on_trouble: crate::report::warn,
        is_stopped: Stopped(Arc::new(move || interruption.is_requested())),
    })
}

/// What the user put in the place of `ssh`; its arguments come behind those that stand there.
#[cfg(feature = "remote")]
fn ssh_command(environment: &Environment, role: Role) -> Vec<std::ffi::OsString> {
    let Some(command) = of_role(environment, environment::SSH_COMMAND, role) else { return Vec::new() };
    let mut script = std::ffi::OsString::from("exec ");
    script.push(command);
    script.push(" \"$@\"");
    vec!["sh".into(), "-c".into(), script, "sh".into()]
}

/// A variable of this program; for the other repository its own, if there is one.
#[cfg(feature = "remote")]
fn of_role<'e>(environment: &'e Environment, name: &str, role: Role) -> Option<&'e std::ffi::OsStr> {
    let own = name.replacen(environment::PREFIX, environment::FROM_PREFIX, 1);
    let own = (role == Role::Other).then(|| environment.get(&own)).flatten();
    own.or_else(|| environment.get(name))
}

/// Names of `CREDENTIAL_NAMES` that are taken from one place together: all of a service, but for where its buckets are.
#[cfg(feature = "remote")]
fn group(name: &str) -> (&str, bool) {
    (name.split('_').next().unwrap_or_default(), name.ends_with("_REGION"))
}

/// Whether a name was given for the other repository alone.
#[cfg(feature = "remote")]
fn is_given(environment: &Environment, name: &str) -> bool {
    let own = format!("{}{name}", environment::FROM_PREFIX);
    environment.get(&own).is_some() || environment.get(&format!("{own}_FILE")).is_some()
}

/// Whether any name that is taken together with this one was given for the other repository alone.
#[cfg(feature = "remote")]
fn has_own_group(environment: &Environment, name: &str) -> bool {
    let mut names = packstone::storage::remote::CREDENTIAL_NAMES.into_iter();
    names.any(|other| group(other) == group(name) && is_given(environment, other))
}

/// What opens the other storage is none of it, or enough of it: the rest would be looked for where this one's lies.
#[cfg(feature = "remote")]
fn check_whole(service: &Service, environment: &Environment) -> Result<()> {
    let (needed, one_of): (&str, &[&str]) = match service {
        Service::S3 { .. } => ("AWS_ACCESS_KEY_ID", &["AWS_SECRET_ACCESS_KEY"]),
        Service::Azure { .. } => ("AZURE_ACCOUNT_NAME", &["AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS"]),
        Service::B2 { .. } => ("B2_ACCOUNT_ID", &["B2_ACCOUNT_KEY"]),
        _ => return Ok(()),
    };
    let has_secret = one_of.iter().any(|name| is_given(environment, name));
    if !has_own_group(environment, needed) || (is_given(environment, needed) && has_secret) {
        return Ok(());
    }
    let own = |name: &str| format!("{}{name}", environment::FROM_PREFIX);
    let secrets: Vec<String> = one_of.iter().map(|name| own(name)).collect();
    let message = format!(
        "what opens the other storage is given in part only: set {} and {}",
        own(needed),
        secrets.join(" or ")
    );
    Err(Error::new(packstone::base::ErrorKind::Usage, message))
}

/// A value from the environment, or from the file that the environment names; its last line break is none of it.
#[cfg(feature = "remote")]
fn credential(
    environment: &Environment,
    name: &str,
    role: Role,
) -> Result<Option<zeroize::Zeroizing<String>>> {
    use zeroize::Zeroizing;
    let is_own = role == Role::Other && has_own_group(environment, name);
    let own = format!("{}{name}", if is_own { environment::FROM_PREFIX } else { environment::PREFIX });
    let of_file = format!("{own}_FILE");
    let usual = || environment.get(name).filter(|_| !is_own);
    let bytes = if let Some(path) = environment.get(&of_file) {
        Zeroizing::new(read(&of_file, Path::new(path))?)
    } else if let Some(value) = environment.get(&own).or_else(usual) {
        Zeroizing::new(value.as_encoded_bytes().to_vec())
    } else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::new(ErrorKind::Usage, format!("{name} is not UTF-8")))?;
    Ok(Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())))
}

#[cfg(feature = "remote")]
fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    use packstone::base::Wrap;
    use packstone::base::monitor::show_file;
    std::fs::read(path)
        .wrap(|| format!("cannot read {}, which {what} names", show_file(path)))
        .map_err(|error| error.of_kind(ErrorKind::Usage))
}

/// Traffic in one line.
pub fn told(traffic: &Traffic) -> String {
    use packstone::base::size;
    let Requests { put, get, list, delete, other } = traffic.requests;
    let kinds = [("put", put), ("get", get), ("list", list), ("delete", delete), ("other", other)];
    let kinds = kinds.iter().filter(|(_, number)| *number > 0);
    let kinds: Vec<String> = kinds.map(|(kind, number)| format!("{number} {kind}")).collect();
    let again = match traffic.repeated {
        0 => String::new(),
        number => format!("; {number} tried again"),
    };
    format!(
        "requests: {}{again}; sent {}, received {}",
        if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") },
        size::show(traffic.sent_bytes),
        size::show(traffic.received_bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_told_in_one_line() {
        let requests = Requests { put: 3, list: 4, ..Requests::default() };
        let traffic = Traffic { requests, repeated: 1, sent_bytes: 2048, received_bytes: 10 };
        assert_eq!(told(&traffic), "requests: 3 put, 4 list; 1 tried again; sent 2.0 KiB, received 10 B");
        assert!(told(&Traffic::default()).starts_with("requests: none; "));
    }
    #[cfg(feature = "remote")]
    #[test]
    fn what_opens_the_other_storage_is_taken_whole_from_one_place() {
        use crate::environment::tests::environment;
        let both = environment(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "token"),
            ("PACKSTONE_AWS_REGION", "here"),
            ("WEBDAV_USER", "me"),
            ("PACKSTONE_FROM_AWS_ACCESS_KEY_ID", "other id"),
            ("PACKSTONE_FROM_AWS_SECRET_ACCESS_KEY", "other secret"),
            ("PACKSTONE_SSH_COMMAND", "ssh"),
            ("PACKSTONE_FROM_SSH_COMMAND", "ssh -F other"),
            ("PACKSTONE_RCLONE_COMMAND", "rclone"),
        ]);
        let found = |name, role| credential(&both, name, role).unwrap().map(|value| value.to_string());
        for (name, meant, other) in [
            ("AWS_ACCESS_KEY_ID", Some("id"), Some("other id")),
            ("AWS_SECRET_ACCESS_KEY", Some("secret"), Some("other secret")),
            // It belongs to the other key.
            ("AWS_SESSION_TOKEN", Some("token"), None),
            // Both are in one place, as far as anybody says.
            ("AWS_REGION", Some("here"), Some("here")),
            ("WEBDAV_USER", Some("me"), Some("me")),
            ("B2_ACCOUNT_ID", None, None),
        ] {
            assert_eq!(found(name, Role::Meant).as_deref(), meant, "{name}");
            assert_eq!(found(name, Role::Other).as_deref(), other, "{name}");
        }
        assert_eq!(ssh_command(&both, Role::Meant)[2], "exec ssh \"$@\"");
        assert_eq!(ssh_command(&both, Role::Other)[2], "exec ssh -F other \"$@\"");
        let rclone = |role| of_role(&both, environment::RCLONE_COMMAND, role).unwrap().to_owned();
        assert_eq!([rclone(Role::Meant), rclone(Role::Other)], ["rclone", "rclone"]);
        let of_region =
            environment(&[("AWS_REGION", "here"), ("PACKSTONE_FROM_AWS_DEFAULT_REGION", "there")]);
        assert_eq!(credential(&of_region, "AWS_REGION", Role::Other).unwrap(), None);
    }

    #[cfg(feature = "remote")]
    #[test]
    fn half_of_what_opens_the_other_storage_is_refused() {
        use crate::environment::tests::environment;
        let s3 = Service::S3 { endpoint: None, bucket: "b".into() };
        let azure = Service::Azure { container: "c".into() };
        let id = ("PACKSTONE_FROM_AWS_ACCESS_KEY_ID", "x");
        let file = ("PACKSTONE_FROM_AWS_SECRET_ACCESS_KEY_FILE", "x");
        let check = |service, variables: &[(&str, &str)]| {
            check_whole(service, &environment(variables)).map_err(|error| error.to_string())
        };
        assert_eq!(check(&s3, &[id, file]), Ok(()));
        assert_eq!(check(&s3, &[("AWS_ACCESS_KEY_ID", "x"), ("PACKSTONE_FROM_AWS_REGION", "x")]), Ok(()));
        assert_eq!(check(&azure, &[id]), Ok(()));
        let said = "what opens the other storage is given in part only: set PACKSTONE_FROM_AWS_ACCESS_KEY_ID and \
                    PACKSTONE_FROM_AWS_SECRET_ACCESS_KEY";
        for part in [id, file, ("PACKSTONE_FROM_AWS_SESSION_TOKEN", "x")] {
            let variables = [part, ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")];
            assert_eq!(check(&s3, &variables).unwrap_err(), said, "{part:?}");
        }
        let said = check(&azure, &[("PACKSTONE_FROM_AZURE_ACCOUNT_NAME", "x")]).unwrap_err();
        assert!(
            said.ends_with("PACKSTONE_FROM_AZURE_ACCOUNT_KEY or PACKSTONE_FROM_AZURE_ACCOUNT_SAS"),
            "{said}"
        );
    }
}
