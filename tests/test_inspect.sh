#!/usr/bin/env bash
# rlhf inspect on preset tiny: the numbers shown are those of the files as h5py and
# Python read them, hostile text shows as text, each wrong request is named. Argument: the rlhf
# program.
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
python() { /usr/bin/python3 - "$@"; }

expect 0 run tiny --out a --set ppo.steps=4

# --- every number is the file's, in three forms ---
expect 0 inspect a --step 3 --csv && mv out answers.csv
expect 0 inspect a --step 3 --json && mv out answers.json
expect 0 inspect a --step 3 && mv out answers.txt
expect 0 inspect a --step 3 --sample 5 --csv && mv out tokens.csv
expect 0 inspect a --step 3 --sample 5 --json && mv out tokens.json
expect 0 inspect a --step 3 --sample 5 && mv out tokens.txt
expect 0 inspect a --step 3 --worst-gap 5 --csv && mv out worst.csv
expect 0 inspect a --step 3 --worst-gap 5 --sort length --csv && mv out longest.csv
expect 0 inspect a --sort score --json && mv out newest.json
python <<'PYTHON' || fail "not the numbers of the file"
import csv, json, h5py, numpy as np
file = h5py.File("a/ppo/rollouts/000003.h5")
rollout = {name: file["rollout"][name][:].astype(float) for name in file["rollout"]}
token = {name: file["token"][name][:].astype(float) for name in file["token"]}
z = lambda x: (x - x.mean()) / x.std()
rollout["gap"] = z(rollout["score"]) - z(rollout["gold"])
rollout["length"], rollout["ended"] = rollout["response_length"], rollout["terminated"]
fields = ["prompt_id", "score", "gold", "gap", "kl", "length", "ended"]
rows = list(csv.DictReader(open("answers.csv", newline="")))
document = json.load(open("answers.json"))
assert document["step"] == 3 and document["kl_coef"] == file.attrs["kl_coef"]
table = open("answers.txt").read().splitlines()[3:]
assert len(rows) == len(document["samples"]) == len(table) == len(rollout["score"]) == 32
for i, (row, sample, line) in enumerate(zip(rows, document["samples"], table)):
    assert int(row["sample"]) == sample["sample"] == int(line.split()[0]) == i
    for name in fields:
        true = rollout[name][i]
        close = 1e-9 if name == "gap" else 0
        assert abs(float(row[name]) - true) <= close, (i, name, row[name], true)
        assert abs(float(sample[name]) - true) <= close, (i, name, sample[name], true)
    for word, name in zip(line.split()[2:6], fields[1:5]):
        assert word == "%.4f" % rollout[name][i], (i, name, word, rollout[name][i])

worst = [int(r["sample"]) for r in csv.DictReader(open("worst.csv", newline=""))]
assert worst == list(np.argsort(-rollout["gap"], kind="stable")[:5]), worst
longest = [int(r["sample"]) for r in csv.DictReader(open("longest.csv", newline=""))]
assert longest == sorted(worst, key=lambda i: (-rollout["length"][i], i)), longest
newest = json.load(open("newest.json"))
scores = [s["score"] for s in newest["samples"]]
assert newest["step"] == 4 and scores == sorted(scores, reverse=True) and len(set(scores)) > 1

first, last = (int(x) for x in file["rollout/offset"][5:7])
names = {"logp": "logp", "reference": "reference_logp", "reward": "reward", "value": "value",
         "advantage": "advantage", "return": "return"}
rows = list(csv.DictReader(open("tokens.csv", newline="")))
document = json.load(open("tokens.json"))
table = open("tokens.txt").read().splitlines()[6:]
assert document["sample"] == 5 and document["score"] == rollout["score"][5]
assert len(rows) == len(document["tokens"]) == len(table) == last - first
prompts = 0
for t, row, item, line in zip(range(first, last), rows, document["tokens"], table):
    assert int(row["id"]) == item["id"] == token["id"][t]
    assert int(row["position"]) == item["position"] == int(line.split()[0]) == t - first
    assert item["prompt"] == (not token["is_response"][t]) == (row["prompt"] == "1")
    assert item["prompt"] == (line.split()[1] == "prompt")
    prompts += item["prompt"]
    if item["prompt"]:
        assert "logp" not in item and row["logp"] == row["return"] == "", row
        continue
    for name, true in names.items():
        assert float(row[name]) == item[name] == token[true][t], (t, name, row[name])
    assert float(row["k1"]) == item["k1"] == token["logp"][t] - token["reference_logp"][t]
    shown = line.split()[2:9]
    for word, name in zip(shown, ["logp", "reference", "k1", "reward", "value", "advantage",
                                  "return"]):
        assert word == "%.4f" % item[name], (t, name, word, item[name])
