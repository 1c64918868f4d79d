"""Requests to the service, free of any HTTP library: a flow yields what it wants done and is sent what came of it.

The plain and the async client run the same flows; only how they send and wait differs.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union

from ._errors import ApiError, Unreachable

T = TypeVar("T")

# A request is tried this often; the waits between double from half a second.
TRIES = 6
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0


@dataclass(frozen=True)
class Call:
    """One request. `safe`: doing it twice is the same as doing it once."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    safe: bool = True


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


Effect = Union[Call, Wait]
Flow = Generator[Effect, Any, T]


def encoded(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def send(call: Call) -> Flow[Reply]:
    """The answer to a request that the service took, asked for again while it is only unavailable."""
    wait = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        last = attempt == TRIES
        try:
            reply: Reply = yield call
        except Unreachable:
            if last or not call.safe:
                raise
            yield Wait(wait)
        else:
            if reply.status < 400:
                return reply
            error = refused(reply)
            if last or not _passing(error, call):
                raise error
            yield Wait(_asked_wait(reply, wait))
        wait = min(wait * 2, LONGEST_WAIT)
    raise AssertionError("the last try returns or raises")


def _passing(error: ApiError, call: Call) -> bool:
    # A request that was turned away for its rate was not begun.
    if error.status == 429:
        return True
    return call.safe and (error.code == "unavailable" or error.status in (502, 504))


def _asked_wait(reply: Reply, otherwise: float) -> float:
    asked = reply.headers.get("retry-after", "")
    return min(float(asked), 60.0) if asked.isdigit() else otherwise


def refused(reply: Reply) -> ApiError:
    """The error that an answer stands for, also one that some proxy wrote."""
    try:
        problem = reply.json()
        faults = [(str(fault["path"]), str(fault["message"])) for fault in problem.get("errors", [])]
        return ApiError(reply.status, problem["code"], problem["detail"], problem.get("request_id"), faults)
    except (ValueError, KeyError, TypeError, AttributeError):
        start = reply.content[:200].decode("utf-8", "replace").strip()
        request = reply.headers.get("x-request-id")
        return ApiError(reply.status, "not_fanwise", f"The answer is not from Fanwise: {start!r}", request)


def get(path: str, **params: str | None) -> Flow[Any]:
    reply = yield from send(Call("GET", path, {name: value for name, value in params.items() if value is not None}))
    return reply.json()


def whole(path: str, **params: str) -> Flow[Any]:
    """A streamed JSON document, read again where it broke off."""
    for _ in range(TRIES - 1):
        reply = yield from send(Call("GET", path, params))
        try:
            return reply.json()
        except ValueError:
            yield Wait(FIRST_WAIT)
    raise Unreachable(f"{path} broke off {TRIES - 1} times; try again later")


def write(method: str, path: str, body: Any = None, *, safe: bool = True) -> Flow[Any]:
    headers = {"content-type": "application/json"} if body is not None else {}
    content = encoded(body) if body is not None else None
    reply = yield from send(Call(method, path, body=content, headers=headers, safe=safe))
    return reply.json() if reply.content else None


# Above this many bytes the rows go as a file, which the service reads piece by piece.
INLINE_BYTES = 8_000_000


def submit(body: dict[str, Any], key: str) -> Flow[Any]:
    """Submits a job. The same key with the same body is the same job, so a lost answer costs nothing."""
    headers = {"idempotency-key": key}
    items = body.get("input", {}).get("items") if isinstance(body.get("input"), dict) else None
    whole = encoded(body)
    if items is None or len(whole) <= INLINE_BYTES:
        headers["content-type"] = "application/json"
        reply = yield from send(Call("POST", "/v1/jobs", body=whole, headers=headers))
        return reply.json()
    boundary = "fanwise-rows"
    lines = b"\n".join(encoded(item) for item in items)
    # A boundary ends where it is not found in what it encloses.
    while boundary.encode() in whole:
        boundary += "-"
    spec = encoded({name: value for name, value in body.items() if name != "input"})
    parts = b"".join(
        [
            _part(boundary, 'name="spec"', "application/json"),
            spec,
            b"\r\n",
            _part(boundary, 'name="input"; filename="rows.jsonl"', "application/x-ndjson"),
            lines,
            b"\r\n",
            f"--{boundary}--\r\n".encode(),
        ]
    )
    headers["content-type"] = f"multipart/form-data; boundary={boundary}"
    reply = yield from send(Call("POST", "/v1/jobs", body=parts, headers=headers))
    return reply.json()


def _part(boundary: str, disposition: str, content_type: str) -> bytes:
    return f"--{boundary}\r\ncontent-disposition: form-data; {disposition}\r\ncontent-type: {content_type}\r\n\r\n".encode()
