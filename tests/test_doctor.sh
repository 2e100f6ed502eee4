#!/usr/bin/env bash
# rlhf doctor and the gates of rlhf run on preset tiny: exit statuses, --force, figures against
# the files they come of, and that gold plays no part. Argument: the rlhf program.
tests=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
python() { /usr/bin/python3 -; }
fingerprint() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

# --- gates ---
expect 0 run tiny --out a --set ppo.steps=3
says err "doctor   sft: "
says err "doctor   label: failed: label, pairs: "
says err "PPO goes on, as doctor.gates is false"
expect 9 run tiny --out gated --set ppo.steps=3 --set doctor.gates=true
says err "likely the language model knows hardly more than how often each token comes; --set pretrain"
says err "rlhf doctor gated says more, --force goes on"
[ -e gated/ppo ] && fail "PPO began behind a failed gate"
expect 9 resume gated
expect 9 ppo gated
expect 0 resume gated --until ppo --force
says err "PPO goes on, by --force"
cmp -s a/ppo/metrics.jsonl gated/ppo/metrics.jsonl || fail "gates change PPO"
expect 0 resume gated --until ppo # PPO is done: nothing to stop

# --- what it says ---
fingerprint a >before
expect 9 doctor a
says out "to mend first: "
says out "Likely too few comparisons to learn a reward from."
says err "a: the gate of "
[ "$(wc -L <out)" -le 100 ] || fail "wider than 100 columns"
grep -q $'[\033\r]' out && fail "escape sequences went to a file"
expect 9 doctor a --stage label
grep -q '^ppo ' out && fail "--stage label shows PPO"
expect 0 doctor a --stage ppo
expect 0 doctor a --stage evaluate
expect 2 doctor a --stage reword
says err "did you mean reward?"
expect 4 doctor nowhere
says err "nowhere/config.json"
expect 9 doctor a --json
fingerprint a | cmp -s before - || fail "doctor changed the run"
cp out whole
python <<'PYTHON' || fail "figures of doctor --json"
import json
document = json.load(open("out"))
assert document["gate_failed"] and not document["healthy"]
marks = {f["name"]: f for f in document["findings"]}
order = ["pretrain", "sft", "label", "reward", "ppo"]
places = [order.index(f["stage"]) for f in document["findings"]]
assert places == sorted(places), places
assert document["stage"] == next(f["stage"] for f in document["findings"] if f["mark"] != "fine")
assert all(("cause" in f) == ("advice" in f) == (f["mark"] != "fine") for f in marks.values())

def last(stage, name):
    rows = [json.loads(line) for line in open(f"a/{stage}/metrics.jsonl")]
    return [row[name] for row in rows if row.get(name) is not None][-1]

calibration = json.load(open("a/reward/calibration.json"))
accuracy = f"{100 * calibration['accuracy']:.1f} %"
used = marks["used-as-trained"]["evidence"]
assert used == f"training reports {accuracy} of held-out labels; scored as PPO does, {accuracy}", used
if "calibration" in marks:
    assert marks["calibration"]["evidence"].endswith(f"{calibration['ece']:.3f}")
loss, floor = last("sft", "heldout/loss"), last("sft", "heldout/floor")
assert marks["answers"]["evidence"] == (f"held-out loss {loss:.2f} nats a token, {loss - floor:.2f} "
                                        f"above the floor of {floor:.2f}")
assert marks["language"]["evidence"].startswith(f"held-out loss {last('pretrain', 'heldout/loss'):.2f}")
PYTHON

# --- gold plays no part ---
python <<'PYTHON' || fail "cannot strip gold"
import glob, json, math, os
import h5py
for path in glob.glob("a/*/metrics.jsonl"):
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    golden = lambda name: "gold" in name or name.startswith("exact/") or name == "flipped"
    with open(path, "w") as file:
        for row in rows:
            kept = {name: value for name, value in row.items() if not golden(name)}
            file.write(json.dumps(kept) + "\n")
with open("a/reward/calibration.json") as file:
    calibration = json.load(file)
for name in ("gold_accuracy", "ceiling", "gold_spearman", "gold_std"):
    calibration[name] = None
calibration["margin_accuracy"] = [None] * len(calibration["margin_accuracy"])
calibration["margin_pairs"] = [0] * len(calibration["margin_pairs"])
with open("a/reward/calibration.json", "w") as file:
    json.dump(calibration, file)
with h5py.File("a/label/comparisons.h5", "r+") as file:
    file["pair/gold_margin"][...] = math.nan
    file["pair/flipped"][...] = 0
for path in glob.glob("a/ppo/rollouts/*.h5"):
    with h5py.File(path, "r+") as file:
        file["rollout/gold"][...] = math.nan
for path in ("a/evaluate/scorecard.json", "a/evaluate/samples.h5", "a/ppo/samples.h5"):
    os.remove(path)
PYTHON
expect 4 doctor a
says err "a/label/comparisons.h5: "
# A manifest as they were before they had a hash of their own, that fits the stripped pairs.
fits() {
  /usr/bin/python3 - "$1" <<'PYTHON' || fail "cannot make the manifest fit"
import json, os, re, sys
with open("a/label/manifest.json") as file:
    manifest = json.load(file)
entry = next(entry for entry in manifest["files"] if entry["name"] == "comparisons.h5")
entry["size"] = os.path.getsize("a/label/comparisons.h5")
if sys.argv[1] == "hash":
    entry["xxh3_128"] = re.search("its hash is ([0-9a-f]{32})", open("err").read())[1]
manifest["format_version"] = 1
with open("a/label/manifest.json", "w") as file:
    json.dump(manifest, file)
PYTHON
}
fits size
expect 4 doctor a
says err "a/label/comparisons.h5: its hash is "
fits hash
expect 9 doctor a --json
cmp -s out whole || fail "without gold the diagnosis is another"

# --- an id that no network has a row for is refused, whoever made the file ---
python <<'PYTHON' || fail "cannot plant an id"
import h5py
with h5py.File("a/label/comparisons.h5", "r+") as file:
    tokens = file["completion/token"][:]
    tokens[5] = 2000000
    file["completion/token"][...] = tokens
PYTHON
rm a/label/manifest.json
expect 4 doctor a
says err "/completion/token: token 5 is 2000000 of a vocabulary of 320"

# --- the runs of scripts/claims doctor name settings, faults and checks that there are ---
python <<PYTHON >rows || fail "tests/doctor_runs.json"
import json
for row in json.load(open("$tests/doctor_runs.json")):
    assert row["stage"] in ("pretrain", "sft", "label", "reward", "ppo"), row
    print(row["finding"], row.get("break", "none"), *row.get("set", []))
PYTHON
expect 0 break --list
cp out faults
planned=0
while read -r finding fault settings; do
  set=()
  for setting in $settings; do set+=(--set "$setting"); done
  expect 0 config new quickstart --out "planned/$((++planned))" "${set[@]}"
  [ "$fault" = none ] || says faults "$fault"
  case $finding in # checks that three sound steps do not come to
  value | progress | stopped) ;;
  *) grep -qF "\"$finding\"" whole || fail "no check is called $finding" ;;
  esac
done <rows
echo "test_doctor: fine"
