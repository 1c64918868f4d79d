"""The package is typed, and callers see the type of their answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]

CALLER = """
import pydantic
from fanwise import AsyncFanwise, Fanwise, models

class Tag(pydantic.BaseModel):
    category: str

job = Fanwise("https://x").map(["x"], ask="?", into=Tag)
reveal_type(job.rows()[0].output)
reveal_type(job.wait().view)

async def main() -> None:
    reveal_type(await AsyncFanwise("https://x").map(["x"], ask="?", into=Tag).rows())
"""


def test_the_package_and_a_caller_hold_in_strict_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    caller = tmp_path / "caller.py"
    caller.write_text(CALLER)
    options = ["--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), "--no-color-output"]
    command = [sys.executable, "-m", "mypy", *options, "src/fanwise", str(caller)]
    said = subprocess.run(command, cwd=HERE, capture_output=True, text=True).stdout
    assert "Success" in said, said
    for type in ("caller.Tag | None", "fanwise._models.JobView | None", "list[fanwise._join.Row[caller.Tag]]"):
        assert f'"{type}"' in said, said
