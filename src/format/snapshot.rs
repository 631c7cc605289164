//! Commit keys (format-spec chapter 10): a snapshot, or the end of a session without one.
//!
//! What must hold: one session has one commit key with one value for ever; a snapshot tells how much it holds, so that
//! no tree that refers to itself over and over can make a reader work without end.

use std::collections::BTreeMap;

use crate::base::{ChunkId, ContentName, RepositoryId, SessionId, Timestamp};
use crate::format::cbor::{KeptPair, MapWriter, Reader, Writer, keep_unknown, needed};
use crate::format::{DecodeError, Decoded, require};

const KIND_SNAPSHOT: u64 = 1;
const KIND_END: u64 = 2;

/// The value of a commit key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The session committed.
    Snapshot(Box<Snapshot>),
    /// It did not, and never will.
    End(End),
}

/// Why a session ended without a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It had nothing to commit.
    Closed,
    /// Its writer gave up.
    Failed,
    /// Somebody else ended it.
    Fenced,
}

/// The end of a session without a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// When.
    pub time: Timestamp,
    /// Name of the machine that wrote this.
    pub host: String,
}

/// How a source fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceOutcome {
    /// All of it was read.
    #[default]
    Complete,
    /// Some of it was not.
    Partial,
    /// None of it was.
    Failed,
}

impl SourceOutcome {
    /// One word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Complete => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }

    const fn number(self) -> u64 {
        match self {
            Self::Complete => 1,
            Self::Partial => 2,
            Self::Failed => 3,
        }
    }
}

/// One source of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// How it fared.
    pub outcome: SourceOutcome,
    /// Nodes taken.
    pub nodes: u64,
    /// Content bytes taken.
    pub bytes: u64,
    /// Findings.
    pub findings: u64,
    /// Time it took.
    pub duration_milliseconds: u64,
    /// What the job calls it.
    pub name: Option<String>,
    /// What kind of source it is, as `postgres`; none: paths, or a stream that was given.
    pub kind: Option<String>,
    /// How it was made consistent, for people.
    pub consistency: Option<String>,
    /// What is there was not read in this run, which failed to, but taken over from an earlier snapshot.
    pub carried: Option<Carried>,
    /// What went wrong first, for people.
    pub message: Option<String>,
    /// Ignorable pairs, kept on rewrite.
    pub kept: Vec<KeptPair>,
}

/// The run that really read what a later snapshot took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its snapshot, which may be forgotten by now.
    pub snapshot: SessionId,
    /// That snapshot's time.
    pub time: Timestamp,
}

/// Where a snapshot that was made from another comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The repository of the first snapshot.
    pub repository: RepositoryId,
    /// The first snapshot.
    pub snapshot: SessionId,
    /// Its time.
    pub time: Timestamp,
}

/// What happened, in numbers. A number that was not taken is absent; keys are those of `Statistic`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics(pub BTreeMap<Statistic, u64>);

/// A number that a snapshot may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Statistic {
    /// Regular files that the parent does not have.
    FilesNew,
    /// Regular files that differ from the parent's.
    FilesChanged,
    /// Regular files that are as in the parent.
    FilesUnmodified,
    /// Directories that the parent does not have.
    DirectoriesNew,
    /// Directories that differ from the parent's.
    DirectoriesChanged,
    /// Directories that are as in the parent.
    DirectoriesUnmodified,
    /// Content bytes read from sources.
    BytesRead,
    /// Plaintext bytes of new chunks.
    BytesAdded,
    /// Bytes of new objects: packs and index runs.
    BytesStored,
    /// New data chunks.
    DataChunksAdded,
    /// New tree chunks.
    TreeChunksAdded,
}

impl Statistic {
    const ALL: [Self; 11] = [
        Self::FilesNew,
        Self::FilesChanged,
        Self::FilesUnmodified,
        Self::DirectoriesNew,
        Self::DirectoriesChanged,
        Self::DirectoriesUnmodified,
        Self::BytesRead,
        Self::BytesAdded,
        Self::BytesStored,
        Self::DataChunksAdded,
        Self::TreeChunksAdded,
    ];

    const fn number(self) -> u64 {
        self as u64
    }
}

