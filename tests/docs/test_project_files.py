"""Check the licence, the changelog, the editor settings, the git hook, and the links between pages."""

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from quoteapi import __version__
from quoteapi.settings import ROOT

FOLDERS = ("", ".ci", ".ci/hooks", "benchmarks", "catalogue", "docs", "postman", "quoteapi", "tests")
"""The folders whose files are checked; those below `quoteapi` and `tests` too."""
PAGES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the sites that host repositories make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), f"{target}#{anchor}"


def test_the_licence_is_mit() -> None:
    title, copyright_line, permission, *_ = re.split(r"\n\n", (ROOT / "LICENSE").read_text())
    assert title == "MIT License"
    assert copyright_line == "Copyright (c) 2026 the QuoteAPI authors"
    assert permission.startswith("Permission is hereby granted, free of charge, to any person obtaining a copy")


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    assert "https://keepachangelog.com/en/1.1.0/" in CHANGELOG
    first, *others = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert first == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in others)
    assert others[0].startswith(f"[{__version__}]")


@pytest.mark.parametrize("release", re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:], ids=lambda text: text[:12])
def test_the_sections_of_a_release_are_known_and_in_order(release: str) -> None:
    kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
    assert kinds
    assert all(KINDS.index(former) < KINDS.index(latter) for former, latter in pairwise(kinds))
    for entry in re.findall(r"^- ((?:.|\n(?!- |\n))+)", release, re.MULTILINE):
        assert entry.rstrip().endswith((".", ":")), entry


def editor_settings(path: Path) -> dict[str, str]:
    """Return what `.editorconfig` says of a file."""
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    found: dict[str, str] = {}
    for pattern in parser.sections()[1:]:
        alternatives = re.fullmatch(r"\*\.\{(.+)\}", pattern)
        patterns = [f"*.{ending}" for ending in alternatives[1].split(",")] if alternatives else [pattern]
        if any(path.match(one) for one in patterns):
            found |= parser[pattern]
    return found


def text_files() -> Iterator[tuple[Path, str]]:
    """Yield the files of the project that are text; not what set-up and tests leave, such as `.venv`."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("**/*" if folder in {"quoteapi", "tests"} else "*")):
            generated = {"node_modules", "__pycache__"} & set(path.parts) or path.name in {".env", ".setup.log"}
            if path.is_file() and not generated and b"\0" not in (content := path.read_bytes()):
                yield path, content.decode()


def test_every_text_file_is_as_the_editor_settings_say() -> None:
    wrong = []
    for path, text in text_files():
        settings = editor_settings(path)
        lines = text.split("\n")
        if (
            [line for line in lines if line.endswith((" ", "\t", "\r"))]
            or lines[-1] != ""
            or (settings["indent_style"] == "space" and [line for line in lines if line.startswith("\t")])
        ):
            wrong.append(path)
    assert wrong == []


def test_after_make_hooks_git_runs_make_lint_before_a_commit(tmp_path: Path) -> None:
    """In a clone whose tools are replaced by one that says how it was called, and fails."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    tool = tmp_path / ".venv-dev/bin/python"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\necho "ran $*"\nexit 1\n')
    tool.chmod(0o755)
    for name in ("Pipfile.lock", "pyproject.toml", ".venv-pipenv/.ready", ".venv-dev/.ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{tmp_path}\n")
    names = {f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **names}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    run("git", "init")
    assert run("make", "hooks").returncode == 0
    committed = run("git", "commit", "--allow-empty", "--message", "Change nothing")
    assert committed.returncode != 0
    assert "ran -m ruff format --check" in committed.stdout + committed.stderr
    assert run("git", "log").returncode != 0, "there is no commit"
