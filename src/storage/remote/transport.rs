//! The way of every HTTP request: counted, paced, given up when nothing moves, and checked for answers that say one
//! thing and mean another.
//!
//! What must hold: a body is sent and received within the limits; a request whose answer does not come is given up after
//! a time that fits its size; an answer that claims success is taken for one only if it is whole and of the right
//! form: a listing that is none would look like an empty repository. Nothing of a request is kept or shown but its
//! method and status.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};

use super::body::{PacedBody, PacedStream};
use super::timing::{Pacer, Pause, Timer};
use crate::storage::{Requests, Traffic};

/// What a request is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Purpose {
    /// To write an object.
    Put,
    /// To read one.
    Get,
    /// To list names.
    List,
    /// To remove an object.
    Delete,
    /// For anything else.
    Other,
}

/// A call of the storage while it runs, as its requests see it.
#[derive(Debug)]
pub(super) struct Call {
    purpose: Purpose,
    /// Status of the last answer; 0 before the first.
    status: AtomicU16,
}

impl Call {
    /// A call that has asked nothing yet.
    pub(super) const fn new(purpose: Purpose) -> Self {
        Self { purpose, status: AtomicU16::new(0) }
    }
}

tokio::task_local! {
    /// The call that the running requests are made for.
    pub(super) static CALL: Arc<Call>;
}

/// Status of the last answer to the running call; 0 if there was none.
pub(super) fn last_status() -> u16 {
    CALL.try_with(|call| call.status.load(Ordering::Relaxed)).unwrap_or_default()
}

/// What all requests of a storage share.
#[derive(Debug)]
pub(in crate::storage) struct Wire {
    pub(in crate::storage) timer: Box<dyn Timer>,
    pub(in crate::storage) upload: Option<Pacer>,
    pub(in crate::storage) download: Option<Pacer>,
    pub(in crate::storage) pause: Pause,
    /// Shares of the limits that a request may count on are smaller, the more there are.
    pub(in crate::storage) connections: usize,
    pub(in crate::storage) counted: Counted,
}

/// Counters of `Traffic`.
#[derive(Debug, Default)]
pub(in crate::storage) struct Counted {
    put: AtomicU64,
    get: AtomicU64,
    list: AtomicU64,
    delete: AtomicU64,
    other: AtomicU64,
    repeated: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Counted {
    /// A request for this purpose.
    pub(in crate::storage) fn request(&self, purpose: Purpose) {
        let counter = match purpose {
            Purpose::Put => &self.put,
            Purpose::Get => &self.get,
            Purpose::List => &self.list,
            Purpose::Delete => &self.delete,
            Purpose::Other => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Something is tried again.
    pub(in crate::storage) fn repetition(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes went out.
    pub(in crate::storage) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes came in.
    pub(in crate::storage) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The figures.
    pub(in crate::storage) fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            requests: Requests {
                put: read(&self.put),
                get: read(&self.get),
                list: read(&self.list),
                delete: read(&self.delete),
                other: read(&self.other),
            },
            repeated: read(&self.repeated),
            sent_bytes: read(&self.sent_bytes),
            received_bytes: read(&self.received_bytes),
        }
    }
}

/// An answer that does not begin, and a body of which nothing comes, are given up after this.
pub(in crate::storage) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A connection that carries less is as good as none.
const FLOOR_BYTES_PER_SECOND: u64 = 16 << 10;
/// No answer but data is larger: a page of a listing has 1,000 names.
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl Wire {
    /// How long a request with a body of this length may take until its answer begins.
    pub(super) fn patience(&self, body_bytes: usize) -> Duration {
        let share =
            self.upload.as_ref().map(|pacer| pacer.bytes_per_second() / (2 * self.connections as u64));
        let floor = share.map_or(FLOOR_BYTES_PER_SECOND, |share| share.clamp(1, FLOOR_BYTES_PER_SECOND));
        SILENCE_MAX + Duration::from_secs(body_bytes as u64 / floor)
    }
}

/// Sends requests.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) client: reqwest::Client,
    pub(super) wire: Arc<Wire>,
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let wire = &self.wire;
        let call = CALL.try_with(Arc::clone).ok();
        let (mut parts, body) = request.into_parts();
        let purpose = purpose(call.as_deref(), &parts.method);
        let pause = wire.pause.left(wire.timer.now());
        if !pause.is_zero() {
            wire.timer.wait(pause).await;
        }
        wire.counted.request(purpose);
        if parts.method.as_str() == "MOVE" {
            // What is there is never replaced.
            parts.headers.insert("overwrite", HeaderValue::from_static("F"));
        }
        let is_listing = purpose == Purpose::List || parts.method.as_str() == "PROPFIND";
        let asked = Asked {
            purpose,
            is_of_object: !is_listing && [Method::GET, Method::HEAD].contains(&parts.method),
            is_listing,
            part: parts.headers.get(header::RANGE).and_then(Part::asked),
        };
        let url = reqwest::Url::parse(&parts.uri.to_string())
            .map_err(|cause| failed("a request to an address that is none").set_source(cause))?;
        let patience = wire.patience(body.len());
        let mut request = self.client.request(parts.method, url).headers(parts.headers);
        if !body.is_empty() {
            request = request.body(reqwest::Body::wrap(PacedBody::new(body, Arc::clone(wire))));
        }
        let answer = tokio::time::timeout(patience, request.send())
            .await
            .map_err(|_| failed(format!("no answer within {} seconds", patience.as_secs())).set_temporary())?
            .map_err(unsent)?;
        if let Some(call) = &call {
            call.status.store(answer.status().as_u16(), Ordering::Relaxed);
        }
        if let Some(pause) = asked_pause(answer.status(), answer.headers()) {
            wire.pause.ask(pause, wire.timer.now());
        }
        self.receive(asked, answer).await
    }
}

