//! From a location to a connection: what each service needs, and where its credentials come from.
//!
//! What must hold: what opens a service is shown by nothing; a service that this program was built without is refused by
//! name. Credentials that were not given are looked for where the service's own tools look (`~/.aws`, the instance's
//! role, Google's application credentials).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opendal::Operator;
use zeroize::Zeroizing;

use super::errors::Failure;
use super::webdav::Webdav;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::storage::location::{RemoteLocation, Service};

/// What a user may set in the environment, or in a file that `PACKSTONE_<name>_FILE` names; and what it is for.
pub const CREDENTIAL_NAMES: [&str; 14] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "WEBDAV_USER",
    "WEBDAV_PASSWORD",
    "WEBDAV_TOKEN",
    "AZURE_ACCOUNT_NAME",
    "AZURE_ACCOUNT_KEY",
    "AZURE_ACCOUNT_SAS",
    "B2_ACCOUNT_ID",
    "B2_ACCOUNT_KEY",
    "B2_BUCKET_ID",
];

/// Values of `CREDENTIAL_NAMES`, wiped after use.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<&'static str, Zeroizing<String>>);

impl Credentials {
    /// Asks for each name in turn.
    pub fn gather(mut find: impl FnMut(&'static str) -> Result<Option<Zeroizing<String>>>) -> Result<Self> {
        let mut found = BTreeMap::new();
        for name in CREDENTIAL_NAMES {
            if let Some(value) = find(name)? {
                found.insert(name, value);
            }
        }
        Ok(Self(found))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// How a storage behind a network is used.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Calls at the same time.
    pub connections: usize,
    /// Most bytes a second that are sent, over all connections.
    pub upload_bytes_per_second: Option<u64>,
    /// Most bytes a second that are received, over all connections.
    pub download_bytes_per_second: Option<u64>,
    /// So long something is tried again before it is given up.
    pub patience: Duration,
    /// The wait before something is tried again for the first time; each further one is about twice as long, up to 30
    /// seconds.
    pub first_wait: Duration,
    /// Certificates of authorities to trust as well, as PEM.
    pub authorities: Option<Vec<u8>>,
    /// Certificate and private key to show, as PEM.
    pub identity: Option<Zeroizing<Vec<u8>>>,
    /// Storage class of packs of data.
    pub storage_class: Option<String>,
    /// The program that is rclone.
    pub rclone_program: PathBuf,
    /// Where a private directory for the socket of rclone is made.
    pub runtime_folder: PathBuf,
    /// The program by which SFTP is reached, and its first arguments; empty: `ssh`.
    pub ssh_command: Vec<OsString>,
    /// Variables of the environment that such a program is not given.
    pub withheld: Vec<String>,
    /// What opens the service.
    pub credentials: Credentials,
    /// Told when something is tried again and again, and why.
    pub on_trouble: fn(&str),
    /// Whether nothing is to be tried again, because somebody asked to stop.
    pub is_stopped: Stopped,
}

/// Says whether somebody asked to stop.
#[derive(Clone)]
pub struct Stopped(pub Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Stopped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Stopped")
    }
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            connections: 5,
            upload_bytes_per_second: None,
            download_bytes_per_second: None,
            patience: Duration::from_secs(900),
            first_wait: Duration::from_millis(250),
            authorities: None,
            identity: None,
            storage_class: None,
            rclone_program: PathBuf::from("rclone"),
            runtime_folder: PathBuf::from("/tmp"),
            ssh_command: Vec::new(),
            withheld: Vec::new(),
            credentials: Credentials::default(),
            on_trouble: |_| {},
            is_stopped: Stopped(Arc::new(|| false)),
        }
    }
}

/// How an object comes under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publishing {
    /// By one request that fails if the name is taken.
    Conditional,
    /// By one request, after a look whether the name is taken.
    Checked,
    /// Under another name first, because an interrupted upload may leave a part of it; then by a move.
    Moved,
}

/// How names are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// All below a prefix in the order of their bytes, from any name on.
    Flat,
    /// Folder by folder, in any order.
    Folders,
}

/// A connection to a service.
pub(super) struct Connected {
    pub(super) operator: Operator,
    /// The same with the storage class of data; none: no other.
    pub(super) for_data: Option<Operator>,
    /// What stands before an object's name in its path: empty, or it ends with a slash.
    pub(super) prefix: String,
    /// Whoever writes an object is told a tag for it, and whoever asks for one as well.
    pub(super) tells_tags: bool,
    pub(super) publishing: Publishing,
    pub(super) listing: Listing,
    /// What more is asked of a server of WebDAV.
    pub(super) webdav: Option<Webdav>,
    /// What more is asked of S3.
    #[cfg(feature = "s3")]
    pub(super) cold: Option<super::thaw::Cold>,
}

