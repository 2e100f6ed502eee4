#!/usr/bin/python3
"""Kills a run at its I/O calls, resumes it with another number of threads and demands that no
committed step was lost and that it ends in the bits of the run that nothing disturbed.

    tests/kill_run.py RLHF random [--kills 60] [--stage 5] [--commit 10] [--seed 1]
    tests/kill_run.py RLHF power [--kills 60] [--stage 5] [--commit 10] [--rarely]
    tests/kill_run.py RLHF damage [--kills 20] [--stage 2]

random: SIGKILL at calls drawn so that at least --stage fall into every stage and --commit inside a
commit; some are half-written files, some kill the resumed life too (every call in turn: fault_run).
power: what the disk may look like after a loss of power, by the calls made until then: what was not
synced is cut off, and names that were not synced are taken back; --rarely: where stages commit
little before their end. damage: after a kill behind a stage's first commit one bit of the newest
checkpoint is flipped: it is moved aside, the one before it is used, and status warns; where there is
none before it the run is refused, and goes on once --restart says that the stage may be done again.
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

COMMITTING = ["pretrain", "sft", "reward", "ppo"]  # the stages that make checkpoints
COLUMNS = ["kills", "in a commit", "damaged", "fell back", "lost", "other bits", "failed"]


class Trial:
    """One life killed at a call, perhaps the next one too, then one to the end. Its chances come
    from its number, so that it can be tried again alone."""

    def __init__(self, bench, name, at, seed):
        self.bench, self.run, self.at = bench, f"{name}-{at}", at
        self.chance = random.Random(f"{seed} {name}")
        self.action = self.chance.choice(["kill", "kill", "torn"])
        self.again = self.chance.random() < 0.25
        self.seen = []  # of COLUMNS

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

    def newest_checkpoint(self, before):
        """Of the stage under way: its name, the folder, and the step of the one before, or 0."""
        stage = next((name for name, left in before.items()
                      if not left["finished"] and left["committed"]), None)
        torture.demand(stage, "there is nothing to damage")
        steps = torture.committed_steps(self.bench.path(self.run, stage))
        return (stage, self.bench.path(self.run, stage, "checkpoints", f"step-{steps[-1]:06d}"),
                steps[-2] if len(steps) > 1 else 0)

    def damage(self):
        path = self.bench.path(self.run)
        self.die()
        before = torture.state_of(path)
        stage, folder, older = self.newest_checkpoint(before)
        before[stage]["committed"] = older
        flip_a_bit(os.path.join(folder, self.chance.choice(sorted(os.listdir(folder)))), self.chance)
        self.seen.append("damaged")
        aside = folder.replace("/step-", "/damaged-step-")
        status, errors = self.bench.life(self.run, self.threads())
        if status == 4 and not older:
            self.restart(stage, torture.last_line(errors))
        else:
            torture.demand(status == 0, f"resuming: {status}: {torture.last_line(errors)}")
            torture.demand(os.path.isdir(aside), f"{stage}: the flipped bit was not noticed",
                           torture.OtherBits)
            torture.demand(os.path.relpath(aside, self.bench.folder) in self.bench.status(self.run),
                           "status does not warn of the damage")
            self.seen += ["fell back"] if older else []
        shutil.rmtree(aside, ignore_errors=True)
        self.bench.check(self.run, before)
        shutil.rmtree(path)

    def restart(self, stage, line):
        """Nothing is left to go on from: no life begins anew unasked, one that is asked does."""
        torture.demand(f"--restart {stage}" in line, f"it does not say what to do: {line}")
        status, _ = self.bench.life(self.run, self.threads())
        torture.demand(status == 4, f"refused once, the second time it is {status}")
        status, errors = self.bench.life(self.run, self.threads(), begin=("--restart", stage))
        torture.demand(status == 0, f"--restart {stage}: {status}: {torture.last_line(errors)}")

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


def draw(chance, places, calls, asked):
    """Of `calls` (numbers from 1) some to kill at: first what is demanded, then any."""
    chosen = []
    for stage in COMMITTING if asked.kind == "damage" else torture.STAGES:
        chosen += chance.choices([at for at in calls if places[at - 1][0] == stage], k=asked.stage)
    commit = [at for at in calls if places[at - 1][1]]
    missing = asked.commit - sum(places[at - 1][1] for at in chosen)
    chosen += chance.choices(commit, k=max(missing, 0))
    chosen += chance.choices(calls, k=max(asked.kills - len(chosen), 0))
    return chosen


def work(trials, places, kind, jobs, most):
    """Tries them all, `jobs` at a time; what became of them, stage by stage, and the failures."""
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
        row.update(trial.seen)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, trials))
    return rows, failures


def show(rows, failures):
    print(f"{'stage':<10}" + "".join(f"{name:>13}" for name in COLUMNS))
    for name, row in rows.items():
        print(f"{name:<10}" + "".join(f"{row[column]:>13}" for column in COLUMNS))
    for failure in failures[:10]:
        print("  " + failure)


def plan(bench, asked, places):
    """The trials that were asked for."""
    calls = torture.damageable(bench.calls, "undisturbed") if asked.kind == "damage" \
        else range(1, len(places) + 1)
    numbers = draw(random.Random(asked.seed), places, calls, asked)
    return [Trial(bench, f"{asked.kind}-{i}", at, asked.seed) for i, at in enumerate(numbers)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rlhf")
    parser.add_argument("kind", choices=["random", "power", "damage"])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stage", type=int, default=5)
    parser.add_argument("--commit", type=int, default=10)
    parser.add_argument("--rarely", action="store_true", help="not each step is committed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--failures", type=int, default=20, help="give up after so many")
    asked = parser.parse_args()

    bench = torture.Torture(asked.rlhf, torture.RARELY if asked.rarely else torture.EACH_STEP)
    try:
        bench.undisturbed()
        places = torture.places(bench.calls, "undisturbed")
        trials = plan(bench, asked, places)
        print(f"{asked.kind}: {len(trials)} kills over the {len(places)} I/O calls of a run")
        rows, failures = work(trials, places, asked.kind, asked.jobs, asked.failures)
    finally:
        bench.close()
    total = sum(rows.values(), collections.Counter())
    if asked.kind == "damage" and not failures:
        missed = [stage for stage in COMMITTING if rows[stage]["damaged"] < asked.stage]
        failures += [f"{stage}: too few were damaged" for stage in missed]
        failures += [] if total["fell back"] else ["none fell back"]
    show({**rows, "all": total}, failures)
    print(f"kill_run {asked.kind}: {'failed' if failures else 'fine'}: " +
          ", ".join(f"{total[column]} {column}" for column in COLUMNS))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
