"""Do experts specialise on real text? A byte-level language model with a mixture, and what each expert came to work on.

    python examples/experts.py                                      the router sees the mean of what came before
    python examples/experts.py '~nodes.stream.parts.mix.router'     a linear router, which sees the byte and its neighbours

Three domains, none downloaded: Python (modules of the standard library), English (the language reference that
`help()` prints, `pydoc_data`), C++ (the headers of c10 in torch's wheel). Nothing tells the model which is
which; the last tenth of each is held out. Two minutes on a free core. Exit code 1 if experts collapsed, or
if they do not follow the domains: with the linear router they follow bytes instead, and it is 1.
"""

from __future__ import annotations

import math
import os
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import assembler
from assembler.lab import routing

RECIPE = Path(os.path.relpath(Path(__file__).resolve().parent.parent / "recipes" / "experts.yaml"))
DOMAINS = ("Python", "English", "C++")
MOST = 1_500_000
"""Bytes of a domain."""
SEED, LENGTH = 0, 128
STEPS, BATCH, RATE = 800, 32, 4e-3
HELD_OUT = 96
"""Windows of the probe."""
WANTED = 0.1
"""NMI of first choices with domains at the least, and three deviations above that with shuffled domains."""

Probe = tuple[Tensor, Tensor, Tensor]
"""Text, the next byte of each place, and the domain of each window."""


def main() -> int:
    started = time.perf_counter()
    # So small a model gains little from a second thread, and loses much where another program wants that core.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    texts = [text() for text in (python, english, cpp)]
    print("  ".join(f"{name}: {len(text):,} bytes" for name, text in zip(DOMAINS, texts, strict=True)))
    train = [text[: len(text) * 9 // 10] for text in texts]
    probe = windows([text[len(text) * 9 // 10 :] for text in texts], HELD_OUT, torch.Generator().manual_seed(SEED + 1))
    model = assembler.build(assembler.load(RECIPE, sys.argv[1:]), seed=SEED)
    print(f"{RECIPE}: {sum(p.numel() for p in model.parameters()):,} parameters")
    before = judge(model, probe, None)
    last = learn(model, train, probe)
    print(f"\nHeld-out bits per byte: {score(model, probe) / math.log(2):.2f}. The mixture on held-out text:\n{last}")
    print(
        f"Which expert a byte chose first tells its domain: NMI {told(last):.3f} ({told(before):.3f} before training, {null(last)} by chance)"
    )
    print(shares(model, probe))
    print(f"Done in {time.perf_counter() - started:.0f} s.")
    return failures(last)


# --- data: bytes, and nothing else ---
def python() -> Tensor:
    return text_of(sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")))


def english() -> Tensor:
    from pydoc_data.topics import topics

    return as_bytes("\n\n".join(topics[name] for name in sorted(topics)).encode())


def cpp() -> Tensor:
    return text_of(sorted((Path(torch.__file__).parent / "include" / "c10").rglob("*.h")))


def text_of(files: Sequence[Path]) -> Tensor:
    """The first bytes of all files, one after the other: [bytes] of ids."""
    found = b""
    for file in files:
        if len(found) < MOST:
            found += file.read_bytes()
    return as_bytes(found)


def as_bytes(text: bytes) -> Tensor:
    return torch.frombuffer(bytearray(text[:MOST]), dtype=torch.uint8).long()


def windows(texts: Sequence[Tensor], number: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Text [number 128], the next byte of each place [number 128], and the domain [number], as many of each."""
    domain = torch.arange(number) % len(texts)
    starts = [int(torch.randint(len(texts[one]) - LENGTH, (), generator=generator)) for one in domain.tolist()]
    found = torch.stack(
        [texts[one][start : start + LENGTH + 1] for one, start in zip(domain.tolist(), starts, strict=True)]
    )
    return found[:, :-1], found[:, 1:], domain


# --- training: a plain loop ---
def learn(model: nn.Module, train: Sequence[Tensor], probe: Probe) -> routing.Report:
    """Train, with the mixture's health beside the loss. Returns the last report."""
    generator = torch.Generator().manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=STEPS)
    report = None
    with routing.watch(model) as health:
        for step in range(1, STEPS + 1):
            text, wanted, _ = windows(train, BATCH, generator)
            out = model(text)
            loss = loss_of(out, wanted)
            optimizer.zero_grad()
            (loss + out["aux_loss"]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % (STEPS // 4) == 0:
                load = health.report().mixtures[0]
                report = judge(model, probe, report)
                flips = "" if report.mixtures[0].flips is None else f"   flips {report.mixtures[0].flips:.2f}"
                print(
                    f"  step {step:3}   bits {loss.item() / math.log(2):.2f}   MaxVio {load.max_violation:.2f}   dead {load.dead}   NMI {told(report):.3f}{flips}",
                    flush=True,
                )
    assert report is not None
    return report


def loss_of(out: Any, wanted: Tensor) -> Tensor:
    return F.cross_entropy(out["logits"].flatten(0, 1), wanted.flatten())


def score(model: nn.Module, probe: Probe) -> float:
    """Nats for each held-out byte."""
    with torch.no_grad():
        return float(loss_of(model.eval()(probe[0]), probe[1]))


# --- what the experts came to work on ---
def judge(model: nn.Module, probe: Probe, before: routing.Report | None) -> routing.Report:
    text, wanted, domain = probe
    return routing.report(model, text, domain, loss=lambda out: loss_of(out, wanted), before=before)


def told(report: routing.Report) -> float:
    return report.mixtures[0].information or 0.0


def null(report: routing.Report) -> str:
    mean, deviation = report.mixtures[0].information_null or (0.0, 0.0)
    return f"{mean:.4f} ± {deviation:.4f}"


def shares(model: nn.Module, probe: Probe) -> str:
    """Of what each expert was given on held-out text: how much was of which domain."""
    gates: list[Tensor] = []
    gating = next(module for module in model.modules() if type(module).__name__ == "Gating")
    handle = gating.register_forward_hook(lambda module, given, made: gates.append(made[0]))
    with torch.no_grad():
        model.eval()(probe[0])
    handle.remove()
    domain = probe[2][:, None].expand(probe[0].shape).reshape(-1)
    chosen = (gates[0].reshape(len(domain), -1) != 0).double()
    given = torch.stack([chosen[domain == one].sum(0) for one in range(len(DOMAINS))])  # [domains experts]
    lines = [f"{'expert':8}{'load':>8}" + "".join(f"{name:>10}" for name in DOMAINS)]
    for expert in given.sum(0).argsort(descending=True).tolist():
        own = given[:, expert] / given[:, expert].sum().clamp_min(1)
        lines.append(
            f"{expert:<8}{given[:, expert].sum() / given.sum():>8.1%}"
            + "".join(f"{share:>10.1%}" for share in own.tolist())
        )
    return "\n".join(lines)


def failures(last: routing.Report) -> int:
    mixture = last.mixtures[0]
    mean, deviation = mixture.information_null or (0.0, 0.0)
    said = ["some experts have nothing to do"] if routing.COLLAPSE in mixture.verdict else []
    if told(last) < max(WANTED, mean + 3 * deviation):
        said.append(f"the experts follow the domains with an NMI of {told(last):.3f}; {WANTED} was wanted")
    for line in said:
        print(f"FAILED: {line}")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
