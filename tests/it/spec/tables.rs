//! Byte tables and limits.

use std::collections::BTreeMap;

use fastcdc::v2020::{Normalization, select_masks};
use packstone::base::{ChunkId, ContentName, SessionId, limits};
use packstone::format::config::{Bundling, Chunking, Parameters};
use packstone::format::index::{Entry, IndexRun, IndexedPack};
use packstone::format::pack::{ChunkRow, Codec, Directory, SegmentRow, TAIL_BYTES, TRAILER_BYTES};
use packstone::format::sealing::{HEAD_BYTES, HEADER_BYTES, Header, MAGIC, ObjectKind, TAG_BYTES};

use super::text::{Table, tables_of};
use crate::support::code::read;

fn byte_tables() -> Vec<Table> {
    tables_of(&["offset", "size", "name", "value"])
}

fn number(table: &Table, row: &[String], column: &str) -> usize {
    let cell = table.cell(row, column);
    cell.parse().unwrap_or_else(|_| panic!("{}: {column} {cell:?} is no number", table.place))
}

/// What is wrong with the offsets and sizes of a table.
fn gap(table: &Table) -> Option<String> {
    let mut end = 0;
    for row in &table.rows {
        let offset = number(table, row, "offset");
        if offset != end {
            return Some(format!("{}: {row:?} where byte {end} must stand", table.place));
        }
        end += number(table, row, "size");
    }
    (table.bytes != Some(end)).then(|| format!("{}: {end} bytes, not {:?}", table.place, table.bytes))
}

#[test]
fn byte_tables_have_no_gap() {
    for table in byte_tables() {
        assert_eq!(gap(&table), None);
    }
    let mut bad = byte_tables().swap_remove(0);
    bad.rows[1][0] = "9".into();
    assert!(gap(&bad).is_some());
    let mut short = byte_tables().swap_remove(0);
    short.rows.pop();
    assert!(gap(&short).is_some());
}

