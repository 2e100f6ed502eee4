#!/usr/bin/python3
"""Checks the files of one run with h5py and numpy alone, as a stranger would.

Every dataset of the contract is there with its shape, type and range, and every number that can be
recomputed from the files is: rewards, advantages, returns, KL, journal against metrics.h5.
"""
import json
import os
import sys

import h5py
import numpy as np

run = sys.argv[1]
failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def close(a, b, what, tolerance=1e-5):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    check(a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance), what)


def dataset(file, name, kind, shape=None, low=None, high=None):
    """The dataset as an array, its type, shape and range checked."""
    where = f"{os.path.relpath(file.filename, run)}:{name}"
    if name not in file:
        failures.append(f"{where} is missing")
        return np.zeros(0)
    found = file[name]
    check(found.dtype == np.dtype(kind), f"{where} is {found.dtype}, not {kind}")
    if shape is not None:
        check(found.shape == tuple(shape), f"{where} has shape {found.shape}, not {shape}")
    values = found[()]
    if values.size and low is not None:
        check(np.nanmin(values) >= low, f"{where} goes down to {np.nanmin(values)}")
    if values.size and high is not None:
        check(np.nanmax(values) <= high, f"{where} goes up to {np.nanmax(values)}")
    return values


def load_json(*parts):
    with open(os.path.join(run, *parts), encoding="utf-8") as text:
        return json.load(text)


