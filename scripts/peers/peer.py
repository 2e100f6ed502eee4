#!/usr/bin/python3
"""The work of `rlhf bench` in eager PyTorch, as fast as we know how to write it.

usage: peer.py [--threads N] [--d N] ... [--json] [--check DIR]

Sequences all have one length, so nothing is padded; biases and masks are fused into the products;
GELU, norms and AdamW are PyTorch's fused ones; answers are decoded with a cache of keys and values
in place. Whatever has a choice (threads of PyTorch and of OpenBLAS, sequences to a pass, products
or sums in decoding) is tried in the warm-up and the fastest taken, for training and for answering
apart. Not done, although rlhf does it: exact KL and entropies, checks that numbers are finite.
Networks lie in --check's files in the order of the list below.
"""
import argparse
import ctypes
import json
import math
import os
import pathlib
import resource
import statistics
import sys
import time

# Read when the program starts. Memory once claimed is kept: given back and claimed again for every
# tensor, it costs more than half of all page faults. Idle threads sleep soon: OpenBLAS and OpenMP
# have a pool each, and spinning threads of one take the processors from the other.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0",
               "MALLOC_TRIM_THRESHOLD_": str(2 ** 40), "MALLOC_TOP_PAD_": str(2 ** 26),
               "OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "20"}
if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})

try:
    import numpy
    import torch
    from torch.nn import functional
except ImportError as missing:
    sys.exit(f"peer.py: {missing}: install python3-torch and use /usr/bin/python3")

SIZES = {"threads": 2, "d": 128, "layers": 4, "heads": 4, "vocab": 512, "prompt": 32,
         "response": 64, "batch": 64, "rollouts": 128, "epochs": 4, "minibatches": 4, "repeats": 5}
SETTINGS = {"learning_rate": 1e-5, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-5,
            "weight_decay": 0.0, "max_grad_norm": 1.0, "kl_coef": 0.05, "gamma": 1.0,
            "lambda": 0.95, "clip_range": 0.2, "value_clip_range": 0.2}
MATRICES = ("qkv_weight", "proj_weight", "up_weight", "down_weight")


def shapes(size, head):
    """Every weight, in the order of the files: name, layered, shape."""
    d, vocabulary, length = size.d, size.vocab, size.prompt + size.response
    listed = [("wte", False, (vocabulary, d)), ("wpe", False, (length, d)),
              ("norm1_gain", True, (d,)), ("norm1_bias", True, (d,)),
              ("qkv_weight", True, (d, 3 * d)), ("qkv_bias", True, (3 * d,)),
              ("proj_weight", True, (d, d)), ("proj_bias", True, (d,)),
              ("norm2_gain", True, (d,)), ("norm2_bias", True, (d,)),
              ("up_weight", True, (d, 4 * d)), ("up_bias", True, (4 * d,)),
              ("down_weight", True, (4 * d, d)), ("down_bias", True, (d,)),
              ("norm_gain", False, (d,)), ("norm_bias", False, (d,))]
    if head != "language":
        listed.append(("head", False, (d, 1)))
    if head == "value":
        listed.append(("head_bias", False, (1,)))
    return listed


