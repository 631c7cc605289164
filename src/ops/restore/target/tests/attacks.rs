//! Unit tests with somebody who changes the tree while it is restored: a canary outside must stay as it is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// Operations of the victim, each against an attacker who never rests.
const ROUNDS: usize = 400;
/// Times that a link must have stood in the way before anything is proved.
const SWAPS_MIN: usize = 100;

/// A target and a canary beside it, which the target must never reach.
struct Scene {
    base: tempfile::TempDir,
    canary: PathBuf,
    before: (u32, u32, i64, i64, u64),
}

impl Scene {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let canary = base.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::create_dir(base.path().join("target")).unwrap();
        fs::write(base.path().join("canary file"), b"canary").unwrap();
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o750)).unwrap();
        let mut scene = Self { base, canary, before: (0, 0, 0, 0, 0) };
        scene.before = scene.state();
        scene
    }

    fn target(&self) -> Target {
        Target::open_bounded(&self.base.path().join("target"), 1).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join("target").join(name)
    }

    fn canary_file(&self) -> PathBuf {
        self.base.path().join("canary file")
    }

    fn state(&self) -> (u32, u32, i64, i64, u64) {
        let stat = fs::symlink_metadata(&self.canary).unwrap();
        (stat.mode(), stat.uid(), stat.mtime(), stat.mtime_nsec(), stat.nlink())
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_dir(&self.canary).unwrap().count(), 0, "something was put into the canary");
        assert_eq!(self.state(), self.before, "the canary was changed");
        assert_eq!(fs::read(self.canary_file()).unwrap(), b"canary");
        let stat = fs::symlink_metadata(self.canary_file()).unwrap();
        assert_eq!((stat.mode() & 0o7000, stat.uid()), (0, own(0).uid), "the canary file was changed");
    }
}

/// Tries everything that a restore does in a directory; what fails, fails.
fn restore_something(target: &Target, parent: DirectoryNumber, round: usize) {
    // Modes that would be seen on the canary.
    let metadata = own(0o4711);
    let attributes = plain(&metadata);
    let name = format!("file {round}");
    let name = name.as_bytes();
    if let Ok(file) = target.create_file(parent, name, 4) {
        let identity = file.identity();
        file.write_at(b"evil", 0).unwrap();
        drop(file);
        if let Ok(file) = target.reopen_file(parent, name, identity) {
            assert_eq!(file.identity(), identity);
            file.finish(&attributes, &ALL);
        }
        target.create_hard_link((parent, name), identity, (parent, b"hard link")).ok();
        target.remove_file(parent, b"hard link", identity).ok();
        target.remove_file(parent, name, identity).ok();
    }
    if let Ok(Some(found)) = target.examine(parent, b"below")
        && let temporary = target.temporary_name()
        && let Ok(file) = target.create_file(parent, &temporary, 4)
    {
        target.is_empty_entry(parent, b"below").ok();
        target.replace(parent, (&temporary, file.identity()), b"below", &found).ok();
        target.update_file(parent, b"below", found.identity, &attributes, &ALL).ok();
        target.update_file(parent, b"below", file.identity(), &attributes, &ALL).ok();
        target.remove_file(parent, b"below", file.identity()).ok();
        target.open_found(parent, b"below", &found).ok();
        if let Ok(mut file) = target.open_to_change(parent, b"below", &found) {
            file.begin_change(5, metadata.mtime).ok();
            file.write_at(b"evil", 0).ok();
            file.finish_change(&attributes, &ALL);
        }
        target.remove_file(parent, &temporary, file.identity()).ok();
    }
    if let Ok(made) = target.create_symlink(parent, b"link", b"file", &attributes, &ALL) {
        target.remove_file(parent, b"link", made.identity).ok();
    }
    if let Ok(made) = target.create_special(parent, b"fifo", &NodeKind::Fifo, &attributes, &ALL) {
        target.remove_file(parent, b"fifo", made.identity).ok();
    }
    if let Ok((below, _)) = target.create_directory(parent, b"below") {
        target.create_file(below, name, 4).ok();
        target.finish_directory(below, true, &attributes, &ALL);
    }
    if let Ok(Some(below)) = target.enter(parent, b"below") {
        for name in target.names(below).unwrap_or_default() {
            if let Ok(Some(found)) = target.examine(below, &name) {
                target.remove_found(below, &name, &found).ok();
            }
        }
    }
    target.enter(parent, b"below").ok();
    target.finish_directory(parent, true, &attributes, &ALL);
}

