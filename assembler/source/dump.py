"""Plain data as YAML that our reader takes for the same data."""

from __future__ import annotations

from typing import Any

import yaml

from assembler.source.scalar import Scalar, resolve


def to_yaml(data: Any) -> str:
    """The text of a resolved recipe, in its own order of keys, ASCII only."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.2 would not take for a text, too: PyYAML knows 1.1, to which `1e-3` is one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if resolve(text) == Scalar(text) else '"')


_Dumper.add_representer(str, _text)
