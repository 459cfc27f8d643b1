"""The catalogue: `assembler kinds` and `assembler kinds NAME`, read off the cards."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal

import yaml
from pydantic.fields import FieldInfo

from assembler.library import entry_points, registry
from assembler.source.recipe import PLACE_KEYS
from assembler_schemas.kind import Definition, Kind, Options

_RELATIONS = {"multiple_of": "is a multiple of", "at_most": "is at most", "equal": "equals"}


def render_kinds() -> str:
    """Every kind with its one line."""
    names = registry.names()
    wide = max(map(len, names))
    lines = [f"{name:<{wide}}  {card.summary}" for name in names if (card := registry.kind(name))]
    return "\n".join([*lines, *_offered(), "", "`assembler kinds NAME` shows ports, options and an example."]) + "\n"


def _offered() -> list[str]:
    """What installed packages offer and nobody has imported."""
    found = [(kind, offer.package, offer.module) for kind, offers in sorted(entry_points.offers().items()) if registry.kind(kind) is None for offer in offers]
    return ["", "offered by installed packages, imported when a recipe names one", *_table(found)] if found else []


def render_kind(card: Kind) -> str:
    """One kind: ports, options with defaults and meaning, demands, parameters, example, source."""
    options, definition = example_of(card)
    lines = [f"{card.name}: {card.summary}", *_declared(card)]
    if definition is None:
        lines += ["", "A container: its ports are those of its parts."]
    else:
        lines += ["", "ports", *_ports(definition)]
    lines += ["", "options", *(_options(card) or ["  none of its own"])]
    if definition is not None:
        lines += _demands(definition)
        lines += _parameters(definition)
    if card.places is not None and options is not None:
        lines += ["", "places inside", *_table(list(card.places(options).items()))]
    lines += ["", "example", f"  {card.example}"] if card.example else []
    lines += ["", f"source: {card.source}"] if card.source else []
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _declared(card: Kind) -> list[str]:
    """Of a kind that is not ours: where it was declared; of one that has several versions: which."""
    place = registry.registered().get(f"{card.name}@{card.version}")
    lines = [f"declared by {place}"] if place else []
    others = [f"{card.name}@{version}" for version in registry.versions(card.name)]
    return [*lines, f"version {card.version} of {', '.join(others)}"] if len(others) > 1 else lines


def example_of(card: Kind) -> tuple[Options | None, Definition | None]:
    """The options that the card's example states, and the definition they give (None for a container).

    ValueError where a card's example does not fit its own options.
    """
    if card.container:
        return None, None
    stated = yaml.safe_load(card.example) if card.example else {}
    if not isinstance(stated, dict):
        raise ValueError(f"the example of `{card.name}` is not a mapping")
    names = {spelled(name, info) for name, info in card.options.model_fields.items()}
    options = card.options.model_validate({k: v for k, v in stated.items() if k in names or k not in PLACE_KEYS})
    return options, card.define(options, None) if card.by_rank else card.define(options)


def spelled(name: str, info: FieldInfo) -> str:
    """An option's name as recipes spell it: `in_` is `in`."""
    return info.alias or name


def _ports(definition: Definition) -> list[str]:
    rows = []
    for arrow, ports in (("in", definition.inputs), ("out", definition.outputs)):
        for name, port in ports.items():
            said = [word for word in ("optional", "many", "loss") if getattr(port, word)]
            about = ", ".join([*said, *([port.about] if port.about else [])])
            rows.append((f"{arrow:<3} {name}", port.type, about))
    return _table(rows)


def _options(card: Kind) -> list[str]:
    rows = []
    for name, info in card.options.model_fields.items():
        key = spelled(name, info)
        size = key in card.size_options
        value = info.get_default(call_default_factory=True)
        open_size = size and value is None
        default = "required" if info.is_required() else "open" if open_size else f"= {_value(value)}"
        about = info.description or ("inferred from the graph" if open_size else "")
        kinds = type_text(info, size)
        rows.append((key, kinds.removesuffix(" or null") if open_size else kinds, default, about))
    return _table(rows)


def _value(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("...").strip()


def type_text(info: FieldInfo, size: bool) -> str:
    """What may stand there, in a few words."""
    return " or ".join(dict.fromkeys(_words(info.annotation, size)))


def _words(annotation: Any, size: bool) -> list[str]:
    found: list[str] = []
    todo = [annotation]
    while todo:
        item = todo.pop(0)
        origin = typing.get_origin(item)
        if origin is typing.Annotated:
            todo.insert(0, typing.get_args(item)[0])
        elif origin in (typing.Union, types.UnionType):
            todo[:0] = typing.get_args(item)
        elif origin is Literal:
            found.append(" | ".join(map(str, typing.get_args(item))))
        elif origin is not None:
            found.append({"list": "a list", "tuple": "a list", "dict": "a mapping"}.get(origin.__name__, "a mapping"))
        else:
            plain = {int: "size" if size else "integer", float: "number", bool: "true or false", str: "text"}
            found.append(plain.get(item, "null" if item is type(None) else "a mapping"))
    return found


def _demands(definition: Definition) -> list[str]:
    rows = [(f"{item.left} {_RELATIONS[item.relation]} {item.right}", item.about) for item in definition.requires]
    rows += [(f"{name} = {text}", "unless stated or inferred") for name, text in definition.defaults.items()]
    return ["", "sizes", *_table(rows)] if rows else []


def _parameters(definition: Definition) -> list[str]:
    rows = [
        (name, f"[{' '.join(item.shape)}]", item.init, "buffer" if item.buffer else "")
        for name, item in definition.parameters.items()
    ]
    rows += [("unknown", "", "", "before it is built")] if definition.opaque else []
    return ["", "parameters (of the example)", *_table(rows)] if rows else []


def _table(rows: list[Any]) -> list[str]:
    """Aligned columns; a very wide cell does not widen its column."""
    if not rows:
        return []
    wide = [max((len(row[i]) for row in rows if len(row[i]) <= 40), default=0) for i in range(len(rows[0]))]
    return ["  " + "  ".join(f"{cell:<{size}}" for cell, size in zip(row, wide, strict=True)).rstrip() for row in rows]
