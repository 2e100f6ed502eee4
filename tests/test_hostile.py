#!/usr/bin/python3
"""HDF5 files made to harm their reader: each is refused by the name of what it does, soon and in
little memory, and a trace of the system calls shows that no other file was opened. Then random
mutants, MUTANTS in all (1 000; at length: 20 000), of a real rollout file, of comparisons, samples
and a checkpoint with its moments.

    test_hostile.py HOSTILE_READER RLHF [MUTANTS]
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

import h5py
import numpy

READER, RLHF = sys.argv[1:3]
MUTANTS = int(sys.argv[3]) if len(sys.argv) > 3 else 1000
# A sanitizer's shadow counts as memory and slows down; its leak check does not work traced.
with open(READER, "rb") as file:
    SANITIZED = b"__asan_init" in file.read()
SECONDS, MEGABYTES = (5.0, 4096) if SANITIZED else (1.0, 64)
FLOAT = h5py.h5t.IEEE_F32LE
failures = []


def complain(text):
    failures.append(text)
    print(text)


def dataset(file, shape, properties=None, kind=FLOAT, name=b"/x"):
    space = h5py.h5s.create_simple(shape)
    return h5py.h5d.create(file.id, name, kind, space, dcpl=properties)


def properties(chunk=None):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if chunk:
        made.set_chunk(chunk)
    return made


def external_link(file, secret):
    file["x"] = h5py.ExternalLink(secret, "/x")


def soft_to_external(file, secret):
    file["away"] = h5py.ExternalLink(secret, "/x")
    file["x"] = h5py.SoftLink("/away")


def intermediate_external(file, secret):
    file["g"] = h5py.ExternalLink(secret, "/")


def intermediate_soft(file, _):
    file.create_group("real")["x"] = numpy.zeros(4, "f4")
    file["g"] = h5py.SoftLink("/real")


def external_storage(file, _):
    made = properties()
    made.set_external(b"/etc/passwd", 0, 16)
    dataset(file, (4,), made)


def virtual_dataset(file, secret):
    layout = h5py.VirtualLayout(shape=(4,), dtype="<f4")
    layout[:] = h5py.VirtualSource(secret, "x", shape=(4,))
    file.create_virtual_dataset("x", layout)


def plugin_filter(file, _):
    made = properties((4,))
    made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    dataset(file, (4,), made)


def many_filters(file, _):
    made = properties((4,))
    for _ in range(4):
        made.set_deflate(9)
    dataset(file, (4,), made)


def shape_bomb(file, _):
    dataset(file, (1 << 62,), properties((1024,)))


def size_bomb(file, _):
    dataset(file, (1 << 31,), properties((1024,)))


def deflate_bomb(file, _):
    made = properties((1 << 24,))
    made.set_deflate(9)
    zeros = numpy.zeros(1 << 24, "<f4")
    dataset(file, (1 << 24,), made).write(h5py.h5s.ALL, h5py.h5s.ALL, zeros)


def double_deflate_bomb(file, _):
    made = properties((1 << 24,))
    made.set_deflate(9)
    made.set_deflate(9)
    zeros = numpy.zeros(1 << 24, "<f4")
    dataset(file, (1 << 24,), made).write(h5py.h5s.ALL, h5py.h5s.ALL, zeros)


def chunk_bomb(file, _):
    made = properties((1 << 26,))
    space = h5py.h5s.create_simple((4,), (h5py.h5s.UNLIMITED,))
    h5py.h5d.create(file.id, b"/x", FLOAT, space, dcpl=made)


def link_cycle(file, _):
    group = file.create_group("g")
    group["g"] = group
    group["x"] = group


def variable_strings(file, _):
    file.create_dataset("x", data=["a", "b"], dtype=h5py.string_dtype())


def variable_numbers(file, _):
    file.create_dataset("x", (2,), dtype=h5py.vlen_dtype(numpy.dtype("<f4")))


def compound(file, _):
    file["x"] = numpy.zeros(4, [("a", "<f4"), ("b", "<i8")])


def references(file, _):
    file.create_dataset("x", (2,), dtype=h5py.ref_dtype)


def array_type(file, _):
    file.create_dataset("x", (2,), dtype=numpy.dtype(("<f4", (3,))))


def enumeration(file, _):
    file.create_dataset("x", (2,), dtype=h5py.enum_dtype({"a": 1}, basetype="i4"))


def half_precision(file, _):
    file["x"] = numpy.zeros(4, "<f2")


def wrong_rank(file, _):
    file["x"] = numpy.zeros((2, 2), "<f4")


def rank_of_32(file, _):
    file["x"] = numpy.zeros((1,) * 32, "<f4")


def null_space(file, _):
    file["x"] = h5py.Empty("<f4")


def named_type(file, _):
    file["x"] = numpy.dtype("<f4")


def huge_attribute(file, _):
    file.attrs.create("a", numpy.zeros(8000, "<f8"))


def text_attribute(file, _):
    file.attrs["a"] = "1.0"


def chunk_rank(file, _):
    made = properties((3,))
    dataset(file, (4,), made).write(h5py.h5s.ALL, h5py.h5s.ALL, numpy.zeros(4, "<f4"))


def patch_chunk_rank(path):
    """The layout message of chunk_rank: version 3, class 2 (chunked), 1 + 1 dimensions -> 2 + 1."""
    with open(path, "rb") as file:
        whole = file.read()
    at = whole.index(struct.pack("<II", 3, 4)) - 8 - 3  # before the sizes an address, then 3, 2, 2
    assert whole[at:at + 3] == b"\x03\x02\x02", whole[at:at + 3]
    third = struct.pack("<I", 4)
    patched = whole[:at + 2] + b"\x03" + whole[at + 3:at + 19] + third + whole[at + 23:]
    with open(path, "wb") as file:
        file.write(patched)


# What is made, where the reader looks (x: dataset, of float32 and rank 1), what it must say.
CASES = [
    (external_link, "/x", "x is an external link, which is not followed"),
    (soft_to_external, "/x", "x is a soft link, which is not followed"),
    (intermediate_external, "/g/x", "g is an external link, which is not followed"),
    (intermediate_soft, "/g/x", "g is a soft link, which is not followed"),
    (external_storage, "/x", "its values lie in another file, which is not opened"),
    (virtual_dataset, "/x", "it is a virtual dataset, which is not followed"),
    (plugin_filter, "/x", "filter 32015 is not one of ours"),
    (many_filters, "/x", "4 filters, at most 3"),
    (shape_bomb, "/x", "more elements than can be counted"),
    (size_bomb, "/x", "it declares 8589934592 bytes and stores 0"),
    (deflate_bomb, "/x", "it declares 67108864 bytes and stores "),
    (double_deflate_bomb, "/x", "it declares 67108864 bytes and stores "),
    (chunk_bomb, "/x", "its chunks are empty or larger than 67108864 bytes"),
    (link_cycle, "/g/g/g/g/g/g/g/g/x", "not a dataset"),
    (link_cycle, "/g/g/g/g/y", "missing"),
    (variable_strings, "/x", "type is text of any length, not float32"),
    (variable_numbers, "/x", "type is a list of any length, not float32"),
    (compound, "/x", "type is compound, not float32"),
    (references, "/x", "type is a reference, not float32"),
    (array_type, "/x", "type is an array, not float32"),
    (enumeration, "/x", "type is an enumeration, not float32"),
    (half_precision, "/x", "type is float16, not float32"),
    (wrong_rank, "/x", "rank is 2, not 1"),
    (rank_of_32, "/x", "rank is 32, not 1"),
    (null_space, "/x", "it has no shape"),
    (named_type, "/x", "not a dataset"),
    (huge_attribute, "@a", "rank is 1, not 0"),
    (text_attribute, "@a", "attribute a: type is text"),
    (chunk_rank, "/x", "its chunks have rank 2, not 1"),
]


def make(folder):
    """Every crafted file; the words for the reader."""
    secret = os.path.join(folder, "secret.h5")
    with h5py.File(secret, "w") as file:
        file["x"] = numpy.arange(4, dtype="<f4")
    words = []
    for index, (craft, where, _) in enumerate(CASES):
        path = os.path.join(folder, f"{index:02}-{craft.__name__}.h5")
        with h5py.File(path, "w") as file:
            craft(file, secret)
        if craft is chunk_rank:
            patch_chunk_rank(path)
        words.append(f"{path}:{where}")
    return words


def traced(folder, words):
    """Output lines of the reader, and the paths it opened from the first of its own on."""
    trace = os.path.join(folder, "trace")
    # A plugin in the path that the library searches would be loaded for the unknown filter.
    surroundings = dict(os.environ, HDF5_PLUGIN_PATH=folder, ASAN_OPTIONS="detect_leaks=0")
    done = subprocess.run(["strace", "-f", "-qq", "-o", trace, "-e",
                           "trace=open,openat,openat2,creat,socket,connect,execve", READER, *words],
                          env=surroundings, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        complain(f"the reader ended with {done.returncode}: {done.stderr}")
    opened, begun = set(), False
    with open(trace, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            # A call of a reader that was killed before it was made has no name yet: "???(".
            if "= ?" in line or "???(" in line or "+++" in line or "---" in line:
                continue
            path = re.search(r'"([^"]*)"', line)
            name = path.group(1) if path else line.strip()
            begun = begun or name.startswith(folder)
            if begun:
                opened.add(name)
    return done.stdout.splitlines(), opened


def check_opened(opened, allowed, what):
    # The library asks for the name that its image of memory has; there can be no such file.
    others = {name for name in opened if not allowed(name) and name != "/proc/self/statm"
              and not name.startswith("/dev/null/open-")}
    if others:
        complain(f"{what}: other files were opened: {sorted(others)}")


def crafted(folder):
    words = make(folder)
    lines, opened = traced(folder, ["read", *words])
    own = {word.rsplit(":", 1)[0] for word in words}
    check_opened(opened, own.__contains__, "crafted files")
    if not own <= opened:
        complain("the trace lacks files that were read")
    if len(lines) != len(CASES):
        complain(f"{len(lines)} answers for {len(CASES)} files")
    for (craft, where, expected), line in zip(CASES, lines):
        seconds, megabytes, verdict = line.split("\t", 2)
        if expected not in verdict:
            complain(f"{craft.__name__} {where}: {verdict}\n    expected: {expected}")
        if float(seconds) > SECONDS or int(megabytes) > MEGABYTES:
            complain(f"{craft.__name__}: {seconds} s, {megabytes} MB")


def mutants(folder):
    run = os.path.join(folder, "run")
    small = ["model.channels=8", "model.layers=1", "pretrain.steps=2", "ppo.steps=1",
             "ppo.sample_every=1", "label.pairs=20", "task.demonstrations=40"]
    subprocess.run([RLHF, "run", "tiny", "--out", run, "--until", "ppo",
                    *(word for setting in small for word in ("--set", setting))],
                   check=True, capture_output=True)
    scratch = os.path.join(folder, "scratch")
    os.mkdir(scratch)
    sources = {"rollout": "ppo/rollouts/000001.h5", "pairs": "label/comparisons.h5",
               "samples": "ppo/samples.h5", "checkpoint": "ppo/checkpoints/step-000001/policy.h5"}
    each, total = MUTANTS // len(sources), [0, 0, 0, 0]
    for kind, file in sources.items():
        source = os.path.join(run, file)
        lines, opened = traced(folder, [kind, "1", str(each), source, scratch])
        check_opened(opened, lambda name: name.startswith((scratch, source)), f"{kind} mutants")
        print(f"{kind}: {lines[-1] if lines else 'nothing said'}")
        said = re.match(r"(\d+) mutants: (\d+) data, (\d+) refused; of these the reader crashed on "
                        r"(\d+)", lines[-1] if lines else "")
        count = [int(number) for number in said.groups()] if said else [0, 0, 0, 0]
        if count[0] != each or min(count[1:3]) == 0:
            complain(f"{kind}: not {each} mutants, of both kinds")
        total = [a + b for a, b in zip(total, count)]
    return total


def main():
    with tempfile.TemporaryDirectory() as folder:
        crafted(folder)
        total = mutants(folder)
    print("test_hostile: {} mutants: {} data, {} refused, {} crashes: ".format(*total)
          + ("failed" if failures else "fine"))
    return 1 if failures else 0


sys.exit(main())
