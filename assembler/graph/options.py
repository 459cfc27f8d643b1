"""A kind's options: expressions worked out, then held against the card's own strict model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from assembler.graph.env import Env, Say
from assembler.library import registry
from assembler.source.parse import MAX_HINTS, did_you_mean, nearest, renaming
from assembler.source.recipe import PLACE_KEYS
from assembler.source.tree import Value
from assembler_schemas.diagnostic import Diagnostic
from assembler_schemas.expression import ExpressionError, parse_expression
from assembler_schemas.kind import Definition, Inline, Kind, Options
from assembler_schemas.span import Span

Field = tuple[Value, Env]


class Chosen(NamedTuple):
    """A kind with its options fixed."""

    options: Options
    definition: Definition
    spans: Mapping[str, Span]


_KNOWN: dict[tuple[Any, ...], tuple[Kind, Options, Definition]] = {}
"""Options and definitions already made, by kind and plain options; equal nodes share them.

The card itself stands beside them: another one may be registered under its name."""


def choose(kind: Kind, fields: Mapping[str, Field], path: str, name: str, say: Say) -> Chosen | None:
    """The options of one use of `kind`, or None after saying what is wrong with them."""
    plain: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    broken = False
    sizes = kind.size_options
    for key, (value, env) in fields.items():
        if key in PLACE_KEYS and key not in kind.option_names:
            continue
        data = value.data
        span = value.span
        spans[key] = span
        if type(data) is int or data is True or data is False or type(data) is float:
            plain[key] = data
            continue
        if data is None and (span.line, span.column) == (span.end_line, span.end_column) and span.override is None:
            say(Diagnostic("missing-value", f"`{key}` has no value", value.key.at(f"{path}.{key}"), help="write one, `null` for none, or remove the key"))
            broken = True
            continue
        found = _plain(value, env, key in sizes, f"{path}.{key}")
        if found is _WRONG:
            broken = True
        else:
            plain[key] = found
    if broken:
        return None
    made = _make(kind, plain, spans, fields, path, name, say)
    return Chosen(*made, spans) if made else None


_WRONG = object()
_UNFOLDED = Definition({}, {}, Inline(""))
"""A container's: the graph builder unfolds it."""


def _plain(value: Value, env: Env, size: bool, path: str) -> Any:
    """An option as plain data, its vars and expressions worked out."""
    data = value.data
    if isinstance(data, list):
        items = [_plain(item, env, size, f"{path}[{i}]") for i, item in enumerate(data)]
        return _WRONG if _WRONG in items else tuple(items)
    if isinstance(data, dict):
        pairs = {key: _plain(item, env, size, f"{path}.{key}") for key, item in data.items()}
        return _WRONG if any(item is _WRONG for item in pairs.values()) else pairs
    if not isinstance(data, str):
        return data
    if size:
        if not _looks_like_size(data, env):
            return data
        number = env.number(value, path)
        return _WRONG if number is None else number
    found = env.find(data)
    return data if found is None else found


def _looks_like_size(text: str, env: Env) -> bool:
    """A size option may also take a word of its own (`padding: same`): not an expression then."""
    return not (text == "same" and env.find(text) is None)


def _make(
    kind: Kind, plain: dict[str, Any], spans: Mapping[str, Span], fields: Mapping[str, Field], path: str, name: str, say: Say
) -> tuple[Options, Definition] | None:
    key = (kind.name, kind.version, *((k, type(v), repr(v) if isinstance(v, (dict, tuple, float)) else v) for k, v in sorted(plain.items())))
    found = _KNOWN.get(key)
    if found is not None and found[0] is kind:
        return found[1:]
    try:
        options = kind.options.model_validate(plain)
        definition = _UNFOLDED if kind.container else kind.define(options, None) if kind.by_rank else kind.define(options)
    except ValidationError as error:
        for number, item in enumerate(_one_each(error.errors(include_url=False), plain, kind)):
            say(_wrong(item, kind, plain, spans, fields, path, name, number < MAX_HINTS))
        return None
    if len(_KNOWN) > 20_000:
        _KNOWN.clear()
    _KNOWN[key] = (kind, options, definition)
    return options, definition


def _one_each(errors: Sequence[Any], plain: Mapping[str, Any], kind: Kind) -> list[Any]:
    """One error for each option: of a choice of types (`3` or `[3, 3]`) the one that the value is nearest to.

    An option that is missing because its name is misspelled is one too.
    """
    found: dict[str, Any] = {}
    names = {field: info.alias or field for field, info in kind.options.model_fields.items()}
    for item in errors:
        where = item["loc"]
        key = str(where[0]) if where else ""
        listed = isinstance(plain.get(names.get(key, key)), tuple)
        far = len(where) > 1 and isinstance(where[1], str) and where[1].startswith(("tuple", "list")) != listed
        if key not in found or (not far and found[key][0]):
            found[key] = (far, item)
    missing = [names.get(key, key) for key, (_, item) in found.items() if item["type"] == "missing"]
    meant = {close for key, (_, item) in found.items() if missing and item["type"] == "extra_forbidden" for close in nearest(key, missing, 1)}
    return [item for key, (_, item) in found.items() if names.get(key, key) not in meant]


