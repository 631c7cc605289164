//! `packstone repo info`: tells what a repository is and what it holds.

use std::io::Write;

use clap::Args;
use jiff::tz::TimeZone;
use packstone::base::{Wrap, size};
use packstone::format::config::{Bundling, Chunking, Features, Parameters};
use packstone::repository::{ObjectCount, RepositoryInfo};

use crate::commands::repo::key::list;
use crate::context::Context;
use crate::json::{self, InfoDocument};
use crate::output::Output;
use crate::report::{Done, Outcome};
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
The sizes of packs and index runs are what they take in the repository. Snapshots that are forgotten do not count.

Examples:
  packstone repo info
  packstone -r /srv/backup --key-file /etc/packstone.key repo info";

/// Arguments of `repo info`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {}

/// Tells what a repository is and what it holds.
pub fn run(_arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let info = opened.repository.info()?;
    let mut output = Output::open()?;
    let written = match context.global.json {
        true => json::write_line(&mut output, &InfoDocument::of(&info)),
        false => {
            let lines = lines(&info, &TimeZone::system());
            lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
        }
    };
    let has_damaged_slot = list::tell_unusable(info.slots, "info");
    let done = match commands::tell_damaged(info.snapshots.damaged, "info") {
        Done::Fully if has_damaged_slot => Done::WithDamage,
        done => done,
    };
    Ok(output.end(written.map(|()| done))?)
}

fn lines(info: &RepositoryInfo, zone: &TimeZone) -> Vec<String> {
    let Parameters { paging, packing, .. } = info.parameters;
    let bytes = |bytes: u32| size::show(bytes.into());
    let objects = |objects: ObjectCount| format!("{} ({})", objects.count, size::show(objects.size_bytes));
    let with_bad = |good: usize, bad: usize| match bad {
        0 => good.to_string(),
        bad => format!("{good}, and {bad} that cannot be used"),
    };
    let usable_slots = info.slots.whole().count();
    let rows = [
        ("repository", info.id.hex()),
        ("location", info.location.clone()),
        ("format", format!("version {}, suite {}", info.format_version, info.suite)),
        ("made", show::time(info.created, zone)),
        ("key generation", info.key_generation.to_string()),
        ("chunks", chunks(&info.parameters.chunking)),
        ("tiny files", tiny_files(info.parameters.bundling)),
        (
            "tree pages",
            format!(
                "{} to {}, {} on average",
                bytes(paging.min_bytes),
                bytes(paging.max_bytes),
                bytes(paging.average_bytes)
            ),
        ),
        ("segment size", bytes(packing.segment_bytes)),
        ("pack size", bytes(packing.pack_bytes)),
        ("features", features(&info.features)),
        ("key slots", with_bad(usable_slots, info.slots.slots.len() - usable_slots)),
        ("snapshots", with_bad(info.snapshots.visible.len(), info.snapshots.damaged.len())),
        ("packs", objects(info.packs)),
        ("index runs", objects(info.index_runs)),
    ];
    rows.into_iter().map(|(name, value)| format!("{name:<14}  {value}")).collect()
}

fn chunks(chunking: &Chunking) -> String {
    let bytes = |bytes: &u32| size::show(u64::from(*bytes));
    match chunking {
        Chunking::FastCdc { min_bytes, average_bytes, max_bytes } => format!(
            "cut by content, {} to {}, {} on average",
            bytes(min_bytes),
            bytes(max_bytes),
            bytes(average_bytes)
        ),
        Chunking::Fixed { bytes: each } => format!("{} each", bytes(each)),
    }
}

fn tiny_files(bundling: Bundling) -> String {
    let bytes = |bytes: u32| size::show(bytes.into());
    match bundling.file_bytes_max {
        0 => "do not share chunks".to_owned(),
        file_bytes_max => format!(
            "up to {} share chunks of up to {}, {} on average",
            bytes(file_bytes_max),
            bytes(bundling.max_bytes),
            bytes(bundling.average_bytes)
        ),
    }
}

fn features(features: &Features) -> String {
    let classes = [
        ("required", &features.required),
        ("needed to write", &features.for_writers),
        ("optional", &features.optional),
    ];
    let named: Vec<String> = classes
        .into_iter()
        .flat_map(|(class, names)| names.iter().map(move |name| format!("{name:?} ({class})")))
        .collect();
    if named.is_empty() { "none".to_owned() } else { named.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_features_are_told() {
        assert_eq!(chunks(&Chunking::Fixed { bytes: 4096 }), "4.0 KiB each");
        let off = Bundling { file_bytes_max: 0, ..Parameters::default().bundling };
        assert_eq!(tiny_files(off), "do not share chunks");
        assert_eq!(features(&Features::default()), "none");
        let named = Features {
            required: Vec::new(),
            for_writers: vec!["parity".into()],
            optional: vec!["a\nb".into(), "c".into()],
        };
        assert_eq!(features(&named), r#""parity" (needed to write), "a\nb" (optional), "c" (optional)"#);
    }
}
