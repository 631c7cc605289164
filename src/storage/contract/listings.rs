//! Promises about listings.

use super::{Probe, expect, expect_refused};
use crate::base::{Error, ErrorKind, Result};
use crate::storage::{Listed, ObjectName};

/// In ascending order of the bytes of whole names: `-` comes before `/`, which comes before the digits.
const ORDERED: [&str; 10] = ["0", "a-b", "a-b-c/x", "a/0", "a/b", "a/b-c", "a/b0", "a0", "b", "zz/z"];

/// Puts an object under each name of `ORDERED`, of as many bytes as stand before it there, last ones first.
fn put_ordered(probe: &Probe<'_>, folder: &str) -> Result<Vec<Listed>> {
    let mut objects = Vec::new();
    for (size, text) in ORDERED.iter().enumerate().rev() {
        let name = probe.put(&format!("{folder}/{text}"), &vec![7; size])?;
        objects.push(Listed { name, size_bytes: size as u64 });
    }
    objects.reverse();
    Ok(objects)
}

pub(super) fn order(probe: &Probe<'_>) -> Result<()> {
    let expected = put_ordered(probe, "order")?;
    let listed = probe.list("order", None)?;
    expect(listed == expected, || format!("{expected:?} is listed as {listed:?}"))?;
    let all = probe.list_any(probe.folder.as_str(), None)?;
    expect(all.is_sorted_by(|one, next| one.name < next.name), || {
        format!("the folder above is listed out of order or twice: {all:?}")
    })?;
    expect(expected.iter().all(|object| all.contains(object)), || {
        format!("the folder above is listed without some of {expected:?}: {all:?}")
    })
}

pub(super) fn start_after(probe: &Probe<'_>) -> Result<()> {
    let objects = put_ordered(probe, "after")?;
    let mut starts: Vec<ObjectName> = objects.iter().map(|object| object.name.clone()).collect();
    // Names that are not there: of folders, between objects, before and after all of them, inside and outside.
    for text in [
        "a/before",
        "after",
        "after-all/x",
        "after/00",
        "after/a",
        "after/a-b-c",
        "after/a/00",
        "after/zzz",
        "b/c",
    ] {
        starts.push(probe.name_never_put(text)?);
    }
    for start in &starts {
        let expected: Vec<&Listed> = objects.iter().filter(|object| object.name > *start).collect();
        let listed = probe.list("after", Some(start))?;
        expect(listed.iter().eq(expected.iter().copied()), || {
            format!("after {start} should come {expected:?} and come {listed:?}")
        })?;
    }
    Ok(())
}

pub(super) fn other_folders(probe: &Probe<'_>) -> Result<()> {
    let inside = probe.put("ab/inside", b"1")?;
    let deeper = probe.put("ab/c/deeper", b"2")?;
    for beside in ["ab-c/beside", "ab0/beside", "abc/beside", "a/beside", "ab-", "abcd", "z/ab/beside"] {
        probe.put(beside, b"3")?;
    }
    let listed = probe.list("ab", None)?;
    expect(listed.iter().map(|object| &object.name).eq([&deeper, &inside]), || {
        format!("{deeper} and {inside} are listed as {listed:?}")
    })?;
    let listed = probe.list("ab/c", None)?;
    expect(listed.iter().map(|object| &object.name).eq([&deeper]), || {
        format!("{deeper} is listed as {listed:?}")
    })?;
    let beside = probe.name_beside("one")?;
    probe.storage.put_if_absent(&beside, &[])?;
    let all = probe.list_any(probe.folder.as_str(), None)?;
    expect(!all.is_empty() && all.iter().all(|object| object.name.folder() == probe.folder.as_str()), || {
        format!("{} is listed with other folders: {all:?}", probe.folder)
    })
}

pub(super) fn after_put(probe: &Probe<'_>) -> Result<()> {
    let mut expected = Vec::new();
    // From both ends, in the folder itself and in new ones below it.
    for text in ["m", "a", "z/z", "b/b", "y", "b/a"] {
        expected.push(probe.put(&format!("seen/{text}"), text.as_bytes())?);
        expected.sort();
        let listed = probe.list("seen", None)?;
        expect(listed.iter().map(|object| &object.name).eq(&expected), || {
            format!("after the put of {text} are there {expected:?} and are listed {listed:?}")
        })?;
    }
    Ok(())
}

pub(super) fn visitor_error(probe: &Probe<'_>) -> Result<()> {
    for text in ["error/a", "error/b", "error/c/d"] {
        probe.put(text, b"")?;
    }
    let mut visits = 0;
    let folder = format!("{}/error", probe.folder);
    let result = probe.storage.list(&folder, None, &mut |_| {
        visits += 1;
        if visits == 2 { Err(Error::new(ErrorKind::Interrupted, "enough")) } else { Ok(()) }
    });
    expect_refused(result, ErrorKind::Interrupted, "a listing that its visitor ended")?;
    expect(visits == 2, || format!("its visitor was called {visits} times, and failed the second time"))
}

pub(super) fn visitor_puts(probe: &Probe<'_>) -> Result<()> {
    probe.put("busy/a", b"1")?;
    probe.put("busy/b", b"2")?;
    let folder = format!("{}/busy", probe.folder);
    let mut visits = 0;
    probe.storage.list(&folder, None, &mut |object| {
        visits += 1;
        probe.put(&format!("done/{visits}"), &probe.storage.get(&object.name, 1)?)?;
        probe.storage.delete(&object.name)
    })?;
    expect(visits == 2, || format!("two objects were visited {visits} times"))?;
    expect(probe.list("busy", None)?.is_empty(), || "what was deleted is listed")?;
    let sizes = probe.list("done", None)?.iter().map(|object| object.size_bytes).collect::<Vec<_>>();
    expect(sizes == [1, 1], || format!("of two objects of one byte are listed the sizes {sizes:?}"))
}
