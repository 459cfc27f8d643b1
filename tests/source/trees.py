"""Random group trees and overrides of plain content, to be composed by Hydra and by us."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GROUPS = ("g", "h", "g/s", "h/s", "g/s/t")
NAMES = ("a", "b", "c")
KEYS = ("u", "v", "w", "x")
PACKAGES = ("p", "p.q", "_global_", "_global_.p", "_here_", "g", "_group_", "u", "")


class Forest:
    """One tree of config files in a folder, and overrides for it. `mistakes` is how often one goes wrong."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder / "conf"
        self.shipped = folder / "shipped"
        self.shipped.mkdir()
        # A third of the trees stand one level down in somebody's application.
        self.prefix = self.random.choice(["", "", "model/"])
        self.split = self.random.random() < 0.3
        self.mistakes = self.random.choice([0.0, 0.0, 0.0, 0.0, 0.02, 0.1])
        self.groups = [g for g in GROUPS if self.random.random() < 0.8 or g == "g"]
        self.names: dict[str, list[str]] = {}
        self.paths: list[str] = []
        self.chosen: list[str] = []
        self.inner: dict[str, set[str]] = {}
        # The deepest first: a list names what is there already, so that most lists end.
        self.base = self.random.random() < 0.5
        for group in sorted(self.groups, key=lambda g: (-g.count("/"), g)):
            written = [name for name in NAMES if self.random.random() < 0.85] or ["a"]
            for name in written:
                self._write(f"{group}/{name}", depth=group.count("/") + 1)
            self.names[group] = written
        if self.base:
            self._write("base", depth=9)
        self._write("main", depth=0)
        self.primary = self.folder / "main.yaml"
        if self.prefix:
            self._write_application()

    def _write_application(self) -> None:
        """Their own primary config, which takes the recipe as a group option."""
        self.primary = self.folder / "app.yaml"
        entries = ["_self_", "model: main"] if self.random.random() < 0.5 else ["model: main", "_self_"]
        if self.chosen and self.random.random() < 0.3:
            group = self.random.choice(self.chosen)
            entries.append(f"override {group}: {self._name(group.removeprefix(self.prefix))}")
        content = {"u": self._value(2), "model": self._mapping(3) or {"u": 1}}
        lines = ["defaults:", *(f"  - {entry}" for entry in entries)]
        lines += [f"{key}: {self._flow(value)}" for key, value in content.items()]
        self.primary.write_text("\n".join(lines) + "\n")

    def _wrong(self) -> bool:
        return self.random.random() < self.mistakes

    def _write(self, name: str, depth: int) -> None:
        root = self.shipped if self.split and name.startswith("h") else self.folder
        path = root / f"{self.prefix}{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._text(name, depth))

    # --- files ---

    def _text(self, name: str, depth: int) -> str:
        lines = []
        if self.random.random() < (0.15 if depth else 0.05):
            lines.append(f"# @package {self.random.choice([p for p in PACKAGES if p])}")
        if depth == 0 or (depth < 9 and self.random.random() < 0.4):
            entries = self._defaults(name, depth)
            lines += ["defaults:", *(f"  - {entry}" for entry in entries)] if entries else ["defaults: []"]
        content = self._mapping(3) or {"u": 1}
        self._remember((self.prefix + name).rpartition("/")[0].replace("/", "."), content)
        return "\n".join([*lines, *(f"{key}: {self._flow(value)}" for key, value in content.items())]) + "\n"

    def _remember(self, prefix: str, content: dict[str, Any]) -> None:
        """Key paths that a composition may hold, for overrides to aim at."""
        for key, value in content.items():
            path = f"{prefix}.{key}" if prefix else key
            self.paths.append(path)
            if isinstance(value, dict):
                self._remember(path, value)

    def _defaults(self, name: str, depth: int) -> list[str]:
        pick = self.random
        used: set[str] = set()
        entries = [e for e in (self._entry(name, depth, used) for _ in range(pick.randint(0, 4 - min(depth, 3)))) if e]
        where = pick.random()
        if where < 0.3:
            entries.insert(0, "_self_")
        elif where < 0.5:
            entries.insert(pick.randint(0, len(entries)), "_self_")
        elif where < 0.8:
            entries.append("_self_")
        if self._wrong() and pick.random() < 0.3:
            entries.append("_self_")
        below = sorted({inner for key in used for inner in self.inner.get(key, ())})
        if below and pick.random() < 0.5:
            inner = pick.choice(below)
            spelled = f"/{self.prefix}{inner}" if pick.random() < 0.5 or depth else inner
            entries.append(f"override {spelled}: {self._name(inner)}")
        if self._wrong():
            pick.shuffle(entries)
        return entries

    def _entry(self, name: str, depth: int, used: set[str]) -> str:
        pick = self.random
        here = name.rpartition("/")[0]
        if (pick.random() < 0.1 and (self.base or self._wrong())) or self._wrong():
            package = f"@{pick.choice(PACKAGES)}" if pick.random() < 0.4 else ""
            there = [f"/{self.prefix}base", f"/{self.prefix}base" if here else "base"]
            return f"{pick.choice(['/g/a', 'g/b', 'nothing', 's/a'] if self._wrong() else there)}{package}"
        written = [g for g in self.groups if g in self.names and g != here]
        if not written:
            return ""
        below = [g for g in written if here and g.startswith(here + "/")]
        group = pick.choice(below if below and pick.random() < 0.6 else written)
        package = f"@{pick.choice(PACKAGES)}" if pick.random() < 0.15 else ""
        if group in used and not package and not self._wrong():
            return ""
        used.add(group)
        spelled = f"/{self.prefix}{group}" if here or pick.random() < 0.2 else group
        if here and group.startswith(here + "/"):
            spelled = group[len(here) + 1 :]
            if not package:
                self.inner.setdefault(here, set()).add(group)
        if not here and not package:
            self.chosen.append(self.prefix + group)
        optional = "optional " if pick.random() < 0.2 else ""
        return f"{optional}{spelled}{package}: {self._chosen(group, bool(optional))}"

    def _chosen(self, group: str, optional: bool) -> str:
        pick = self.random
        if pick.random() < 0.15:
            names = self.names[group]
            return f"[{', '.join(pick.sample(names, pick.randint(1, len(names))))}]"
        if optional and pick.random() < 0.4:
            return "nothing"
        if self._wrong():
            return pick.choice(["nothing", "???", "3", "[]", "{}", "true", "null"])
        return "null" if pick.random() < 0.04 else self._name(group)

    def _name(self, group: str) -> str:
        return self.random.choice(NAMES if self._wrong() or group not in self.names else self.names[group])

    # --- content ---

    def _mapping(self, depth: int) -> dict[str, Any]:
        return {key: self._value(depth - 1) for key in self.random.sample(KEYS, self.random.randint(0, 3))}

    def _value(self, depth: int) -> Any:
        kind = self.random.random()
        if depth > 0 and kind < 0.4:
            return self._mapping(depth)
        if depth > 0 and kind < 0.5:
            return [self._value(depth - 1) for _ in range(self.random.randint(0, 3))]
        return self.random.choice([0, 1, -7, 2.5, True, False, None, "one", "two words", "", "???", "4*u"])

    def _flow(self, value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k}: {self._flow(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(self._flow(v) for v in value) + "]"
        if isinstance(value, str):
            return f'"{value}"'
        return "null" if value is None else str(value).lower()

    # --- overrides ---

    def overrides(self) -> list[str]:
        found = [self._override() for _ in range(self.random.choice([0, 1, 1, 2, 3, 5]))]
        return [text for text in found if text]

    def _override(self) -> str:
        pick = self.random
        if pick.random() < 0.45:
            return self._choice()
        careful = not self._wrong()
        path = pick.choice(self.paths) if careful and self.paths else "u"
        if pick.random() < 0.35 or not careful:
            path += "." + pick.choice([*KEYS, "s", "0", "1"])
            operation = pick.choice(["+", "+", "++"]) if careful else pick.choice(["", "+", "++", "~"])
        else:
            operation = pick.choice(["", "", "", "++", "~"])
        if operation == "~" and pick.random() < 0.7:
            return f"~{path}"
        return f"{operation}{path}={self._argument(2)}"

    def _choice(self) -> str:
        pick = self.random
        wrong = self._wrong()
        groups = [self.prefix + group for group in self.groups]
        unchosen = [g for g in groups if g not in self.chosen]
        operation = pick.choice(["", "", "+", "~"])
        group = pick.choice((unchosen if operation == "+" else self.chosen) or [""])
        if wrong:
            operation, group = pick.choice(["", "+", "~", "++"]), pick.choice([*groups, "g/z"])
            operation = "" if group == "g/z" else operation
        if not group:
            return ""
        package = (
            f"@{pick.choice([p for p in PACKAGES if p != '_here_'])}"
            if pick.random() < 0.5 and operation == "+"
            else ""
        )
        if wrong and pick.random() < 0.3:
            package = f"@{pick.choice(PACKAGES[:3])}"
        if operation == "~" and pick.random() < 0.8:
            return f"~{group}{package}"
        # With `+`, Hydra writes a mapping under the key `g/s` as it stands; we refuse that.
        odd = pick.choice(["nothing", "null", "3", "???", *(["{u: 1}"] if not operation else [])]) if wrong else "[a,b]"
        return f"{operation}{group}{package}={odd if wrong or pick.random() < 0.05 else self._name(group.removeprefix(self.prefix))}"

    def _argument(self, depth: int) -> str:
        pick = self.random
        if depth and pick.random() < 0.2:
            return (
                "{" + ",".join(f"{k}:{self._argument(depth - 1)}" for k in pick.sample(KEYS, pick.randint(0, 2))) + "}"
            )
        if depth and pick.random() < 0.1:
            return "[" + ",".join(self._argument(depth - 1) for _ in range(pick.randint(0, 2))) + "]"
        words = [
            "0",
            "1",
            "-7",
            "2.5",
            "1e3",
            "true",
            "null",
            "one",
            "'two words'",
            "two words",
            "010",
            "1_000",
            "???",
            "''",
        ]
        return pick.choice(words if depth < 2 else [*words, ""])


def forests(folder: Path, count: int, seed: int = 0) -> Iterator[Forest]:
    for index in range(count):
        place = folder / str(index)
        place.mkdir()
        yield Forest(place, seed * 100_003 + index)
