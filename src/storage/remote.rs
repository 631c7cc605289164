//! Objects on a service behind a network, reached by opendal.
//!
//! What must hold:
//! 1. What may pass is tried again, with growing waits, until the patience ends or nothing was achieved for so long; the
//!    same bytes are sent each time. After a creation of which nobody knows what became of it, the object is read back
//!    before anything else: identical bytes are ours.
//! 2. Whether the service refuses to create what is there is never assumed. It is tried out by each session
//!    (`prove_create`); until then, and where it does not, each creation is preceded by a look.
//! 3. Where an interrupted upload could be seen, objects are published by a move.
//! 4. The crate is given whole paths: below a root of its own it takes names of elsewhere for ours, or panics.
//! 5. Nothing but this folder knows opendal, HTTP or tokio. Calls block; none may be made from within the runtime.

mod body;
pub(super) mod caller;
mod creation;
pub(super) mod errors;
pub(super) mod listing;
mod rclone;
pub(super) mod services;
mod strays;
#[cfg(feature = "s3")]
mod thaw;
pub(super) mod timing;
pub(super) mod transport;
mod webdav;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use opendal::{HttpTransporter, OperationContext, Operator};

use self::caller::Caller;
use self::creation::Refuses;
use self::errors::{Attempt, Failure};
use self::rclone::Rclone;
pub use self::services::{CREDENTIAL_NAMES, Credentials, RemoteOptions, Stopped};
use self::services::{Connected, Listing, Publishing};
use self::timing::{RealTimer, Timer};
use self::transport::{Purpose, Transport, failed};
use self::webdav::Webdav;
use super::location::{RemoteLocation, Service};
#[cfg(feature = "sftp")]
use super::sftp::Sftp;
use super::{Body, Capabilities, Listed, ObjectName, Storage, Stray, Traffic, refusal};
use crate::base::{Error, ErrorKind, Result, Wrap};
#[cfg(feature = "s3")]
use crate::base::{ThawRequest, Thawing};

/// A connection is not made within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens what a location names; nothing is sent. `Usage` for what this program was built without.
pub fn open(location: &RemoteLocation, options: &RemoteOptions) -> Result<Arc<dyn Storage>> {
    match location.service {
        #[cfg(feature = "sftp")]
        Service::Sftp { .. } => Ok(Arc::new(Sftp::open(location, options)?)),
        _ => Ok(Arc::new(Remote::open(location, options)?)),
    }
}

/// Objects on a service.
pub struct Remote {
    operator: Operator,
    for_data: Option<Operator>,
    /// What stands before an object's name in its path: empty, or it ends with a slash.
    prefix: String,
    tells_tags: bool,
    publishing: Publishing,
    listing: Listing,
    refuses: Refuses,
    /// Ended after the last call.
    rclone: Option<Rclone>,
    webdav: Option<Webdav>,
    #[cfg(feature = "s3")]
    cold: Option<thaw::Cold>,
    transporter: HttpTransporter,
    caller: Caller,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Remote").field("location", &self.caller.shown).finish_non_exhaustive()
    }
}

impl Remote {
    /// Prepares the connection to a service; nothing is sent. `Usage` for what this program was built without or what
    /// cannot be understood.
    pub fn open(location: &RemoteLocation, options: &RemoteOptions) -> Result<Self> {
        let rclone = match &location.service {
            Service::Rclone { remote } if cfg!(feature = "webdav") => {
                Some(Rclone::prepare(format!("{remote}{}", location.path), options)?)
            }
            _ => None,
        };
        Self::by(location, options, Box::new(RealTimer::start()), rclone)
    }

    /// The same, with another timer, and by rclone if there is one.
    fn by(
        location: &RemoteLocation,
        options: &RemoteOptions,
        timer: Box<dyn Timer>,
        rclone: Option<Rclone>,
    ) -> Result<Self> {
        let caller = Caller::start(location.to_string(), options, timer)?;
        let socket = rclone.as_ref().map(Rclone::socket);
        let client = client(options, socket.as_deref())?;
        let transport = Transport { client, wire: Arc::clone(&caller.wire) };
        let transporter = HttpTransporter::new(transport.clone());
        if socket.is_none() {
            // What asks for credentials by itself has no other way; of several storages the first one's will do.
            HttpTransporter::install_default(transport);
        }
        let connected = match &rclone {
            Some(rclone) => services::connect_rclone(rclone.password(), options)?,
            None => services::connect(location, options)?,
        };
        let context = OperationContext::default().with_http_transport(transporter.clone());
        let Connected { operator, for_data, .. } = connected;
        Ok(Self {
            operator: operator.with_context(context.clone()),
            for_data: for_data.map(|operator| operator.with_context(context)),
            prefix: connected.prefix,
            tells_tags: connected.tells_tags,
            publishing: connected.publishing,
            listing: connected.listing,
            refuses: Refuses::default(),
            rclone,
            webdav: connected.webdav,
            #[cfg(feature = "s3")]
            cold: connected.cold,
            transporter,
            caller,
        })
    }