impl Transport {
    async fn receive(&self, asked: Asked, answer: reqwest::Response) -> opendal::Result<Response<HttpBody>> {
        let status = answer.status();
        if let Some(part) = asked.part.filter(|_| asked.purpose == Purpose::Get && status.is_success())
            && !part.is_answered_by(answer.headers())
        {
            return Err(failed("the storage answers with another part than was asked for").set_temporary());
        }
        if status == StatusCode::OK && asked.is_of_object && is_page(answer.headers()) {
            return Err(failed(PAGE).set_temporary());
        }
        let mut builder = Response::builder().status(status).version(answer.version());
        if let Some(headers) = builder.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let encoded = answer.headers().contains_key(header::CONTENT_ENCODING);
        let length =
            answer.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let stream = PacedStream::new(answer, Arc::clone(&self.wire));
        let body = if asked.purpose == Purpose::Get && status.is_success() {
            HttpBody::new(stream, if encoded { None } else { length })
        } else {
            let content = stream.collect(ANSWER_BYTES_MAX).await?;
            if status.is_success() {
                check_form(asked.is_listing, status, &content)?;
            }
            let length = content.len() as u64;
            let parts = if content.is_empty() { Vec::new() } else { vec![Ok(Buffer::from(content))] };
            HttpBody::new(futures::stream::iter(parts), Some(length).filter(|length| *length > 0))
        };
        builder.body(body).map_err(|cause| failed("an answer that is none").set_source(cause))
    }
}

/// What was asked for.
struct Asked {
    purpose: Purpose,
    /// What comes is an object, or what is known of one.
    is_of_object: bool,
    /// What comes has the form of a listing, even if it is of one object.
    is_listing: bool,
    part: Option<Part>,
}

/// A part of an object: from its first byte to its last, or to the end of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: u64,
    last: Option<u64>,
}

impl Part {
    /// What a request asks for by `bytes=1-2`.
    fn asked(header: &HeaderValue) -> Option<Self> {
        let (first, last) = header.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        Some(Self { first: first.parse().ok()?, last: last.parse().ok() })
    }

