#!/usr/bin/python3
"""rlhf watch on a pseudo-terminal, beside a run that goes on: pictures that fit, also after a
resize; a clean terminal after q, Ctrl-C, SIGTERM and the run's end; lines on a pipe; text of
strangers as text; nothing changed. Argument: the rlhf program.
"""
import fcntl
import hashlib
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

RLHF = os.path.realpath(sys.argv[1])
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
ESCAPE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
LIMIT = 120  # seconds before a test gives up on a slow machine


def demand(condition, what):
    if not condition:
        sys.exit(f"test_watch: {what}")


class View:
    """rlhf watch in a terminal of its own."""

    def __init__(self, *words, rows=40, columns=100, term="xterm"):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(RLHF, [RLHF, "watch", *words], dict(os.environ, TERM=term))
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.terminal)
        self.output = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """False at the end."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.output += piece
        return piece != b""

    def until(self, condition, what):
        start = time.monotonic()
        while not condition(self.output):
            demand(time.monotonic() - start < LIMIT, f"no {what} in {self.output[-300:]}")
            demand(self.read(0.2), f"ended before {what}: {self.output[-300:]}")

    def pictures(self, count, what="picture"):
        already = self.output.count(b"\x1b[H")
        self.until(lambda out: out.count(b"\x1b[H") >= already + count, what)

    def end(self, what):
        """Everything is as it was, and the command says that it is done."""
        start = time.monotonic()
        while self.read(0.2):
            demand(time.monotonic() - start < LIMIT, f"{what}: it does not end")
        _, status = os.waitpid(self.pid, 0)
        demand(os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, f"{what}: status {status}")
        demand(self.output.count(ENTER) == 1, f"{what}: {self.output.count(ENTER)} screens opened")
        tail = self.output[self.output.rindex(LEAVE) - 11 :]
        demand(tail.startswith(b"\x1b[?7h\x1b[?25h" + LEAVE),
               f"{what}: cursor or wrapping are not given back: {tail}")
        rest = tail[11 + len(LEAVE) :]
        demand(b"\x1b" not in rest, f"{what}: sequences after the screen was left")
        try:
            demand(termios.tcgetattr(self.terminal) == self.before, f"{what}: other terminal modes")
        except termios.error:
            pass  # the terminal went with its last process
        os.close(self.terminal)
        return rest.decode()


def frames(output):
    """The pictures as lists of lines without sequences."""
    for picture in output.split(b"\x1b[H")[1:]:
        yield [ESCAPE.sub(b"", line).decode().rstrip("\r") for line in picture.split(b"\n")]


def digests(folder):
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                found[path] = (hashlib.sha256(file.read()).hexdigest(), os.stat(path).st_mtime_ns)
    return found


def start_run(name, *words):
    run = subprocess.Popen([RLHF, "run", "tiny", "--out", name, "--set", "ppo.sample_every=1",
                            "--set", "threads=1", "--json", *words],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(f"{name}/config.json"):
        demand(run.poll() is None, "the run ended at once")
        time.sleep(0.01)
    return run


def once(name):
    return subprocess.run([RLHF, "watch", name, "--once"], capture_output=True, check=True).stdout


os.environ["OMP_WAIT_POLICY"] = "passive"
folder = tempfile.mkdtemp()
try:
    os.chdir(folder)

    # a run that goes on for as long as it is looked at
    long = start_run("long", "--set", "ppo.steps=100000")
    view = View("long", "--every", "0.2")
    view.until(lambda out: b"answers after step" in out and b"ppo: objective/gold" in out,
               "curves and answers of ppo")
    view.pictures(2)
    *_, frame, _ = frames(view.output)
    demand(len(frame) == 40 and frame[-1] == "q leaves; the run goes on", frame[-1])
    demand(all(len(line) <= 100 for line in frame), max(frame, key=len))
    demand(frame[0] == "long  task reviews, seed 1" and frame[1].startswith("running: pid "), frame)
    text = "\n".join(frame)
    for part in [r"ppo +begun +[━─]{12} +\d+/100000 +\d+:\d\d", r"sft +finished", r"\n  scores ",
                 r"answers after step \d+ of ppo\n  \S.*\[score -?\d+\.\d\d, gold -?\d"]:
        demand(re.search(part, text), f"no {part} in {text}")
    demand(re.search("[\u2801-\u28ff]", text), "no curve in braille")

    view.resize(24, 60)
    view.pictures(3)
    *_, frame, _ = frames(view.output)
    demand(len(frame) == 24, f"{len(frame)} lines in 24 rows")
    demand(all(len(line) <= 60 for line in frame), max(frame, key=len))
    view.resize(3, 10)
    view.pictures(2, "picture of a tiny terminal")
    os.write(view.terminal, b"xyq")
    view.end("q")

    view = View("long", "--every", "3600")
    view.pictures(1)
    view.resize(30, 90)
    view.pictures(1, "picture after a resize, without waiting")
    os.write(view.terminal, b"\x03")
    view.end("Ctrl-C")
    view = View("long")
    view.pictures(1)
    os.kill(view.pid, signal.SIGTERM)
    view.end("SIGTERM")
    demand(long.poll() is None, "the run did not survive being watched")

    view = View("long", "--every", "0.2", term="dumb")
    view.until(lambda out: out.count(b"\n") >= 2, "two lines")
    demand(b"\x1b" not in view.output, "sequences although TERM=dumb")
    demand(re.match(rb"ppo begun, step \d+/100000  scores ", view.output), view.output)
    os.kill(view.pid, signal.SIGINT)
    os.waitpid(view.pid, 0)

    # a run that ends, on a terminal and on a pipe
    view = View("long", "--every", "0.2")
    view.pictures(1)
    pipe = subprocess.Popen([RLHF, "watch", "long", "--every", "0.1"], stdout=subprocess.PIPE)
    first = [pipe.stdout.readline() for _ in range(2)]
    long.terminate()
    demand(long.wait() == 75, "the run did not stop as asked")
    rest = view.end("end of the run")
    demand(rest.startswith("long: stopped at ") and "go on with: rlhf resume long" in rest, rest)
    lines = (b"".join(first) + pipe.communicate()[0]).decode().splitlines()
    demand(pipe.returncode == 0 and len(lines) >= 3, lines)
    demand(all(a != b for a, b in zip(lines, lines[1:])), "a line that says nothing new")
    demand(lines[-1].startswith("long: stopped at ") and "\x1b" not in "".join(lines), lines[-1])
    steps = [int(line.split()[3].split("/")[0]) for line in lines[:-1]]
    demand(steps == sorted(steps), "steps fall")

    # one that has ended: nothing changes, names of strangers are text
    before = digests("long")
    shown = once("long")
    demand(digests("long") == before, "looking changed the run")
    demand(b"\x1b" not in shown and "stopped at" in shown.decode(), shown)
    hostile = "a\x1b[2J\n\u202e\u200fb"
    os.rename("long", hostile)
    shown = once(hostile).decode()
    demand("a\\x1b[2J\\n\\u202e\\u200fb  task reviews" in shown, shown[:200])
    demand(not re.search("[\x00-\x09\x0b-\x1f\u202e\u200f]", shown), "a character that acts")
    quick = start_run("quick", "--set", "ppo.steps=2")
    demand(quick.wait() == 0 and "\nfinished\n" in once("quick").decode(), once("quick"))
    view = View("quick")
    while view.read(5):
        pass
    demand(b"\nfinished\r" in view.output and ENTER not in view.output, view.output)
    os.waitpid(view.pid, 0)
    missing = subprocess.run([RLHF, "watch", "nowhere"], capture_output=True, check=False)
    demand(missing.returncode == 4 and b"nowhere/config.json: missing" in missing.stderr, missing)
finally:
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
print("test_watch: fine")
