//! The main job, small: a tree goes into a repository twice and comes back.

use std::sync::Arc;

use packstone::base::host::Host;
use packstone::base::monitor::{Finding, Monitor};
use packstone::crypto::Secret;
use packstone::crypto::slot::Credential;
use packstone::format::config::Parameters;
use packstone::format::slot::PasswordCost;
use packstone::format::snapshot::Statistic;
use packstone::ops::backup::{BackupOptions, backup_paths};
use packstone::ops::list::list;
use packstone::ops::restore::{RestoreOptions, restore};
use packstone::repository::{InitOptions, NewSlot, Repository};
use packstone::storage::memory::Memory;

use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::scratch::Scratch;

/// Remembers findings, to show them when a test fails.
#[derive(Default)]
pub struct Findings(std::sync::Mutex<Vec<String>>);

impl Monitor for Findings {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.to_string());
    }
}

impl Findings {
    pub fn assert_none(&self) {
        assert_eq!(*self.0.lock().unwrap(), Vec::<String>::new());
    }
}

pub fn key() -> Credential {
    Credential::KeyFile(Secret::new([7; 32]))
}

pub fn repository(parameters: Parameters) -> Repository {
    let options = InitOptions {
        parameters,
        slots: vec![NewSlot { credential: key(), label: String::new() }],
        password_cost: PasswordCost::RECOMMENDED,
        cache_folder: None,
    };
    Repository::init(Arc::new(Memory::new()), options).unwrap()
}

#[test]
fn a_tree_comes_back_and_its_second_snapshot_adds_next_to_nothing() {
    for parameters in [Parameters::tiny(), Parameters::default()] {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        generate(1, &source, Size::Medium);
        let repository = repository(parameters);
        let findings = Findings::default();
        let options = BackupOptions { workers: 2, ..BackupOptions::new(Host::current()) };
        let back_up = || {
            backup_paths(&repository, std::slice::from_ref(&source), scratch.path(), &options, &findings)
                .unwrap()
        };
        let first = back_up();
        findings.assert_none();
        assert_eq!(first.snapshot.findings, 0);
        let second = back_up();
        assert_eq!(second.snapshot.statistics.0[&Statistic::DataChunksAdded], 0);
        // The folder for temporary files, above the source, changes with every test beside this one.
        let parents = source.components().count() as u64;
        assert!(second.snapshot.statistics.0[&Statistic::TreeChunksAdded] < parents);
        assert_eq!(second.snapshot.generation, 2);
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.visible.len(), 2);
        let latest = snapshots.find("latest").unwrap();
        assert_eq!(latest.id, second.id);
        let mut listed = 0;
        list(&repository, latest, None, &findings, &mut |_, _| {
            listed += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(listed, latest.snapshot.total_nodes);
        let target = scratch.join("target");
        let path = source.as_os_str().as_encoded_bytes();
        let restored =
            restore(&repository, latest, Some(path), &target, &RestoreOptions::default(), &findings).unwrap();
        findings.assert_none();
        assert_eq!(restored.findings, 0);
        assert_same(&dump(&source), &dump(&target));
    }
}
