"""Keeps docs/openapi.json, the contract of the API, which may grow but not break.

`python -m scripts.openapi_contract` writes it from the code, for a service with keys. It refuses to
when a client that was written for the document as it stands could break; BREAK=1 writes all the
same. No tool that installs from a package registry and works without a network reads OpenAPI 3.1
reliably, so the comparison is here; a keyword that it does not know is an error, not a guess.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from config import Settings
from main import create_app
from routers.openapi import operations
from scripts.processes import ROOT

Json = dict[str, Any]
Names = dict[str, Json]

FILE = ROOT / "docs" / "openapi.json"
SAME = ("format", "pattern", "contentMediaType")
AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
PARTS = ("items", "additionalProperties", "contentSchema")
FOR_PEOPLE = {"title", "description", "examples", "default"}
KNOWN = {"$ref", "type", "enum", "const", "anyOf", "oneOf", "properties", "required"}
KNOWN |= {*SAME, *AT_LEAST, *AT_MOST, *PARTS, *FOR_PEOPLE}


class UnknownKeyword(Exception):
    """A schema uses a keyword whose changes nothing here would notice."""


def current() -> Json:
    """Return the document of the code as it is, for a service with keys."""
    app = create_app(Settings(_env_file=None, api_keys="docs:0123456789abcdef"))
    return app.openapi()


def committed() -> Json:
    """Return the document that clients were promised."""
    document: Json = json.loads(FILE.read_text())
    return document


def breaking_changes(old: Json, new: Json) -> list[str]:
    """Return, one sentence each, what of *new* could break a client written for *old*."""
    kept = {(method, path): operation for method, path, operation in operations(new)}
    found: list[str] = []
    for method, path, operation in operations(old):
        place = f"{method} {path}"
        if (method, path) not in kept:
            found.append(f"{place} is gone")
            continue
        changed = kept[method, path]
        asked = Comparison(old, new, asked=True)
        answered = Comparison(old, new, asked=False)
        found += asked.parameters(place, _parameters(operation), _parameters(changed))
        found += asked.body(place, operation.get("requestBody"), changed.get("requestBody"))
        found += answered.responses(place, operation["responses"], changed["responses"])
    return found


class Comparison:
    """Compares what is asked of clients, or what they are answered.

    Args:
        old: The whole document before, for its `$ref`s.
        new: The same after.
        asked: Requests must still be taken as they were; otherwise answers must still be as they
            were.
    """

    def __init__(self, old: Json, new: Json, *, asked: bool) -> None:
        self._old = old
        self._new = new
        self._asked = asked
        self._under_way: set[tuple[int, int]] = set()

    def parameters(self, place: str, old: Names, new: Names) -> Iterator[str]:
        """Compare the parameters of an operation, by place and name."""
        for name in old:
            if name not in new:
                yield f"{place}: the parameter {name} is gone"
            else:
                yield from self.schema(f"{place}: {name}", old[name]["schema"], new[name]["schema"])
        for name in new:
            if _is_required(new[name]) and not _is_required(old.get(name)):
                yield f"{place}: the parameter {name} is required now"

    def body(self, place: str, old: Json | None, new: Json | None) -> Iterator[str]:
        """Compare the request bodies of an operation."""
        if _is_required(new) and not _is_required(old):
            yield f"{place}: a body is required now"
        if old is not None:
            yield from self.content(f"{place}: body", old, new or {})

    def responses(self, place: str, old: Names, new: Names) -> Iterator[str]:
        """Compare the answers of an operation, by status."""
        for status in old:
            if status not in new:
                yield f"{place}: the answer {status} is gone"
                continue
            for name in old[status].get("headers", {}).keys() - new[status].get("headers", {}):
                yield f"{place}: {status}: the header {name} is gone"
            yield from self.content(f"{place}: {status}", old[status], new[status])

    def content(self, place: str, old: Json, new: Json) -> Iterator[str]:
        """Compare bodies, by media type."""
        for kind, described in old.get("content", {}).items():
            if kind not in new.get("content", {}):
                yield f"{place}: {kind} is gone"
            else:
                changed = new["content"][kind]
                yield from self.schema(
                    place, described.get("schema", {}), changed.get("schema", {})
                )

    def schema(self, place: str, old: Json, new: Json) -> list[str]:
        """Compare two schemas, where each choice of one must do for a choice of the other."""
        choices, changed = _choices(self._old, old), _choices(self._new, new)
        if len(choices) == len(changed) == 1:
            return self._one(place, choices[0], changed[0])
        if self._asked:
            lost = [c for c in choices if all(self._one(place, c, other) for other in changed)]
        else:
            lost = [c for c in changed if all(self._one(place, other, c) for other in choices)]
        verb = "not taken any more" if self._asked else "answered now"
        return [f"{place}: {_told(choice)} is {verb}, or not as it was" for choice in lost]

    def _one(self, place: str, old: Json, new: Json) -> list[str]:
        pair = (id(old), id(new))
        if pair in self._under_way:  # a schema that holds itself
            return []
        self._under_way.add(pair)
        try:
            return [
                *self._types(place, old, new),
                *self._values(place, old, new),
                *self._bounds(place, old, new),
                *self._fields(place, old, new),
                *self._parts(place, old, new),
            ]
        finally:
            self._under_way.discard(pair)

    def _types(self, place: str, old: Json, new: Json) -> Iterator[str]:
        narrow, wide = (old, new) if self._asked else (new, old)
        allowed, possible = _types(wide), _types(narrow)
        if allowed and not (possible and possible <= allowed):
            yield f"{place}: it was {_told(old)} and is {_told(new)}"
        for keyword in SAME:
            if old.get(keyword) != new.get(keyword) and not (self._asked and keyword not in new):
                yield f"{place}: {keyword} was {old.get(keyword)} and is {new.get(keyword)}"

    def _values(self, place: str, old: Json, new: Json) -> Iterator[str]:
        before, after = _values(old), _values(new)
        if self._asked and after is not None:
            if before is None:
                yield f"{place}: only some values are taken now"
            for value in before or ():
                if value not in after:
                    yield f"{place}: the value {value!r} is not taken any more"

    def _bounds(self, place: str, old: Json, new: Json) -> Iterator[str]:
        if not self._asked:
            return
        for keyword in (*AT_LEAST, *AT_MOST):
            before, after = old.get(keyword), new.get(keyword)
            if after is None or after == before:
                continue
            if before is None or (after > before) == (keyword in AT_LEAST):
                yield f"{place}: {keyword} was {before} and is {after}"

    def _fields(self, place: str, old: Json, new: Json) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() - after.keys():
            yield f"{place}: the field {name} is gone"
        for name in before.keys() & after.keys():
            yield from self.schema(f"{place}: {name}", before[name], after[name])
        must, must_now = set(old.get("required", ())), set(new.get("required", ()))
        for name in must_now - must if self._asked else ():
            yield f"{place}: the field {name} is required now"
        for name in () if self._asked else (must - must_now) & after.keys():
            yield f"{place}: the field {name} may be missing now"

    def _parts(self, place: str, old: Json, new: Json) -> Iterator[str]:
        for keyword in PARTS:
            before, after = old.get(keyword), new.get(keyword)
            if isinstance(before, dict) and isinstance(after, dict):
                yield from self.schema(f"{place}: {keyword}", before, after)
            elif before != after and after is False and self._asked:
                yield f"{place}: further fields are refused now"
            elif isinstance(before, dict) and not self._asked:
                yield f"{place}: {keyword} may be anything now"


def _parameters(operation: Json) -> Names:
    return {
        f"{parameter['in']} {parameter['name']}": parameter
        for parameter in operation.get("parameters", ())
    }


def _is_required(described: Json | None) -> bool:
    return bool(described and described.get("required"))


def _choices(document: Json, schema: Json) -> list[Json]:
    """Return the alternatives of a schema, without `$ref`s.

    Raises:
        UnknownKeyword: A change of it could go unnoticed.
    """
    if unknown := schema.keys() - KNOWN:
        raise UnknownKeyword(f"teach {__name__} what a change of {unknown} means")
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        return _choices(document, document["components"]["schemas"][name])
    parts = schema.get("anyOf") or schema.get("oneOf")
    return [choice for part in parts for choice in _choices(document, part)] if parts else [schema]


def _types(schema: Json) -> set[str]:
    """Return the JSON types that a schema names, if any. An integer is a number too."""
    told = schema.get("type", [])
    types = {told} if isinstance(told, str) else set(told)
    return types | {"integer"} if "number" in types else types


def _values(schema: Json) -> list[Any] | None:
    """Return the values of an enumeration; None when it is none."""
    values: list[Any] | None = [schema["const"]] if "const" in schema else schema.get("enum")
    return values


def _told(schema: Json) -> str:
    return " or ".join(sorted(_types(schema))) or "anything"


def main() -> None:
    """Write docs/openapi.json, unless that would break clients."""
    document = current()
    found = breaking_changes(committed(), document) if FILE.exists() else []
    if found and not os.environ.get("BREAK"):
        sys.exit("\n".join([*found, "Not written: clients could break (BREAK=1 writes it)."]))
    FILE.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
