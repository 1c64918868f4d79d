"""Writes `src/fanwise/_models.py` from the service's OpenAPI document.

`python generate.py` writes the file; `python generate.py --check` only says whether it is up to date.
"""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[1] / "src/api/openapi/openapi.json"
MODELS = HERE / "src/fanwise/_models.py"

OPTIONS = [
    "--input-file-type=openapi",
    "--output-model-type=pydantic_v2.BaseModel",
    # A state is a plain string for the caller, not a model with a `root`.
    "--collapse-root-models",
    "--enum-field-as-literal=all",
    "--use-standard-collections",
    "--use-union-operator",
    "--use-annotated",
    "--use-schema-description",
    "--target-python-version=3.10",
    "--disable-timestamp",
    # No formatter of another package: its version would decide about the text.
    "--formatters=builtin",
    "--custom-file-header=# Generated from src/api/openapi/openapi.json by generate.py. Do not edit.",
]


def generated(document: Path, output: Path) -> str:
    """The models of a document, written to `output`."""
    command = [sys.executable, "-m", "datamodel_code_generator", f"--input={document}", f"--output={output}", *OPTIONS]
    subprocess.run(command, check=True)
    text = output.read_text(encoding="utf-8")
    # A call is no type for mypy where it stands in a union.
    text = re.sub(r"\bconstr(\(.*?\)) \|", r"Annotated[str, StringConstraints\1] |", text)
    text = re.sub(r"(from pydantic import .*), constr\b", r"\1, StringConstraints", text)
    output.write_text(text, encoding="utf-8")
    return text


def main() -> int:
    if sys.argv[1:] != ["--check"]:
        generated(DOCUMENT, MODELS)
        return 0
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        if generated(DOCUMENT, Path(folder) / "models.py") == MODELS.read_text(encoding="utf-8"):
            return 0
    print(f"{MODELS} does not match {DOCUMENT}: run `python {HERE / 'generate.py'}`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
