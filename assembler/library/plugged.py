"""The classes that plugins bring, as compiled text imports them: `from assembler.library.plugged import RunningGate`.

A name is looked up in the registry's table, so that neither a recipe nor a compiled text can reach
any other class. Imports nothing: the plugin has done that.
"""

from __future__ import annotations

from assembler.library import registry


def __getattr__(name: str) -> type:
    if not name[:1].isupper():
        raise AttributeError(name)
    try:
        return registry.CLASSES[name]
    except KeyError:
        raise ImportError(f"no plugin of this process brings the class `{name}`: import the package that declares it") from None
