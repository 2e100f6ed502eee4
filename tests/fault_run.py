#!/usr/bin/python3
"""Lets the I/O calls or the allocations of a run fail, one by one, and demands: no crash, one line
that names file, cause and what to do, nothing bad committed, and afterwards a resumed run that ends
in the bits of the run that nothing disturbed.

    tests/fault_run.py RLHF io [--stride 1] [--first 1]
    tests/fault_run.py RLHF memory [--stride 1] [--first 1]

io: open, write, fsync, rename, close, truncate, mkdir and remove with EIO, ENOSPC, EINTR and (write)
half of it, once and for good. memory: every allocation, once and for good; meant for a build with
AddressSanitizer, which tells leaks.
"""
import argparse
import concurrent.futures
import os
import random
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torture

KINDS = ["open", "write", "fsync", "rename", "close", "truncate", "mkdir", "remove"]
CAUSES = {"EIO": "Input/output error", "ENOSPC": "No space left on device",
          "EINTR": "Interrupted system call"}
SANITIZER = ("AddressSanitizer", "LeakSanitizer", "runtime error")


def io_plans(calls):
    """kind:n:action[:persist] for every call of every kind."""
    plans = []
    for kind in KINDS:
        count = sum(call.kind == kind for call in calls)
        actions = list(CAUSES) + (["short"] if kind == "write" else [])
        plans += [f"{kind}:{n}:{action}{persist}" for n in range(1, count + 1)
                  for action in actions for persist in ("", ":persist")]
    return plans


def check_crash(status, errors):
    torture.demand(status >= 0, f"died of signal {-status}")
    for word in SANITIZER:
        torture.demand(word not in errors, f"{word}: " + errors[errors.find(word):][:600])


def io_fails(bench, plan, name):
    run, action = f"io-{name}", plan.split(":")[2]
    status, errors = bench.life(run, RLHF_IO_FAULT=plan)
    check_crash(status, errors)
    line = torture.last_line(errors)
    torture.demand(status in (0, 5), f"exit status {status}: {line}")
    if status == 5:
        torture.demand(line.startswith("rlhf run: ") and CAUSES.get(action, "?") in line,
                       f"the line does not name the cause: {line}")
        # Before that there is nothing to go on with, after it nothing to do.
        if os.path.exists(bench.path(run, "pretrain")) and \
                not os.path.exists(bench.path(run, "evaluate", "manifest.json")):
            torture.demand("rlhf resume " + run in line and "last good" in line or
                           "nothing was done" in line, f"it does not say what to do: {line}")
    if os.path.exists(bench.path(run)):
        bench.finish(run, torture.state_of(bench.path(run)), 1)
        shutil.rmtree(bench.path(run))
    return status


def memory_fails(bench, plan, name):
    run = f"memory-{name}"
    status, errors = bench.life(run, RLHF_MEMORY_FAULT=plan)
    check_crash(status, errors)
    line = torture.last_line(errors)
    torture.demand(status in (0, 1), f"exit status {status}: {line}")
    torture.demand(status == 0 or "cannot allocate" in line or "no memory" in line,
                   f"the line: {line}")
    if os.path.exists(bench.path(run)):
        bench.finish(run, torture.state_of(bench.path(run)), 1)
        shutil.rmtree(bench.path(run))
    return status


def allocations(bench):
    """How many allocations a run makes: the largest number that still fails."""
    low, high = 0, 1
    while memory_fails(bench, str(high), "count") == 1:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if memory_fails(bench, str(middle), "count") == 1:
            low = middle
        else:
            high = middle
    return low


def work(bench, trial, plans, jobs, most):
    failures, ended = [], {}

    def one(numbered):
        index, plan = numbered
        if len(failures) >= most:
            return
        try:
            status = trial(bench, plan, index)
            ended[status] = ended.get(status, 0) + 1
        except torture.Failure as failure:
            failures.append(f"{plan}: {failure}")

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, enumerate(plans)))
    statuses = ", ".join(f"{count} with {status}" for status, count in sorted(ended.items()))
    print(f"{len(plans)} faults: {statuses} ended as promised, {len(failures)} not")
    for failure in failures[:15]:
        print("  " + failure)
    return len(failures)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rlhf")
    parser.add_argument("kind", choices=["io", "memory"])
    parser.add_argument("--sample", type=int, default=0, help="so many, drawn; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--failures", type=int, default=20, help="give up after so many")
    asked = parser.parse_args()

    bench = torture.Torture(asked.rlhf)
    try:
        bench.undisturbed()
        if asked.kind == "io":
            plans, trial = io_plans(bench.calls), io_fails
        else:
            plans, trial = [f"{n}{persist}" for n in range(1, allocations(bench) + 1)
                            for persist in ("", ":persist")], memory_fails
        print(f"{asked.kind}: {len(plans)} faults there are")
        if asked.sample:
            plans = random.Random(asked.seed).sample(plans, min(asked.sample, len(plans)))
        failures = work(bench, trial, plans, asked.jobs, asked.failures)
    finally:
        bench.close()
    print(f"fault_run {asked.kind}: {'fine' if failures == 0 else f'{failures} failures'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
