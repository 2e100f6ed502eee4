#!/usr/bin/python3
"""One run directory and many hands: processes that race for it, signals at any time, a disk that
fills up. Argument: the rlhf program; then what to try (race, signals, disk; all by default).

race: eight processes want one directory, twenty times: one gets it, seven leave with 7, naming pid
and host. signals: TERM, INT and USR1 at random: 75 and resumed, or gone on with; in a long stage that
commits nothing by itself TERM and INT leave with 75 and the last step committed, USR1 makes it commit
and go on; a second one leaves with 128 and its number. disk: a file system of a few MiB fills up in
each stage and nothing committed is lost; freed, the run goes on. All runs that end do so in the bits
of the one that nothing disturbed.
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
SIGNALS, STOPPED_LEAST = 15, 3
SOON = 10  # seconds in which a signal must have been obeyed


def start(bench, run, threads=1):
    return begin(bench, bench.command(run, threads))


def start_long(bench, run, threads=1):
    """A stage that would take minutes and commits nothing by itself."""
    return begin(bench, bench.command(run, threads, extra=[
        "--set", "checkpoint_seconds=0", "--set", "pretrain.steps=200000", "--until", "pretrain"]))


def begin(bench, command):
    return subprocess.Popen(command, cwd=bench.folder, env=bench.environment(),
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def wait(process, happened, what, seconds=torture.TIMEOUT):
    """Until `happened`, in the life of `process`."""
    until = time.monotonic() + seconds
    while not happened():
        demand(process.poll() is None, f"{what}: it ended before, with {process.returncode}")
        if time.monotonic() > until:
            process.kill()
            raise torture.Failure(f"{what}: not within {seconds} s")
        time.sleep(0.002)


def end(process, seconds=torture.TIMEOUT):
    try:
        errors = process.communicate(timeout=seconds)[1].decode("utf-8", "replace")
    except subprocess.TimeoutExpired as late:
        process.kill()
        raise torture.Failure(f"no end within {seconds} s") from late
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
    begun = time.monotonic()
    bench.life("timed")
    took = time.monotonic() - begun
    seen = {}
    for number in range(SIGNALS):
        name = ["SIGTERM", "SIGINT", "SIGUSR1"][number % 3]
        status = one_signal(bench, chance, f"signal-{number}", name, took)
        seen[status] = seen.get(status, 0) + 1
    demand(seen.get(75, 0) >= STOPPED_LEAST, f"hardly any signal came in time: {seen}")
    for name in ["SIGTERM", "SIGINT"]:
        stop(bench, f"stop-{name}", name)
    go_on(bench)
    twice(bench)
    return ", ".join(f"{count} ended with {status}" for status, count in sorted(seen.items())) + \
        "; 4 long ones stopped, 2 checkpoints asked for"


def one_signal(bench, chance, run, name, took):
    """A run that gets it at any time of the `took` seconds that it lasts: its exit status."""
    process = start(bench, run, threads=chance.randint(1, 4))
    # Before there is a run.json there is nobody to ask.
    wait(process, lambda: os.path.exists(bench.path(run, "run.json")), "run.json")
    time.sleep(chance.random() * took)
    process.send_signal(getattr(signal, name))
    status, errors = end(process)
    demand(status in ((0,) if name == "SIGUSR1" else (0, 75)), f"{name}: {status}: {errors}")
    if status == 75:
        said = bench.status(run)
        demand("stopped at" in said and name in said, f"status says {said}")
    bench.finish(run, torture.state_of(bench.path(run)), chance.randint(1, 4))
    shutil.rmtree(bench.path(run))
    return status


def stop(bench, run, name):
    """Twice: the second life goes on from where the first one stopped."""
    for _ in range(2):
        before = torture.state_of(bench.path(run))
        process = start_long(bench, run, threads=2)
        end_long(bench, process, run, before, name)
    shutil.rmtree(bench.path(run))


def end_long(bench, process, run, before, name):
    """A signal that stops: soon, and what was done is committed."""
    kept = len(before["pretrain"]["timed"]) if before else 0
    wait(process, lambda: len(timed(bench, run)) > kept + 20, f"{run}: twenty steps")
    process.send_signal(getattr(signal, name))
    status, errors = end(process, SOON)
    demand(status == 75, f"{run}: {name}: {status}: {errors}")
    bench.keeps(run, before)
    done = torture.step_of(timed(bench, run)[-1])
    committed = torture.committed_steps(bench.path(run, "pretrain"))
    demand(committed and committed[-1] == done, f"{run}: step {done} was done, not {committed}")


def timed(bench, run):
    return torture.timing_rows(bench.path(run, "pretrain"))[0]


def go_on(bench):
    """SIGUSR1: each one makes a checkpoint, and the life goes on."""
    process, folder = start_long(bench, "go-on", threads=2), bench.path("go-on", "pretrain")
    wait(process, lambda: len(timed(bench, "go-on")) > 20, "go-on: twenty steps")
    demand(not torture.committed_steps(folder), "go-on: it commits unasked")
    for _ in range(2):
        newest = (torture.committed_steps(folder) or [0])[-1]
        process.send_signal(signal.SIGUSR1)
        wait(process, lambda: (torture.committed_steps(folder) or [0])[-1] > newest,
             f"go-on: a checkpoint after {newest}", SOON)
    before = torture.state_of(bench.path("go-on"))
    end_long(bench, process, "go-on", before, "SIGTERM")
    shutil.rmtree(bench.path("go-on"))


def twice(bench):
    """A second signal does not wait for anything."""
    process = start_long(bench, "twice")
    wait(process, lambda: os.path.exists(bench.path("twice", "run.json")), "twice: run.json")
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
rm -rf left; [ ! -d disk/run ] || cp -a disk/run left
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
    bench.keeps("left", torture.state_of(bench.path(start)))
    bench.check("result", torture.state_of(bench.path("left")))
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
    told, failed = [], []
    try:
        bench.undisturbed()
        for name in chosen:
            try:
                told.append(f"{name}: {tries[name](bench, random.Random(1))}")
                print(told[-1], flush=True)
            except torture.Failure as failure:
                print(f"{name}: {failure}")
                failed.append(name)
    finally:
        bench.close()
    print(f"crowd_run: {'failed: ' + ', '.join(failed) if failed else 'fine: ' + '; '.join(told)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
