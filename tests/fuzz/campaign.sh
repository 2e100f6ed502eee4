#!/usr/bin/env bash
# Fuzzes each target for SECONDS, JOBS of them side by side, from its seeds and what an earlier
# campaign found: tests/fuzz/campaign.sh SECONDS [JOBS [TARGET...]]
# An input may take 1 s and 512 MB. Exit status 1 when one crashed, leaked or took more; it lies in
# build-fuzz/found then, to be mended and kept in tests/fuzz/seeds. What took a second is tried
# again alone: on a busy machine the clock goes on while the fuzzer waits, or is made to wait; so a
# campaign is given up for an input only after ten minutes. What an earlier campaign found stays
# there; its slow inputs go to found/earlier, not to be tried again.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:?usage: tests/fuzz/campaign.sh SECONDS [JOBS [TARGET...]]}
jobs=${2:-2}
shift $(($# < 2 ? $# : 2))
targets=("$@")
[ $# -gt 0 ] || targets=(settings jsonl manifest journal tokenizer reply)

build=${FUZZ_BUILD:-build-fuzz}
cmake --preset fuzz -B "$build" >/dev/null
cmake --build "$build" --target fuzz_targets -j"$(nproc)" | { grep -E 'warning|error' || true; }
mkdir -p "$build/found/earlier"

export build seconds
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=16:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
fuzz() { # target
  mkdir -p "$build/corpus/$1"
  local status=0
  find "$build/found" -maxdepth 1 -name "$1-slow-unit-*" -exec mv -t "$build/found/earlier" {} +
  "$build/fuzz_$1" -max_total_time="$seconds" -timeout=600 -report_slow_units=1 -rss_limit_mb=512 \
    -max_len=65536 -print_final_stats=1 -dict=tests/fuzz/json.dict \
    -artifact_prefix="$build/found/$1-" \
    "$build/corpus/$1" "tests/fuzz/seeds/$1" >"$build/found/$1.log" 2>&1 || status=$?
  local slow
  for slow in "$build/found/$1"-slow-unit-* "$build/found/$1"-timeout-*; do
    [ -e "$slow" ] || continue
    if "$build/fuzz_$1" -timeout=1 "$slow" >>"$build/found/$1.log" 2>&1; then
      [ "$status" -ne 70 ] || status=0 # given up for an input like this
      rm "$slow"
    else
      status=1
    fi
  done
  echo "fuzz_$1: $(figure "$1" number_of_executed_units:) inputs, $(figure "$1" cov:) edges," \
    "exit status $status"
  if [ "$status" -ne 0 ]; then tail -n 40 "$build/found/$1.log"; fi
  return "$status"
}
figure() { # target, what its log calls it: the last one told, or 0
  { grep -oP "$2 +\K[0-9]+" "$build/found/$1.log" || echo 0; } | tail -n 1
}
export -f fuzz figure
verdict=fine
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'fuzz {} || exit 1' || verdict=failed

inputs=0
for target in "${targets[@]}"; do
  inputs=$((inputs + $(figure "$target" number_of_executed_units:)))
done
echo "campaign: $verdict: ${#targets[@]} targets for $seconds s each, $inputs inputs"
[ "$verdict" = fine ]
