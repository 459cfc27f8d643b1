"""The JSON Schema of recipes, for editors: generated from the cards, draft-07.

An editor's help, not the judge: it knows keys, kinds and options, while names, sizes and wiring are
for `assembler check`. Draft-07 because that is what YAML editors read.
"""

from __future__ import annotations

import json
from typing import Any

from assembler.graph.container import PARTS
from assembler.graph.graft.spec import DEMANDS, FORMS, MODES
from assembler.graph.init import MODES as INIT_MODES
from assembler.library import registry
from assembler.report.catalogue import spelled
from assembler.source.recipe import GRAFT_KEYS, GRAPH_KEYS, INHERITED, PLACE_KEYS
from assembler_schemas.kind import Kind

Schema = dict[str, Any]

ACTIVE = {"vars", "inputs", "nodes", "outputs", "slots", "rules", "grafts", "adapters", "name", "description"}
"""Keys of a recipe that a graph inside it has too."""

_EXPRESSION: Schema = {"type": "string", "description": "a size expression: 4*width", "maxLength": 256}
_VAR: Schema = {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": "the name of a var"}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}


def to_schema() -> Schema:
    """The schema of a whole recipe."""
    known = [name if version == newest else f"{name}@{version}" for name in registry.names()
             for versions in (registry.versions(name),) for newest in versions[-1:] for version in reversed(versions)]  # fmt: skip
    cards = {name: card for name in known if (card := registry.kind(name)) is not None}
    shared = _place_keys()
    top = {key: _graph_key(key) for key in sorted(GRAPH_KEYS)} | {key: shared[key] for key in INHERITED}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "assembler recipe",
        "type": "object",
        "properties": top,
        "additionalProperties": False,
        "definitions": {
            "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
            "from": _from(),
            "nodes": {"type": "object", "propertyNames": {"$ref": "#/definitions/name"},
                      "additionalProperties": {"$ref": "#/definitions/node"}},
            "node": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/place"}]},
            "place": _place(cards),
            "graft": _graft(),
            **{f"kind_{name}": _kind(card) for name, card in cards.items()},
        },
    }  # fmt: skip


def render_schema() -> str:
    """The file `schemas/recipe.schema.json`, to the last byte."""
    return json.dumps(to_schema(), indent=1, sort_keys=False, ensure_ascii=True) + "\n"


def _graph_key(key: str) -> Schema:
    nodes = {"$ref": "#/definitions/nodes"}
    port = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 1}]}
    table: dict[str, Schema] = {
        "recipe": {"const": 1, "description": "version of the language"},
        "name": {"type": "string"},
        "description": {"type": "string"},
        "$schema": {"type": "string"},
        "defaults": {"type": "array", "description": "Hydra's defaults list; say where _self_ stands"},
        "vars": {"type": "object", "additionalProperties": {"type": ["integer", "number", "string", "boolean", "null"]},
                 "description": "named numbers and words"},
        "inputs": {"type": "object", "description": "name: port type, such as [batch seq 64]",
                   "additionalProperties": {"anyOf": [*port["anyOf"], {"type": "null"}, {
                       "type": "object", "required": ["type"], "additionalProperties": False,
                       "properties": {"type": port, "optional": {"type": "boolean"}}}]}},
        "nodes": nodes,
        "outputs": _TEXTS | {"description": "name: address"},
        "slots": {"type": "object", "description": "name: the part that fills it; only `accepts` where a file of its group does",
                  "additionalProperties": {"anyOf": [{"$ref": "#/definitions/node"}, {
                      "type": "object", "required": ["accepts"], "additionalProperties": False, "properties": {"accepts": True}}]}},
        "rules": {"type": "object", "additionalProperties": {"anyOf": [{"type": "null"}, {
            "type": "object", "required": ["set"], "additionalProperties": False,
            "properties": {"at": {"type": "string"}, "where": {"type": "object"}, "set": {"type": "object"}}}]}},
        "grafts": {"type": "object", "description": "name: a part laid onto this graph's own nodes",
                   "additionalProperties": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/graft"}]}},
        "adapters": {"type": "object", "additionalProperties": False,
                     "properties": {"policy": {"enum": ["auto", "explicit", "never"]}}},
        "moved": {"type": "object", "additionalProperties": {"type": "string"},
                  "description": "old address: new address, for weights that were kept under the old one"},
    }  # fmt: skip
    return table[key]


def _from() -> Schema:
    entry: Schema = {"anyOf": [
        {"type": "string"}, {"type": "null"}, {"type": "object", "required": ["port"], "properties": {"port": {"type": "string"}}},
        {"type": "array", "items": {"$ref": "#/definitions/from"}},
    ]}  # fmt: skip
    return {
        "description": "an address, a list of them, or input port: address",
        "anyOf": [*entry["anyOf"][:2], entry["anyOf"][3], {"type": "object", "additionalProperties": entry}],
    }


def _place_keys() -> dict[str, Schema]:
    size: Schema = {"anyOf": [{"type": "integer", "minimum": 0}, _EXPRESSION]}
    norm: Schema = {"enum": ["pre", "out", "both", "post", None], "description": "a norm before, on the branch, both, or after the add"}
    return {
        "kind": {"anyOf": [{"enum": registry.names()}, {"type": "string", "pattern": "^[a-z][a-z0-9_]*@[1-9][0-9]*$", "description": "a version of a kind: mlp@1"}]},
        "slot": {"type": "string"},
        "same": {"type": "string", "description": "one more use of that node, with its weights"},
        "like": {"type": "string", "description": "that node's definition, with weights of its own"},
        "from": {"$ref": "#/definitions/from"},
        "repeat": size | {"description": "copies in a row, each with its own weights"},
        "share": {"type": "boolean", "description": "one set of weights for all copies"},
        "norm": norm,
        "norm_kind": {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/place"}],
                      "description": "layer_norm (default), rms_norm, or one with options: {kind: layer_norm, eps: 1e-6}"},
        "init": _init(),
        "freeze": {"anyOf": [{"type": "boolean"}, _VAR]},
        "seed": {"anyOf": [{"type": "integer", "minimum": 0}, _VAR]},
        "dtype": {"enum": ["f64", "f32", "bf16", "f16", "float", "i64", "i32", "int", "bool", None]},
        "tie": {"type": "object", "additionalProperties": {"type": "string"}},
        "vars": {"type": "object"},
        "before": {"type": "string"},
        "after": {"type": "string"},
        "stream": {"type": "string", "description": "of a part of a bus: the input of the bus that it reads and adds to (default: the first)"},
    }  # fmt: skip


def _graft() -> Schema:
    shared, feed = _place_keys(), {"$ref": "#/definitions/from"}
    keys: dict[str, Schema] = {
        "read": feed | {"description": "what the part reads; as it is: the value written"},
        "write": feed | {"description": "where it merges: a node, an input port, or a pattern: encoder.*.attend"},
        "mode": {"anyOf": [{"enum": list(MODES)}, _VAR]},
        "form": {"enum": list(FORMS), "description": "how a gate acts; one_plus is h * (1 + part)"},
        "scale": {"anyOf": [{"type": "number"}, _VAR, {"type": "object", "additionalProperties": False, "properties": {
            "value": {"type": "number"}, "learned": {"type": "boolean"}, "channel": {"type": "boolean"}}}]},
        "norm": shared["norm"],
        "norm_kind": shared["norm_kind"],
        "init": {"enum": list(DEMANDS), "description": "the host must be undisturbed at the start"},
        "after": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "description": "the grafts that come first"},
        "part": {"$ref": "#/definitions/place"},
    }  # fmt: skip
    if missing := GRAFT_KEYS ^ set(keys):
        raise ValueError(f"the schema and the reader differ in the keys of a graft: {sorted(missing)}")
    return {"type": "object", "properties": keys, "required": ["write", "mode", "part"], "additionalProperties": False}


