//! Objects of S3 in classes from which nothing is read at once: their state, and asking for them.
//!
//! What must hold: what is said to be readable is in a class that can be read, or the service says that its copy is
//! there; a request that was not taken is an error. Who asks here is who asks everywhere: the same credentials from the
//! same places, over the same transport.

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use opendal::{Buffer, ErrorKind as Opendal, HttpTransporter, Operator};
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;

use super::errors::{Attempt, Failure};
use super::transport::{Purpose, failed};
use super::{ObjectName, Remote, refusal};
use crate::base::{ErrorKind, Result, ThawRequest, ThawSpeed, Thawing, Wrap};

/// Addresses are taken from requests that are signed for so long and never sent.
const UNSENT: std::time::Duration = std::time::Duration::from_secs(10);

/// Classes from which nothing is read that was not asked for, as S3 and those who speak like it name them.
const COLD_CLASSES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Signs what the general client does not know.
pub(super) struct Cold {
    signer: Signer<Credential>,
}

/// What a service says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    state: Thawing,
    /// The service chose its class and keeps what was asked for as long as it likes.
    is_tiered: bool,
}

impl Told {
    fn by(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let class = text("x-amz-storage-class").unwrap_or("STANDARD");
        // Of a class by itself this says that the object lies in one of its cold tiers.
        let is_tiered = text("x-amz-archive-status").is_some();
        let is_cold = is_tiered || COLD_CLASSES.contains(&class);
        let state = match text("x-amz-restore").map(is_ongoing) {
            Some(Some(true)) => Thawing::UnderWay,
            Some(Some(false)) => Thawing::Readable,
            Some(None) | None if is_cold => Thawing::Frozen,
            Some(None) | None => Thawing::Readable,
        };
        Self { state, is_tiered }
    }
}

