//! The main job, small: a tree goes into a repository twice and comes back.

use packstone::format::config::Parameters;
use packstone::format::snapshot::Statistic;
use packstone::ops::backup::BackupSummary;
use packstone::ops::list::list;

use crate::engine::{Findings, back_up, give_back, in_memory, statistic, tree_of};
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
