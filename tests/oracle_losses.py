"""Compares the preference loss of this program and its gradients with PyTorch's, in float64.

usage: oracle_losses.py DUMP_LOSSES

The loss is written as the papers do, on torch's logsigmoid; the gradients are autograd's.
"""
import subprocess
import sys

try:
    import torch
    from torch.nn.functional import logsigmoid
except ImportError as missing:
    sys.exit(f"oracle_losses: {missing}: install python3-torch and use /usr/bin/python3")

TOLERANCE = 1e-9


def preference_loss(chosen, rejected, margin, centring, smoothing):
    gap = chosen - rejected - margin
    likelihood = (1 - smoothing) * logsigmoid(gap) + smoothing * logsigmoid(-gap)
    return -likelihood + centring * (chosen + rejected) ** 2


def main():
    torch.set_num_threads(1)
    text = subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout
    rows = torch.tensor([[float(word) for word in line.split()] for line in text.splitlines()],
                        dtype=torch.float64)
    chosen = rows[:, 0].clone().requires_grad_()
    rejected = rows[:, 1].clone().requires_grad_()
    loss = preference_loss(chosen, rejected, rows[:, 2], rows[:, 3], rows[:, 4])
    loss.sum().backward()
    failed = False
    for name, ours, theirs in (("loss", rows[:, 5], loss.detach()),
                               ("d chosen", rows[:, 6], chosen.grad),
                               ("d rejected", rows[:, 7], rejected.grad)):
        error = ((ours - theirs).abs() / (1 + theirs.abs())).max().item()
        print(f"{name}: largest difference {error:.1e} over {len(rows)} pairs")
        failed = failed or not error <= TOLERANCE
    assert rows[:, 5].max() > 100 and (rows[:, 0] < rows[:, 1]).any()  # far and wrong pairs too
    sys.exit(1 if failed else 0)


main()
