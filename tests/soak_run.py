#!/usr/bin/python3
"""Runs, kills and resumes for so many minutes: tests/soak_run.py RLHF MINUTES.

A long PPO stage that commits every two seconds. Half of the time is one life: its resident memory
and open files must not grow. In the other half a SIGKILL every 20 to 40 s and another life: no
committed step is lost, no temporary file stays. The steps are slow on purpose: each leaves a file of
rollouts for good.
"""
import os
import random
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torture

SLOPE_MOST = 34  # KiB of memory a minute: 1 MiB in half an hour
DISK_MOST = 1000  # MB that the run may take
LEFT_MOST = 2  # a kill may leave the file that was being written, and its folder
KEEP = [word for setting in [
    "model.channels=64", "model.layers=4", "ppo.rollouts=256", "ppo.epochs=8", "ppo.steps=1000000",
    "keep_every=100000", "ppo.sample_every=0"]  # samples of all steps would add up
        for word in ["--set", setting]]


def sample(pid):
    """Resident KiB and open files."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


def slope(points):
    """The median over all pairs (Theil and Sen), per minute."""
    return 60 * statistics.median((y - before) / (t - begun) for i, (t, y) in enumerate(points)
                                  for begun, before in points[:i])


def one_life(bench, seconds):
    """Samples of one life, one a second, which is killed at the end of it; nothing is lost by it."""
    before = torture.state_of(bench.path("soak"))
    command = bench.command("soak", 2, KEEP + ["--until", "ppo"])
    process = subprocess.Popen(command, cwd=bench.folder, env=bench.environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    begun, found = time.monotonic(), []
    while time.monotonic() - begun < seconds:
        time.sleep(1)
        torture.demand(process.poll() is None, f"it ended by itself: {process.returncode}")
        found.append((time.monotonic() - begun, *sample(process.pid)))
    process.kill()
    process.wait()
    bench.keeps("soak", before)
    return found


def leftovers(run):
    return [name for _, folders, names in os.walk(run) for name in folders + names
            if name.startswith("tmp-step-") or name.endswith(".part")]


def megabytes(run):
    return sum(os.path.getsize(os.path.join(base, name))
               for base, _, names in os.walk(run) for name in names) / 1e6


def main():
    bench, chance = torture.Torture(sys.argv[1], ["checkpoint_seconds=2"]), random.Random(1)
    half = 30 * float(sys.argv[2])
    wrong, left, lives = [], [], 0
    try:
        found = one_life(bench, half)
        until = time.monotonic() + half
        while time.monotonic() < until:
            one_life(bench, chance.uniform(20, 40))
            lives += 1
            left.append(len(leftovers(bench.path("soak"))))
        steps = (torture.committed_steps(bench.path("soak", "ppo")) or [0])[-1]
        size = megabytes(bench.path("soak"))
    except torture.Failure as failure:
        print(f"soak_run: failed: {failure}")
        return 1
    finally:
        bench.close()
    third = len(found) // 3
    growth = slope([(t, resident) for t, resident, _ in found[third:]])
    files, most_files = found[-1][2], max(count for _, _, count in found[:third])
    wrong += ["memory grows"] if growth > SLOPE_MOST else []
    wrong += ["files stay open"] if files > most_files else []
    wrong += ["temporary files stay"] if max(left) > LEFT_MOST else []
    wrong += ["no step was committed"] if steps == 0 else []
    wrong += ["the run is too large for memory"] if size > DISK_MOST else []
    print(f"soak_run: {'failed: ' + ', '.join(wrong) if wrong else 'fine'}: one life of {half:.0f} s: "
          f"{growth:+.1f} KiB a minute at {found[-1][1] / 1024:.0f} MiB, {files} open files at the end, "
          f"at most {most_files} in its first third; {lives} kills, at most {max(left)} temporary "
          f"files after one; {steps} steps committed, none lost, {size:.0f} MB")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
