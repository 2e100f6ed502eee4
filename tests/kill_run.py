#!/usr/bin/python3
"""Kills a run at its I/O calls, resumes it with another number of threads and demands that no
committed step was lost and that it ends in the bits of the run that nothing disturbed.

    tests/kill_run.py RLHF random [--kills 60] [--stage 5] [--commit 10] [--seed 1]
    tests/kill_run.py RLHF every [--stride 1] [--torn]
    tests/kill_run.py RLHF power [--kills 60] [--stage 5] [--commit 10]
    tests/kill_run.py RLHF damage [--kills 20] [--stage 2]

random: SIGKILL at calls drawn so that at least --stage fall into every stage and --commit inside a
commit; some are half-written files, some kill the resumed life too. every: at every call in turn.
power: what the disk may look like after a loss of power, by the calls made until then: what was not
synced is cut off, and names that were not synced are taken back. damage: after the kill one bit of
the newest checkpoint is flipped: it is moved aside, the one before it is used, and status warns.
"""
import argparse
import collections
import concurrent.futures
import os
import random
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import torture
from power_loss import Disk


class Trial:
    """One life killed at a call, perhaps the next one too, then one to the end. Its chances come
    from its number, so that it can be tried again alone."""

    def __init__(self, bench, name, at, seed):
        self.bench, self.run, self.at = bench, f"{name}-{at}", at
        self.chance = random.Random(f"{seed} {name}")
        self.action = self.chance.choice(["kill", "kill", "torn"])
        self.again = self.chance.random() < 0.25

    def threads(self):
        return self.chance.randint(1, 4)

    def die(self, **variables):
        status, errors = self.bench.life(self.run, self.threads(),
                                         RLHF_IO_FAULT=f"any:{self.at}:{self.action}", **variables)
        torture.demand(status == -9, f"no kill but status {status}: {torture.last_line(errors)}")

    def kill(self):
        path = self.bench.path(self.run)
        self.die()
        before = torture.state_of(path)
        if self.again:
            fault = f"any:{self.chance.randint(1, 400)}:kill"
            status, errors = self.bench.life(self.run, self.threads(), RLHF_IO_FAULT=fault)
            torture.demand(status in (0, -9), f"the second life: {torture.last_line(errors)}")
            self.bench.keeps(self.run, before)
            before = torture.state_of(path)
        self.bench.finish(self.run, before, self.threads())
        shutil.rmtree(path)

    def newest_checkpoint(self):
        """Stage and folder of the newest checkpoint of the stage under way; None: there is none."""
        for stage, left in torture.state_of(self.bench.path(self.run)).items():
            if not left["finished"] and left["committed"]:
                return stage, self.bench.path(self.run, stage, "checkpoints",
                                              f"step-{left['committed']:06d}")
        return None, None

    def damage(self):
        path = self.bench.path(self.run)
        self.die()
        stage, folder = self.newest_checkpoint()
        before = torture.state_of(path)
        if stage:
            flip_a_bit(os.path.join(folder, self.chance.choice(sorted(os.listdir(folder)))),
                       self.chance)
            older = torture.committed_steps(self.bench.path(self.run, stage))[:-1]
            before[stage]["committed"] = older[-1] if older else 0
        threads = self.threads()
        status, errors = self.bench.life(self.run, threads)
        torture.demand(status == 0, f"resuming: {status}: {torture.last_line(errors)}")
        if stage:
            aside = folder.replace("/step-", "/damaged-step-")
            torture.demand(os.path.isdir(aside), f"{stage}: the flipped bit was not noticed",
                           torture.OtherBits)
            torture.demand(os.path.relpath(aside, self.bench.folder) in self.bench.status(self.run),
                           "status does not warn of the damage")
            shutil.rmtree(aside)
        self.bench.check(self.run, before)
        shutil.rmtree(path)

    def lose_power(self):
        path, trace = self.bench.path(self.run), self.bench.path(self.run + ".trace")
        self.die(RLHF_IO_TRACE=trace)
        disk = Disk(self.bench.folder, self.run, torture.read_trace(trace))
        disk.lose_power(self.chance)
        before = torture.state_of(path)
        for stage, step in disk.committed.items():
            left = before.get(stage, {"committed": 0, "finished": False})
            torture.demand(left["finished"] or
                           (left["committed"] >= step and stage not in disk.finished),
                           f"{stage}: step {step} was durable, {left['committed']} is left",
                           torture.Lost)
        self.bench.finish(self.run, before, self.threads())
        shutil.rmtree(path)
        os.remove(trace)


