#!/usr/bin/env bash
# rlhf verify and rlhf ppo --from-rollouts on preset tiny: a fresh run passes and is left as it was;
# a changed byte, metric or setting, a foreign checkpoint and a missing rollout are each named.
# Argument: the rlhf program.
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
fingerprint() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
# damaged: a fresh copy of run a, to be damaged.
damaged() { rm -rf d && cp -r a d; }
# edit FILE PYTHON: changes `data`, the bytes of the file.
edit() {
  /usr/bin/python3 - "$1" "$2" <<'PYTHON' || fail "cannot edit $1"
import re, sys
def metric(data, step, name):
    """Another fourth digit behind the point of one metric of one step."""
    lines = data.split(b"\n")
    place = re.search(rb'"%s":-?\d+\.\d\d\d' % name.encode(), lines[step - 1]).end()
    digit = b"7" if lines[step - 1][place:place + 1] != b"7" else b"3"
    lines[step - 1] = lines[step - 1][:place] + digit + lines[step - 1][place + 1:]
    return b"\n".join(lines)
with open(sys.argv[1], "rb") as file:
    data = bytearray(file.read())
names = {"data": data, "before": bytes(data), "metric": metric}
exec(sys.argv[2], names)
assert names["data"] != names["before"], "nothing changed"
with open(sys.argv[1], "wb") as file:
    file.write(names["data"])
PYTHON
}

settings=(--set ppo.steps=6 --set ppo.kl_controller=adaptive --set ppo.target_kl=0.004)
expect 0 run tiny --out a "${settings[@]}"
expect 0 run tiny --out b "${settings[@]}" --set seed=2

# --- a fresh run passes, and verifying leaves no trace ---
fingerprint a >before
expect 0 verify a
says out "sizes and hashes hold"
says out "rollouts  6, with 192 answers"
says out "updates   6, with "
expect 0 verify a --steps 3..4 --set threads=1 --json
/usr/bin/python3 -c 'import json
report = json.load(open("out"))
assert report["verified"] and report["stages"] == 6 and report["updates"] == 2, report
assert report["rollouts"] == 6 and report["files"] == 41, report' || fail "verify --json"
rm -r a/ppo/checkpoints/step-00000[345] && fingerprint a >before
expect 0 ppo a --from-rollouts 5
says out "from checkpoints/step-000002"
says out "update 4  its metrics are those of the run, its weights those of rollouts/000005.h5"
says out "updates 3 to 5 repeated from the stored rollouts: equal to the bit"
expect 0 ppo a --from-rollouts 6 --set threads=3
says out "its weights and moments those of checkpoints/step-000006, its weights those of policy.h5"
expect 0 ppo a --from-rollouts 1
says out "from the networks before step 1"
fingerprint a | cmp -s before - || fail "verifying changed the run"

# --- what does not hold is named ---
damaged
edit d/ppo/rollouts/000003.h5 'data[len(data) // 2] ^= 1'
expect 8 verify d
says err "d/ppo/rollouts/000003.h5: its hash is "
expect 8 verify d --json
/usr/bin/python3 -c 'import json
report = json.load(open("out"))
assert not report["verified"] and "rollouts/000003.h5" in report["difference"], report' ||
  fail "verify --json of a damaged run"

# a stranger's run.json need not name the lives whose BLAS kernel is asked for
echo '{}' >d/run.json
expect 8 verify d
says err "d/ppo/rollouts/000003.h5: its hash is "

damaged
edit d/ppo/metrics.jsonl 'data = metric(data, 2, "objective/scores")'
expect 8 verify d
says err "d/ppo/metrics.jsonl: its hash is "
says err "step 2: objective/scores is "

damaged
edit d/ppo/metrics.jsonl 'data = metric(data, 4, "val/clipfrac_avg")'
rm -r d/ppo/checkpoints/step-00000[456]
expect 8 verify d
says err "d/ppo/metrics.jsonl: its hash is "
expect 8 verify d --steps 4
expect 8 ppo d --from-rollouts 4
says err "step 4: val/clipfrac_avg is "

damaged
rm d/ppo/rollouts/000004.h5
expect 8 verify d
says err "d/ppo/rollouts/000004.h5: missing"

damaged
rm -r d/ppo/checkpoints/step-000002 && cp -r b/ppo/checkpoints/step-000002 d/ppo/checkpoints
expect 8 verify d
says err "d/ppo/checkpoints/step-000002: made from other settings or inputs than this run"
expect 8 ppo d --from-rollouts 3
says err "made from other settings"

damaged
cp b/ppo/checkpoints/step-000002/policy.h5 d/ppo/checkpoints/step-000002
expect 8 verify d
says err "d/ppo/checkpoints/step-000002/policy.h5: "

damaged
cp b/sft/policy.h5 d/sft
expect 8 verify d
says err "d/sft/policy.h5: its hash is "

damaged
rm d/reward/manifest.json
expect 8 verify d
says err "d/reward/manifest.json: missing"

damaged
edit d/config.json 'data = data.replace(b"\"lambda\": 0.95", b"\"lambda\": 0.94")'
expect 8 verify d
says err "d/ppo/manifest.json: made from other settings or inputs than config.json"

# --- what cannot be asked ---
expect 2 verify a --steps 3..2
says err "--steps 3..2: expected A..B with 1 <= A <= B"
expect 2 verify a --steps 3..x
expect 2 verify a --steps 2..7
says err "the run has done 6 updates"
expect 2 ppo a --from-rollouts 7
expect 2 ppo a --from-rollouts 2 --restart
expect 4 verify nowhere

# --- a run that is not finished ---
expect 0 run tiny --out c --until sft
expect 0 verify c
says out "ppo       not finished"
says out "published by 2 stages"
expect 4 ppo c --from-rollouts 1
echo "test_verify: fine"