def _shown(value: Any) -> str:
    """A value as a recipe spells it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(_shown, value))}]" if isinstance(value, (list, tuple)) else repr(value)


def _wrong(
    item: Any, kind: Kind, plain: Mapping[str, Any], spans: Mapping[str, Span], fields: Mapping[str, Field], path: str, name: str, hints: bool
) -> Diagnostic:
    """What pydantic found, in our words and at the recipe's place."""
    key = str(item["loc"][0]) if item["loc"] else ""
    field_names = {field: info.alias or field for field, info in kind.options.model_fields.items()}
    key = field_names.get(key, key)
    at = f"{path}.{key}" if key else path
    span = spans.get(key) or (fields["kind"][0].span if "kind" in fields else Span())
    value = plain.get(key)
    known = list(kind.option_names)
    what = item["type"]
    context = item.get("ctx", {})
    if what == "extra_forbidden":
        keyspan = fields[key][0].key if key in fields else span
        if not hints:
            return Diagnostic("unknown-option", f"`{kind.name}` has no option `{key}`", keyspan.at(at), label="unknown option", help="mend the first findings first")
        from assembler.source import elsewhere  # only where something is wrong

        keys = [*known, *PLACE_KEYS]
        meant = elsewhere.key(key, keys, elsewhere.OPTIONS)
        help_text = did_you_mean(key, keys, meant)
        if not help_text:
            owners = registry.owners(key)
            help_text = f"`{key}` is an option of {', '.join(owners[:3])}" if owners else f"`{kind.name}` has {', '.join(known) or 'no options'}"
        return Diagnostic("unknown-option", f"`{kind.name}` has no option `{key}`", keyspan.at(at), label="unknown option", help=help_text, fix=renaming(key, keyspan, keys, fields, meant))
    if what == "missing":
        return Diagnostic("missing-key", f"`{kind.name}` needs `{key}`", span.at(path), help=f"write it: `{key}: ...`; an example: {kind.example}")
    if what in ("greater_than_equal", "less_than_equal", "greater_than", "less_than", "finite_number", "too_short", "too_long"):
        size = key in kind.size_options and not what.startswith("too_")
        return Diagnostic("dim-range" if size else "value-range", f"`{key}` of `{name or kind.name}` is {_shown(value)}: {_bound(what, context)}", span.at(at), help=_came_to(fields.get(key)) or _range_of(kind, key))
    if what == "literal_error":
        from assembler.source import elsewhere

        choices = context.get("expected", "").replace("'", "").replace(" or ", ", ").split(", ")
        return Diagnostic("value-range", f"`{key}` cannot be {_shown(value)}", span.at(at), label="not one of the choices",
                          help=did_you_mean(str(value), choices, elsewhere.value(str(value), choices)) or f"one of {', '.join(choices)}")  # fmt: skip
    if what == "value_error":
        inner = context.get("error")
        return Diagnostic(getattr(inner, "code", "value-range"), str(inner), span.at(at), help=getattr(inner, "help", "") or f"for example {kind.example}")
    wanted = _WANTED.get(what)
    tail = f", where {wanted} is wanted" if wanted else f": {item['msg'].lower()}"
    return Diagnostic("value-type", f"`{key}` of `{name or kind.name}` is {_shown(value)}{tail}", span.at(at), help=_meant(what, value))


_WANTED = {
    "bool_type": "true or false", "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "string_type": "a word", "tuple_type": "a list", "list_type": "a list", "dict_type": "a mapping",
}  # fmt: skip


def _bound(what: str, context: Mapping[str, Any]) -> str:
    words = {"greater_than_equal": "at least", "less_than_equal": "at most", "greater_than": "more than", "less_than": "less than"}
    limit = context.get("max_length") or context.get("min_length") or next(iter(context.values()), "")
    return f"it must be {words[what]} {limit}" if what in words else "it must be a finite number" if what == "finite_number" else f"it must have {limit} entries"


def _range_of(kind: Kind, key: str) -> str:
    """What the option may be, as its card declares it."""
    info = next((info for field, info in kind.options.model_fields.items() if (info.alias or field) == key), None)
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than", "min_length": "entries: at least", "max_length": "entries: at most"}
    bounds = [f"{words[name]} {getattr(item, name)}" for item in (info.metadata if info else ()) for name in words if getattr(item, name, None) is not None]
    return f"`{key}` may be {' and '.join(dict.fromkeys(bounds))}" if bounds else f"for example {kind.example}"


def _came_to(item: Field | None) -> str:
    """How an expression came to its value."""
    if item is None or not isinstance(item[0].data, str):
        return ""
    try:
        names = parse_expression(item[0].data).names
    except ExpressionError:
        return ""
    values = [f"{name} = {item[1].find(name)}" for name in names[:4]]
    return f"`{item[0].data}` is worked out{' with ' + ', '.join(values) if values else ''}"


def _meant(what: str, value: Any) -> str:
    if what == "bool_type" and isinstance(value, str) and value.lower() in {"yes", "no", "on", "off", "y", "n", "true", "false"}:
        return f"write {'true' if value.lower() in ('yes', 'on', 'y', 'true') else 'false'}"
    if what in ("int_type", "int_from_float") and isinstance(value, (float, str)):
        try:
            number = float(value)
        except ValueError:
            return "write a whole number, a var or an expression"
        return f"write {int(number)}" if number.is_integer() else "write a whole number"
    return {"bool_type": "write true or false", "int_type": "write a whole number", "float_type": "write a number"}.get(what, "")
