"""What the documents say is what the code does."""

import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest

from qagate import __version__, cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("models/cards/*.md")]
_WORK_FOLDER = "/" + "work" + "/"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_of(text: str) -> str:
    """Code blocks and spans, a line each; comments within blocks left out."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    spans = re.findall(r"`([^`\n]+)`", text)
    return "\n".join([re.sub(r"\s# .*", "", block) for block in blocks] + spans)


@pytest.mark.parametrize("name", ["settings.md", "measures.md", "models.md", "conformance.md"])
def test_generated_pages_are_current(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == generator().pages()[name], f"docs/{name} is stale: run python docs/generate.py"


def test_readme_names_every_command_and_no_other() -> None:
    context = click.Context(cli.main)
    there = {
        name
        for name in cli.main.list_commands(context)
        if (command := cli.main.get_command(context, name)) is not None and not command.hidden
    }
    named = set(re.findall(r"^qagate ([a-z]+)", code_of(README), re.MULTILINE))
    assert named == there


def test_options_in_readme_exist() -> None:
    context = click.Context(cli.main)
    for line in re.findall(r"^qagate ([a-z]+.*)$", code_of(README), re.MULTILINE):
        name, *words = line.split()
        command = cli.main.get_command(context, name)
        while isinstance(command, click.Group) and words and words[0] in command.list_commands(context):
            command = command.get_command(context, words.pop(0))
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_make_targets_in_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code_of(page.read_text(encoding="utf-8"))))
        assert named <= targets, f"{page.name} names {sorted(named - targets)}"


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


def test_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## \[?([^\]\s]+)", changelog, re.MULTILINE)
    assert __version__ in heads, f"CHANGELOG.md has no section for {__version__}"


def test_no_committed_file_names_a_work_folder() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file():
            assert _WORK_FOLDER.encode() not in path.read_bytes(), f"{name} names {_WORK_FOLDER}"