#[test]
fn a_directory_that_is_swapped_for_a_symbolic_link_leads_nowhere() {
    let scene = Scene::new();
    let target = scene.target();
    let outer = target.create_directory(ROOT, b"outer").unwrap().0;
    let inner = target.create_directory(outer, b"inner").unwrap().0;
    let other = target.create_directory(ROOT, b"other").unwrap().0;
    let is_done = AtomicBool::new(false);
    let swaps = AtomicUsize::new(0);
    let links_lost = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let aside = scene.path("aside");
            for (turn, name) in ["outer", "outer/inner", "outer/inner/below"].iter().cycle().enumerate() {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                let attacked = scene.path(name);
                if fs::rename(&attacked, &aside).is_err() {
                    // What could not be put back once is in the way now.
                    fs::remove_file(&aside).or_else(|_| fs::remove_dir_all(&aside)).ok();
                    continue;
                }
                if symlink(&scene.canary, &attacked).is_ok() {
                    std::thread::yield_now();
                    let is_removed = fs::remove_file(&attacked).is_ok();
                    // The victim works on the lowest name, and may replace or remove the link there, but on no other.
                    links_lost.fetch_add(usize::from(!is_removed && turn % 3 != 2), Ordering::Relaxed);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                // It fails where the victim has made the lowest name anew.
                fs::rename(&aside, &attacked).ok();
            }
        });
        for round in 0.. {
            if round >= ROUNDS && swaps.load(Ordering::Relaxed) >= SWAPS_MIN {
                break;
            }
            // So that the way down is walked again.
            target.create_file(other, format!("{round}").as_bytes(), 0).unwrap();
            restore_something(&target, if round % 2 == 0 { inner } else { outer }, round);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    assert_eq!(links_lost.into_inner(), 0, "links that are not the victim's were removed");
    scene.assert_untouched();
    write_file(&target, inner, b"at last", b"nothing is in the way any more").unwrap();
}

#[test]
fn names_that_are_swapped_for_others_change_nothing_else() {
    let scene = Scene::new();
    let target = scene.target();
    let directory = target.create_directory(ROOT, b"outer").unwrap().0;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names = ["link", "fifo", "hard link", "file 0", "file 1", "file 2", "below"];
            for (turn, name) in names.iter().cycle().enumerate() {
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
                let (path, aside) = (scene.path("outer").join(name), scene.path("aside"));
                if fs::rename(&path, &aside).is_err() {
                    continue;
                }
                // The victim may have made the name anew meanwhile, then there is nothing to put.
                match turn % 3 {
                    0 => symlink(scene.canary_file(), &path).ok(),
                    1 => fs::hard_link(scene.canary_file(), &path).ok(),
                    _ => symlink(&scene.canary, &path).ok(),
                };
                std::thread::yield_now();
                fs::remove_file(&path).ok();
                fs::remove_file(&aside).or_else(|_| fs::remove_dir_all(&aside)).ok();
            }
        });
        for round in 0..ROUNDS {
            restore_something(&target, directory, round % 3);
        }
        is_done.store(true, Ordering::Relaxed);
    });
    scene.assert_untouched();
}