    /// Whether an answer with these headers is of this part. Its status does not say: some send a part and call it whole.
    fn is_answered_by(self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        match text(header::CONTENT_RANGE) {
            Some(range) => {
                let told =
                    range.strip_prefix("bytes ").and_then(|range| range.split_once('/')?.0.split_once('-'));
                let Some((Ok(first), Ok(last))) =
                    told.map(|(first, last)| (first.parse(), last.parse::<u64>()))
                else {
                    return false;
                };
                let told_bytes = last.saturating_sub(first).saturating_add(1);
                first == self.first && length.is_none_or(|length| length == told_bytes)
            }
            // The whole object, which may be what was asked for.
            None => {
                self.first == 0
                    && self
                        .last
                        .is_none_or(|last| length.is_some_and(|length| length <= last.saturating_add(1)))
            }
        }
    }
}

fn purpose(call: Option<&Call>, method: &Method) -> Purpose {
    let Some(call) = call else { return Purpose::Other };
    match (call.purpose, method.as_str()) {
        (Purpose::Put, "PUT" | "POST") => Purpose::Put,
        (Purpose::Get, "GET") => Purpose::Get,
        (Purpose::List, "GET" | "PROPFIND") => Purpose::List,
        (Purpose::Delete, "DELETE" | "POST") => Purpose::Delete,
        _ => Purpose::Other,
    }
}

/// The pause that an answer asks for. A date is not understood: it would be of another clock.
fn asked_pause(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if ![StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        return None;
    }
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

const PAGE: &str = "something else than the storage answers, with a page for people";

/// Networks that want somebody to log in answer everything with a page for people, and call it a success.
fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/html")
}

/// A success whose body says otherwise is a failure; a listing must be one from its first byte to its last.
fn check_form(is_listing: bool, status: StatusCode, content: &[u8]) -> opendal::Result<()> {
    let form = Form::of(content);
    // Servers of WebDAV say by such a page that they created something, with the status for it.
    let is_page = matches!(form, Form::Xml { root, .. }
        if root.eq_ignore_ascii_case("html") || root.eq_ignore_ascii_case("!doctype"));
    if status == StatusCode::OK && is_page {
        return Err(failed(PAGE).set_temporary());
    }
    let is_right = if is_listing {
        matches!(form, Form::Xml { root, is_closed: true } if LISTINGS.contains(&root)) || form == Form::Json
    } else {
        !matches!(form, Form::Xml { root: "Error", .. })
    };
    if is_right {
        return Ok(());
    }
    Err(failed("the storage says that it succeeded, and its answer says otherwise").set_temporary())
}

/// Roots of listings: of S3, of WebDAV, of Azure.
const LISTINGS: [&str; 3] = ["ListBucketResult", "multistatus", "EnumerationResults"];

/// What a body looks like from outside.
#[derive(Debug, PartialEq, Eq)]
enum Form<'c> {
    /// XML: the name of the root element without its namespace, and whether its end is there.
    Xml { root: &'c str, is_closed: bool },
    /// JSON: an object from its first to its last byte.
    Json,
    /// Anything else, or nothing.
    Other,
}

impl<'c> Form<'c> {
    fn of(content: &'c [u8]) -> Self {
        let Ok(text) = std::str::from_utf8(content) else { return Self::Other };
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('{') && text.ends_with('}') {
            return Self::Json;
        }
        let mut rest = text;
        // The declaration, comments.
        while rest.starts_with("<?") || rest.starts_with("<!--") {
            let end = if rest.starts_with("<?") { "?>" } else { "-->" };
            let Some((_, after)) = rest.split_once(end) else { return Self::Other };
            rest = after.trim_start();
        }
        let Some(element) = rest.strip_prefix('<') else { return Self::Other };
        let end = element.find(|letter: char| letter.is_whitespace() || "/>".contains(letter));
        let (name, _) = element.split_at(end.unwrap_or(element.len()));
        let is_empty = rest.ends_with("/>") && rest.find('>') == Some(rest.len() - 1);
        let is_closed = is_empty || text.ends_with(&format!("</{name}>"));
        let root = name.rsplit_once(':').map_or(name, |(_, root)| root);
        Self::Xml { root, is_closed }
    }
}

/// A failure of our own making.
pub(super) fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unexpected, message)
}

