//! The config object (format-spec chapter 3): what a repository is, in plaintext with a keyed code behind it.
//!
//! What must hold: a program that does not know a required feature touches nothing; parameters are in the ranges for
//! which cutting, paging and packing are defined.

use crate::base::limits::{CHUNK_BYTES_MAX, PAGE_BYTES_MAX, SEGMENT_RAW_BYTES_MAX};
use crate::base::{ContentName, RepositoryId, Timestamp};
use crate::format::cbor::{FIRST_IGNORABLE_KEY, KeptPair, MapWriter, Reader, keep_unknown, needed};
use crate::format::sealing::ObjectKind;
use crate::format::{DecodeError, Decoded, require};

/// BLAKE3, ChaCha20-Poly1305, zstd.
pub const SUITE: u64 = 1;
/// Bytes of the code at the end.
pub const CODE_BYTES: usize = 32;
/// FastCDC 2020, normalisation level 1, with a secret table.
const CHUNKER_FASTCDC: u64 = 1;
/// Chunks of one size.
const CHUNKER_FIXED: u64 = 2;

/// How content is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// By content.
    FastCdc {
        /// Fewest bytes of a chunk that is not the last.
        min_bytes: u32,
        /// Aim; a power of two.
        average_bytes: u32,
        /// Most bytes.
        max_bytes: u32,
    },
    /// Every so many bytes.
    Fixed {
        /// Bytes of a chunk that is not the last.
        bytes: u32,
    },
}

impl Chunking {
    /// By content around an average, with minimum and maximum in the proportion of the default.
    pub const fn of_average(average_bytes: u32) -> Self {
        Self::FastCdc {
            min_bytes: average_bytes / 4,
            average_bytes,
            max_bytes: average_bytes.saturating_mul(8),
        }
    }

    /// Most bytes of a chunk.
    pub const fn max_bytes(&self) -> u32 {
        match self {
            Self::FastCdc { max_bytes, .. } => *max_bytes,
            Self::Fixed { bytes } => *bytes,
        }
    }
}

/// How tiny files share chunks; 0 as `file_bytes_max`: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundling {
    /// Largest file that is bundled.
    pub file_bytes_max: u32,
    /// Aim for a bundle's length.
    pub average_bytes: u32,
    /// Fewest bytes of a bundle that is not the last of its page.
    pub min_bytes: u32,
    /// Most bytes.
    pub max_bytes: u32,
}

impl Bundling {
    /// Files up to so many bytes are bundled, with all else in the proportion of the default; 0: none is.
    pub const fn of_file_max(file_bytes_max: u32) -> Self {
        Self {
            file_bytes_max,
            average_bytes: file_bytes_max.saturating_mul(2),
            min_bytes: file_bytes_max / 2,
            max_bytes: file_bytes_max.saturating_mul(8),
        }
    }
}

/// Where tree pages end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Fewest bytes of entries of a page that is not the last of its level.
    pub min_bytes: u32,
    /// Aim.
    pub average_bytes: u32,
    /// A page ends once it holds so many bytes of entries.
    pub max_bytes: u32,
}

impl Paging {
    /// Pages around an average, with minimum and maximum in the proportion of the default, as far as a page may be.
    pub fn of_average(average_bytes: u32) -> Self {
        // An average that is more than a page may be is left for `check` to refuse.
        let max_bytes = average_bytes.saturating_mul(4).min(Self::largest()).max(average_bytes);
        Self { min_bytes: average_bytes / 4, average_bytes, max_bytes }
    }

    /// Largest maximum: two entries more than that, of the longest that a node may be, still make a page within its limit.
    fn largest() -> u32 {
        u32::try_from(PAGE_BYTES_MAX / 4).unwrap_or(u32::MAX)
    }
}

/// How chunks are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// A segment is closed once it holds so many bytes of plaintext.
    pub segment_bytes: u32,
    /// A pack is closed once it holds so many stored bytes.
    pub pack_bytes: u32,
}

/// Everything that decides how the same input becomes the same chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// How content is cut.
    pub chunking: Chunking,
    /// How tiny files share chunks.
    pub bundling: Bundling,
    /// Where tree pages end.
    pub paging: Paging,
    /// How chunks are put together.
    pub packing: Packing,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            chunking: Chunking::of_average(128 << 10),
            bundling: Bundling::of_file_max(4096),
            paging: Paging::of_average(64 << 10),
            packing: Packing { segment_bytes: 2 << 20, pack_bytes: 16 << 20 },
        }
    }
}

impl Parameters {
    /// Small pieces, so that a small input already makes many of each.
    pub fn tiny() -> Self {
        Self {
            chunking: Chunking::FastCdc { min_bytes: 1024, average_bytes: 2048, max_bytes: 8192 },
            bundling: Bundling { file_bytes_max: 256, average_bytes: 512, min_bytes: 128, max_bytes: 2048 },
            paging: Paging { min_bytes: 512, average_bytes: 1024, max_bytes: 4096 },
            packing: Packing { segment_bytes: 16 << 10, pack_bytes: 64 << 10 },
        }
    }

