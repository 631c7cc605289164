//! What can be asked of a server, one function for each request or row of requests.
//!
//! What must hold: data goes at the pace that is allowed, several pieces of one file under way; what is counted is what
//! is asked for, and a row of reads or writes once.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::connection::Connection;
use super::errors::{self, END_OF_FILE, NOT_FOUND};
use super::packet::{Attributes, Kind, PIECE_BYTES, READ, Reply, Request, Space, WRITE_NEW};
use crate::base::ErrorKind;
use crate::storage::remote::errors::{Attempt, Failure};
use crate::storage::remote::timing::Pacer;
use crate::storage::remote::transport::{Purpose, Wire};

/// Pieces of one file that are under way: what OpenSSH's own client has.
const PIECES_AT_A_TIME: usize = 64;

/// A connection and what its storage shares.
#[derive(Clone, Copy)]
pub(super) struct Server<'s> {
    pub(super) connection: &'s Connection,
    pub(super) wire: &'s Wire,
}

impl Server<'_> {
    async fn ask(&self, purpose: Purpose, request: Request) -> Attempt<Reply> {
        self.wire.counted.request(purpose);
        self.connection.ask(request).await
    }

    /// Asks for something that is done or refused.
    async fn order(&self, purpose: Purpose, request: Request) -> Attempt<()> {
        let reply = self.ask(purpose, request).await?;
        self.done(reply)
    }

    fn done(&self, reply: Reply) -> Attempt<()> {
        match reply {
            Reply::Status { code: 0, .. } => Ok(()),
            other => Err(self.refused(other)),
        }
    }

    /// An answer that is not the one that was asked for.
    fn refused(&self, reply: Reply) -> Failure {
        match reply {
            Reply::Status { code, message } if code != 0 => errors::of_status(code, &message),
            _ => self.connection.nonsense(),
        }
    }

    async fn open(&self, purpose: Purpose, request: Request) -> Attempt<Bytes> {
        match self.ask(purpose, request).await? {
            Reply::Handle(handle) => Ok(handle),
            other => Err(self.refused(other)),
        }
    }

    /// Makes a file, which must not be there.
    pub(super) async fn create(&self, path: &str) -> Attempt<Bytes> {
        let request = Request::new(Kind::Open).text(path.as_bytes()).number(WRITE_NEW).mode(0o600);
        self.open(Purpose::Other, request).await
    }

    /// Opens a file, or where the server is a Unix also a folder, to read.
    pub(super) async fn open_to_read(&self, path: &str) -> Attempt<Bytes> {
        let request = Request::new(Kind::Open).text(path.as_bytes()).number(READ).number(0);
        self.open(Purpose::Other, request).await
    }

    /// Closes what was opened.
    pub(super) async fn close(&self, handle: &Bytes) -> Attempt<()> {
        self.order(Purpose::Other, Request::new(Kind::Close).text(handle)).await
    }

    /// Closes what was only read: whatever comes of it.
    pub(super) async fn release(&self, handle: &Bytes) {
        let _ = self.close(handle).await;
    }

    /// Makes what was written to a file durable, or the names in a folder.
    pub(super) async fn sync(&self, handle: &Bytes) -> Attempt<()> {
        let request = Request::new(Kind::Extended).text(b"fsync@openssh.com").text(handle);
        self.order(Purpose::Other, request).await
    }

    /// What is left where a path lies; nothing if the server does not say.
    pub(super) async fn space(&self, path: &str) -> Attempt<Option<Space>> {
        if !self.connection.extensions.space {
            return Ok(None);
        }
        let request = Request::new(Kind::Extended).text(b"statvfs@openssh.com").text(path.as_bytes());
        match self.ask(Purpose::Other, request).await? {
            Reply::Extended(body) => Ok(Space::decode(body)),
            other => Err(self.refused(other)),
        }
    }

    /// What lies under a path, a link itself; nothing if nothing does.
    pub(super) async fn look(&self, path: &str) -> Attempt<Option<Attributes>> {
        self.attributes(Kind::LinkStat, path).await
    }

    /// The same, of what a link leads to.
    pub(super) async fn follow(&self, path: &str) -> Attempt<Option<Attributes>> {
        self.attributes(Kind::Stat, path).await
    }

    async fn attributes(&self, kind: Kind, path: &str) -> Attempt<Option<Attributes>> {
        match self.ask(Purpose::Other, Request::new(kind).text(path.as_bytes())).await? {
            Reply::Attributes(attributes) => Ok(Some(attributes)),
            Reply::Status { code: NOT_FOUND, .. } => Ok(None),
            other => Err(self.refused(other)),
        }
    }

    /// A second name for a file, which must be free.
    pub(super) async fn link(&self, path: &str, new: &str) -> Attempt<()> {
        let request = Request::new(Kind::Extended).text(b"hardlink@openssh.com");
        self.order(Purpose::Other, request.text(path.as_bytes()).text(new.as_bytes())).await
    }

    /// Another name for a file; the version of the protocol says that it must be free.
    pub(super) async fn rename(&self, path: &str, new: &str) -> Attempt<()> {
        let request = Request::new(Kind::Rename).text(path.as_bytes()).text(new.as_bytes());
        self.order(Purpose::Other, request).await
    }

    /// Removes a file.
    pub(super) async fn remove(&self, purpose: Purpose, path: &str) -> Attempt<()> {
        self.order(purpose, Request::new(Kind::Remove).text(path.as_bytes())).await
    }

    /// Makes a folder.
    pub(super) async fn make_folder(&self, path: &str) -> Attempt<()> {
        self.order(Purpose::Other, Request::new(Kind::MakeFolder).text(path.as_bytes()).mode(0o700)).await
    }

    /// Removes a folder if it is empty.
    pub(super) async fn remove_folder(&self, path: &str) -> Attempt<()> {
        self.order(Purpose::Other, Request::new(Kind::RemoveFolder).text(path.as_bytes())).await
    }

    /// What a folder holds, without `.` and `..`; nothing if there is no such folder.
    pub(super) async fn read_folder(&self, path: &str) -> Attempt<Vec<(Bytes, Attributes)>> {
        let handle =
            match self.open(Purpose::List, Request::new(Kind::OpenFolder).text(path.as_bytes())).await {
                Err(failure) if failure.error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                other => other?,
            };
        let mut entries = Vec::new();
        loop {
            match self.connection.ask(Request::new(Kind::ReadFolder).text(&handle)).await? {
                Reply::Names(names) => entries.extend(names),
                Reply::Status { code: END_OF_FILE, .. } => break,
                other => return Err(self.refused(other)),
            }
        }
        self.release(&handle).await;
        entries.retain(|(name, _)| name != "." && name != "..");
        Ok(entries)
    }

    /// Writes a new file's content.
    pub(super) async fn write(&self, handle: &Bytes, pieces: &[Bytes]) -> Attempt<()> {
        self.wire.counted.request(Purpose::Put);
        let mut end = 0;
        let writes = pieces.iter().map(|piece| {
            let offset = end;
            end += piece.len() as u64;
            async move {
                self.pace(self.wire.upload.as_ref(), piece.len()).await;
                self.wire.counted.sent(piece.len());
                let request = Request::new(Kind::Write).text(handle).offset(offset).data(piece.clone());
                self.done(self.connection.ask(request).await?)
            }
        });
        futures::stream::iter(writes).buffer_unordered(PIECES_AT_A_TIME).try_collect().await
    }

    /// Reads on from where `bytes`, which begin at `offset`, end, as far as `length` bytes or the end of the file.
    pub(super) async fn read(
        &self,
        handle: &Bytes,
        offset: u64,
        length: usize,
        bytes: &mut Vec<u8>,
    ) -> Attempt<()> {
        self.wire.counted.request(Purpose::Get);
        let begins = (bytes.len()..length).step_by(PIECE_BYTES);
        let reads = begins.map(async |begin| {
            let wanted = PIECE_BYTES.min(length - begin);
            let piece = self.piece(handle, offset + begin as u64, wanted).await?;
            Ok((piece.len() < wanted, piece))
        });
        let mut pieces = futures::stream::iter(reads).buffered(PIECES_AT_A_TIME);
        let before = bytes.len();
        loop {
            match pieces.try_next().await {
                Ok(Some((is_last, piece))) => {
                    bytes.extend_from_slice(&piece);
                    // What follows an end is no part of the file as it was.
                    if is_last {
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(failure) => return Err(Failure { has_progressed: bytes.len() > before, ..failure }),
            }
        }
    }

    /// So many bytes from an offset, fewer only at the end of the file.
    async fn piece(&self, handle: &Bytes, offset: u64, length: usize) -> Attempt<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let left = length - bytes.len();
            self.pace(self.wire.download.as_ref(), left).await;
            let request = Request::new(Kind::Read)
                .text(handle)
                .offset(offset + bytes.len() as u64)
                .number(u32::try_from(left).unwrap_or(u32::MAX));
            match self.connection.ask(request).await? {
                Reply::Data(data) if (1..=left).contains(&data.len()) => {
                    self.wire.counted.received(data.len());
                    bytes.extend_from_slice(&data);
                }
                Reply::Status { code: END_OF_FILE, .. } => break,
                other => return Err(self.refused(other)),
            }
        }
        Ok(bytes)
    }

    async fn pace(&self, pacer: Option<&Pacer>, bytes: usize) {
        if let Some(pacer) = pacer {
            let timer = &self.wire.timer;
            timer.wait(pacer.take(bytes, timer.now())).await;
        }
    }
}
