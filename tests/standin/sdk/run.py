"""The official Python SDK as a client of the stand-in.

Reads STANDIN_URL, prints one line per check, exits 1 if one fails. Leaves the
stand-in as it found it, counters apart.
"""

import json
import os
import sys
import time
import traceback
import urllib.request
from typing import Literal, Optional

import anthropic
from pydantic import BaseModel, Field

URL = os.environ["STANDIN_URL"].rstrip("/")
HAIKU = "claude-haiku-5-5"
TICKETS = [
    {"id": "T-1", "text": "I was charged twice for my March invoice, please refund me. This is urgent."},
    {"id": "T-2", "text": "The app is great, thank you! It would be nice to have dark mode, no rush."},
]
OUTPUT = {
    "type": "object",
    "properties": {
        "primary_category": {"type": "string", "enum": ["billing", "login", "feature_request", "other"]},
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative"]},
        "issue": {"type": "string"},
    },
    "required": ["primary_category", "sentiment", "issue"],
    "additionalProperties": False,
}
RESULTS = {
    "type": "object",
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "output": OUTPUT},
                "required": ["id", "output"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["results"],
    "additionalProperties": False,
}

client = anthropic.Anthropic(api_key="sk-test", base_url=URL, max_retries=0)
checks = []


def check(function):
    checks.append(function)
    return function