def journal(stage):
    with open(os.path.join(run, stage, "metrics.jsonl"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


config = load_json("config.json")
V, C = config["task"]["vocabulary"], config["model"]["channels"]
L, T = config["model"]["layers"], config["model"]["positions"]


def check_network(path, extra):
    """GPT-2's names and shapes under /model; `extra` are the head's."""
    with h5py.File(os.path.join(run, path), "r") as file:
        model = file["model"]
        attributes = dict(model.attrs)
        for key in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size", "causal",
                    "eos_token_id", "layer_norm_epsilon"):
            check(key in attributes, f"{path}: attribute {key} is missing")
        vocabulary = int(attributes["vocab_size"])
        check(vocabulary <= V, f"{path}: vocabulary {vocabulary} is larger than asked for")
        shapes = {"transformer.wte.weight": (vocabulary, C), "transformer.wpe.weight": (T, C),
                  "transformer.ln_f.weight": (C,), "transformer.ln_f.bias": (C,)}
        for i in range(L):
            for name, shape in {"ln_1.weight": (C,), "ln_1.bias": (C,), "ln_2.weight": (C,),
                                "ln_2.bias": (C,), "attn.c_attn.weight": (C, 3 * C),
                                "attn.c_attn.bias": (3 * C,), "attn.c_proj.weight": (C, C),
                                "attn.c_proj.bias": (C,), "mlp.c_fc.weight": (C, 4 * C),
                                "mlp.c_fc.bias": (4 * C,), "mlp.c_proj.weight": (4 * C, C),
                                "mlp.c_proj.bias": (C,)}.items():
                shapes[f"transformer.h.{i}.{name}"] = shape
        shapes.update(extra)
        for name, shape in shapes.items():
            values = dataset(file, f"model/{name}", "<f4", shape)
            check(np.isfinite(values).all(), f"{path}: {name} is not finite")
        check(set(model) == set(shapes), f"{path}: /model holds {set(model) ^ set(shapes)}")
        return attributes


for stage in ("pretrain", "sft", "ppo"):
    check_network(f"{stage}/policy.h5", {})
reward_attributes = check_network("reward/model.h5", {"score.weight": (1, C)})
check(reward_attributes["reward_gain"] > 0, "reward_gain is not positive")
check("reward_bias" in reward_attributes, "reward_bias is missing")
check_network("ppo/critic.h5", {"v_head.summary.weight": (1, C), "v_head.summary.bias": (1,)})


def check_metrics(stage):
    """metrics.h5 holds what metrics.jsonl does."""
    rows = journal(stage)
    with h5py.File(os.path.join(run, stage, "metrics.h5"), "r") as file:
        steps = dataset(file, "step", "<i8", (len(rows),))
        check(list(steps) == [row["step"] for row in rows], f"{stage}/metrics.h5: steps differ")
        names = {name for row in rows for name in row} - {"step"}
        for name in sorted(names):
            values = dataset(file, name, "<f8", (len(rows),))
            expected = [row.get(name) for row in rows]
            expected = np.array([np.nan if x is None else x for x in expected], dtype=np.float64)
            check(np.array_equal(values, expected, equal_nan=True),
                  f"{stage}/metrics.h5:{name} differs from the journal")
            if name in file:
                check("units" in file[name].attrs and "long_name" in file[name].attrs,
                      f"{stage}/metrics.h5:{name} lacks units or long_name")


for stage in ("pretrain", "sft", "label", "reward", "ppo", "evaluate"):
    if os.path.exists(os.path.join(run, stage, "metrics.jsonl")):
        check_metrics(stage)

with h5py.File(os.path.join(run, "label", "comparisons.h5"), "r") as file:
    n = len(file["pair/chosen"])
    completions = len(file["completion/offset"]) - 1
    check(n > 0, "no pairs")
    dataset(file, "pair/prompt_id", "<i8", (n,), 0)
    chosen = dataset(file, "pair/chosen", "<i4", (n,), 0, completions - 1)
    rejected = dataset(file, "pair/rejected", "<i4", (n,), 0, completions - 1)
    margin = dataset(file, "pair/gold_margin", "<f4", (n,))
    flipped = dataset(file, "pair/flipped", "u1", (n,), 0, 1)
    dataset(file, "pair/annotator", "<i4", (n,), 0)
    split = dataset(file, "pair/split", "u1", (n,), 0, 1)
    offset = dataset(file, "completion/offset", "<i8", (completions + 1,), 0)
    dataset(file, "completion/token", "<i4", (offset[-1],), 0, V - 1)
    check((np.diff(offset) > 0).all(), "a completion is empty")
    check((chosen != rejected).all(), "a pair prefers an answer to itself")
    check(((margin < 0) == (flipped == 1)).all(), "flipped disagrees with the gold margin")
    check(0 < split.sum() < n, "no pairs are held out, or all")
    for name in ("prompt", "chosen", "rejected"):
        check(len(file[f"text/{name}"]) == min(n, 64), f"text/{name} has not a row for each of the first pairs")

ppo = config["ppo"]
metrics = {row["step"]: row for row in journal("ppo")}
files = sorted(os.listdir(os.path.join(run, "ppo", "rollouts")))
files = [name for name in files if name.endswith(".h5")]
check(len(files) == ppo["steps"], f"{len(files)} rollout files for {ppo['steps']} steps")

for number, name in enumerate(files, 1):
    check(name == f"{number:06d}.h5", f"rollout file {name} is out of order")
    with h5py.File(os.path.join(run, "ppo", "rollouts", name), "r") as file:
        step, kl_coef = int(file.attrs["step"]), float(file.attrs["kl_coef"])
        check(step == number, f"{name}: step {step}")
        check(float(file.attrs["temperature"]) == ppo["temperature"], f"{name}: temperature")
        for key in ("format_version", "policy_hash", "reference_hash", "reward_model_hash", "critic_hash"):
            check(key in file.attrs, f"{name}: attribute {key} is missing")
        N = ppo["rollouts"]
        offset = dataset(file, "rollout/offset", "<i8", (N + 1,), 0)
        M = offset[-1]
        dataset(file, "rollout/prompt_id", "<i8", (N,), 0)
        prompt_length = dataset(file, "rollout/prompt_length", "<i4", (N,), 1, T)
        response_length = dataset(file, "rollout/response_length", "<i4", (N,), 1,
                                  config["task"]["response_tokens"])
        dataset(file, "rollout/block", "<i4", (N,), 0)
        score = dataset(file, "rollout/score", "<f4", (N,))
        raw_score = dataset(file, "rollout/raw_score", "<f4", (N,))
        gold = dataset(file, "rollout/gold", "<f4", (N,))
        kl = dataset(file, "rollout/kl", "<f4", (N,))
        rlhf_reward = dataset(file, "rollout/rlhf_reward", "<f4", (N,))
        terminated = dataset(file, "rollout/terminated", "u1", (N,), 0, 1)
        truncated = dataset(file, "rollout/truncated", "u1", (N,), 0, 1)
        token = dataset(file, "token/id", "<i4", (M,), 0, V - 1)
        is_response = dataset(file, "token/is_response", "u1", (M,), 0, 1)
        logp = dataset(file, "token/logp", "<f4", (M,), None, 0)
        reference = dataset(file, "token/reference_logp", "<f4", (M,), None, 0)
        value = dataset(file, "token/value", "<f4", (M,))
        reward = dataset(file, "token/reward", "<f4", (M,))
        advantage = dataset(file, "token/advantage", "<f4", (M,))
        returns = dataset(file, "token/return", "<f4", (M,))
        rows = min(N, config["rollout"]["text_rows"])
        for text in ("prompt", "response"):
            check(len(file[f"text/{text}"]) == rows, f"{name}: text/{text} has not {rows} rows")

        check((np.diff(offset) == prompt_length + response_length).all(), f"{name}: lengths")
        check((terminated + truncated == 1).all(), f"{name}: an answer ended twice or never")
        end = int(reward_attributes["eos_token_id"])
        if name == files[0]:
            close(logp, reference, f"{name}: the first policy is not the reference", 0)
        for i in range(N):
            first, last = offset[i] + prompt_length[i], offset[i + 1]
            check((is_response[offset[i]:first] == 0).all() and
                  (is_response[first:last] == 1).all(), f"{name}: is_response of {i}")
            for column in (logp, reference, value, reward, advantage, returns):
                check((column[offset[i]:first] == 0).all(), f"{name}: a prompt token carries a number")
            check((token[last - 1] == end) == bool(terminated[i]), f"{name}: end of {i}")
            check((token[first:last - 1] != end).all(), f"{name}: {i} goes on after its end")
            change = logp[first:last].astype(np.float64) - reference[first:last]
            close(kl[i], change.sum(), f"{name}: kl of {i}", 1e-4)
            expected = -kl_coef * change
            expected[-1] += score[i]
            close(reward[first:last], expected, f"{name}: rewards of {i}")
            close(rlhf_reward[i], score[i] - kl_coef * change.sum(), f"{name}: rlhf_reward of {i}", 1e-4)
            if ppo["missing_eos"] == "replace" and truncated[i]:
                close(score[i], -ppo["missing_eos_penalty"], f"{name}: missing-EOS score of {i}")
            elif ppo["missing_eos"] == "subtract" and truncated[i]:
                close(score[i], raw_score[i] - ppo["missing_eos_penalty"], f"{name}: score of {i}")
            else:
                close(score[i], raw_score[i], f"{name}: score of {i}")
            # the definition of GAE, not the recursion
            r, v = reward[first:last].astype(np.float64), value[first:last].astype(np.float64)
            n, gamma, lam = len(r), ppo["gamma"], ppo["lambda"]
            delta = r + gamma * np.append(v[1:], 0.0) - v
            gae = [sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, n)) for t in range(n)]
            close(advantage[first:last], gae, f"{name}: advantages of {i}", 1e-4)
            close(returns[first:last], np.array(gae) + v, f"{name}: returns of {i}", 1e-4)

        row = metrics[step]
        sums = [(logp[offset[i] + prompt_length[i]:offset[i + 1]].astype(np.float64)).sum()
                for i in range(N)]
        close(row["objective/kl"], kl.mean(dtype=np.float64), f"step {step}: objective/kl", 1e-4)
        close(row["objective/scores"], score.mean(dtype=np.float64), f"step {step}: objective/scores")
        close(row["objective/gold"], gold.mean(dtype=np.float64), f"step {step}: objective/gold")
        close(row["objective/rlhf_reward"], rlhf_reward.mean(dtype=np.float64),
              f"step {step}: objective/rlhf_reward", 1e-4)
        close(row["objective/non_score_reward"], -kl_coef * kl.mean(dtype=np.float64),
              f"step {step}: objective/non_score_reward", 1e-4)
        close(row["objective/entropy"], -np.mean(sums), f"step {step}: objective/entropy", 1e-4)
        close(row["objective/kl_coef"], kl_coef, f"step {step}: objective/kl_coef")
        close(row["val/num_eos_tokens"], terminated.sum(), f"step {step}: val/num_eos_tokens")

