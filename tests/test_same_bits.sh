#!/usr/bin/env bash
# Equal settings and seed give equal bytes: preset tiny with 1, 2, 3 and 8 threads, run twice, with
# other checkpoint intervals; and the same weights and rollouts with samples taken during training
# or not. Argument: the rlhf program.
set -uo pipefail
rlhf=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
settings=(--set pretrain.steps=20 --set checkpoint_seconds=0 --set keep_every=2)

fail() {
  printf 'test_same_bits: %s\n' "$1"
  exit 1
}
# run NAME WORDS...
run() {
  local name=$1
  shift
  "$rlhf" run tiny --out "$name" "${settings[@]}" "$@" >out 2>err </dev/null ||
    fail "rlhf run $name: $(tail -n 1 err)"
}
# Every published file: all but clocks, logs and options; `checkpoints` too unless told otherwise.
fingerprint() {
  (cd "$1" && find . -type f ! -name run.json ! -name log.txt ! -name lock ! -name timings.jsonl \
    ! -name 'events.out.tfevents.*' \
    ! -path "${2:-./none}" -print0 | sort -z | xargs -0 sha256sum)
}
same() { # A B [PATTERN left out]
  fingerprint "$1" "${3:-}" >first
  fingerprint "$2" "${3:-}" >second
  diff first second >difference || fail "$1 and $2 differ: $(sed -n 2,4p difference | cut -c 1-2,69-)"
}

run one --set threads=1
fingerprint one >first
for kind in h5 jsonl json; do
  grep -q "\.$kind\$" first || fail "no *.$kind is compared"
done
for file in config.json evaluate/scorecard.json ppo/tokenizer.json ppo/metrics.jsonl ppo/metrics.h5 \
  ppo/rollouts/000004.h5 ppo/manifest.json ppo/checkpoints/step-000002/policy.h5 label/comparisons.h5; do
  grep -qF " ./$file" first || fail "$file is not compared"
done
for threads in 1 2 3 8; do
  run other --set threads=$threads
  same one other
  rm -r other
done

run often --set threads=2 --set checkpoint_seconds=0.001 --set keep_every=3
same one often './*/checkpoints/*'
[ -e often/ppo/checkpoints/step-000003 ] || fail "the other run has the same checkpoints"

run watched --set threads=2 --set ppo.sample_every=1
run unwatched --set threads=2 --set ppo.sample_every=0
[ -e unwatched/ppo/samples.h5 ] && fail "ppo.sample_every=0 took samples"
/usr/bin/python3 - <<'PYTHON' || fail "looking at a run changes it"
import h5py
import numpy as np

names = ["policy.h5", "critic.h5"] + [f"rollouts/{step:06d}.h5" for step in range(1, 5)]
for name in names:
    with h5py.File(f"watched/ppo/{name}") as a, h5py.File(f"unwatched/ppo/{name}") as b:
        def compare(path, one):
            other = b[path]
            for key in one.attrs:
                if key != "config":
                    assert np.array_equal(one.attrs[key], other.attrs[key]), (name, path, key)
            if isinstance(one, h5py.Dataset):
                assert np.array_equal(one[()], other[()]), (name, path)
        found = []
        b.visit(found.append)
        compared = []
        a.visititems(lambda path, one: (compare(path, one), compared.append(path))[0])
        assert found == compared and len(found) > 10, name
        compare("/", a["/"])
PYTHON
for file in ppo/policy.h5 ppo/critic.h5; do
  cmp -s "watched/$file" "unwatched/$file" || fail "$file: other bytes"
done
echo "test_same_bits: fine"
