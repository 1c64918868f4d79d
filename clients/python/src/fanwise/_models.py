# Generated from src/api/openapi/openapi.json by generate.py. Do not edit.

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, RootModel, StringConstraints
from typing_extensions import TypeAliasType


class AttemptView(BaseModel):
    """
    One call to Claude.
    """

    cache_creation_input_tokens: Annotated[int, Field(ge=0)]
    cache_read_input_tokens: Annotated[int, Field(ge=0)]
    cost_usd: float
    error: str | None = None
    error_class: Annotated[
        str | None,
        Field(description='Stable, snake_case; absent where the call succeeded.'),
    ] = None
    finished_at: AwareDatetime | None = None
    input_tokens: Annotated[int, Field(ge=0)]
    model: str
    number: Annotated[int, Field(ge=0)]
    output_tokens: Annotated[int, Field(ge=0)]
    request: Annotated[
        Any,
        Field(
            description='The body as it was sent; `null` where it can no longer be rebuilt.'
        ),
    ]
    request_id: Annotated[str | None, Field(description="Claude's `request-id`.")] = (
        None
    )
    response: Annotated[str | None, Field(description='The text of the answer.')] = None
    role: Annotated[
        str, Field(description='`worker`, `repair`, `verify`, `reduce` or `synthesis`.')
    ]
    started_at: AwareDatetime
    state: Annotated[
        str,
        Field(
            description='`open`, `done`, or `unknown`: its end was not seen, it is possibly paid.'
        ),
    ]
    status: Annotated[int | None, Field(description='The HTTP status.', ge=0)] = None
    stop_reason: str | None = None


class Check(BaseModel):
    """
    One thing that was looked at.
    """

    name: Annotated[
        str,
        Field(
            description='`database`, `storage`, `blobs`, or the name of a variable, secret or binding.',
            examples=['database'],
        ),
    ]
    ok: bool
    problem: Annotated[str | None, Field(description='The fault, in a sentence.')] = (
        None
    )


class Chunk(BaseModel):
    """
    How much one worker sees, in items or in tokens. With both, whichever is reached first.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    items: Annotated[
        int | None, Field(description='The most items in a chunk.', ge=1, le=1000)
    ] = None
    overlap: Annotated[
        int | None,
        Field(
            description='Tokens of the text before it that a slice shows again; at most half of `tokens`.',
            ge=0,
            le=100000,
        ),
    ] = None
    tokens: Annotated[
        int | None,
        Field(
            description='The most tokens in a chunk, estimated: small items are packed up to this number, longer texts are split at\nnatural boundaries into slices of at most this size.',
            ge=50,
            le=200000,
        ),
    ] = None


class Condition(BaseModel):
    """
    Which results are chosen: all that it says must hold.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    all: Annotated[
        list[Condition] | None,
        Field(
            description='Each of these conditions holds.',
            max_length=20,
            validate_default=True,
        ),
    ] = []
    any: Annotated[
        list[Condition] | None,
        Field(
            description='At least one of these conditions holds.',
            max_length=20,
            validate_default=True,
        ),
    ] = []
    exists: Annotated[
        bool | None,
        Field(description='True: the field is there and not null. False: it is not.'),
    ] = None
    field: Annotated[
        str | None,
        Field(
            description='A field of those results. One that is a list is chosen by any of its elements.',
            max_length=200,
            min_length=1,
            pattern='\\S',
        ),
    ] = None
    flagged: Annotated[
        bool | None,
        Field(
            description='True: only results that a check flagged. False: only others; in `of` it says nothing.'
        ),
    ] = None
    in_: Annotated[
        list[Any] | None,
        Field(
            alias='in',
            description='The field has one of these values (texts in any letter case, numbers, booleans); `null` for what has none.',
            max_length=100,
        ),
    ] = []
    max: Annotated[
        float | None, Field(description='The field is a number, at most this one.')
    ] = None
    min: Annotated[
        float | None, Field(description='The field is a number, at least this one.')
    ] = None
    not_in: Annotated[
        list[Any] | None,
        Field(description='The field has none of these values.', max_length=100),
    ] = []
    values: Annotated[
        list[str] | None,
        Field(
            description='The values that choose a result, whatever their letter case; `null` for what has none. The same as `in`, as texts.',
            max_length=100,
        ),
    ] = []


class Cost(BaseModel):
    """
    Dollars.
    """

    cache_saved_usd: Annotated[
        float | None,
        Field(
            description='The saving by the prompt cache: the price of all calls without it, less their real cost. Below 0 until the\nwritten part has been read.'
        ),
    ] = None
    likely_usd: Annotated[
        float | None,
        Field(
            description='For a single job that is not over: its likely total cost. That is the money spent, the open tasks at the average\nof the finished ones, and the later stages as the plan expects.'
        ),
    ] = None
    limit_usd: float | None = None
    possibly_paid_usd: Annotated[
        float, Field(description='The part of `reserved_usd` that is possibly paid.')
    ]
    reserved_usd: Annotated[
        float,
        Field(
            description='The worst case of the calls in flight, and of calls whose end was not seen (possibly paid).'
        ),
    ]
    saved_usd: Annotated[
        float,
        Field(
            description='The earlier price of results from the ledger, or copied from an earlier job.'
        ),
    ]
    spent_usd: Annotated[
        float, Field(description='The cost of calls whose end is known.')
    ]
    uncounted_calls: Annotated[
        int | None,
        Field(
            description='Calls that answered and whose tokens the endpoint did not report: each counts with its upper bound, as possibly paid.',
            ge=0,
        ),
    ] = None


class DeliveryTry(BaseModel):
    """
    One try of a delivery.
    """

    at: AwareDatetime
    error: str | None = None
    ms: Annotated[int, Field(description='How long it took.', ge=0)]
    n: Annotated[int, Field(ge=0)]
    status: Annotated[
        int | None,
        Field(
            description="The status of the receiver's answer; null if there was none.",
            ge=0,
        ),
    ] = None


class Dollars(BaseModel):
    """
    Dollars from `low` to `high`.
    """

    high: float
    low: float


class ErrorView(BaseModel):
    """
    The error, as a code and a sentence.
    """

    code: Annotated[str, Field(description='Stable, snake_case.')]
    message: str


class EventsUrl(BaseModel):
    """
    Where an `EventSource` may watch a job.
    """

    expires_at: Annotated[
        AwareDatetime,
        Field(description='After this no connection begins with it any more.'),
    ]
    url: Annotated[
        str,
        Field(
            examples=['https://fanwise.example/v1/jobs/job_0199c1d2e3f47a5b8c6d7e8f90a1b2c3/events?ticket=…']
        ),
    ]


class Fault(BaseModel):
    """
    One thing that is wrong with a request, and where.
    """

    message: Annotated[str, Field(examples=['must be at least 1, is 0'])]
    path: Annotated[
        str,
        Field(
            description='A path into the body (`stages[0].chunk.items`), or the name of a query parameter or header.',
            examples=['input.items[17].id'],
        ),
    ]


class FaultView(BaseModel):
    """
    A call that failed.
    """

    at: AwareDatetime
    error: str | None = None
    error_class: str
    model: str
    number: Annotated[
        int, Field(description='The number of the call within its task.', ge=0)
    ]
    role: str
    stage: str
    status: Annotated[int | None, Field(description='The HTTP status.', ge=0)] = None
    task: Annotated[int, Field(ge=0)]


