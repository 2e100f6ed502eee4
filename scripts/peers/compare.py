#!/usr/bin/python3
"""Runs rlhf bench and peer.py in turn and prints medians, ratios and their spread.

First both must give the same losses, to 1e-4, from one set of weights and tokens. What is not
known here (--threads 2, --d 128, ...) goes to both programs.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

PEER = pathlib.Path(__file__).with_name("peer.py")
TOLERANCE = 1e-4
# What is compared, and whether more is better.
RATIOS = {"train_tok_s": True, "score_tok_s": True, "generate_tok_s": True, "ppo_iter_s": False}


def run(command):
    done = subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE,
                          text=True)
    if done.returncode != 0:
        sys.exit(f"compare.py: {command[0]} ended with status {done.returncode}")
    return json.loads(done.stdout)


def ours(options, *more):
    return run([options.rlhf, "bench", *options.sizes, *more])


def theirs(options, *more):
    return run(["/usr/bin/python3", PEER, *options.sizes, *more])


def check(options):
    with tempfile.TemporaryDirectory() as folder:
        mine = ours(options, "--check", folder)
        other = theirs(options, "--check", folder)
    worst = 0.0
    for name, value in mine.items():
        difference = abs(value - other[name])
        worst = max(worst, difference)
        if not difference <= TOLERANCE:
            sys.exit(f"compare.py: {name} is {value:.7g} here and {other[name]:.7g} in PyTorch")
    if mine.keys() != other.keys():
        sys.exit("compare.py: other losses on each side")
    print(f"{len(mine)} losses agree, largest difference {worst:.1e}")


def table(runs):
    """Medians of both sides and of the ratios of neighbouring runs, with the extremes."""
    print(f"{'':16} {'rlhf':>12} {'PyTorch':>12} {'ratio':>8} {'least':>8} {'most':>8}")
    found = {}
    for name in runs[0][0]:
        mine, other = ([pair[side][name] for pair in runs] for side in (0, 1))
        line = f"{name:16} {statistics.median(mine):12.5g} {statistics.median(other):12.5g}"
        if name in RATIOS:
            ratio = [a / b if RATIOS[name] else b / a for a, b in zip(mine, other)]
            found[name] = {"median": statistics.median(ratio), "least": min(ratio),
                           "most": max(ratio)}
            line += "".join(f" {found[name][key]:8.2f}" for key in ("median", "least", "most"))
        print(line)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rlhf", required=True, metavar="PROGRAM")
    parser.add_argument("--runs", type=int, default=5, help="of each program (default 5)")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE",
                        help="every number of every run, as JSON")
    options, options.sizes = parser.parse_known_args()
    subprocess.run([options.rlhf, "--version"], check=True)  # names OpenBLAS's kernel
    check(options)
    runs = []
    for number in range(options.runs):
        runs.append((ours(options, "--json"), theirs(options, "--json")))
        print(f"run {number + 1}/{options.runs}: rlhf {runs[-1][0]['ppo_iter_s']:.3g} s, "
              f"PyTorch {runs[-1][1]['ppo_iter_s']:.3g} s an iteration", file=sys.stderr)
    ratios = table(runs)
    if options.output:
        options.output.write_text(json.dumps({"runs": runs, "ratios": ratios}, indent=2) + "\n")


main()
