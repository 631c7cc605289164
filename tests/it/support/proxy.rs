//! A proxy before a server, which passes on what is asked, or does what a rule says: cuts, delays, resets, lies.
//!
//! What must hold: each request is shown to the rule once, before anything of it reaches the server; what the rule leaves
//! alone arrives as it was sent, under the host name that the client used, which signatures hold. A connection that is
//! reset is closed with a byte unread, for which Linux sends a reset.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{Answer, Head, exchange};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// It is passed on, and so is the answer.
    Pass,
    /// The same, later.
    Delay(Duration),
    /// The connection is reset when at most so many bytes of the body came. The server sees nothing.
    CutRequest(usize),
    /// The server does it; the connection is reset instead of an answer.
    Lose,
    /// The server does it; the client is told a status that says otherwise.
    DoAndSay(u16),
    /// The server sees nothing; the client is told this status.
    Say(u16),
    /// The same, and when to come again.
    SayLater(u16),
    /// Half of the answer's body comes, of which the head promises all; then the connection is closed.
    CutAnswer,
    /// The same with a reset.
    ResetAnswer,
    /// Half of the answer's body comes, of which the head promises half.
    ShortAnswer,
    /// Of the answer's body there is nothing, as its head says.
    EmptyAnswer,
    /// In the middle of the answer's body is a wrong byte.
    WrongByte,
    /// The server sees nothing; success, with an error for a body.
    SuccessWithError,
    /// The server sees nothing; success, with a page for people.
    SuccessWithPage,
    /// The server sees nothing; success, and nothing else.
    SuccessWithNothing,
    /// A part was asked for, and the whole comes.
    Whole,
    /// What the answer's body names lies beside the place that was asked for (`place …` in its path).
    OtherPlace,
    /// It is passed on as if another object had been asked for, or other objects, which are not there.
    AnotherName,
    /// The answer says that the object lies in a cold storage class.
    SayCold,
}

/// A request as a rule sees it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Requests since the rule was set, before this one.
    pub number: usize,
    /// Method, path, headers.
    pub head: Head,
}

impl Asked {
    /// `GET` and the like.
    pub fn method(&self) -> &str {
        self.head.line.split(' ').next().unwrap_or_default()
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }
}

type Rule = Arc<dyn Fn(&Asked) -> Deed + Send + Sync>;

struct Shared {
    server: String,
    rule: Mutex<(Rule, usize)>,
    seen: Mutex<Vec<(Asked, Deed)>>,
    is_over: AtomicBool,
}

/// A proxy that runs.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts a proxy before `host:port`, which passes on everything.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            rule: Mutex::new((Arc::new(|_: &Asked| Deed::Pass), 0)),
            seen: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), served) = (stream, Arc::clone(&served)) else { continue };
                // A connection that broke has no one to be told.
                std::thread::spawn(move || drop(serve(&served, stream)));
            }
        });
        Self { address, shared }
    }

    /// Where it listens, as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on another rule counts, and what was seen is forgotten.
    pub fn obey(&self, rule: impl Fn(&Asked) -> Deed + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = (Arc::new(rule), 0);
        self.shared.seen.lock().unwrap().clear();
    }

    /// What was asked since the rule was set, and what became of it.
    pub fn seen(&self) -> Vec<(Asked, Deed)> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Who waits for connections notices.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn decide(&self, head: Head) -> (Asked, Deed) {
        let mut rule = self.rule.lock().unwrap();
        let asked = Asked { number: rule.1, head };
        rule.1 += 1;
        let deed = (rule.0)(&asked);
        self.seen.lock().unwrap().push((asked.clone(), deed));
        (asked, deed)
    }
}

