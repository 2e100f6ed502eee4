#!/usr/bin/env bash
# rlhf report from outside: where the page goes, hashes by another SHA-256, figures equal to those of
# the files, unfinished and broken runs. Argument: the rlhf program.
set -uo pipefail
rlhf=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
export OMP_WAIT_POLICY=passive

check() { # what, command...
  local what=$1
  shift
  "$@" >"$folder/out" 2>&1 || { echo "FAILED: $what"; cat "$folder/out"; failed=1; }
}
refused() { # status, text, command...
  local status=$1 text=$2
  shift 2
  "$@" >"$folder/out" 2>&1
  local got=$?
  { [ $got -eq "$status" ] && grep -qF -- "$text" "$folder/out"; } ||
    { echo "FAILED: $* gave $got, expected $status: $text"; cat "$folder/out"; failed=1; }
}

"$rlhf" run tiny --out "$folder/a" >/dev/null 2>&1 || { echo "no run to report on"; exit 1; }
cp -a "$folder/a" "$folder/b"
sed -i 's/"seed": 1,/"seed": 2,/' "$folder/b/config.json"

check "a report of a run" "$rlhf" report "$folder/a"
check "the page stands in the run" test -s "$folder/a/report.html"
check "-o names the page" "$rlhf" report "$folder/a" "$folder/b" -o "$folder/both.html"
check "the page is where -o says" test -s "$folder/both.html"

cat >"$folder/read.py" <<'END'
import base64, hashlib, json, random, re, sys
page, run = open(sys.argv[1], "rb").read(), sys.argv[2]
policy = re.search(rb'Content-Security-Policy" content="([^"]*)"', page).group(1)
assert policy.startswith(b"default-src 'none'; script-src 'sha256-"), policy
assert policy.endswith(b"; style-src 'unsafe-inline'; img-src data:"), policy
scripts = re.findall(rb"<script>(.*?)</script>", page, re.S)
named = re.findall(rb"'sha256-([^']*)'", policy)
assert [base64.b64encode(hashlib.sha256(s).digest()) for s in scripts] == named and named
assert not re.search(rb'<(script|img|link|iframe)[^>]*(src|href)="(?!data:)', page)

text = page.decode("utf-8")
data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))
rng = random.Random(int(sys.argv[3]))
# Ten points of curves, and the ends that stand below them.
for _ in range(10):
    stage = rng.choice(sorted(data["curves"]["stages"]))
    chart = rng.choice(data["curves"]["stages"][stage])
    journal = [json.loads(line) for line in open(f"{run}/{stage}/metrics.jsonl")]
    truth = {r["step"]: r[chart["metric"]] for r in journal if chart["metric"] in r}
    line, step = chart["runs"][0], 0
    at = rng.randrange(len(line["value"]))
    step = sum(line["step"][: at + 1])
    assert line["value"][at] == float("%.6g" % truth[step]), (stage, chart["metric"], step)
# Every number with all its digits in the title is what it shows, to the digits shown.
numbers = re.findall(r'<span class="number" title="([^"]*)">([^<]*)</span>', text)
assert len(numbers) > 100
for exact, shown in numbers:
    if not re.fullmatch(r"-?[\d.]+(e[-+]\d+)?", shown):
        continue  # a size in kB
    mantissa = shown.split("e")
    exponent = int(mantissa[1]) if len(mantissa) > 1 else 0
    unit = 10.0 ** (exponent - len(mantissa[0].partition(".")[2]))
    assert abs(float(shown) - float(exact)) <= 0.500001 * unit, (exact, shown)
# The scorecard is the file's.
card = json.load(open(f"{run}/evaluate/scorecard.json"))
for policy in card["policies"].values():
    for measure in ("gold", "scores", "kl", "length"):
        value = policy[measure]["mean"]
        assert value == 0 or any(float(e) == value for e, _ in numbers), (measure, value)
END
check "hashes and figures" /usr/bin/python3 "$folder/read.py" "$folder/a/report.html" "$folder/a" "$RANDOM"
check "several runs" grep -q "2 seeds" "$folder/both.html"

# What is there is shown, whatever is missing.
rm -r "$folder/b/evaluate" "$folder/b/ppo/manifest.json" "$folder/b/run.json"
head -n 2 "$folder/a/ppo/metrics.jsonl" >"$folder/b/ppo/metrics.jsonl"
printf '{"step":3,"objec' >>"$folder/b/ppo/metrics.jsonl"
check "an unfinished run" "$rlhf" report "$folder/b"
check "with no scorecard rewards are as measured" grep -q "as measured" "$folder/b/report.html"
check "with one they are in sigma" grep -q "above SFT, in σ" "$folder/a/report.html"
check "one chart, one unit" "$rlhf" report "$folder/a" "$folder/b" -o "$folder/mixed.html"
check "that of what has no scorecard" grep -q "as measured" "$folder/mixed.html"
cp -a "$folder/b" "$folder/c"
rm -r "$folder/c/ppo/metrics.jsonl" "$folder/c/ppo/rollouts"
mkdir "$folder/c/ppo/rollouts"
check "a run before its first PPO step" "$rlhf" report "$folder/c"
check "it says how far" grep -q "PPO stands at step 2 of" "$folder/b/report.html"
mkdir "$folder/new"
cp "$folder/a/config.json" "$folder/new"
check "a run that has not begun" "$rlhf" report "$folder/new"
check "it says so" grep -q "PPO has not begun" "$folder/new/report.html"

refused 4 "config.json: missing" "$rlhf" report "$folder"
cp -a "$folder/a" "$folder/other-samples"
printf x >>"$folder/other-samples/ppo/samples.h5"
refused 4 "ppo/samples.h5" "$rlhf" report "$folder/other-samples"
refused 2 "DIR" "$rlhf" report
printf 'no json\n' >"$folder/new/none"
mkdir "$folder/new/ppo"
printf '{"step":1,"objective/kl":"x"}\n{"step":2}\n' >"$folder/new/ppo/metrics.jsonl"
refused 4 "ppo/metrics.jsonl" "$rlhf" report "$folder/new"
refused 5 "there" "$rlhf" report "$folder/a" -o "$folder/not/there.html"
exit $failed
