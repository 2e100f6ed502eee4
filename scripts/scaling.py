#!/usr/bin/python3
"""What training costs against parameters, sequence length and threads, as markdown tables.

usage: scripts/bench --scaling [--rlhf PROGRAM] [--largest MILLIONS]

Every row is one `rlhf bench`; all of them take some minutes on two quiet cores, half of it for the
largest model. Memory is what was resident at most, with a checkpoint written and answers generated.
"""
import argparse
import json
import subprocess
import sys
import time

# name, parameters in millions, what rlhf bench is told
MODELS = [
    ("0.1 M", 0.1, "--d 64 --layers 2 --heads 4 --vocab 256 --batch 64"),
    ("0.9 M", 0.9, "--d 128 --layers 4 --heads 4 --vocab 512 --batch 64"),
    ("3 M", 3, "--d 256 --layers 4 --heads 4 --vocab 512 --batch 64"),
    ("10 M", 10, "--d 320 --layers 8 --heads 5 --vocab 512 --batch 64"),
    ("29 M", 29, "--d 512 --layers 8 --heads 8 --vocab 8192 --batch 16 --shards 2 --repeats 2"),
    ("124 M (GPT-2, 1024 positions)", 124,
     "--d 768 --layers 12 --heads 12 --vocab 50257 --prompt 512 --response 512 --batch 4 "
     "--shards 2 --repeats 1"),
]
LENGTHS = [(32, 32, 96), (32, 64, 64), (128, 128, 24), (256, 256, 12), (512, 512, 8)]
HEAD = ("tokens/s", "MFU", "generated/s", "peak MB")
KEYS = (("train_tok_s", ".0f"), ("train_mfu", ".2f"), ("generate_tok_s", ".0f"), ("peak_mb", ".0f"))


def bench(options, words):
    start = time.monotonic()
    print(f"rlhf bench {' '.join(words)}", end=" ", file=sys.stderr, flush=True)
    done = subprocess.run([options.rlhf, "bench", "--json", *words], check=False,
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"scaling.py: rlhf bench ended with status {done.returncode}")
    print(f"({time.monotonic() - start:.0f} s)", file=sys.stderr)
    return json.loads(done.stdout)


def head(first, columns):
    print(f"\n| {first} | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|", flush=True)


def row(name, found, keys):
    print(f"| {name} | " + " | ".join(format(found[key], form) for key, form in keys) + " |",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rlhf", required=True, metavar="PROGRAM")
    parser.add_argument("--largest", type=float, default=124, metavar="MILLIONS",
                        help="leave out larger models (default 124)")
    options = parser.parse_args()
    subprocess.run([options.rlhf, "--version"], check=True)  # names OpenBLAS's kernel
    head("parameters", HEAD)
    for name, millions, words in MODELS:
        if millions <= options.largest:
            row(name, bench(options, ["--training", *words.split()]), KEYS)
    head("positions (d 128, 4 layers)", HEAD)
    for prompt, response, batch in LENGTHS:
        words = f"--training --repeats 3 --prompt {prompt} --response {response} --batch {batch}"
        row(prompt + response, bench(options, words.split()), KEYS)
    keys = (*KEYS[:3], ("ppo_iter_s", ".2f"), ("ppo_mfu", ".2f"))
    head("threads (d 128, 4 layers)", (*HEAD[:3], "PPO iteration, s", "PPO MFU"))
    for threads in (1, 2):
        row(threads, bench(options, ["--repeats", "3", "--threads", str(threads)]), keys)


main()
