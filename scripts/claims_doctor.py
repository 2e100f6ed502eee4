"""What `scripts/claims doctor` does: rlhf doctor against runs whose truth is known.

Three tables: runs spoiled on purpose (tests/doctor_runs.json says how and what should be named),
healthy runs, and the alarm for over-optimisation against gold's turning point. Thresholds were set
on seeds 1 to 5 (that alarm's also on 6 to 15); 101 to 105 judge them, and 201 to 205, which nobody
had seen while a rule was sought. Spoiled runs and other KL coefficients start from a copy of a healthy run's stages.
"""
import json
import os
import shutil
import statistics
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GROUPS = {"thresholds were set on": [1, 2, 3, 4, 5],
          "that judge them": [101, 102, 103, 104, 105],
          "that judge them, never looked at before": [201, 202, 203, 204, 205]}
SEEDS = sum(GROUPS.values(), [])
COEFFICIENTS = ["0.1", "0.02", "0.05"]  # the first is the preset's own
LOSS, WINDOW = 0.3, 5  # what counts as lost, standard deviations of SFT's gold; steps averaged


def rlhf(*words, may_fail=False):
    done = subprocess.run([os.path.join(TOP, "build", "rlhf"), *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0 and not may_fail:
        raise SystemExit(f"rlhf {' '.join(words)}: {done.stderr[-500:]}")
    return done.stdout


def healthy(preset, seed, out):
    folder = os.path.join(out, f"{preset}-s{seed}")
    rlhf("run", preset, "--out", folder, "--resume", "--force", "--set", f"seed={seed}")
    return folder


def spoiled(base, name, seed, out, first, settings, fault=None):
    """A copy of `base` gone on with otherwise from stage `first`, through PPO."""
    folder = os.path.join(out, name)
    if os.path.exists(os.path.join(folder, "doctored")):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    words = ["run", "quickstart", "--out", folder, "--restart", first, "--until", "ppo", "--force",
             "--set", f"seed={seed}"]
    for setting in settings:
        words += ["--set", setting]
    rlhf(*words, *(["--break", fault] if fault else []), may_fail=fault is not None)
    with open(os.path.join(folder, "doctored"), "w", encoding="utf-8"):
        pass
    return folder


def diagnose(folder):
    return json.loads(rlhf("doctor", folder, "--json", may_fail=True))


def wrong(diagnosis):
    return [f for f in diagnosis["findings"] if f["mark"] != "fine"]


def named(findings):
    return ", ".join(f["name"] + (f" at {f['step']}" if "step" in f else "") for f in findings) or "-"


def alarm(diagnosis):
    """The step at which over-optimisation was called; None: never."""
    return next((f["step"] for f in wrong(diagnosis) if f["name"] == "over-optimisation"), None)


def turning_point(folder):
    """Steps at which gold peaks and has lost LOSS, means of WINDOW steps; None: never lost."""
    with open(os.path.join(folder, "ppo", "metrics.jsonl"), encoding="utf-8") as file:
        gold = [json.loads(line)["objective/gold"] for line in file]
    with open(os.path.join(folder, "evaluate", "scorecard.json"), encoding="utf-8") as file:
        sigma = json.load(file)["policies"]["sft"]["gold"]["std"]
    smooth = {end: statistics.fmean(gold[end - WINDOW:end]) for end in range(WINDOW, len(gold) + 1)}
    peak = max(smooth, key=smooth.get)
    lost = [end for end in smooth if end > peak and smooth[peak] - smooth[end] >= LOSS * sigma]
    return peak, min(lost, default=None)


def spoiled_table(out):
    with open(os.path.join(TOP, "tests", "doctor_runs.json"), encoding="utf-8") as file:
        rows = json.load(file)
    base, missed = healthy("quickstart", 1, out), []
    print("\n| spoiled by | to mend first | should be | findings |\n|---|---|---|---|")
    for number, row in enumerate(rows):
        folder = spoiled(base, f"spoiled-{number}", 1, out, row["from"], row.get("set", []),
                         row.get("break"))
        diagnosis = diagnose(folder)
        found = wrong(diagnosis)
        print(f"| {row['name']} | {diagnosis.get('stage', '-')} | {row['stage']} | {named(found)} |",
              flush=True)
        if diagnosis.get("stage") != row["stage"] or row["finding"] not in [f["name"] for f in found]:
            missed.append(row["name"])
    print(f"{'FAILED' if missed else 'holds'}: the right stage for {len(rows) - len(missed)} of "
          f"{len(rows)} spoiled runs" + (f" (not {', '.join(missed)})" if missed else ""))
    return not missed


def healthy_table(out, seeds):
    false = []
    print("\n| quickstart, seed | " + " | ".join(f"KL coefficient {c}" for c in COEFFICIENTS) + " |")
    print("|---" * (len(COEFFICIENTS) + 1) + "|")
    for seed in seeds:
        base = healthy("quickstart", seed, out)
        cells = []
        for coefficient in COEFFICIENTS:
            folder = base if coefficient == COEFFICIENTS[0] else spoiled(
                base, f"quickstart-kl{coefficient}-s{seed}", seed, out, "ppo",
                [f"ppo.kl_coef={coefficient}"])
            cells.append(named(wrong(diagnose(folder))))
        if any(cell != "-" for cell in cells):
            false.append(str(seed))
        print(f"| {seed} | " + " | ".join(cells) + " |", flush=True)
    print(f"{'FAILED' if false else 'holds'}: nothing raised on healthy runs"
          + (f" (not seeds {', '.join(false)})" if false else ""))
    return not false


def overoptimise_table(out, seeds):
    late = []
    print("\n| overoptimise, seed | gold peaks at | 0.3 σ lost at | fired at | steps before the loss "
          "| steps after the peak |\n|---|---|---|---|---|---|")
    for seed in seeds:
        folder = healthy("overoptimise", seed, out)
        peak, lost = turning_point(folder)
        fired = alarm(diagnose(folder))
        early = lost - fired if fired is not None and lost is not None else None
        if fired is None or (early is not None and early <= 0):
            late.append(seed)
        cells = [seed, peak, lost, fired, early, None if fired is None else fired - peak]
        print("| " + " | ".join("-" if c is None else str(c) for c in cells) + " |", flush=True)
    held = True
    for name, members in GROUPS.items():
        group = [s for s in members if s in seeds]
        missed = [s for s in group if s in late]
        if not group:
            continue
        enough = len(missed) <= len(group) // 5
        held &= enough
        print(f"{'holds' if enough else 'FAILED'}: seeds {name}: in time on "
              f"{len(group) - len(missed)} of {len(group)}")
    return held


def check(out, seeds=None):
    """Prints the tables; False where a claim fails."""
    out, seeds = os.path.join(out, "doctor"), seeds or SEEDS
    os.makedirs(out, exist_ok=True)
    held = [spoiled_table(out), healthy_table(out, seeds), overoptimise_table(out, seeds)]
    return all(held)