    /// Refuses what is not defined: rule CFG-5.
    pub fn check(&self) -> Decoded<()> {
        let ascending = |values: &[u32]| values.is_sorted() && values.iter().all(|value| value % 2 == 0);
        let chunking = match self.chunking {
            Chunking::FastCdc { min_bytes, average_bytes, max_bytes } => {
                ascending(&[1024, min_bytes, average_bytes, max_bytes, CHUNK_BYTES_MAX])
                    && min_bytes <= 1 << 20
                    && average_bytes <= 4 << 20
                    && average_bytes.is_power_of_two()
            }
            Chunking::Fixed { bytes } => ascending(&[512, bytes, CHUNK_BYTES_MAX]),
        };
        let Bundling { file_bytes_max, average_bytes, min_bytes, max_bytes } = self.bundling;
        let bundling = file_bytes_max == 0
            || (ascending(&[2, min_bytes, average_bytes, max_bytes, 1 << 20]) && file_bytes_max <= max_bytes);
        let paging = &self.paging;
        // An inner page must hold two children, of which the longest entry takes 292 bytes.
        let paging = [512, paging.min_bytes, paging.average_bytes, paging.max_bytes, Paging::largest()];
        let paging = ascending(&paging);
        let packing = ascending(&[2, self.packing.segment_bytes, SEGMENT_RAW_BYTES_MAX / 2])
            && ascending(&[2, self.packing.pack_bytes, 128 << 20]);
        require(chunking && bundling && paging && packing, "CFG-5", || format!("parameters {self:?}"))
    }
}

/// Names of features that later versions may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Who does not know one of these touches nothing.
    pub required: Vec<String>,
    /// Who does not know one of these only reads.
    pub for_writers: Vec<String>,
    /// May be ignored.
    pub optional: Vec<String>,
}

/// The config of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its random name.
    pub repository: RepositoryId,
    /// Which master key new objects are sealed under.
    pub generation: u32,
    /// How input becomes chunks.
    pub parameters: Parameters,
    /// What later versions added.
    pub features: Features,
    /// When the repository was made.
    pub created: Timestamp,
    /// BLAKE3 of the config with the number before; none for the first.
    pub previous: Option<ContentName>,
    /// Ignorable pairs, kept on rewrite.
    pub kept: Vec<KeptPair>,
}

impl Config {
    /// Head and body: all but the code at the end.
    pub fn encode(&self) -> Vec<u8> {
        let mut map = MapWriter::new();
        map.key(0).bytes(self.repository.as_bytes());
        map.key(1).unsigned(SUITE);
        map.key(2).unsigned(self.generation);
        match self.parameters.chunking {
            Chunking::FastCdc { min_bytes, average_bytes, max_bytes } => {
                let value = map.key(3).array(4).unsigned(CHUNKER_FASTCDC);
                value.unsigned(min_bytes).unsigned(average_bytes).unsigned(max_bytes);
            }
            Chunking::Fixed { bytes } => drop(map.key(3).array(2).unsigned(CHUNKER_FIXED).unsigned(bytes)),
        }
        let Bundling { file_bytes_max, average_bytes, min_bytes, max_bytes } = self.parameters.bundling;
        let value = map.key(4).array(4).unsigned(file_bytes_max);
        value.unsigned(min_bytes).unsigned(average_bytes).unsigned(max_bytes);
        let Paging { min_bytes, average_bytes, max_bytes } = self.parameters.paging;
        map.key(5).array(3).unsigned(min_bytes).unsigned(average_bytes).unsigned(max_bytes);
        let Packing { segment_bytes, pack_bytes } = self.parameters.packing;
        map.key(6).array(2).unsigned(segment_bytes).unsigned(pack_bytes);
        map.key(7).texts(&self.features.required);
        map.key(8).texts(&self.features.for_writers);
        map.key(9).texts(&self.features.optional);
        map.key(10).time(self.created);
        if let Some(previous) = &self.previous {
            map.key(11).bytes(previous.as_bytes());
        }
        map.kept(&self.kept);
        [ObjectKind::Config.head().as_slice(), &map.into_bytes()].concat()
    }

    /// Parts an object into what the code covers and the code.
    pub fn split(bytes: &[u8]) -> Decoded<(&[u8], &[u8; CODE_BYTES])> {
        ObjectKind::Config.check_head(bytes)?;
        bytes.split_last_chunk().ok_or_else(|| DecodeError::new("CFG-1", "a config that is too short"))
    }

