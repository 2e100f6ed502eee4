#!/usr/bin/env bash
# Strangers read a run: h5py and numpy check every file of a tiny run against the contract and
# recompute its numbers; h5dump and ncdump open what they should. Argument: the rlhf program.
set -euo pipefail
rlhf=$1
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
run=$folder/run

"$rlhf" run tiny --out "$run" --set seed=3 >"$folder/out" 2>"$folder/err" ||
  { cat "$folder/err"; exit 1; }
/usr/bin/python3 "$here/check_run.py" "$run"
while IFS= read -r -d '' file; do
  h5dump -H "$file" >/dev/null || { echo "h5dump cannot read $file"; exit 1; }
done < <(find "$run" -name '*.h5' -print0)
for stage in pretrain sft label reward ppo; do
  ncdump -h "$run/$stage/metrics.h5" >"$folder/header" || { echo "ncdump cannot read $stage/metrics.h5"; exit 1; }
  grep -q 'step = ' "$folder/header"
  grep -q ':units' "$folder/header"
done