class Flagged(BaseModel):
    flag: str
    id: str


class Halt(BaseModel):
    """
    Why a job waits. A `running` job has one where none of its calls may go out for a minute or more.
    """

    detail: str
    not_before: Annotated[
        AwareDatetime | None,
        Field(description='When the next call may go out, with `rate_limit`.'),
    ] = None
    reason: Annotated[
        str,
        Field(
            description='`user`, `budget`, `quota`, `approval`, `answers` (a stage had no valid result, or its tasks were refused alike), or\n`rate_limit`: no call may go out before `not_before`, and the job stays `running`.'
        ),
    ]
    resumes_at: AwareDatetime | None = None


class Health(BaseModel):
    """
    The service is up.
    """

    checks: Annotated[
        list[Check] | None,
        Field(description='Only in a deep check: the parts that were checked.'),
    ] = None
    database_bytes: Annotated[
        int | None,
        Field(
            description='Of a deep look: bytes of the database, of at most 10 GB.', ge=0
        ),
    ] = None
    memory_bytes: Annotated[
        int | None,
        Field(
            description="Only in a deep check: the most memory that the answering instance has used since it started, in bytes. The\nplatform ends an instance that uses more than 128 MB, JavaScript's own share included.",
            ge=0,
        ),
    ] = None
    status: Annotated[
        str,
        Field(
            description='`ok`; `unwell` where a deep look found something wrong.',
            examples=['ok'],
        ),
    ]
    version: str


class Items(RootModel[str]):
    root: Annotated[
        str,
        Field(description='A plain text, as if it were `{"text": …}`.', pattern='\\S'),
    ]


class Items1(BaseModel):
    """
    Any fields; at least one besides `id` that is not empty.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    id: Annotated[
        Annotated[str, StringConstraints(pattern=r'^[^\u0000-\u001f\u007f-\u009f]*$', min_length=1, max_length=128)] | int | None,
        Field(
            description='Unique in the job; `item-N` by its place where it is left out. A whole number becomes text.'
        ),
    ] = None


class Input1(BaseModel):
    """
    The input of the job: one of four kinds.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    items: Annotated[
        list[Items | Items1],
        Field(
            description='The items, in their order.', max_length=100000, min_length=1
        ),
    ]


class Input2(BaseModel):
    """
    The input of the job: one of four kinds.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    text: Annotated[
        str, Field(description='One document, with the id `text`.', pattern='\\S')
    ]


class Documents(RootModel[str]):
    root: Annotated[str, Field(pattern='\\S')]


class Documents1(BaseModel):
    """
    A text of any length; its other fields stay with each slice.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    id: Annotated[
        Annotated[str, StringConstraints(pattern=r'^[^\u0000-\u001f\u007f-\u009f]*$', min_length=1, max_length=128)] | int | None,
        Field(
            description='Unique in the job; `item-N` by its place where it is left out. A whole number becomes text.'
        ),
    ] = None
    text: Annotated[str, Field(pattern='\\S')]


class Input3(BaseModel):
    """
    The input of the job: one of four kinds.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    documents: Annotated[
        list[Documents | Documents1],
        Field(
            description='Texts of any length: long ones are split at natural boundaries.',
            max_length=100000,
            min_length=1,
        ),
    ]


class Urls(RootModel[str]):
    root: Annotated[str, Field(max_length=2048, pattern='\\S')]


class Urls1(BaseModel):
    """
    A page to be read; its other fields stay with it.
    """

    model_config = ConfigDict(
        extra='allow',
    )
    id: Annotated[
        Annotated[str, StringConstraints(pattern=r'^[^\u0000-\u001f\u007f-\u009f]*$', min_length=1, max_length=128)] | int | None,
        Field(
            description='Unique in the job; `item-N` by its place where it is left out. A whole number becomes text.'
        ),
    ] = None
    url: Annotated[str, Field(max_length=2048, pattern='\\S')]


class Input4(BaseModel):
    """
    The input of the job: one of four kinds.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    urls: Annotated[
        list[Urls | Urls1],
        Field(
            description='Pages that the workers read: http or https, public hosts, HTML or text.',
            max_length=100000,
            min_length=1,
        ),
    ]


class ItemCounts(BaseModel):
    blank_rows: Annotated[
        int | None,
        Field(
            description="Rows of the input's table that are no items, because all of their cells are blank; left out where there are none.",
            ge=0,
        ),
    ] = None
    covered: Annotated[
        int,
        Field(
            description='Items with a valid result in every map stage. With several stages this counts those of the last one while it\nruns, which is never too many; exact once the maps are done.',
            ge=0,
        ),
    ]
    missing: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]


class LeftOut(BaseModel):
    """
    A part that requests to a model leave out.
    """

    endpoint: Annotated[str, Field(description='The base URL.')]
    learned_at: AwareDatetime
    model: str
    part: Annotated[
        str,
        Field(
            description='`format` (the schema is given in words then), `thinking`, `effort` or `cache`.'
        ),
    ]
    reason: Annotated[
        str | None,
        Field(
            description='The words of the refusal, or the newest fault of an answer.'
        ),
    ] = None
    until: Annotated[AwareDatetime, Field(description='When one call tries it again.')]


class Limit(BaseModel):
    """
    One limit. It refills all the time, up to `capacity`.
    """

    capacity: Annotated[
        int,
        Field(
            description='The most that `free` can be: a little under the most that was ever announced as remaining.',
            ge=0,
        ),
    ]
    free: Annotated[
        int, Field(description='The part that may be used at once. Below 0 it is owed.')
    ]
    full_at: Annotated[
        AwareDatetime | None,
        Field(
            description='When all of it is free if nothing is used; `null` where it is, or nothing refills it.'
        ),
    ] = None
    limit_per_minute: Annotated[int, Field(ge=0)]


class Id(RootModel[int]):
    root: Annotated[int, Field(ge=-9007199254740991, le=9007199254740991)]


class McpMessage(BaseModel):
    """
    A message of JSON-RPC 2.0.
    """

    id: Id | str | None = None
    jsonrpc: Annotated[Literal['2.0'], Field(description='The version of JSON-RPC.')]
    method: Annotated[str, Field(examples=['tools/list'])]
    params: dict[str, Any] | None = None