card = load_json("evaluate", "scorecard.json")
check(card["task"] == "reviews" and card["seed"] == config["seed"], "scorecard: task or seed")
check(card["prompts"] == config["evaluate"]["prompts"], "scorecard: prompts")
for policy in ("pretrain", "sft", "ppo"):
    for quantity in ("gold", "scores", "kl", "length"):
        entry = card["policies"][policy][quantity]
        for statistic in ("mean", "stderr", "std"):
            check(np.isfinite(entry[statistic]), f"scorecard: {policy}.{quantity}.{statistic}")
    check(0 <= card["policies"][policy]["terminated"] <= 1, f"scorecard: {policy}.terminated")
check(0 <= card["win_rate"]["ppo_over_sft"]["mean"] <= 1, "scorecard: win rate")
for key in ("accuracy", "gold_accuracy", "ceiling", "nll", "ece", "brier", "gold_spearman"):
    check(np.isfinite(card["reward_model"][key]), f"scorecard: reward_model.{key}")
check(card["policies"]["sft"]["kl"]["mean"] == 0, "scorecard: SFT's KL to itself is not 0")

for path in ("ppo/samples.h5", "evaluate/samples.h5"):
    with h5py.File(os.path.join(run, path), "r") as file:
        found = []
        file.visit(found.append)
        check(any(name.startswith("text/") for name in found), f"{path} holds no text")

if failures:
    print("\n".join(failures[:40]))
    print(f"{len(failures)} failures")
    sys.exit(1)
print("every file holds what it should")
