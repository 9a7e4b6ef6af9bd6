"""The API grows and does not break: the document of now against docs/openapi.json."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from scripts.openapi_contract import UnknownKeyword, breaking_changes, committed, current

Json = dict[str, Any]
Change = Callable[[Json], object]


def test_nothing_that_clients_were_promised_is_gone_or_changed():
    assert breaking_changes(committed(), current()) == []


def test_the_committed_document_is_that_of_the_code():
    assert committed() == current(), "run `make openapi` and commit docs/openapi.json"


TEXT = {"type": "string"}
SMALL: Json = {
    "paths": {
        "/things": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 100}},
                    {"in": "query", "name": "kind", "schema": {"enum": ["old", "new"]}},
                ],
                "responses": {
                    "200": {
                        "headers": {"Location": {"schema": TEXT}},
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "array",
                                    "items": {"$ref": "#/components/schemas/Thing"},
                                }
                            }
                        },
                    },
                    "404": {"content": {"application/problem+json": {"schema": TEXT}}},
                },
            },
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/New"}}
                    }
                },
                "responses": {"204": {}},
            },
        },
        "/others": {"get": {"responses": {"200": {}}}},
    },
    "components": {
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["name", "inside"],
                "properties": {
                    "name": TEXT,
                    "when": {"type": "string", "format": "date-time"},
                    "size": {"type": "integer"},
                    "note": {"anyOf": [TEXT, {"type": "null"}]},
                    "names": {"type": "object", "additionalProperties": TEXT},
                    "inside": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                },
            },
            "New": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 2},
                    "note": {"anyOf": [TEXT, {"type": "null"}]},
                    "kind": {"type": "string", "enum": ["old", "new"]},
                },
            },
        }
    },
}


def changed(change: Change) -> Json:
    document: Json = json.loads(json.dumps(SMALL))  # nothing in it is shared
    change(document)
    return document


def get(document: Json) -> Json:
    operation: Json = document["paths"]["/things"]["get"]
    return operation


def post(document: Json) -> Json:
    operation: Json = document["paths"]["/things"]["post"]
    return operation


def answered(document: Json) -> Json:
    schema: Json = document["components"]["schemas"]["Thing"]
    return schema


def asked(document: Json) -> Json:
    schema: Json = document["components"]["schemas"]["New"]
    return schema


BREAKS: list[tuple[Change, str]] = [
    (lambda d: d["paths"].pop("/others"), "GET /others is gone"),
    (lambda d: d["paths"]["/things"].pop("post"), "POST /things is gone"),
    (lambda d: get(d)["parameters"].pop(), "the parameter query kind is gone"),
    (lambda d: get(d)["parameters"][0].update(required=True), "query limit is required now"),
    (
        lambda d: get(d)["parameters"].append(
            {"in": "header", "name": "X-Key", "required": True, "schema": TEXT}
        ),
        "header X-Key is required now",
    ),
    (lambda d: get(d)["parameters"][0]["schema"].update(maximum=50), "maximum was 100 and is 50"),
    (lambda d: get(d)["parameters"][0]["schema"].update(minimum=1), "minimum was None and is 1"),
    (lambda d: get(d)["parameters"][0]["schema"].update(enum=[1]), "only some values"),
    (lambda d: get(d)["parameters"][1]["schema"]["enum"].pop(), "the value 'new' is not taken"),
    (lambda d: get(d)["responses"].pop("404"), "the answer 404 is gone"),
    (lambda d: get(d)["responses"]["200"].pop("headers"), "the header Location is gone"),
    (lambda d: get(d)["responses"]["200"].pop("content"), "200: application/json is gone"),
    (lambda d: answered(d)["properties"].pop("size"), "the field size is gone"),
    (lambda d: answered(d)["required"].pop(0), "the field name may be missing now"),
    (lambda d: answered(d)["properties"]["size"].update(type="string"), "integer and is string"),
    (lambda d: answered(d)["properties"]["size"].update(type="number"), "is integer or number"),
    (lambda d: answered(d)["properties"]["size"].pop("type"), "was integer and is anything"),
    (
        lambda d: answered(d)["properties"].update(size={"anyOf": [{"type": "integer"}, TEXT]}),
        "str",
    ),
    (lambda d: answered(d)["properties"]["note"]["anyOf"].append({"type": "object"}), "object is"),
    (lambda d: answered(d)["properties"]["when"].pop("format"), "format was date-time"),
    (lambda d: answered(d)["properties"]["names"].update(additionalProperties={}), "anything"),
    (lambda d: answered(d)["properties"]["names"].pop("additionalProperties"), "anything now"),
    (lambda d: asked(d)["required"].append("kind"), "the field kind is required now"),
    (lambda d: asked(d)["properties"].pop("kind"), "the field kind is gone"),
    (lambda d: asked(d)["properties"]["kind"]["enum"].pop(0), "the value 'old' is not taken"),
    (lambda d: asked(d)["properties"]["note"]["anyOf"].pop(), "null is not taken"),
    (lambda d: asked(d)["properties"]["name"].update(minLength=3), "minLength was 2 and is 3"),
    (lambda d: asked(d)["properties"]["name"].update(pattern="^A"), "pattern was None and is ^A"),
    (lambda d: asked(d)["properties"]["name"].update(type="integer"), "was string and is integer"),
    (lambda d: asked(d).update(additionalProperties=False), "further fields are refused"),
    (lambda d: post(d)["requestBody"].update(required=True), "a body is required now"),
    (lambda d: post(d).pop("requestBody"), "body: application/json is gone"),
]

ADDITIONS: list[Change] = [
    lambda d: d["paths"].update({"/further": {"get": {"responses": {"200": {}}}}}),
    lambda d: get(d)["parameters"].append({"in": "query", "name": "q", "schema": TEXT}),
    lambda d: get(d)["parameters"][0]["schema"].update(maximum=1000),
    lambda d: get(d)["parameters"][1]["schema"]["enum"].append("newest"),
    lambda d: get(d)["responses"].update({"429": {}}),
    lambda d: answered(d)["properties"].update(further=TEXT),
    lambda d: answered(d)["required"].append("size"),
    lambda d: answered(d)["properties"].update(note=TEXT),
    lambda d: answered(d)["properties"]["name"].update(enum=["a", "b"], description="other words"),
    lambda d: asked(d)["properties"].update(further=TEXT),
    lambda d: asked(d)["required"].pop(),
    lambda d: asked(d)["properties"]["name"].update(minLength=1),
    lambda d: asked(d)["properties"]["note"]["anyOf"].append({"type": "integer"}),
]


@pytest.mark.parametrize(("change", "told"), BREAKS, ids=[told for _, told in BREAKS])
def test_a_change_that_breaks_clients_is_told(change: Change, told: str):
    [found] = breaking_changes(SMALL, changed(change))

    assert told in found


@pytest.mark.parametrize("change", ADDITIONS)
def test_what_is_added_breaks_nobody(change: Change):
    assert breaking_changes(SMALL, changed(change)) == []


@pytest.mark.parametrize("change", ADDITIONS[4:8])
def test_taking_back_what_was_added_to_answers_breaks_clients(change: Change):
    assert len(breaking_changes(changed(change), SMALL)) == 1


def test_a_schema_that_is_not_understood_is_not_passed_over():
    with pytest.raises(UnknownKeyword, match="allOf"):
        breaking_changes(SMALL, changed(lambda d: answered(d).update(allOf=[])))