class Merge(BaseModel):
    """
    The deterministic fan-in of a map stage; no model call.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    count_by: Annotated[
        list[str] | None,
        Field(description='Fields whose values are counted.', max_length=32),
    ] = []
    dedupe_by: Annotated[
        list[str] | None,
        Field(description='Fields that make two results the same.', max_length=32),
    ] = []


CountByAdditionalProperty = TypeAliasType(
    "CountByAdditionalProperty", Annotated[int, Field(ge=0)]
)


class Missing(BaseModel):
    id: str
    reason: str


class MissingReason(BaseModel):
    """
    One reason for missing results.
    """

    code: Annotated[str, Field(description="As in the report's coverage.")]
    items: Annotated[
        int, Field(description='Items of these tasks that have no result.', ge=0)
    ]
    tasks: Annotated[int, Field(ge=0)]


class ModelClass(BaseModel):
    """
    One class of models that share their rate limits.
    """

    class_: Annotated[str, Field(alias='class')]
    in_flight: Annotated[int, Field(description='Calls under way.', ge=0)]
    input_tokens: Limit
    output_tokens: Limit
    refused: Annotated[
        int, Field(description='Calls that the rate limiter refused, ever.', ge=0)
    ]
    requests: Limit
    seen: Annotated[
        bool,
        Field(
            description='Whether an answer has announced its limits. While it is false they are all 0, and few calls go out at a time.'
        ),
    ]
    slow_until: Annotated[
        AwareDatetime | None,
        Field(description='No call goes out before; `null` where nothing holds them.'),
    ] = None
    window: Annotated[
        float | None,
        Field(
            description='How many calls may be under way after refusals; `null` while there were none.'
        ),
    ] = None


class ModelShare(BaseModel):
    """
    One model's part.
    """

    calls: Annotated[int, Field(ge=0)]
    cost_usd: float
    model: str
    results: Annotated[
        int,
        Field(
            description='Items whose result it gave, and the share of those that all models of the stage gave.',
            ge=0,
        ),
    ]
    share: float


class Nothing(BaseModel):
    """
    Nothing: `{}`, or no body at all.
    """

    model_config = ConfigDict(
        extra='forbid',
    )


class Planning(BaseModel):
    """
    How the plan of a dynamic job is made, and the policy if that fails.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    fallback: Annotated[
        bool | None,
        Field(
            description='False: the job fails where no sound plan comes; otherwise it gets a plain one.'
        ),
    ] = None
    model: Annotated[
        str | None,
        Field(description='A model id or an alias.', max_length=100, min_length=1),
    ] = None


class Problem(BaseModel):
    """
    The document of an error (RFC 9457).
    """

    code: Annotated[
        Literal['invalid_json', 'unauthorized', 'forbidden', 'not_found', 'method_not_allowed', 'conflict', 'idempotency_key_reused', 'too_large', 'unsupported_media_type', 'invalid_request', 'rate_limited', 'auth_not_configured', 'misconfigured', 'unavailable', 'internal', 'storage_full'],
        Field(description='The kind of error. Stable.'),
    ]
    detail: str
    errors: Annotated[
        list[Fault],
        Field(
            description='Every fault that was found, at most 100; empty for most codes.'
        ),
    ]
    request_id: Annotated[
        str, Field(description='The same as in the header `x-request-id`.')
    ]
    status: Annotated[int, Field(ge=400, le=599)]
    title: Annotated[
        str,
        Field(description='The name of the status.', examples=['Unprocessable Entity']),
    ]
    type: Annotated[str, Field(examples=['about:blank'])]


class ResultLine1(BaseModel):
    """
    One line of results: for an item of `output: item`; for all `ids` of a task of `output: chunk`.
    """

    id: str
    output: Any
    task: Annotated[int, Field(ge=0)]


class ResultLine2(BaseModel):
    """
    One line of results: for an item of `output: item`; for all `ids` of a task of `output: chunk`.
    """

    group: Annotated[
        str | None,
        Field(
            description='The value that its items have in the field the stage groups by.'
        ),
    ] = None
    ids: list[str]
    label: Annotated[
        str | None,
        Field(description='The id that this result has as an item of the next stage.'),
    ] = None
    output: Any
    task: Annotated[int, Field(ge=0)]


class ResultsFormat(RootModel[Literal['json', 'jsonl', 'csv', 'xlsx']]):
    root: Annotated[
        Literal['json', 'jsonl', 'csv', 'xlsx'],
        Field(description='The form of the results.'),
    ]


class ResultsInclude(RootModel[Literal['input']]):
    root: Annotated[
        Literal['input'], Field(description='The parts that results can include.')
    ]


class RevokedToken(BaseModel):
    """
    The tokens and schedules that depend on a revoked token.
    """

    descendants: Annotated[
        list[str],
        Field(
            description='Tokens that it made, that those made, and so on, which are still good: `?descendants=true` revokes them as well.'
        ),
    ]
    revoked: Annotated[
        list[str], Field(description='The tokens that are refused from now on.')
    ]
    schedules: Annotated[
        list[str],
        Field(
            description='Schedules that ran in the name of these tokens: each stops at its next run, and says so there.'
        ),
    ]


