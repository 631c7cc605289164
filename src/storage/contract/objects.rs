//! Promises about single objects: putting, getting, ranges, deleting.

use bytes::Bytes;

use super::{Probe, expect, expect_refused, sample};
use crate::base::{ErrorKind, Result, Wrap};
use crate::storage::{NAME_PART_BYTES_MAX, NAME_PARTS_MAX};

const LARGE_BYTES: u32 = 5 << 20;

pub(super) fn read_back(probe: &Probe<'_>) -> Result<()> {
    let bytes = sample(1, 1000);
    let name = probe.put("back/one", &bytes)?;
    let found = probe.storage.get(&name, u64::MAX)?;
    expect(found == bytes, || "the bytes are others")?;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let name = probe.put("back/every-byte", &every_byte)?;
    expect(probe.storage.get(&name, 256)? == every_byte, || "some byte is not kept")
}

pub(super) fn empty(probe: &Probe<'_>) -> Result<()> {
    let none = probe.name("empty/no-slice")?;
    probe.storage.put_if_absent(&none, &[])?;
    let one = probe.put("empty/one-slice", &[])?;
    for name in [&none, &one] {
        expect(probe.storage.get(name, 0)?.is_empty(), || format!("object {name} has bytes"))?;
        expect(probe.storage.get_range(name, 0, 0)?.is_empty(), || format!("a range of {name} has bytes"))?;
    }
    let listed = probe.list("empty", None)?;
    expect(listed.len() == 2 && listed.iter().all(|object| object.size_bytes == 0), || {
        format!("two empty objects are listed as {listed:?}")
    })?;
    let again = probe.storage.put_if_absent(&none, &[Bytes::from_static(b"more")]);
    expect_refused(again, ErrorKind::Exists, "a put to the name of an empty object")
}

pub(super) fn many_slices(probe: &Probe<'_>) -> Result<()> {
    // More than the 1024 slices that one system call takes, of every length from none to 9 bytes.
    let body: Vec<Bytes> = (0..3000).map(|index| Bytes::from(sample(index, index % 10))).collect();
    let name = probe.name("slices/many")?;
    probe.storage.put_if_absent(&name, &body)?;
    probe.expect_bytes(&name, &body)?;
    let body = [Bytes::new(), Bytes::from_static(b"only"), Bytes::new()];
    let name = probe.name("slices/empty-around")?;
    probe.storage.put_if_absent(&name, &body)?;
    probe.expect_bytes(&name, &body)
}

pub(super) fn large(probe: &Probe<'_>) -> Result<()> {
    let bytes = Bytes::from(sample(2, LARGE_BYTES));
    let cut = bytes.len() / 3;
    let body = [bytes.slice(..cut), bytes.slice(cut..)];
    let name = probe.name("large/one")?;
    probe.storage.put_if_absent(&name, &body)?;
    probe.expect_bytes(&name, &body)?;
    let end = probe.storage.get_range(&name, u64::from(LARGE_BYTES) - 10, 10)?;
    expect(bytes.ends_with(&end), || "its last bytes are others")
}

pub(super) fn longest_name(probe: &Probe<'_>) -> Result<()> {
    let part = "z".repeat(NAME_PART_BYTES_MAX);
    let name = probe.put(&[part.as_str(); NAME_PARTS_MAX - 1].join("/"), b"far below")?;
    expect(probe.storage.get(&name, 9)? == b"far below", || "the bytes are others")?;
    let listed = probe.list(&part, None)?;
    expect(listed.iter().map(|object| &object.name).eq([&name]), || format!("it is listed as {listed:?}"))
}

pub(super) fn absent(probe: &Probe<'_>) -> Result<()> {
    let present = probe.put("absent/present", b"here")?;
    for text in ["absent/presen", "absent/present-", "absent/zzz", "nowhere/a", "nowhere/at/all"] {
        let name = probe.name(text)?;
        let (storage, missing) = (probe.storage, ErrorKind::NotFound);
        expect_refused(storage.get(&name, u64::MAX), missing, &format!("a get of the absent {name}"))?;
        expect_refused(storage.get_range(&name, 0, 1), missing, &format!("a range of the absent {name}"))?;
        expect_refused(storage.delete(&name), missing, &format!("a delete of the absent {name}"))?;
    }
    expect(probe.list("nowhere", None)?.is_empty(), || "a folder that is not there has objects")?;
    expect(probe.storage.get(&present, 4)? == b"here", || "the object beside them changed")
}

