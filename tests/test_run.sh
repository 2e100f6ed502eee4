#!/usr/bin/env bash
# Preset tiny end to end: every file that a run promises, refusal and resuming, stages alone, a
# signal in the middle, sweeps. Equal settings and seed must give equal bytes each time. Argument:
# the rlhf program.
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
settings=(--set ppo.steps=8 --set ppo.sample_every=4)
digest() { sha256sum <"$1"; }

# Everything that must be equal between equal runs.
fingerprint() {
  (cd "$1" && find . -type f ! -name run.json ! -name log.txt ! -name lock ! -name timings.jsonl \
    ! -name 'events.out.tfevents.*' \
    ! -path '*/checkpoints/*' -print0 | sort -z | xargs -0 sha256sum)
}

# --- one run, and the files of a run ---
expect 0 run tiny --out a "${settings[@]}"
for file in config.json run.json lock log.txt \
  pretrain/{metrics.jsonl,timings.jsonl,metrics.h5,policy.h5,tokenizer.json,manifest.json} \
  sft/{metrics.jsonl,timings.jsonl,metrics.h5,policy.h5,tokenizer.json,manifest.json} \
  label/{metrics.jsonl,metrics.h5,comparisons.h5,tokenizer.json,manifest.json} \
  reward/{metrics.jsonl,timings.jsonl,metrics.h5,model.h5,calibration.json,tokenizer.json,manifest.json} \
  ppo/{metrics.jsonl,timings.jsonl,metrics.h5,policy.h5,critic.h5,tokenizer.json,samples.h5,manifest.json} \
  ppo/rollouts/00000{1..8}.h5 evaluate/{scorecard.json,samples.h5,manifest.json}; do
  [ -s "a/$file" ] || [ "$file" = lock ] || fail "a/$file is missing or empty"
done
for part in invariants rollout_file; do
  [ "$(grep -c "\"time/$part\":0\.[0-9]" a/ppo/timings.jsonl)" -eq 8 ] || fail "no time/$part"
done
says a/ppo/timings.jsonl '"time/checkpoint":0.'
[ -d a/ppo/checkpoints/step-000008 ] || fail "no checkpoint of the last step"
for part in "stage " "policy " "proxy reward over PPO steps" "gold reward over PPO steps" \
  "on 32 held-out prompts" "prompt " "a/evaluate/scorecard.json"; do
  says out "$part"
done
[ "$(wc -L <out)" -le 100 ] || fail "the summary is wider than 100 columns"
says err "ppo      step 8/8"
grep -q $'[\033\r]' out err && fail "escape sequences went to a file"
says a/log.txt "evaluate done"
says a/run.json '"blas_kernel"'
grep -q threads a/config.json && fail "an option stands in config.json"

# --- what cannot fit is not begun ---
expect 1 run tiny --out big --set model.channels=512 --set model.layers=8 --set threads=1024
says err "of memory are needed"
says err "are available: a smaller model"
expect 5 run tiny --out big --set model.channels=8192 --set model.layers=96
says err "of disk are needed"
says err "free space, then run: rlhf run ... --resume --out big"
[ -e big/config.json ] && fail "a run that cannot fit was begun"

expect 1 run tiny --out big --set model.channels=512 --set model.layers=8 --set reward.shards=1024
says err "of memory are needed"
[ -e big/config.json ] && fail "a run that cannot fit was begun"

# --- the estimates are of what is left to do ---
about() { # disk|memory WORDS...
  local what=$1
  shift
  expect 0 run tiny --dry-run "$@"
  sed -n "s/^$what about \(.*\), of .*/\1/p" out
}
wide=(--out none --set reward.shards=1024)
[ "$(about memory "${wide[@]}" --until label)" = "$(about memory --out none --until label)" ] ||
  fail "reward.shards counts in a run that stops before it"