class ScheduleChange(BaseModel):
    """
    The fields to change; a field that is left out stays. Null removes `input_url` and `input_format`.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    cron: Annotated[str | None, Field(max_length=200, min_length=1)] = None
    input_format: Literal['csv', 'jsonl', 'text'] | None = None
    input_url: Annotated[str | None, Field(max_length=2048, min_length=1)] = None
    job: dict[str, Any] | None = None
    name: Annotated[str | None, Field(max_length=100)] = None
    overlap: Literal['skip', 'queue', 'parallel'] | None = None
    paused: Annotated[
        bool | None,
        Field(description='Runs that are missed during a pause are not made up.'),
    ] = None
    time_zone: Annotated[
        str | None, Field(pattern='^[A-Za-z][A-Za-z0-9_+/-]{0,63}$')
    ] = None


class ScheduleRun(BaseModel):
    """
    One time that a schedule was due, or was run by hand.
    """

    cause: Annotated[
        Literal['cron', 'caller'], Field(description='Why a run was made.')
    ]
    due_at: Annotated[
        AwareDatetime, Field(description='If several times were missed, the first.')
    ]
    ended_at: AwareDatetime | None = None
    job: Annotated[
        str | None,
        Field(description='The job that it started; null again once that was deleted.'),
    ] = None
    reason: ErrorView | None = None
    state: Annotated[
        Literal['waiting', 'started', 'skipped', 'failed'],
        Field(description='The state of a run.'),
    ]


class Span(BaseModel):
    """
    From `low` to `high`.
    """

    high: Annotated[int, Field(ge=0)]
    low: Annotated[int, Field(ge=0)]


class StageMerge(BaseModel):
    count_by: dict[str, dict[str, CountByAdditionalProperty]]
    distinct: Annotated[int | None, Field(ge=0)] = None
    results: Annotated[int, Field(description='Results that went in.', ge=0)]


class StatesPart(BaseModel):
    """
    Tasks that follow one another.
    """

    first: Annotated[int, Field(description='The index of the first task.', ge=0)]
    purpose: Annotated[
        Literal['work', 'verify', 'redo', 'reduce'],
        Field(description="A stage's own work, and what is done around it."),
    ]
    states: Annotated[
        str,
        Field(
            description='How many in a row, and in which state, over and over: `p`ending, `q`ueued, `r`unning, `s`ucceeded, `f`ailed,\ns`k`ipped, `c`ancelled.',
            examples=['1200s3f50r8747p'],
            pattern='^([1-9][0-9]*[pqrsfkc])+$',
        ),
    ]


class Storage(BaseModel):
    """
    How full the database is.
    """

    capacity_bytes: Annotated[int, Field(ge=0)]
    takes_jobs: Annotated[
        bool,
        Field(
            description='False: submits are refused with `storage_full` until something is deleted.'
        ),
    ]
    used_bytes: Annotated[int, Field(ge=0)]


class TaskCounts(BaseModel):
    """
    Tasks of all map stages by state.
    """

    cancelled: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)]
    pending: Annotated[int, Field(ge=0)]
    queued: Annotated[int, Field(ge=0)]
    running: Annotated[int, Field(ge=0)]
    skipped: Annotated[int, Field(ge=0)]
    succeeded: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]


class TaskView(BaseModel):
    """
    A task in a list.
    """

    attempts: Annotated[int, Field(description='Calls made for it.', ge=0)]
    error: ErrorView | None = None
    index: Annotated[int, Field(description='Counts over the whole job.', ge=0)]
    item_ids: list[str]
    not_before: Annotated[
        AwareDatetime | None,
        Field(
            description='Its next call waits until then; left out where nothing holds it back.'
        ),
    ] = None
    purpose: Annotated[
        Literal['work', 'verify', 'redo', 'reduce'],
        Field(
            description='`work`: a chunk of a map stage, or the synthesis; `verify`: results are judged; `redo`: they are asked for once\nmore; `reduce`: a part of them is read for the synthesis.'
        ),
    ]
    stage: str
    state: Annotated[
        Literal['pending', 'queued', 'running', 'succeeded', 'failed', 'skipped', 'cancelled'],
        Field(description='The state of a task.'),
    ]


FaultsAdditionalProperty = TypeAliasType(
    "FaultsAdditionalProperty", Annotated[int, Field(ge=0)]
)


class TimeBucket(BaseModel):
    """
    Calls that ended in one stretch of time.
    """

    bucket: Annotated[
        int, Field(description='Counted from `from`, the first is 0.', ge=0)
    ]
    calls: Annotated[int, Field(description='All that ended.', ge=0)]
    cost_usd: float
    faults: Annotated[
        dict[str, FaultsAdditionalProperty],
        Field(description='The number of failed calls among them, by error class.'),
    ]
    input_tokens: Annotated[
        int, Field(description='Those read from and written to a cache, too.', ge=0)
    ]
    output_tokens: Annotated[int, Field(ge=0)]


class Timeline(BaseModel):
    """
    The calls of a job over time.
    """

    bucket_ms: Annotated[
        int,
        Field(
            description='How long a bucket is. There are at most some 120, so a longer job has longer ones.',
            ge=0,
        ),
    ]
    buckets: Annotated[
        list[TimeBucket], Field(description='Those in which calls ended.')
    ]
    faults: Annotated[
        list[FaultView],
        Field(description='The last hundred calls that failed, newest first.'),
    ]
    from_: Annotated[
        AwareDatetime | None,
        Field(
            alias='from',
            description='When its first call began; `null` while there was none.',
        ),
    ] = None


class Token(BaseModel):
    """
    A token, without its text.
    """

    concurrency: Annotated[
        int | None,
        Field(
            description='Calls in flight of all its jobs together; `null`: no cap of its own.',
            ge=0,
        ),
    ] = None
    created_at: AwareDatetime
    daily_budget_usd: Annotated[
        float | None,
        Field(
            description='Dollars that its jobs may spend in a UTC day; `null`: no cap of its own.'
        ),
    ] = None
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description='From then on it is refused; `null`: never.'),
    ] = None
    id: str
    last_submit_at: AwareDatetime | None = None
    made_by: Annotated[
        str | None,
        Field(
            description='The admin token that made it; `null`: the token in the secret.'
        ),
    ] = None
    name: str
    scopes: list[Literal['read', 'run', 'admin']]
    spent_today_usd: float
    tenant: Annotated[str, Field(description='Whose jobs it reads and submits.')]


class Upload(BaseModel):
    """
    A job whose input is a file.
    """

    input: Annotated[
        bytes,
        Field(
            description='`text/csv` with a header (each row is an item, its columns the fields, `id` the id; commas, semicolons or tabs between\ncolumns; blank rows are passed over), `application/x-ndjson` (each line is an item), or `text/plain` (one document with\nthe id `text`), in UTF-8 or UTF-16.'
        ),
    ]
    spec: Annotated[
        dict[str, Any],
        Field(
            description='The JSON of a submit without its `input`. It must come before the file.'
        ),
    ]


class Usage(BaseModel):
    cache_creation_input_tokens: Annotated[int, Field(ge=0)]
    cache_read_input_tokens: Annotated[int, Field(ge=0)]
    calls: Annotated[int, Field(ge=0)]
    input_tokens: Annotated[int, Field(ge=0)]
    output_tokens: Annotated[int, Field(ge=0)]


class Verify(BaseModel):
    """
    How many results of a stage a second call judges.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    sample: Annotated[float, Field(description='The share of them.', ge=0.0, le=1.0)]


class WatchEvent(BaseModel):
    """
    One event of the stream.
    """

    data: Annotated[str, Field(description='JSON, by the kind.')]
    event: Literal['state', 'task_failed', 'progress', 'done']
    id: Annotated[str | None, Field(description='Absent from `progress`.')] = None


class WebTool(BaseModel):
    """
    How far a worker may use a tool.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    allowed_domains: Annotated[
        list[str] | None,
        Field(
            description='Only these; not together with `blocked_domains`.',
            max_length=100,
        ),
    ] = None
    blocked_domains: Annotated[list[str] | None, Field(max_length=100)] = None
    max_content_tokens: Annotated[
        int | None,
        Field(
            description='`web_fetch` only: about how much of a page the worker reads.',
            ge=100,
            le=1000000,
        ),
    ] = None
    max_uses: Annotated[int | None, Field(description='In one call.', ge=1, le=20)] = (
        None
    )


class WebhookSecret(BaseModel):
    """
    The secret with which receivers of webhooks check signatures.
    """

    secret: Annotated[str, Field(examples=['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'])]


class Alternative(BaseModel):
    """
    Calls, cost and time of the job, done in one way.
    """

    calls: Span
    cost_usd: Dollars
    likely_usd: Annotated[
        float | None, Field(description='As in what the plan is expected to take.')
    ] = None
    seconds: Span
    way: Annotated[
        Literal['live', 'cached', 'batch', 'cascade'],
        Field(description='A way to do the same work.'),
    ]


class Breaker(BaseModel):
    """
    Stops all calls while the account cannot pay for any, or its key is refused.
    """

    reason: Annotated[str | None, Field(description='Why it is not closed.')] = None
    state: Annotated[
        Literal['closed', 'open', 'half_open'],
        Field(description='`half_open`: one call is tried before others may go.'),
    ]
    until: Annotated[
        AwareDatetime | None, Field(description='When an open one is tried again.')
    ] = None


class Cascade(BaseModel):
    """
    The models of one stage, and what it saved to ask the cheap one first.
    """

    models: Annotated[
        list[ModelShare], Field(description='In the order in which they are asked.')
    ]
    saved_usd: Annotated[
        float,
        Field(
            description="The price of the first model's own calls at the last model's rates, less the cost of all calls of the stage.\nBelow zero if the dear models were asked too often for the cascade to pay."
        ),
    ]
    stage: str


class ChangeToken(BaseModel):
    """
    The fields of a token to change. A field that is left out stays; `null` removes a bound.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    concurrency: Annotated[int | None, Field(ge=1, le=1000)] = None
    daily_budget_usd: Annotated[float | None, Field(ge=0.0, le=1000000.0)] = None
    expires_at: AwareDatetime | None = None
    name: Annotated[str | None, Field(max_length=100, pattern='\\S')] = None
    scopes: Annotated[
        list[Literal['read', 'run', 'admin']] | None, Field(max_length=3, min_length=1)
    ] = None


