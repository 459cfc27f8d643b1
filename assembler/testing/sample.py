"""How a test asks for one use of a kind: its options and concrete shapes to run it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """Options as a recipe states them (`{"in": 6}`), and the shape at each input port.

    `shapes`: port -> its axes without the `...`, `{"x": (7, 6)}` for `[... seq d]`; a `many` port
    takes a list of shapes; an optional port that is left out is not fed. The test puts (), (2,)
    and (2, 3) in front of every port that has `...`; `leads` replaces these.
    `sizes`: sizes that neither the shapes, nor the options, nor the card's defaults determine:
    `{"out": 5}`.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, Shape | list[Shape]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    leads: tuple[Shape, ...] = ((), (2,), (2, 3))