[ "$(about memory "${wide[@]}")" != "$(about memory --out none)" ] || fail "reward.shards counts nowhere"
long=(--out none --set ppo.steps=1000)
[ "$(about disk "${long[@]}" --set keep_every=1)" != "$(about disk "${long[@]}")" ] ||
  fail "keep_every counts nowhere"
for what in disk memory; do
  [ "$(about $what --out a --resume "${settings[@]}")" = "0 B" ] || fail "a finished run needs $what"
done

# --- a directory that holds a run ---
expect 3 run tiny --out a "${settings[@]}"
says err "a: holds a run already; --resume goes on with it, --restart starts it again"
fingerprint a >before
expect 0 run tiny --out a --resume "${settings[@]}"
[ "$(grep -c 'finished already' err)" -eq 6 ] || fail "a finished stage was run again"
expect 0 resume a --json
cmp -s out a/evaluate/scorecard.json || fail "--json does not print the scorecard"
fingerprint a | cmp -s before - || fail "resuming a finished run changed it"

# --- what reads a run ---
expect 0 status a
says out "evaluate   finished"
expect 0 status a --json
/usr/bin/python3 -c 'import json, sys; stages = json.load(open("out"))["stages"]
assert [s["state"] for s in stages.values()] == ["finished"] * 6, stages
assert stages["ppo"]["step"] == 8' || fail "status --json"
expect 0 metrics a --stage ppo --metric objective/ --csv
says out "run,stage,step,metric,value"
[ "$(grep -c '^a,ppo,[0-9]*,objective/kl,' out)" -eq 8 ] || fail "objective/kl has not 8 rows"
expect 0 metrics a --stage ppo --metric objective/kl --plot
says out "objective/kl"
expect 0 metrics a a --stage sft --json
[ "$(sort out | uniq | wc -l)" -eq "$(($(wc -l <out) / 2))" ] || fail "two runs, not twice the rows"
expect 0 metrics a
says out "reward "
expect 2 metrics a --metric nothing
expect 0 generate a --prompt "The food was" -n 3 --json
[ "$(grep -c '"completion"' out)" -eq 3 ] || fail "generate did not give three answers"
cp out first
expect 0 generate a@ppo --prompt "The food was" -n 3 --json
cmp -s out first || fail "equal seeds, other answers"
expect 0 generate a@sft --prompt "The food was" --temperature 0
expect 0 generate a@8 -n 2 --seed 5
[ "$(wc -l <out)" -eq 2 ] || fail "two held-out prompts, not two lines"
expect 4 generate a@77 --prompt x
printf 'How was it?\nAnd the view?\n' | "$rlhf" chat a >out 2>err || fail "chat"
[ "$(wc -l <out)" -eq 2 ] || fail "chat did not answer two lines"
expect 0 export a pairs -o pairs.jsonl
expect 0 export a rollouts -o -
/usr/bin/python3 - <<'PYTHON' || fail "export"
import json
pairs = [json.loads(line) for line in open("pairs.jsonl", encoding="utf-8")]
assert pairs and all(set(p) == {"prompt", "chosen", "rejected"} for p in pairs)
rollouts = [json.loads(line) for line in open("out", encoding="utf-8")]
assert len(rollouts) == 8 * 32, len(rollouts)
assert {r["step"] for r in rollouts} == set(range(1, 9))
assert all({"prompt", "completion", "score", "gold", "kl"} <= set(r) for r in rollouts)
PYTHON

# --- the same run in pieces: until a stage, a signal in the middle, resumed on one thread ---
expect 0 run tiny --out b "${settings[@]}" --until label
says err "stopped after label, as asked; go on with: rlhf resume b"
[ -e b/reward ] && fail "--until label went on"
"$rlhf" resume b --set threads=1 >out 2>err &
process=$!
for _ in $(seq 500); do
  [ -e b/ppo/rollouts/000002.h5 ] && break
  sleep 0.01
