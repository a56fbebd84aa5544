"""What the README shows is executed, leads somewhere, and fits on a screen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_runs_without_aws_in_15_lines(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = BLOCKS

    exec(compile(example, "README.md, Python block", "exec"), names := {"__name__": "readme"})

    loader: Any = names["loader"]
    assert loader.stats().samples == 400
    assert {image.shape for image in names["batch"]} == {(480, 640, 3)}
    assert capsys.readouterr().out == f"{loader.stats()}\n"
    imports, _, program = example.partition("\n\n")
    assert len(imports.splitlines()) == 3
    assert len(program.splitlines()) <= 15


def test_the_page_is_short() -> None:
    assert len(README.splitlines()) <= 90


@pytest.mark.parametrize(
    "figure", re.findall(r"\b\d[\d,]+\b", README.partition("## Figures")[2].partition("## Read on")[0])
)
def test_a_figure_of_the_readme_stands_in_the_results(figure: str) -> None:
    results = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")

    assert re.search(rf"(?<![\d,]){figure}(?!,?\d)", results)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(target: str) -> None:
    if not target.startswith("http"):
        assert (ROOT / target).exists()


@pytest.mark.parametrize("target", re.findall(r"^make (\S+)", README, re.MULTILINE))
def test_the_commands_of_the_readme_are_targets_of_the_makefile(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
