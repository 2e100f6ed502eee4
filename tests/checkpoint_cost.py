#!/usr/bin/python3
"""What checkpoints cost: runs the preset quickstart with one every few seconds and adds up what
they took (time/checkpoint in timings.jsonl) beside all steps. Fails where that is 2 % or more of a
stage or of them all. PPO is nearest to it: it keeps every tenth of its steps for good besides, which
in so short a run is one a second.

A row tells of the checkpoint before it, so the last one of a stage is in none: it counts as the
mean of those like it. The first of a stage is like none but other firsts: it touches its memory for
the first time and takes two or three times as long. It says something on a quiet machine and a real
disk.

    tests/checkpoint_cost.py RLHF [--every SECONDS] [--until STAGE] [--in FOLDER]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

MOST = 0.02
STAGES = ["pretrain", "sft", "reward", "ppo"]


def timings(folder):
    path = os.path.join(folder, "timings.jsonl")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rlhf")
    parser.add_argument("--every", type=float, default=3, help="seconds")
    parser.add_argument("--in", dest="place", help="where the run lies; goes on where it stands")
    parser.add_argument("--until", default="ppo", help="the last stage")
    asked = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="rlhf-checkpoints-") as scratch:
        run = asked.place or os.path.join(scratch, "run")
        subprocess.run([asked.rlhf, "run", "quickstart", "--out", run, "--resume", "--until",
                        asked.until, "--set", f"checkpoint_seconds={asked.every:g}"], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        found = {stage: timings(os.path.join(run, stage)) for stage in STAGES}
    return judge(found, asked.every)


def judge(found, every):
    took = {stage: [row["time/checkpoint"] for row in rows if "time/checkpoint" in row]
            for stage, rows in found.items()}
    first = [times[0] for times in took.values() if times]
    later = sum((times[1:] for times in took.values()), [])
    if not first:
        print("checkpoint_cost: failed: no checkpoint was timed")
        return 1
    dearest, spent, of = 0.0, 0.0, 0.0
    for stage, rows in found.items():
        if not rows:
            continue
        last = statistics.fmean(took[stage][1:] or (took[stage] and later) or first)
        cost, count = sum(took[stage]) + last, len(took[stage]) + 1
        seconds = sum(row["seconds"] for row in rows) + last
        dearest, spent, of = max(dearest, cost / seconds), spent + cost, of + seconds
        print(f"{stage:<9} {seconds:6.1f} s, {count:3} checkpoints of {1000 * cost / count:5.1f} ms: "
              f"{100 * cost / seconds:.2f} %")
    failed = dearest >= MOST or spent >= MOST * of
    print(f"checkpoint_cost: {'failed' if failed else 'fine'}: {100 * spent / of:.2f} % of {of:.0f} s, "
          f"at most {100 * dearest:.2f} % of a stage, one every {every:g} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
