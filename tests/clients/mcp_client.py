"""The official Python SDK as a client of /mcp, in the newest revision and with the handshake of the one before.

Reads FANWISE_URL and FANWISE_TOKEN, prints one line per check, exits 1 if one fails.
"""

import asyncio
import os
import sys
import traceback

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

URL = os.environ["FANWISE_URL"].rstrip("/") + "/mcp"
TOKEN = os.environ["FANWISE_TOKEN"]

JOB = {
    "task": "Find out what customers complain about",
    "input": {"items": ["I was charged twice.", "The app crashes.", {"id": "T-3", "text": "Where is my parcel?"}]},
    "stages": [
        {"name": "classify", "kind": "map", "instructions": "Classify the ticket.", "output": "item", "chunk": {"items": 1}},
        {"name": "report", "kind": "synthesis", "instructions": "Sum up."},
    ],
    "limits": {"max_cost_usd": 1.0},
}
OVER = {"succeeded", "partial", "failed", "cancelled"}
passed = failed = 0


def check(name, holds, seen=None):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    print(("ok     " if holds else "FAILED ") + name + ("" if holds else f": {seen!r}"), flush=True)


async def use(mode, version):
    async with create_mcp_http_client(headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=mode) as client:
            check(f"{mode}: speaks {version}", client.session.protocol_version == version, client.session.protocol_version)
            if mode != version:  # Pinned, it asks for no introduction.
                info = client.session.server_info
                check(f"{mode}: names itself", info is not None and info.name == "fanwise", info)
                check(f"{mode}: has instructions", "run_job" in (client.session.instructions or ""))
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            wanted = {"list_recipes", "estimate_job", "run_job", "job_status", "job_results", "job_report", "cancel_job"}
            check(f"{mode}: has its tools", wanted <= set(tools), set(tools))
            job = await client.call_tool("run_job", JOB)
            check(f"{mode}: starts a job", not job.is_error, job)
            job_id = job.structured_content["job_id"]
            for _ in range(300):
                status = (await client.call_tool("job_status", {"job_id": job_id})).structured_content
                if status["state"] in OVER:
                    break
                await asyncio.sleep(0.1)
            check(f"{mode}: the job succeeds", status["state"] == "succeeded", status)
            report = (await client.call_tool("job_report", {"job_id": job_id})).structured_content
            check(f"{mode}: the report covers all", report["coverage"]["covered"] == 3, report)
            check(f"{mode}: links lead back here", report["link"].startswith(URL.removesuffix("/mcp")), report["link"])
            page = (await client.call_tool("job_results", {"job_id": job_id, "limit": 2})).structured_content
            rest = await client.call_tool("job_results", {"job_id": job_id, "cursor": page["next_cursor"]})
            ids = [line["id"] for line in page["data"] + rest.structured_content["data"]]
            check(f"{mode}: results come in pages", ids == ["item-1", "item-2", "T-3"], ids)
            over = await client.call_tool("cancel_job", {"job_id": job_id})
            check(f"{mode}: a fault is told in the result", over.is_error and "conflict" in over.content[0].text, over)


async def main():
    await use("legacy", "2025-11-25")
    await use("auto", "2026-07-28")
    await use("2026-07-28", "2026-07-28")
    try:
        async with create_mcp_http_client(headers={"Authorization": "Bearer wrong"}) as http:
            async with Client(streamable_http_client(URL, http_client=http), mode="legacy") as client:
                await client.list_tools()
        check("a wrong token gets nowhere", False)
    except BaseException as error:
        check("a wrong token gets nowhere", not isinstance(error, (KeyboardInterrupt, SystemExit)))


try:
    asyncio.run(main())
except Exception:
    traceback.print_exc()
    failed += 1
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