def flip_a_bit(path, chance):
    with open(path, "r+b") as file:
        bit = chance.randrange(8 * os.path.getsize(path))
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def draw(chance, places, kills, per_stage, in_commit):
    """Calls to kill at: first what is demanded, then anywhere. Numbers from 1."""
    chosen = []
    for stage in torture.STAGES:
        here = [i + 1 for i, place in enumerate(places) if place[0] == stage]
        chosen += chance.choices(here, k=per_stage)
    commit = [i + 1 for i, place in enumerate(places) if place[1]]
    missing = in_commit - sum(places[at - 1][1] for at in chosen)
    chosen += chance.choices(commit, k=max(missing, 0))
    chosen += chance.choices(range(1, len(places) + 1), k=max(kills - len(chosen), 0))
    return chosen


def work(trials, places, kind, jobs, most):
    """Tries them all, `jobs` at a time; prints the table; the number of failures."""
    rows = {name: collections.Counter() for name in torture.STAGES + ["between"]}
    failures = []

    def one(trial):
        if len(failures) >= most:
            return
        stage, inside = places[trial.at - 1]
        row = rows[stage or "between"]
        row["kills"] += 1
        row["in a commit"] += inside
        try:
            {"power": trial.lose_power, "damage": trial.damage}.get(kind, trial.kill)()
        except torture.Failure as failure:
            row["lost"] += isinstance(failure, torture.Lost)
            row["other bits"] += isinstance(failure, torture.OtherBits)
            row["failed"] += 1
            failures.append(f"call {trial.at} ({stage}), {trial.action}: {failure}")

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, trials))
    print_table(rows)
    for failure in failures[:10]:
        print("  " + failure)
    return len(failures)


def print_table(rows):
    columns = ["kills", "in a commit", "lost", "other bits", "failed"]
    print(f"{'stage':<10}" + "".join(f"{name:>13}" for name in columns))
    total = collections.Counter()
    for name, row in rows.items():
        print(f"{name:<10}" + "".join(f"{row[column]:>13}" for column in columns))
        total.update(row)
    print(f"{'all':<10}" + "".join(f"{total[column]:>13}" for column in columns))


def plan(bench, asked, places):
    """The trials that were asked for."""
    if asked.kind == "every":
        numbers = [at for at in range(asked.first, len(places) + 1, asked.stride)
                   if not asked.torn or bench.calls[at - 1].kind == "write"]
    else:
        numbers = draw(random.Random(asked.seed), places, asked.kills, asked.stage, asked.commit)
    trials = [Trial(bench, f"{asked.kind}-{i}", at, asked.seed) for i, at in enumerate(numbers)]
    for trial in trials if asked.kind == "every" else []:
        trial.action, trial.again = "torn" if asked.torn else "kill", False
    return trials


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rlhf")
    parser.add_argument("kind", choices=["random", "every", "power", "damage"])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stage", type=int, default=5)
    parser.add_argument("--commit", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--torn", action="store_true", help="every: half-written files, not kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--failures", type=int, default=20, help="give up after so many")
    asked = parser.parse_args()

    bench = torture.Torture(asked.rlhf)
    try:
        bench.undisturbed()
        places = torture.places(bench.calls, "undisturbed")
        trials = plan(bench, asked, places)
        print(f"{asked.kind}: {len(trials)} kills over the {len(places)} I/O calls of a run")
        failures = work(trials, places, asked.kind, asked.jobs, asked.failures)
    finally:
        bench.close()
    print(f"kill_run {asked.kind}: {'fine' if failures == 0 else f'{failures} failures'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
