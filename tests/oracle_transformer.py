"""Compares the network of this program with GPT-2 written in PyTorch, in float64.

usage: oracle_transformer.py DUMP_TRANSFORMER

Outputs to 1e-4, every gradient to 1e-3 of the largest gradient of its tensor (causal and
bidirectional; language, score and value heads), and the weights after ten steps of AdamW to 1e-5.
"""
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
except ImportError as missing:
    sys.exit(f"oracle_transformer: {missing}: install python3-torch and use /usr/bin/python3")

HEADS, LAYERS = 4, 3
failures = []


def load(folder, case):
    """The arrays of one case by name, float64."""
    values = numpy.fromfile(folder / f"{case}.bin", dtype="<f4").astype("f8")
    arrays, start = {}, 0
    for line in (folder / f"{case}.txt").read_text().splitlines():
        name, rows, columns = line.split()
        shape = (int(rows),) if columns == "0" else (int(rows), int(columns))
        count = math.prod(shape)
        arrays[name] = torch.from_numpy(values[start:start + count].reshape(shape))
        start += count
    assert start == len(values)
    return arrays


def parameters(arrays, kind="weight"):
    """The tensors of one kind, as leaves."""
    return {name[len(kind) + 1:]: value.clone().requires_grad_()
            for name, value in arrays.items() if name.startswith(kind + "/")}


def norm(x, gain, bias):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], gain, bias, 1e-5)


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def attention(qkv, causal):
    length, width = qkv.shape[0], qkv.shape[1] // 3
    q, k, v = (part.reshape(length, HEADS, -1).transpose(0, 1) for part in qkv.split(width, 1))
    score = q @ k.transpose(1, 2) / math.sqrt(width // HEADS)
    if causal:
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        score = score.masked_fill(future, -math.inf)
    return (score.softmax(-1) @ v).transpose(0, 1).reshape(length, width)


def hidden(weight, tokens, causal):
    """GPT-2's trunk on one sequence."""
    x = weight["transformer.wte.weight"][tokens]
    x = x + weight["transformer.wpe.weight"][:len(tokens)]
    for layer in range(LAYERS):
        def at(name, layer=layer):
            return weight[f"transformer.h.{layer}.{name}"]

        def linear(y, name):
            return y @ at(name + ".weight") + at(name + ".bias")

        y = norm(x, at("ln_1.weight"), at("ln_1.bias"))
        x = x + linear(attention(linear(y, "attn.c_attn"), causal), "attn.c_proj")
        y = norm(x, at("ln_2.weight"), at("ln_2.bias"))
        x = x + linear(gelu(linear(y, "mlp.c_fc")), "mlp.c_proj")
    return norm(x, weight["transformer.ln_f.weight"], weight["transformer.ln_f.bias"])


def head(weight, rows):
    if "score.weight" in weight:
        return rows @ weight["score.weight"].T
    if "v_head.summary.weight" in weight:
        return rows @ weight["v_head.summary.weight"].T + weight["v_head.summary.bias"]
    return rows @ weight["transformer.wte.weight"].T


def sequences(arrays):
    return arrays["token"].long().split([int(n) for n in arrays["length"]])


def check(what, found, expected, allowed):
    worst = float((found - expected).abs().max())
    if not worst <= allowed:
        failures.append(f"{what}: {worst:.3g} off, allowed {allowed:.3g}")
    return worst / allowed


def check_probe(folder, case):
    """One forward and one backward with a given slope by every output."""
    arrays = load(folder, case)
    weight = parameters(arrays)
    causal = case.startswith("causal")
    out = torch.cat([head(weight, hidden(weight, tokens, causal)) for tokens in sequences(arrays)])
    share = [check(f"{case}: output", arrays["output"], out.detach(), 1e-4)]
    out.backward(arrays["slope"])
    for name, value in weight.items():
        found = arrays[f"gradient/{name}"]
        share.append(check(f"{case}: gradient of {name}", found, value.grad,
                           1e-3 * float(value.grad.abs().max())))
    print(f"{case}: outputs and {len(weight)} gradients at {max(share):.2g} of what is allowed")


def response_loss(weight, arrays):
    """Minus the mean log-probability of the response's tokens."""
    total, count = 0.0, 0
    for tokens, prompt in zip(sequences(arrays), arrays["prompt"]):
        logits = head(weight, hidden(weight, tokens, True))[:-1]
        first = max(int(prompt) - 1, 0)
        picked = torch.nn.functional.cross_entropy(logits[first:], tokens[1 + first:],
                                                   reduction="sum")
        total, count = total + picked, count + len(tokens) - 1 - first
    return total / count


def check_training(folder):
    arrays = load(folder, "trained")
    weight = parameters(arrays)
    matrices = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    groups = [{"params": [v for n, v in weight.items() if n.endswith(matrices)],
               "weight_decay": 0.1},
              {"params": [v for n, v in weight.items() if not n.endswith(matrices)],
               "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-5)
    for step in range(10):
        optimiser.zero_grad()
        loss = response_loss(weight, arrays)
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(weight.values(), 1.0)
        seen = torch.stack([loss.detach(), length])
        check(f"step {step}: loss and norm", arrays[f"step/{step}"], seen, 1e-4)
        optimiser.step()
    share = [check(f"trained {name}", arrays[f"trained/{name}"], value.detach(), 1e-5)
             for name, value in weight.items()]
    print(f"trained: {len(weight)} weights at {max(share):.2g} of what is allowed")


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([sys.argv[1], name], check=True)
        for case in ("causal", "bidirectional", "causal_score", "bidirectional_score",
                     "causal_value"):
            check_probe(folder, case)
        check_training(folder)
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
