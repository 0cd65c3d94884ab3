"""`.env.example` is the list of all settings: nothing is missing, nothing is made up, every default is true."""

import re
from pathlib import Path

import pytest

from postbacks.platforms.registry import ADAPTERS
from postbacks.settings import Settings

EXAMPLE = Path(__file__).parents[1] / ".env.example"
LINES = EXAMPLE.read_text().splitlines()
SHOWN = {match[1]: match[2] for line in LINES if (match := re.fullmatch(r"#(POSTBACKS_[A-Z_]+)=(.*)", line))}
REAL_BASES = {name: base for adapter in ADAPTERS.values() for name, base in adapter.api_bases.items()}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SHOWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def _variable(field: str) -> str:
    return f"POSTBACKS_{field.upper()}"


def test_every_setting_is_listed_once() -> None:
    listed = [line[1:].partition("=")[0] for line in LINES if line.startswith("#POSTBACKS_")]

    assert sorted(listed) == sorted(_variable(field) for field in Settings.model_fields)


def test_no_line_is_active() -> None:
    """A copy changes nothing until somebody removes a `#`."""
    assert [line for line in LINES if line and not line.startswith("#")] == []


@pytest.mark.parametrize("field", Settings.model_fields)
def test_the_default_shown_is_the_default(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = _variable(field)
    default = getattr(Settings(), field)
    if variable.removeprefix("POSTBACKS_") in REAL_BASES:
        assert (default, SHOWN[variable]) == (None, REAL_BASES[variable.removeprefix("POSTBACKS_")])
        return
    if default in (None, ()):
        assert SHOWN[variable] == ""
        return
    monkeypatch.setenv(variable, SHOWN[variable])

    assert getattr(Settings(), field) == default


@pytest.mark.parametrize("variable", sorted(set(SHOWN) - {f"POSTBACKS_{name}" for name in REAL_BASES}))
def test_every_setting_says_what_it_is_for(variable: str) -> None:
    above = LINES[LINES.index(f"#{variable}={SHOWN[variable]}") - 1]

    assert above.startswith("# ")