def control(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{URL}/control/{path}", data=data)) as answer:
        return json.load(answer)


def fault(name, **more):
    control("config", {"rules": [{"fault": name, "times": 1, **more}]})


def hello(**more):
    return {
        "model": HAIKU,
        "max_tokens": 400,
        "messages": [{"role": "user", "content": "Hello, Claude"}],
        **more,
    }


def tickets(**more):
    items = json.dumps(TICKETS)
    return hello(
        messages=[{"role": "user", "content": f"Classify.\n<items>\n{items}\n</items>"}],
        output_config={"format": {"type": "json_schema", "schema": RESULTS}},
        **more,
    )


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def expect(error, call, **attributes):
    try:
        call()
    except error as raised:
        for name, value in attributes.items():
            assert getattr(raised, name) == value, (name, getattr(raised, name), value)
        return raised
    raise AssertionError(f"no {error.__name__}")


def create(**more):
    return lambda: client.messages.create(**hello(**more))


@check
def a_plain_message():
    message = client.messages.create(**hello())
    assert message.type == "message" and message.role == "assistant" and message.model == HAIKU
    assert [b.type for b in message.content] == ["thinking", "text"], message.content
    assert message.stop_reason == "end_turn" and "stand-in" in text_of(message)
    usage = message.usage
    assert usage.input_tokens == 6 and usage.output_tokens > usage.output_tokens_details.thinking_tokens > 0
    assert message._request_id.startswith("req_011C")


@check
def a_streamed_message_is_the_plain_one():
    plain = client.messages.create(**tickets())
    with client.messages.stream(**tickets()) as stream:
        events = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert text_of(streamed) == text_of(plain)
    assert streamed.usage.output_tokens == plain.usage.output_tokens
    assert events[0] == "message_start" and events[-1] == "message_stop"
    assert events.count("content_block_delta") > 3


@check
def thinking_can_be_turned_off():
    message = client.messages.create(**hello(thinking={"type": "disabled"}))
    assert [b.type for b in message.content] == ["text"]


@check
def structured_output_per_item():
    results = json.loads(text_of(client.messages.create(**tickets())))["results"]
    assert [r["id"] for r in results] == ["T-1", "T-2"]
    assert results[0]["output"]["primary_category"] == "billing"
    assert results[0]["output"]["sentiment"] == "negative"
    assert results[1]["output"]["primary_category"] == "feature_request"
    assert results[1]["output"]["sentiment"] == "positive"


@check
def limits_that_the_sdk_moves_into_descriptions_are_kept():
    class Review(BaseModel):
        stars: int = Field(ge=1, le=5)
        title: str = Field(max_length=20)
        topics: list[str] = Field(min_length=2, max_length=4)
        confidence: float = Field(gt=0, lt=1)
        order_number: Optional[str]
        mood: Literal["good", "bad"]

    parsed = client.messages.parse(
        model=HAIKU,
        max_tokens=400,
        messages=[{"role": "user", "content": "Great shoes, quick delivery, but the laces tore after a week."}],
        output_format=Review,
    ).parsed_output
    assert parsed.order_number is None and 2 <= len(parsed.topics) <= 4


@check
def max_tokens_cuts_the_answer():
    message = client.messages.create(**{**tickets(), "max_tokens": 60})
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 60


@check
def a_forced_tool_is_called():
    tool = {"name": "classify", "description": "Sorts a text.", "input_schema": OUTPUT, "strict": True}
    message = client.messages.create(
        **hello(tools=[tool], tool_choice={"type": "tool", "name": "classify"})
    )
    call = message.content[-1]
    assert message.stop_reason == "tool_use" and call.type == "tool_use"
    assert set(call.input) == set(OUTPUT["required"])


@check
def count_tokens():
    count = client.messages.count_tokens(
        model="claude-opus-5-5",
        system="You are a scientist",
        messages=[{"role": "user", "content": "Hello, Claude"}],
    )
    assert count.input_tokens == 14


@check
def models():
    listed = [m.id for m in client.models.list(limit=3)]
    assert HAIKU in listed and len(listed) > 3, listed
    haiku = client.models.retrieve(HAIKU)
    assert haiku.max_tokens == 128_000 and haiku.capabilities.structured_outputs.supported
    expect(anthropic.NotFoundError, lambda: client.models.retrieve("claude-2"))


@check
def raw_headers():
    raw = client.messages.with_raw_response.create(**hello())
    names = [
        f"anthropic-ratelimit-{what}-{part}"
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
        for part in ("limit", "remaining", "reset")
    ]
    missing = [n for n in [*names, "request-id", "anthropic-organization-id"] if n not in raw.headers]
    assert not missing, missing


@check
def a_missing_key_is_refused():
    request = urllib.request.Request(
        f"{URL}/v1/messages", b"{}", {"anthropic-version": "2026-10-21", "content-type": "application/json"}
    )
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        body = json.load(error)
        assert error.code == 401 and body["error"]["message"] == "x-api-key header is required"
        assert body["request_id"] == error.headers["request-id"]
    else:
        raise AssertionError("accepted")


@check
def a_wrong_key_raises_authentication_error():
    control("config", {"api_key": "another"})
    try:
        expect(anthropic.AuthenticationError, create(), status_code=401)
    finally:
        control("config", {"api_key": None})


@check
def bad_requests_raise_bad_request_error():
    for more, words in [
        ({"extra_body": {"nonsense": 1}}, "nonsense: Extra inputs are not permitted"),
        ({"extra_body": {"temperature": 1.0}}, "temperature: Extra inputs are not permitted"),
        ({"max_tokens": 200_000, "stream": True}, "max_tokens: 200000 > 128000"),
        ({"messages": [{"role": "user", "content": " "}]}, "must contain non-whitespace text"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "does not support assistant message prefill",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {}}}}},
            "'additionalProperties' must be explicitly set to false",
        ),
    ]:
        error = expect(anthropic.BadRequestError, create(**more), status_code=400)
        assert words in str(error), (words, str(error))


@check
def an_unknown_model_raises_not_found_error():
    error = expect(anthropic.NotFoundError, create(model="claude-nobody"), status_code=404)
    assert "model: claude-nobody" in str(error)


@check
def a_rate_limit_raises_rate_limit_error_with_retry_after():
    fault("429", retry_after_s=7)
    error = expect(anthropic.RateLimitError, create(), status_code=429)
    assert error.response.headers["retry-after"] == "7"


@check
def enforced_limits_refuse_in_the_words_of_the_api():
    control("config", {"limits": {"rpm": 60, "burst": 0.05}})
    try:
        for _ in range(3):
            client.messages.create(**hello())
        error = expect(anthropic.RateLimitError, create())
        assert "rate limit of 60 requests per minute" in str(error)
        assert int(error.response.headers["retry-after"]) == 1
        assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    finally:
        control("config", {"limits": {"rpm": None}})


