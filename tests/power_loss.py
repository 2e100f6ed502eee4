"""A model of what a disk may hold after a loss of power: for tests/kill_run.py.

It follows the I/O calls of one life (RLHF_IO_TRACE) over a folder that the life began. Bytes are
safe from the file's last sync on; a name (created, renamed, made) is safe once its folder has been
synced. Of what is not safe, any part may be gone: per folder some of its last names are taken back,
and every file is cut somewhere behind its last sync. A replaced file cannot be brought back, so such
a rename stands.
"""
import os
import re
import shutil


class Disk:
    """The folder `run` below `folder` after the given calls."""

    def __init__(self, folder, run, calls):
        self.folder, self.run = folder, run
        self.open = {}       # descriptor -> path
        self.size = {}       # path -> bytes now
        self.synced = {}     # path -> bytes at the last sync
        self.folders = set() # made by this life
        self.pending = {}    # folder -> names not safe yet, in order
        self.committed = {}  # stage -> newest step whose name is safe
        self.finished = set()  # stages whose manifest's name is safe
        for call in calls:
            if call.result >= 0:
                self.follow(call)

    def follow(self, call):
        if call.kind == "open":
            self.open[call.result] = call.path
            if call.creates and call.path not in self.size:
                self.size[call.path] = self.synced[call.path] = 0
                self.name(call.path, ("made", call.path))
        elif call.kind == "mkdir":
            self.folders.add(call.path)
            self.name(call.path, ("made", call.path))
        elif call.kind == "write":
            self.size[self.open[call.descriptor]] += call.result
        elif call.kind == "truncate":  # a first life only ever empties files
            path = self.open[call.descriptor]
            self.size[path] = self.synced[path] = 0
        elif call.kind == "fsync":
            self.sync(self.open[call.descriptor])
        elif call.kind == "rename":
            self.rename(call.source, call.path)
        elif call.kind == "remove":
            self.size.pop(call.path, None)
            self.folders.discard(call.path)

    def name(self, path, change):
        self.pending.setdefault(os.path.dirname(path) or ".", []).append(change)

    def sync(self, path):
        if path in self.size:
            self.synced[path] = self.size[path]
            return
        for kind, *names in self.pending.pop(path, []):
            if kind == "renamed":
                self.note_safe(names[-1])

    def note_safe(self, path):
        """A renamed name that power can no longer take."""
        found = re.fullmatch(r".*/(\w+)/checkpoints/step-(\d+)", path)
        if found:
            stage, step = found.group(1), int(found.group(2))
            self.committed[stage] = max(step, self.committed.get(stage, 0))
        found = re.fullmatch(re.escape(self.run) + r"/(\w+)/manifest\.json", path)
        if found:
            self.finished.add(found.group(1))

    def rename(self, source, target):
        replaces = target in self.size
        if source in self.folders:
            for table in (self.size, self.synced, self.pending):
                for path in [p for p in table if p == source or p.startswith(source + "/")]:
                    table[target + path[len(source):]] = table.pop(path)
            self.folders.discard(source)
            self.folders.add(target)
        else:
            self.size[target] = self.size.pop(source)
            self.synced[target] = self.synced.pop(source)
        if not replaces:
            self.name(target, ("renamed", source, target))

    def lose_power(self, chance):
        """Does to the folder on disk what the loss may do."""
        for path, size in self.size.items():
            if size > self.synced[path] and os.path.exists(self.at(path)):
                keep = chance.choice([self.synced[path], chance.randint(self.synced[path], size)])
                os.truncate(self.at(path), keep)
        for changes in self.pending.values():
            for change in reversed(changes[chance.randint(0, len(changes)):]):
                self.take_back(change)

    def take_back(self, change):
        path = self.at(change[-1])
        if change[0] == "renamed":
            if os.path.exists(path) and os.path.isdir(os.path.dirname(self.at(change[1]))):
                os.rename(path, self.at(change[1]))
        elif os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)

    def at(self, path):
        return os.path.join(self.folder, path)
