from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fake import TOKEN, Fake

from fanwise import Fanwise


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    # Waits are counted, not waited for.
    fake.waits = []  # type: ignore[attr-defined]
    monkeypatch.setattr(time, "sleep", fake.waits.append)  # type: ignore[attr-defined]
    return fake


@pytest.fixture
def fw(fake: Fake) -> Iterator[Fanwise]:
    with Fanwise("https://fanwise.test", TOKEN, transport=fake.transport()) as client:
        yield client
