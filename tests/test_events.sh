#!/usr/bin/env bash
# TensorBoard event files of preset tiny: a reader that knows nothing of the program finds every
# number of the journals, after SIGKILL and resuming too; nothing else depends on them. Argument:
# the rlhf program.
set -uo pipefail
rlhf=$1
read_events=$(dirname "$(realpath "$0")")/read_events.py
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
settings=(--set pretrain.steps=20 --set ppo.steps=10 --set ppo.sample_every=2
  --set checkpoint_seconds=0 --set keep_every=3)

fail() {
  printf 'test_events: %s\n' "$1"
  [ -f err ] && tail -n 5 err
  exit 1
}
# expect STATUS WORDS...
expect() {
  local wanted=$1 status=0
  shift
  "$rlhf" "$@" >out 2>err </dev/null || status=$?
  [ "$status" -eq "$wanted" ] || fail "rlhf $*: exit status $status, expected $wanted"
}
reads() { /usr/bin/python3 "$read_events" "$@" >read.txt 2>&1 || fail "$*: $(tail -n 1 read.txt)"; }
event_file() { find "$1" -name 'events.out.tfevents.*'; }

# --- a whole run ---
expect 0 run tiny --out a "${settings[@]}"
reads a
[ "$(grep -oE '[a-z]+ [0-9]+' read.txt | wc -l)" -eq 8 ] || fail "not all stages were read: $(cat read.txt)"
cp -r a whole

# --- who does not care ---
grep -rl tfevents a --include='*.json' && fail "a file names the event file"
printf 'x' >>"$(event_file a/ppo)"
expect 0 verify a
rm "$(event_file a/ppo)"
expect 0 verify a
expect 0 run tiny --out a --resume "${settings[@]}"
[ "$(grep -c 'finished already' err)" -eq 6 ] || fail "a run without its event file is not finished"
grep -q '"tensorboard": true' a/run.json || fail "run.json does not say that there are event files"

# --- started over: the old file is forgotten ---
touch a/ppo/events.out.tfevents.0000000001.old.1.0
expect 0 ppo a --restart
reads a ppo

# --- switched off ---
expect 0 run tiny --out off "${settings[@]}" --set tensorboard=false
[ -z "$(event_file off)" ] || fail "tensorboard=false wrote an event file"
cmp -s off/ppo/policy.h5 whole/ppo/policy.h5 || fail "event files change the result"

# --- killed and resumed: no step is lost, doubled or left from the life before ---
expect 0 run tiny --out base "${settings[@]}" --until reward
cp -r base kill
RLHF_IO_TRACE=trace expect 0 ppo kill "${settings[@]:8}"
writes=$(grep -c '^write' trace)
[ "$writes" -gt 60 ] || fail "the trace counts only $writes writes"
cut=0 torn=0
for share in 29 47 66 83 92; do
  rm -rf kill
  cp -r base kill
  { RLHF_IO_FAULT=write:$((writes * share / 100)):torn expect 137 ppo kill "${settings[@]:8}"; } 2>/dev/null
  file=$(event_file kill/ppo)
  cp "$file" killed
  printf '\x42\0\0\0\0\0\0\0torn' >>"$file"
  expect 0 ppo kill "${settings[@]:8}"
  [ "$(event_file kill/ppo)" = "$file" ] || [ ! -e "$file" ] || fail "a second event file"
  cmp -s kill/ppo/metrics.jsonl whole/ppo/metrics.jsonl || fail "the journal differs"
  reads kill ppo
  if [ -e "$file" ]; then
    torn=$((torn + 1))
    cmp -s -n "$(stat -c %s killed)" killed "$file" || cut=$((cut + 1))
  fi
done
[ "$torn" -ge 3 ] || fail "only $torn of the files were gone on with"
[ "$cut" -ge 2 ] || fail "only $cut of the files had steps after the checkpoint"
echo "test_events: fine"
