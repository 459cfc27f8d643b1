"""Recipes of any size, as text: for the benchmarks of `check`."""

from __future__ import annotations

from pathlib import Path

LAYER = """\
  norm_a{i}: {{kind: layer_norm, from: {before}}}
  attend{i}: {{{attend}, from: norm_a{i}}}
  add_a{i}:  {{kind: add, from: [{before}, attend{i}]}}
  norm_b{i}: {{kind: layer_norm, from: add_a{i}}}
  up{i}:     {{kind: linear, out: 4*width, from: norm_b{i}}}
  act{i}:    {{kind: activation, activation: gelu, from: up{i}}}
  down{i}:   {{kind: linear, out: width, from: act{i}}}
  add_b{i}:  {{kind: add, from: [add_a{i}, down{i}]}}
"""


def layers(count: int, *, composed: bool = False) -> str:
    """A transformer with every layer written out: 8 nodes a layer.

    `composed`: what stands in the slot `mix` comes from a group file, by a defaults list.
    """
    attend = "slot: mix" if composed else "kind: attention, heads: heads"
    body = "".join(
        LAYER.format(i=i, before=f"add_b{i - 1}" if i else "stream", attend=attend) for i in range(count)
    )
    return (
        ("defaults:\n  - slots/mix: full\n  - _self_\n" if composed else "")
        + "name: written\nvars: {width: 64, heads: 4}\n"
        + 'inputs: {stream: "[batch seq width]"}\nnodes:\n'
        + body
        + f"outputs: {{result: add_b{count - 1}}}\n"
    )


def chain(copies: int) -> str:
    """One linear node, so many times in a row."""
    return (
        'name: chain\ninputs: {x: "[batch 16]"}\n'
        f"nodes:\n  stack: {{kind: linear, out: 16, repeat: {copies}, from: x}}\n"
        "outputs: {result: stack}\n"
    )


def place(folder: Path) -> dict[str, Path]:
    """All of them as files: `96`, `1000`, `10000`, `20000` nodes, `composed_96`, `composed_1000`, `chain`."""
    group = folder / "slots" / "mix"
    group.mkdir(parents=True)
    (group / "full.yaml").write_text("kind: attention\nheads: heads\n")
    (group / "causal.yaml").write_text("kind: attention\nheads: heads\ncausal: true\n")
    texts = {str(8 * count): layers(count) for count in (12, 125, 1250, 2500)}
    texts |= {f"composed_{8 * count}": layers(count, composed=True) for count in (12, 125)}
    texts["chain"] = chain(100_000)
    found = {}
    for name, text in texts.items():
        found[name] = folder / f"{name}.yaml"
        found[name].write_text(text)
    return found


def hydra_tree(folder: Path) -> list[str]:
    """Five groups of three files each and a primary config; returns ten overrides for it."""
    groups = ("data", "model", "optim", "trainer", "logger")
    for group in groups:
        (folder / group).mkdir(parents=True)
        for choice in ("a", "b", "c"):
            (folder / group / f"{choice}.yaml").write_text("".join(f"key{i}: {i}\n" for i in range(10)))
    (folder / "config.yaml").write_text("defaults:\n" + "".join(f"  - {g}: a\n" for g in groups) + "  - _self_\nseed: 1\n")
    return [f"{group}=b" for group in groups] + [f"{group}.key3=7" for group in groups]