/// Prepares the connection; nothing is sent.
pub(super) fn connect(location: &RemoteLocation, options: &RemoteOptions) -> Result<Connected> {
    let class = options.storage_class.as_deref();
    let conditional = match location.settings.conditional {
        Some(false) => Publishing::Checked,
        _ => Publishing::Conditional,
    };
    let prefix = prefix(&location.path)?;
    let flat = |operator: Operator, for_data: Option<Operator>, publishing| Connected {
        operator,
        for_data,
        prefix: prefix.clone(),
        tells_tags: matches!(location.service, Service::S3 { .. } | Service::Azure { .. }),
        publishing,
        listing: Listing::Flat,
        webdav: None,
        #[cfg(feature = "s3")]
        cold: None,
    };
    match &location.service {
        #[cfg(feature = "s3")]
        Service::S3 { endpoint, bucket } => {
            let build = |class| s3(location, endpoint.as_deref(), bucket, options, class);
            let for_data = class.map(|class| build(Some(class))).transpose()?;
            let cold = super::thaw::Cold::new(
                s3_providers(endpoint.as_deref(), location, options),
                region(location, options),
            );
            Ok(Connected { cold: Some(cold), ..flat(build(None)?, for_data, conditional) })
        }
        #[cfg(feature = "gcs")]
        Service::Gcs { bucket } => {
            let build = |class| gcs(location, bucket, class);
            let for_data = class.map(|class| build(Some(class))).transpose()?;
            Ok(flat(build(None)?, for_data, conditional))
        }
        #[cfg(feature = "azure")]
        Service::Azure { container } => {
            no_class(class)?;
            Ok(flat(azure(location, container, options)?, None, conditional))
        }
        #[cfg(feature = "b2")]
        Service::B2 { bucket } => {
            no_class(class)?;
            Ok(flat(b2(bucket, options)?, None, Publishing::Checked))
        }
        #[cfg(feature = "webdav")]
        Service::Webdav { endpoint } => {
            no_class(class)?;
            let credentials = &options.credentials;
            let user = credentials.get("WEBDAV_USER");
            let user = user.map(|user| (user, credentials.get("WEBDAV_PASSWORD").unwrap_or_default()));
            webdav(endpoint, prefix, user, credentials.get("WEBDAV_TOKEN"))
        }
        #[expect(clippy::allow_attributes, reason = "with all features every service is matched above")]
        #[allow(unreachable_patterns, reason = "with all features every service is matched above")]
        other => {
            Err(Error::new(ErrorKind::Usage, format!("this program was built without {}", feature(other))))
        }
    }
}

/// What stands before an object's name in its path.
fn prefix(path: &str) -> Result<String> {
    match path.chars().next() {
        None => Ok(String::new()),
        // It would be lost on the way.
        Some(first) if first.is_whitespace() => {
            Err(Error::new(ErrorKind::Usage, "cannot use the location: its path begins with a space"))
        }
        Some(_) => Ok(format!("{path}/")),
    }
}

/// Name of the service, and the feature that brings it.
pub(super) const fn feature(service: &Service) -> &'static str {
    match service {
        Service::S3 { .. } => "S3 (feature s3)",
        Service::Webdav { .. } => "WebDAV (feature webdav)",
        Service::Sftp { .. } => "SFTP (feature sftp)",
        Service::Gcs { .. } => "Google Cloud Storage (feature gcs)",
        Service::Azure { .. } => "Azure's object storage (feature azure)",
        Service::B2 { .. } => "Backblaze B2's own protocol (feature b2)",
        Service::Rclone { .. } => "rclone (feature webdav)",
    }
}

/// Only some services have classes.
pub(in crate::storage) fn no_class(class: Option<&str>) -> Result<()> {
    match class {
        None => Ok(()),
        Some(_) => Err(Error::new(ErrorKind::Usage, "this service has no storage classes")),
    }
}

fn built(built: opendal::Result<Operator>) -> Result<Operator> {
    built
        .map_err(|cause| Failure::of_service(&cause).error.of_kind(ErrorKind::Usage))
        .wrap(|| "cannot use the location")
}

/// Where credentials of S3 are looked for: what was given, then where Amazon's own tools look.
#[cfg(feature = "s3")]
fn s3_providers(
    endpoint: Option<&str>,
    location: &RemoteLocation,
    options: &RemoteOptions,
) -> reqsign_core::ProvideCredentialChain<reqsign_aws_v4::Credential> {
    use reqsign_aws_v4::{DefaultCredentialProvider, StaticCredentialProvider};
    let credentials = &options.credentials;
    let mut usual = DefaultCredentialProvider::builder();
    if let Some(profile) = &location.settings.profile {
        usual = usual.with_profile(profile);
    }
    // The instance's role is for Amazon alone; elsewhere the question would only take time.
    if endpoint.is_some_and(|endpoint| !endpoint.contains(".amazonaws.com")) {
        usual = usual.no_imds();
    }
    let providers = reqsign_core::ProvideCredentialChain::new().push(usual.build());
    match (credentials.get("AWS_ACCESS_KEY_ID"), credentials.get("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(key)) => providers.push_front(match credentials.get("AWS_SESSION_TOKEN") {
            Some(token) => StaticCredentialProvider::new(id, key).with_session_token(token),
            None => StaticCredentialProvider::new(id, key),
        }),
        _ => providers,
    }
}

