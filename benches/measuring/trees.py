"""Trees of files: how large they are, how a day changes them, and whether two are the same."""
import os
import shutil
import stat
import subprocess


def measure(top):
    """Number and bytes of the files below a folder."""
    count = size_bytes = 0
    for folder, _, names in os.walk(top):
        for name in names:
            count += 1
            size_bytes += os.lstat(os.path.join(folder, name)).st_size
    return count, size_bytes


def remove(path):
    """Removes whatever is there, as fast as it goes."""
    if os.path.lexists(path):
        subprocess.run(["rm", "-rf", "--", path], check=True)


def copy(source, target):
    """Copies a tree with all metadata; what was at the target is gone."""
    remove(target)
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    subprocess.run(["cp", "-a", "--", source, target], check=True)


def paths(top):
    """All paths below a folder, sorted, folders included."""
    found = []
    for folder, folders, names in os.walk(top):
        found.extend(os.path.relpath(os.path.join(folder, name), top) for name in folders + names)
    return sorted(found)


def apply_day(top, overlay, removed):
    """Makes a tree what it is a day later: files of the overlay take the place of those of the same path, in place, so
    that a file that did not change keeps its inode number and times; `removed` are paths that go."""
    for folder, folders, names in os.walk(overlay):
        below = os.path.relpath(folder, overlay)
        os.makedirs(os.path.join(top, below), exist_ok=True)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in names + links:
            changed, target = os.path.join(folder, name), os.path.join(top, below, name)
            information = os.lstat(changed)
            if stat.S_ISREG(information.st_mode) and os.path.isfile(target) and not os.path.islink(target):
                shutil.copyfile(changed, target)
                shutil.copystat(changed, target)
            else:
                remove(target)
                subprocess.run(["cp", "-a", "--", changed, target], check=True)
            if os.geteuid() == 0:
                os.lchown(target, information.st_uid, information.st_gid)
    for path in removed:
        remove(os.path.join(top, path))


def removed_paths(corpus):
    """The paths that go on the second day: lines of removed.txt, or of deleted.txt."""
    for name in ("removed.txt", "deleted.txt"):
        path = os.path.join(corpus, name)
        if os.path.exists(path):
            with open(path) as file:
                return [line for line in file.read().split("\n") if line]
    return []


def _facts(path):
    information = os.lstat(path)
    kind = stat.S_IFMT(information.st_mode)
    facts = [kind, information.st_uid, information.st_gid]
    if stat.S_ISLNK(kind):
        return facts + [os.readlink(path)]
    facts += [stat.S_IMODE(information.st_mode), information.st_mtime_ns]
    if stat.S_ISREG(kind):
        facts.append(information.st_size)
    return facts


def _same_content(one, other):
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        while True:
            ours, theirs = first.read(1 << 20), second.read(1 << 20)
            if ours != theirs:
                return False
            if not ours:
                return True


def differences(source, restored):
    """What a restored tree is not: number of paths with another content or missing, and with other metadata (type, owner,
    mode, time of change to the nanosecond, size, target of links)."""
    ours, theirs = paths(source), paths(restored)
    content = len(set(ours) ^ set(theirs))
    metadata = 0
    for path in set(ours) & set(theirs):
        one, other = os.path.join(source, path), os.path.join(restored, path)
        facts = _facts(one)
        metadata += facts != _facts(other)
        if stat.S_ISREG(facts[0]):
            content += not (os.path.isfile(other) and _same_content(one, other))
    return content, metadata


def same_file(one, other):
    """Whether two files hold the same bytes."""
    return os.path.isfile(other) and _same_content(one, other)
