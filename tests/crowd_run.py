#!/usr/bin/python3
"""One run directory and many hands: processes that race for it, signals at any time, a disk that
fills up. Argument: the rlhf program; then what to try (race, signals, disk; all by default).

race: eight processes want one directory, twenty times: one gets it, seven leave with 7, naming pid
and host. signals: TERM, INT and USR1 at random: 75 and resumed, or checkpointed and gone on with; a
second one leaves with 128 and its number. disk: a file system of a few MiB fills up in each stage;
freed, the run goes on. All end in the bits of the run that nothing disturbed.
"""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torture
from torture import demand

RACES, RACERS = 20, 8


def start(bench, run, extra=(), threads=1):
    return subprocess.Popen(bench.command(run, threads, extra), cwd=bench.folder,
                            env=bench.environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def end(process):
    errors = process.communicate(timeout=torture.TIMEOUT)[1].decode("utf-8", "replace")
    return process.returncode, errors


def race(bench, _):
    for number in range(RACES):
        run = f"race-{number}"
        racers = [start(bench, run) for _ in range(RACERS)]
        ended = [end(racer) for racer in racers]
        # A racer that comes when the winner is done finds a finished run.
        refused = [errors for status, errors in ended if status == 7]
        demand(all(status in (0, 7) for status, _ in ended), f"statuses {ended}")
        demand(refused, "nobody was refused")
        for errors in refused:
            demand(re.search(r"lock: held by pid \d+ on host \S+", errors), f"it says {errors}")
        bench.check(run, {})
        worked = sum("evaluate done" in errors for _, errors in ended)
        demand(worked == 1, f"{worked} did the work")
        shutil.rmtree(bench.path(run))
    return f"{RACES} races of {RACERS}"


def signals(bench, chance):
    seen = {}
    for number in range(15):
        run, name = f"signal-{number}", ["SIGTERM", "SIGINT", "SIGUSR1"][number % 3]
        process = start(bench, run, threads=chance.randint(1, 4))
        while not os.path.exists(bench.path(run, "run.json")) and process.poll() is None:
            time.sleep(0.002)  # before that there is nobody to ask
        time.sleep(chance.random() * 0.6)
        process.send_signal(getattr(signal, name))
        status, errors = end(process)
        demand(status in ((0,) if name == "SIGUSR1" else (0, 75)), f"{name}: {status}: {errors}")
        seen[status] = seen.get(status, 0) + 1
        if status == 75:
            said = bench.status(run)
            demand("stopped at" in said and name in said, f"status says {said}")
        bench.finish(run, torture.state_of(bench.path(run)), chance.randint(1, 4))
        shutil.rmtree(bench.path(run))
    twice(bench)
    return ", ".join(f"{count} ended with {status}" for status, count in sorted(seen.items()))


def twice(bench):
    """A second signal does not wait for anything."""
    process = start(bench, "twice", ["--set", "pretrain.steps=200000", "--until", "pretrain"])
    while not os.path.exists(bench.path("twice", "run.json")):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGSTOP)  # both arrive at once
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    status, errors = end(process)
    demand(status in (128 + signal.SIGINT, 128 + signal.SIGTERM), f"twice: {status}: {errors}")
    demand("crashed" in bench.status("twice"), "status does not tell")


# In a namespace of its own: a small disk with a run that is to begin a stage, filled but for so
# much; then freed.
DISK_SCRIPT = """
set -u
mount -t tmpfs -o size=4m none disk || exit 99
[ ! -d "$1" ] || cp -a "$1" disk/run
room=$(df --output=avail -B1 disk | tail -n 1)
head -c $((room - $2)) /dev/zero >disk/ballast
shift 2
"$@" >/dev/null 2>first; first=$?
rm disk/ballast
"$@" >/dev/null 2>second; second=$?
rm -rf result; cp -a disk/run result
printf '%s %s %s\\n' "$first" "$second" "$(tail -n 1 first)"
"""
PAGE = 4096  # what a tmpfs gives out


def pages(folder):
    """What the files below `folder` take of a disk."""
    return sum(-(-os.path.getsize(os.path.join(base, name)) // PAGE)
               for base, _, names in os.walk(folder) for name in names)


def fill(bench, stage, start, free):
    """The disk fills up once `free` bytes more are written to the run `start`, which is to begin
    `stage`. True: it filled up in there. None: no namespace is allowed."""
    done = subprocess.run(["unshare", "-rm", "bash", "-c", DISK_SCRIPT, "disk", start, str(free),
                           *bench.command("disk/run", 1)],
                          cwd=bench.folder, env=bench.environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=torture.TIMEOUT, check=False)
    if done.returncode != 0:
        return None
    first, second, line = done.stdout.decode().strip().split(" ", 2)
    demand(second == "0", f"{stage}: freed, it still fails: {second}")
    bench.keeps("result", torture.state_of(bench.path(start)))
    differ = torture.differences(bench.reference, torture.fingerprint(bench.path("result")))
    demand(not differ, f"{stage}: other bits: " + ", ".join(differ[:4]))
    demand(first == "0" or first == "5" and "No space left on device" in line,
           f"{stage}: exit status {first}: {line}")
    return first == "5" and f"run/{stage}/" in line


def disk(bench, chance):
    """Where no namespace is allowed, full disks are those of tests/fault_run.py alone."""
    os.makedirs(bench.path("disk"), exist_ok=True)
    filled = {stage: 0 for stage in torture.STAGES}
    for before, stage in zip([None] + torture.STAGES, torture.STAGES):
        start = f"before-{stage}"
        if before:
            status, errors = bench.life(start, extra=["--until", before])
            demand(status == 0, f"until {before}: {errors}")
        room = pages(bench.path("undisturbed", stage)) + 2  # run.json and log.txt grow
        for share in [0.1, 0.25, 0.4, 0.55, 0.7, 0.85]:
            free = int((share + 0.1 * chance.random()) * room) * PAGE
            in_stage = fill(bench, stage, start, free)
            if in_stage is None:
                return "no namespace here: the fault module's ENOSPC stands in (tests/fault_run.py)"
            filled[stage] += in_stage
        demand(filled[stage], f"{stage}: the disk never filled up in there")
    return "a tmpfs of 4 MiB filled up in " + ", ".join(f"{s} {n} times" for s, n in filled.items())


def main():
    tries = {"race": race, "signals": signals, "disk": disk}
    chosen = sys.argv[2:] or list(tries)
    bench = torture.Torture(sys.argv[1])
    failed = False
    try:
        bench.undisturbed()
        for name in chosen:
            try:
                print(f"{name}: {tries[name](bench, random.Random(1))}")
            except torture.Failure as failure:
                print(f"{name}: {failure}")
                failed = True
    finally:
        bench.close()
    print(f"crowd_run: {'failed' if failed else 'fine'}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
