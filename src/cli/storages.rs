//! Where repositories are kept: from a location to a storage, with what the user set for networks.
//!
//! What must hold: a secret comes from the environment or from a file that it names, never from an argument; what every
//! storage of the command was asked for can be told at its end.

#[cfg(feature = "remote")]
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use packstone::base::{Error, ErrorKind, Result};
use packstone::storage::local::Local;
use packstone::storage::location::{Location, RemoteLocation};
use packstone::storage::{Requests, Storage, Traffic};

use crate::context::Context;
#[cfg(feature = "remote")]
use crate::environment;

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
pub fn open(context: &Context, location: &Location) -> Result<Arc<dyn Storage>> {
    let storage: Arc<dyn Storage> = match location {
        Location::Local(directory) => {
            refuse_class(context)?;
            Arc::new(Local::open(directory)?)
        }
        Location::Remote(remote) => open_remote(context, remote)?,
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
fn open_remote(context: &Context, location: &RemoteLocation) -> Result<Arc<dyn Storage>> {
    packstone::storage::remote::open(location, &options(context)?)
}

#[cfg(not(feature = "remote"))]
fn open_remote(_context: &Context, _location: &RemoteLocation) -> Result<Arc<dyn Storage>> {
    let message = "this program was built without storages behind a network";
    Err(Error::new(ErrorKind::Usage, message))
}

#[cfg(feature = "remote")]
fn options(context: &Context) -> Result<packstone::storage::remote::RemoteOptions> {
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
        rclone_program: environment
            .get("PACKSTONE_RCLONE_COMMAND")
            .map_or(usual.rclone_program, std::path::PathBuf::from),
        runtime_folder: ["XDG_RUNTIME_DIR", "TMPDIR"]
            .iter()
            .filter_map(|name| environment.get(name))
            .map(std::path::PathBuf::from)
            .find(|folder| folder.is_dir())
            .unwrap_or(usual.runtime_folder),
        ssh_command: ssh_command(context),
        withheld: &environment::SECRETS,
        credentials: Credentials::gather(|name| credential(context, name))?,
        on_trouble: crate::report::warn,
        is_stopped: Stopped(Arc::new(move || interruption.is_requested())),
    })
}

/// What the user put in the place of `ssh`; its arguments come behind those that stand there.
#[cfg(feature = "remote")]
fn ssh_command(context: &Context) -> Vec<std::ffi::OsString> {
    let Some(command) = context.environment.get(environment::SSH_COMMAND) else { return Vec::new() };
    let mut script = std::ffi::OsString::from("exec ");
    script.push(command);
    script.push(" \"$@\"");
    vec!["sh".into(), "-c".into(), script, "sh".into()]
}

/// A value from the environment, or from the file that the environment names; its last line break is none of it.
#[cfg(feature = "remote")]
fn credential(context: &Context, name: &str) -> Result<Option<zeroize::Zeroizing<String>>> {
    use zeroize::Zeroizing;
    let environment = &context.environment;
    let of_file = format!("PACKSTONE_{name}_FILE");
    let own = format!("PACKSTONE_{name}");
    let bytes = if let Some(path) = environment.get(&of_file) {
        Zeroizing::new(read(&of_file, Path::new(path))?)
    } else if let Some(value) = environment.get(&own).or_else(|| environment.get(name)) {
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
}
