"""The corpora: made from a seed, so that everybody measures the same files.

What must hold: whatever is made depends on the seed and the size alone, but for `volumes` and `dumps`, into which the
database writes times, and into its files a name of its own. Each corpus is a folder with `day1`, `day2` (only what changed),
`removed.txt` and `corpus.json`; `dumps` has streams `day1.sql`, `day2.sql`, ... instead.
"""
import filecmp
import json
import os
import random
import subprocess

from measuring import database, trees
from measuring.process import say

SEED = 71_881
ALL = ["source", "tiny", "volumes", "dumps", "blob"]
# Of the files and rows of a full size.
SIZES = {"full": 1.0, "small": 0.02, "minimal": 0.0005}
FIRST_DAY = 1_700_000_000
SECOND_DAY = FIRST_DAY + 86_400


def make(names, folder, size):
    """Makes the corpora that are not there yet; gives those that can be had, with what is said of them."""
    made = {}
    for name in names:
        top = os.path.join(folder, "%s-%s" % (name, size))
        about = os.path.join(top, "corpus.json")
        if not os.path.exists(about):
            say("making the corpus %s" % name)
            trees.remove(top)
            os.makedirs(top)
            facts = MAKERS[name](top, SIZES[size])
            if facts is None:
                trees.remove(top)
                continue
            with open(about, "w") as file:
                json.dump({"corpus": name, "size": size, "seed": SEED, **facts}, file)
        with open(about) as file:
            made[name] = (top, json.load(file))
    return made


def _write(path, content, time):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, (time, time))


def _date_folders(top, time):
    for folder, _, _ in os.walk(top, topdown=False):
        os.utime(folder, (time, time))


def _facts(top, one_file):
    count, size_bytes = trees.measure(os.path.join(top, "day1"))
    return {"files": count, "bytes": size_bytes, "one_file": one_file}


def _removed(top, paths):
    with open(os.path.join(top, "removed.txt"), "w") as file:
        file.writelines(path + "\n" for path in paths)


class _Words:
    """Names and lines as programs have them: few come often, most seldom."""

    KEYWORDS = "fn let mut pub use impl struct enum match if else for in return self Ok Err Some None Vec String".split()
    SYLLABLES = "ba cor di fu gen hal in jo ka lem mon nu or pel qui ras sto tu ver wo xi yan ze que ter val".split()

    def __init__(self, numbers):
        self.numbers = numbers
        vocabulary = []
        for _ in range(9000):
            parts = numbers.choices(self.SYLLABLES, k=numbers.randint(1, 4))
            vocabulary.append("_".join(["".join(parts[:2]), "".join(parts[2:])]).strip("_"))
        self.vocabulary = self.KEYWORDS * 4 + vocabulary
        weight = 0.0
        self.weights = []
        for rank in range(len(self.vocabulary)):
            weight += 1.0 / (rank + 12)
            self.weights.append(weight)
        self.buffer, self.position = [], 0
        self.common = [self.line() for _ in range(4000)]
        weight, self.common_weights = 0.0, []
        for rank in range(len(self.common)):
            weight += 1.0 / (rank + 5)
            self.common_weights.append(weight)

    def line(self):
        """A line, of words drawn many at a time, since each draw costs."""
        if self.position + 10 > len(self.buffer):
            self.buffer = self.numbers.choices(self.vocabulary, cum_weights=self.weights, k=100_000)
            self.position = 0
        draw = int(self.numbers.random() * 100)
        indentation, form, count = "    " * (draw % 4), draw // 20, 2 + draw % 7
        words = self.buffer[self.position : self.position + count]
        self.position += count
        if form == 0:
            return "%slet %s = %s(%s)?;\n" % (indentation, words[0], "::".join(words[1:3]), ", ".join(words[3:]))
        if form == 1:
            return "%s// %s.\n" % (indentation, " ".join(words))
        if form == 2:
            return "%s%s { %s }\n" % (indentation, ".".join(words[:3]), " ".join(words[3:]))
        if form == 3:
            return "%s}\n" % indentation
        return "%s%s;\n" % (indentation, " ".join(words))

    def text(self, size_bytes):
        """About so many bytes, of which most lines stand elsewhere as well."""
        lines, length = [], 0
        while length < size_bytes:
            some = self.numbers.choices(self.common, cum_weights=self.common_weights, k=8)
            some[1::3] = [self.line(), self.line(), self.line()]
            lines += some
            length += sum(map(len, some))
        return "".join(lines)[:size_bytes]