    fn run<T>(&self, purpose: Purpose, call: impl Future<Output = T>) -> T {
        self.caller.run(purpose, call)
    }

    async fn try_often<T>(&self, mut attempt: impl AsyncFnMut() -> Attempt<T>) -> Result<T> {
        let attempt = async || {
            if let Some(rclone) = &self.rclone {
                rclone.ensure_running().map_err(Failure::lasting)?;
            }
            let outcome = attempt().await;
            if outcome.is_ok() {
                self.rclone.iter().for_each(Rclone::served);
            }
            outcome
        };
        self.caller.try_often(attempt).await
    }

    /// The path of a name, or of a folder.
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Size of what is stored under a name, if it is there.
    async fn size_of(&self, name: &str) -> Attempt<Option<u64>> {
        match self.operator.stat(&self.path(name)).await {
            Ok(found) if self.tells_tags && found.etag().is_none() && found.last_modified().is_none() => {
                let message = "the storage says that the object is there, and nothing of it";
                Err(Failure::of_service(&failed(message).set_temporary()))
            }
            Ok(found) if found.is_file() => Ok(Some(found.content_length())),
            // A folder is no object, yet its name is taken.
            Ok(_) => Ok(Some(0)),
            Err(cause) if cause.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Failure::of_service(&cause)),
        }
    }

    /// Reads on from where `bytes` ends: to the end of the object, or `length` bytes from `offset`. `Damaged` if there are
    /// more than `bytes_max`.
    async fn read(
        &self,
        name: &ObjectName,
        offset: u64,
        length: Option<usize>,
        bytes_max: u64,
        bytes: &mut Vec<u8>,
    ) -> Attempt<()> {
        let before = bytes.len();
        let outcome = self.read_on(name, offset, length, bytes_max, bytes).await;
        outcome.map_err(|failure| Failure { has_progressed: bytes.len() > before, ..failure })
    }

    async fn read_on(
        &self,
        name: &ObjectName,
        offset: u64,
        length: Option<usize>,
        bytes_max: u64,
        bytes: &mut Vec<u8>,
    ) -> Attempt<()> {
        use futures::TryStreamExt;
        let of_service = |cause: opendal::Error| match cause.kind() {
            opendal::ErrorKind::NotFound => Failure::lasting(refusal::not_found(name)),
            _ => Failure::of_service(&cause),
        };
        let reader = self.operator.reader(&self.path(name.as_str())).await.map_err(of_service)?;
        let begin = offset + bytes.len() as u64;
        let stream = match length {
            Some(length) => reader.into_stream(begin..offset + length as u64).await,
            None => reader.into_stream(begin..).await,
        };
        let mut stream = stream.map_err(of_service)?;
        while let Some(buffer) = stream.try_next().await.map_err(of_service)? {
            if (bytes.len() + buffer.len()) as u64 > bytes_max {
                return Err(Failure::lasting(Error::damaged("more bytes came than there may be")));
            }
            for slice in buffer {
                bytes.extend_from_slice(&slice);
            }
        }
        Ok(())
    }
}

fn client(options: &RemoteOptions, socket: Option<&std::path::Path>) -> Result<reqwest::Client> {
    let refused = |what: &'static str| {
        move |cause: reqwest::Error| Error::caused(ErrorKind::Usage, what, cause.without_url())
    };
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("packstone/", env!("CARGO_PKG_VERSION")));
    if let Some(authorities) = &options.authorities {
        let what = "the certificates of authorities cannot be read";
        let certificates = reqwest::Certificate::from_pem_bundle(authorities).map_err(refused(what))?;
        if certificates.is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                "the file of authorities holds no certificate in the form of PEM",
            ));
        }
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(identity) = &options.identity {
        let what = "the client's certificate and key cannot be read";
        builder = builder.identity(reqwest::Identity::from_pem(identity).map_err(refused(what))?);
    }
    if let Some(socket) = socket {
        builder = builder.unix_socket(socket).no_proxy();
    }
    builder.build().map_err(refused("cannot prepare connections"))
}