class Network:
    """GPT-2 with a tied language head, a score head or a value head."""

    def __init__(self, size, head="language", path=None):
        self.size, self.head = size, head
        self.weight = {}
        self.layer = [{} for _ in range(size.layers)]
        file = torch.from_numpy(numpy.fromfile(path, "<f4")) if path else None
        at = 0
        for name, layered, shape in shapes(size, head):
            for owner in self.layer if layered else [self.weight]:
                if file is None:
                    value = self.initial(name, shape)
                else:
                    value = file[at:at + math.prod(shape)].reshape(shape).clone()
                    at += math.prod(shape)
                owner[name] = value.requires_grad_()
        assert file is None or at == len(file)
        length = size.prompt + size.response
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        self.mask = torch.zeros(1, length, length).masked_fill_(future, -math.inf)

    @staticmethod
    def initial(name, shape):
        if name.endswith("gain"):
            return torch.ones(shape)
        return torch.zeros(shape) if name.endswith("bias") else 0.02 * torch.randn(shape)

    def named(self):
        yield from self.weight.items()
        for layer in self.layer:
            yield from layer.items()

    def parameters(self):
        return [weight for _, weight in self.named()]

    def copy(self, other):
        with torch.no_grad():
            for mine, its in zip(self.parameters(), other.parameters()):
                mine.copy_(its)

    def feed_forward(self, x, w):
        d = x.shape[-1]
        y = functional.layer_norm(x, (d,), w["norm2_gain"], w["norm2_bias"], 1e-5)
        y = functional.gelu(torch.addmm(w["up_bias"], y, w["up_weight"]), approximate="tanh")
        return x + torch.addmm(w["down_bias"], y, w["down_weight"])

    def hidden(self, tokens):
        """(sequences * length, d) after the last norm."""
        count, length = tokens.shape
        heads, d = self.size.heads, self.size.d
        scale = 1 / math.sqrt(d // heads)
        x = functional.embedding(tokens, self.weight["wte"]) + self.weight["wpe"][:length]
        x = x.reshape(count * length, d)
        mask = self.mask[:, :length, :length]
        for w in self.layer:
            y = functional.layer_norm(x, (d,), w["norm1_gain"], w["norm1_bias"], 1e-5)
            qkv = torch.addmm(w["qkv_bias"], y, w["qkv_weight"])
            qkv = qkv.view(count, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.reshape(3, count * heads, length, -1).unbind(0)
            share = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale).softmax(-1)
            mixed = torch.bmm(share, v).view(count, heads, length, -1).transpose(1, 2)
            x = x + torch.addmm(w["proj_bias"], mixed.reshape(count * length, d), w["proj_weight"])
            x = self.feed_forward(x, w)
        return functional.layer_norm(x, (d,), self.weight["norm_gain"], self.weight["norm_bias"],
                                     1e-5)

    def predicting(self, tokens):
        """(sequences * response, d): the rows that predict response tokens."""
        prompt, d = self.size.prompt, self.size.d
        return self.hidden(tokens).view(*tokens.shape, d)[:, prompt - 1:-1].reshape(-1, d)

    def logp(self, tokens):
        """(sequences, response) log-probabilities of response tokens."""
        logits = self.predicting(tokens) @ self.weight["wte"].T
        target = tokens[:, self.size.prompt:]
        return -functional.cross_entropy(logits, target.reshape(-1),
                                         reduction="none").view(target.shape)

    def value(self, tokens):
        out = torch.addmm(self.weight["head_bias"], self.predicting(tokens), self.weight["head"])
        return out.view(len(tokens), -1)

    def score(self, tokens):
        last = self.hidden(tokens).view(*tokens.shape, self.size.d)[:, -1]
        return (last @ self.weight["head"])[:, 0]

    def language_loss(self, tokens, count):
        """Summed over the tokens and divided by `count`."""
        x = self.hidden(tokens).view(*tokens.shape, self.size.d)[:, :-1].reshape(-1, self.size.d)
        return functional.cross_entropy(x @ self.weight["wte"].T, tokens[:, 1:].reshape(-1),
                                        reduction="sum") / count


def optimiser_of(network, settings):
    decayed = [w for name, w in network.named() if name in MATRICES]
    plain = [w for name, w in network.named() if name not in MATRICES]
    groups = [{"params": decayed, "weight_decay": settings["weight_decay"]},
              {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings["learning_rate"], eps=settings["epsilon"],
                             betas=(settings["beta1"], settings["beta2"]), foreach=True)


class Cache:
    """Keys and values of one call of generate, written in place."""

    def __init__(self, size, count):
        length, heads = size.prompt + size.response, size.heads
        shape = (size.layers, count, heads, length, size.d // heads)
        self.key, self.value = torch.empty(shape), torch.empty(shape)


def attend_products(q, key, value, scale):
    share = torch.matmul(q.unsqueeze(2) * scale, key.transpose(2, 3)).softmax(-1)
    return torch.matmul(share, value).squeeze(2)


def attend_sums(q, key, value, scale):
    share = (key * (q * scale).unsqueeze(2)).sum(-1).softmax(-1)
    return (value * share.unsqueeze(3)).sum(2)


def decode(network, cache, tokens, position, attend):
    """(count, vocabulary) logits behind one token of every sequence, at `position`."""
    size, count = network.size, len(tokens)
    d, heads = size.d, size.heads
    scale = 1 / math.sqrt(d // heads)
    x = functional.embedding(tokens, network.weight["wte"]) + network.weight["wpe"][position]
    for index, w in enumerate(network.layer):
        y = functional.layer_norm(x, (d,), w["norm1_gain"], w["norm1_bias"], 1e-5)
        qkv = torch.addmm(w["qkv_bias"], y, w["qkv_weight"]).view(count, 3, heads, -1)
        cache.key[index, :, :, position] = qkv[:, 1]
        cache.value[index, :, :, position] = qkv[:, 2]
        seen = position + 1
        mixed = attend(qkv[:, 0], cache.key[index, :, :, :seen], cache.value[index, :, :, :seen],
                       scale)
        x = torch.addmm(w["proj_bias"], mixed.reshape(count, d), w["proj_weight"]).add_(x)
        x = network.feed_forward(x, w)
    x = functional.layer_norm(x, (d,), network.weight["norm_gain"], network.weight["norm_bias"],
                              1e-5)
    return x @ network.weight["wte"].T


def read_prompts(network, cache, prompts):
    """Fills the cache; logits behind the prompts' last tokens."""
    size, (count, length) = network.size, prompts.shape
    d, heads = size.d, size.heads
    scale = 1 / math.sqrt(d // heads)
    x = functional.embedding(prompts, network.weight["wte"]) + network.weight["wpe"][:length]
    x = x.view(count * length, d)
    mask = network.mask[:, :length, :length]
    for index, w in enumerate(network.layer):
        y = functional.layer_norm(x, (d,), w["norm1_gain"], w["norm1_bias"], 1e-5)
        qkv = torch.addmm(w["qkv_bias"], y, w["qkv_weight"])
        q, k, v = qkv.view(count, length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        cache.key[index, :, :, :length] = k
        cache.value[index, :, :, :length] = v
        flat = (count * heads, length, -1)
        share = torch.baddbmm(mask, q.reshape(flat), k.reshape(flat).transpose(1, 2), alpha=scale)
        mixed = torch.bmm(share.softmax(-1), v.reshape(flat)).view(count, heads, length, -1)
        mixed = mixed.transpose(1, 2).reshape(count * length, d)
        x = torch.addmm(w["proj_bias"], mixed, w["proj_weight"]).add_(x)
        x = network.feed_forward(x, w)
    x = functional.layer_norm(x, (d,), network.weight["norm_gain"], network.weight["norm_bias"],
                              1e-5)
    return x.view(count, length, d)[:, -1] @ network.weight["wte"].T


def generate(network, prompts, attend):
    """Sampled answers behind their prompts; 0, the end, is never drawn."""
    size, length = network.size, network.size.prompt + network.size.response
    tokens = torch.empty(len(prompts), length, dtype=torch.long)
    tokens[:, :size.prompt] = prompts
    cache = Cache(size, len(prompts))
    logits = read_prompts(network, cache, prompts)
    for position in range(size.prompt, length):
        if position > size.prompt:
            logits = decode(network, cache, tokens[:, position - 1], position - 1, attend)
        logits[:, 0] = -math.inf
        tokens[:, position] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    return tokens


def largest_logp(network, answers, attend):
    """Mean largest log-probability, the end's aside, decoding along given answers."""
    size, length = network.size, network.size.prompt + network.size.response
    cache = Cache(size, len(answers))
    logits = read_prompts(network, cache, answers[:, :size.prompt])
    total = 0.0
    for position in range(size.prompt, length):
        if position > size.prompt:
            logits = decode(network, cache, answers[:, position - 1], position - 1, attend)
        total += logits.log_softmax(-1)[:, 1:].max(-1).values.sum().item()
    return total / (len(answers) * size.response)


class Learner:
    """A network, its optimiser and how many sequences go through at a time."""

    def __init__(self, network, settings, per_pass):
        self.network, self.settings, self.per_pass = network, settings, per_pass
        self.optimiser = optimiser_of(network, settings)

    def step(self, loss, *columns):
        """One update by a loss that is a sum over sequences; returns it."""
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in zip(*(column.split(self.per_pass) for column in columns)):
            here = loss(*part)
            here.backward()
            total += here.detach()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["max_grad_norm"])
        self.optimiser.step()
        return float(total)

    def language_step(self, tokens):
        count = tokens.shape[0] * (tokens.shape[1] - 1)
        return self.step(lambda part: self.network.language_loss(part, count), tokens)

    def policy_step(self, tokens, old_logp, advantage):
        clip, count = self.settings["clip_range"], advantage.numel()

        def loss(tokens, old_logp, advantage):
            ratio = torch.exp(self.network.logp(tokens) - old_logp)
            return -torch.min(advantage * ratio,
                              advantage * ratio.clamp(1 - clip, 1 + clip)).sum() / count
        return self.step(loss, tokens, old_logp, advantage)

    def value_step(self, tokens, old_value, returns):
        clip, count = self.settings["value_clip_range"], returns.numel()

        def loss(tokens, old_value, returns):
            value = self.network.value(tokens)
            near = old_value + (value - old_value).clamp(-clip, clip)
            return torch.max((value - returns) ** 2, (near - returns) ** 2).sum() / (2 * count)
        return self.step(loss, tokens, old_value, returns)


def in_passes(function, tokens, per_pass):
    return torch.cat([function(part) for part in tokens.split(per_pass)])


class Ppo:
    def __init__(self, size, settings, networks, per_pass, attend):
        self.size, self.settings = size, settings
        self.answering = self.training = (size.threads, size.threads)
        self.policy, self.reference, self.reward_model, self.critic = networks
        self.per_pass, self.attend = per_pass, attend
        self.learner = Learner(self.policy, settings, per_pass)
        self.critic_learner = Learner(self.critic, settings, per_pass)
        self.prompts = torch.randint(1, size.vocab, (size.rollouts, size.prompt))
        self.seconds = {}

    def score(self, tokens):
        with torch.no_grad():
            return (in_passes(self.policy.logp, tokens, self.per_pass),
                    in_passes(self.reference.logp, tokens, self.per_pass),
                    in_passes(self.critic.value, tokens, self.per_pass),
                    in_passes(self.reward_model.score, tokens, self.per_pass))

    def shape(self, logp, reference_logp, value, score):
        """Advantages and returns (Schulman et al. 2016)."""
        reward = self.settings["kl_coef"] * (reference_logp - logp)
        reward[:, -1] += score
        gamma, decay = self.settings["gamma"], self.settings["gamma"] * self.settings["lambda"]
        advantage = torch.empty_like(reward)
        advantage[:, -1] = reward[:, -1] - value[:, -1]
        for t in range(reward.shape[1] - 2, -1, -1):
            delta = reward[:, t] + gamma * value[:, t + 1] - value[:, t]
            advantage[:, t] = delta + decay * advantage[:, t + 1]
        return advantage, advantage + value

    def update(self, tokens, logp, value, advantage, returns):
        advantage = (advantage - advantage.mean()) * torch.rsqrt(
            advantage.var(unbiased=False) + 1e-8)
        for _ in range(self.size.epochs):
            for index in torch.randperm(len(tokens)).chunk(self.size.minibatches):
                self.learner.policy_step(tokens[index], logp[index], advantage[index])
                self.critic_learner.value_step(tokens[index], value[index], returns[index])

    def iteration(self):
        start = time.perf_counter()
        use_threads(self.answering)
        with torch.no_grad():
            tokens = generate(self.policy, self.prompts, self.attend)
        answered = time.perf_counter()
        use_threads(self.training)
        logp, reference_logp, value, score = self.score(tokens)
        scored = time.perf_counter()
        advantage, returns = self.shape(logp, reference_logp, value, score)
        self.update(tokens, logp, value, advantage, returns)
        self.seconds = {"whole": time.perf_counter() - start, "generate": answered - start,
                        "score": scored - answered}


def seconds_of(work, *arguments):
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def fastest(choices, work):
    """The choice for which the better of two calls of work(choice) takes least."""
    return min(choices, key=lambda choice: min(seconds_of(work, choice) for _ in range(2)))


def find_openblas():
    """The library that PyTorch multiplies with; its threads are not PyTorch's."""
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        if "openblas" in line:
            library = ctypes.CDLL(line.split()[-1])
            if hasattr(library, "openblas_set_num_threads"):
                return library
    return None


OPENBLAS = find_openblas()


def use_threads(pair):
    """So many threads of PyTorch, and so many in a product."""
    torch.set_num_threads(pair[0])
    if OPENBLAS:
        OPENBLAS.openblas_set_num_threads(pair[1])


def thread_pairs(most):
    return sorted({(most, most), (most, 1), (1, most), (1, 1)}, reverse=True)


def sgemm_gflops():
    best = 0.0
    for n in (512, 1024, 2048):
        a, b, out = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
        times = [seconds_of(lambda: torch.mm(a, b, out=out)) for _ in range(6)][1:]
        best = max(best, 2e-9 * n ** 3 / statistics.median(times))
    return best


def measure(size):
    settings = dict(SETTINGS)
    text = torch.randint(1, size.vocab, (size.batch, size.prompt + size.response))
    learner = Learner(Network(size), settings, size.batch)
    pairs = thread_pairs(size.threads)

    def step(pair, per_pass):
        use_threads(pair)
        learner.per_pass = per_pass
        learner.language_step(text)
    step(pairs[0], size.batch)
    training = fastest(pairs, lambda pair: step(pair, min(size.batch, 16)))
    learner.per_pass = per_pass = fastest(sorted({size.batch, min(size.batch, 16),
                                                  min(size.batch, 4)}),
                                          lambda count: step(training, count))
    train = statistics.median(seconds_of(learner.language_step, text) for _ in range(size.repeats))

    networks = [Network(size), Network(size), Network(size, "score"), Network(size, "value")]
    networks[1].copy(networks[0])
    ppo = Ppo(size, settings, networks, per_pass, attend_products)
    ppo.training = training

    @torch.no_grad()
    def answer(pair, attend):
        use_threads(pair)
        generate(networks[0], ppo.prompts, attend)
    answer(pairs[0], attend_products)
    ppo.answering = fastest(pairs, lambda pair: answer(pair, attend_products))
    ppo.attend = fastest((attend_products, attend_sums),
                         lambda attend: answer(ppo.answering, attend))
    ppo.iteration()
    times = []
    for _ in range(size.repeats):
        ppo.iteration()
        times.append(ppo.seconds)
    return train, {key: statistics.median(t[key] for t in times) for key in times[0]}


def report(size):
    train, seconds = measure(size)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6
    length = size.prompt + size.response
    flops = 2 * (12 * size.layers * size.d ** 2 + size.vocab * size.d)
    use_threads((size.threads, size.threads))
    gflops = sgemm_gflops()
    passes = 5 + 6 * size.epochs
    return {
        "threads": size.threads,
        "params": sum(weight.numel() for weight in Network(size).parameters()),
        "sgemm_gflops": gflops,
        "train_tok_s": size.batch * length / train,
        "score_tok_s": size.rollouts * length / seconds["score"],
        "generate_tok_s": size.rollouts * size.response / seconds["generate"],
        "ppo_iter_s": seconds["whole"],
        "train_mfu": 3e-9 * flops * size.batch * length / (train * gflops),
        "ppo_mfu": 1e-9 * passes * flops * size.rollouts * length / (seconds["whole"] * gflops),
        "peak_mb": peak_mb,
    }


def check(size, folder):
    """The losses of `rlhf bench --check` from its files."""
    settings = json.loads((folder / "settings.json").read_text())
    length = size.prompt + size.response

    def tokens(name):
        return torch.from_numpy(numpy.fromfile(folder / name, "<i4")).long().view(-1, length)

    def column(name):
        array = torch.from_numpy(numpy.fromfile(folder / name, "<f4"))
        return array.view(-1, length)[:, size.prompt:].contiguous()

    learner = Learner(Network(size, "language", folder / "language.f32"), settings, 3)
    text = tokens("text.i32")
    losses = {"language_loss": learner.language_step(text),
              "language_loss_after": learner.language_step(text)}

    networks = [Network(size, head, folder / name) for head, name in
                (("language", "policy.f32"), ("language", "reference.f32"),
                 ("score", "reward.f32"), ("value", "critic.f32"))]
    ppo = Ppo(size, settings, networks, 5, attend_products)
    rollout = tokens("rollout.i32")
    scores = ppo.score(rollout)
    _, returns = ppo.shape(*scores)
    names = ("logp", "reference_logp", "value", "score", "return")
    losses.update({name: float(column.double().mean())
                   for name, column in zip(names, (*scores, returns))})
    for suffix in ("", "_after"):
        losses["policy_loss" + suffix] = ppo.learner.policy_step(
            rollout, column("old_logp.f32"), column("advantage.f32"))
        losses["value_loss" + suffix] = ppo.critic_learner.value_step(
            rollout, column("old_value.f32"), column("return.f32"))
    with torch.no_grad():
        greedy = tokens("greedy.i32")
        products = largest_logp(networks[1], greedy, attend_products)
        sums = largest_logp(networks[1], greedy, attend_sums)
    assert abs(products - sums) < 1e-5, "the two ways to decode differ"
    losses["greedy_logp"] = products
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="as rlhf bench --json")
    parser.add_argument("--check", type=pathlib.Path, metavar="DIR",
                        help="print the losses of the files that rlhf bench --check DIR wrote")
    size = parser.parse_args()
    torch.set_num_interop_threads(1)
    use_threads((size.threads, size.threads))
    torch.manual_seed(1)
    found = check(size, size.check) if size.check else report(size)
    if size.json or size.check:
        print(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        print(f"{key:16} {value:14.4g}")


main()
