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
        self.pending = {}    # folder -> names in it that are not safe yet, in order
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
                self.name(call.path)
        elif call.kind == "mkdir":
            self.folders.add(call.path)
            self.name(call.path)
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

    def name(self, path, source=None):
        """A name that was made, or renamed from one beside it."""
        folder, name = os.path.split(path)
        self.pending.setdefault(folder or ".", []).append((name, source and os.path.basename(source)))

    def sync(self, path):
        if path in self.size:
            self.synced[path] = self.size[path]
            return
        for name, source in self.pending.pop(path, []):
            if source:
                self.note_safe(os.path.join(path, name))

    def note_safe(self, path):
        """A renamed name that power can no longer take. A checkpoint counts from here on, whatever
        of it is still to be synced: that must have been done before."""
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
            self.name(target, source)

    def lose_power(self, chance):
        """Does to the folder on disk what the loss may do."""
        for path, size in self.size.items():
            if size > self.synced[path] and os.path.exists(self.at(path)):
                keep = chance.choice([self.synced[path], chance.randint(self.synced[path], size)])
                os.truncate(self.at(path), keep)
        for folder, names in self.pending.items():
            for name, source in reversed(names[chance.randint(0, len(names)):]):
                self.take_back(self.at(os.path.join(folder, name)),
                               source and self.at(os.path.join(folder, source)))

    def take_back(self, path, source):
        if source:
            if os.path.exists(path):
                os.rename(path, source)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)

    def at(self, path):
        return os.path.join(self.folder, path)
