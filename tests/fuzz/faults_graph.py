"""Faults of wiring, sharing, slots and rules: nothing could be built from these recipes."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fuzz.breaking import Broken, Operator, Site
from tests.fuzz.rules import LEAVES
from tests.fuzz.starts import lent
from tests.fuzz.text import Path


def drop_edge(site: Site) -> Broken | None:
    paths = site.leaves(lambda spec: "from" in spec, top=True)
    if not paths:
        return None
    site.at(paths[0]).pop("from")
    return site.done(paths[0])


def drop_second_edge(site: Site) -> Broken | None:
    for path in site.leaves(lambda spec: spec["kind"] in ("gate", "cross_attention"), top=True):
        feeds = site.at(path).get("from")
        if isinstance(feeds, dict) and len(feeds) > 1:
            feeds.pop("gate" if site.at(path)["kind"] == "gate" else "memory", None)
            return site.done(path)
    return None


def cycle(site: Site) -> Broken | None:
    """An early node reads one that reads it."""
    nodes = site.tree["nodes"]
    for path in site.leaves(lambda spec: isinstance(spec.get("from"), str), top=True):
        start = str(path[-1])
        chain = [start]
        while True:
            after = [name for name, spec in nodes.items() if spec.get("from") == chain[-1] and name not in chain]
            if not after:
                break
            chain.append(site.rng.choice(after))
        while len(nodes[chain[-1]].get("outputs", ())) > 1:  # Its address alone names no value.
            chain.pop()
        if len(chain) > 1:
            nodes[start]["from"] = chain[-1]
            return site.done(*((("nodes", name, "from")) for name in chain))
    return None


def self_loop(site: Site) -> Broken | None:
    paths = site.leaves(lambda spec: isinstance(spec.get("from"), str), top=True)
    if not paths:
        return None
    site.at(paths[0])["from"] = str(paths[0][-1])
    return site.done((*paths[0], "from"))


def missing_output(site: Site) -> Broken | None:
    if site.rng.random() < 0.5:
        site.tree["outputs"] = {}
        return site.done(("outputs",), ("name",), ())
    site.tree.pop("outputs")
    return Broken(site.page().text, site.sample.overrides, frozenset({1}))


def unknown_output(site: Site) -> Broken | None:
    name = site.rng.choice(sorted(site.tree["outputs"]))
    site.tree["outputs"][name] = "not_there"
    return site.done(("outputs", name))


def unknown_slot(site: Site) -> Broken | None:
    found = site.value(lambda kind: True)
    if found is None:
        return None
    path = site.node({"slot": "no_such_slot", "from": found[0]})
    return site.done((*path, "slot"))


def unfilled_slot(site: Site) -> Broken | None:
    found = site.value(lambda kind: True)
    if found is None:
        return None
    site.tree["slots"] = {
        **site.tree.get("slots", {}),
        "empty": {"accepts": {"in": {"x": "[... d]"}, "out": {"y": "[... d]"}}},
    }
    path = site.node({"slot": "empty", "from": found[0]})
    return site.done(("slots", "empty"), (*path, "slot"))


def unknown_argument(site: Site) -> Broken | None:
    found = site.value(lambda kind: kind.last is not None and kind.rank > 1)
    if found is None:
        return None
    site.tree["slots"] = {**site.tree.get("slots", {}), "narrow": {"kind": "linear", "out": 4}}
    path = site.node({"slot": "narrow", "vars": {"wideness": 8}, "from": found[0]})
    return site.done((*path, "vars", "wideness"))


def slot_cycle(site: Site) -> Broken | None:
    found = site.value(lambda kind: True)
    if found is None:
        return None
    site.tree["slots"] = {**site.tree.get("slots", {}), "one": {"slot": "two"}, "two": {"slot": "one"}}
    path = site.node({"slot": "one", "from": found[0]})
    return site.done(("slots", "one"), ("slots", "two"), (*path, "slot"))


def rule_unmatched(site: Site) -> Broken | None:
    at = site.rng.choice(("nowhere.*.think", "no_node", "*.*.*.*.deep"))
    site.tree["rules"] = {**site.tree.get("rules", {}), "lost": {"at": at, "set": {"freeze": True}}}
    return site.done(("rules", "lost"))


def rule_conflict(site: Site) -> Broken | None:
    name = site.rng.choice(sorted(site.tree["nodes"]))
    site.tree["rules"] = {
        **site.tree.get("rules", {}),
        "first": {"at": name, "set": {"seed": 1}},
        "second": {"at": name, "set": {"seed": 2}},
    }
    return site.done(("rules", "first"), ("rules", "second"))


def repeat_zero(site: Site) -> Broken | None:
    path = next(
        path for path in site.leaves(lambda spec: not LEAVES[spec["kind"]].many) if not site.overruled(path, "repeat")
    )
    site.at(path)["repeat"] = site.rng.choice((0, -1))
    return site.done((*path, "repeat"))


def share_alone(site: Site) -> Broken | None:
    for path in site.leaves(lambda spec: "repeat" not in spec):
        site.at(path)["share"] = True
        return site.done((*path, "share"))
    return None


def same_unknown(site: Site) -> Broken | None:
    found = site.value(lambda kind: True)
    word = site.rng.choice(("same", "like"))
    if found is None:
        return None
    path = site.node({word: "nobody", "from": found[0]})
    return site.done((*path, word))


def tie_unknown(site: Site) -> Broken | None:
    paths = site.leaves(lambda spec: spec["kind"] == "linear" and "tie" not in spec)
    if not paths:
        return None
    site.at(paths[0])["tie"] = site.rng.choice(({"weight": "nobody.weight"}, {"wheight": f"{paths[0][-1]}.weight"}))
    return site.done((*paths[0], "tie"), (*paths[0], "tie", "weight"))


def bus_in_bus(site: Site) -> Broken | None:
    for path, parts in _parts(site, "bus"):
        parts["inner_bus"] = {"kind": "bus", "parts": {"keep": {"kind": "identity"}}}
        return site.done((*path, "parts", "inner_bus"))
    return None


def unreached_input(site: Site) -> Broken | None:
    """A container is given an input by a name that no part has."""
    for path, _ in _parts(site, "bus", "sequence", "parallel"):
        feeds = site.at(path).get("from")
        if len(path) != 2 or "'slot'" in repr(site.at(path)) or not isinstance(feeds, (str, dict)):
            continue
        stream = feeds if isinstance(feeds, str) else feeds.get("x")
        if not isinstance(stream, str):
            continue
        site.at(path)["from"] = {**({"x": stream} if isinstance(feeds, str) else feeds), "query_hint": stream}
        return site.done((*path, "from"), (*path, "from", "query_hint"))
    return None


def inner_leak(site: Site) -> Broken | None:
    """A part is read by its bare name from outside."""
    for _, parts in _parts(site, "bus", "sequence", "parallel"):
        for name in parts:
            if name not in site.tree["nodes"] and name not in site.tree["inputs"]:
                path = site.node({"kind": "identity", "from": name})
                return site.done((*path, "from"))
    return None


def copy_out_of_range(site: Site) -> Broken | None:
    names = [name for name, spec in site.tree["nodes"].items() if "repeat" in spec and "share" not in spec]
    if not names:
        return None
    path = site.node({"kind": "identity", "from": f"{site.rng.choice(names)}.17"})
    return site.done((*path, "from"))


def ambiguous_port(site: Site) -> Broken | None:
    names = [name for name, spec in site.tree["nodes"].items() if "nodes" in spec and len(spec["outputs"]) > 1]
    if not names:
        return None
    path = site.node({"kind": "identity", "from": site.rng.choice(names)})
    return site.done((*path, "from"))


def empty_container(site: Site) -> Broken | None:
    for path, _ in _parts(site, "bus", "sequence", "parallel"):
        if path[1] in lent(site.tree):
            continue  # said at each place where it stands
        site.at(path)["parts"] = {}
        return site.done(path, (*path, "parts"))
    return None


def norm_place(site: Site) -> Broken | None:
    path = site.leaves(lambda spec: not LEAVES[spec["kind"]].many and "norm" not in spec, top=True)[0]
    site.at(path)["norm"] = "post"
    return site.done((*path, "norm"))


def name_taken(site: Site) -> Broken | None:
    name = site.rng.choice(sorted(site.tree["inputs"]))
    site.tree["nodes"][name] = {"kind": "identity", "from": name}
    return site.done(("nodes", name), ("inputs", name))


def _parts(site: Site, *kinds: str) -> Iterator[tuple[Path, dict[str, object]]]:
    found: list[tuple[Path, dict[str, object]]] = []
    todo: list[tuple[Path, dict[str, object]]] = [((), site.tree)]
    while todo:
        path, here = todo.pop()
        for word in ("nodes", "parts"):
            for name, spec in here.get(word, {}).items():  # type: ignore[attr-defined]
                todo.append(((*path, word, name), spec))
                if spec.get("kind") in kinds and "parts" in spec:
                    found.append(((*path, word, name), spec["parts"]))
    site.rng.shuffle(found)
    yield from found


GRAPH = [
    Operator(
        name,
        codes,
        "policy" if name in ("bus in bus", "rule that matches nothing", "unreached container input") else "structure",
        apply,
    )
    for name, codes, apply in (
        ("dropped edge", ("port-required",), drop_edge),
        ("dropped second edge", ("port-required",), drop_second_edge),
        ("cycle", ("graph-cycle",), cycle),
        ("self loop", ("graph-cycle",), self_loop),
        ("missing outputs", ("outputs-missing",), missing_output),
        ("unknown output", ("address-unknown",), unknown_output),
        ("unknown slot", ("slot-unknown",), unknown_slot),
        ("unfilled slot", ("slot-unfilled",), unfilled_slot),
        ("unknown argument", ("argument-unknown",), unknown_argument),
        ("slots in a circle", ("slot-cycle",), slot_cycle),
        ("rule that matches nothing", ("rule-unmatched",), rule_unmatched),
        ("conflicting rules", ("rule-conflict",), rule_conflict),
        ("repeat zero", ("value-range",), repeat_zero),
        ("share without repeat", ("place-conflict",), share_alone),
        ("same of unknown", ("share-unknown",), same_unknown),
        ("tie of unknown", ("share-unknown",), tie_unknown),
        ("bus in bus", ("bus-in-bus",), bus_in_bus),
        ("unreached container input", ("port-unreached",), unreached_input),
        ("inner name leak", ("address-unknown",), inner_leak),
        ("copy out of range", ("address-unknown",), copy_out_of_range),
        ("ambiguous output", ("port-ambiguous",), ambiguous_port),
        ("container without parts", ("missing-key",), empty_container),
        ("post norm without a bus", ("norm-place",), norm_place),
        ("one name twice", ("name-taken",), name_taken),
    )
]