pub(super) fn taken(probe: &Probe<'_>) -> Result<()> {
    let first = sample(3, 100);
    let name = probe.put("taken/one", &first)?;
    for (what, bytes) in [
        ("a put of longer bytes", sample(4, 200)),
        ("a put of shorter bytes", sample(5, 50)),
        ("a put of the same bytes", first.clone()),
        ("a put of no bytes", Vec::new()),
    ] {
        let again = probe.storage.put_if_absent(&name, &[Bytes::from(bytes)]);
        expect_refused(again, ErrorKind::Exists, what)?;
        let found = probe.storage.get(&name, u64::MAX)?;
        expect(found == first, || format!("{what} changed the object"))?;
    }
    let listed = probe.list("taken", None)?;
    expect(listed.iter().map(|object| object.size_bytes).eq([100]), || format!("it is listed as {listed:?}"))
}

pub(super) fn ranges(probe: &Probe<'_>) -> Result<()> {
    let bytes = sample(6, 100_000);
    let name = probe.put("ranges/one", &bytes)?;
    for (begin, length) in [
        (0, 1),
        (0, 4096),
        (1, 4096),
        (4095, 2),
        (33_333, 44_444),
        (99_999, 1),
        (90_000, 10_000),
        (0, 100_000),
        (0, 0),
        (500, 0),
        (100_000, 0),
    ] {
        let found = probe.storage.get_range(&name, begin as u64, length)?;
        let expected = bytes.get(begin..begin + length);
        expect(Some(found.as_slice()) == expected, || {
            format!("{length} bytes from {begin} are {} bytes and others", found.len())
        })?;
    }
    Ok(())
}

pub(super) fn ranges_beyond_the_end(probe: &Probe<'_>) -> Result<()> {
    let name = probe.put("beyond/one", &sample(7, 1000))?;
    for (offset, length) in [(999, 2), (0, 1001), (1000, 1), (1001, 1), (500, 1 << 20), (1 << 40, 1)] {
        let result = probe.storage.get_range(&name, offset, length);
        let what = format!("a range of {length} bytes from {offset} of 1000");
        expect_refused(result, ErrorKind::Damaged, &what)?;
    }
    let name = probe.put("beyond/empty", &[])?;
    expect_refused(probe.storage.get_range(&name, 0, 1), ErrorKind::Damaged, "a range of an empty object")
}

pub(super) fn bound(probe: &Probe<'_>) -> Result<()> {
    let bytes = sample(8, 1000);
    let name = probe.put("bound/one", &bytes)?;
    for size_bytes_max in [0, 1, 999] {
        let what = format!("a get of 1000 bytes where {size_bytes_max} are allowed");
        expect_refused(probe.storage.get(&name, size_bytes_max), ErrorKind::Damaged, &what)?;
    }
    for size_bytes_max in [1000, 1001] {
        let found = probe.storage.get(&name, size_bytes_max)?;
        expect(found == bytes, || format!("a get with {size_bytes_max} allowed gives other bytes"))?;
    }
    Ok(())
}

pub(super) fn deleted(probe: &Probe<'_>) -> Result<()> {
    let name = probe.put("deleted/one", b"first")?;
    let beside = probe.put("deleted/one-beside", b"beside")?;
    let below = probe.put("deleted/below/one", b"below")?;
    for round in 0_u8..3 {
        probe.storage.delete(&name)?;
        expect_refused(probe.storage.get(&name, 9), ErrorKind::NotFound, "a get after the delete")?;
        expect_refused(
            probe.storage.get_range(&name, 0, 1),
            ErrorKind::NotFound,
            "a range after the delete",
        )?;
        expect_refused(probe.storage.delete(&name), ErrorKind::NotFound, "a second delete")?;
        let listed = probe.list("deleted", None)?;
        expect(listed.iter().map(|object| &object.name).eq([&below, &beside]), || {
            format!("the other two objects are listed as {listed:?}")
        })?;
        probe.storage.put_if_absent(&name, &[Bytes::copy_from_slice(&[round])])?;
        expect(probe.storage.get(&name, 1)? == [round], || "the new object has other bytes")?;
    }
    expect(probe.storage.get(&beside, 6)? == b"beside", || "the object beside it changed")?;
    probe.storage.delete(&below)?;
    probe.put("deleted/below/two", b"anew").map(drop).wrap(|| "a folder that was emptied takes no object")
}

pub(super) fn barrier(probe: &Probe<'_>) -> Result<()> {
    probe.storage.barrier()?;
    let name = probe.put("barrier/one", b"kept")?;
    probe.storage.barrier()?;
    probe.storage.barrier()?;
    expect(probe.storage.get(&name, 4)? == b"kept", || "the bytes are others after it")
}