def _source(top, scale):
    """Trees of source code: 70,000 files with a median of 4 KiB, of which a tenth are projects that stand there twice, in
    versions that differ a little, and one of fifty is an image or the like. A day changes 0.7 % of them by a line, adds
    0.2 % and takes 0.05 % away."""
    numbers = random.Random(SEED)
    words = _Words(numbers)
    licences = [words.text(numbers.randint(1000, 11_000)) for _ in range(6)]
    first = os.path.join(top, "day1")
    texts, projects, made = [], [], 0
    while made < max(40, int(70_000 * scale)):
        project = "project-%04d" % len(projects)
        earlier = numbers.choice(projects) if projects and numbers.random() < 0.1 else None
        if earlier:
            for path in earlier[1]:
                with open(os.path.join(first, earlier[0], path), "rb") as file:
                    content = file.read()
                if numbers.random() < 0.15:
                    content = content[: len(content) // 2] + words.line().encode() + content[len(content) // 2 :]
                _write(os.path.join(first, project, path), content, FIRST_DAY)
            made += len(earlier[1])
            projects.append((project, earlier[1]))
            continue
        inside = []
        for position in range(numbers.randint(8, 180)):
            size_bytes = min(int(numbers.lognormvariate(8.3, 1.4)), 1 << 20)
            folder = numbers.choice(["src", "src/inner", "tests", "docs"])
            path = "%s/%s_%d" % (folder, numbers.choice(words.vocabulary), position)
            if numbers.random() < 0.02:
                _write(os.path.join(first, project, path + ".png"), numbers.randbytes(size_bytes), FIRST_DAY)
                inside.append(path + ".png")
            else:
                _write(os.path.join(first, project, path + ".rs"), words.text(size_bytes).encode(), FIRST_DAY)
                inside.append(path + ".rs")
                texts.append(os.path.join(project, path + ".rs"))
        _write(os.path.join(first, project, "LICENSE"), numbers.choice(licences).encode(), FIRST_DAY)
        inside.append("LICENSE")
        made += len(inside)
        projects.append((project, inside))
    changed = numbers.sample(texts, max(2, int(len(texts) * 0.007)))
    for path in changed:
        with open(os.path.join(first, path), "rb") as file:
            lines = file.readlines()
        lines.insert(numbers.randint(0, len(lines)), words.line().encode())
        _write(os.path.join(top, "day2", path), b"".join(lines), SECOND_DAY)
    for position in range(max(1, int(made * 0.002))):
        path = "%s/src/new_%d.rs" % (numbers.choice(projects)[0], position)
        _write(os.path.join(top, "day2", path), words.text(numbers.randint(200, 9000)).encode(), SECOND_DAY)
    others = sorted(set(texts) - set(changed))
    _removed(top, numbers.sample(others, max(1, int(made * 0.0005))))
    _date_folders(first, FIRST_DAY)
    return _facts(top, changed[0])


def _tiny(top, scale):
    """200,000 files of 50 to 2000 bytes; a day changes one of a thousand."""
    numbers = random.Random(SEED + 1)
    words = _Words(numbers)
    count = max(60, int(200_000 * scale))

    def path(number):
        return "%02d/%03d/%06d.txt" % (number % 40, number // 100 % 1000, number)

    def content(number, day):
        return ("%d %d %016x\n" % (number, day, numbers.getrandbits(64)) + words.text(numbers.randint(30, 1970))).encode()

    for number in range(count):
        _write(os.path.join(top, "day1", path(number)), content(number, 1), FIRST_DAY)
    changed = numbers.sample(range(count), max(2, count // 1000))
    for number in changed:
        _write(os.path.join(top, "day2", path(number)), content(number, 2), SECOND_DAY)
    _removed(top, [])
    _date_folders(os.path.join(top, "day1"), FIRST_DAY)
    return _facts(top, path(changed[0]))


def _blob(top, scale):
    """Four files that do not compress, of 256 MiB; a day inserts 1 MiB near the beginning of one and changes 4 MiB in its
    middle."""
    numbers = random.Random(SEED + 2)
    size_bytes = max(1 << 18, int((256 << 20) * scale))
    for position in range(4):
        path = os.path.join(top, "day1", "weights-%d.bin" % position)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            for start in range(0, size_bytes, 1 << 22):
                file.write(numbers.randbytes(min(1 << 22, size_bytes - start)))
        os.utime(path, (FIRST_DAY, FIRST_DAY))
    with open(os.path.join(top, "day1", "weights-1.bin"), "rb") as file:
        content = bytearray(file.read())
    middle, changed = size_bytes // 2, min(4 << 20, size_bytes // 8)
    content[middle : middle + changed] = numbers.randbytes(changed)
    inserted = size_bytes // 100 + 17
    content[inserted:inserted] = numbers.randbytes(min(1 << 20, size_bytes // 16))
    _write(os.path.join(top, "day2", "weights-1.bin"), bytes(content), SECOND_DAY)
    _removed(top, [])
    _date_folders(os.path.join(top, "day1"), FIRST_DAY)
    return _facts(top, "weights-1.bin")


def _days(top, scale, keep):
    """Lets the days of a database pass; false where there is no PostgreSQL."""
    if not database.is_there():
        say("left out, because PostgreSQL with pgbench is not installed: %s" % os.path.basename(top))
        return False
    database.days(scale, keep, SEED)
    return True


class _KeepFiles:
    days = 2

    def __init__(self, top):
        self.top = top

    def __call__(self, server, day):
        server.stop()
        trees.copy(server.data, os.path.join(self.top, "whole%d" % day))
        server.start()


class _KeepDumps:
    days = 4

    def __init__(self, top):
        self.top = top

    def __call__(self, server, day):
        server.dump(os.path.join(self.top, "day%d.sql" % day))


def _volumes(top, scale):
    """The data folder of a stopped PostgreSQL: pages of 8 KiB, of which a day changes many."""
    if not _days(top, scale, _KeepFiles(top)):
        return None
    first, second = os.path.join(top, "day1"), os.path.join(top, "whole2")
    os.rename(os.path.join(top, "whole1"), first)
    is_file = lambda folder, path: os.path.isfile(os.path.join(folder, path))
    for path in trees.paths(second):
        one, other = os.path.join(first, path), os.path.join(second, path)
        if is_file(second, path) and not (is_file(first, path) and filecmp.cmp(one, other, shallow=False)):
            os.makedirs(os.path.dirname(os.path.join(top, "day2", path)), exist_ok=True)
            subprocess.run(["cp", "-a", "--", other, os.path.join(top, "day2", path)], check=True)
    _removed(top, [path for path in trees.paths(first) if not os.path.lexists(os.path.join(second, path))])
    trees.remove(second)
    files = [path for path in trees.paths(first) if is_file(first, path) and not path.startswith("pg_wal")]
    return _facts(top, max(files, key=lambda path: os.path.getsize(os.path.join(first, path))))


def _dumps(top, scale):
    """What pg_dump prints of that database, four days."""
    if not _days(top, scale, _KeepDumps(top)):
        return None
    days = ["day%d.sql" % day for day in range(1, _KeepDumps.days + 1)]
    return {"files": len(days), "bytes": os.path.getsize(os.path.join(top, days[0])), "streams": days}


MAKERS = {"source": _source, "tiny": _tiny, "volumes": _volumes, "dumps": _dumps, "blob": _blob}
