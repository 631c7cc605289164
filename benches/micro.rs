//! How fast the parts of the engine are by themselves: `cargo bench`, or `cargo bench -- chunker index` for those whose
//! name holds one of these words.
//!
//! What must hold: only what the library offers to everybody is called; each figure is the median of several runs after
//! one that does not count; content and keys depend on fixed numbers, so that two runs measure the same work.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use packstone::base::host::Host;
use packstone::base::{ChunkId, Error, ErrorKind, RepositoryId, Result, SessionId, Timestamp};
use packstone::chunker::Cutter;
use packstone::compress::Compression;
use packstone::crypto::keys::FIRST_GENERATION;
use packstone::crypto::seal::Context;
use packstone::crypto::slot::Credential;
use packstone::crypto::{Keys, Opener, Sealer, Secret};
use packstone::format::config::{Chunking, Parameters};
use packstone::format::node::{Content, Metadata, Node, NodeKind, Regular};
use packstone::format::page::{Page, encode_leaf};
use packstone::format::sealing::{Header, ObjectKind, Role};
use packstone::format::slot::PasswordCost;
use packstone::repository::{ChunkKind, InitOptions, NewSlot, Repository, Session, SessionOptions};
use packstone::storage::memory::Memory;
use packstone::tree::{DirectoryBuilder, Tree};

/// Runs that count; the median of them is told.
const RUNS: usize = 7;
/// Plaintext of each run that is measured in bytes.
const CONTENT_BYTES: usize = 32 << 20;
/// Chunks of the index.
const INDEXED_CHUNKS: u64 = 1_000_000;
/// Entries of the directory whose pages are measured; of a page as the default makes them, about so many fit.
const ENTRIES: usize = 100_000;
const PAGE_ENTRIES: usize = 600;

type Measure = fn() -> Result<()>;

fn main() -> Result<()> {
    // Cargo adds flags of its own.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let groups: [(&str, Measure); 5] =
        [("chunker", chunker), ("sealing", sealing), ("segment", segment), ("index", index), ("page", page)];
    for (name, measure) in groups {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            measure()?;
        }
    }
    Ok(())
}