class Coverage(BaseModel):
    """
    Which items have a valid result, which do not, and why.
    """

    blank_rows: Annotated[
        int | None,
        Field(
            description="Rows of the input's table that are no items, because all of their cells are blank; left out where there are none.",
            ge=0,
        ),
    ] = None
    covered: Annotated[int, Field(ge=0)]
    flagged: list[Flagged]
    missing: list[Missing]
    note: Annotated[
        str | None,
        Field(
            description='The part that the synthesis did not see, if not everything fitted, and the number of results without the\nfollow-up they were chosen for.'
        ),
    ] = None
    total: Annotated[int, Field(ge=0)]


class Delivery(BaseModel):
    """
    An event of a job on its way to a webhook.
    """

    created_at: AwareDatetime
    delivered_at: AwareDatetime | None = None
    event: Annotated[
        Literal['job.finished', 'job.paused', 'job.awaiting_approval'],
        Field(description='An event that a webhook can report.'),
    ]
    format: Annotated[
        Literal['standard', 'slack'], Field(description='The form of a message.')
    ]
    id: Annotated[
        str,
        Field(
            description='The header `webhook-id`, the same in each try.',
            examples=['msg_0199c1d2e3f47a5b8c6d7e8f90a1b2c3_1'],
        ),
    ]
    next_try_at: AwareDatetime | None = None
    run: Annotated[int, Field(ge=0)]
    state: Annotated[
        Literal['queued', 'planning', 'awaiting_approval', 'running', 'synthesizing', 'paused', 'succeeded', 'partial', 'failed', 'cancelled'],
        Field(description="The job's state at that time."),
    ]
    status: Annotated[
        Literal['pending', 'delivered', 'failed'],
        Field(
            description='`failed`: no try succeeded for a day, or the receiver answered 410.'
        ),
    ]
    target: Annotated[
        str,
        Field(
            description='Where it goes, without path and query: those may be secret.',
            examples=['https://hooks.example.com'],
        ),
    ]
    tries: Annotated[
        list[DeliveryTry], Field(description='The last 25, the oldest first.')
    ]


class DeliveryWay(BaseModel):
    """
    Time and money of one way.
    """

    cost_usd: Dollars
    seconds: Span


class ExpectedStage(BaseModel):
    """
    The part of one stage.
    """

    calls: Span
    cost_usd: Dollars
    earlier_calls: Annotated[int | None, Field(ge=0)] = None
    input_tokens: Span
    likely_usd: float | None = None
    output_tokens: Span
    seconds: Span
    stage: str
    tasks: Span


class Governor(BaseModel):
    """
    The account's limits, and what is left of them.
    """

    breaker: Breaker
    classes: list[ModelClass]
    left_out: Annotated[
        list[LeftOut] | None,
        Field(
            description="Parts of requests that calls leave out, because a model's endpoint refused or ignored them."
        ),
    ] = None
    storage: Storage | None = None


class Limits(BaseModel):
    """
    Limits as a caller writes them; what is left out comes from the configuration.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    concurrency: Annotated[
        int | None, Field(description='Calls in flight for this job.', ge=1, le=1000)
    ] = None
    deadline_seconds: Annotated[
        int | None,
        Field(
            description='From the submit on; runs on through pauses.', ge=1, le=2592000
        ),
    ] = None
    max_attempts: Annotated[
        int | None,
        Field(
            description='Calls for one task before it is given up; waiting for the rate limit is no attempt.',
            ge=1,
            le=20,
        ),
    ] = None
    max_cost_usd: Annotated[
        float | None,
        Field(
            description='Never passed: the worst case of a call is reserved before it is made.',
            ge=0.0,
            le=1000000.0,
        ),
    ] = None
    max_rounds: Annotated[
        int | None,
        Field(description='Rounds of re-planning a dynamic job may have.', ge=0, le=10),
    ] = None
    min_success_ratio: Annotated[
        float | None,
        Field(
            description='The covered share below which a job is `failed` and not `partial`.',
            ge=0.0,
            le=1.0,
        ),
    ] = None
    on_budget: Literal['finish', 'pause'] | None = None
    redo_ratio: Annotated[
        float | None,
        Field(
            description='The share of items that checks may have done again.',
            ge=0.0,
            le=1.0,
        ),
    ] = None


class MakeToken(BaseModel):
    """
    A token to be made.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    concurrency: Annotated[
        int | None,
        Field(description='Calls in flight of all its jobs together.', ge=1, le=1000),
    ] = None
    daily_budget_usd: Annotated[
        float | None,
        Field(
            description='Dollars that its jobs may spend in a UTC day; then they pause until the next day.',
            ge=0.0,
            le=1000000.0,
        ),
    ] = None
    expires_at: Annotated[
        AwareDatetime | None,
        Field(
            description='From then on it is refused; never, if left out.',
            examples=['2030-01-01T00:00:00Z'],
        ),
    ] = None
    name: Annotated[
        str,
        Field(
            description='A name that says its purpose.',
            examples=['nightly import'],
            max_length=100,
            pattern='\\S',
        ),
    ]
    scopes: Annotated[
        list[Literal['read', 'run', 'admin']] | None,
        Field(description='`read` and `run` if left out.', max_length=3, min_length=1),
    ] = None
    tenant: Annotated[
        str | None,
        Field(
            description="Whose jobs it reads and submits; the caller's own tenant if left out. Only the operator's token may name another.",
            pattern='^[a-z0-9][a-z0-9_-]{0,62}$',
        ),
    ] = None


class Merged(BaseModel):
    """
    The deterministic merge: of the last map stage, and of each under `stages`.
    """

    count_by: Annotated[
        dict[str, dict[str, CountByAdditionalProperty]],
        Field(description='field → value → how often.'),
    ]
    distinct: Annotated[
        int | None,
        Field(
            description='Results that differ in the fields of `dedupe_by`; absent where none are named.',
            ge=0,
        ),
    ] = None
    stages: dict[str, StageMerge] | None = None


