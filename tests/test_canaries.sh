#!/usr/bin/env bash
# The harnesses can fail: with a mistake planted into the program (tests/canary.c) the one that
# should notice it does, and without one it does not. Arguments: the source folder, the program with
# the mistakes in it.
set -uo pipefail
source=$1 rlhf=$2
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# canary MISTAKE WORDS KIND...: the harness gets as far as its kills, then fails, and says WORDS.
canary() {
  local mistake=$1 words=$2
  shift 2
  if RLHF_CANARY=$mistake /usr/bin/python3 "$source/tests/kill_run.py" "$rlhf" "$@" >"$out" 2>&1; then
    printf 'test_canaries: %s was not noticed\n' "$mistake"
    exit 1
  fi
  if ! grep -q "^$1: [0-9]* kills" "$out" || ! grep -qE "$words" "$out"; then
    printf 'test_canaries: %s: another failure than expected\n' "$mistake"
    tail -n 5 "$out"
    exit 1
  fi
  noticed=$((noticed + 1))
}

noticed=0
/usr/bin/python3 "$source/tests/kill_run.py" "$rlhf" damage --kills 8 --stage 2 --commit 2 >"$out" || {
  cat "$out"
  exit 1
}
canary fsync 'resuming|durable|was committed' power --kills 12 --stage 1 --commit 6 --failures 1
canary checkpoint-fsync 'resuming|was committed|other bits' power --kills 12 --stage 1 --commit 6 --failures 1
canary checkpoint-names 'durable|was committed|other bits' power --kills 12 --stage 1 --commit 6 --failures 1
canary rollouts-fsync 'other bits' power --rarely --kills 12 --stage 1 --commit 0 --failures 1
canary checksum 'resuming|not noticed|other bits' damage --kills 12 --stage 1 --commit 6 --failures 1
canary journal 'other bits|resuming' random --kills 30 --stage 1 --commit 20 --failures 1
canary moments 'other bits' random --kills 30 --stage 1 --commit 20 --failures 1
canary anew 'begun anew' random --kills 30 --stage 1 --commit 20 --failures 1
echo "test_canaries: fine: none without a mistake, $noticed of $noticed mistakes noticed"