/// The median time of the runs, each of which gets what `prepare` makes outside of the measured time.
fn median<T>(
    mut prepare: impl FnMut(u64) -> Result<T>,
    mut run: impl FnMut(T) -> Result<()>,
) -> Result<Duration> {
    let mut times = Vec::with_capacity(RUNS);
    for number in 0..=RUNS as u64 {
        let prepared = prepare(number)?;
        let since = Instant::now();
        run(prepared)?;
        let time = since.elapsed();
        // The first run warms caches and buffers.
        if number > 0 {
            times.push(time);
        }
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

fn tell_bytes(name: &str, bytes: usize, time: Duration) {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    println!("{name:<44} {:>10.0} MiB/s", mebibytes / time.as_secs_f64());
}

fn tell_each(name: &str, count: u64, time: Duration) {
    println!("{name:<44} {:>10.0} ns each", time.as_secs_f64() * 1e9 / count as f64);
}

/// Content that does not compress.
fn random(bytes: usize, number: u64) -> Vec<u8> {
    let mut content = vec![0; bytes];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut content);
    content
}

/// Content of words, which compresses about as text does.
fn text(bytes: usize, number: u64) -> Vec<u8> {
    const SYLLABLES: [&str; 16] =
        ["ta", "ri", "mon", "el", "su", "ver", "ken", "da", "lo", "fi", "gar", "nu", "is", "po", "the", "an"];
    // Names of two to four syllables of a vocabulary of which some come often.
    let choices = random(bytes, number);
    let mut content = Vec::with_capacity(bytes + 16);
    for choice in choices.as_chunks::<2>().0 {
        let [first, second] = choice.map(usize::from);
        let word = [first % 16, first / 16, second % 16];
        let syllables = word.iter().take(2 + second / 192).filter_map(|position| SYLLABLES.get(*position));
        syllables.for_each(|syllable| content.extend_from_slice(syllable.as_bytes()));
        content.push(if second.is_multiple_of(11) { b'\n' } else { b' ' });
        if content.len() >= bytes {
            break;
        }
    }
    content.truncate(bytes);
    content
}

fn chunker() -> Result<()> {
    let keys = Keys::generate()?;
    let content = random(CONTENT_BYTES, 1);
    for (name, chunking) in [
        ("chunker, by content around 128 KiB", Chunking::of_average(128 << 10)),
        ("chunker, by content around 1 MiB", Chunking::of_average(1 << 20)),
    ] {
        let parameters = Parameters { chunking, ..Parameters::default() };
        let cutter = Cutter::new(&parameters, keys.gear_table())?;
        let time = median(
            |_| Ok(()),
            |()| {
                black_box(cutter.chunks(black_box(&content), true));
                Ok(())
            },
        )?;
        tell_bytes(name, content.len(), time);
    }
    Ok(())
}

fn sealing() -> Result<()> {
    const PART_BYTES: usize = 2 << 20;
    let keys = Keys::generate()?;
    let context = Context {
        kind: ObjectKind::DataPack,
        generation: FIRST_GENERATION,
        repository: RepositoryId([1; 16]),
        name: None,
    };
    let parts = || (0..CONTENT_BYTES / PART_BYTES).map(|number| random(PART_BYTES, number as u64));
    let mut sealed = (Vec::new(), Vec::new());
    let time = median(
        |_| Ok((Sealer::new(&keys, &context, SessionId([2; 16]))?, parts().collect::<Vec<_>>())),
        |(sealer, mut parts)| {
            for part in &mut parts {
                let tag = sealer.next_part().seal(part)?;
                part.extend_from_slice(&tag);
            }
            sealed = (sealer.header().to_vec(), parts);
            Ok(())
        },
    )?;
    tell_bytes("sealing, 2 MiB at a time", CONTENT_BYTES, time);
    let (header, parts) = sealed;
    let (header, _) =
        Header::decode(ObjectKind::DataPack, &header).map_err(|error| error.of_object("a header"))?;
    let opener = Opener::from_header(&keys, &context, &header)?;
    let time = median(
        |_| Ok(()),
        |()| {
            let mut opened = (0..).zip(&parts).map(|(number, part)| opener.open(number, Role::Body, part));
            opened.try_for_each(|opened| opened.map(drop))
        },
    )?;
    tell_bytes("opening, 2 MiB at a time", CONTENT_BYTES, time);
    Ok(())
}

/// A new repository in memory, of which nothing is kept elsewhere.
fn repository() -> Result<(Memory, Repository)> {
    let memory = Memory::new();
    let options = InitOptions {
        parameters: Parameters::default(),
        slots: vec![NewSlot { credential: credential(), label: "bench".to_owned() }],
        password_cost: PasswordCost::RECOMMENDED,
        cache_folder: None,
    };
    let repository = Repository::init(Arc::new(memory.clone()), options)?;
    Ok((memory, repository))
}

fn credential() -> Credential {
    Credential::KeyFile(Secret::new([7; 32]))
}

fn start(repository: &Repository, options: SessionOptions) -> Result<Session<'_>> {
    repository.start_session(&Host::current(), options)
}

fn segment() -> Result<()> {
    const CHUNK_BYTES: usize = 128 << 10;
    type Make = fn(usize, u64) -> Vec<u8>;
    let contents: [(&str, Make); 2] = [("text", text), ("random content", random)];
    for (name, make) in contents {
        for verify_packs in [true, false] {
            let content = make(CONTENT_BYTES, 3);
            let options =
                SessionOptions { verify_packs, compression: Compression::AUTO, ..SessionOptions::default() };
            let time = median(
                |_| repository(),
                |(_, repository)| {
                    let session = start(&repository, options.clone())?;
                    for chunk in content.chunks(CHUNK_BYTES) {
                        session.store(ChunkKind::Data, chunk)?;
                    }
                    session.keep_without_snapshot()
                },
            )?;
            let how = if verify_packs { "verified" } else { "not verified" };
            tell_bytes(&format!("stored by one thread, {name}, {how}"), CONTENT_BYTES, time);
        }
    }
    Ok(())
}

/// A small chunk, of which no two are equal.
fn numbered(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(4)
}

