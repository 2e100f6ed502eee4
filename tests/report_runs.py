"""Runs whose report is worth a look: hostile text in every place, many runs of many steps."""
import json
import math
import os
import random
import shutil

import h5py
import numpy as np

PAIRS = [
    "<script>pwned=1</script>", "</script><script>pwned=2</script>", "<!--", "-->", "<!--<script>",
    "]]>", "<![CDATA[x", "<img src=x onerror=pwned=3>", "<svg onload=pwned=4>", "<svg/onload=pwned=5//",
    "<iframe src=javascript:pwned=6>", "<body onload=pwned=7>", "<a href=http://example.org/>x</a>",
    "<img src=http://example.org/x.png>", "<link rel=stylesheet href=http://example.org/x.css>",
    "<style>*{display:none}</style>", "<meta http-equiv=refresh content=0;url=http://example.org/>",
    "<base href=http://example.org/>", "</td></tr></table><h1>out</h1>", "</title><h1>out</h1>",
    "</textarea><b>x", "</style></head><body>", "<plaintext>", "<template><b>", "<math><mi//xlink:href=x>",
    "\" onmouseover=\"pwned=8", "' onmouseover='pwned=9", "\"'`", "\"}]}", "\\\"}];alert(1)//", "\\u003cscript>",
    "\\x3cscript\\x3e", "&lt;script&gt;", "&amp;amp;", "&#x3c;b&#x3e;", "&#60;b", "${pwned=10}", "{{7*7}}", "%3Cscript%3E",
    "%s%n%d", "javascript:pwned=11", "data:text/html,<script>pwned=12</script>", "=1+1", "@SUM(1)", "__proto__", "constructor",
    "\u202egnp.exe", "\u2066isolate\u2069", "\u200fmark\u200e", "\u061carabic", "line\u2028break\u2029here",
    "\u05e2\u05d1\u05e8\u05d9\u05ea", "\u0627\u0644\u0639", "z\u0301\u0302\u0303\u0304", "\U0001f468\u200d\U0001f469", "\ufeffbom",
    "\ufffe\uffff", "tab\tnew\nline\rend", "\x1b[2J\x1b]0;title\x07", "\x7f\x08\x08\x08", "\x9b31m", "NULL", "-0", "1e999", "x" * 300, " ",
]
BYTES = [
    b"\xff\xfe", b"\xc0\xbc script", b"\xe2\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\x00b", b"\xc3", b"\xf0\x9f\x98",
    b"<\xffscript>", b"\x80\x81\x82", b"\xe2\x28\xa1", b"ok\xe2\x82\xacend\xe2",
]


def hostile_strings():
    return BYTES + [text.encode() for text in PAIRS]


def shown(data):
    """The text that the program shows for these bytes, written again from its contract."""
    out, at = "", 0
    while at < len(data):
        for length in (1, 2, 3, 4):
            try:
                character = data[at:at + length].decode()
                break
            except UnicodeDecodeError:
                character = None
        point = ord(character) if character else 0
        hidden = (point < 0x20 or 0x7f <= point < 0xa0 or point in (0x61c, 0x200e, 0x200f)
                  or 0x2028 <= point <= 0x202e or 0x2066 <= point <= 0x2069)
        if character is None:
            out += "\\x%02x" % data[at]
        elif character == "\n":
            out += "\\n"
        elif hidden:
            out += ("\\x%02x" if point < 0x100 else "\\u%04x") % point
        else:
            out += character
        at += len(character.encode()) if character else 1
    return out


def write_pairs(path):
    """A task of its own: every string as a prompt and in both of its answers."""
    with open(path, "w", encoding="utf-8") as file:
        for i, text in enumerate(PAIRS * 4):
            text = text[:60]
            row = {"prompt": f"{i} {text}", "chosen": f" yes {text}", "rejected": f" no {text}"}
            file.write(json.dumps(row) + "\n")


def vocabulary(run):
    """Ids by the bytes that they stand for; the end token under its name."""
    with open(f"{run}/sft/tokenizer.json", encoding="utf-8") as file:
        names = json.load(file)["model"]["vocab"]
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letter = {chr(byte): byte for byte in plain}
    letter.update({chr(256 + i): byte for i, byte in
                   enumerate(byte for byte in range(256) if byte not in plain)})
    end = "<|endoftext|>"
    return {end if name == end else bytes(letter[c] for c in name): id for name, id in names.items()}