assert 0 < prompts == rollout["prompt_length"][5] < len(rows)
PYTHON

# --- hostile text: escape sequences, quotes, bytes that are no UTF-8, a direction override ---
cp -r a b
python <<'PYTHON' || fail "cannot plant hostile text"
import h5py, json
vocabulary = json.load(open("a/sft/tokenizer.json"))["model"]["vocab"]
plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
shown = {b: chr(b) for b in plain}
shown.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in shown)})
with h5py.File("b/ppo/rollouts/000002.h5", "r+") as file:
    long = [i for i, n in enumerate(file["rollout/response_length"][:]) if n >= 20][0]
    start = int(file["rollout/offset"][long] + file["rollout/prompt_length"][long])
    bad = b'\x1b[2J",\n"=\xff\r' + "\u202e".encode()
    ids = file["token/id"][:]
    ids[start:start + len(bad)] = [vocabulary[shown[b]] for b in bad]
    file["token/id"][...] = ids
    file["rollout/gold"][...] = float("nan")
    open("long", "w").write(str(long))
PYTHON
expect 4 inspect b --step 2
says err "b/ppo/rollouts/000002.h5: hash is "
expect 4 export b rollouts -o -
says err "b/ppo/rollouts/000002.h5: hash is "
expect 0 inspect b --step 1
rm b/ppo/rollouts/manifest.json # as in a stage that is still at work
sample=$(cat long)
for form in "" --csv --json; do
  for words in "" "--sample $sample"; do
    # shellcheck disable=SC2086 # words part here
    expect 0 inspect b --step 2 $words $form
    LC_ALL=C grep -q $'[\x01-\x09\x0b-\x1f\x7f]' out && fail "control characters in $words $form"
    LC_ALL=C grep -q $'\xff' out && fail "bytes that are no UTF-8 in $words $form"
  done
done
expect 0 inspect b --step 2
says out '\x1b[2J",\n"=\xff\x0d\u202e'
expect 0 inspect b --step 2 --csv
python "$sample" <<'PYTHON' || fail "CSV with hostile text"
import csv, sys
rows = list(csv.DictReader(open("out", newline="")))
assert len(rows) == 32 and all(None not in row and None not in row.values() for row in rows)
assert rows[int(sys.argv[1])]["answer"].startswith('\\x1b[2J",\\n"=\\xff\\x0d\\u202e')
assert all(row["gold"] == row["gap"] == "" for row in rows)
PYTHON

# --- a batch of one gold value: its part of the gap is 0, not noise over noise ---
cp -r a c
/usr/bin/python3 -c 'import h5py
with h5py.File("c/ppo/rollouts/000001.h5", "r+") as file: file["rollout/gold"][...] = 0.1'
rm c/ppo/rollouts/manifest.json
expect 0 inspect c --step 1 --json
/usr/bin/python3 -c 'import json, statistics
samples = json.load(open("out"))["samples"]
scores = [s["score"] for s in samples]
mean, deviation = statistics.fmean(scores), statistics.pstdev(scores)
assert all(abs(s["gap"] - (s["score"] - mean) / deviation) < 1e-9 for s in samples)
' || fail "the gap with equal golds"
[ "$(wc -L <answers.txt)" -le 100 ] || fail "the table is wider than 100 columns"

# --- what cannot be asked ---
expect 4 inspect b --step 2 --worst-gap 3
says err "b: this task has no gold reward to tell the gap by"
expect 4 inspect b --step 2 --sort gold
rm a/ppo/rollouts/000002.h5
expect 4 inspect a --step 2
says err "a/ppo/rollouts: no step 2; there are 1, 3 to 4"
expect 2 inspect a --step 3 --sample 32
says err "--sample 32: step 3 has samples 0 to 31"
expect 2 inspect a --step 3 --sample -1
expect 2 inspect a --step 0
expect 2 inspect a --sort id
says err "--sort id: expected score, gold, kl, gap or length"
expect 2 inspect a --sample 1 --worst-gap 2
expect 2 inspect a --json --csv
expect 4 inspect nowhere
says err "nowhere/ppo/rollouts: missing; run: rlhf ppo nowhere"
head -c 2000 b/ppo/rollouts/000003.h5 >b/ppo/rollouts/000004.h5
expect 4 inspect b
says err "b/ppo/rollouts/000004.h5: "
echo "test_inspect: fine"
