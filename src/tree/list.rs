//! Building the chunk list of a file from its chunks in order (format-spec chapter 9).
//!
//! What must hold: where list pages end follows from the ids alone; memory holds one page of each level.

use crate::base::limits::NODE_CHUNKS_MAX;
use crate::base::{Error, ErrorKind, Result};
use crate::format::list::{ListPage, cuts_after};
use crate::format::node::{ChunkRef, Content};
use crate::repository::ChunkKind;
use crate::repository::Session;

/// Takes the chunks of one file.
#[derive(Debug, Default)]
pub struct ListBuilder {
    levels: Vec<Vec<ChunkRef>>,
    is_long: bool,
}

impl ListBuilder {
    /// A file without content.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a chunk.
    pub fn push(&mut self, session: &Session<'_>, chunk: ChunkRef) -> Result<()> {
        self.push_to(session, 0, chunk)
    }

    fn push_to(&mut self, session: &Session<'_>, level: usize, chunk: ChunkRef) -> Result<()> {
        let mut level = level;
        let mut chunk = chunk;
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(entries) = self.levels.get_mut(level) else { return Ok(()) };
            entries.push(chunk);
            if !cuts_after(&chunk.id, entries.len()) {
                return Ok(());
            }
            self.is_long = true;
            chunk = self.close(session, level)?;
            level += 1;
        }
    }

    fn close(&mut self, session: &Session<'_>, level: usize) -> Result<ChunkRef> {
        let entries = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
        let length = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.length));
        let number = u8::try_from(level).unwrap_or(u8::MAX);
        let page = ListPage { level: number, entries }.encode();
        Ok(ChunkRef { id: session.store(ChunkKind::Tree, &page)?.id, length })
    }

    /// Stores what is left, and gives what a node says of the content.
    pub fn finish(mut self, session: &Session<'_>) -> Result<Content> {
        if !self.is_long {
            let chunks = self.levels.pop().unwrap_or_default();
            match chunks.as_slice() {
                [] => return Ok(Content::Empty),
                [only] => return Ok(Content::Chunk(only.id)),
                _ if chunks.len() <= NODE_CHUNKS_MAX => return Ok(Content::Chunks(chunks)),
                _ => self.levels.push(chunks),
            }
        }
        let mut level = 0;
        loop {
            let is_top = self.levels.get(level + 1..).unwrap_or_default().iter().all(Vec::is_empty);
            match self.levels.get(level).map(Vec::as_slice) {
                None => return Err(Error::new(ErrorKind::Failed, "a chunk list without a root page")),
                Some([only]) if is_top && level > 0 => {
                    let below = u8::try_from(level - 1).unwrap_or(u8::MAX);
                    return Ok(Content::List { level: below, id: only.id });
                }
                Some([]) => {}
                Some(_) => {
                    let page = self.close(session, level)?;
                    self.push_to(session, level + 1, page)?;
                }
            }
            level += 1;
        }
    }
}
