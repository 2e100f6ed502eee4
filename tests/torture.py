"""What the harnesses that kill, starve and crowd whole runs share: a run so small that it takes well
below a second, its fingerprint, the trace of its I/O calls, and what a death left committed.

For tests/kill_run.py, tests/fault_run.py, tests/crowd_run.py and tests/soak_run.py.
"""
import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile

STAGES = ["pretrain", "sft", "label", "reward", "ppo", "evaluate"]
SETTINGS = {
    "task": {"name": "exact", "response_tokens": 2, "documents": 40, "demonstrations": 16},
    "model": {"channels": 8, "layers": 1, "heads": 1, "positions": 16},
    "pretrain": {"steps": 3, "batch": 8, "shards": 2, "evaluate_every": 2},
    "sft": {"epochs": 1, "batch": 8, "shards": 2, "evaluate_every": 2},
    "label": {"pairs": 18},
    "reward": {"epochs": 1, "batch": 8, "shards": 2, "evaluate_every": 2,
               "normalise_answers": 16},
    "ppo": {"steps": 3, "rollouts": 8, "epochs": 1, "minibatches": 2, "shards": 2,
            "sample_every": 2, "missing_eos": "none", "kl_controller": "adaptive",
            "on_spike": "skip", "critic_on_spike": "skip"},
    "evaluate": {"prompts": 8, "samples": 4, "best_of_prompts": 4, "best_of_pool": 4},
    "rollout": {"text_rows": 4},
    "doctor": {"gates": False},
}
# What may differ between equal runs.
FREE = re.compile(r"(^|/)(run\.json|log\.txt|lock|timings\.jsonl|events\.out\.tfevents[^/]*)$")
TIMEOUT = 120  # seconds that a run of this size never takes

# When to commit. PPO's last step is none that is committed where that is rare.
EACH_STEP = ["checkpoint_seconds=0.000001"]
RARELY = ["checkpoint_seconds=1000", "keep_every=2"]


class Failure(Exception):
    """A promise that did not hold."""


class Lost(Failure):
    """A committed step was not what a life went on from."""


class OtherBits(Failure):
    """The end is not the undisturbed run's."""


def scratch():
    """Where the runs live: in memory, if TMPDIR says nothing else. What dies is the process, never
    the disk, so that a sync has nothing to add but time (five times a run's)."""
    memory = "/dev/shm"
    return None if "TMPDIR" in os.environ or not os.access(memory, os.W_OK) else memory


def demand(held, text, kind=Failure):
    if not held:
        raise kind(text)


