#!/usr/bin/env bash
# The bench at tiny sizes: every number is there, finite and positive; stages and kernels too; and
# the peer in PyTorch does the same work. Argument: the rlhf program.
set -euo pipefail
rlhf=$1
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sizes=(--d 32 --layers 2 --heads 2 --vocab 64 --prompt 4 --response 8 --batch 8 --rollouts 32
       --epochs 2 --minibatches 2)

"$rlhf" bench "${sizes[@]}" --threads 2 --repeats 2 --json >"$folder/bench.json"
"$rlhf" bench "${sizes[@]}" --repeats 1 --training --json >"$folder/training.json"
"$rlhf" bench "${sizes[@]}" --threads 2 --repeats 1 --kernels --json >"$folder/kernels.json"
/usr/bin/python3 - "$folder" <<'PYTHON'
import json
import math
import sys

folder = sys.argv[1]
bench = json.load(open(f"{folder}/bench.json"))
wanted = ["threads", "params", "sgemm_gflops", "train_tok_s", "score_tok_s", "generate_tok_s",
          "ppo_iter_s", "train_mfu", "ppo_mfu"]
assert list(bench)[:len(wanted)] == wanted, bench
assert all(math.isfinite(x) and x > 0 for x in bench.values()), bench
d, layers, vocabulary, length = 32, 2, 64, 12
assert bench["params"] == (vocabulary + length) * d + layers * (12 * d * d + 13 * d) + 2 * d, bench
flops = 2 * (12 * layers * d * d + vocabulary * d)
share = 3 * flops * bench["train_tok_s"] / (1e9 * bench["sgemm_gflops"])
assert abs(bench["train_mfu"] / share - 1) < 1e-9, bench
passes = 1 + 4 + 2 * 3 * 2
share = passes * flops * 32 * length / (1e9 * bench["sgemm_gflops"] * bench["ppo_iter_s"])
assert abs(bench["ppo_mfu"] / share - 1) < 1e-9, bench
training = json.load(open(f"{folder}/training.json"))
wanted = ["threads", "params", "sgemm_gflops", "train_tok_s", "generate_tok_s", "train_mfu",
          "checkpoint_s", "peak_mb"]
assert list(training) == wanted and all(x > 0 for x in training.values()), training
dissected = json.load(open(f"{folder}/kernels.json"))
for line in dissected["stages"] + dissected["kernels"]:
    assert math.isfinite(line["seconds"]) and (line["seconds"] > 0 or "policy" in line["name"]), line
whole = sum(line["seconds"] for line in dissected["stages"]
            if line["name"] in ("generate", "score", "shape", "update"))
assert abs(whole - dissected["ppo_iter_s"]) < 1e-9, dissected
file = dissected["stages"][-1]["seconds"]
assert abs(dissected["rollout_file_share"] - file / (whole + file)) < 1e-9, dissected
PYTHON

status=0
"$rlhf" bench --d 30 --heads 4 2>"$folder/err" || status=$?
[ "$status" -eq 2 ]
grep -q -- '--heads 4 does not divide --d 30' "$folder/err"

# One run of the comparison: losses of the same weights and tokens agree to 1e-4.
"$here/../scripts/peers/compare.py" --rlhf "$rlhf" --runs 1 --output "$folder/compared.json" \
  "${sizes[@]}" --threads 1 --repeats 1 >"$folder/table" 2>"$folder/err" ||
  { cat "$folder/table" "$folder/err"; exit 1; }
grep -q '12 losses agree' "$folder/table"
grep -q '^ppo_iter_s ' "$folder/table"
/usr/bin/python3 -c 'import json, sys; found = json.load(open(sys.argv[1]))
assert all(side["ppo_mfu"] > 0 for run in found["runs"] for side in run)
assert all(r["least"] <= r["median"] <= r["most"] for r in found["ratios"].values())' \
  "$folder/compared.json"
