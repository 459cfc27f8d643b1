"""The whole way on real data: a recipe is read, checked, changed, mended, built, trained and ejected.

    make demo          or          python examples/digits.py

The data are scikit-learn's 1,797 handwritten digits, 8 x 8 pixels each; nothing is downloaded.
Under two minutes on two cores. Exit code 1 if the trained model is not good enough, or if the
ejected file does not give the same numbers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import assembler
from assembler.report.data import to_data

if TYPE_CHECKING:
    from torch import Tensor, nn

HERE = Path(os.path.relpath(Path(__file__).resolve().parent))
RECIPES = Path(os.path.relpath(HERE.parent / "recipes"))
SEED = 0
EPOCHS = 25
BATCH = 32
HELD_OUT = 360
WANTED = 0.95

# Runs in a process of its own, in which importing the package fails: the ejected file stands alone.
ALONE = """
import runpy, sys
sys.modules["assembler"] = sys.modules["assembler_schemas"] = None     # from here on, importing them is an ImportError
import torch
torch.set_num_threads(1)
name, source, weights, images, result = sys.argv[1:]
model = runpy.run_path(source)[name]()
model.load_state_dict(torch.load(weights, weights_only=True))
model.eval()
with torch.no_grad():
    torch.save(model(torch.load(images, weights_only=True))["logits"], result)
"""


def main() -> int:
    started = time.perf_counter()
    check_a_recipe()
    swap_a_slot()
    mend_a_width()
    read_a_broken_recipe()
    title(5, "Train the model with a plain PyTorch loop")
    model, images, accuracy = train()
    same = eject(model, images)
    print(f"\nDone in {time.perf_counter() - started:.0f} s.")
    if accuracy < WANTED:
        print(f"FAILED: {accuracy:.1%} of the held-out digits are right, {WANTED:.0%} were wanted.")
    if not same:
        print("FAILED: the ejected file gives other numbers.")
    return 0 if same and accuracy >= WANTED else 1


def title(number: int, text: str) -> None:
    print(f"\n--- {number}. {text} ---", flush=True)


# --- checking: no tensor exists yet, and torch is not even imported ---
def check_a_recipe() -> None:
    title(1, "Check a recipe")
    report = assembler.check(RECIPES / "digits.yaml")
    model = to_data(report)["model"]
    print(f"$ assembler check {RECIPES / 'digits.yaml'}")
    print(report, end="")
    for name, kind in model["inputs"].items():
        print(f"  takes  {name}: {kind}")
    for name, kind in model["outputs"].items():
        print(f"  gives  {name}: {kind}")
    print(f"  torch was {'imported' if 'torch' in sys.modules else 'not needed'} for that")


def swap_a_slot() -> None:
    title(2, "Swap a part by an override")
    before = to_data(assembler.check(RECIPES / "digits.yaml"))["model"]
    after = to_data(assembler.check(RECIPES / "digits.yaml", ["slots/ffn=swiglu"]))["model"]
    print(f"$ assembler check {RECIPES / 'digits.yaml'} slots/ffn=swiglu")
    print(f"  parameters: {before['parameters']:,} -> {after['parameters']:,}")
    old, new = before["nodes"], after["nodes"]
    for address in [*old, *(name for name in new if name not in old)]:
        was, now = old.get(address), new.get(address)
        if was != now and "think" in address:
            print(f"  {address}: {describe(was)} -> {describe(now)}")
    same = sum(old[address] == new.get(address) for address in old)
    print(f"  unchanged: {same} of {len(old)} nodes")


def describe(node: dict[str, Any] | None) -> str:
    return f"{node['kind']} ({node['parameters']:,})" if node else "nothing"


def mend_a_width() -> None:
    title(3, "A width that does not fit, and the adapter that mends it")
    towers = RECIPES / "two_towers.yaml"
    print(f"$ assembler check {towers} nodes.fuse.from.gate=image")
    print(assembler.check(towers, ["nodes.fuse.from.gate=image"]), end="")
    print(f"\nThe recipe itself asks for an adapter on that edge (adapt: mlp):\n$ assembler check {towers}")
    report = assembler.check(towers)
    print(report, end="")
    nodes = to_data(report)["model"]["nodes"]
    for address in to_data(report)["model"]["adapters"]:
        node = nodes[address]
        print(f"  {address}: {node['in']['x']} -> {node['out']['y']}, {node['parameters']:,} parameters")


def read_a_broken_recipe() -> None:
    title(4, "A broken recipe: every mistake at once, each with its line")
    print(f"$ assembler check {HERE / 'broken.yaml'}")
    print(assembler.check(HERE / "broken.yaml"), end="")


# --- training: from here on it is PyTorch as ever ---
def load_data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, held-out images and labels. Images are [n 1 8 8], of about mean 0 and variance 1."""
    import torch
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1)
    images = (images / 16.0 - 0.3) / 0.38
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))
    held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
    return images[rest], labels[rest], images[held_out], labels[held_out]


def train() -> tuple[nn.Module, Tensor, float]:
    """The trained model, the held-out images, and how much of them it gets right."""
    import torch
    import torch.nn.functional as F

    # So small a model gains nothing from a second thread, and loses much where another program wants that core.
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    images, labels, test_images, test_labels = load_data()
    model = assembler.build(RECIPES / "digits.yaml", seed=SEED)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(images)} images to train on, {len(test_images)} held out")
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(images))[: steps // EPOCHS * BATCH].split(BATCH):
            out = model(images[rows])
            loss = F.cross_entropy(out["logits"], labels[rows], label_smoothing=0.1) + out["aux_loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        accuracy = score(model, test_images, test_labels)
        print(f"  epoch {epoch:2}/{EPOCHS}   loss {total / (steps // EPOCHS):.3f}   held-out accuracy {accuracy:.1%}", flush=True)
    return model, test_images, accuracy


def score(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images whose best logit is their label's."""
    import torch

    model.eval()
    with torch.no_grad():
        right = model(images)["logits"].argmax(-1) == labels
    return right.float().mean().item()


# --- ejecting: the same model as one file of plain PyTorch ---
def eject(model: nn.Module, images: Tensor) -> bool:
    """Whether the ejected file, run without the package, gives the very bits that the model gives."""
    import torch

    title(6, "Eject the model as one file of plain PyTorch, and run that without the package")
    source = assembler.eject(RECIPES / "digits.yaml")
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder) / name) for name in ("model.py", "weights.pt", "images.pt", "logits.pt")}
        Path(files["model.py"]).write_text(source, encoding="utf-8")
        torch.save(model.state_dict(), files["weights.pt"])
        torch.save(images, files["images.pt"])
        subprocess.run([sys.executable, "-c", ALONE, type(model).__name__, *files.values()], check=True, cwd=folder)
        found = torch.load(files["logits.pt"], weights_only=True)
    model.eval()
    with torch.no_grad():
        wanted = model(images)["logits"]
    same = torch.equal(found, wanted)
    print(f"$ assembler eject {RECIPES / 'digits.yaml'} -o model.py      # {len(source.splitlines())} lines, imports torch only")
    print("  first image, this process:    ", " ".join(f"{x:8.4f}" for x in wanted[0].tolist()))
    print("  first image, the ejected file:", " ".join(f"{x:8.4f}" for x in found[0].tolist()))
    print(f"  all {wanted.numel():,} logits of {len(images)} images: {'equal to the last bit' if same else 'NOT EQUAL'}")
    return same


if __name__ == "__main__":
    sys.exit(main())
