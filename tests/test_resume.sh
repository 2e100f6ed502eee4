#!/usr/bin/env bash
# What a killed run may go on from: a stage is bound to settings, data, inputs and program, by name;
# a resumed run keeps its options; what is damaged or cannot fit is told before anything is deleted.
# Argument: the rlhf program.
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
export OMP_WAIT_POLICY=passive
cat >tiny.json <<'END'
{"task": {"name": "exact", "response_tokens": 2, "documents": 40, "demonstrations": 16},
 "model": {"channels": 8, "layers": 1, "heads": 1, "positions": 16},
 "pretrain": {"steps": 3, "batch": 8, "shards": 2}, "sft": {"epochs": 1, "batch": 8, "shards": 2},
 "label": {"pairs": 18}, "reward": {"epochs": 1, "batch": 8, "shards": 2, "normalise_answers": 16},
 "ppo": {"steps": 60, "rollouts": 8, "epochs": 1, "minibatches": 2, "shards": 2,
         "sample_every": 0, "missing_eos": "none"},
 "evaluate": {"prompts": 8, "samples": 4, "best_of_prompts": 4, "best_of_pool": 4},
 "doctor": {"gates": false}}
END

# --- a run that was killed in PPO ---
"$rlhf" run tiny.json --out a --set keep_every=3 --set checkpoint_seconds=0.000001 \
  --set tensorboard=false >out 2>err </dev/null &
process=$!
for _ in $(seq 3000); do
  [ -d a/ppo/checkpoints/step-000008 ] && break
  sleep 0.01
done
kill -KILL "$process"
wait "$process" 2>/dev/null
[ -d a/ppo/checkpoints/step-000003 ] || fail "it was not killed in PPO"
[ -e a/ppo/manifest.json ] && fail "it was killed too late"
says a/ppo/made_from.json '"clip_range": 0.2'
cp -r a other && cp -r a damaged && cp -r a gone

# --- other settings are named, whatever config.json says by now ---
expect 0 pretrain a --set ppo.clip_range=0.1 --set ppo.lambda=0.9
says a/config.json '"clip_range": 0.1'
expect 3 resume a
says err "a/ppo: made from other settings or inputs; --restart ppo does it again"
says err "; changed: ppo.lambda: 0.95 -> 0.9, ppo.clip_range: 0.2 -> 0.1"
[ -d a/ppo/checkpoints/step-000003 ] || fail "a refusal deleted checkpoints"

# --- what cannot fit is refused before the old is deleted ---
expect 5 run tiny.json --out a --restart --set model.channels=8192 --set model.layers=96
says err "of disk are needed"
[ -d a/ppo/checkpoints/step-000003 ] || fail "a refused restart deleted checkpoints"

# --- another program is named, and goes on when it is told to ---
/usr/bin/python3 - other/ppo/checkpoints <<'END'
import json, pathlib, sys
for path in pathlib.Path(sys.argv[1]).glob("step-*/manifest.json"):
    manifest = json.loads(path.read_text())
    assert manifest["made_by"].startswith("rlhf ") and "BLAS kernel" in manifest["made_by"]
    manifest["made_by"], manifest["format_version"] = "rlhf 0.0.9", 1  # version 1 has no seal
    del manifest["xxh3_128"]
    path.write_text(json.dumps(manifest))
END
expect 3 resume other
says err "was made by rlhf 0.0.9, and this is rlhf "
says err "other bits from there on; --force goes on all the same, --restart ppo does the stage again"
expect 0 resume other --force
# Its options are the killed life's: what was kept stays, and nothing is written for TensorBoard.
for step in 3 6 9 57; do
  [ -d "other/ppo/checkpoints/step-$(printf %06d $step)" ] || fail "step $step was not kept"
done
compgen -G 'other/*/events.out.tfevents.*' >/dev/null && fail "an event file was begun"
expect 0 run tiny.json --out whole
cmp -s other/ppo/policy.h5 whole/ppo/policy.h5 || fail "killed and resumed it ends elsewhere"

# --- one damaged checkpoint: the one before it; all of them: only its owner gives them up ---
newest=$(cd damaged/ppo/checkpoints && printf '%s\n' step-* | tail -n 1)
printf x >>"damaged/ppo/checkpoints/$newest/policy.h5"
expect 0 resume damaged
says err "damaged/ppo/checkpoints/damaged-$newest: found damaged and moved aside"
says damaged/log.txt "found damaged and moved aside"
expect 0 status damaged
says out "warning: damaged/ppo/checkpoints/damaged-$newest was found damaged and moved aside"
for folder in gone/ppo/checkpoints/step-*; do printf x >>"$folder/policy.h5"; done
for _ in first second; do
  expect 4 resume gone
  says err "damaged, and no checkpoint before it is left; --restart ppo does it again"
done
[ -s gone/ppo/metrics.jsonl ] || fail "the journal was deleted"
expect 0 run tiny.json --out gone --restart ppo
cmp -s gone/ppo/policy.h5 whole/ppo/policy.h5 || fail "done again it ends elsewhere"

# --- a finished stage that is damaged ---
printf x >>whole/sft/policy.h5
expect 4 evaluate whole --restart
says err "; run: rlhf sft whole --restart"
printf x >>whole/sft/manifest.json
expect 0 status whole
says out "sft        damaged"
expect 0 run tiny.json --out whole --resume --dry-run
says out "sft        need --restart"
expect 4 resume whole
says err "whole/sft/manifest.json"
says err "; --restart sft does it again, with all after it"
echo "test_resume: fine"
