#!/usr/bin/env bash
# rlhf plot: gnuplot draws every script, from any folder and whatever the runs are called; the data
# are the journals' numbers, means and deviations. Argument: the rlhf program.
# shellcheck source=tests/command.sh
. "$(dirname "$0")/command.sh"
short=(--set pretrain.steps=5 --set ppo.steps=4 --set tensorboard=false)
# draw FILE.gp...: gnuplot is silent, and leaves a picture that is one.
draw() {
  local script
  for script in "$@"; do
    gnuplot "$script" >drawn 2>&1 </dev/null || fail "gnuplot $script: $(head -n 3 drawn)"
    [ -s drawn ] && fail "gnuplot $script says: $(head -n 3 drawn)"
    /usr/bin/python3 -c 'import sys, xml.dom.minidom as dom
picture = dom.parse(sys.argv[1])
assert picture.documentElement.tagName == "svg" and len(picture.getElementsByTagName("path")) > 5' \
      "${script%.gp}.svg" || fail "${script%.gp}.svg is no picture"
  done
}

expect 0 run tiny --out sweep --seeds 1..2 --set ppo.kl_coef=0,0.2 --jobs 2 "${short[@]}"
expect 0 plot sweep/* --out figures
says out "gnuplot figures/reward-over-steps.gp"
[ "$(wc -l <out)" -eq 2 ] || fail "not two figures"
draw figures/reward-over-steps.gp figures/reward-over-kl.gp
says figures/reward-over-steps.svg "gold, kl_coef=0.2 (mean of 2 ± deviation)"
expect 0 plot sweep/* --out figures --metric objective/kl --metric loss/
says out "gnuplot figures/ppo-objective-kl.gp"
says out "gnuplot figures/ppo-loss-value_avg.gp"
[ "$(wc -l <out)" -eq 3 ] || fail "an exact name, and two that contain loss/, are not 3 figures"
draw figures/ppo-*.gp
expect 0 plot sweep/tiny-kl_coef=0-s1 --out other/deep --stage reward --metric loss --pdf
gnuplot other/deep/reward-loss.gp 2>drawn || fail "gnuplot on PDF"
[ "$(head -c 5 other/deep/reward-loss.pdf)" = "%PDF-" ] || fail "no PDF"
gnuplot -e "format='svg'" other/deep/reward-loss.gp 2>drawn || fail "gnuplot with another format"
[ -s other/deep/reward-loss.svg ] || fail "no SVG"
(cd other/deep && rm reward-loss.svg && gnuplot -e "format='svg'" reward-loss.gp 2>drawn &&
  [ -s reward-loss.svg ]) || fail "gnuplot in the folder itself"

# --- every number is the journal's ---
/usr/bin/python3 - <<'PYTHON' || fail "the data are not the journals'"
import glob, json, math, statistics

def journals(group):
    runs = sorted(glob.glob(f"sweep/tiny-kl_coef={group}-s*"))
    return [[json.loads(line) for line in open(run + "/ppo/metrics.jsonl")] for run in runs]

def blocks(name):
    found = []
    for text in open(f"figures/{name}.dat").read().split("\n\n\n"):
        rows = [line.split() for line in text.splitlines() if line and line[0] != "#"]
        if rows:
            found.append((text.splitlines()[0], [[float(cell) for cell in row] for row in rows]))
    return found

for name, curves, over_kl in [
    ("reward-over-steps", ["objective/gold", "objective/scores"], False),
    ("reward-over-kl", ["objective/gold", "objective/scores"], True),
    ("ppo-objective-kl", ["objective/kl"], False),
]:
    found = blocks(name)
    wanted = [(group, curve) for group in ("0", "0.2") for curve in curves]
    assert [head for head, _ in found] == [f"# {c} of kl_coef={g}" for g, c in wanted], found
    for (group, curve), (_, rows) in zip(wanted, found):
        expected = []
        for records in zip(*journals(group)):
            runs = [r for r in records if not over_kl or r["objective/kl"] >= 0]
            if not runs:
                continue
            values = [r[curve] for r in runs]
            x = (statistics.fmean(math.sqrt(r["objective/kl"]) for r in runs) if over_kl
                 else records[0]["step"])
            shown = [r[curve] if r in runs else math.nan for r in records]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.fmean(values)
            expected.append([x, mean, mean - spread, mean + spread, len(runs), records[0]["step"],
                             *shown])
        expected.sort(key=lambda row: (row[0], row[5]) if over_kl else row[5])
        assert len(rows) == len(expected) == 4 or over_kl and len(rows) == len(expected)
        for row, other in zip(rows, expected):
            for i, (a, b) in enumerate(zip(row, other)):
                exact = i >= 4
                assert a == b or math.isnan(a) and math.isnan(b) or (
                    not exact and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)), (name, row, other)
PYTHON

# --- names of strangers: no command is run, nothing breaks ---
hostile="it's \"a\"<b>&\`touch pwn\`
{:é}_x%s"
cp -r sweep/tiny-kl_coef=0-s1 "$hostile"
expect 0 plot "$hostile" --out figures2 --metric objective/kl
draw figures2/ppo-objective-kl.gp
[ -e pwn ] && fail "a name was run as a command"
# shellcheck disable=SC2016
/usr/bin/python3 -c 'import xml.etree.ElementTree as tree
texts = ["".join(text.itertext()) for text in tree.parse("figures2/ppo-objective-kl.svg").iter()
         if text.tag.endswith("}text")]
assert any("it'"'"'s \"a\"<b>&`touch pwn`\\n{:é}_x%s" in t for t in texts), texts' ||
  fail "the name is not shown as it is"

# --- what cannot be drawn ---
expect 2 plot sweep/tiny-kl_coef=0-s1 --metric nothing
says err "nothing: no metric of ppo named like that has values; 'rlhf explain' lists them"
expect 4 plot nowhere
says err "nowhere/config.json: missing"
expect 0 config new tiny --out fresh
expect 4 plot fresh
says err "fresh: no step of ppo yet"
expect 2 plot sweep/tiny-kl_coef=0-s1 --stage ppx
touch file
expect 5 plot sweep/tiny-kl_coef=0-s1 --out file
echo "test_plot: fine"