impl Storage for Remote {
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.put(&self.operator, name, body)
    }

    fn put_data_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.put(self.for_data.as_ref().unwrap_or(&self.operator), name, body)
    }

    fn prove_create(&self, name: &ObjectName, bodies: [&Body; 3]) -> Result<bool> {
        self.prove(name, bodies)
    }

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let outcome = self.run(Purpose::Get, async {
            self.try_often(async || self.read(name, 0, None, size_bytes_max, &mut bytes).await).await
        });
        match outcome {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let size = self.run(Purpose::Get, self.size_of(name.as_str())).ok().flatten();
                Err(refusal::too_large(name, size.unwrap_or(size_bytes_max + 1), size_bytes_max))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
            other => other.wrap(|| format!("cannot read object {name}")),
        }?;
        Ok(bytes)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        // What begins beyond the end, or asks for nothing, is refused by some services and answered by others.
        let size_bytes = || {
            let size = self.run(Purpose::Get, self.try_often(async || self.size_of(name.as_str()).await));
            size.wrap(|| format!("cannot examine object {name}"))?.ok_or_else(|| refusal::not_found(name))
        };
        let too_short = |size_bytes| refusal::too_short(name, size_bytes, offset, length);
        if length == 0 || offset.checked_add(length as u64).is_none() {
            let size_bytes = size_bytes()?;
            return if length == 0 && offset <= size_bytes {
                Ok(Vec::new())
            } else {
                Err(too_short(size_bytes))
            };
        }
        let mut bytes = Vec::new();
        let outcome = self.run(Purpose::Get, async {
            self.try_often(async || self.read(name, offset, Some(length), length as u64, &mut bytes).await)
                .await
        });
        match outcome {
            Ok(()) if bytes.len() == length => Ok(bytes),
            Ok(()) => Err(too_short(offset + bytes.len() as u64)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
            Err(error) if error.kind() == ErrorKind::Frozen => {
                Err(error.while_doing(format!("cannot read object {name}")))
            }
            Err(error) => match size_bytes() {
                Ok(size_bytes) if size_bytes < offset + length as u64 => Err(too_short(size_bytes)),
                Err(missing) if missing.kind() == ErrorKind::NotFound => Err(missing),
                _ => Err(error.while_doing(format!("cannot read object {name}"))),
            },
        }
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let Some(folder) = ObjectName::parse(folder) else { return Ok(()) };
        match self.listing {
            Listing::Flat => self.list_flat(&folder, start_after, visit),
            Listing::Folders => self.list_folder(&format!("{folder}/"), start_after, visit),
        }
    }

    fn strays(&self, folders: &[&str], visit: &mut dyn FnMut(Stray) -> Result<()>) -> Result<()> {
        match self.listing {
            Listing::Flat => Ok(()),
            Listing::Folders => self.visit_strays(folders, visit),
        }
    }

    #[cfg(feature = "s3")]
    fn thaw(&self, name: &ObjectName, request: Option<&ThawRequest>) -> Result<Thawing> {
        match &self.cold {
            Some(cold) => self.thaw_by(cold, name, request),
            None => Ok(Thawing::Readable),
        }
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        let mut was_there = false;
        let deleted = self.run(Purpose::Delete, async {
            self.try_often(async || {
                if !was_there && self.size_of(name.as_str()).await?.is_none() {
                    return Err(Failure::lasting(refusal::not_found(name)));
                }
                was_there = true;
                self.operator
                    .delete(&self.path(name.as_str()))
                    .await
                    .map_err(|cause| Failure::of_service(&cause))
            })
            .await
        });
        match deleted {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody else, or an attempt before, was faster.
                if was_there { Ok(()) } else { Err(error) }
            }
            other => other.wrap(|| format!("cannot delete object {name}")),
        }
    }

    fn barrier(&self) -> Result<()> {
        // What a service has confirmed is durable, as far as anybody outside of it can know.
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_create: self.creates_atomically() }
    }

    fn parallel_calls(&self) -> usize {
        self.caller.wire.connections
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.caller.wire.counted.traffic())
    }

    fn location(&self) -> String {
        self.caller.shown.clone()
    }
}

#[cfg(feature = "s3")]
#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::storage::location::Location;
    use crate::storage::remote::timing::tests::FakeTimer;

    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

    /// Nobody listens where it goes.
    #[test]
    fn what_never_answers_is_tried_for_a_minute_and_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let text = format!("s3:http://127.0.0.1:{port}/b");
        let Location::Remote(location) = Location::parse(text.as_bytes()).unwrap() else { panic!("{text}") };
        let credentials =
            Credentials::gather(|name| Ok(name.contains("_KEY").then(|| "hunter2".to_owned().into())));
        let options = RemoteOptions {
            credentials: credentials.unwrap(),
            on_trouble: |line| TOLD.lock().unwrap().push(line.to_owned()),
            ..RemoteOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
        let remote = Remote::by(&location, &options, Box::new(FakeTimer::default()), None).unwrap();
        let name = ObjectName::parse("config/00000001").unwrap();
        let error = remote.get(&name, 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let chain = error.chain().join(": ");
        assert!(chain.contains(&text) && !chain.contains("hunter2"), "{chain}");
        let repeated = remote.traffic().unwrap().repeated;
        assert!((4..12).contains(&repeated), "{repeated} repetitions in a minute");
        let told = TOLD.lock().unwrap().clone();
        assert!(
            (1..=5).contains(&told.len()) && told.iter().all(|line| line.contains("trying again")),
            "{told:?}"
        );
    }
}
