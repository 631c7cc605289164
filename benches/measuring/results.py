"""Raw results: lines of JSON, each with the kind of what it says."""
import json


class Results:
    """Lines that were measured or read; of what was measured, each is in the file before the next is measured."""

    def __init__(self, path=None):
        self.path = path
        self.lines = []

    @classmethod
    def read(cls, paths):
        """The lines of files, one after the other."""
        results = cls()
        for path in paths:
            with open(path) as file:
                results.lines += [json.loads(line) for line in file if line.strip()]
        return results

    def add(self, kind, **facts):
        """Adds a line."""
        line = {"kind": kind, **facts}
        self.lines.append(line)
        if self.path:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")

    def of(self, kind):
        """All lines of a kind."""
        return [line for line in self.lines if line["kind"] == kind]

    def last(self, kind, **facts):
        """The last line of a kind that says these things, so that a later run takes the place of an earlier one."""
        found = [line for line in self.of(kind) if all(line.get(name) == value for name, value in facts.items())]
        return found[-1] if found else None
