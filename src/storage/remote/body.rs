//! Bodies on their way: in pieces, at the pace that is allowed, counted.
//!
//! What must hold: the length of a body that is sent is known beforehand, for storages refuse others; a body of which
//! nothing comes for a while fails, and never ends as if it were whole.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use http_body::{Body, Frame, SizeHint};
use opendal::{Buffer, Error};

use super::timing::Wait;
use super::transport::{SILENCE_MAX, Wire, failed, unsent};

/// So much goes at a time.
const PIECE_BYTES: usize = 64 << 10;

/// The body of a request.
pub(super) struct PacedBody {
    rest: Buffer,
    waiting: Option<Wait>,
    wire: Arc<Wire>,
}

impl PacedBody {
    /// These bytes.
    pub(super) fn new(content: Buffer, wire: Arc<Wire>) -> Self {
        // An empty slice would be a piece after which nothing moves on.
        let slices: Vec<Bytes> = Iterator::filter(content, |slice| !slice.is_empty()).collect();
        Self { rest: Buffer::from(slices), waiting: None, wire }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = this.rest.chunk().len().min(PIECE_BYTES);
        if let Some(pacer) = &this.wire.upload {
            let wire = &this.wire;
            let wait =
                this.waiting.get_or_insert_with(|| wire.timer.wait(pacer.take(bytes, wire.timer.now())));
            ready!(wait.as_mut().poll(context));
            this.waiting = None;
        }
        let piece = this.rest.copy_to_bytes(bytes);
        this.wire.counted.sent(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The body of an answer.
pub(super) struct PacedStream {
    inner: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send + Sync>>,
    silence: Pin<Box<tokio::time::Sleep>>,
    /// A piece that came, and how long it must wait.
    held: Option<(Bytes, Wait)>,
    wire: Arc<Wire>,
}

impl PacedStream {
    /// The body of this answer.
    pub(super) fn new(answer: reqwest::Response, wire: Arc<Wire>) -> Self {
        Self {
            inner: Box::pin(answer.bytes_stream()),
            silence: Box::pin(tokio::time::sleep(SILENCE_MAX)),
            held: None,
            wire,
        }
    }

    /// All of it, which may have at most so many bytes.
    pub(super) async fn collect(mut self, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        while let Some(piece) = self.next().await {
            for slice in piece? {
                content.extend_from_slice(&slice);
            }
            if content.len() > bytes_max {
                return Err(failed("an answer that is too long"));
            }
        }
        Ok(content)
    }

    fn arrive(&mut self, piece: Bytes) -> Buffer {
        self.silence.as_mut().reset(tokio::time::Instant::now() + SILENCE_MAX);
        self.wire.counted.received(piece.len());
        Buffer::from(piece)
    }
}

impl Stream for PacedStream {
    type Item = Result<Buffer, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some((_, wait)) = &mut this.held {
                ready!(wait.as_mut().poll(context));
                let piece = this.held.take().map(|(piece, _)| piece).unwrap_or_default();
                return Poll::Ready(Some(Ok(this.arrive(piece))));
            }
            match this.inner.as_mut().poll_next(context) {
                // An empty piece would be taken for the end.
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(Ok(piece))) => match &this.wire.download {
                    None => return Poll::Ready(Some(Ok(this.arrive(piece)))),
                    Some(pacer) => {
                        let timer = &this.wire.timer;
                        let wait = timer.wait(pacer.take(piece.len(), timer.now()));
                        this.held = Some((piece, wait));
                    }
                },
                Poll::Ready(Some(Err(cause))) => return Poll::Ready(Some(Err(unsent(cause)))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(this.silence.as_mut().poll(context));
                    let message = format!("nothing came for {} seconds", SILENCE_MAX.as_secs());
                    return Poll::Ready(Some(Err(failed(message).set_temporary())));
                }
            }
        }
    }
}
