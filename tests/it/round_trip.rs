//! The main job, small: a tree goes into a repository twice and comes back.

use std::path::Path;

use packstone::format::config::Parameters;
use packstone::format::snapshot::Statistic;
use packstone::ops::backup::{BackupOptions, BackupSummary, backup_paths};
use packstone::ops::list::list;
use packstone::source::{Excludes, GivenPattern, Patterns};

use crate::engine::{Findings, back_up, give_back, in_memory, options, snapshot, statistic, tree_of};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::scratch::Scratch;

#[test]
fn a_tree_comes_back_and_its_second_snapshot_adds_next_to_nothing() {
    for parameters in [Parameters::tiny(), Parameters::default()] {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        generate(1, &source, Size::Medium);
        let repository = in_memory(parameters);
        let first = back_up(&repository, &source);
        let second = back_up(&repository, &source);
        let tree = |summary: &BackupSummary| tree_of(&repository, &summary.snapshot, &source);
        assert_eq!(tree(&second), tree(&first));
        assert_eq!(statistic(&second.snapshot, Statistic::DataChunksAdded), 0);
        assert_eq!(second.snapshot.generation, 2);
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.visible.len(), 2);
        let latest = snapshots.find("latest").unwrap();
        assert_eq!(latest.id, second.id);
        let mut listed = 0;
        let findings = Findings::default();
        list(&repository, latest, None, &findings, &mut |_, _| {
            listed += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(listed, latest.snapshot.total_nodes);
        let target = scratch.join("target");
        findings.assert_none();
        give_back(&repository, latest.id, Some(&source), &target);
        assert_same(&dump(&source), &dump(&target));
    }
}

#[test]
fn a_file_and_a_stream_come_back_in_chunks_of_any_size() {
    use packstone::format::config::Chunking;
    use packstone::ops::backup::{StreamInput, backup_stream};
    use packstone::ops::dump::dump_file;

    let mut content = vec![0; 20 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut content[..9 << 20]);
    let largest = Chunking::FastCdc { min_bytes: 1 << 20, average_bytes: 4 << 20, max_bytes: 8 << 20 };
    for chunking in [Chunking::Fixed { bytes: 8 << 20 }, Chunking::Fixed { bytes: 1 << 20 }, largest] {
        let scratch = Scratch::new();
        let source = scratch.join("big");
        std::fs::write(&source, &content).unwrap();
        let repository = in_memory(Parameters { chunking, ..Parameters::default() });
        let findings = Findings::default();
        let of_file = back_up(&repository, &source);
        let input = StreamInput {
            filename: "/folder/stream".into(),
            reader: Box::new(content.as_slice()),
            end: Box::new(|| Ok(())),
            stop: Box::new(|| {}),
        };
        let of_stream = backup_stream(&repository, input, &options(), &findings).unwrap();
        assert_eq!(statistic(&of_stream.snapshot, Statistic::DataChunksAdded), 0, "the same content");
        let snapshots = repository.snapshots().unwrap();
        for (id, path) in
            [(of_file.id, source.as_os_str().as_encoded_bytes()), (of_stream.id, b"/folder/stream")]
        {
            let snapshot = snapshots.find(&id.hex()).unwrap();
            let mut found = Vec::new();
            dump_file(&repository, snapshot, path, &mut found, &findings).unwrap();
            assert!(found == content, "{chunking:?}");
        }
        findings.assert_none();
    }
}

#[test]
fn a_file_that_understates_its_size_comes_back_whole() {
    use packstone::ops::dump::dump_file;

    let path = Path::new("/proc/version");
    assert_eq!(std::fs::metadata(path).unwrap().len(), 0);
    let repository = in_memory(Parameters::tiny());
    let summary = back_up(&repository, path);
    let mut found = Vec::new();
    let held = crate::engine::snapshot(&repository, summary.id);
    dump_file(&repository, &held, b"/proc/version", &mut found, &Findings::default()).unwrap();
    assert_eq!(found, std::fs::read(path).unwrap());
    assert!(!found.is_empty());
}

#[test]
fn files_that_claim_more_than_can_be_summed_come_back() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    std::fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c"] {
        let file = std::fs::File::create(source.join(name)).unwrap();
        // What a file system cannot hold, it refuses; then the sizes are what they may be.
        if file.set_len(i64::MAX.unsigned_abs()).is_err() {
            file.set_len(1 << 43).unwrap();
        }
    }
    let repository = in_memory(Parameters::tiny());
    let summary = back_up(&repository, &source);
    give_back(&repository, summary.id, Some(&source), &scratch.join("target"));
    assert_same(&dump(&source), &dump(&scratch.join("target")));
}

#[test]
fn a_directory_that_is_there_already_keeps_what_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    let (source, target) = (scratch.join("source"), scratch.join("target"));
    std::fs::create_dir_all(source.join("shared/new")).unwrap();
    std::fs::write(source.join("shared/file"), "x").unwrap();
    std::fs::create_dir_all(target.join("shared")).unwrap();
    std::fs::set_permissions(target.join("shared"), std::fs::Permissions::from_mode(0o711)).unwrap();
    let repository = in_memory(Parameters::tiny());
    let summary = back_up(&repository, &source);
    give_back(&repository, summary.id, Some(&source), &target);
    assert_eq!(std::fs::read(target.join("shared/file")).unwrap(), b"x");
    assert!(target.join("shared/new").is_dir());
    assert_eq!(std::fs::metadata(target.join("shared")).unwrap().permissions().mode() & 0o7777, 0o711);
}

#[test]
fn what_the_rules_leave_out_is_not_in_the_snapshot_and_the_rules_are() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    for file in ["a/x.tmp", "a/y", "b.TMP", "c"] {
        let path = source.join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, file).expect("a file");
    }
    let given = [("*.tmp", true), ("/nowhere", false), ("!c", false)].map(|(text, ignores_case)| {
        GivenPattern { text: text.into(), ignores_case, origin: "--exclude".into() }
    });
    let patterns = Patterns::new(given.into()).expect("patterns");
    let options = BackupOptions { excludes: Excludes { patterns, ..Excludes::default() }, ..options() };
    let repository = in_memory(Parameters::tiny());
    let findings = Findings::default();
    let paths = [source.clone()];
    let summary = backup_paths(&repository, &paths, Path::new("/"), &options, &findings).expect("a backup");
    findings.assert_none();
    assert_eq!(summary.excluded, 2);
    assert_eq!(summary.snapshot.excludes, ["/nowhere", "!c", "*.tmp"]);
    assert_eq!(snapshot(&repository, summary.id).snapshot.excludes, summary.snapshot.excludes);
    let entry = snapshot(&repository, summary.id);
    let mut kept = Vec::new();
    list(&repository, &entry, Some(source.as_os_str().as_encoded_bytes()), &findings, &mut |path, _| {
        kept.push(String::from_utf8_lossy(path).replace(&format!("{}/", source.display()), ""));
        Ok(())
    })
    .expect("a list");
    findings.assert_none();
    assert_eq!(kept, [&source.display().to_string(), "a", "a/y", "c"]);
}
