//! One run of the program that reaches the server: started, spoken with, and gone with the last who holds it.
//!
//! What must hold: a packet leaves whole or not at all, whoever gives up waiting; a reply goes to who asked for it; what is
//! no reply, and silence while somebody waits, end the connection for all. Of what the program says only the end is
//! kept, to be shown when it ends.

use std::collections::HashMap;
use std::pin::pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::errors::{self, Ended};
use super::packet::{self, Extensions, PACKET_BYTES_MAX, Reply, Request};
use crate::base::{Error, ErrorKind};
use crate::storage::remote::errors::{Attempt, Failure};
use crate::storage::remote::transport::SILENCE_MAX;

/// Who logs in may have to be asked something first.
const HELLO_MAX: Duration = Duration::from_secs(300);
/// What a program that ended may still say, and how.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// So much of what the program says is kept.
const SAID_BYTES_MAX: usize = 4096;
/// Packets that wait to be sent.
const QUEUED_PACKETS: usize = 32;

/// A running program and what it is asked.
#[derive(Debug)]
pub(super) struct Connection {
    queue: mpsc::Sender<(Vec<u8>, Bytes)>,
    shared: Arc<Shared>,
    /// What the server can do.
    pub(super) extensions: Extensions,
    child: Child,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Replies that came.
    heard: AtomicU64,
    said: Mutex<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u32, oneshot::Sender<Reply>>,
    next_id: u32,
    /// Why there is no connection any more.
    ended: Option<String>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a request whose answer goes to `reply`; nothing if there is no connection any more.
    fn register(&self, reply: oneshot::Sender<Reply>) -> Option<u32> {
        let mut waiting = self.waiting();
        if waiting.ended.is_some() {
            return None;
        }
        let id = waiting.next_id;
        waiting.next_id = id.wrapping_add(1);
        waiting.replies.insert(id, reply);
        Some(id)
    }

    /// Gives a reply to who asked; false if nobody did.
    fn deliver(&self, id: u32, reply: Reply) -> bool {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let Some(sender) = self.waiting().replies.remove(&id) else { return false };
        // Who asked may have given up.
        let _ = sender.send(reply);
        true
    }

    /// Nobody needs to wait any more.
    fn end(&self, why: &str) {
        let mut waiting = self.waiting();
        waiting.ended.get_or_insert_with(|| why.to_owned());
        waiting.replies.clear();
    }

