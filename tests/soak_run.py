#!/usr/bin/python3
"""Runs, kills and resumes for so many minutes: tests/soak_run.py RLHF MINUTES.

A long PPO stage that commits every few steps; every few seconds a SIGKILL and another life. Printed
and held: resident memory and open files of a life do not grow, no temporary file stays.
"""
import os
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torture

SLOPE_MOST = 1024  # KiB of memory a minute, within a life
KEEP = ["--set", "ppo.steps=1000000", "--set", "checkpoint_seconds=2", "--set", "keep_every=100000",
        "--set", "ppo.sample_every=0", "--until", "ppo"]  # samples of all steps would add up


def sample(pid):
    """Resident KiB and open files."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
    return resident, len(os.listdir(f"/proc/{pid}/fd"))


def slope(points):
    """Least squares, per minute."""
    n = len(points)
    mean_t, mean_y = sum(t for t, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    return 60 * sum((t - mean_t) * (y - mean_y) for t, y in points) / spread if spread else 0.0


def one_life(bench, seconds):
    """Samples of one life, which is killed at the end of it."""
    command = bench.command("soak", 2, KEEP)
    command[command.index("checkpoint_seconds=0.000001")] = "threads=2"
    process = subprocess.Popen(command, cwd=bench.folder, env=bench.environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    begun, found = time.monotonic(), []
    while time.monotonic() - begun < seconds:
        time.sleep(0.25)
        torture.demand(process.poll() is None, f"it ended by itself: {process.returncode}")
        found.append((time.monotonic() - begun, *sample(process.pid)))
    process.kill()
    process.wait()
    return found[len(found) // 3:]  # when all has been allocated


def leftovers(run):
    return [name for _, folders, names in os.walk(run) for name in folders + names
            if name.startswith("tmp-step-") or name.endswith(".part")]


def main():
    bench, chance = torture.Torture(sys.argv[1]), random.Random(1)
    until = time.monotonic() + 60 * float(sys.argv[2])
    slopes, files, left, lives, last = [], [], [], 0, 0
    try:
        while time.monotonic() < until:
            found = one_life(bench, chance.uniform(20, 40))
            lives += 1
            slopes.append(slope([(t, resident) for t, resident, _ in found]))
            files.append(max(count for _, _, count in found))
            left.append(len(leftovers(bench.path("soak"))))
            steps = torture.committed_steps(bench.path("soak", "ppo"))
            torture.demand(not steps or steps[-1] >= last, f"step {last} was committed, then {steps}")
            last = steps[-1] if steps else last
    finally:
        bench.close()
    middle = sorted(slopes)[len(slopes) // 2]
    print(f"{lives} lives, PPO came to step {last}; memory {middle:+.0f} KiB a minute (median), "
          f"at most {max(files)} open files, at most {max(left)} temporary files after a kill")
    # A kill may leave the file that was being written, and the checkpoint it belonged to.
    held = middle <= SLOPE_MOST and max(files) - min(files) <= 3 and max(left) <= 2 and last > 0
    print(f"soak_run: {'fine' if held else 'failed'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