/// One committed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When the run began.
    pub time: Timestamp,
    /// How long it took.
    pub duration_milliseconds: u64,
    /// Name of the machine whose data this is.
    pub host: String,
    /// Who ran it.
    pub user: Option<String>,
    /// The job that ran it.
    pub job: Option<String>,
    /// Words of the user's, sorted and unique.
    pub tags: Vec<String>,
    /// The user's remark.
    pub description: Option<String>,
    /// Absolute paths of the sources, sorted and unique.
    pub paths: Vec<Vec<u8>>,
    /// Exclude patterns in force.
    pub excludes: Vec<String>,
    /// Name and version of the program.
    pub program: String,
    /// The snapshot that this run was compared with.
    pub parent: Option<SessionId>,
    /// The parent's plus one; 1 without a parent.
    pub generation: u64,
    /// Where it comes from, if it was made from another snapshot.
    pub origin: Option<Origin>,
    /// Root page of the root directory.
    pub tree: ChunkId,
    /// Nodes in all directories, the root apart.
    pub total_nodes: u64,
    /// Sum of the sizes of all regular files.
    pub total_bytes: u64,
    /// How each source fared.
    pub sources: Vec<SourceStatus>,
    /// Number of findings.
    pub findings: u64,
    /// When the next one may be expected, in seconds.
    pub expected_next_seconds: Option<u64>,
    /// Counts the snapshots of one host.
    pub sequence: u64,
    /// BLAKE3 of the stored bytes of the same host's snapshot before.
    pub previous: Option<ContentName>,
    /// What happened.
    pub statistics: Statistics,
    /// Only some of the job's sources were asked for.
    pub is_selective: bool,
    /// Ignorable pairs, kept on rewrite.
    pub kept: Vec<KeptPair>,
}

impl Commit {
    /// The content, without padding.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Snapshot(snapshot) => snapshot.encode(),
            Self::End(end) => {
                let mut map = MapWriter::new();
                map.key(0).unsigned(KIND_END);
                map.key(1).time(end.time);
                map.key(3).text(&end.host);
                map.key(23).unsigned(match end.reason {
                    EndReason::Closed => 1_u64,
                    EndReason::Failed => 2,
                    EndReason::Fenced => 3,
                });
                map.into_bytes()
            }
        }
    }

    /// Reads the content.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(bytes);
        let mut map = reader.map()?;
        require(map.next(&mut reader)? == Some(0), "SNAP-1", || "no kind at the beginning".into())?;
        match reader.unsigned()? {
            KIND_SNAPSHOT => {
                let mut fields = Fields::default();
                while let Some(key) = map.next(&mut reader)? {
                    fields.read(key, &mut reader)?;
                }
                reader.end()?;
                Ok(Self::Snapshot(Box::new(fields.into_snapshot()?)))
            }
            KIND_END => {
                let (mut time, mut host, mut reason) = (None, None, None);
                while let Some(key) = map.next(&mut reader)? {
                    match key {
                        1 => time = Some(reader.time()?),
                        3 => host = Some(reader.text()?.to_owned()),
                        23 => reason = Some(reader.unsigned()?),
                        _ => keep_unknown(key, &mut reader, &mut Vec::new())?,
                    }
                }
                reader.end()?;
                let reason = match needed(reason, "the reason")? {
                    1 => EndReason::Closed,
                    2 => EndReason::Failed,
                    3 => EndReason::Fenced,
                    other => return Err(DecodeError::new("SNAP-2", format!("reason {other}"))),
                };
                Ok(Self::End(End {
                    reason,
                    time: needed(time, "the time")?,
                    host: needed(host, "the host")?,
                }))
            }
            other => Err(DecodeError::new("SNAP-1", format!("kind {other}"))),
        }
    }
}

