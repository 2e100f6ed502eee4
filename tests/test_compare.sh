#!/usr/bin/env bash
# rlhf compare on preset tiny: settings, differences of scorecards with their standard errors, and
# the first step and metric at which journals part, against Python's reading of the same files.
# Argument: the rlhf program.
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
python() { /usr/bin/python3 -; }

expect 0 run tiny --out a --set ppo.steps=4
expect 0 run tiny --out other --set ppo.steps=6 --set ppo.kl_coef=0.2
expect 0 run tiny --out short --until sft --set ppo.steps=4
cp -r a changed
# Step 3: one metric left out and, after it in the record, another changed; step 2 stands.
python <<'PYTHON' || fail "cannot change a journal"
import json
rows = [json.loads(line) for line in open("a/ppo/metrics.jsonl")]
del rows[2]["objective/entropy"]
rows[2]["val/clipfrac_avg"] += 1
rows[3]["objective/kl"] += 1
with open("changed/ppo/metrics.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
PYTHON

# --- a run and itself ---
expect 0 compare a a/
[ "$(grep -c 'equal' out)" -eq 7 ] || fail "a run differs from itself"
grep -q part out && fail "a run parts from itself"

# --- three others, against the first ---
expect 0 compare a other changed short --json
python <<'PYTHON' || fail "compare --json"
import json, math
document = json.load(open("out"))
assert document["first"] == "a"
other, changed, short = document["others"]
assert [o["run"] for o in document["others"]] == ["other", "changed", "short"]
assert other["settings"] == ["ppo.steps: 4 -> 6", "ppo.kl_coef: 0.05 -> 0.2"], other["settings"]
assert changed["settings"] == short["settings"] == []

cards = [json.load(open(run + "/evaluate/scorecard.json")) for run in ("a", "other")]
seen = set()
for row in other["scorecard"]:
    policy, measure = row["policy"], row["measure"]
    seen.add((policy, measure))
    a, b = (card["win_rate"]["ppo_over_sft"] if measure == "win_rate"
            else card["policies"][policy][measure] for card in cards)
    assert all(row["first"][key] == a[key] and row["other"][key] == b[key] for key in row["first"])
    difference = row["difference"]
    assert difference["mean"] == b["mean"] - a["mean"]
    assert math.isclose(difference["stderr"], math.hypot(a["stderr"], b["stderr"]), rel_tol=1e-12)
assert seen == {(p, m) for p in ("pretrain", "sft", "ppo") for m in ("gold", "scores", "kl",
                "length")} | {("ppo", "win_rate")}, seen
assert any(row["difference"]["mean"] != 0 for row in other["scorecard"])
assert short["scorecard"] == []

def parting(a, b, stage):
    """(step, names that differ there) of the first records that differ."""
    journals = [[json.loads(line) for line in open(f"{run}/{stage}/metrics.jsonl")]
                for run in (a, b)]
    for x, y in zip(*journals):
        if x != y:
            return x["step"], {k for k in x.keys() | y.keys() if x.get(k) != y.get(k)}
    return None

stages = [j["stage"] for j in other["journals"]]
assert stages == ["pretrain", "sft", "label", "reward", "ppo", "evaluate"], stages
for name, result in (("other", other), ("changed", changed)):
    for journal in result["journals"]:
        true = parting("a", name, journal["stage"])
        assert journal["equal"] == (true is None), (name, journal, true)
        if true is not None:
            assert journal["step"] == true[0] and journal["metric"] in true[1], (journal, true)
ppo = changed["journals"][4]
assert ppo["step"] == 3 and ppo["metric"] == "objective/entropy" and ppo["other"] is None, ppo
assert [j["equal"] for j in short["journals"]] == [True, True, False, False, False, False]
assert all(j["step"] == 1 and "metric" not in j for j in short["journals"][2:])
PYTHON

# --- tables ---
expect 0 compare a changed
says out "ppo        part at step 3: objective/entropy "
says out " -> none"
expect 0 compare short a
says out "short/evaluate/scorecard.json: not there yet"
says out "ppo        equal before step 1, which only a has"
head -n 2 a/ppo/metrics.jsonl >changed/ppo/metrics.jsonl
expect 0 compare changed a
says out "ppo        equal before step 3, which only a has"
expect 0 compare a changed
says out "ppo        equal before step 3, which only a has"
[ "$(wc -L <out)" -le 100 ] || fail "wider than 100 columns"

# --- what cannot be compared ---
expect 2 compare a
expect 4 compare a nowhere
says err "nowhere/config.json"
echo '{"step": 1,' >changed/ppo/metrics.jsonl
echo '{"step": 2}' >>changed/ppo/metrics.jsonl
expect 4 compare a changed --json
says err "changed/ppo/metrics.jsonl:1"
[ -s out ] && fail "half a document"
echo '{' >changed/evaluate/scorecard.json
expect 4 compare a changed
says err "changed/evaluate/scorecard.json:"
echo "test_compare: fine"
