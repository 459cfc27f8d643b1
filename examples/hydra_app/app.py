"""A Hydra application of somebody's own, whose model is a recipe.

    python app.py                                           train, and save into Hydra's run folder
    python app.py -m model/slots/ffn=mlp,swiglu,moe         one run for each part of a slot
    python app.py +model.nodes.head.in=48                   a mistake: the finding names the key of the configuration
    python app.py --config-name shipped slots/ffn@model.slots.ffn=moe      a recipe that comes with assembler

Hydra composes and OmegaConf resolves, by their own rules; `assembler` gets `cfg.model` as it is then. A few seconds
a run. `main` returns the share of held-out digits that are right, for sweepers that ask.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
import torch.nn.functional as F
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

import assembler

log = logging.getLogger(__name__)


@dataclass
class Train:
    """Steps of the training loop, typed: `train.epochs=many` is refused by OmegaConf."""

    epochs: int = 8
    batch: int = 64
    seed: int = 0


ConfigStore.instance().store(group="train", name="schema", node=Train)


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    # So small a model gains nothing from a second thread.
    torch.set_num_threads(1)
    torch.manual_seed(cfg.train.seed)
    model = assembler.build(cfg.model, seed=cfg.train.seed)       # RecipeError, with every finding, if it does not check
    log.info("%s", str(assembler.check(cfg.model)).rstrip())
    optimizer = instantiate(cfg.optimizer, params=model.parameters())
    images, labels, test_images, test_labels = load_data(cfg.data.held_out, cfg.train.seed)
    learn(model, optimizer, images, labels, cfg.train)
    accuracy = score(model, test_images, test_labels)
    folder = Path(HydraConfig.get().runtime.output_dir)
    assembler.save(model, folder / "model")                       # `assembler.load_model` gives it back, without this application
    log.info("held-out accuracy %.1f %%; saved in %s", 100 * accuracy, folder)
    return accuracy


def load_data(held_out: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, held-out images and labels. Images are [n 1 8 8], of about mean 0 and variance 1."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (torch.from_numpy(data.images).float().unsqueeze(1) / 16.0 - 0.3) / 0.38
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, rest = order[:held_out], order[held_out:]
    return images[rest], labels[rest], images[test], labels[test]


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, train: Any) -> None:
    model.train()
    for epoch in range(1, train.epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(images)).split(train.batch):
            out = model(images[rows])
            loss = F.cross_entropy(out["logits"], labels[rows]) + out["aux_loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        log.info("epoch %d/%d   loss %.3f", epoch, train.epochs, total / len(images))


def score(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The share of images whose best logit is their label's."""
    model.eval()
    with torch.no_grad():
        right = model(images)["logits"].argmax(-1) == labels
    return right.float().mean().item()


if __name__ == "__main__":
    main()