@check
def a_spend_limit_has_no_retry_after():
    fault("spend_limit")
    error = expect(anthropic.RateLimitError, create())
    assert "retry-after" not in error.response.headers
    assert error.body["error"]["details"]["error_code"] == "enforced_spend_limit_reached"


@check
def overload_and_server_errors():
    for name, status in [("529", 529), ("500", 500), ("504", 504)]:
        fault(name)
        expect(anthropic.InternalServerError, create(), status_code=status)


@check
def the_sdk_retries_what_the_api_says_can_be():
    fault("529")
    patient = client.with_options(max_retries=1)
    assert patient.messages.create(**hello()).stop_reason == "end_turn"


@check
def an_error_in_the_middle_of_a_stream():
    fault("error_event")

    def read():
        with client.messages.stream(**tickets()) as stream:
            for _ in stream:
                pass

    error = expect(anthropic.APIStatusError, read)
    assert "Overloaded" in str(error)


@check
def broken_connections():
    fault("reset")
    expect(anthropic.APIConnectionError, create())
    fault("reset_mid")
    try:
        with client.messages.stream(**tickets()) as stream:
            for _ in stream:
                pass
    except Exception as error:  # whatever the transport raises
        assert "AssertionError" not in type(error).__name__
    else:
        raise AssertionError("the stream ended in good order")


@check
def a_refusal():
    fault("refusal")
    message = client.messages.create(**hello())
    assert message.stop_reason == "refusal" and message.stop_details.type == "refusal"


@check
def a_cached_prompt():
    system = [{"type": "text", "text": f"Rules {time.time()}. " * 300, "cache_control": {"type": "ephemeral"}}]
    first = client.messages.create(**hello(system=system)).usage
    second = client.messages.create(**hello(system=system)).usage
    assert first.cache_creation_input_tokens > 512 and first.cache_read_input_tokens == 0
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.input_tokens == first.input_tokens


@check
def a_batch():
    control("config", {"batch_ms": 300})
    requests = [{"custom_id": f"r-{n}", "params": hello()} for n in range(5)]
    requests.append({"custom_id": "bad", "params": {**hello(), "nonsense": 1}})
    batch = client.messages.batches.create(requests=requests)
    assert batch.processing_status == "in_progress" and batch.request_counts.processing == 6
    deadline = time.time() + 10
    while batch.processing_status != "ended" and time.time() < deadline:
        time.sleep(0.05)
        batch = client.messages.batches.retrieve(batch.id)
    assert batch.request_counts.succeeded == 5 and batch.request_counts.errored == 1
    results = {r.custom_id: r.result for r in client.messages.batches.results(batch.id)}
    assert results["bad"].type == "errored" and "nonsense" in results["bad"].error.error.message
    assert results["r-0"].message.usage.service_tier == "batch"
    assert batch.id in [b.id for b in client.messages.batches.list(limit=1)]
    client.messages.batches.delete(batch.id)
    expect(anthropic.NotFoundError, lambda: client.messages.batches.retrieve(batch.id))


@check
def a_cancelled_batch():
    control("config", {"batch_ms": 60_000})
    batch = client.messages.batches.create(requests=[{"custom_id": "one", "params": hello()}])
    assert client.messages.batches.cancel(batch.id).processing_status == "canceling"
    batch = client.messages.batches.retrieve(batch.id)
    assert batch.processing_status == "ended" and batch.request_counts.canceled == 1
    assert [r.result.type for r in client.messages.batches.results(batch.id)] == ["canceled"]


def main():
    before = control("config")
    failed = 0
    for function in checks:
        name = function.__name__.replace("_", " ")
        try:
            function()
            print(f"ok      python: {name}")
        except Exception:
            failed += 1
            print(f"FAILED  python: {name}")
            traceback.print_exc()
        finally:
            control("config", before)
    print(f"{len(checks) - failed} of {len(checks)} checks passed with anthropic {anthropic.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