#[test]
fn a_directory_that_was_replaced_is_not_entered_again() {
    let scene = Scene::new();
    let target = scene.target();
    let outer = target.create_directory(ROOT, b"outer").unwrap().0;
    let inner = target.create_directory(outer, b"inner").unwrap().0;
    let replace_by: [fn(&Scene, &Path); 3] = [
        |scene, path| symlink(&scene.canary, path).unwrap(),
        |_, path| fs::create_dir(path).unwrap(),
        |_, path| fs::write(path, b"").unwrap(),
    ];
    for replace in replace_by {
        for attacked in ["outer", "outer/inner"] {
            target.create_directory(ROOT, b"other").unwrap();
            let (attacked, aside) = (scene.path(attacked), scene.path("aside"));
            fs::rename(&attacked, &aside).unwrap();
            replace(&scene, &attacked);
            assert_eq!(kind_of(target.create_file(inner, b"file", 1)), ErrorKind::Failed);
            let problems = target.finish_directory(inner, true, &plain(&own(0o711)), &ALL);
            assert_eq!(problems.len(), 1);
            assert!(problems[0].message.contains("something else was put in its place"), "{problems:?}");
            fs::remove_file(&attacked).or_else(|_| fs::remove_dir(&attacked)).unwrap();
            fs::rename(&aside, &attacked).unwrap();
            scene.assert_untouched();
        }
    }
    // The same directory elsewhere is still the same as long as it is open.
    write_file(&target, inner, b"file", b"x").unwrap();
    assert!(scene.path("outer/inner/file").exists());
}

#[test]
fn a_file_is_opened_again_only_if_it_is_the_same_and_has_one_name() {
    let scene = Scene::new();
    let target = scene.target();
    let identity = write_file(&target, ROOT, b"file", b"1234").unwrap();
    let (path, aside) = (scene.path("file"), scene.path("aside"));
    fs::rename(&path, &aside).unwrap();
    let replace_by: [fn(&Scene, &Path); 6] = [
        |scene, path| symlink(scene.canary_file(), path).unwrap(),
        |scene, path| symlink(scene.path("aside"), path).unwrap(),
        |scene, path| fs::hard_link(scene.canary_file(), path).unwrap(),
        |_, path| fs::write(path, b"1234").unwrap(),
        |_, path| rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
        |_, path| fs::create_dir(path).unwrap(),
    ];
    for replace in replace_by {
        replace(&scene, &path);
        assert_eq!(kind_of(target.reopen_file(ROOT, b"file", identity)), ErrorKind::Failed);
        assert_eq!(kind_of(target.remove_file(ROOT, b"file", identity)), ErrorKind::Failed);
        assert!(fs::symlink_metadata(&path).is_ok(), "what is not ours was removed");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }
    fs::hard_link(&aside, &path).unwrap();
    assert_eq!(kind_of(target.reopen_file(ROOT, b"file", identity)), ErrorKind::Failed);
    fs::remove_file(&aside).unwrap();
    target.reopen_file(ROOT, b"file", identity).unwrap().write_at(b"5", 3).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"1235");
    scene.assert_untouched();
}

#[test]
fn only_what_this_run_made_gets_a_further_name() {
    let scene = Scene::new();
    let target = scene.target();
    let identity = write_file(&target, ROOT, b"file", b"ours").unwrap();
    let (path, aside) = (scene.path("file"), scene.path("aside"));
    fs::rename(&path, &aside).unwrap();
    let link = || target.create_hard_link((ROOT, b"file"), identity, (ROOT, b"second"));
    assert_eq!(kind_of(link()), ErrorKind::NotFound);
    let replace_by: [fn(&Scene, &Path); 3] = [
        |scene, path| fs::hard_link(scene.canary_file(), path).unwrap(),
        |scene, path| symlink(scene.canary_file(), path).unwrap(),
        |scene, path| symlink(scene.path("aside"), path).unwrap(),
    ];
    for replace in replace_by {
        replace(&scene, &path);
        assert_eq!(kind_of(link()), ErrorKind::Failed);
        assert_eq!(existing(&target, ROOT, b"second"), None);
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(fs::symlink_metadata(scene.canary_file()).unwrap().nlink(), 1);
    fs::rename(&aside, &path).unwrap();
    link().unwrap();
    assert_eq!(fs::read(scene.path("second")).unwrap(), b"ours");
    scene.assert_untouched();
}