def _init() -> Schema:
    mode: Schema = {"type": ["string", "null"], "description": f"{', '.join(INIT_MODES)}; some with a number: normal(0.02)"}
    return {
        "description": "how parameters start: a mode, or one of the weights and one of the writing layer",
        "anyOf": [mode, {"type": "object", "additionalProperties": False, "properties": {
            "weights": mode, "write": mode, "copy": {"type": ["string", "null"], "description": "the node whose values it takes"}}}],
    }  # fmt: skip


def _place(cards: dict[str, Kind]) -> Schema:
    """A node or part. What else it may hold depends on its kind."""
    keys = _place_keys()
    missing = PLACE_KEYS ^ set(keys)
    if missing:
        raise ValueError(f"the schema and the reader differ in the keys of a node: {sorted(missing)}")
    branches: list[Schema] = [
        {"if": {"required": ["kind"], "properties": {"kind": {"enum": [*dict.fromkeys((name, f"{card.name}@{card.version}"))]}}}, "then": {"$ref": f"#/definitions/kind_{name}"}}
        for name, card in cards.items()
    ]
    without = {"if": {"not": {"anyOf": [{"required": [key]} for key in ("kind", "slot", "same", "like")]}},
               "then": {"required": ["nodes"]}}  # fmt: skip
    return {"type": "object", "properties": keys, "allOf": [without, *branches]}


def _kind(card: Kind) -> Schema:
    """The keys that a node of this kind may have. Those of every node are described above."""
    properties: dict[str, Any] = dict.fromkeys(sorted(PLACE_KEYS), True)
    properties |= {"accepts": True, "count": True}  # on a slot's filler; on one of several `experts`
    properties |= _options(card)
    if card.container:
        for key in PARTS.get(card.name, ("parts",)):
            held = {"$ref": f"#/definitions/{'nodes' if key in ('parts', 'experts') else 'place'}"}
            properties[key] = {"anyOf": [*properties[key]["anyOf"], held]} if key in properties else held
    if card.name == "graph":
        properties |= {key: _graph_key(key) for key in sorted(ACTIVE)}
    about = card.summary + (f"\n\nExample: {card.example}" if card.example else "")
    return {"description": about, "properties": properties, "additionalProperties": False}


def _options(card: Kind) -> dict[str, Schema]:
    raw = card.options.model_json_schema(by_alias=True)
    found: dict[str, Schema] = {}
    for name, info in card.options.model_fields.items():
        key = spelled(name, info)
        schema = {k: v for k, v in raw["properties"][key].items() if k != "title"}
        about = schema.pop("description", "")
        default = {"default": schema.pop("default")} if "default" in schema else {}
        # Any option may be a var's name; an editor cannot see whether there is such a var.
        other = _EXPRESSION if key in card.size_options else _VAR
        found[key] = {"anyOf": [*schema.get("anyOf", [schema]), other]} | default | ({"description": about} if about else {})
    return found
