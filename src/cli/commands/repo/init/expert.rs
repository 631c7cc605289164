//! Options of `repo init` for who knows what they do: how input becomes chunks, segments and packs.
//!
//! What must hold: what is not given is as in any other repository; what the format does not allow is refused here, by the
//! name of its option, before anything is made. Nothing of it can be changed later.

use clap::{Args, ValueEnum};
use packstone::base::{Error, ErrorKind, Result};
use packstone::format::config::{Bundling, Chunking, Paging, Parameters};

use crate::args::parse_size;

/// How input becomes chunks, segments and packs.
#[derive(Args, Debug, Default)]
#[command(
    next_help_heading = "Expert options (docs/performance.md says what they cost; none can be changed later)"
)]
pub struct Expert {
    /// Aim for chunks of so many bytes: a power of two from 4K to 1M; with --chunker fixed even, from 512 to 8M [default: 128K]
    #[arg(long, value_name = "AVERAGE", value_parser = parse_size, hide_short_help = true)]
    chunk_size: Option<u64>,
    /// Cut where the content says so, or every so many bytes, as suits images of disks [default: content]
    #[arg(long, value_name = "WHERE", hide_short_help = true)]
    chunker: Option<Chunker>,
    /// Compress and seal so much together, up to 8M [default: 2M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    segment_size: Option<u64>,
    /// Close a pack once it holds so much, up to 128M [default: 16M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    pack_size: Option<u64>,
    /// Let files up to this size share chunks: a multiple of 4, up to 128K; 0: none does [default: 4K]
    #[arg(long, value_name = "SIZE", value_parser = parse_size, hide_short_help = true)]
    bundle_max: Option<u64>,
    /// Aim for pages of trees of so many bytes: a multiple of 8 from 2K to 256K [default: 64K]
    #[arg(long, value_name = "AVERAGE", value_parser = parse_size, hide_short_help = true)]
    page_size: Option<u64>,
}

/// How content is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Chunker {
    /// Where the content says so
    Content,
    /// Every so many bytes
    Fixed,
}

impl Expert {
    /// The parameters that these options ask for. `Usage` for what the format does not allow.
    pub fn parameters(&self) -> Result<Parameters> {
        let mut parameters = Parameters::default();
        let default_bytes = match parameters.chunking {
            Chunking::FastCdc { average_bytes, .. } => average_bytes,
            Chunking::Fixed { bytes } => bytes,
        };
        let chunk_bytes = self.chunk_size.map_or(default_bytes, narrow);
        let (chunking, allowed) = match self.chunker {
            Some(Chunker::Fixed) => (
                Chunking::Fixed { bytes: chunk_bytes },
                "chunks of one size have an even number of bytes from 512 to 8M",
            ),
            _ => (
                Chunking::of_average(chunk_bytes),
                "the average of chunks that are cut by content is a power of two from 4K to 1M",
            ),
        };
        parameters.chunking = chunking;
        allow(&parameters, "--chunk-size", self.chunk_size, allowed)?;
        if let Some(size) = self.segment_size {
            parameters.packing.segment_bytes = narrow(size);
            allow(&parameters, "--segment-size", self.segment_size, "an even number of bytes up to 8M")?;
        }
        if let Some(size) = self.pack_size {
            parameters.packing.pack_bytes = narrow(size);
            allow(&parameters, "--pack-size", self.pack_size, "an even number of bytes up to 128M")?;
        }
        if let Some(size) = self.bundle_max {
            parameters.bundling = Bundling::of_file_max(narrow(size));
            allow(&parameters, "--bundle-max", self.bundle_max, "0, or a multiple of 4 up to 128K")?;
        }
        if let Some(size) = self.page_size {
            parameters.paging = Paging::of_average(narrow(size));
            allow(&parameters, "--page-size", self.page_size, "a multiple of 8 from 2K to 256K")?;
        }
        Ok(parameters)
    }

    /// The first of these options that is given, by name.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("--chunk-size", self.chunk_size.is_some()),
            ("--chunker", self.chunker.is_some()),
            ("--segment-size", self.segment_size.is_some()),
            ("--pack-size", self.pack_size.is_some()),
            ("--bundle-max", self.bundle_max.is_some()),
            ("--page-size", self.page_size.is_some()),
        ];
        options.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// What is more than any size may be is refused as such.
fn narrow(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn allow(parameters: &Parameters, option: &str, value: Option<u64>, allowed: &str) -> Result<()> {
    parameters.check().map_err(|_| {
        let given = value.map(|value| format!(" of {value} bytes")).unwrap_or_default();
        Error::new(ErrorKind::Usage, format!("{option}{given} cannot be: {allowed}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(Expert::default().parameters().expect("parameters"), Parameters::default());
        assert_eq!(Expert::default().given(), None);
    }

    #[test]
    fn each_option_changes_what_it_names_alone() {
        let changed = |expert: Expert| expert.parameters().expect("parameters");
        let default = Parameters::default();
        let chunks = changed(Expert { chunk_size: Some(1 << 20), ..Expert::default() });
        assert_eq!(chunks, Parameters { chunking: Chunking::of_average(1 << 20), ..default });
        let fixed = changed(Expert { chunker: Some(Chunker::Fixed), ..Expert::default() });
        assert_eq!(fixed, Parameters { chunking: Chunking::Fixed { bytes: 128 << 10 }, ..default });
        let content = changed(Expert { chunker: Some(Chunker::Content), ..Expert::default() });
        assert_eq!(content, default);
        let bundles = changed(Expert { bundle_max: Some(0), ..Expert::default() });
        assert_eq!(bundles, Parameters { bundling: Bundling::of_file_max(0), ..default });
        let pages = changed(Expert { page_size: Some(256 << 10), ..Expert::default() });
        assert_eq!(pages, Parameters { paging: Paging::of_average(256 << 10), ..default });
        let mut packing = default;
        packing.packing.segment_bytes = 8 << 20;
        packing.packing.pack_bytes = 128 << 20;
        let sizes = Expert { segment_size: Some(8 << 20), pack_size: Some(128 << 20), ..Expert::default() };
        assert_eq!(changed(sizes), packing);
    }

    #[test]
    fn what_the_format_does_not_allow_names_its_option() {
        let refused = |expert: Expert| expert.parameters().expect_err("must be refused").to_string();
        let too_large = Some(u64::MAX);
        let chunks = refused(Expert { chunk_size: Some(100 << 10), ..Expert::default() });
        assert!(chunks.starts_with("--chunk-size of 102400 bytes cannot be: "), "{chunks}");
        assert!(refused(Expert { chunk_size: too_large, ..Expert::default() }).contains("--chunk-size"));
        assert!(refused(Expert { segment_size: too_large, ..Expert::default() }).contains("--segment-size"));
        assert!(refused(Expert { pack_size: Some(0), ..Expert::default() }).contains("--pack-size"));
        assert!(refused(Expert { bundle_max: Some(1), ..Expert::default() }).contains("--bundle-max"));
        assert!(refused(Expert { page_size: Some(1), ..Expert::default() }).contains("--page-size"));
    }
}
