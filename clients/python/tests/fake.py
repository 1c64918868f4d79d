"""A small Fanwise in memory: it keeps the service's rules about items, and answers by a function."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

TOKEN = "a-token-of-tests"
OVER = ("succeeded", "partial", "failed", "cancelled")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def by_default(item: dict[str, Any]) -> Any:
    return {"tag": "bug" if "crash" in str(item.get("text", "")) else "other", "urgent": False}


class Fake:
    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Any] = by_default
        self.flags: dict[str, str] = {}
        # How the next requests fail, the first of them first.
        self.faults: list[Callable[[httpx.Request], httpx.Response]] = []
        # The states that a job goes through, one for each look; the last one stays.
        self.states = ["running", "succeeded"]
        self.halt: dict[str, Any] | None = None
        self.requests: list[httpx.Request] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: dict[str, tuple[bytes, str]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        # The ids of every item that was asked and paid.
        self.asked: list[str] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)(request)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "unauthorized", "The token is not known.")
        parts = request.url.path.strip("/").split("/")
        match (request.method, *parts):
            case ("POST", "v1", "jobs"):
                return self.submit(request)
            case ("POST", "v1", "estimates"):
                return self.estimate(json.loads(request.content))
            case ("GET", "v1", "jobs"):
                return httpx.Response(
                    200, json={"data": [self.view(job) for job in self.jobs.values()], "next_cursor": None}
                )
            case ("GET", "v1", "jobs", id) if id in self.jobs:
                return httpx.Response(200, json=self.look(id))
            case ("PATCH", "v1", "jobs", id):
                self.bodies.append(json.loads(request.content))
                return httpx.Response(200, json=self.view(self.jobs[id]))
            case ("GET", "v1", "jobs", id, "results"):
                assert request.url.params["include"] == "input"
                lines = [self.line(self.jobs[id], key, item) for key, item in self.jobs[id]["items"].items()]
                return httpx.Response(200, json={"data": lines, "next_cursor": None})
            case ("GET", "v1", "jobs", id, "report"):
                return self.report(id)
            case ("POST", "v1", "jobs", id, name):
                self.jobs[id]["states"] = {"cancel": ["cancelled"], "retry": ["running", "succeeded"]}.get(
                    name, ["succeeded"]
                )
                self.halt = None
                return httpx.Response(200, json=self.view(self.jobs[id]))
            case (_, "v1", "schedules", *rest):
                return self.schedule(request, rest)
        return problem(404, "not_found", "There is no such address.")

    def submit(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if b"spec" not in request.content[:200] else multipart(request)
        key = request.headers["idempotency-key"]
        if key in self.keys:
            content, id = self.keys[key]
            if content != request.content:
                return problem(409, "idempotency_key_reused", "This Idempotency-Key came with another body before.")
            return httpx.Response(200, json=self.view(self.jobs[id]))
        self.bodies.append(body)
        faults = [fault for place, item in enumerate(body["input"]["items"]) for fault in faults_of(place, item)]
        ids = [item["id"] for item in body["input"]["items"]]
        if len(set(ids)) < len(ids):
            faults.append({"path": "input.items", "message": "ids must differ"})
        if faults:
            return problem(422, "invalid_request", "The request has faults.", faults)
        base = self.jobs.get(body.get("extends") or "", {"results": {}, "items": {}})
        results = {}
        for item in body["input"]["items"]:
            if base["items"].get(item["id"]) == item and item["id"] in base["results"]:
                results[item["id"]] = base["results"][item["id"]]
                continue
            self.asked.append(item["id"])
            output = self.answer(item)
            if output is not None:
                results[item["id"]] = output
        id = f"job_{len(self.jobs):032x}"
        items = {item["id"]: item for item in body["input"]["items"]}
        self.jobs[id] = {"id": id, "body": body, "items": items, "results": results, "states": list(self.states)}
        self.keys[key] = (request.content, id)
        return httpx.Response(202, json=self.view(self.jobs[id]))

    def look(self, id: str) -> dict[str, Any]:
        states = self.jobs[id]["states"]
        if len(states) > 1:
            states.pop(0)
        return self.view(self.jobs[id])

    def view(self, job: dict[str, Any]) -> dict[str, Any]:
        state, total, covered = job["states"][0], len(job["items"]), len(job["results"])
        zero = dict.fromkeys(
            ["total", "pending", "queued", "running", "succeeded", "failed", "skipped", "cancelled"], 0
        )
        usage = ["calls", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]
        limits = job["body"].get("limits") or {}
        return {
            "id": job["id"],
            "state": state,
            "run": 1,
            "mode": "static",
            "task": job["body"]["task"],
            "created_at": "2026-11-22T12:00:00.000Z",
            "updated_at": "2026-11-22T12:00:01.000Z",
            "progress": {"tasks": zero, "items": {"total": total, "covered": covered, "missing": total - covered}},
            "usage": dict.fromkeys(usage, 0),
            "cost": {
                "spent_usd": 0.25,
                "reserved_usd": 0,
                "possibly_paid_usd": 0,
                "saved_usd": 0,
                "limit_usd": limits.get("max_cost_usd"),
            },
            "halt": self.halt if state in ("paused", "awaiting_approval") else None,
            "error": {"code": "no_results", "message": "No worker brought a result."} if state == "failed" else None,
            "metadata": {},
        }

    def line(self, job: dict[str, Any], id: str, item: dict[str, Any]) -> dict[str, Any]:
        flags = [self.flags[id]] if id in self.flags and job["states"][0] in OVER else []
        line = {"id": id, "input": {name: value for name, value in item.items() if name != "id"}, "flags": flags}
        if id in job["results"]:
            status = {"output": job["results"][id], "status": "flagged" if flags else "ok"}
            return {**line, **status, "reason": ", ".join(flags) or None}
        reason = "refused" if job["states"][0] in OVER else "pending"
        return {**line, "output": None, "status": "missing", "reason": reason}

    def report(self, id: str) -> httpx.Response:
        job = self.jobs[id]
        if job["states"][0] not in OVER:
            return problem(409, "conflict", "The job is not over.")
        missing = [{"id": key, "reason": "refused"} for key in job["items"] if key not in job["results"]]
        flagged = [{"id": key, "flag": flag} for key, flag in self.flags.items()]
        counts = {"total": len(job["items"]), "covered": len(job["results"]), "missing": missing, "flagged": flagged}
        merged = {"count_by": {}, "stages": {}, "results": len(job["results"])}
        return httpx.Response(200, json={"synthesis": "All is well.", "merged": merged, "coverage": counts})

    def estimate(self, body: dict[str, Any]) -> httpx.Response:
        span = {"low": 1, "high": 2}
        expected = {
            "calls": span,
            "input_tokens": span,
            "output_tokens": span,
            "seconds": span,
            "limits_known": False,
            "cost_usd": {"low": 0.01, "high": 0.4},
            "likely_usd": 0.07,
            "stages": [],
        }
        answer = {
            "mode": "static",
            "items": len(body["input"]["items"]),
            "stages": [],
            "expected": expected,
            "alternatives": [],
        }
        return httpx.Response(200, json=answer)

    def schedule(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if request.method == "POST" and not rest:
            body = json.loads(request.content)
            made = {
                "id": f"sched_{len(self.schedules):032x}",
                "name": "",
                "time_zone": "UTC",
                "overlap": "skip",
                "paused": False,
                "next_runs": [],
                "last_runs": [],
                "created_at": "2026-11-22T12:00:00Z",
                "updated_at": "2026-11-22T12:00:00Z",
                **body,
            }
            self.schedules[made["id"]] = made
            return httpx.Response(201, json=made)
        if not rest:
            return httpx.Response(200, json={"data": list(self.schedules.values()), "next_cursor": None})
        if rest[1:] == ["run"]:
            return httpx.Response(202, json={"due_at": "2026-11-22T12:00:00Z", "cause": "caller", "state": "waiting"})
        if request.method == "PATCH":
            self.schedules[rest[0]].update(json.loads(request.content))
        if request.method == "DELETE":
            del self.schedules[rest[0]]
            return httpx.Response(204)
        return httpx.Response(200, json=self.schedules[rest[0]])


def faults_of(place: int, item: dict[str, Any]) -> list[dict[str, str]]:
    faults = []
    id = item.get("id")
    if not isinstance(id, str) or not id or len(id) > 128 or CONTROL.search(id):
        faults.append({"path": f"input.items[{place}].id", "message": "is no id"})
    if all(
        value is None or (isinstance(value, str) and not value.strip()) for name, value in item.items() if name != "id"
    ):
        faults.append({"path": f"input.items[{place}]", "message": "is empty"})
    return faults


def multipart(request: httpx.Request) -> dict[str, Any]:
    boundary = request.headers["content-type"].split("boundary=")[1].encode()
    spec, rows = (part.split(b"\r\n\r\n", 1)[1][:-2] for part in request.content.split(b"--" + boundary)[1:3])
    return {**json.loads(spec), "input": {"items": [json.loads(line) for line in rows.split(b"\n")]}}


def problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> httpx.Response:
    body = {
        "type": "about:blank",
        "title": "",
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "req_1",
        "errors": errors or [],
    }
    return httpx.Response(status, json=body)
