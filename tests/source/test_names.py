"""Names that a recipe may not give, held against what torch really has."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

import assembler
from assembler.source.names import EXPORT_ATTRIBUTES, MODULE_ATTRIBUTES, NAME


def torchs(name: str) -> bool:
    """Not what another package has put onto `nn.Module` meanwhile (Transformers does)."""
    return str(getattr(getattr(nn.Module, name, None), "__module__", "torch")).startswith("torch")


def test_every_attribute_of_a_module_is_reserved() -> None:
    found = {name for name in {*dir(nn.Module), *vars(nn.Module())} if NAME.match(name) and torchs(name)}
    assert found <= MODULE_ATTRIBUTES


def test_what_an_exported_module_has_besides_is_reserved() -> None:
    exported = torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),), strict=True).module()
    found = {name for name in {*dir(fx.GraphModule), *vars(fx.symbolic_trace(nn.Identity())), *vars(exported)} if NAME.match(name) and torchs(name)}
    assert found - MODULE_ATTRIBUTES <= EXPORT_ATTRIBUTES


@pytest.mark.parametrize("name", ["code", "graph", "forward", "state_dict", "class", "losses"])
def test_a_reserved_name_is_said(name: str) -> None:
    report = assembler.check({"inputs": {"x": "[batch 4]"}, "nodes": {name: {"kind": "linear", "out": 2, "from": "x"}}, "outputs": {"y": name}})
    assert "name-reserved" in [item.code for item in report.diagnostics]
