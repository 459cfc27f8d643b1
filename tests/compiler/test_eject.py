"""The ejected file: equal keys, values and outputs, without the package."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import torch

from assembler.compiler.build import build
from assembler.compiler.eject import eject
from assembler.compiler.emit import body, emit, model_class
from tests.compiler.made import ALL, DIGITS, plan_of, values_for
from tests.compiler.test_build import flat, run_alone

torch.set_num_threads(1)


@pytest.mark.parametrize("name", ALL)
def test_an_ejected_file_equals_the_model_bit_for_bit_without_the_package(name: str, tmp_path: Path) -> None:
    made = plan_of(ALL[name])
    (tmp_path / "ejected.py").write_text(eject(made))
    model, values = build(made, seed=11), values_for(made)
    torch.save((model.state_dict(), values, flat(model(**values))), tmp_path / "want.pt")
    site = [path for path in sys.path if path.endswith("site-packages")]
    run_alone(
        f"sys.path[:0] = {[str(tmp_path), *site]!r}\n"
        "import torch, ejected, importlib.util\n"
        "torch.set_num_threads(1)\n"
        "sys.path[:] = [path for path in sys.path if path]\n"
        "state, values, want = torch.load(sys.argv[1])\n"
        f"model = ejected.{model_class(made)}(seed=11)\n"
        "assert list(model.state_dict()) == list(state)\n"
        "assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values()))\n"
        "out = model(**values)\n"
        "out = list(out.values()) if isinstance(out, dict) else [out]\n"
        "assert all(torch.equal(a, b) for a, b in zip(out, want, strict=True))\n"
        "assert not any(name.split('.')[0].startswith('assembler') for name in sys.modules)\n",
        str(tmp_path / "want.pt"),
        package=False,
    )


@pytest.mark.parametrize("name", ALL)
def test_an_ejected_file_is_the_same_text_and_imports_torch_only(name: str) -> None:
    made = plan_of(ALL[name])
    text = eject(made)
    assert text.endswith(body(emit(made)))
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= {"__future__", "hashlib", "math", "torch", "collections"}


def test_only_the_classes_in_use_are_copied() -> None:
    text = eject(plan_of(DIGITS))
    assert "class Attention(" in text
    assert "class MLP(" in text
    assert "class CrossAttention(" not in text
    assert "class GLU(" not in text
