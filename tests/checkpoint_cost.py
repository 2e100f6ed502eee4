#!/usr/bin/python3
"""What checkpoints cost: runs the preset quickstart with one every few seconds and adds up what
they took (time/checkpoint in timings.jsonl) beside all steps. Fails where that is 2 % or more. It
says something on a quiet machine and a real disk.

    tests/checkpoint_cost.py RLHF [--every SECONDS] [--until STAGE] [--in FOLDER]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

MOST = 0.02


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
        spent = of = 0.0
        for stage in ["pretrain", "sft", "reward", "ppo"]:
            rows = timings(os.path.join(run, stage))
            took = [row["time/checkpoint"] for row in rows if "time/checkpoint" in row]
            seconds = sum(row["seconds"] for row in rows)
            if took:
                print(f"{stage:<9} {seconds:6.1f} s, {len(took):3} checkpoints of "
                      f"{1000 * sum(took) / len(took):5.1f} ms: {100 * sum(took) / seconds:.2f} %")
            spent, of = spent + sum(took), of + seconds
    if spent == 0:
        print("checkpoint_cost: there was no checkpoint")
        return 1
    print(f"checkpoint_cost: {100 * spent / of:.2f} % of {of:.0f} s, one every {asked.every:g} s")
    return spent >= MOST * of


if __name__ == "__main__":
    sys.exit(main())