def decode(run, ids):
    """The bytes of an answer."""
    of = {id: data for data, id in vocabulary(run).items()}
    return b"".join(of[id] for id in ids if of[id] != "<|endoftext|>")


def sequences(run, rows):
    """Tokens of (prompt, answer, end) one row after another: ids, offsets, both lengths."""
    ids = vocabulary(run)
    spell = lambda text: [ids[bytes([byte])] for byte in text]
    tokens = [(spell(prompt), spell(answer) + [ids["<|endoftext|>"]]) for prompt, answer in rows]
    lengths = np.array([[len(prompt), len(answer)] for prompt, answer in tokens])
    offset = np.concatenate([[0], np.cumsum(lengths.sum(1))]).astype("i8")
    flat = np.array([t for pair in tokens for part in pair for t in part], "i4")
    return flat, offset, lengths.astype("i4")


def rewrite(path, columns):
    """Puts other columns in the place of those of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        for name, values in columns.items():
            kind = file[name].dtype
            del file[name]
            file[name] = np.asarray(values).astype(kind)


def plant_hostile(run, step):
    """All strings as prompts and answers, in the rollouts of `step` and in samples.h5."""
    texts = hostile_strings()
    rows = list(zip(texts, texts[-64:]))[:64] # 64 rows are shown: every string in one of the two
    chance = np.random.default_rng(1)
    flat, offset, lengths = sequences(run, rows)
    n, tokens = len(rows), len(flat)
    is_response = np.concatenate([np.repeat([0, 1], pair) for pair in lengths])
    columns = {"rollout/offset": offset, "rollout/prompt_length": lengths[:, 0],
               "rollout/response_length": lengths[:, 1], "rollout/prompt_id": np.arange(n),
               "rollout/block": np.zeros(n), "rollout/terminated": np.ones(n),
               "rollout/truncated": np.zeros(n), "token/id": flat, "token/is_response": is_response}
    for name in ("score", "raw_score", "kl", "rlhf_reward"):
        columns["rollout/" + name] = chance.normal(size=n)
    columns["rollout/gold"] = np.full(n, math.nan)
    for name in ("logp", "reference_logp", "value", "reward", "advantage", "return"):
        columns["token/" + name] = chance.normal(size=tokens) * is_response
    rewrite(f"{run}/ppo/rollouts/{step:06d}.h5", columns)
    for knows_hashes in ("ppo/rollouts/manifest.json", "ppo/manifest.json"):
        os.remove(f"{run}/{knows_hashes}")

    samples = f"{run}/ppo/samples.h5"
    with h5py.File(samples) as file:
        steps = sorted(set(file["sample/step"][:]))
    fixed = [(texts[-1 - p], texts[(7 * p + 16 * s) % len(texts)])
             for s in range(len(steps)) for p in range(16)]
    flat, offset, lengths = sequences(run, fixed)
    rewrite(samples, {"sample/offset": offset, "sample/prompt_length": lengths[:, 0], "token/id": flat,
                      "sample/terminated": np.ones(len(fixed))})
    return rows, fixed[-16:]


def fifteen_runs(run, folder, steps):
    """Copies of `run` under three settings and five seeds each, with journals of `steps` steps."""
    paths = []
    with open(f"{run}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    with open(f"{run}/ppo/metrics.jsonl", encoding="utf-8") as file:
        first = json.loads(file.readline())
    for i in range(15):
        path = f"{folder}/many-{i}"
        shutil.copytree(run, path, ignore=shutil.ignore_patterns("checkpoints", "*.html"))
        config["seed"], config["ppo"]["kl_coef"], config["ppo"]["steps"] = 1 + i % 5, 0.02 * (1 + i // 5), steps
        with open(f"{path}/config.json", "w", encoding="utf-8") as file:
            json.dump(config, file)
        chance = random.Random(i)
        with open(f"{path}/ppo/metrics.jsonl", "w", encoding="utf-8") as file:
            at = dict(first)
            for step in range(1, steps + 1):
                for name, value in first.items():
                    if isinstance(value, float) or name in ("objective/kl", "objective/kl_k2"):
                        at[name] += chance.gauss(0, 0.05 * (abs(value) + 0.1))
                at["objective/kl"] = abs(at["objective/kl"])
                at["step"], at["episode"] = step, 32 * step
                file.write(json.dumps(at) + "\n")
        paths.append(path)
    return paths
