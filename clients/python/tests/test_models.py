"""The models are those of the OpenAPI document as it stands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import generate


def test_models_are_generated_from_the_document_of_today(tmp_path: Path) -> None:
    pytest.importorskip("datamodel_code_generator")
    found = generate.generated(generate.DOCUMENT, tmp_path / "models.py")
    assert found == generate.MODELS.read_text(encoding="utf-8"), "run `python clients/python/generate.py`"
