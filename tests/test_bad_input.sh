#!/usr/bin/env bash
# Bad input, each with its one-line error and exit status, and nothing left behind by a refusal.
# Argument: the rlhf program.
set -uo pipefail
rlhf=$1
folder=$(mktemp -d)
holder=
trap '[ -n "$holder" ] && kill "$holder" 2>/dev/null; rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failed=0

# refused STATUS TEXT WORDS...: the exit status, and the text in the last and only line of error.
refused() {
  local wanted=$1 text=$2 status=0
  shift 2
  "$rlhf" "$@" >out 2>err </dev/null || status=$?
  if [ "$status" -ne "$wanted" ] || ! grep -qF -- "$text" err ||
    [ "$(grep -c '^rlhf' err)" -ne 1 ] || ! tail -n 1 err | grep -q '^rlhf'; then
    printf 'rlhf %s: exit status %s, expected %s with: %s\n' "$*" "$status" "$wanted" "$text"
    sed 's/^/    /' err
    failed=1
  fi
}
must() {
  "$rlhf" "$@" >out 2>err </dev/null || { echo "rlhf $* failed"; cat err; exit 1; }
}

# --- settings ---
printf '{\n  "ppo": {"clip_rnage": 0.1}\n}\n' >unknown.json
refused 3 'unknown.json:2:11: ppo.clip_rnage: no such setting; did you mean ppo.clip_range?' \
  run unknown.json --out x
refused 3 'ppo.clip_rnage: no such setting; did you mean ppo.clip_range?' \
  run tiny --out x --set ppo.clip_rnage=0.1
printf '{\n  "seed": 1,\n  "seed": 2\n}\n' >repeated.json
refused 3 'repeated.json:3:3: ' run repeated.json --out x
printf '{\n  "ppo": {"steps": "many"}\n}\n' >mistyped.json
refused 3 'mistyped.json:2:11: ppo.steps: expected an integer, found text' run mistyped.json --out x
printf '{"label": {"flip_rate": 0.75}}\n' >range.json
refused 3 'label.flip_rate = 0.75: must be in [0, 0.5]' run range.json --out x
refused 3 'label.flip_rate = 0.75: must be in [0, 0.5]' run tiny --out x --set label.flip_rate=0.75
printf '{\n  "seed": 1,,\n}\n' >broken.json
refused 3 'broken.json:2:13: ' run broken.json --out x
refused 3 'broken.json:2:13: ' config check broken.json
refused 4 'absent.json' run absent.json --out x
refused 3 'model.heads = 5: must divide model.channels = 32' run tiny --out x --set model.heads=5
refused 3 'ppo.rollouts = 3: must be at least minibatches times shards' \
  run tiny --out x --set ppo.rollouts=3
[ -e x ] && { echo "a refused run left a directory"; failed=1; }

# --- own data ---
: >empty.txt
refused 4 'empty.txt: no text to learn from' \
  run tiny --out own1 --set task.name=files --set task.text=empty.txt
: >empty.jsonl
refused 4 'empty.jsonl: no pairs' \
  run tiny --out own2 --set task.name=files --set task.pair_file=empty.jsonl
printf '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": }\n' >broken.jsonl
refused 4 'broken.jsonl:2:27: ' \
  run tiny --out own3 --set task.name=files --set task.pair_file=broken.jsonl
refused 4 'absent.txt' run tiny --out own4 --set task.name=files --set task.text=absent.txt

# --- a run to break, and a prompt that does not fit ---
must run tiny --out run --until label
long=$(printf 'very %.0s' {1..200})
refused 4 'do not fit in 96 positions' generate run --prompt "$long"
refused 2 'the prompt is empty' generate run --prompt ""

# Own data without pairs, and no gold to make them from: zero pairs.
for i in $(seq 40); do
  printf '{"prompt": "Number %s is", "completion": " the number after %s."}\n' "$i" "$((i - 1))"
done >demonstrations.jsonl
refused 4 'no pairs' run tiny --out zero --set task.name=files \
  --set task.demonstration_file=demonstrations.jsonl

# --- HDF5 files: missing, truncated, foreign, changed ---
# The manifest must not be what notices, so each is also tried with a manifest that fits.
broken_input() { # STATUS TEXT PREPARE: a fresh copy, prepared, then reward
  rm -rf copy
  cp -r run copy
  (cd copy && eval "$3")
  refused "$1" "$2" reward copy
}
broken_input 4 'copy/label/comparisons.h5' 'rm label/comparisons.h5'
broken_input 4 'copy/label/comparisons.h5' 'truncate -s 1000 label/comparisons.h5'
broken_input 4 'copy/label/comparisons.h5' 'cp config.json label/comparisons.h5'
broken_input 4 'copy/sft/policy.h5' 'cp label/comparisons.h5 sft/policy.h5'
broken_input 4 'copy/sft/policy.h5' 'printf x | dd of=sft/policy.h5 bs=1 seek=5000 conv=notrunc status=none'
broken_input 4 'copy/label/manifest.json: missing; run: rlhf label copy' 'rm label/manifest.json'
broken_input 4 'copy/sft/tokenizer.json' 'echo "{}" >sft/tokenizer.json'

# --- directories ---
: >file
refused 5 'file/below' run tiny --out file/below
refused 5 'file' config new tiny --out file/below
refused 5 'file/pairs.jsonl' export run pairs -o file/pairs.jsonl
refused 3 'run: holds a run already' run tiny --out run
"$rlhf" resume run --set pretrain.steps=60 --set ppo.steps=100000 --set ppo.warmup_steps=1 \
  >holder.out 2>holder.err &
holder=$!
for _ in $(seq 500); do
  [ -e run/ppo/rollouts/000001.h5 ] && break
  sleep 0.02
done
refused 7 "$holder" resume run
kill -TERM "$holder"
wait "$holder"
holder=

[ "$failed" -eq 0 ] && echo "test_bad_input: fine"
exit "$failed"
