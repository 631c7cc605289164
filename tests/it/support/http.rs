//! HTTP/1.1 as far as servers of tests and the proxy before them need it: one exchange on one connection.
//!
//! What must hold: a message is read whole or the read fails; nothing is followed, repeated or decoded but what frames a
//! body.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing that tests ask takes longer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Names in small letters, and values.
pub type Headers = Vec<(String, String)>;

/// What stands before a body.
#[derive(Clone, Debug)]
pub struct Head {
    /// `GET /path HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub line: String,
    /// All headers.
    pub headers: Headers,
}

impl Head {
    /// The head that these bytes are, up to and with the empty line.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let line = lines.next()?.to_owned();
        let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self { line, headers: headers.collect::<Option<_>>()? })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Length of the body as the head tells it.
    pub fn length(&self) -> Option<usize> {
        self.header("content-length")?.parse().ok()
    }

    /// Takes a header away.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self
    }

    /// Sets a header.
    pub fn with(self, name: &str, value: impl ToString) -> Self {
        let mut head = self.without(name);
        head.headers.push((name.to_owned(), value.to_string()));
        head
    }

    /// As it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n").expect("text");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status line and headers.
    pub head: Head,
    /// All of the body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The number in the status line.
    pub fn status(&self) -> u16 {
        self.head.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }
}

/// Sends a request to `host:port` on a connection of its own and reads the whole answer.
pub fn exchange(address: &str, request: &Head, body: &[u8]) -> Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    let mut message = request.clone().with("connection", "close").bytes();
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader)?;
    let is_empty =
        request.line.starts_with("HEAD ") || [" 204", " 304"].iter().any(|status| head.line.contains(status));
    let mut body = Vec::new();
    if is_empty {
    } else if head.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        body = read_chunks(&mut reader)?;
    } else if let Some(length) = head.length() {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(Answer { head: head.without("transfer-encoding"), body })
}

/// Asks a server of the tests for something.
#[track_caller]
pub fn ask(address: &str, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut head = Head { line: format!("{line} HTTP/1.1"), headers: Vec::new() }.with("host", address);
    for (name, value) in headers {
        head = head.with(name, value);
    }
    let head = head.with("content-length", body.len());
    exchange(address, &head, body.as_bytes()).expect("the server answers")
}

fn read_head(reader: &mut impl BufRead) -> Result<Head> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut bytes)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Head::parse(&bytes).ok_or_else(|| Error::other("a head that is none"))
}

fn read_chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = line.trim().split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(length, 16).map_err(Error::other)?;
        let from = body.len();
        body.resize(from + length, 0);
        reader.read_exact(&mut body[from..])?;
        reader.read_line(&mut String::new())?;
        if length == 0 {
            return Ok(body);
        }
    }
}
