//! What users write, and the tree that it means.

use super::*;

fn planned(paths: &[&str]) -> Result<(Planned, Vec<PathBuf>)> {
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    plan(&paths, Path::new("/home/user"))
}

fn refused(paths: &[&str]) -> String {
    let error = planned(paths).expect_err("must be refused");
    assert_eq!(error.kind(), ErrorKind::Usage);
    error.to_string()
}

fn parent(path: &str, children: &[(&str, Planned)]) -> Planned {
    let children = children.iter().map(|(name, child)| (name.as_bytes().to_vec(), child.clone())).collect();
    Planned::Directory(PlannedDirectory { path: PathBuf::from(path), children })
}

#[test]
fn paths_are_made_absolute_by_their_letters() {
    for (given, absolute) in [
        ("/a", "/a"),
        ("/a/", "/a"),
        ("//a///b//", "/a/b"),
        ("/./a/./b/.", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../a", "/a"),
        ("/a/b/c/../../d", "/a/d"),
        ("x", "/home/user/x"),
        ("./x", "/home/user/x"),
        (".", "/home/user"),
        ("..", "/home"),
        ("../other", "/home/other"),
        ("../../../..", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/...", "/..."),
        ("/a b/\nc", "/a b/\nc"),
    ] {
        let (_, sources) = planned(&[given]).expect("a plan");
        assert_eq!(sources, [PathBuf::from(absolute)], "{given:?}");
    }
}

#[test]
fn sources_stand_under_their_parents() {
    let (root, sources) = planned(&["/var/lib/b", "x", "/var/log", "/var/lib/a"]).expect("a plan");
    let wanted = ["/var/lib/b", "/home/user/x", "/var/log", "/var/lib/a"].map(PathBuf::from);
    assert_eq!(sources, wanted, "in the given order");
    let library = parent("/var/lib", &[("a", Planned::Path), ("b", Planned::Path)]);
    let variable = parent("/var", &[("lib", library), ("log", Planned::Path)]);
    let home = parent("/home", &[("user", parent("/home/user", &[("x", Planned::Path)]))]);
    assert_eq!(root, parent("/", &[("home", home), ("var", variable)]));
}

#[test]
fn the_root_itself_is_a_source_and_no_source_is_an_empty_tree() {
    assert_eq!(planned(&["/"]).expect("a plan"), (Planned::Path, vec![PathBuf::from("/")]));
    assert_eq!(planned(&[]).expect("a plan"), (parent("/", &[]), vec![]));
}

#[test]
fn two_sources_never_claim_one_path() {
    let same = |one, other| format!("the sources {one} and {other} are the same: leave out one of them");
    assert_eq!(refused(&["/a/b", "/c", "/a/../a/b"]), same("/a/b", "/a/../a/b"));
    assert_eq!(refused(&["/home/user/x", "x"]), same("/home/user/x", "x"));
    assert_eq!(refused(&["x", "y", "x"]), "the source x is named twice: leave out one of them");
    let within = |inner, outer| {
        format!(
            "the source {inner} lies in the source {outer}, with which it is backed up: leave out {inner}"
        )
    };
    assert_eq!(refused(&["/a/b/c", "/a"]), within("/a/b/c", "/a"));
    assert_eq!(refused(&["/a", "/a/b/c"]), within("/a/b/c", "/a"));
    assert_eq!(refused(&["/", "/a"]), within("/a", "/"));
    assert_eq!(refused(&["x", "/home/user"]), within("x", "/home/user"));
    assert_eq!(refused(&["/a", "/a-b", "/a b", "/a/z"]), within("/a/z", "/a"));
    planned(&["/a", "/ab", "/a-b", "/a b", "/b/a"]).expect("neighbours are no relatives");
}

#[test]
fn paths_that_no_file_has_are_refused() {
    assert_eq!(refused(&[""]), "the path of a source is empty");
    assert_eq!(refused(&["/a\0b"]), "the path /a\\x00b has a NUL");
    let long = format!("/{}", "n".repeat(256));
    assert!(refused(&[&long]).ends_with("has a name of more than 255 bytes"));
    planned(&[&format!("/{}", "n".repeat(255))]).expect("the longest name");
    assert!(refused(&[&"/d".repeat(DEPTH_MAX + 1)]).ends_with("is deeper than 2000 directories"));
    let relative = plan(&[PathBuf::from("x")], Path::new("")).expect_err("no current directory");
    assert_eq!(relative.kind(), ErrorKind::Usage);
    plan(&[PathBuf::from("/x")], Path::new("")).expect("an absolute path needs no current directory");
}

#[test]
fn names_may_be_any_bytes_and_paths_longer_than_the_system_takes() {
    let odd = PathBuf::from(OsStr::from_bytes(b"/\xff\xfe/x"));
    let (root, sources) = plan(std::slice::from_ref(&odd), Path::new("/")).expect("a plan");
    assert_eq!(sources, [odd]);
    let Planned::Directory(root) = root else { panic!("a parent") };
    assert_eq!(root.children.keys().collect::<Vec<_>>(), [b"\xff\xfe"]);

    let deep = "/d".repeat(DEPTH_MAX);
    let (mut here, sources) = planned(&[&deep, "/e/../d2"]).expect("a plan");
    assert_eq!(sources[0], PathBuf::from(&deep));
    let mut depth = 0;
    while let Planned::Directory(directory) = here {
        here = directory.children.into_values().next().expect("a child");
        depth += 1;
    }
    assert_eq!(depth, DEPTH_MAX);
    drop(planned(&[&deep]).expect("a plan that is dropped whole"));
}

#[test]
fn streams_are_stored_under_names() {
    let names = |filename: &str| -> Vec<String> {
        let names = stream_path(filename).expect("names");
        names.into_iter().map(|name| String::from_utf8(name).expect("text")).collect()
    };
    assert_eq!(names("db.sql"), ["db.sql"]);
    assert_eq!(names("/db.sql"), ["db.sql"]);
    assert_eq!(names("/dumps/postgres/app.sql"), ["dumps", "postgres", "app.sql"]);
    assert_eq!(names("dumps/städte.sql"), ["dumps", "städte.sql"]);
    let long = "n".repeat(256);
    let deep = "d/".repeat(DEPTH_MAX) + "d";
    for bad in ["", "/", "//a", "a/", "a//b", ".", "..", "/..", "a/../b", "a/./b", "a\0b", &long, &deep] {
        assert_eq!(stream_path(bad).expect_err(bad).kind(), ErrorKind::Usage);
    }
}

#[test]
fn what_lies_in_another_path_of_a_list_is_part_of_it() {
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    let joined = |named: &[&str], listed: &[&str]| {
        join_lists(paths(named), paths(listed), Path::new("/here")).expect("sources")
    };
    assert_eq!(joined(&[], &["/b", "/a/x", "/a", "/a/y/z", "/b", "/./a"]), paths(&["/b", "/a"]));
    assert_eq!(joined(&["/a", "x"], &["/a/b", "/here/x", "/here", "c"]), paths(&["/a", "/here"]));
    assert_eq!(joined(&["/a/b"], &["/a/b", "/a/bc", "/a/b/c"]), paths(&["/a/b", "/a/bc"]));
    assert_eq!(joined(&["/a", "/a/b"], &["/c"]), paths(&["/a", "/a/b", "/c"]));
    assert_eq!(joined(&[], &["/", "/a"]), paths(&["/"]));
    assert!(join_lists(paths(&[]), paths(&[""]), Path::new("/here")).is_err());
}