    /// Reads head and body. The caller checks the code as soon as it has the key.
    pub fn decode(covered: &[u8]) -> Decoded<Self> {
        let mut reader = Reader::new(ObjectKind::Config.check_head(covered)?);
        let (mut repository, mut suite, mut generation, mut created, mut previous) =
            (None, None, None, None, None);
        let (mut chunking, mut bundling, mut paging, mut packing) = (None, None, None, None);
        let mut features = Features::default();
        let mut kept = Vec::new();
        let mut unknown = None;
        let mut map = reader.map()?;
        while let Some(key) = map.next(&mut reader)? {
            match key {
                0 => repository = Some(RepositoryId(reader.fixed()?)),
                1 => suite = Some(reader.unsigned()?),
                2 => generation = Some(reader.narrow()?),
                3 => chunking = Some(decode_chunking(&mut reader)?),
                4 => bundling = Some(decode_bundling(&mut reader)?),
                5 => paging = Some(decode_paging(&mut reader)?),
                6 => {
                    reader.array_of(2)?;
                    packing = Some(Packing { segment_bytes: reader.narrow()?, pack_bytes: reader.narrow()? });
                }
                7 => features.required = reader.texts()?,
                8 => features.for_writers = reader.texts()?,
                9 => features.optional = reader.texts()?,
                10 => created = Some(reader.time()?),
                11 => previous = Some(ContentName(reader.fixed()?)),
                FIRST_IGNORABLE_KEY.. => keep_unknown(key, &mut reader, &mut kept)?,
                // A required feature may stand behind it, and says more.
                _ => {
                    reader.item()?;
                    unknown.get_or_insert(key);
                }
            }
        }
        reader.end()?;
        let suite = needed(suite, "the suite")?;
        require(suite == SUITE, "CFG-3", || format!("suite {suite}; this program knows suite {SUITE}"))?;
        if let Some(feature) = features.required.first() {
            return Err(DecodeError::new(
                "CFG-4",
                format!("the required feature {feature:?} is unknown to this program"),
            ));
        }
        require(unknown.is_none(), "CBOR-12", || format!("unknown critical key {unknown:?}"))?;
        let parameters = Parameters {
            chunking: needed(chunking, "the chunker")?,
            bundling: needed(bundling, "the bundles")?,
            paging: needed(paging, "the pages")?,
            packing: needed(packing, "the packs")?,
        };
        parameters.check()?;
        Ok(Self {
            repository: needed(repository, "the repository's name")?,
            generation: needed(generation, "the key generation")?,
            parameters,
            features,
            created: needed(created, "the time of creation")?,
            previous,
            kept,
        })
    }
}

fn decode_chunking(reader: &mut Reader<'_>) -> Decoded<Chunking> {
    let items = reader.array()?;
    let kind = reader.unsigned()?;
    match (kind, items) {
        (CHUNKER_FASTCDC, 4) => Ok(Chunking::FastCdc {
            min_bytes: reader.narrow()?,
            average_bytes: reader.narrow()?,
            max_bytes: reader.narrow()?,
        }),
        (CHUNKER_FIXED, 2) => Ok(Chunking::Fixed { bytes: reader.narrow()? }),
        _ => Err(DecodeError::new("CFG-3", format!("chunker {kind} is unknown to this program"))),
    }
}

fn decode_bundling(reader: &mut Reader<'_>) -> Decoded<Bundling> {
    reader.array_of(4)?;
    Ok(Bundling {
        file_bytes_max: reader.narrow()?,
        min_bytes: reader.narrow()?,
        average_bytes: reader.narrow()?,
        max_bytes: reader.narrow()?,
    })
}