/// A record as the library writes it: its bytes, and what must stand under each name of its table.
struct Written {
    bytes: Vec<u8>,
    fields: Vec<(&'static str, Vec<u8>)>,
}

const PACK: ContentName = ContentName([0xa1; 32]);
const SESSION: SessionId = SessionId([0xa2; 16]);
const SALT: [u8; 32] = [0xa3; 32];
const CHUNK: ChunkId = ChunkId([0xa4; 32]);

fn headers() -> Vec<(&'static str, Written)> {
    let kind = ObjectKind::Commit;
    let head = kind.head().to_vec();
    let fields = vec![
        ("magic", MAGIC.to_vec()),
        ("version", vec![1]),
        ("kind", vec![8]),
        ("wrap", vec![1]),
        ("reserved", vec![0]),
    ];
    let header =
        Header { kind, generation: 0x0102_0304, session: SESSION, salt: SALT, commitment: [0xa5; 32] };
    let header_fields = vec![
        ("head", head.clone()),
        ("generation", vec![4, 3, 2, 1]),
        ("session", SESSION.0.to_vec()),
        ("salt", SALT.to_vec()),
        ("commitment", vec![0xa5; 32]),
    ];
    vec![
        ("head", Written { bytes: head, fields }),
        ("header", Written { bytes: header.encode().to_vec(), fields: header_fields }),
    ]
}

fn directories() -> Vec<(&'static str, Written)> {
    let segment = SegmentRow { offset: 96, stored_bytes: 20, raw_bytes: 900, codec: Codec::Zstd };
    let chunk = ChunkRow { id: CHUNK, segment: 0, raw_bytes: 450 };
    let directory = Directory { segments: vec![segment], chunks: vec![chunk, chunk], padding_bytes: 5 };
    let bytes = directory.encode();
    let (counts, rest) = bytes.split_at(16);
    let (segment, chunks) = rest.split_at(16);
    let counts_fields = vec![
        ("segments", vec![1, 0, 0, 0]),
        ("chunks", vec![2, 0, 0, 0]),
        ("padding", vec![5, 0, 0, 0]),
        ("reserved", vec![0; 4]),
    ];
    let segment_fields = vec![
        ("offset", vec![96, 0, 0, 0]),
        ("stored", vec![20, 0, 0, 0]),
        ("raw", vec![0x84, 3, 0, 0]),
        ("codec", vec![1]),
        ("reserved", vec![0; 3]),
    ];
    let chunk_fields = vec![("id", CHUNK.0.to_vec()), ("segment", vec![0; 4]), ("raw", vec![0xc2, 1, 0, 0])];
    let (first, second) = chunks.split_at(chunks.len() / 2);
    assert_eq!(first, second);
    vec![
        ("directory-counts", Written { bytes: counts.to_vec(), fields: counts_fields }),
        ("directory-segment", Written { bytes: segment.to_vec(), fields: segment_fields }),
        ("directory-chunk", Written { bytes: first.to_vec(), fields: chunk_fields }),
    ]
}

fn index_run() -> IndexRun {
    let segment = SegmentRow { offset: 96, stored_bytes: 20, raw_bytes: 900, codec: Codec::Zstd };
    IndexRun {
        superseded: vec![PACK],
        packs: vec![IndexedPack {
            name: PACK,
            size_bytes: 0x0102,
            session: SESSION,
            salt: SALT,
            generation: 7,
            kind: ObjectKind::TreePack,
            segments: vec![segment, segment],
        }],
        entries: vec![Entry { id: CHUNK, pack: 0, segment: 1, offset: 2, length: 3 }],
    }
}

fn index_runs() -> Vec<(&'static str, Written)> {
    let bytes = index_run().encode();
    let counts_fields = vec![
        ("superseded", vec![1, 0, 0, 0]),
        ("packs", vec![1, 0, 0, 0]),
        ("segments", vec![2, 0, 0, 0]),
        ("chunks", vec![1, 0, 0, 0]),
    ];
    let pack_fields = vec![
        ("name", PACK.0.to_vec()),
        ("size", vec![2, 1, 0, 0, 0, 0, 0, 0]),
        ("session", SESSION.0.to_vec()),
        ("salt", SALT.to_vec()),
        ("generation", vec![7, 0, 0, 0]),
        ("kind", vec![4]),
        ("reserved", vec![0; 3]),
        ("segments", vec![2, 0, 0, 0]),
    ];
    let segment_fields = vec![
        ("stored", vec![20, 0, 0, 0]),
        ("raw", vec![0x84, 3, 0, 0]),
        ("codec", vec![1]),
        ("reserved", vec![0; 3]),
    ];
    let packs = 16 + 32;
    let segments = packs + 100;
    assert_eq!(bytes[segments..segments + 12], bytes[segments + 12..segments + 24]);
    let columns: Vec<u8> = [[0, 0, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]].concat();
    assert_eq!(bytes[segments + 24..], [CHUNK.0.as_slice(), &columns].concat());
    vec![
        ("index-counts", Written { bytes: bytes[..16].to_vec(), fields: counts_fields }),
        ("index-pack", Written { bytes: bytes[packs..segments].to_vec(), fields: pack_fields }),
        ("index-segment", Written { bytes: bytes[segments..segments + 12].to_vec(), fields: segment_fields }),
    ]
}

#[test]
fn the_library_writes_what_the_byte_tables_say() {
    let written: BTreeMap<_, _> = headers().into_iter().chain(directories()).chain(index_runs()).collect();
    let tables = byte_tables();
    let mut names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, written.keys().copied().collect::<Vec<_>>());
    for table in &tables {
        let record = &written[table.name.as_str()];
        assert_eq!(table.bytes, Some(record.bytes.len()), "{}", table.place);
        let fields: Vec<_> = table
            .rows
            .iter()
            .map(|row| {
                let offset = number(table, row, "offset");
                let field = &record.bytes[offset..offset + number(table, row, "size")];
                (table.cell(row, "name"), field.to_vec())
            })
            .collect();
        assert_eq!(fields, record.fields, "{}", table.place);
    }
}