done
kill -TERM "$process"
status=0
wait "$process" || status=$?
[ "$status" -eq 75 ] || fail "SIGTERM: exit status $status, expected 75"
says err "go on with: rlhf resume b"
[ -e b/ppo/manifest.json ] && fail "the stopped stage says it is finished"
expect 0 resume b --set threads=1
fingerprint b | sed 's# \./# #' >pieces
fingerprint a | sed 's# \./# #' >whole
diff whole pieces >difference || { head -n 5 difference; fail "a run in pieces ends with other bytes"; }

# --- every stage alone ---
expect 0 config new tiny --out c "${settings[@]}"
expect 4 sft c
says err "rlhf sft: c/pretrain/manifest.json: missing; run: rlhf pretrain c"
for stage in pretrain sft label reward ppo evaluate; do expect 0 "$stage" c; done
[ "$(digest a/ppo/policy.h5)" = "$(digest c/ppo/policy.h5)" ] || fail "stages alone end elsewhere"
expect 0 ppo c
says err "finished already"

# --- changed settings ---
expect 3 run tiny --out c --resume "${settings[@]}" --set ppo.kl_coef=0.3
says err "c/ppo: made from other settings or inputs; --restart ppo does it again, with all after it"
says err "; changed: ppo."
[ "$(digest a/config.json)" = "$(digest c/config.json)" ] || fail "a refused run changed config.json"
expect 3 run tiny --out c --restart ppo "${settings[@]}" --set sft.epochs=3
says err "c/sft: made from other settings"
expect 0 run tiny --out c --restart ppo "${settings[@]}" --set ppo.kl_coef=0.3
[ "$(grep -c 'finished already' err)" -eq 4 ] || fail "--restart ppo did not keep the four before"
says c/config.json '"kl_coef": 0.3'
[ "$(digest a/ppo/policy.h5)" = "$(digest c/ppo/policy.h5)" ] && fail "another kl_coef, equal weights"

# --- a time limit, a sweep ---
expect 75 run tiny --out d --max-hours 0.0000001
short=(--set pretrain.steps=5 --set ppo.steps=1)
expect 0 run tiny --out sweep --set ppo.kl_coef=0,0.1 --seeds 1..1 --jobs 2 "${short[@]}" \
  --set keep_every=7
for run in tiny-kl_coef=0-s1 tiny-kl_coef=0.1-s1; do
  [ -s "sweep/$run/evaluate/scorecard.json" ] || fail "sweep/$run has no scorecard"
  says out "$run"
done
expect 3 run tiny --out sweep --set ppo.kl_coef=0,0.1 --seeds 1..1 "${short[@]}"
says err "2 of 2 runs did not finish"
# Its runs keep what was said of them, as any resumed run does.
expect 0 run tiny --out sweep --resume --set ppo.kl_coef=0,0.1 --seeds 1..1 "${short[@]}"
for run in sweep/tiny-kl_coef=0-s1 sweep/tiny-kl_coef=0.1-s1; do
  [ "$(grep -oE '"keep_every": ?7\b' $run/run.json | wc -l)" -eq 2 ] || fail "$run forgot keep_every"
done
# A sweep that is killed passes nothing on, and its runs leave behind it.
"$rlhf" run tiny --out left --set pretrain.steps=1000000 --seeds 1..2 --jobs 2 >out 2>err &
process=$!
for _ in $(seq 1000); do
  [ -s left/tiny-s1/pretrain/metrics.jsonl ] && [ -s left/tiny-s2/pretrain/metrics.jsonl ] && break
  sleep 0.01
done
kill -KILL "$process"
wait "$process" 2>/dev/null
for run in left/tiny-s1 left/tiny-s2; do
  member=$(sed -n 's/^pid \([0-9]*\) .*/\1/p' $run/lock)
  for _ in $(seq 1000); do
    kill -0 "$member" 2>/dev/null || continue 2
    sleep 0.01
  done
  kill -KILL "$member"
  fail "$run outlived its sweep"
done
echo "test_run: fine"
