#!/usr/bin/python3
"""Lets the I/O calls or the allocations of a run fail, one by one, and demands: no crash, one line
that names file, cause and what to do, nothing that was committed before lost, a run that says it is
done whole, and otherwise a resumed one that ends in the bits of the run that nothing disturbed. A
folder that is left as another fault left it before is not resumed again: resuming depends on the
folder alone. A run that gets over a failure is followed for a while, then killed.

    tests/fault_run.py RLHF_EVERY_FAULT io|memory|famine|kill [--resume-with RLHF] [--sample 40]
                       [--first 1]

io: open, write, fsync, rename, close, truncate, mkdir and remove with EIO, ENOSPC, EINTR and (write)
half of it, once and for good. kill: SIGKILL at every call, reading too, and at every write also
with half of it done; resumed with some number of threads. memory: every allocation, those of the
processes that read HDF5 files too; famine: and all that follow; meant for a build with
AddressSanitizer, which tells leaks. The program is that of tests/every_fault.c; folders are resumed
with another build of it where one is named, which must make the same bits.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torture

CAUSES = {"EIO": "Input/output error", "ENOSPC": "No space left on device",
          "EINTR": "Interrupted system call"}
STRUCK = {"open", "write", "fsync", "rename", "close", "truncate", "mkdir", "remove"}
# Of tests/every_fault.c: there is no such allocation; it failed, and the run went on for long.
NOT_STRUCK, UNHARMED = 200, 202
ALLOCATIONS, IO_CALLS = 28000, 2500  # of a run, roughly: what --sample is a part of
SANITIZER = ("AddressSanitizer", "LeakSanitizer", "runtime error")


def check_crash(status, errors):
    torture.demand(status >= 0, f"died of signal {-status}")
    for word in SANITIZER:
        torture.demand(word not in errors, f"{word}: " + errors[errors.find(word):][:600])


class Resumed:
    """The folders that were resumed, so that none is twice."""

    def __init__(self):
        self.lock, self.states = threading.Lock(), set()

    def once(self, bench, run, threads):
        """Resumes `run`, if it is like none before; every promise must hold."""
        if not os.path.exists(bench.path(run)):
            return
        state = torture.left_state(bench.path(run))
        with self.lock:
            known = state in self.states
            self.states.add(state)
        if not known:
            bench.finish(run, torture.state_of(bench.path(run)), threads)


def judge_io(bench, name, status, line):
    torture.demand(status in (0, 5), f"exit status {status}: {line}")
    if status == 0:
        return
    torture.demand(re.match(r"rlhf run: .*\b(run[/:]|small\.json:)", line) and
                   CAUSES.get(name.split(":")[2], "?") in line,
                   f"the line does not name file and cause: {line}")
    # Before that there is nothing to go on with, after it nothing to do.
    if os.path.exists(bench.path("run", "pretrain")) and \
            not os.path.exists(bench.path("run", "evaluate", "manifest.json")):
        torture.demand("rlhf resume run" in line and "last good" in line or
                       "nothing was done" in line, f"it does not say what to do: {line}")


def judge_memory(_, name, status, line):
    torture.demand(status in (0, 1), f"{name}: exit status {status}: {line}")
    torture.demand(status == 0 or "cannot allocate" in line or "no memory" in line,
                   f"the line: {line}")


def judge_kill(_, name, status, line):
    torture.demand(status == -9, f"{name}: no kill but status {status}: {line}")


def judge(bench, resumed, judge_line, name, status, before):
    """A copy that has ended in the folder of `bench`; `before` is how the run stood when it was
    made."""
    with open(bench.path("errors"), encoding="utf-8", errors="replace") as file:
        errors = file.read()
    if judge_line is not judge_kill:
        check_crash(status, errors)
    # The sanitizer sees the process that the copy is of, which is no leak.
    errors = re.sub("==[0-9]+==Running thread .*\n", "", errors)
    if status != UNHARMED:
        judge_line(bench, name, status, torture.last_line(errors))
    bench.keeps("run", before)
    if status == 0:
        bench.check("run", before)
    else:
        resumed.once(bench, "run", 1 + len(resumed.states) % 4 if judge_line is judge_kill else 1)
    return status


class Tally:
    """How the faults ended."""

    def __init__(self, most):
        self.most, self.failures, self.ended = most, [], {}
        self.lock, self.judged = threading.Lock(), 0

    def full(self):
        return len(self.failures) >= self.most

    def judge(self, plan, trial):
        """`trial` returns an exit status, or does not and raises."""
        status = failed = None
        try:
            status = trial()
        except torture.Failure as failure:
            failed = f"{plan}: {failure}"
        with self.lock:
            self.judged += 1
            if failed:
                self.failures.append(failed)
            else:
                self.ended[status] = self.ended.get(status, 0) + 1
            if self.judged % 1000 == 0:
                print(f"{self.judged} faults, the last {plan}, {len(self.failures)} failures",
                      flush=True)

    def show(self, resumed):
        ended = ", ".join(f"{count} with {status}" for status, count in sorted(self.ended.items()))
        print(f"{self.judged} faults: {ended} ended as promised, "
              f"{len(self.failures)} not; {len(resumed.states)} different folders resumed")
        for failure in self.failures[:15]:
            print("  " + failure)


def follow(bench, asked, tally, resumed):
    """Each job follows a run of its own and judges every so many of its calls. One thread, in the
    summary too: copies would wait for the others."""
    kinds = {"io": (judge_io, IO_CALLS), "memory": (judge_memory, ALLOCATIONS),
             "famine": (judge_memory, ALLOCATIONS), "kill": (judge_kill, IO_CALLS)}
    judge_line, calls = kinds[asked.kind]
    stride = max(calls // asked.sample, asked.jobs) if asked.sample else asked.jobs

    def one(job):
        place, (ask, answers), (answer, asks) = bench.inside(f"job-{job}"), os.pipe(), os.pipe()
        copies = place.inside("copies")
        copies.rlhf = os.path.abspath(asked.resume_with or asked.rlhf)
        first = asked.first + job * stride // asked.jobs
        plan = f"{asked.kind} {first} {stride} copies run {answers} {answer}"
        explorer = subprocess.Popen(
            place.command("run"), cwd=place.folder, pass_fds=(answers, answer),
            env=bench.environment(RLHF_EVERY_FAULT=plan, OMP_THREAD_LIMIT="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.close(answers)
        os.close(answer)
        with open(ask, encoding="utf-8") as told:
            for line in told:
                name, status = line.split()
                if int(status) != NOT_STRUCK:
                    before = torture.state_of(place.path("run"))
                    tally.judge(name, lambda: judge(copies, resumed, judge_line, name, int(status),
                                                    before))
                shutil.rmtree(copies.path("run"), ignore_errors=True)
                if tally.full():
                    explorer.kill()
                os.write(asks, b".")
        os.close(asks)
        errors = explorer.communicate()[1].decode("utf-8", "replace")
        if not tally.full():
            torture.demand(explorer.returncode == 0, f"the explorer: {torture.last_line(errors)}")
            place.check("run", {})

    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        list(pool.map(one, range(asked.jobs)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rlhf")
    parser.add_argument("kind", choices=["io", "memory", "famine", "kill"])
    parser.add_argument("--resume-with", metavar="RLHF", help="a faster build")
    parser.add_argument("--sample", type=int, default=0, help="so many calls; 0: all")
    parser.add_argument("--first", type=int, default=1, help="go on from this call")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--failures", type=int, default=20, help="give up after so many")
    asked = parser.parse_args()

    bench = torture.Torture(asked.rlhf)
    tally, resumed = Tally(asked.failures), Resumed()
    try:
        bench.undisturbed()
        if asked.resume_with:
            other = bench.inside("other")
            other.rlhf = os.path.abspath(asked.resume_with)
            torture.demand(other.undisturbed() == bench.reference, "--resume-with: other bits")
        follow(bench, asked, tally, resumed)
        tally.show(resumed)
        # Each of the calls at least once and for good, in three ways.
        least = {"io": 6 * sum(call.kind in STRUCK for call in bench.calls), "memory": 20000,
                 "famine": 20000, "kill": len(bench.calls)}[asked.kind]
        least = 1 if asked.sample or asked.first > 1 else least
        torture.demand(tally.full() or tally.judged >= least, f"only {tally.judged} faults came")
    finally:
        bench.close()
    failures = len(tally.failures)
    print(f"fault_run {asked.kind}: {'failed' if failures else 'fine'}: {tally.judged} faults, "
          f"{len(resumed.states)} different folders resumed, {failures} promises broken")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
