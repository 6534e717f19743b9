"""The pages that derive from the code say what the code says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_generated_pages_have_not_drifted() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, text in module.pages().items():
        assert path.read_text() == text, f"{path.name} has drifted: run `make docs`"
