//! What WebDAV needs beyond objects: folders, and moves that ask for nothing else.
//!
//! What must hold: a move never replaces what is there; a folder is made only when something was refused for want of it,
//! or once before the first object is written. The general client would ask for all of that before each request.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderValue, Request, StatusCode, header};
use opendal::raw::{format_authorization_by_basic, format_authorization_by_bearer, percent_encode_path};
use opendal::{Buffer, ErrorKind as Opendal, HttpTransporter, Operator};

use super::errors::Failure;
use super::transport::failed;
use super::{Attempt, Remote};
use crate::base::{Error, ErrorKind, Result};
use crate::storage::name::UNFINISHED_FOLDER;

/// Most of an answer that is shown.
const ANSWER_BYTES_MAX: usize = 400;

/// So often a folder is made anew for one object: in a bucket behind rclone there are none but those that hold something,
/// and that of what is unfinished goes with each object that others publish.
const FOLDER_ATTEMPTS_MAX: usize = 20;

/// Whether something is tried once more, with its folder made anew, after so many attempts.
pub(super) fn may_try_again(attempts: usize) -> bool {
    // What is forbidden for another reason stays so.
    attempts < if super::transport::last_status() == 403 { 2 } else { FOLDER_ATTEMPTS_MAX }
}

/// A server, and how it is asked.
pub(super) struct Webdav {
    /// `http://host[:port]`, without a slash at its end.
    endpoint: String,
    authorization: Option<HeaderValue>,
    /// The folder of what is unfinished is there.
    is_prepared: AtomicBool,
}

impl Webdav {
    pub(super) fn new(endpoint: &str, user: Option<(&str, &str)>, token: Option<&str>) -> Result<Self> {
        let authorization = match (user, token) {
            (_, Some(token)) => Some(format_authorization_by_bearer(token)),
            (Some((user, password)), None) => Some(format_authorization_by_basic(user, password)),
            (None, None) => None,
        };
        let refused = |_| Error::new(ErrorKind::Usage, "the user name, password or token cannot be used");
        let header = |text: String| {
            let mut value = HeaderValue::try_from(text)
                .map_err(|_| Error::new(ErrorKind::Usage, "the user name or token cannot be used"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            authorization: authorization.transpose().map_err(refused)?.map(header).transpose()?,
            is_prepared: AtomicBool::new(false),
        })
    }

    fn address(&self, path: &str) -> String {
        format!("{}{}", self.endpoint, percent_encode_path(&format!("/{path}")))
    }

    async fn move_once(&self, transporter: &HttpTransporter, from: &str, to: &str) -> Attempt<()> {
        let mut request =
            Request::builder().method("MOVE").uri(self.address(from)).header("Destination", self.address(to));
        request = request.header("Overwrite", "F");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let of_service = |cause: opendal::Error| Failure::of_service(&cause);
        let request = request
            .body(Buffer::new())
            .map_err(|cause| of_service(failed("a move that cannot be asked for").set_source(cause)))?;
        let answer = transporter.send(request).await.map_err(of_service)?;
        let status = answer.status();
        if [StatusCode::CREATED, StatusCode::NO_CONTENT].contains(&status) {
            return Ok(());
        }
        if status == StatusCode::OK {
            // No status of a move; what became of it is to be looked at.
            let message = "the storage does not say whether it gave the object its name";
            return Err(of_service(failed(message).set_temporary()));
        }
        let said = answer.into_body().to_vec();
        let said = String::from_utf8_lossy(said.get(..ANSWER_BYTES_MAX).unwrap_or(&said)).into_owned();
        let kind = match status {
            StatusCode::PRECONDITION_FAILED => Opendal::ConditionNotMatch,
            StatusCode::NOT_FOUND => Opendal::NotFound,
            StatusCode::FORBIDDEN => Opendal::PermissionDenied,
            StatusCode::TOO_MANY_REQUESTS => Opendal::RateLimited,
            _ => Opendal::Unexpected,
        };
        let is_temporary = status.is_server_error() || status == StatusCode::LOCKED;
        Err(of_service(
            opendal::Error::new(kind, format!("the object cannot get its name: {said}"))
                .with_temporary(is_temporary),
        ))
    }
}

/// Whether the last answer, which is why something failed, may mean that a folder is missing; some servers forbid what
/// they cannot find.
fn may_miss_folder(failure: &Failure) -> bool {
    // What may pass may have had no answer at all.
    !failure.may_pass && [403, 404, 409].contains(&super::transport::last_status())
}

impl Remote {
    /// Makes a folder, and those above it as far as they are missing.
    async fn make_folder(&self, operator: &Operator, folder: &str) -> Attempt<()> {
        operator.create_dir(&self.path(folder)).await.map_err(|cause| Failure::of_service(&cause))
    }

    /// Makes the folder of what is unfinished, once.
    pub(super) async fn prepare_unfinished(&self, operator: &Operator) -> Attempt<()> {
        let Some(webdav) = &self.webdav else { return Ok(()) };
        if !webdav.is_prepared.load(Ordering::Relaxed) {
            self.make_folder(operator, &format!("{UNFINISHED_FOLDER}/")).await?;
            webdav.is_prepared.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the folder of what is unfinished seems to be gone, as the last answer has it. If so, it is made again by the
    /// next `prepare_unfinished`.
    pub(super) fn misses_unfinished(&self, failure: &Failure) -> bool {
        let webdav = self.webdav.as_ref().filter(|_| may_miss_folder(failure));
        webdav.inspect(|webdav| webdav.is_prepared.store(false, Ordering::Relaxed)).is_some()
    }

    /// Gives an object its final name; `Exists` if that is taken.
    pub(super) async fn rename(&self, operator: &Operator, from: &str, to: &str) -> Attempt<()> {
        let Some(webdav) = &self.webdav else {
            let renamed = operator.rename(&self.path(from), &self.path(to)).await;
            return renamed.map_err(|cause| Failure::of_service(&cause));
        };
        let (source, target) = (self.path(from), self.path(to));
        let mut attempts = 1;
        loop {
            match webdav.move_once(&self.transporter, &source, &target).await {
                Err(failure) if may_miss_folder(&failure) && may_try_again(attempts) => {
                    let folder = to.rsplit_once('/').map_or("", |(folder, _)| folder);
                    self.make_folder(operator, &format!("{folder}/")).await?;
                    attempts += 1;
                }
                moved => return moved,
            }
        }
    }
}
