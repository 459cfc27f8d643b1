"""The options of a kind, read off its constructor: names, types, defaults, and which of them are sizes."""

from __future__ import annotations

import inspect
import keyword
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, create_model

from assembler.source.recipe import PLACE_KEYS
from assembler_schemas.kind import Expr, Options, Size

_SCALARS = (int, float, bool, str, type(None))
_FACTORY = ("device", "dtype")
"""Arguments that PyTorch's modules take and no recipe states: a model is moved when it is built."""


class PluginOptions(Options):
    """Base of the options that are read off a constructor: any name may be one."""

    model_config = ConfigDict(protected_namespaces=())


class Argument(NamedTuple):
    """One argument of the constructor."""

    name: str
    """In Python: `in_`."""
    option: str
    """In recipes: `in`."""
    field: str
    """In the options model, where some names are taken."""
    annotation: Any
    default: Any
    """`inspect.Parameter.empty` where it is required."""
    keyword_only: bool

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def arguments(cls: type) -> tuple[Argument, ...]:
    """What the constructor takes. TypeError for what no recipe could state."""
    if next(base for base in cls.__mro__ if "__init__" in vars(base)).__module__ == "torch.nn.modules.module":
        return ()  # it has no constructor of its own
    signature = inspect.signature(cls)
    try:
        hints = typing.get_type_hints(inspect.getattr_static(cls, "__init__"), include_extras=True)
    except Exception as problem:  # whatever evaluating an annotation may raise
        raise TypeError(f"the annotations of `{cls.__name__}.__init__` cannot be read: {problem}") from problem
    found = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(f"`{cls.__name__}.__init__` takes `{parameter}`: options have names, so each is an argument of its own")
        if name in _FACTORY and parameter.default is None:
            continue
        annotation = hints.get(name, type(parameter.default))
        if not _allowed(annotation) or (name not in hints and parameter.default in (None, parameter.empty)):
            raise TypeError(f"`{name}` of `{cls.__name__}.__init__` is {_shown(annotation, name in hints)}: an option is an int, float, bool, str, a Literal or tuple of these, or None")
        option = name.rstrip("_")
        if option in PLACE_KEYS:
            raise TypeError(f"`{name}` of `{cls.__name__}.__init__`: every node has a key `{option}`; give the argument another name")
        taken = hasattr(BaseModel, name) or keyword.iskeyword(option) or name.startswith("_")
        found.append(Argument(name, option, f"{option.lstrip('_')}_" if taken else name, annotation, parameter.default, parameter.kind is parameter.KEYWORD_ONLY))
    return tuple(found)


def _shown(annotation: Any, stated: bool) -> str:
    return f"`{getattr(annotation, '__name__', annotation)}`" if stated else "not annotated"


def _allowed(annotation: Any) -> bool:
    todo = [annotation]
    while todo:
        item = todo.pop()
        origin = typing.get_origin(item)
        if origin is Annotated:
            todo.append(typing.get_args(item)[0])
        elif origin in (typing.Union, types.UnionType, tuple):
            todo.extend(part for part in typing.get_args(item) if part is not Ellipsis)
        elif origin is not Literal and item not in _SCALARS:
            return False
    return True


def size_names(found: Iterable[Argument], named: Iterable[str]) -> frozenset[str]:
    """The arguments among `named` (what ports, parameters and demands speak of) that are whole numbers."""
    names = set(named)
    return frozenset(item.option for item in found if item.option in names and int in _parts(item.annotation))


def _parts(annotation: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _parts(typing.get_args(annotation)[0])
    return typing.get_args(annotation) if origin in (typing.Union, types.UnionType) else (annotation,)


def options_of(name: str, found: Iterable[Argument], sizes: frozenset[str], open_: frozenset[str]) -> type[Options]:
    """The strict model of a kind's options. `sizes` take expressions; of them those in `open_` may be left to inference."""
    fields: dict[str, Any] = {}
    for item in found:
        annotation, default = item.annotation, item.default
        if item.option in sizes:
            annotation = Size if int in (annotation,) else Annotated[annotation, "size"]
            if item.option in open_ and item.required:
                annotation, default = Size | None, None
        alias = None if item.field == item.option else item.option
        fields[item.field] = (annotation, Field(... if default is inspect.Parameter.empty else default, alias=alias))
    return create_model(name, __base__=PluginOptions, **fields)


def constructor(found: tuple[Argument, ...], open_: frozenset[str], options: Options) -> tuple[tuple[str, Any], ...]:
    """The arguments that compiled text writes: open sizes as they are solved, and what differs from its default.

    The first ones, as long as they are open sizes, stand by position, and so does whatever Python
    could not name (`in`).
    """
    positional = next((place for place, item in enumerate(found) if item.option not in open_ or item.keyword_only), len(found))
    made: list[tuple[str, Any]] = []
    for place, item in enumerate(found):
        value = getattr(options, item.field)
        if item.option in open_:
            made.append(("" if place < positional else item.name, Expr(item.option)))
        elif item.required or value != item.default or type(value) is not type(item.default):
            made.append((item.name, value))
    return tuple(made)


def stated(found: Iterable[Argument], sizes: frozenset[str], options: Options) -> Mapping[str, int]:
    """The sizes that the options state."""
    values = {item.option: getattr(options, item.field) for item in found if item.option in sizes}
    return {name: value for name, value in values.items() if isinstance(value, int)}