/// What `ongoing-request="false", expiry-date="…"` says first; nothing if it says something else.
fn is_ongoing(restore: &str) -> Option<bool> {
    let value = restore.split(',').find_map(|part| part.trim().strip_prefix("ongoing-request="))?;
    match value.trim().trim_matches('"') {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The body of a request.
fn body(request: &ThawRequest, is_tiered: bool) -> String {
    let days = if is_tiered { String::new() } else { format!("<Days>{}</Days>", request.days) };
    let speed = request.speed.map(|speed| match speed {
        ThawSpeed::Bulk => "Bulk",
        ThawSpeed::Standard => "Standard",
        ThawSpeed::Expedited => "Expedited",
    });
    let tier =
        speed.map(|speed| format!("<GlacierJobParameters><Tier>{speed}</Tier></GlacierJobParameters>"));
    format!(
        "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{days}{}</RestoreRequest>",
        tier.unwrap_or_default()
    )
}

/// Code and message of an answer that is an error.
fn error_of(body: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(body);
    let field = |name: &str| {
        let after = text.split_once(&format!("<{name}>"))?.1;
        Some(after.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    (field("Code").unwrap_or_default(), field("Message").unwrap_or_default())
}

/// An answer that is no success.
fn refused(status: StatusCode, code: &str, message: &str) -> Failure {
    let (kind, usual) = match status.as_u16() {
        401 | 403 => (Opendal::PermissionDenied, "the storage forbids it"),
        404 => (Opendal::NotFound, "the storage does not know it"),
        409 => (Opendal::Conflict, "something else is being done with it"),
        429 => (Opendal::RateLimited, "the storage is asked too often"),
        405 | 501 => (Opendal::Unsupported, "the storage does not know such a request"),
        _ => (Opendal::Unexpected, "the storage refuses"),
    };
    let parts: Vec<&str> = [code, message].into_iter().filter(|part| !part.is_empty()).collect();
    let said = if parts.is_empty() { usual.to_owned() } else { parts.join(": ") };
    let is_temporary = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
    let failure = Failure::of_service(&opendal::Error::new(kind, said).with_temporary(is_temporary));
    match (failure.error.kind(), code) {
        // It is about something else than that the object is there, or can be read.
        (ErrorKind::Frozen | ErrorKind::NotFound, _) | (_, "InvalidObjectState") => {
            Failure { error: failure.error.of_kind(ErrorKind::Failed), ..failure }
        }
        _ => failure,
    }
}

impl Cold {
    /// With credentials from these places, for a region.
    pub(super) fn new(providers: ProvideCredentialChain<Credential>, region: &str) -> Self {
        Self { signer: Signer::new(Context::new(), providers, RequestSigner::new("s3", region)) }
    }

    /// Where an object is, without anything that signs.
    async fn address(operator: &Operator, path: &str) -> Attempt<String> {
        let of_service = |cause: opendal::Error| Failure::of_service(&cause);
        let unsent = operator.presign_stat(path, UNSENT).await.map_err(of_service)?;
        let uri: &Uri = unsent.uri();
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => Ok(format!("{scheme}://{authority}{}", uri.path())),
            _ => Err(of_service(failed("a request to an address that is none"))),
        }
    }

    async fn send(
        &self,
        transporter: &HttpTransporter,
        method: Method,
        address: &str,
        body: Buffer,
    ) -> Attempt<Response<Buffer>> {
        let of_service = |cause: opendal::Error| Failure::of_service(&cause);
        let request = Request::builder().method(method).uri(address).body(body);
        let request = request.map_err(|cause| of_service(failed("cannot be asked for").set_source(cause)))?;
        let (mut parts, body) = request.into_parts();
        let context =
            Context::new().with_file_read(TokioFileRead).with_http_send(transporter.clone()).with_env(OsEnv);
        let signer = self.signer.clone().with_context(context);
        let signed = signer.sign(&mut parts, None).await;
        signed.map_err(|cause| of_service(opendal::raw::new_request_sign_error(cause.into())))?;
        // The client sets it.
        parts.headers.remove(header::HOST);
        transporter.send(Request::from_parts(parts, body)).await.map_err(of_service)
    }

    async fn look(&self, transporter: &HttpTransporter, address: &str, name: &ObjectName) -> Attempt<Told> {
        let answer = self.send(transporter, Method::HEAD, address, Buffer::new()).await?;
        match answer.status() {
            StatusCode::OK if answer.headers().contains_key(header::ETAG) => Ok(Told::by(answer.headers())),
            StatusCode::OK => {
                let cause = failed("the storage answers with something else than what it knows of an object");
                Err(Failure::of_service(&cause.set_temporary()))
            }
            StatusCode::NOT_FOUND => Err(Failure::lasting(refusal::not_found(name))),
            status => Err(refused(status, "", "")),
        }
    }

    async fn ask(
        &self,
        transporter: &HttpTransporter,
        address: &str,
        name: &ObjectName,
        body: String,
    ) -> Attempt<Thawing> {
        let address = format!("{address}?restore");
        let answer = self.send(transporter, Method::POST, &address, Buffer::from(body)).await?;
        let status = answer.status();
        match status {
            StatusCode::ACCEPTED => return Ok(Thawing::Asked),
            // Its copy is there, and stays longer now.
            StatusCode::OK => return Ok(Thawing::Readable),
            _ => {}
        }
        let (code, message) = error_of(&answer.into_body().to_vec());
        match (status, code.as_str()) {
            (StatusCode::CONFLICT, "RestoreAlreadyInProgress") => Ok(Thawing::UnderWay),
            (StatusCode::NOT_FOUND, "NoSuchKey") => Err(Failure::lasting(refusal::not_found(name))),
            _ => Err(refused(status, &code, &message)),
        }
    }
}

impl Remote {
    /// As `Storage::thaw`, of a service that freezes.
    pub(super) fn thaw_by(
        &self,
        cold: &Cold,
        name: &ObjectName,
        request: Option<&ThawRequest>,
    ) -> Result<Thawing> {
        let mut has_asked = false;
        let outcome = self.run(Purpose::Other, async {
            self.try_often(async || {
                let address = Cold::address(&self.operator, &self.path(name.as_str())).await?;
                let told = cold.look(&self.transporter, &address, name).await?;
                let was_asked = has_asked;
                let state = match (told.state, request) {
                    (Thawing::Frozen, Some(request)) => {
                        has_asked = true;
                        cold.ask(&self.transporter, &address, name, body(request, told.is_tiered)).await?
                    }
                    (state, _) => state,
                };
                // By an earlier attempt of this call, whose answer was lost.
                Ok(if was_asked && state == Thawing::UnderWay { Thawing::Asked } else { state })
            })
            .await
        });
        match outcome {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
            other => other.wrap(|| match request {
                Some(_) => format!("cannot ask for object {name}"),
                None => format!("cannot examine object {name}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn told(headers: &[(&'static str, &'static str)]) -> Told {
        Told::by(
            &headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect(),
        )
    }

    #[test]
    fn the_state_follows_from_class_and_copy() {
        const CLASS: &str = "x-amz-storage-class";
        const RESTORE: &str = "x-amz-restore";
        let state = |headers: &[(&'static str, &'static str)]| told(headers).state;
        assert_eq!(state(&[]), Thawing::Readable);
        for class in ["STANDARD_IA", "ONEZONE_IA", "GLACIER_IR", "INTELLIGENT_TIERING", "REDUCED_REDUNDANCY"]
        {
            assert_eq!(state(&[(CLASS, class)]), Thawing::Readable, "{class}");
        }
        for class in COLD_CLASSES {
            assert_eq!(state(&[(CLASS, class)]), Thawing::Frozen, "{class}");
            let under_way = "ongoing-request=\"true\"";
            assert_eq!(state(&[(CLASS, class), (RESTORE, under_way)]), Thawing::UnderWay);
            let readable = "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\"";
            assert_eq!(state(&[(CLASS, class), (RESTORE, readable)]), Thawing::Readable);
            for odd in ["", "ongoing-request=", "ongoing-request=\"maybe\"", "expiry-date=\"x\"", "true", ","]
            {
                assert_eq!(state(&[(CLASS, class), (RESTORE, odd)]), Thawing::Frozen, "{odd:?}");
            }
        }
    }

    #[test]
    fn what_a_service_moved_by_itself_has_no_days() {
        let tiered = told(&[
            ("x-amz-storage-class", "INTELLIGENT_TIERING"),
            ("x-amz-archive-status", "ARCHIVE_ACCESS"),
        ]);
        assert_eq!(tiered, Told { state: Thawing::Frozen, is_tiered: true });
        let request = ThawRequest { days: 3, speed: None };
        assert!(!body(&request, true).contains("Days"));
        assert!(body(&request, false).contains("<Days>3</Days>"));
        assert!(!body(&request, false).contains("Tier"));
        let bulk = ThawRequest { speed: Some(ThawSpeed::Bulk), ..request };
        assert!(body(&bulk, false).contains("<Tier>Bulk</Tier>"));
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_service() {
        let (code, message) =
            error_of(b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>No</Message></Error>");
        assert_eq!((code.as_str(), message.as_str()), ("AccessDenied", "No"));
        assert_eq!(error_of(b"\xff<Code>x"), (String::new(), String::new()));
        let kinds = |status, code| {
            let failure = refused(StatusCode::from_u16(status).unwrap(), code, "");
            (failure.error.kind(), failure.may_pass)
        };
        assert_eq!(kinds(403, "AccessDenied"), (ErrorKind::Denied, false));
        assert_eq!(kinds(403, ""), (ErrorKind::Denied, false));
        assert_eq!(kinds(403, "InvalidObjectState"), (ErrorKind::Failed, false));
        assert_eq!(kinds(404, "NoSuchBucket"), (ErrorKind::Failed, false));
        assert_eq!(kinds(500, "InternalError"), (ErrorKind::Unreachable, true));
        assert_eq!(kinds(501, "NotImplemented"), (ErrorKind::Unsupported, false));
        assert_eq!(kinds(400, "InvalidArgument"), (ErrorKind::Failed, false));
    }
}