fn decode_paging(reader: &mut Reader<'_>) -> Decoded<Paging> {
    reader.array_of(3)?;
    Ok(Paging { min_bytes: reader.narrow()?, average_bytes: reader.narrow()?, max_bytes: reader.narrow()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            repository: RepositoryId([1; 16]),
            generation: 1,
            parameters: Parameters::default(),
            features: Features { optional: vec!["later".into()], ..Features::default() },
            created: Timestamp { seconds: 1_800_000_000, nanoseconds: 5 },
            previous: None,
            kept: vec![(64, vec![0x02])],
        }
    }

    fn rejected(config: &Config) -> &'static str {
        Config::decode(&config.encode()).expect_err("must be refused").rule
    }

    #[test]
    fn a_config_is_read_back_as_it_was() {
        let mut config = config();
        assert_eq!(Config::decode(&config.encode()), Ok(config.clone()));
        config.parameters = Parameters::tiny();
        config.parameters.chunking = Chunking::Fixed { bytes: 4 << 20 };
        config.parameters.bundling.file_bytes_max = 0;
        config.previous = Some(ContentName([4; 32]));
        config.features.for_writers = vec!["x".into()];
        assert_eq!(Config::decode(&config.encode()), Ok(config.clone()));
        let object = [config.encode(), vec![8; 32]].concat();
        assert_eq!(Config::split(&object), Ok((config.encode().as_slice(), &[8; 32])));
    }

    #[test]
    fn what_is_chosen_by_one_number_has_the_proportions_of_the_default() {
        let default = Parameters::default();
        let fastcdc =
            Chunking::FastCdc { min_bytes: 32 << 10, average_bytes: 128 << 10, max_bytes: 1024 << 10 };
        assert_eq!(default.chunking, fastcdc);
        let Bundling { file_bytes_max, average_bytes, min_bytes, max_bytes } = default.bundling;
        assert_eq!([file_bytes_max, average_bytes, min_bytes, max_bytes], [4096, 8192, 2048, 32 << 10]);
        let Paging { min_bytes, average_bytes, max_bytes } = default.paging;
        assert_eq!([min_bytes, average_bytes, max_bytes], [16 << 10, 64 << 10, 256 << 10]);
        let is_good = |change: &dyn Fn(&mut Parameters)| {
            let mut parameters = default;
            change(&mut parameters);
            parameters.check().is_ok()
        };
        // What each may be, as the program says it.
        let chunks = |average| is_good(&|all| all.chunking = Chunking::of_average(average));
        assert!([4 << 10, 64 << 10, 1 << 20].into_iter().all(chunks));
        assert!(![0, 2 << 10, 6 << 10, 2 << 20, 1 << 31, u32::MAX].into_iter().any(chunks));
        let fixed = |bytes| is_good(&|all| all.chunking = Chunking::Fixed { bytes });
        assert!([512, 4096, 5000, 8 << 20].into_iter().all(fixed));
        assert!(![0, 510, 4097, (8 << 20) + 2].into_iter().any(fixed));
        let bundles = |file_max| is_good(&|all| all.bundling = Bundling::of_file_max(file_max));
        assert!([0, 4, 1024, 1500, 16 << 10, 128 << 10].into_iter().all(bundles));
        assert!(![1, 2, 1026, 1027, 256 << 10, u32::MAX].into_iter().any(bundles));
        let pages = |average| is_good(&|all| all.paging = Paging::of_average(average));
        assert!([2 << 10, 10_000, 64 << 10, 256 << 10].into_iter().all(pages));
        assert!(![0, 1 << 10, 10_001, 257 << 10, u32::MAX].into_iter().any(pages));
    }

    #[test]
    fn every_rule_of_the_chapter_is_enforced() {
        assert_eq!(Config::split(&ObjectKind::Config.head()).expect_err("too short").rule, "CFG-1");
        let mut later = config();
        later.features.required = vec!["parity".into()];
        assert_eq!(rejected(&later), "CFG-4");
        let suite = config().encode();
        let position = suite.windows(2).rposition(|pair| pair == [1, 1]).expect("key 1, suite 1");
        let mut other = suite;
        other[position + 1] = 2;
        assert_eq!(Config::decode(&other).expect_err("another suite").rule, "CFG-3");
        let mut newer = config();
        newer.kept = vec![(12, vec![0x80])];
        assert_eq!(rejected(&newer), "CBOR-12");
        newer.features.required = vec!["parity".into()];
        assert_eq!(rejected(&newer), "CFG-4", "what is required says more than an unknown key");
        let mut chunker = Reader::new(&[0x82, 3, 1]);
        assert_eq!(decode_chunking(&mut chunker).expect_err("another chunker").rule, "CFG-3");
        let fastcdc =
            |min_bytes, average_bytes, max_bytes| Chunking::FastCdc { min_bytes, average_bytes, max_bytes };
        for chunking in [
            fastcdc(512, 2048, 4096),
            fastcdc(4096, 2048, 8192),
            fastcdc(1024, 2048, 2047),
            fastcdc(1024, 3000, 8192),
            fastcdc(1025, 2048, 8192),
            fastcdc(1024, 2048, 16 << 20),
            Chunking::Fixed { bytes: 0 },
            Chunking::Fixed { bytes: 16 << 20 },
        ] {
            let mut config = config();
            config.parameters.chunking = chunking;
            assert_eq!(rejected(&config), "CFG-5", "{chunking:?}");
        }
        let mut bad = config();
        bad.parameters.bundling.max_bytes = 4094;
        assert_eq!(rejected(&bad), "CFG-5");
        let mut bad = config();
        bad.parameters.paging.min_bytes = 510;
        assert_eq!(rejected(&bad), "CFG-5");
        let mut bad = config();
        bad.parameters.paging.max_bytes = 512 << 10;
        assert_eq!(rejected(&bad), "CFG-5");
        let mut bad = config();
        bad.parameters.packing.segment_bytes = 16 << 20;
        assert_eq!(rejected(&bad), "CFG-5");
    }
}