impl Snapshot {
    /// The names of its sources that have one, sorted, each once.
    pub fn source_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.sources.iter().filter_map(|source| source.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// All that its sources hold but directories.
    pub fn file_count(&self) -> u64 {
        let directories =
            [Statistic::DirectoriesNew, Statistic::DirectoriesChanged, Statistic::DirectoriesUnmodified];
        let number = |statistic| self.statistics.0.get(&statistic).copied().unwrap_or_default();
        let nodes = self.sources.iter().fold(0_u64, |nodes, source| nodes.saturating_add(source.nodes));
        directories.into_iter().fold(nodes, |left, statistic| left.saturating_sub(number(statistic)))
    }

    fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).unsigned(KIND_SNAPSHOT);
        map.key(1).time(self.time);
        map.key(2).unsigned(self.duration_milliseconds);
        map.key(3).text(&self.host);
        for (key, value) in [(4, &self.user), (5, &self.job)] {
            if let Some(value) = value {
                map.key(key).text(value);
            }
        }
        map.key(6).texts(&self.tags);
        if let Some(description) = &self.description {
            map.key(7).text(description);
        }
        let paths = map.key(8).array(self.paths.len());
        for path in &self.paths {
            paths.bytes(path);
        }
        map.key(9).texts(&self.excludes);
        map.key(10).text(&self.program);
        if let Some(parent) = &self.parent {
            map.key(11).bytes(parent.as_bytes());
        }
        map.key(12).unsigned(self.generation);
        if let Some(origin) = &self.origin {
            let value = map.key(13).array(3).bytes(origin.repository.as_bytes());
            value.bytes(origin.snapshot.as_bytes()).time(origin.time);
        }
        map.key(14).bytes(self.tree.as_bytes());
        map.key(15).unsigned(self.total_nodes);
        map.key(16).unsigned(self.total_bytes);
        let sources = map.key(17).array(self.sources.len());
        self.sources.iter().for_each(|source| encode_source(sources, source));
        map.key(18).unsigned(self.findings);
        if let Some(seconds) = self.expected_next_seconds {
            map.key(19).unsigned(seconds);
        }
        map.key(20).unsigned(self.sequence);
        if let Some(previous) = &self.previous {
            map.key(21).bytes(previous.as_bytes());
        }
        let numbers = map.key(22).map(self.statistics.0.len());
        for (statistic, number) in &self.statistics.0 {
            numbers.unsigned(statistic.number()).unsigned(*number);
        }
        if self.is_selective {
            map.key(64).boolean(true);
        }
        map.kept(&self.kept);
        map.into_bytes()
    }
}

fn encode_source(writer: &mut Writer, source: &SourceStatus) {
    let mut map = MapWriter::new();
    map.key(0).bytes(&source.path);
    map.key(1).unsigned(source.outcome.number());
    map.key(2).unsigned(source.nodes);
    map.key(3).unsigned(source.bytes);
    map.key(4).unsigned(source.findings);
    map.key(5).unsigned(source.duration_milliseconds);
    let texts = [(64, &source.name), (65, &source.kind), (66, &source.consistency)];
    for (key, text) in texts {
        if let Some(text) = text {
            map.key(key).text(text);
        }
    }
    if let Some(carried) = &source.carried {
        map.key(67).array(2).bytes(&carried.snapshot.0).time(carried.time);
    }
    if let Some(message) = &source.message {
        map.key(68).text(message);
    }
    map.kept(&source.kept);
    writer.raw(&map.into_bytes());
}

fn decode_source(reader: &mut Reader<'_>) -> Decoded<SourceStatus> {
    let (mut path, mut outcome, mut nodes) = (None, None, None);
    let (mut bytes, mut findings, mut duration, mut kept) = (None, None, None, Vec::new());
    let (mut name, mut kind, mut consistency, mut carried, mut message) = (None, None, None, None, None);
    let mut map = reader.map()?;
    while let Some(key) = map.next(reader)? {
        match key {
            0 => path = Some(reader.bytes()?.to_vec()),
            1 => {
                outcome = Some(match reader.unsigned()? {
                    1 => SourceOutcome::Complete,
                    2 => SourceOutcome::Partial,
                    3 => SourceOutcome::Failed,
                    other => return Err(DecodeError::new("SNAP-3", format!("outcome {other} of a source"))),
                });
            }
            2 => nodes = Some(reader.unsigned()?),
            3 => bytes = Some(reader.unsigned()?),
            4 => findings = Some(reader.unsigned()?),
            5 => duration = Some(reader.unsigned()?),
            64 => name = Some(reader.text()?.to_owned()),
            65 => kind = Some(reader.text()?.to_owned()),
            66 => consistency = Some(reader.text()?.to_owned()),
            67 => {
                reader.array_of(2)?;
                carried = Some(Carried { snapshot: SessionId(reader.fixed()?), time: reader.time()? });
            }
            68 => message = Some(reader.text()?.to_owned()),
            _ => keep_unknown(key, reader, &mut kept)?,
        }
    }
    Ok(SourceStatus {
        path: needed(path, "the path of a source")?,
        outcome: needed(outcome, "the outcome of a source")?,
        nodes: needed(nodes, "the nodes of a source")?,
        bytes: needed(bytes, "the bytes of a source")?,
        findings: needed(findings, "the findings of a source")?,
        duration_milliseconds: needed(duration, "the duration of a source")?,
        name,
        kind,
        consistency,
        carried,
        message,
        kept,
    })
}

