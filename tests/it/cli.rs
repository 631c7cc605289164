//! The program as users meet it: transcripts of commands with what they print and how they end, and what no transcript
//! can hold: signals, closed pipes, programs that run at the same time.

mod documented;
mod processes;
mod transcript;

use std::collections::BTreeSet;

/// A test for each transcript, and the list that all of them must be on.
macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                transcript::run(stringify!($name));
            }
        )*

        const LISTED: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts!(
    backup,
    backup_options,
    bad_repositories,
    check,
    check_damage,
    cold,
    completions_and_man,
    config,
    copy,
    credentials,
    damage,
    default_repository,
    diff,
    dump,
    excludes,
    files_from,
    find,
    forget,
    full_disk,
    history,
    info,
    init,
    json,
    key_damage,
    key_sheets,
    keys,
    locations,
    ls,
    mount,
    mounts,
    odd_names,
    prune,
    restore,
    restore_database,
    restore_in_place,
    restore_options,
    run,
    sessions,
    snapshots,
    sources,
    stats,
    streams,
    tag,
    unprivileged,
    unreachable_sources,
    usage,
);

#[test]
fn every_transcript_is_run() {
    let files: BTreeSet<String> = std::fs::read_dir(transcript::FOLDER)
        .expect("the folder of transcripts")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    let listed = LISTED.iter().map(|name| format!("{}.txt", name.replace('_', "-"))).collect();
    assert_eq!(files, listed);
}
