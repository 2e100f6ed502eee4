#!/usr/bin/env bash
# HH-shaped JSONL of our own making goes in through `files`, trains a reward model and PPO, and
# comes out equal. Argument: the rlhf program.
set -euo pipefail
rlhf=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# 240 dialogues about colours: the polite answer is preferred. Some carry quotes, accents, emoji.
/usr/bin/python3 - "$folder/hh.jsonl" <<'PYTHON'
import json, sys
colours = ["red", "green", "blue", "grey", "caf\u00e9 brown", "\u7d05", "\"gold\"", "pink \U0001f338"]
things = ["the sky", "a leaf", "my car", "your hat", "the wall", "a rose"]
with open(sys.argv[1], "w", encoding="utf-8") as out:
    for i in range(240):
        thing, colour = things[i % 6], colours[i // 6 % 8]
        shared = f"\n\nHuman: What colour is {thing}?"
        if i % 3 == 0:
            shared = f"\n\nHuman: Hello {i}\n\nAssistant: Hello!" + shared
        pair = {"chosen": f"{shared}\n\nAssistant: It is {colour}, thank you for asking.",
                "rejected": f"{shared}\n\nAssistant: {colour}, go away."}
        out.write(json.dumps(pair, ensure_ascii=bool(i % 2)) + "\n")
PYTHON

"$rlhf" run tiny --out "$folder/run" --set task.name=files --set "task.pair_file=$folder/hh.jsonl" \
  --set model.positions=128 --set task.response_tokens=32 >"$folder/out" 2>"$folder/err" ||
  { cat "$folder/err"; exit 1; }
"$rlhf" export "$folder/run" pairs --hh -o "$folder/back.jsonl"
/usr/bin/python3 - "$folder/hh.jsonl" "$folder/back.jsonl" "$folder/run/evaluate/scorecard.json" <<'PYTHON'
import json, sys
read = lambda path: [json.loads(line) for line in open(path, encoding="utf-8")]
before, after = read(sys.argv[1]), read(sys.argv[2])
key = lambda pair: (pair["chosen"], pair["rejected"])
assert len(after) == len(before), (len(before), len(after))
assert sorted(map(key, before)) == sorted(map(key, after)), "the pairs changed"
card = json.load(open(sys.argv[3], encoding="utf-8"))
assert "gold" not in card["policies"]["ppo"], "there is no gold in own data"
assert "gold_accuracy" not in card["reward_model"] or card["reward_model"]["gold_accuracy"] is None
assert card["policies"]["ppo"]["scores"]["mean"] == card["policies"]["ppo"]["scores"]["mean"]
PYTHON
"$rlhf" export "$folder/run" rollouts -o "$folder/rollouts.jsonl"
[ -s "$folder/rollouts.jsonl" ]
