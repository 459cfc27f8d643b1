"""A module that is not ours: the caller hands it over, the recipe states what it takes and gives.

Nothing is known of it but its ports, so its definition has no body: what it gives is `raw` to norm
states and some number to zeros, and a gradient may go through it to every float input.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from assembler_schemas.expression import ExpressionError
from assembler_schemas.kind import Definition, Given, Kind, Options, Port
from assembler_schemas.shape import parse_port_type, port_type_data

MOST_PORTS = 64
MOST_SITES = 1_000
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_PATH = re.compile(r"(?!__)[A-Za-z0-9_]+(?:\.(?!__)[A-Za-z0-9_]+)*\Z")
Literal = bool | int | float | str | None


class Wrong(ValueError):
    """One entry that cannot be read: `code` of its diagnostic, and what would mend it."""

    def __init__(self, code: str, message: str, help: str) -> None:
        super().__init__(message)
        self.code, self.help = code, help


class Stated(NamedTuple):
    """A port or site as it is stated. `path`: of a site, the module inside the host that gives the value."""

    type: Any
    optional: bool = False
    path: str = ""
    norm: str = ""
    """The norm state that it has, or of an input: that it wants; as `assembler show --norm` prints it."""


_PORT_HELP = 'write its type: `"[batch seq 768]"`, or `{type: "mask [batch seq]", optional: true}`'
_SITE_HELP = 'write the module\'s path and the type of what it gives: `"encoder.layer.3 [batch seq 768]"`'


def stated_port(name: str, value: Any, output: bool = False) -> Stated:
    """A port: its type, or a mapping that may call an input optional. `Wrong` where it is neither."""
    if not isinstance(value, Mapping):
        return Stated(value)
    known = ("type", "norm") if output else ("type", "optional", "norm")
    _keys(name, value, known, _PORT_HELP)
    if type(value.get("optional", False)) is not bool:
        raise Wrong("value-type", f"`optional` of `{name}` is true or false", "write `optional: true`")
    norms = NORMS if output else {word: state for word, state in NORMS.items() if word != "stream"}  # nobody needs a sum as it is
    return Stated(value["type"], value.get("optional", False), norm=_norm(name, value, norms))


def stated_output(name: str, value: Any) -> Stated:
    return stated_port(name, value, output=True)


def stated_site(name: str, value: Any) -> Stated:
    """A site: path and type in one text, or as `{at: path, type: ...}`. `Wrong` where it is neither."""
    if isinstance(value, Mapping):
        _keys(name, value, ("at", "type", "norm"), _SITE_HELP)
        path, kind, norm = value.get("at"), value["type"], _norm(name, value)
    else:
        norm = ""
        path, _, kind = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    if not isinstance(path, str) or len(path) > 256 or not _PATH.match(path):
        raise Wrong("value-type", f"the site `{name}` names no module: {_short(path or value)}", _SITE_HELP)
    if isinstance(kind, str) and not kind.strip():
        raise Wrong("missing-value", f"the site `{name}` has no type", _SITE_HELP)
    return Stated(kind, path=path, norm=norm)


NORMS = {"layer_norm": "ln(-1) gain trained, shift trained", "rms_norm": "rms(-1) gain trained", "stream": "stream", "bounded": "bounded"}
"""What a recipe may say of a value: it comes out of a norm over the last axis, is a sum since the last norm, lies between -1 and 1."""


def _norm(name: str, value: Mapping[str, Any], known: Mapping[str, str] = NORMS) -> str:
    word = value.get("norm", "")
    if not isinstance(word, str) or (word and word not in (*known, *known.values())):
        raise Wrong("value-range", f"`norm` of `{name}` cannot be {_short(word)!r}", f"one of {', '.join(known)}")
    return known.get(word, word)


def _keys(name: str, value: Mapping[str, Any], known: tuple[str, ...], help: str) -> None:
    other = next((key for key in value if key not in known), None)
    if other is not None:
        raise Wrong("unknown-key", f"`{name}` has no key `{_short(other)}`", f"it has {' and '.join(f'`{key}`' for key in known)}")
    if value.get("type") is None:
        raise Wrong("missing-key", f"`{name}` has no type", help)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class GivenOptions(Options):
    ports: dict[str, dict[str, Any]] | None = Field(None, description="`in` and `out`: name: port type; inputs reach `forward` by these names")
    sites: dict[str, Any] = Field(default_factory=dict, max_length=MOST_SITES, description="places inside, in the order in which they run, that grafts may read and write: `name: path type`")  # fmt: skip
    host: dict[str, Any] | None = Field(None, description="instead of `ports` and `sites`: a configuration of a known family, `{model_type: bert, ...}`")
    call: dict[str, Literal] = Field(default_factory=dict, description="constant arguments of every call, `{use_cache: false}`")

    @model_validator(mode="after")
    def _states_its_ports(self) -> GivenOptions:
        if (self.ports is None) == (self.host is None):
            raise Wrong("missing-key" if self.ports is None else "place-conflict", "a module that is handed over states its ports: `ports`, or `host`" if self.ports is None else "`host` says what the ports are", "write `ports: {in: {x: \"[batch 16]\"}, out: {y: \"[batch 8]\"}}`, or `host: {model_type: bert, ...}`")  # fmt: skip
        if self.host is not None and self.sites:
            raise Wrong("place-conflict", "`host` says what the sites are", "drop `sites`, or state `ports` and `sites` without `host`")
        wrong = next((name for name in self.call if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_")), None)
        if wrong is not None:
            raise Wrong("name-syntax", f"{_short(wrong)!r} is no argument's name", "write the name of an argument of the module's forward")
        return self

    def __hash__(self) -> int:
        return hash(repr(self))


def _define(options: GivenOptions) -> Definition:
    inputs, outputs, sites, call, main = _of_host(options) if options.host is not None else _of_ports(options)
    if twice := next((name for name in call if name in inputs), None):
        raise ValueError(f"`{twice}` is an input and a constant of the call")
    main = main or (next(iter(outputs)) if len(outputs) == 1 else "")
    order = tuple(outputs)
    ports = {**outputs, **{name: Port(site.type, norm=site.norm) for name, site in sites.items()}}
    build = Given(order, {name: site.path for name, site in sites.items()}, tuple(call.items()))
    return Definition(inputs, ports, build, main=main, opaque=True)


Read = tuple[dict[str, Port], dict[str, Port], dict[str, Stated], dict[str, Literal], str]


def _of_ports(options: GivenOptions) -> Read:
    ports = options.ports or {}
    inputs = {name: stated_port(name, value) for name, value in ports.get("in", {}).items()}
    outputs = {name: stated_output(name, value) for name, value in ports.get("out", {}).items()}
    sites = {name: stated_site(name, value) for name, value in options.sites.items()}
    return (
        {name: Port(text_of(item.type), item.optional, norm=item.norm) for name, item in inputs.items()},
        {name: Port(text_of(item.type), norm=item.norm) for name, item in outputs.items()},
        {name: item._replace(type=text_of(item.type)) for name, item in sites.items()},
        dict(options.call), "",
    )  # fmt: skip


def _of_host(options: GivenOptions) -> Read:
    from assembler.library.hosts import card

    found = card(options.host or {})
    return (
        {name: Port(kind, name in found.optional) for name, kind in found.inputs.items()},
        {name: Port(kind, norm=found.norms.get(name, "")) for name, kind in found.outputs.items()},
        {name: Stated(site.type, path=site.path, norm=site.norm) for name, site in found.sites.items()},
        {**found.call, **options.call}, next(iter(found.outputs)),
    )  # fmt: skip


def text_of(value: Any) -> str:
    """A port type as text; ValueError where it is none."""
    try:
        return str(parse_port_type(port_type_data(value)))
    except ExpressionError as error:
        raise ValueError(str(error)) from error


GIVEN = Kind(
    name="given",
    summary="a module of the caller's: `assembler.build(recipe, given={\"bert\": module})`",
    options=GivenOptions,
    define=_define,
    source="torch.nn.Module",
    example='{kind: given, ports: {in: {x: "[batch seq 16]"}, out: {y: "[batch seq 8]"}}, sites: {h3: "layers.3 [batch seq 16]"}, from: x}',
)
