"""What a host card says, and how a configuration is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from assembler_schemas.shape import MAX_SIZE

MAX_LAYERS = 1024
MAX_STAGES = 16

LAYER_NORM = "ln(-1) gain trained, shift trained"
RMS_NORM = "rms(-1) gain trained"
CHANNEL_NORM = "ln(-3) gain trained, shift trained"
STREAM = "stream"
"""Norm states, as `assembler show --norm` prints them; "" is `raw`."""


class Site(NamedTuple):
    """A module inside the host, the type of the first tensor that it gives, and that value's norm state."""

    path: str
    type: str
    norm: str = ""


class HostCard(NamedTuple):
    """Ports and sites by name. `optional` inputs may stay unconnected; `call` are constant
    arguments of forward, `norms` the norm states of outputs."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    sites: Mapping[str, Site]
    optional: frozenset[str] = frozenset()
    call: Mapping[str, bool] = {}
    norms: Mapping[str, str] = {}


class HostError(ValueError):
    """What a configuration lacks or states wrongly; `key` is the entry at fault."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class Read:
    """A configuration, and which of its keys were used."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}
        self.used: set[str] = set()

    def get(self, key: str) -> Any:
        if key not in self.config:
            raise HostError(f"the configuration has no `{key}`, which hosts of this family need", key)
        self.used.add(key)
        return self.config[key]

    def size(self, key: str, limit: int = MAX_SIZE) -> int:
        return check_size(key, self.get(key), limit)

    def sizes(self, key: str, length: int, limit: int = MAX_SIZE) -> list[int]:
        """A list of sizes, one for each stage, not longer than `length`."""
        value = self.get(key)
        if not isinstance(value, list) or not 1 <= len(value) <= length:
            wanted = f"a list of sizes, one for each stage, {length} at the most"
            raise HostError(f"`{key}` is {wanted}, and this is {shown(value)}", key)
        return [check_size(key, item, limit) for item in value]

    def pair(self, key: str) -> tuple[int, int]:
        """Height and width: one size for both, or two."""
        value = self.get(key)
        if not isinstance(value, list):
            value = [value, value]
        if len(value) != 2:
            raise HostError(f"`{key}` is one size, or two, and this is {shown(value)}", key)
        return check_size(key, value[0], MAX_SIZE), check_size(key, value[1], MAX_SIZE)

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = default if default is not None and key not in self.config else self.get(key)
        if not isinstance(value, bool):
            raise HostError(f"`{key}` is true or false, and this is {shown(value)}", key)
        return value


def check_size(key: str, value: Any, limit: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise HostError(f"`{key}` is a whole number from 1 to {limit:,}, and this is {shown(value)}", key)
    return value


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
