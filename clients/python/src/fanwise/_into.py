"""`into`: the form that each answer has. A pydantic model, any other type that pydantic can check, or a JSON Schema."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

# What an answer stands in where its type is no object.
VALUE = "value"


class Into:
    """How answers are asked for, checked, and spread over columns."""

    def __init__(self, into: Any) -> None:
        self.adapter: TypeAdapter[Any] | None = None
        self.wrapped = False
        self.schema: dict[str, Any] | None = None
        if into is None:
            return
        if isinstance(into, Mapping):
            self.schema = dict(into)
            return
        self.adapter = TypeAdapter(into)
        schema = _plain(self.adapter.json_schema())
        self.wrapped = not _is_object(schema)
        if self.wrapped:
            shared = schema.pop("$defs", None)
            schema = {
                "type": "object",
                "properties": {VALUE: schema},
                "required": [VALUE],
                "additionalProperties": False,
            }
            if shared:
                schema["$defs"] = shared
        self.schema = schema

    def read(self, output: Any) -> tuple[Any, str | None]:
        """An answer in its type, or why it is none."""
        if self.adapter is None:
            return output, None
        value = output.get(VALUE) if self.wrapped and isinstance(output, dict) else output
        try:
            # As JSON, so that strict models take a text as a date and a list as a tuple.
            return self.adapter.validate_json(json.dumps(value)), None
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return None, f"{where}: {first['msg']}" if where else str(first["msg"])

    def fields(self) -> list[str]:
        """The columns that answers have, in the order of the schema."""
        if self.schema is None:
            return ["text"]
        return list(_resolved(self.schema).get("properties", {}))

    def cells(self, value: Any) -> dict[str, Any]:
        """An answer as cells of one row."""
        if self.wrapped:
            return {VALUE: _cell(value)}
        if isinstance(value, BaseModel):
            value = value.model_dump(by_alias=True)
        elif self.adapter is not None:
            value = self.adapter.dump_python(value, by_alias=True)
        if isinstance(value, Mapping):
            return {str(name): _cell(entry) for name, entry in value.items()}
        return {VALUE: _cell(value)}


def _cell(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, BaseModel):
        return _cell(value.model_dump())
    if isinstance(value, Mapping):
        return {name: _cell(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_cell(entry) for entry in value]
    return value


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        found = schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
        return found if isinstance(found, Mapping) else {}
    return schema


def _is_object(schema: Mapping[str, Any]) -> bool:
    found = _resolved(schema)
    return found.get("type") == "object" and bool(found.get("properties"))


def _plain(schema: Any, names: bool = False) -> Any:
    """The schema without what only costs tokens (titles made of names) or what the service cannot read.

    The service's patterns have no look-around, and pydantic's for Decimal needs one; pydantic checks the answer anyway.
    `names`: the keys are names of fields, not keywords.
    """
    if isinstance(schema, list):
        return [_plain(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if not names and key == "title" and isinstance(value, str):
            continue
        if not names and key == "pattern" and isinstance(value, str) and "(?" in value:
            continue
        if not names and key in ("default", "const", "enum", "examples"):
            kept[key] = value
            continue
        kept[key] = _plain(value, not names and key in ("properties", "$defs", "patternProperties"))
    return kept