#[test]
fn sizes_are_those_of_the_constants() {
    let size = |name: &str| {
        let table = byte_tables().into_iter().find(|table| table.name == name);
        table.and_then(|table| table.bytes).unwrap_or_else(|| panic!("a table {name} with its size"))
    };
    assert_eq!(size("head"), HEAD_BYTES);
    assert_eq!(size("header"), HEADER_BYTES);
    let directory = |segments, chunks| {
        let segment = SegmentRow { offset: 0, stored_bytes: 0, raw_bytes: 0, codec: Codec::Raw };
        let chunk = ChunkRow { id: CHUNK, segment: 0, raw_bytes: 0 };
        let directory =
            Directory { segments: vec![segment; segments], chunks: vec![chunk; chunks], padding_bytes: 0 };
        directory.encoded_bytes()
    };
    assert_eq!(directory(0, 0), size("directory-counts"));
    assert_eq!(directory(1, 0) - directory(0, 0), size("directory-segment"));
    assert_eq!(directory(0, 1) - directory(0, 0), size("directory-chunk"));
    let parts = size("index-counts") + 32 + size("index-pack") + 2 * size("index-segment") + 32 + 4 * 4;
    assert_eq!(index_run().encode().len(), parts);
    assert_eq!((TAG_BYTES, TRAILER_BYTES, TAIL_BYTES), (16, 24, 32));
    assert_eq!(
        Directory::default().pack_bytes(),
        (HEADER_BYTES + directory(0, 0) + TAG_BYTES + TAIL_BYTES) as u64
    );
}

#[test]
#[expect(clippy::cast_lossless, reason = "constants of every width")]
fn limits_are_those_of_the_program() {
    macro_rules! values {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), limits::$name as u64)),*]) };
    }
    let program = values!(
        CHUNK_BYTES_MAX SEGMENT_RAW_BYTES_MAX PACK_BYTES_MAX PACK_DIRECTORY_BYTES_MAX PAGE_BYTES_MAX NODE_BYTES_MAX
        NAME_BYTES_MAX DEPTH_MAX XATTR_BYTES_MAX XATTR_INLINE_BYTES_MAX LINK_TARGET_BYTES_MAX EXTENTS_MAX
        CONFIG_BYTES_MAX SLOT_BYTES_MAX SLOTS_MAX INDEX_RUN_BYTES_MAX RECORD_BYTES_MAX ZSTD_WINDOW_LOG_MAX
        CBOR_DEPTH_MAX NODE_CHUNKS_MAX PAGE_LEVELS_MAX ARGON2_MEMORY_KIB_MAX ARGON2_PASSES_MAX ARGON2_LANES_MAX
    );
    let table = tables_of(&["constant", "value", "bounds", "rules"]).swap_remove(0);
    let written: BTreeMap<&str, u64> = table
        .rows
        .iter()
        .map(|row| {
            let value = table.cell(row, "value").parse().expect("a number");
            (table.cell(row, "constant").trim_matches('`'), value)
        })
        .collect();
    assert_eq!(written, program);
    let source = read("src/base/limits.rs").text;
    let declared = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'));
    let mut declared: Vec<&str> = declared.map(|(name, _)| name).collect();
    declared.sort_unstable();
    assert_eq!(declared, program.keys().copied().collect::<Vec<_>>(), "a limit that is not written");
}

#[test]
fn defaults_are_those_of_the_program() {
    let parameters = Parameters::default();
    let Chunking::FastCdc { min_bytes, average_bytes, max_bytes } = parameters.chunking else {
        panic!("{:?}", parameters.chunking)
    };
    let Bundling { file_bytes_max, average_bytes: bundle, min_bytes: least, max_bytes: most } =
        parameters.bundling;
    let paging = parameters.paging;
    let packing = parameters.packing;
    let program = [
        ["chunker".to_owned(), format!("`{:?}`", [1, min_bytes, average_bytes, max_bytes])],
        ["bundles".to_owned(), format!("`{:?}`", [file_bytes_max, least, bundle, most])],
        [
            "tree pages".to_owned(),
            format!("`{:?}`", [paging.min_bytes, paging.average_bytes, paging.max_bytes]),
        ],
        ["segment, pack".to_owned(), format!("`{:?}`", [packing.segment_bytes, packing.pack_bytes])],
    ];
    assert_eq!(tables_of(&["parameter", "value"]).swap_remove(0).rows, program);
}

#[test]
fn masks_are_those_of_the_chunker() {
    let masks = |average: u32| {
        let (small, large) = select_masks(1 << average, Normalization::Level1);
        [(1_u32 << average).to_string(), format!("`{small:016x}`"), format!("`{large:016x}`")]
    };
    let table = tables_of(&["average", "small", "large"]).swap_remove(0);
    assert_eq!(table.rows, (10..=22).map(masks).collect::<Vec<_>>());
}