/// The region for which requests are signed.
#[cfg(feature = "s3")]
fn region<'o>(location: &'o RemoteLocation, options: &'o RemoteOptions) -> &'o str {
    let credentials = &options.credentials;
    let region = location.settings.region.as_deref();
    let region = region.or_else(|| credentials.get("AWS_REGION"));
    region.or_else(|| credentials.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1")
}

#[cfg(feature = "s3")]
fn s3(
    location: &RemoteLocation,
    endpoint: Option<&str>,
    bucket: &str,
    options: &RemoteOptions,
    class: Option<&str>,
) -> Result<Operator> {
    use opendal::services::S3;
    let settings = &location.settings;
    let mut builder = S3::default().bucket(bucket).region(region(location, options));
    builder = builder.credential_provider_chain(s3_providers(endpoint, location, options));
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint(endpoint);
    }
    if settings.virtual_host == Some(true) {
        builder = builder.enable_virtual_host_style();
    }
    if settings.checksums != Some(false) {
        // The one that every service knows, and without which a bucket with retention takes nothing.
        builder = builder.checksum_algorithm("md5");
    }
    if let Some(class) = class {
        builder = builder.default_storage_class(class);
    }
    built(Operator::new(builder))
}

/// The same for a server of rclone at the other end of a socket.
#[cfg(feature = "webdav")]
pub(super) fn connect_rclone(password: &str, options: &RemoteOptions) -> Result<Connected> {
    no_class(options.storage_class.as_deref())?;
    // The name of the host goes nowhere.
    webdav("http://localhost", String::new(), Some((super::rclone::USER, password)), None)
}

/// There is none.
#[cfg(not(feature = "webdav"))]
pub(super) fn connect_rclone(_password: &str, _options: &RemoteOptions) -> Result<Connected> {
    Err(Error::new(ErrorKind::Usage, "this program was built without rclone (feature webdav)"))
}

#[cfg(feature = "webdav")]
fn webdav(
    endpoint: &str,
    prefix: String,
    user: Option<(&str, &str)>,
    token: Option<&str>,
) -> Result<Connected> {
    let mut builder = opendal::services::Webdav::default().endpoint(endpoint);
    builder = builder.disable_create_dir(true);
    if let Some((user, password)) = user {
        builder = builder.username(user).password(password);
    }
    if let Some(token) = token {
        builder = builder.token(token);
    }
    Ok(Connected {
        operator: built(Operator::new(builder))?,
        for_data: None,
        prefix,
        tells_tags: false,
        publishing: Publishing::Moved,
        listing: Listing::Folders,
        webdav: Some(Webdav::new(endpoint, user, token)?),
        #[cfg(feature = "s3")]
        cold: None,
    })
}

#[cfg(feature = "gcs")]
fn gcs(location: &RemoteLocation, bucket: &str, class: Option<&str>) -> Result<Operator> {
    let mut builder = opendal::services::Gcs::default().bucket(bucket);
    if let Some(endpoint) = &location.settings.endpoint {
        builder = builder.endpoint(endpoint);
    }
    if let Some(class) = class {
        builder = builder.default_storage_class(class);
    }
    built(Operator::new(builder))
}

#[cfg(feature = "azure")]
fn azure(location: &RemoteLocation, container: &str, options: &RemoteOptions) -> Result<Operator> {
    let credentials = &options.credentials;
    let account = credentials.get("AZURE_ACCOUNT_NAME").unwrap_or_default();
    let usual = format!("https://{account}.blob.core.windows.net");
    let endpoint = location.settings.endpoint.as_deref().unwrap_or(&usual);
    let mut builder = opendal::services::Azblob::default().container(container).endpoint(endpoint);
    if !account.is_empty() {
        builder = builder.account_name(account);
    }
    if let Some(key) = credentials.get("AZURE_ACCOUNT_KEY") {
        builder = builder.account_key(key);
    }
    if let Some(signature) = credentials.get("AZURE_ACCOUNT_SAS") {
        builder = builder.sas_token(signature);
    }
    built(Operator::new(builder))
}

#[cfg(feature = "b2")]
fn b2(bucket: &str, options: &RemoteOptions) -> Result<Operator> {
    let credentials = &options.credentials;
    let mut builder = opendal::services::B2::default().bucket(bucket);
    if let Some(id) = credentials.get("B2_BUCKET_ID") {
        builder = builder.bucket_id(id);
    }
    if let Some(id) = credentials.get("B2_ACCOUNT_ID") {
        builder = builder.application_key_id(id);
    }
    if let Some(key) = credentials.get("B2_ACCOUNT_KEY") {
        builder = builder.application_key(key);
    }
    built(Operator::new(builder))
}