class Torture:
    """One program under test, and a scratch folder with the run that nothing disturbed."""

    def __init__(self, rlhf, commits=EACH_STEP):
        """`commits`: the settings that say when a life commits."""
        self.rlhf, self.commits = os.path.abspath(rlhf), commits
        self.folder = tempfile.mkdtemp(prefix="rlhf-torture-", dir=scratch())
        self.put_settings()

    def put_settings(self):
        with open(self.path("small.json"), "w", encoding="utf-8") as file:
            json.dump(SETTINGS, file)

    def inside(self, name):
        """The same bench in a folder of its own, inside this one."""
        bench = copy.copy(self)
        bench.folder = self.path(name)
        os.makedirs(bench.folder)
        bench.put_settings()
        return bench

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def command(self, run, threads=1, extra=(), begin=("--resume",)):
        """A life of `run`."""
        settings = [*self.commits, "check_room=false", f"threads={threads}"]
        return [self.rlhf, "run", "small.json", "--out", run, *begin,
                *(word for setting in settings for word in ("--set", setting)), *extra]

    def environment(self, **variables):
        return {**os.environ, "OMP_WAIT_POLICY": "passive", **variables}

    def life(self, run, threads=1, extra=(), begin=("--resume",), **variables):
        """One life of `run`: its exit status (negative: the signal it died of) and its errors."""
        try:
            done = subprocess.run(self.command(run, threads, extra, begin), cwd=self.folder,
                                  env=self.environment(**variables), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{run}: no end after {TIMEOUT} s") from late
        return done.returncode, done.stderr.decode("utf-8", "replace")

    def status(self, run):
        """What `rlhf status` says."""
        return subprocess.run([self.rlhf, "status", run], cwd=self.folder, check=True,
                              stdout=subprocess.PIPE, timeout=TIMEOUT).stdout.decode()

    def undisturbed(self, name="undisturbed"):
        """The reference: its fingerprint and the calls it made."""
        trace = self.path(name + ".trace")
        status, errors = self.life(name, RLHF_IO_TRACE=trace)
        demand(status == 0, f"the undisturbed run: exit status {status}: {errors}")
        self.reference = fingerprint(self.path(name))
        demand(len(self.reference) > 40, f"only {len(self.reference)} files are compared")
        self.calls = read_trace(trace)
        return self.reference

    def finish(self, run, before, threads, **variables):
        """Resumes `run` after a death that left `before`; every promise must hold."""
        status, errors = self.life(run, threads, **variables)
        demand(status == 0, f"resuming: exit status {status}: {last_line(errors)}")
        self.check(run, before)

    def keeps(self, run, before):
        """No committed step was lost by the lives since `before`."""
        now = state_of(self.path(run))
        for stage, stood in before.items():
            demand(stage in now, f"{stage}: its folder is gone", Lost)
            lost = steps_lost(now[stage], stood)
            demand(not lost, f"{stage}: {lost}", Lost)

    def check(self, run, before):
        """Nor that, and the run ended in the undisturbed one's bits."""
        self.keeps(run, before)
        differ = differences(self.reference, fingerprint(self.path(run)), before)
        demand(not differ, "other bits: " + ", ".join(differ[:4]), OtherBits)


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "(nothing said)"


def fingerprint(run):
    """The hash of every file that equal runs have in common, hidden ones and leftovers too."""
    found = {}
    for base, _, names in os.walk(run):
        for name in names:
            path = os.path.join(base, name)
            short = os.path.relpath(path, run)
            if FREE.search(short):
                continue
            with open(path, "rb") as file:
                found[short] = hashlib.sha256(file.read()).hexdigest()
    return found


def left_state(run):
    """All that a resumed life can depend on: two runs that are equal in it go on alike. Clock, host
    and process are left out, and log.txt, which nothing reads."""
    state = {"bytes": fingerprint(run), "run.json": [], "steps": {}, "events": {}}
    for base, _, names in os.walk(run):
        for name in names:
            path = os.path.join(base, name)
            if name == "run.json":  # of how a life ended nothing is asked but whether it was told
                state["run.json"] = ["end" in life for life in lives(path)]
            elif name == "timings.jsonl":
                rows, torn = timing_rows(base)
                state["steps"][base] = ([step_of(row) for row in rows], torn)
            elif name.startswith("events.out."):
                state["events"][base] = os.path.getsize(path)
    return hashlib.sha256(repr(state).replace(run, "").encode()).digest()


def lives(path):
    """The lives that a run.json tells of."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)["lives"]


def is_leftover(path, before):
    """Whether a death between a stage's manifest and the clearing up left it: a finished stage is
    not opened again."""
    stage, _, inside = path.partition("/checkpoints/")
    return bool(inside) and inside.split("/")[0] in before.get(stage, {}).get("leftover", ())


def differences(wanted, found, before):
    """Files that are missing, too many or of other bytes, after lives that found `before`."""
    result = [f"{path} is missing" for path in wanted if path not in found]
    for path, digest in found.items():
        if path not in wanted:
            if not is_leftover(path, before):
                result.append(f"{path} should not be there")
        elif digest != wanted[path]:
            result.append(f"{path} differs")
    return result


# ---- what is committed ----

def timing_rows(folder):
    """The rows of timings.jsonl, and whether a torn one follows. They tell microseconds: a step that
    is done again leaves another row."""
    try:
        with open(os.path.join(folder, "timings.jsonl"), "rb") as file:
            whole, _, torn = file.read().rpartition(b"\n")
    except FileNotFoundError:
        return [], False
    return whole.splitlines(), torn != b""


def step_of(row):
    return json.loads(row)["step"]


def committed_steps(folder):
    """Steps whose checkpoint has its manifest in place."""
    try:
        names = os.listdir(os.path.join(folder, "checkpoints"))
    except FileNotFoundError:
        return []
    return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d+", name) and
                  os.path.exists(os.path.join(folder, "checkpoints", name, "manifest.json")))


def state_of(run):
    """What a death left, stage by stage; to be asked before resuming. A finished stage is known by
    when its manifest was written: done again it has another."""
    state = {}
    for stage in STAGES:
        folder = os.path.join(run, stage)
        if not os.path.isdir(folder):
            continue
        steps = committed_steps(folder)
        manifest = os.path.join(folder, "manifest.json")
        state[stage] = {"committed": steps[-1] if steps else 0, "timed": timing_rows(folder)[0],
                        "finished": os.path.exists(manifest) and os.stat(manifest).st_mtime_ns}
        if state[stage]["finished"] and os.path.isdir(os.path.join(folder, "checkpoints")):
            state[stage]["leftover"] = os.listdir(os.path.join(folder, "checkpoints"))
    return state


def steps_lost(now, before):
    """None, or what a life lost of a stage that stood as `before` when it began: it must go on from
    the newest committed step."""
    if before["finished"]:
        again = now["finished"] != before["finished"] or now["timed"] != before["timed"]
        return "it was finished and has been done again" if again else None
    if before["committed"] == 0:
        return None
    kept = len(before["timed"])
    if now["timed"][:kept] != before["timed"]:
        return f"begun anew; step {before['committed']} was committed"
    again = now["timed"][kept:]
    if again and step_of(again[0]) <= before["committed"]:
        return f"step {step_of(again[0])} was done again; step {before['committed']} was committed"
    if not now["finished"] and now["committed"] < before["committed"]:
        return f"step {before['committed']} was committed, now {now['committed']} is the newest"
    return None


# ---- the calls ----

class Call:
    """One I/O call as RLHF_IO_TRACE tells it."""

    def __init__(self, line):
        self.kind, result, descriptor, self.path = line.rstrip("\n").split(" ", 3)
        self.result, self.descriptor = int(result), int(descriptor)
        self.creates = self.kind == "open" and self.descriptor != 0
        self.source = None


def read_trace(path):
    """The calls in order; a rename carries where from."""
    calls, source = [], None
    with open(path, encoding="utf-8") as file:
        for line in file:
            call = Call(line)
            if call.kind == "from":
                source = call.path
                continue
            call.source = source if call.kind == "rename" else None
            calls.append(call)
    return calls


def places(calls, run):
    """For each call: the stage it belongs to (None: the run's own files), and whether it lies inside
    the commit of a checkpoint: from the first temporary file to the folder's sync."""
    result, stage, inside, renamed = [], None, False, False
    for call in calls:
        if call.path.startswith(run + "/"):
            part = call.path[len(run) + 1:].split("/")[0]
            stage = part if part in STAGES else None
        if call.kind == "mkdir" and "/tmp-step-" in call.path:
            inside, renamed = True, False
        result.append((stage, inside))
        if call.kind == "rename" and re.search(r"/checkpoints/step-\d+$", call.path):
            renamed = True
        if renamed and call.kind == "fsync":
            inside = renamed = False
    return result


def damageable(calls, run):
    """The calls, from 1, before which a death leaves a checkpoint of a stage under way: from behind
    its first commit to its manifest."""
    result, stage = [], None
    for number, call in enumerate(calls, 1):
        if stage:
            result.append(number)
        if call.kind == "rename":
            found = re.fullmatch(re.escape(run) + r"/(\w+)/(checkpoints/step-\d+|manifest\.json)",
                                 call.path)
            stage = found.group(1) if found and "/" in found.group(2) else None if found else stage
    return result