    /// What the program said last.
    fn said(&self) -> Vec<u8> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Connection {
    /// Starts the program and greets the server.
    pub(super) async fn open(mut command: Command, host: &str) -> Attempt<Self> {
        let spawned = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child =
            spawned.map_err(|cause| errors::not_started(command.as_std().get_program(), cause))?;
        let shared = Arc::new(Shared::default());
        let (Some(mut input), Some(mut output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Failure::lasting(Error::new(ErrorKind::Failed, "the program has no pipes")));
        };
        let listener = tokio::spawn(listen(errors, Arc::clone(&shared)));
        // What is not heard is told by the answer that does not come.
        let _ = input.write_all(&packet::hello()).await;
        let hello = timeout(HELLO_MAX, read_packet(&mut output)).await;
        let extensions = match hello {
            Ok(Packet::Whole(body)) => match packet::read_hello(body) {
                Ok(extensions) => extensions,
                Err(Some(version)) => return Err(errors::other_version(host, version)),
                Err(None) => return Err(errors::no_hello(host, b"")),
            },
            Ok(Packet::Foreign(bytes)) => return Err(errors::no_hello(host, &bytes)),
            Ok(Packet::End) => {
                drop(input);
                return Err(last_words(child, listener, &shared, host).await);
            }
            Err(_) => {
                let message = format!("{host} did not greet within {} seconds", HELLO_MAX.as_secs());
                return Err(Failure::passing(Error::new(ErrorKind::Unreachable, message)));
            }
        };
        let (queue, queued) = mpsc::channel(QUEUED_PACKETS);
        tokio::spawn(send(input, queued, Arc::clone(&shared)));
        tokio::spawn(receive(output, Arc::clone(&shared)));
        Ok(Self { queue, shared, extensions, child })
    }

    /// Ends the program; nothing is under way any more.
    pub(super) async fn close(mut self) {
        // Dropped without, it would be killed as well, but stay in the list of processes.
        let _ = timeout(LAST_WORDS_MAX, self.child.kill()).await;
    }

    /// Whether it can still be used.
    pub(super) fn is_alive(&self) -> bool {
        self.shared.waiting().ended.is_none()
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, request: Request) -> Attempt<Reply> {
        let (sender, answer) = oneshot::channel();
        let id = self.shared.register(sender).ok_or_else(|| self.lost())?;
        let mut exchange = pin!(async {
            self.queue.send(request.encode(id)).await.map_err(|_| self.lost())?;
            answer.await.map_err(|_| self.lost())
        });
        loop {
            let heard = self.shared.heard.load(Ordering::Relaxed);
            match timeout(SILENCE_MAX, &mut exchange).await {
                Ok(reply) => return reply,
                // It is the others' turn.
                Err(_) if self.shared.heard.load(Ordering::Relaxed) != heard => {}
                Err(_) => {
                    self.shared.end(&format!("nothing came for {} seconds", SILENCE_MAX.as_secs()));
                    return Err(self.lost());
                }
            }
        }
    }

    /// The server answers in a way that makes no sense.
    pub(super) fn nonsense(&self) -> Failure {
        self.shared.end("the server's answers make no sense");
        self.lost()
    }

    fn lost(&self) -> Failure {
        let why = self.shared.waiting().ended.clone().unwrap_or_else(|| "it ended".to_owned());
        let said = errors::line(&self.shared.said());
        let said = if said.is_empty() { said } else { format!(": {said}") };
        let message = format!("the connection was lost: {why}{said}");
        Failure::passing(Error::new(ErrorKind::Unreachable, message))
    }
}

/// What stands where a packet is expected.
enum Packet {
    Whole(Bytes),
    /// It begins with these bytes and can be none.
    Foreign(Vec<u8>),
    End,
}

async fn read_packet(output: &mut ChildStdout) -> Packet {
    let mut length = [0; 4];
    if output.read_exact(&mut length).await.is_err() {
        return Packet::End;
    }
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(5..=PACKET_BYTES_MAX).contains(&bytes) {
        let mut begin = length.to_vec();
        let _ = timeout(LAST_WORDS_MAX, output.take(200).read_to_end(&mut begin)).await;
        return Packet::Foreign(begin);
    }
    let mut body = vec![0; bytes];
    match output.read_exact(&mut body).await {
        Ok(_) => Packet::Whole(Bytes::from(body)),
        Err(_) => Packet::End,
    }
}

async fn send(mut input: ChildStdin, mut queued: mpsc::Receiver<(Vec<u8>, Bytes)>, shared: Arc<Shared>) {
    while let Some((head, data)) = queued.recv().await {
        let mut sent = input.write_all(&head).await;
        if sent.is_ok() && !data.is_empty() {
            sent = input.write_all(&data).await;
        }
        if sent.is_err() {
            return shared.end("nothing more can be sent");
        }
    }
}

async fn receive(mut output: ChildStdout, shared: Arc<Shared>) {
    loop {
        let Packet::Whole(body) = read_packet(&mut output).await else {
            return shared.end("the server closed it");
        };
        let is_asked_for = Reply::decode(body).is_some_and(|(id, reply)| shared.deliver(id, reply));
        if !is_asked_for {
            return shared.end("the server's answers make no sense");
        }
    }
}

/// Keeps the end of what the program says.
async fn listen(mut errors: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut buffer = vec![0; SAID_BYTES_MAX];
    while let Ok(length @ 1..) = errors.read(&mut buffer).await {
        let mut said = shared.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(buffer.iter().take(length));
        let too_many = said.len().saturating_sub(SAID_BYTES_MAX);
        said.drain(..too_many);
    }
}

/// Why there was no greeting.
async fn last_words(mut child: Child, listener: JoinHandle<()>, shared: &Shared, host: &str) -> Failure {
    let status = timeout(LAST_WORDS_MAX, child.wait()).await;
    let _ = timeout(LAST_WORDS_MAX, listener).await;
    let code = status.ok().and_then(Result::ok).and_then(|status| status.code());
    errors::not_let_in(&Ended { code, said: shared.said() }, host)
}
