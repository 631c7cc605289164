//! Unit tests of commit keys.

use super::*;

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        time: Timestamp { seconds: 1_800_000_000, nanoseconds: 5 },
        duration_milliseconds: 1234,
        host: "svc-1".into(),
        user: Some("root".into()),
        job: None,
        tags: vec!["a".into(), "b".into()],
        description: Some("before the upgrade".into()),
        paths: vec![b"/etc".to_vec(), b"/srv/\xff".to_vec()],
        excludes: vec!["*.tmp".into()],
        program: "packstone 0.1.0".into(),
        parent: Some(SessionId([1; 16])),
        generation: 7,
        origin: Some(Origin {
            repository: RepositoryId([2; 16]),
            snapshot: SessionId([3; 16]),
            time: Timestamp::default(),
        }),
        tree: ChunkId([4; 32]),
        total_nodes: 10,
        total_bytes: 1 << 40,
        sources: vec![SourceStatus {
            path: b"/etc".to_vec(),
            outcome: SourceOutcome::Partial,
            nodes: 9,
            bytes: 8,
            findings: 1,
            duration_milliseconds: 7,
            name: Some("configs".into()),
            kind: Some("postgres".into()),
            consistency: Some("one transaction".into()),
            carried: Some(Carried {
                snapshot: SessionId([6; 16]),
                time: Timestamp { seconds: 1_799_900_000, nanoseconds: 0 },
            }),
            message: Some("refused".into()),
            kept: vec![(99, vec![0x04])],
        }],
        findings: 1,
        expected_next_seconds: Some(86_400),
        sequence: 3,
        previous: Some(ContentName([5; 32])),
        statistics: Statistics(Statistic::ALL.into_iter().zip(1..).collect()),
        is_selective: true,
        kept: vec![(98, vec![0x03])],
    }
}

#[test]
fn commit_keys_are_read_back_as_they_were() {
    let mut commits = vec![Commit::Snapshot(Box::new(snapshot()))];
    let mut bare = snapshot();
    bare.user = None;
    bare.tags.clear();
    bare.description = None;
    bare.parent = None;
    bare.origin = None;
    bare.previous = None;
    bare.expected_next_seconds = None;
    bare.statistics = Statistics::default();
    bare.is_selective = false;
    bare.sources = vec![SourceStatus { path: b"/etc".to_vec(), ..SourceStatus::default() }];
    commits.push(Commit::Snapshot(Box::new(bare)));
    for reason in [EndReason::Closed, EndReason::Failed, EndReason::Fenced] {
        commits.push(Commit::End(End { reason, time: Timestamp::default(), host: "svc-2".into() }));
    }
    for commit in commits {
        assert_eq!(Commit::decode(&commit.encode()), Ok(commit));
    }
}

#[test]
fn every_rule_of_the_chapter_is_enforced() {
    let rejected = |bytes: &[u8]| Commit::decode(bytes).expect_err("must be refused").rule;
    assert_eq!(rejected(&[0xa0]), "SNAP-1");
    assert_eq!(rejected(&[0xa1, 0, 3]), "SNAP-1");
    assert_eq!(rejected(&[0xa4, 0, 2, 1, 0x82, 0, 0, 3, 0x60, 23, 4]), "SNAP-2");
    let mut bad = snapshot().encode();
    let position =
        bad.windows(6).position(|window| window == b"/etc\x01\x02").expect("the outcome behind the path");
    bad[position + 5] = 4;
    assert_eq!(rejected(&bad), "SNAP-3");
    let rejected = |snapshot: Snapshot| {
        Commit::decode(&Commit::Snapshot(Box::new(snapshot)).encode()).expect_err("must be refused").rule
    };
    let mut unsorted = snapshot();
    unsorted.tags.swap(0, 1);
    assert_eq!(rejected(unsorted), "SNAP-4");
    let mut twice = snapshot();
    twice.paths = vec![b"/a".to_vec(), b"/a".to_vec()];
    assert_eq!(rejected(twice), "SNAP-4");
    let mut critical = snapshot();
    critical.is_selective = false;
    critical.kept = vec![(24, vec![0])];
    assert_eq!(rejected(critical), "CBOR-12");
}

#[test]
fn a_number_of_a_later_version_is_passed_over() {
    let mut reader = Reader::new(&[0xa2, 0, 5, 0x18, 99, 1]);
    let statistics = decode_statistics(&mut reader).expect("a good map");
    assert_eq!(statistics.0, BTreeMap::from([(Statistic::FilesNew, 5)]));
}