class NewSchedule(BaseModel):
    """
    A schedule.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    cron: Annotated[
        str,
        Field(
            description='Five fields: minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`, `@weekly`, `@monthly`,\n`@yearly`.',
            examples=['0 7 * * MON-FRI'],
            max_length=200,
            min_length=1,
        ),
    ]
    input_format: Literal['csv', 'jsonl', 'text'] | None = None
    input_url: Annotated[
        str | None,
        Field(
            description='A public address that is read at each run.',
            max_length=2048,
            min_length=1,
        ),
    ] = None
    job: Annotated[
        dict[str, Any],
        Field(
            description='The body of `POST /v1/jobs`; with `input_url`, without its `input`.'
        ),
    ]
    name: Annotated[str | None, Field(max_length=100)] = None
    overlap: Literal['skip', 'queue', 'parallel'] | None = None
    paused: bool | None = None
    time_zone: Annotated[
        str | None,
        Field(
            description='A name of the IANA database. Default: `UTC`.',
            examples=['Europe/Berlin'],
            pattern='^[A-Za-z][A-Za-z0-9_+/-]{0,63}$',
        ),
    ] = None


class NewToken(Token):
    """
    A token that was just made. Its text is shown this once.
    """

    token: str


class Datum(BaseModel):
    """
    An event of a job on its way to a webhook.
    """

    created_at: AwareDatetime
    delivered_at: AwareDatetime | None = None
    event: Annotated[
        Literal['job.finished', 'job.paused', 'job.awaiting_approval'],
        Field(description='An event that a webhook can report.'),
    ]
    format: Annotated[
        Literal['standard', 'slack'], Field(description='The form of a message.')
    ]
    id: Annotated[
        str,
        Field(
            description='The header `webhook-id`, the same in each try.',
            examples=['msg_0199c1d2e3f47a5b8c6d7e8f90a1b2c3_1'],
        ),
    ]
    next_try_at: AwareDatetime | None = None
    run: Annotated[int, Field(ge=0)]
    state: Annotated[
        Literal['queued', 'planning', 'awaiting_approval', 'running', 'synthesizing', 'paused', 'succeeded', 'partial', 'failed', 'cancelled'],
        Field(description="The job's state at that time."),
    ]
    status: Annotated[
        Literal['pending', 'delivered', 'failed'],
        Field(
            description='`failed`: no try succeeded for a day, or the receiver answered 410.'
        ),
    ]
    target: Annotated[
        str,
        Field(
            description='Where it goes, without path and query: those may be secret.',
            examples=['https://hooks.example.com'],
        ),
    ]
    tries: Annotated[
        list[DeliveryTry], Field(description='The last 25, the oldest first.')
    ]


class PageDelivery(BaseModel):
    """
    A page of a list.
    """

    data: list[Datum]
    next_cursor: Annotated[
        str | None, Field(description='Opaque; `null` on the last page.')
    ] = None


class Datum2(BaseModel):
    """
    A schedule.
    """

    created_at: AwareDatetime
    cron: str
    id: Annotated[str, Field(examples=['sched_0199c1d2e3f47a5b8c6d7e8f90a1b2c3'])]
    input_format: Literal['csv', 'jsonl', 'text'] | None = None
    input_url: str | None = None
    job: Annotated[
        dict[str, Any] | None, Field(description='The body of a submit; not in lists.')
    ] = None
    last_runs: Annotated[
        list[ScheduleRun], Field(description='The last twenty, newest first.')
    ]
    name: str
    next_runs: Annotated[
        list[str], Field(description='The next five; none while it is paused.')
    ]
    overlap: Annotated[
        Literal['skip', 'queue', 'parallel'],
        Field(
            description='The policy for a run that is due while the job of an earlier run is at work.'
        ),
    ]
    paused: bool
    time_zone: str
    updated_at: AwareDatetime


class PageSchedule(BaseModel):
    """
    A page of a list.
    """

    data: list[Datum2]
    next_cursor: Annotated[
        str | None, Field(description='Opaque; `null` on the last page.')
    ] = None


class Datum3(BaseModel):
    """
    A task in a list.
    """

    attempts: Annotated[int, Field(description='Calls made for it.', ge=0)]
    error: ErrorView | None = None
    index: Annotated[int, Field(description='Counts over the whole job.', ge=0)]
    item_ids: list[str]
    not_before: Annotated[
        AwareDatetime | None,
        Field(
            description='Its next call waits until then; left out where nothing holds it back.'
        ),
    ] = None
    purpose: Annotated[
        Literal['work', 'verify', 'redo', 'reduce'],
        Field(
            description='`work`: a chunk of a map stage, or the synthesis; `verify`: results are judged; `redo`: they are asked for once\nmore; `reduce`: a part of them is read for the synthesis.'
        ),
    ]
    stage: str
    state: Annotated[
        Literal['pending', 'queued', 'running', 'succeeded', 'failed', 'skipped', 'cancelled'],
        Field(description='The state of a task.'),
    ]


class PageTaskView(BaseModel):
    """
    A page of a list.
    """

    data: list[Datum3]
    next_cursor: Annotated[
        str | None, Field(description='Opaque; `null` on the last page.')
    ] = None


class Datum4(BaseModel):
    """
    A token, without its text.
    """

    concurrency: Annotated[
        int | None,
        Field(
            description='Calls in flight of all its jobs together; `null`: no cap of its own.',
            ge=0,
        ),
    ] = None
    created_at: AwareDatetime
    daily_budget_usd: Annotated[
        float | None,
        Field(
            description='Dollars that its jobs may spend in a UTC day; `null`: no cap of its own.'
        ),
    ] = None
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description='From then on it is refused; `null`: never.'),
    ] = None
    id: str
    last_submit_at: AwareDatetime | None = None
    made_by: Annotated[
        str | None,
        Field(
            description='The admin token that made it; `null`: the token in the secret.'
        ),
    ] = None
    name: str
    scopes: list[Literal['read', 'run', 'admin']]
    spent_today_usd: float
    tenant: Annotated[str, Field(description='Whose jobs it reads and submits.')]


class PageToken(BaseModel):
    """
    A page of a list.
    """

    data: list[Datum4]
    next_cursor: Annotated[
        str | None, Field(description='Opaque; `null` on the last page.')
    ] = None


class Progress(BaseModel):
    items: ItemCounts
    tasks: TaskCounts


class Report(BaseModel):
    """
    The answer.
    """

    cascades: Annotated[
        list[Cascade] | None,
        Field(
            description='The share of each model of a cascade; absent if no stage has one.'
        ),
    ] = None
    coverage: Coverage
    merged: Merged
    synthesis: Annotated[
        Any,
        Field(
            description="A text, or an object by the stage's `output_schema`; `null` where there is none."
        ),
    ]


class ResultRow(BaseModel):
    """
    An item of the input beside its result: a line of results with `include=input`.
    """

    flags: Annotated[
        list[str], Field(description='What checks found about the result.')
    ]
    from_: Annotated[
        str | None,
        Field(
            alias='from',
            description='The item that this is a part of: a slice of a long text.',
        ),
    ] = None
    group: Annotated[
        str | None,
        Field(
            description='The value that these items have in the field the stage groups by.'
        ),
    ] = None
    id: str
    input: Annotated[
        dict[str, Any],
        Field(
            description="The item's fields; of a document those beside its text, of a page its address."
        ),
    ]
    output: Annotated[Any, Field(description='Null if it is missing.')]
    reason: Annotated[
        str | None,
        Field(description='Why it is missing, or its flags; null if it is `ok`.'),
    ] = None
    status: Annotated[
        Literal['ok', 'flagged', 'missing'],
        Field(
            description='`ok`: there is a valid result; `flagged`: there is one, and a check found something about it; `missing`: there is none\n(so far).'
        ),
    ]
    task: Annotated[
        int | None,
        Field(description='The task whose one result is that of several items.', ge=0),
    ] = None


class Retry(BaseModel):
    """
    How the next run differs; may be left out.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    limits: Limits | None = None


class Schedule(BaseModel):
    """
    A schedule.
    """

    created_at: AwareDatetime
    cron: str
    id: Annotated[str, Field(examples=['sched_0199c1d2e3f47a5b8c6d7e8f90a1b2c3'])]
    input_format: Literal['csv', 'jsonl', 'text'] | None = None
    input_url: str | None = None
    job: Annotated[
        dict[str, Any] | None, Field(description='The body of a submit; not in lists.')
    ] = None
    last_runs: Annotated[
        list[ScheduleRun], Field(description='The last twenty, newest first.')
    ]
    name: str
    next_runs: Annotated[
        list[str], Field(description='The next five; none while it is paused.')
    ]
    overlap: Annotated[
        Literal['skip', 'queue', 'parallel'],
        Field(
            description='The policy for a run that is due while the job of an earlier run is at work.'
        ),
    ]
    paused: bool
    time_zone: str
    updated_at: AwareDatetime


