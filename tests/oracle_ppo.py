"""Compares rewards, advantages, the PPO losses and their gradients with PyTorch's, in float64.

usage: oracle_ppo.py DUMP_PPO

Everything is written from the papers' definitions: advantages as the sum over later deltas, losses
on torch's log_softmax, gradients by autograd.
"""
import subprocess
import sys

try:
    import torch
except ImportError as missing:
    sys.exit(f"oracle_ppo: {missing}: install python3-torch and use /usr/bin/python3")

TOLERANCE = 1e-5
GAMMA, LAMBDA, KL_COEF, TEMPERATURE = 0.97, 0.9, 0.3, 0.8
CLIP, VALUE_CLIP, ENTROPY = 0.2, 0.25, 0.15

failed = False


def read(program):
    arrays = {}
    text = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        name, count, *numbers = line.split()
        assert len(numbers) == int(count), name
        arrays[name] = torch.tensor([float(number) for number in numbers], dtype=torch.float64)
    return arrays


def compare(name, ours, theirs):
    global failed
    error = (ours - theirs).abs().max().item() / (1 + theirs.abs().max().item())
    print(f"{name}: largest difference {error:.1e} over {theirs.numel()} numbers")
    failed = failed or not error <= TOLERANCE


def definition_of_advantages(reward, value):
    steps = len(reward)
    following = torch.cat([value[1:], torch.zeros(1, dtype=torch.float64)])
    delta = reward + GAMMA * following - value
    return torch.stack([sum((GAMMA * LAMBDA) ** (k - t) * delta[k] for k in range(t, steps))
                        for t in range(steps)])


def main():
    torch.set_num_threads(1)
    a = read(sys.argv[1])
    offset, prompt = a["offset"].long(), a["prompt_length"].long()
    spans = [(int(offset[i] + prompt[i]), int(offset[i + 1])) for i in range(len(prompt))]
    response = torch.cat([torch.arange(first, end) for first, end in spans])

    reward = torch.zeros_like(a["logp"])
    for (first, end), score in zip(spans, a["score"]):
        reward[first:end] = -KL_COEF * (a["logp"][first:end] - a["reference_logp"][first:end])
        reward[end - 1] += score
    compare("reward", a["reward"][response], reward[response])
    mean, variance = reward[response].mean(), reward[response].var(unbiased=False)
    scaled = (reward - mean) * torch.rsqrt(variance + 1e-8) + mean
    advantage = torch.zeros_like(reward)
    for first, end in spans:
        old = a["old_value"][first:end]
        advantage[first:end] = definition_of_advantages(scaled[first:end], old)
    compare("advantage", a["advantage"][response], advantage[response])
    compare("return", a["returns"][response], (advantage + a["old_value"])[response])
    chosen = advantage[response]
    whitened = (chosen - chosen.mean()) * torch.rsqrt(chosen.var(unbiased=False) + 1e-8)
    compare("whitened advantage", a["whitened"], whitened)

    # A response token is predicted by the row before it.
    channels = a["value_weight"].numel()
    hidden = a["policy_hidden"].reshape(-1, channels).clone().requires_grad_()
    weight = a["policy_weight"].reshape(-1, channels).clone().requires_grad_()
    logp_all = torch.log_softmax(hidden[response - 1] @ weight.T / TEMPERATURE, dim=1)
    logp = logp_all.gather(1, a["id"].long()[response][:, None])[:, 0]
    ratio = torch.exp(logp - a["logp"][response])
    free, held = -whitened * ratio, -whitened * ratio.clamp(1 - CLIP, 1 + CLIP)
    entropy = -(logp_all.exp() * logp_all).sum(1)
    loss = torch.max(free, held)
    (loss.mean() - ENTROPY * entropy.mean()).backward()
    compare("policy d hidden", a["policy_dhidden"], hidden.grad.reshape(-1))
    compare("policy d weight", a["policy_dweight"], weight.grad.reshape(-1))
    change = logp - a["logp"][response]
    for index, (name, theirs) in enumerate([
            ("policy loss", loss), ("approxkl", change ** 2 / 2),
            ("approxkl k3", ratio - 1 - change), ("clip fraction", (held > free).double()),
            ("entropy", entropy), ("ratio", ratio), ("deviation", (ratio - 1).abs())]):
        compare(name, a["policy_sums"][index] / len(response), theirs.detach().mean())
    assert 3 < (held > free).sum() < len(response) - 3  # both branches

    hidden = a["value_hidden"].reshape(-1, channels).clone().requires_grad_()
    weight = a["value_weight"].clone().requires_grad_()
    bias = a["value_bias"].clone().requires_grad_()
    value = hidden[response - 1] @ weight + bias
    old, returns = a["old_value"][response], (advantage + a["old_value"])[response]
    near = old + (value - old).clamp(-VALUE_CLIP, VALUE_CLIP)
    free, held = (value - returns) ** 2 / 2, (near - returns) ** 2 / 2
    torch.max(free, held).mean().backward()
    compare("value d hidden", a["value_dhidden"], hidden.grad.reshape(-1))
    compare("value d weight", a["value_dweight"], weight.grad)
    compare("value d bias", a["value_dbias"], bias.grad)
    loss, clipped = torch.max(free, held).detach(), (held > free).double()
    compare("value loss", a["value_sums"][0] / len(response), loss.mean())
    compare("value clip fraction", a["value_sums"][1] / len(response), clipped.mean())
    assert 3 < (held > free).sum() < len(response) - 3
    sys.exit(1 if failed else 0)


main()
