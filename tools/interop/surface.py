"""Write the public surface of whatever `iroh` this interpreter imports as JSON, to be compared.

    python surface.py        in the environment of the bindings, and in ours

    {"Endpoint": {"kind": "class", "methods": {"connect": {"async": true, "bound": "self",
                  "parameters": [["addr", "any", null], ...]}}}}

A parameter is its name, how it is given ("any", "keyword", "position") and its default as text,
null when it must be given. The sentinel that the bindings use for "nothing given" is looked up in
an instance. Of an enum its members with their values are told, of a record its fields, of an enum
with data its variants, of an exception which built-in ones it is. Runs on its own: neither end has
the other's packages.
"""

import enum
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

HOW = {
    inspect.Parameter.POSITIONAL_ONLY: "position",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "any",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
TWINS = "Protocol", "Impl"


def parameters(function: Callable[..., Any]) -> list[list[str | None]]:
    """Tell the parameters of a function, without `self`."""
    found = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        empty = parameter.default is inspect.Parameter.empty
        default = None if empty else repr(parameter.default)
        found.append([parameter.name, HOW[parameter.kind], default])
    return found


def methods(cls: type) -> dict[str, Any]:
    """Tell the public methods, inherited ones included."""
    found = {}
    for name, thing in inspect.getmembers(cls):
        if name.startswith("_") or not callable(thing) or isinstance(thing, type):
            continue
        static = inspect.getattr_static(cls, name)
        if inspect.ismethoddescriptor(static) and not isinstance(static, classmethod):
            continue  # of a built-in base
        bound = "class" if isinstance(static, classmethod) else "self"
        if isinstance(static, staticmethod):
            bound = "nothing"
        found[name] = {
            "async": inspect.iscoroutinefunction(thing),
            "bound": bound,
            "parameters": parameters(thing),
        }
    return found


def record_fields(cls: type) -> list[list[str | None]]:
    """Tell the fields of a record; a default is what an instance made without it has."""
    declared = parameters(cls)
    required = {str(name): None for name, _, default in declared if default is None}
    instance = cls(**required)
    return [
        [name, how, None if default is None else repr(getattr(instance, str(name)))]
        for name, how, default in declared
    ]


def describe(name: str, thing: Any, records: set[str]) -> dict[str, Any]:
    """Tell everything about one public name."""
    if not isinstance(thing, type):
        return {"kind": "function", "parameters": parameters(thing)}
    if issubclass(thing, enum.Enum):
        return {"kind": "enum", "members": {member.name: member.value for member in thing}}
    found: dict[str, Any] = {"kind": "class", "methods": methods(thing)}
    if issubclass(thing, BaseException):
        builtin = [base.__name__ for base in thing.__mro__ if base.__module__ == "builtins"]
        found |= {"kind": "exception", "bases": builtin[:-1]}
    if name in records:
        found |= {"kind": "record", "fields": record_fields(thing)}
    variants = {
        each: variant
        for each, variant in vars(thing).items()
        if each.isupper() and isinstance(variant, type) and issubclass(variant, thing)
    }
    if variants:
        told = {each: parameters(variant) for each, variant in variants.items()}
        found |= {"kind": "variants", "variants": told}
    return found


def is_record(thing: Any) -> bool:
    """Say whether this is a class that is all fields: it can be made from keywords alone."""
    if not isinstance(thing, type) or issubclass(thing, enum.Enum | BaseException):
        return False
    try:
        declared = parameters(thing)
    except (TypeError, ValueError):
        return False
    return bool(declared) and all(how == "keyword" for _, how, _ in declared)


def surface(names: list[str] | None = None, records: list[str] | None = None) -> dict[str, Any]:
    """Tell all of `names`; without, all that the bindings' module exports.

    A name that is not there, or only in one of the two modules, is told as `missing`.
    """
    package, module = importlib.import_module("iroh"), importlib.import_module("iroh.iroh_ffi")
    asked = module.__all__ if names is None else names
    found: dict[str, Any] = {}
    if records is None:
        records = [name for name in asked if is_record(getattr(module, name))]
    for name in sorted(asked):
        if not all(hasattr(where, name) for where in (package, module)):
            found[name] = {"kind": "missing"}
        elif name.endswith(TWINS):
            found[name] = {"kind": "twin"}
        else:
            found[name] = describe(name, getattr(module, name), set(records))
    return found


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    print(json.dumps(surface(wanted.get("names"), wanted.get("records"))))