/// A request that brought no answer. Nothing of its address is shown.
pub(super) fn unsent(cause: reqwest::Error) -> Error {
    // What makes no sense does not begin to make sense.
    let is_lasting = cause.is_builder() || cause.is_redirect();
    failed("the request brought no answer").with_temporary(!is_lasting).set_source(cause.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_one_from_its_first_byte_to_its_last() {
        let whole =
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"><Key>a</Key></ListBucketResult>\n";
        assert!(check_form(true, StatusCode::OK, whole.as_bytes()).is_ok());
        for good in [
            "<D:multistatus xmlns:D=\"DAV:\"><D:response/></D:multistatus>",
            "<!-- x --><ListBucketResult/>",
            "\u{feff}<EnumerationResults a='b'></EnumerationResults>",
            "{\"kind\": \"storage#objects\"}",
        ] {
            assert!(check_form(true, StatusCode::OK, good.as_bytes()).is_ok(), "{good}");
        }
        for length in 0..whole.trim_end().len() {
            assert!(check_form(true, StatusCode::OK, &whole.as_bytes()[..length]).is_err(), "{length}");
        }
        for bad in [
            "<html><body>Welcome to the wireless network</body></html>",
            "<Error><Code>InternalError</Code></Error>",
            "<ListBucketResult></ListBucketResult><x>",
            "{\"items\": [",
            "ok",
            "",
            "\u{0}\u{1}",
        ] {
            assert!(check_form(true, StatusCode::OK, bad.as_bytes()).expect_err(bad).is_temporary());
        }
    }

    #[test]
    fn a_success_that_is_none_is_found_out() {
        let error = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>InternalError</Code></Error>";
        assert!(check_form(false, StatusCode::OK, error.as_bytes()).is_err());
        for good in ["", "ok", "<CopyObjectResult/>"] {
            assert!(check_form(false, StatusCode::OK, good.as_bytes()).is_ok());
        }
    }

    #[test]
    fn a_page_for_people_is_no_success_unless_it_says_created() {
        for page in ["<!DOCTYPE html><html></html>", "<html><body>x</body></html>", "<HTML>"] {
            assert!(check_form(false, StatusCode::OK, page.as_bytes()).is_err(), "{page}");
            assert!(check_form(false, StatusCode::CREATED, page.as_bytes()).is_ok(), "{page}");
        }
        let of = |kind: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
        };
        assert!(is_page(&of("text/html; charset=utf-8")) && is_page(&of("Text/HTML")));
        assert!(!is_page(&of("application/octet-stream")) && !is_page(&HeaderMap::new()));
    }

    #[test]
    fn an_answer_of_another_part_is_found_out() {
        let is_answered = |asked: &'static str, range: Option<&'static str>, length: Option<&'static str>| {
            let part = Part::asked(&HeaderValue::from_static(asked)).expect(asked);
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CONTENT_RANGE, range), (header::CONTENT_LENGTH, length)] {
                headers.extend(value.map(|value| (name, HeaderValue::from_static(value))));
            }
            part.is_answered_by(&headers)
        };
        assert!(is_answered("bytes=3-9", Some("bytes 3-9/20"), Some("7")));
        assert!(is_answered("bytes=3-9", Some("bytes 3-5/*"), None));
        assert!(is_answered("bytes=3-9", Some("bytes 3-5/6"), Some("3")));
        assert!(!is_answered("bytes=3-9", Some("bytes 3-9/20"), Some("3")));
        assert!(is_answered("bytes=3-", Some("bytes 3-9/10"), None));
        assert!(!is_answered("bytes=3-9", Some("bytes 0-9/10"), Some("10")));
        assert!(!is_answered("bytes=3-9", Some("a word"), None));
        assert!(!is_answered("bytes=3-9", None, Some("7")));
        assert!(is_answered("bytes=0-9", None, Some("10")));
        assert!(is_answered("bytes=0-9", None, Some("5")));
        assert!(!is_answered("bytes=0-9", None, Some("11")));
        assert!(!is_answered("bytes=0-9", None, None));
        assert!(is_answered("bytes=0-", None, None));
    }

    #[test]
    fn a_pause_is_asked_for_by_seconds() {
        let asked = |status: u16, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            asked_pause(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(asked(503, "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked(429, " 1 "), Some(Duration::from_secs(1)));
        assert_eq!(asked(500, "7"), None);
        assert_eq!(asked(503, "Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert_eq!(asked(503, "-1"), None);
    }
}
