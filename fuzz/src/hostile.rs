//! Target: a repository that somebody with all its keys filled with lies.
//!
//! What must hold: whatever packs, index runs, commit keys and collections say, a reader gives out bytes that have the
//! name that was asked for, or damage; a writer ends its session, and what it commits beside lies is read back as far as
//! it was stored anew.

use std::sync::Arc;

use packstone::base::host::Host;
use packstone::base::{ChunkId, ContentName, ErrorKind, SessionId};
use packstone::compress::{Compression, compress};
use packstone::crypto::{ChunkKind, content_name};
use packstone::format::collection::{Condemned, Verdict};
use packstone::format::index::{Entry, IndexRun, IndexedPack};
use packstone::format::names;
use packstone::format::pack::{Codec, SegmentRow};
use packstone::format::sealing::{HEADER_BYTES, ObjectKind, TAG_BYTES};
use packstone::format::snapshot::Commit;
use packstone::repository::{Reader, Repository, SessionOptions};
use packstone::storage::memory::Memory;

use super::forge::{self, Seal, chunk_id, met, put, put_record, put_run, snapshot};
use super::input::Input;

/// Contents that chunks may have.
const CONTENTS: usize = 5;

/// What chunk number `n` of a case holds: bytes that compress, or that do not.
fn content(number: usize) -> Vec<u8> {
    let mut content = vec![u8::try_from(number).expect("small"); 100 + 150 * number];
    if number % 2 == 1 {
        blake3::Hasher::new().update(&content).finalize_xof().fill(&mut content);
    }
    content
}

/// Packs and what is said of them.
#[derive(Default)]
struct Told {
    packs: Vec<IndexedPack>,
    entries: Vec<(usize, Entry)>,
}

/// Which lies are told of a segment, one bit each.
struct Lies(u8);

impl Lies {
    fn tells(&self, bit: u8) -> bool {
        self.0 & (1 << bit) != 0
    }
}

impl Told {
    /// Puts a pack, and tells of it what the choices say.
    fn pack(&mut self, memory: &Memory, input: &mut Input<'_>) {
        let (said, lies) = (input.below(4), Lies(input.byte()));
        let kind = if said & 1 == 0 { ChunkKind::Data } else { ChunkKind::Tree };
        let salt = [input.byte(); 32];
        let with = Seal { kind: kind.pack_kind(), name: None, session: SessionId([9; 16]), salt };
        let (mut parts, mut segments, mut offset) = (Vec::new(), Vec::new(), HEADER_BYTES);
        for number in 0..1 + input.below(3) {
            let mut raw = Vec::new();
            for _ in 0..1 + input.below(3) {
                let chosen = input.byte();
                let content = content(usize::from(chosen) % CONTENTS);
                let named = if chosen & 0x80 == 0 { content.clone() } else { b"other".to_vec() };
                let entry = Entry {
                    id: chunk_id(kind, &named),
                    pack: 0,
                    segment: u32::try_from(number).expect("small"),
                    offset: u32::try_from(raw.len()).expect("small") + u32::from(chosen & 0x40 != 0),
                    length: u32::try_from(content.len()).expect("small") - u32::from(chosen & 0x20 != 0),
                };
                self.entries.push((self.packs.len(), entry));
                raw.extend_from_slice(&content);
            }
            let frame = compress(&raw, Compression::AUTO).expect("compressed").filter(|_| said & 2 == 0);
            let codec = if frame.is_some() != lies.tells(0) { Codec::Zstd } else { Codec::Raw };
            let stored = frame.unwrap_or_else(|| raw.clone());
            let stored_bytes = stored.len() + TAG_BYTES - usize::from(lies.tells(1));
            segments.push(SegmentRow {
                offset: u32::try_from(offset).expect("small"),
                stored_bytes: u32::try_from(stored_bytes).expect("small"),
                raw_bytes: u32::try_from(raw.len()).expect("small") + u32::from(lies.tells(2)),
                codec,
            });
            offset += stored_bytes;
            parts.push(stored);
        }
        let mut object = forge::seal(&with, &parts);
        let name = content_name([object.as_slice()]);
        if lies.tells(3) {
            object.truncate(object.len() - 1);
        }
        if !lies.tells(4) {
            put(memory, &names::pack(&name), object);
        }
        self.packs.push(IndexedPack {
            name,
            size_bytes: (offset + 200) as u64,
            session: SessionId([9 + u8::from(lies.tells(5)); 16]),
            salt,
            generation: 1 + u32::from(lies.tells(6)),
            kind: if lies.tells(7) { ChunkKind::Tree.pack_kind() } else { kind.pack_kind() },
            segments,
        });
    }

    /// The run that tells it, in order.
    fn run(mut self, superseded: Vec<ContentName>) -> IndexRun {
        let mut order: Vec<usize> = (0..self.packs.len()).collect();
        order.sort_by_key(|position| self.packs[*position].name);
        let place = |pack: usize| {
            let place = order.iter().position(|position| *position == pack);
            u32::try_from(place.expect("each pack has its place")).expect("small")
        };
        let mut entries: Vec<Entry> =
            self.entries.iter().map(|(pack, entry)| Entry { pack: place(*pack), ..*entry }).collect();
        entries.sort_unstable();
        self.packs.sort_by_key(|pack| pack.name);
        self.packs.dedup_by_key(|pack| pack.name);
        IndexRun { superseded, packs: self.packs, entries }
    }
}