class StageStates(BaseModel):
    """
    The tasks of one stage.
    """

    kind: Annotated[
        str,
        Field(
            description='`map`, `synthesis`, or `plan`: where a dynamic job is planned.'
        ),
    ]
    parts: list[StatesPart]
    stage: str
    state: Annotated[str, Field(description='`waiting`, `running` or `done`.')]


class TaskDetail(BaseModel):
    """
    A task whole.
    """

    attempts: list[AttemptView]
    error: ErrorView | None = None
    index: Annotated[int, Field(ge=0)]
    input: Annotated[Any, Field(description="The worker's input.")]
    item_ids: list[str]
    output: Annotated[
        Any, Field(description='Its valid results so far, `null` where there are none.')
    ]
    purpose: Annotated[
        Literal['work', 'verify', 'redo', 'reduce'],
        Field(description="A stage's own work, and what is done around it."),
    ]
    stage: str
    state: Annotated[
        Literal['pending', 'queued', 'running', 'succeeded', 'failed', 'skipped', 'cancelled'],
        Field(description='The state of a task.'),
    ]


class TaskStates(BaseModel):
    """
    The states of all tasks of a job.
    """

    reasons: Annotated[
        list[MissingReason],
        Field(
            description='Why tasks of the map stages have no result, or not for all of their items, so far; most items first.'
        ),
    ]
    stages: Annotated[
        list[StageStates],
        Field(description='In the order in which they are worked on.'),
    ]


class Tools(BaseModel):
    """
    Tools that run on Anthropic's side.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    web_fetch: WebTool | None = None
    web_search: WebTool | None = None


class Webhook(BaseModel):
    """
    The address that is notified about a job, and the events.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    events: Annotated[
        list[Literal['job.finished', 'job.paused', 'job.awaiting_approval']] | None,
        Field(max_length=3, min_length=1),
    ] = None
    format: Annotated[
        Literal['standard', 'slack'] | None, Field(description='The form of a message.')
    ] = None
    url: Annotated[
        str,
        Field(
            description='A public address. Redirects are not followed.',
            max_length=2048,
            min_length=1,
        ),
    ]


class AnyResult(RootModel[ResultRow | ResultLine1 | ResultLine2]):
    root: Annotated[
        ResultRow | ResultLine1 | ResultLine2,
        Field(description='Results, or with `include=input` all items beside them.'),
    ]


class Change(BaseModel):
    """
    The fields to change: `limits`, `metadata` or both.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    limits: Limits | None = None
    metadata: Annotated[
        dict[str, Any] | None,
        Field(
            description="The caller's own notes, returned with the job; at most 4 KB."
        ),
    ] = None


class DeliveryChoice(BaseModel):
    """
    How a job's calls go out, and why.
    """

    asked: Annotated[
        Literal['live', 'batch', 'auto'],
        Field(description='The way that the job asks for.'),
    ]
    batch: DeliveryWay | None = None
    chosen: Annotated[
        Literal['live', 'batch', 'auto'], Field(description='`live` or `batch`.')
    ]
    live: DeliveryWay | None = None
    live_from: Annotated[
        AwareDatetime | None,
        Field(
            description='From then on what batches have not brought goes out live, so that it is done by the deadline; later, the more\nof the work is done by then.'
        ),
    ] = None
    why: Annotated[str, Field(description='One sentence.')]


class Expected(BaseModel):
    """
    The expected figures of a whole plan. Answers that are in the ledger already cost nothing and are not foreseen here.
    """

    calls: Span
    cost_usd: Dollars
    earlier_calls: Annotated[
        int | None,
        Field(
            description='The number of answered calls of earlier jobs with the same shape that the figures rest on; absent if there were\nnone.',
            ge=0,
        ),
    ] = None
    input_tokens: Span
    likely_usd: Annotated[
        float | None,
        Field(
            description='With texts and answers of usual length and hardly a fault; absent in what was worked out before there was such a figure.'
        ),
    ] = None
    limits_known: Annotated[
        bool,
        Field(
            description="Whether the account's rate limits were known for every model of the plan; where not, only the number\nof calls side by side bounds the time."
        ),
    ]
    output_tokens: Span
    seconds: Annotated[
        Span,
        Field(
            description='From the first call on, at the limits known when this was worked out, if no other job wants them too.'
        ),
    ]
    stages: list[ExpectedStage]


class JobView(BaseModel):
    """
    A job.
    """

    cost: Cost
    created_at: AwareDatetime
    error: ErrorView | None = None
    extends: Annotated[
        str | None, Field(description='The job whose results it took over.')
    ] = None
    finished_at: AwareDatetime | None = None
    halt: Halt | None = None
    id: str
    metadata: dict[str, Any]
    mode: Annotated[
        Literal['static', 'dynamic'],
        Field(description='How the work of a job was decided.'),
    ]
    progress: Progress
    recipe: str | None = None
    run: Annotated[int, Field(description='Counts up with each `retry`.', ge=0)]
    stage: Annotated[
        str | None, Field(description='The name of the current stage.')
    ] = None
    state: Annotated[
        Literal['queued', 'planning', 'awaiting_approval', 'running', 'synthesizing', 'paused', 'succeeded', 'partial', 'failed', 'cancelled'],
        Field(description='The state of a job.'),
    ]
    task: str
    updated_at: AwareDatetime
    usage: Usage


class PageAnyResult(BaseModel):
    """
    A page of a list.
    """

    data: list[ResultRow | ResultLine1 | ResultLine2]
    next_cursor: Annotated[
        str | None, Field(description='Opaque; `null` on the last page.')
    ] = None


class Datum1(BaseModel):
    """
    A job.
    """

    cost: Cost
    created_at: AwareDatetime
    error: ErrorView | None = None
    extends: Annotated[
        str | None, Field(description='The job whose results it took over.')
    ] = None
    finished_at: AwareDatetime | None = None
    halt: Halt | None = None
    id: str
    metadata: dict[str, Any]
    mode: Annotated[
        Literal['static', 'dynamic'],
        Field(description='How the work of a job was decided.'),
    ]
    progress: Progress
    recipe: str | None = None
    run: Annotated[int, Field(description='Counts up with each `retry`.', ge=0)]
    stage: Annotated[
        str | None, Field(description='The name of the current stage.')
    ] = None
    state: Annotated[
        Literal['queued', 'planning', 'awaiting_approval', 'running', 'synthesizing', 'paused', 'succeeded', 'partial', 'failed', 'cancelled'],
        Field(description='The state of a job.'),
    ]
    task: str
    updated_at: AwareDatetime
    usage: Usage


class PageJobView(BaseModel):
    """
    A page of a list.
    """

    data: list[Datum1]
    next_cursor: Annotated[
        str | None, Field(description='Opaque; `null` on the last page.')
    ] = None


class Round(BaseModel):
    """
    One time that stages were given, made or added.
    """

    at: AwareDatetime
    expected: Expected | None = None
    faults: Annotated[
        list[str],
        Field(
            description="The faults of the orchestrator's answers that were not used."
        ),
    ]
    rationale: str | None = None
    round: Annotated[
        int, Field(description='0 is the plan that the job began with.', ge=0)
    ]
    source: str
    stages: Annotated[
        list[str],
        Field(
            description='The names of the stages that it brought; none means: on to the synthesis.'
        ),
    ]


class Stage(BaseModel):
    """
    One stage of a plan.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    chunk: Chunk | None = None
    citations: Annotated[
        bool | None,
        Field(
            description='`synthesis` only: claims name the ids they rest on, as `[[ID]]`; ids that do not exist are flagged.'
        ),
    ] = None
    context: Annotated[
        str | None,
        Field(
            description="Reference material for this stage, in the place of the job's; an empty text: none."
        ),
    ] = None
    effort: Literal['low', 'medium', 'high', 'xhigh', 'max'] | None = None
    group_by: Annotated[
        str | None,
        Field(
            description='`map` only: a field of the results before it (of the items, in the first stage). One task has all that have the same\nvalue there; what lacks it is a group too.',
            max_length=200,
            min_length=1,
            pattern='\\S',
        ),
    ] = None
    instructions: Annotated[
        str | None,
        Field(
            description="The instructions for the workers, or for the synthesis. `{{task}}` in them becomes the job's `task`. A `map`\nstage without instructions works by that task alone; a `synthesis` needs its own.",
            pattern='\\S',
        ),
    ] = None
    kind: Annotated[
        Literal['map', 'synthesis'], Field(description='Fan-out or fan-in.')
    ]
    max_tokens: Annotated[
        int | None,
        Field(description='The most a single answer may have.', ge=1, le=128000),
    ] = None
    merge: Merge | None = None
    model: Annotated[
        str | None,
        Field(
            description='A model id or an alias (`haiku`, `sonnet`, `opus`).',
            max_length=100,
            min_length=1,
        ),
    ] = None
    models: Annotated[
        list[str] | None,
        Field(
            description='`map` only, in place of `model`: a cascade, the cheapest first. The next one is asked only for results that fail the\ncheck, are flagged, or say `unsure` in a field.',
            max_length=4,
        ),
    ] = None
    name: Annotated[
        str,
        Field(
            description='Unique in the plan.',
            max_length=64,
            min_length=1,
            pattern='^[A-Za-z0-9][A-Za-z0-9_-]*$',
        ),
    ]
    of: Condition | None = None
    output: Literal['item', 'chunk'] | None = None
    output_schema: Annotated[
        dict[str, Any] | None,
        Field(
            description='A JSON Schema (draft 2020-12) for one result; without it a result is `{"text": string}`, and a\nsynthesis is plain text.'
        ),
    ] = None
    tools: Tools | None = None
    verify: Verify | None = None
    where: Condition | None = None
    with_input: Annotated[
        bool | None,
        Field(
            description='`map` only, after another one: beside each result, under `input`, its workers see what the worker who gave it had read of it:\nthe item itself, unless there is a stage over all results in between.'
        ),
    ] = None