fn index() -> Result<()> {
    const LOOKUPS: u64 = 200_000;
    let (_memory, repository) = repository()?;
    let session = start(&repository, SessionOptions { verify_packs: false, ..SessionOptions::default() })?;
    let mut known = Vec::new();
    for number in 0..INDEXED_CHUNKS {
        let id = session.store(ChunkKind::Data, &numbered(number))?.id;
        if number.is_multiple_of(INDEXED_CHUNKS / LOOKUPS) {
            known.push(id);
        }
    }
    session.keep_without_snapshot()?;
    let time = median(
        |_| start(&repository, SessionOptions::default()),
        |session| {
            // The first question is what makes the session read the index.
            session.is_known(&ChunkId([0; 32]))?;
            session.close()
        },
    )?;
    println!("{:<44} {:>10.0} ms", "index of 1,000,000 chunks read", time.as_secs_f64() * 1e3);
    let session = start(&repository, SessionOptions::default())?;
    let unknown: Vec<ChunkId> = (0..LOOKUPS)
        .map(|number| ChunkId(*blake3::keyed_hash(&[9; 32], &number.to_le_bytes()).as_bytes()))
        .collect();
    for (name, ids, is_there) in
        [("known chunk looked up", &known, true), ("unknown chunk looked up", &unknown, false)]
    {
        let time = median(
            |_| Ok(()),
            |()| ids.iter().try_for_each(|id| expect(session.is_known(black_box(id))? == is_there, name)),
        )?;
        tell_each(name, LOOKUPS, time);
    }
    session.close()
}

/// A wrong answer must not be told as a fast one.
fn expect(holds: bool, name: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Failed, format!("{name}: the answer is wrong"))) }
}

fn name(number: usize) -> Vec<u8> {
    format!("file-{number:08}.rs").into_bytes()
}

fn node(number: usize) -> Node {
    let id = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
    let regular =
        Regular { size: 5000, content: Content::Chunk(id), extents: None, changed_while_read: false };
    let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    let metadata = Metadata {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: Some("somebody".into()),
        group: Some("users".into()),
        mtime: time,
        ctime: time,
        links: None,
        link_count: None,
    };
    Node {
        name: name(number),
        kind: NodeKind::Regular(regular),
        metadata,
        xattrs: Vec::new(),
        kept: Vec::new(),
    }
}

fn page() -> Result<()> {
    let nodes: Vec<Node> = (0..PAGE_ENTRIES).map(node).collect();
    let encode = || encode_leaf(&nodes.iter().collect(), &[]);
    let encoded = encode();
    let entries = PAGE_ENTRIES as u64;
    let time = median(
        |_| Ok(()),
        |()| {
            black_box(encode());
            Ok(())
        },
    )?;
    tell_each("entry of a page encoded", entries, time);
    let time = median(
        |_| Ok(()),
        |()| {
            let page = Page::decode(black_box(&encoded)).map_err(|error| error.of_object("a page"))?;
            black_box(page);
            Ok(())
        },
    )?;
    tell_each("entry of a page decoded", entries, time);
    directory()
}

fn directory() -> Result<()> {
    const LOOKUPS: usize = 1000;
    let all: Vec<Node> = (0..ENTRIES).map(node).collect();
    let build = |session: &Session<'_>, nodes: Vec<Node>| {
        let mut builder = DirectoryBuilder::new(session);
        nodes.into_iter().try_for_each(|node| builder.push(node, None))?;
        builder.finish()
    };
    let time = median(
        |_| Ok((repository()?, all.clone())),
        |((_, repository), nodes)| {
            let session = start(&repository, SessionOptions::default())?;
            build(&session, nodes)?;
            session.keep_without_snapshot()
        },
    )?;
    tell_each("entry of 100,000 put into a directory", ENTRIES as u64, time);
    let (_memory, repository) = repository()?;
    let session = start(&repository, SessionOptions::default())?;
    let root = build(&session, all)?;
    session.keep_without_snapshot()?;
    let reader = repository.reader()?;
    let tree = Tree::new(&reader);
    let time = median(
        |_| Ok(()),
        |()| {
            (0..LOOKUPS).try_for_each(|number| {
                // Far from each other, so that each lookup goes to another page.
                let wanted = number * (ENTRIES / LOOKUPS) * 37 % ENTRIES;
                expect(tree.find_entry(&root, &name(wanted))?.is_some(), "an entry of a directory")
            })
        },
    )?;
    tell_each("entry of 100,000 looked up by name", LOOKUPS as u64, time);
    Ok(())
}