fn decode_statistics(reader: &mut Reader<'_>) -> Decoded<Statistics> {
    let mut statistics = Statistics::default();
    let mut map = reader.map()?;
    while let Some(key) = map.next(reader)? {
        let number = reader.unsigned()?;
        // Numbers of later versions are dropped: they are for people, and this program could not name them.
        if let Some(statistic) = Statistic::ALL.into_iter().find(|statistic| statistic.number() == key) {
            statistics.0.insert(statistic, number);
        }
    }
    Ok(statistics)
}

#[derive(Default)]
struct Fields {
    time: Option<Timestamp>,
    duration_milliseconds: Option<u64>,
    host: Option<String>,
    user: Option<String>,
    job: Option<String>,
    tags: Vec<String>,
    description: Option<String>,
    paths: Vec<Vec<u8>>,
    excludes: Vec<String>,
    program: Option<String>,
    parent: Option<SessionId>,
    generation: Option<u64>,
    origin: Option<Origin>,
    tree: Option<ChunkId>,
    total_nodes: Option<u64>,
    total_bytes: Option<u64>,
    sources: Vec<SourceStatus>,
    findings: Option<u64>,
    expected_next_seconds: Option<u64>,
    sequence: Option<u64>,
    previous: Option<ContentName>,
    statistics: Statistics,
    is_selective: bool,
    kept: Vec<KeptPair>,
}

impl Fields {
    fn read(&mut self, key: u64, reader: &mut Reader<'_>) -> Decoded<()> {
        match key {
            1 => self.time = Some(reader.time()?),
            2 => self.duration_milliseconds = Some(reader.unsigned()?),
            3 => self.host = Some(reader.text()?.to_owned()),
            4 => self.user = Some(reader.text()?.to_owned()),
            5 => self.job = Some(reader.text()?.to_owned()),
            6 => self.tags = reader.texts()?,
            7 => self.description = Some(reader.text()?.to_owned()),
            8 => {
                let count = reader.array()?;
                self.paths =
                    (0..count).map(|_| reader.bytes().map(<[u8]>::to_vec)).collect::<Decoded<_>>()?;
            }
            9 => self.excludes = reader.texts()?,
            10 => self.program = Some(reader.text()?.to_owned()),
            11 => self.parent = Some(SessionId(reader.fixed()?)),
            12 => self.generation = Some(reader.unsigned()?),
            13 => {
                reader.array_of(3)?;
                self.origin = Some(Origin {
                    repository: RepositoryId(reader.fixed()?),
                    snapshot: SessionId(reader.fixed()?),
                    time: reader.time()?,
                });
            }
            14 => self.tree = Some(ChunkId(reader.fixed()?)),
            15 => self.total_nodes = Some(reader.unsigned()?),
            16 => self.total_bytes = Some(reader.unsigned()?),
            17 => {
                let count = reader.array()?;
                self.sources = (0..count).map(|_| decode_source(reader)).collect::<Decoded<_>>()?;
            }
            18 => self.findings = Some(reader.unsigned()?),
            19 => self.expected_next_seconds = Some(reader.unsigned()?),
            20 => self.sequence = Some(reader.unsigned()?),
            21 => self.previous = Some(ContentName(reader.fixed()?)),
            22 => self.statistics = decode_statistics(reader)?,
            64 => self.is_selective = reader.boolean()?,
            _ => keep_unknown(key, reader, &mut self.kept)?,
        }
        Ok(())
    }

    fn into_snapshot(self) -> Decoded<Snapshot> {
        let sorted = self.tags.is_sorted_by(|a, b| a < b) && self.paths.is_sorted_by(|a, b| a < b);
        require(sorted, "SNAP-4", || "tags or paths out of order or twice".into())?;
        Ok(Snapshot {
            time: needed(self.time, "the time")?,
            duration_milliseconds: needed(self.duration_milliseconds, "the duration")?,
            host: needed(self.host, "the host")?,
            user: self.user,
            job: self.job,
            tags: self.tags,
            description: self.description,
            paths: self.paths,
            excludes: self.excludes,
            program: needed(self.program, "the program")?,
            parent: self.parent,
            generation: needed(self.generation, "the generation")?,
            origin: self.origin,
            tree: needed(self.tree, "the tree")?,
            total_nodes: needed(self.total_nodes, "the number of nodes")?,
            total_bytes: needed(self.total_bytes, "the number of bytes")?,
            sources: self.sources,
            findings: needed(self.findings, "the number of findings")?,
            expected_next_seconds: self.expected_next_seconds,
            sequence: needed(self.sequence, "the sequence")?,
            previous: self.previous,
            statistics: self.statistics,
            is_selective: self.is_selective,
            kept: self.kept,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