/// Reads requests until the client has no more.
fn serve(shared: &Shared, mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    while let Some(head) = peek_head(&stream)? {
        let head_bytes = head.1;
        let (asked, deed) = shared.decide(head.0);
        let body_bytes = asked.head.length().unwrap_or_default();
        if let Deed::CutRequest(most) = deed {
            take(&mut stream, (head_bytes + body_bytes.min(most)).saturating_sub(1))?;
            return Ok(());
        }
        // The last byte stays unread until it is known that there will be an answer.
        let mut message = take(&mut stream, head_bytes + body_bytes - 1)?;
        let mut last = [0];
        if stream.peek(&mut last)? == 0 {
            return Ok(());
        }
        message.extend(last);
        let Some((answer, sent_bytes)) = answer(shared, &asked, deed, &message[head_bytes..])? else {
            return Ok(());
        };
        let is_cut = sent_bytes < answer.body.len();
        if deed != Deed::ResetAnswer {
            stream.read_exact(&mut last)?;
        }
        let mut bytes = answer.head.bytes();
        if asked.method() != "HEAD" {
            bytes.extend_from_slice(&answer.body[..sent_bytes]);
        }
        stream.write_all(&bytes)?;
        if deed == Deed::ResetAnswer {
            return Ok(());
        }
        if is_cut {
            return stream.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

/// The head of the next request, which stays unread, and its length; none if the client has closed the connection.
fn peek_head(stream: &TcpStream) -> Result<Option<(Head, usize)>> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let length = stream.peek(&mut bytes)?;
        if length == 0 {
            return Ok(None);
        }
        if let Some(position) = bytes[..length].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = Head::parse(&bytes[..position + 4]).expect("clients send heads");
            return Ok(Some((head, position + 4)));
        }
        std::thread::yield_now();
    }
}

fn take(stream: &mut TcpStream, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The answer, and how much of its body is sent; none if the connection is to be reset.
fn answer(shared: &Shared, asked: &Asked, deed: Deed, body: &[u8]) -> Result<Option<(Answer, usize)>> {
    let pass = || {
        exchange(&shared.server, &asked.head.clone().without("expect"), body)
            .inspect_err(|error| println!("the server does not answer {}: {error}", asked.head.line))
    };
    let mut sent_share = 1;
    let mut answer = match deed {
        Deed::Pass | Deed::CutRequest(_) => pass()?,
        Deed::Delay(delay) => {
            std::thread::sleep(delay);
            pass()?
        }
        Deed::Lose => {
            pass()?;
            return Ok(None);
        }
        Deed::DoAndSay(status) => {
            pass()?;
            said(status, "")
        }
        Deed::Say(status) => said(status, ""),
        Deed::SayLater(status) => {
            let answer = said(status, "");
            Answer { head: answer.head.with("retry-after", 0), ..answer }
        }
        Deed::CutAnswer | Deed::ResetAnswer => {
            sent_share = 2;
            pass()?
        }
        Deed::ShortAnswer => {
            let mut answer = pass()?;
            answer.body.truncate(answer.body.len() / 2);
            answer
        }
        Deed::EmptyAnswer => Answer { body: Vec::new(), ..pass()? },
        Deed::WrongByte => {
            let mut answer = pass()?;
            let middle = answer.body.len() / 2;
            answer.body.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
            answer
        }
        Deed::SuccessWithError => said(200, ERROR),
        Deed::SuccessWithPage => {
            let answer = said(200, "<html><body>Please accept the terms of this network.</body></html>");
            Answer { head: answer.head.with("content-type", "text/html; charset=utf-8"), ..answer }
        }
        Deed::SuccessWithNothing => said(200, ""),
        Deed::OtherPlace => {
            let mut answer = pass()?;
            let end = answer.body.len().saturating_sub(PLACE.len() - 1);
            for begin in 0..end {
                if answer.body[begin..].starts_with(PLACE) {
                    answer.body[begin..begin + PLACE.len()].copy_from_slice(b"other");
                }
            }
            answer
        }
        Deed::AnotherName => {
            let line = asked.head.line.replace("probe-", "nobody-");
            exchange(&shared.server, &Head { line, ..asked.head.clone() }, body)?
        }
        Deed::SayCold => {
            let answer = pass()?;
            Answer { head: answer.head.with("x-amz-storage-class", "GLACIER"), ..answer }
        }
        Deed::Whole => exchange(&shared.server, &asked.head.clone().without("range"), body)?,
    };
    let is_of_head = asked.method() == "HEAD" && answer.head.length().is_some() && answer.body.is_empty();
    if !is_of_head {
        let length = answer.body.len();
        answer.head = answer.head.with("content-length", length);
    }
    answer.head = answer.head.without("connection");
    let sent_bytes = answer.body.len() / sent_share;
    Ok(Some((answer, sent_bytes)))
}

/// How the path of a place in a test begins.
const PLACE: &[u8] = b"place";

const ERROR: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InternalError</Code>\
    <Message>We encountered an internal error. Please try again.</Message></Error>";

fn said(status: u16, body: &str) -> Answer {
    let head = Head { line: format!("HTTP/1.1 {status} Said"), headers: Vec::new() };
    let head = head.with("content-type", "application/xml");
    Answer { head, body: body.as_bytes().to_vec() }
}