class Submit(BaseModel):
    """
    A job to be done.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    approval: Annotated[
        bool | None,
        Field(
            description='True: the plan can be read, replaced, approved or cancelled before anything of it is paid.'
        ),
    ] = None
    context: Annotated[
        str | None,
        Field(
            description="Reference material that every stage may look things up in, unless it has a `context` of its own. It is paid for once where\nthe model's prompt cache takes it, and by every call elsewhere."
        ),
    ] = None
    delivery: Literal['live', 'batch', 'auto'] | None = None
    extends: Annotated[
        str | None,
        Field(
            description='A finished job of yours: its results for unchanged items and unchanged stages are copied without a call. Without\n`stages`, those of that job are used.',
            pattern='^job_[0-9a-f]{32}$',
        ),
    ] = None
    input: Annotated[
        Input1 | Input2 | Input3 | Input4,
        Field(description='The input of the job: one of four kinds.'),
    ]
    limits: Limits | None = None
    metadata: Annotated[
        dict[str, Any] | None,
        Field(
            description="The caller's own notes, returned with the job; at most 4 KB."
        ),
    ] = None
    mode: Literal['static', 'dynamic'] | None = None
    planning: Planning | None = None
    recipe: Annotated[
        str | None,
        Field(
            description='The name of a ready plan; see `GET /v1/recipes`.',
            max_length=64,
        ),
    ] = None
    reuse: Annotated[
        bool | None,
        Field(
            description='False: answers that were paid for before are not used again.'
        ),
    ] = None
    stages: Annotated[
        list[Stage] | None,
        Field(
            description="The plan: `map` stages, each reading the results of the one before, and a `synthesis` last if one is wanted. With a\nrecipe it may be left out; stages given all the same are laid over the recipe's of the same name, field by\nfield, and faults are named by the places of the recipe's stages.",
            max_length=64,
            min_length=1,
        ),
    ] = None
    task: Annotated[
        str,
        Field(
            description='The purpose of the job, for the synthesis. May be left out if a recipe brings one.',
            pattern='\\S',
        ),
    ]
    webhook: Webhook | None = None


class Estimate(BaseModel):
    """
    The estimate of a job.
    """

    alternatives: Annotated[
        list[Alternative], Field(description='The same job done in other ways.')
    ]
    delivery: DeliveryChoice | None = None
    expected: Expected
    items: Annotated[int, Field(description='Items of the input.', ge=0)]
    limit_usd: Annotated[float | None, Field(description="The job's cap.")] = None
    mode: Annotated[
        Literal['static', 'dynamic'],
        Field(description='How the work of a job was decided.'),
    ]
    stages: Annotated[
        list[Stage],
        Field(
            description='The stages that the figures are for. For a dynamic job, whose plan needs a paid call, these are the stages of\nthe plain plan, and the planning is counted too.'
        ),
    ]


class NewPlan(BaseModel):
    """
    The stages that take the place of a plan.
    """

    model_config = ConfigDict(
        extra='forbid',
    )
    stages: Annotated[list[Stage], Field(max_length=64, min_length=1)]


class Plan(BaseModel):
    """
    A job's plan.
    """

    alternatives: Annotated[
        list[Alternative],
        Field(
            description='The plan done in other ways, at the limits known now; empty while it is being made.'
        ),
    ]
    delivery: DeliveryChoice | None = None
    expected: Expected | None = None
    mode: Annotated[
        Literal['static', 'dynamic'],
        Field(description='How the work of a job was decided.'),
    ]
    rationale: Annotated[
        str | None,
        Field(description='Why it is as it is, in the words of who made it.'),
    ] = None
    rounds: Annotated[
        list[Round],
        Field(
            description='How it came about: the plan, and each time it was thought over after a stage.'
        ),
    ]
    source: Annotated[
        str | None,
        Field(
            description='The maker of the plan: `caller`, `recipe`, `orchestrator`, or `default` if no usable plan came; `null` while it\nis being made.'
        ),
    ] = None
    stages: Annotated[
        list[Stage],
        Field(
            description='In the order in which they are worked on; empty while the plan is being made. Submitted again as `stages`,\nwith the same task and input, they make the same calls.'
        ),
    ]
    state: Annotated[
        Literal['queued', 'planning', 'awaiting_approval', 'running', 'synthesizing', 'paused', 'succeeded', 'partial', 'failed', 'cancelled'],
        Field(description='The state of a job.'),
    ]


class Recipe(BaseModel):
    """
    A ready plan for a common kind of job.
    """

    input: Annotated[str, Field(description='The items that it expects.')]
    name: Annotated[str, Field(examples=['support-tickets'])]
    stages: list[Stage]
    summary: Annotated[str, Field(description='Its purpose, in a sentence.')]
    task: Annotated[
        str, Field(description='The purpose of the job, if the submit names none.')
    ]
    title: str


class Recipes(BaseModel):
    """
    All recipes.
    """

    data: list[Recipe]


Condition.model_rebuild()