fn put_runs(memory: &Memory, input: &mut Input<'_>) {
    let mut superseded = Vec::new();
    for _ in 0..1 + input.below(2) {
        let mut told = Told::default();
        for _ in 0..1 + input.below(2) {
            told.pack(memory, input);
        }
        let mut run = told.run(std::mem::take(&mut superseded)).encode();
        for _ in 0..input.below(3) {
            let position = input.length() % run.len();
            run[position] ^= input.byte();
        }
        let name = put_run(memory, run);
        superseded = if input.below(2) == 0 { Vec::new() } else { vec![name] };
    }
}

fn put_records(memory: &Memory, input: &mut Input<'_>) {
    for number in 0..4 {
        if input.is_over() {
            return;
        }
        let (what, session) = (input.below(8), SessionId([input.byte() & 3; 16]));
        let packs = || {
            let listed = memory.names();
            let packs = listed.iter().filter_map(|name| names::parse_pack(name.as_str()));
            packs.collect::<Vec<_>>()
        };
        let (kind, name, content) = match what {
            0 | 1 => {
                let tree = chunk_id(ChunkKind::Tree, &content(input.below(CONTENTS)));
                let commit = Commit::Snapshot(Box::new(snapshot(tree, 10, 1000)));
                (ObjectKind::Commit, names::commit(&session), commit.encode())
            }
            2 => {
                let condemned = Condemned { packs: packs(), ..Condemned::default() };
                (ObjectKind::Condemned, names::condemned(number), condemned.encode())
            }
            3 => {
                let verdict = Verdict { packs: packs(), ..Verdict::default() };
                (ObjectKind::Verdict, names::verdict(number), verdict.encode())
            }
            other => {
                let length = input.length();
                let content = input.take(length).to_vec();
                match other {
                    4 => (ObjectKind::Commit, names::commit(&session), content),
                    5 => (ObjectKind::Condemned, names::condemned(number), content),
                    6 => (ObjectKind::Verdict, names::verdict(number), content),
                    _ => (ObjectKind::Tombstone, names::tombstone(&session), content),
                }
            }
        };
        put_record(memory, kind, &name, session, content);
    }
}

/// Asks for a chunk in every way.
fn ask(reader: &Reader<'_>, kind: ChunkKind, id: &ChunkId) -> bool {
    let right = |bytes: &[u8]| assert_eq!(chunk_id(kind, bytes), *id, "wrong bytes were given out");
    let given = met(reader.chunk(kind, id)).inspect(|bytes| right(bytes));
    let placement = met(reader.placement(id));
    met(reader.size_of(id));
    if let Some(placement) = placement {
        // A pack that is gone: whoever reads by segments then asks for the chunk, which may have another place.
        let segments = match reader.segments(&[placement.segment]) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            other => met(other),
        };
        for segment in segments.into_iter().flatten().filter_map(met) {
            if let Some(bytes) = met(reader.chunk_of(&segment, id, &placement)) {
                let is_named = [ChunkKind::Data, ChunkKind::Tree].map(|kind| chunk_id(kind, bytes) == *id);
                assert!(is_named.contains(&true), "wrong bytes were given out");
            }
        }
    }
    given.is_some()
}

fn read(repository: &Repository) {
    let Some(snapshots) = met(repository.snapshots()) else { return };
    for (_, error) in snapshots.damaged {
        met::<()>(Err(error));
    }
    let Some(reader) = met(repository.reader()) else { return };
    for kind in [ChunkKind::Data, ChunkKind::Tree] {
        for number in 0..CONTENTS {
            ask(&reader, kind, &chunk_id(kind, &content(number)));
        }
        ask(&reader, kind, &chunk_id(kind, b"other"));
    }
}

/// Commits chunks beside the lies; what was new is read back.
fn write(repository: &Repository) {
    let host = Host { name: "fuzz".into(), ..Host::default() };
    let Some(session) = met(repository.start_session(&host, SessionOptions::default())) else { return };
    let mut new = Vec::new();
    for number in 0..CONTENTS {
        let Some(stored) = met(session.store(ChunkKind::Data, &content(number))) else { return };
        assert_eq!(stored.id, chunk_id(ChunkKind::Data, &content(number)));
        new.extend(stored.is_new.then_some(stored.id));
    }
    let tree = chunk_id(ChunkKind::Tree, &content(0));
    let Some((session, _)) = met(session.commit(|| snapshot(tree, 0, 0))) else { return };
    let snapshots = repository.snapshots().expect("they were read before");
    assert!(snapshots.visible.iter().any(|entry| entry.id == session), "it was committed");
    let reader = repository.reader().expect("the index was read before");
    for id in new {
        assert!(ask(&reader, ChunkKind::Data, &id), "what was stored is there");
    }
}

/// A repository full of lies is read and written to.
pub fn hostile(data: &[u8]) {
    let mut input = Input::new(data);
    let memory = forge::repository();
    put_runs(&memory, &mut input);
    put_records(&memory, &mut input);
    let repository = forge::open(Arc::new(memory)).expect("config and key slot are good");
    read(&repository);
    write(&repository);
    read(&repository);
}
