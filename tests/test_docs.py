"""The documentation says what is so: links lead somewhere, code compiles, names exist, the quickstart works."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.management import get_commands, load_command_class

from llmrec_django import api
from llmrec_django.conf import DEFAULTS
from tests.hosts.servers import empty_database
from tests.subprocesses import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$", re.M | re.S)


class Block(NamedTuple):
    page: str
    language: str
    code: str


def blocks(*languages):
    found = []
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            if match["language"] in languages:
                found.append(Block(str(page.relative_to(ROOT)), match["language"], textwrap.dedent(match["code"])))
    return found


def prose(page):
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def ids(values):
    return [value.page for value in values]


# Links


def anchors(page):
    text = page.read_text(encoding="utf-8")
    slugs = set(re.findall(r"^\((\w[\w-]*)\)=$", text, re.M))
    for heading in re.findall(r"^#{1,3} (.+)$", prose(page), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        slugs.add(slug)
    return slugs


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "", prose(document))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_every_page_is_in_the_index():
    listed = set(re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.glob("*.md") if page.name != "index.md"} | {
        "decisions/index.md"
    }
    decisions = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for page in DOCS.glob("decisions/[0-9]*.md"):
        assert page.stem in decisions


# Code


def parsed(code):
    """Return the syntax tree of statements, or of entries of a dict that is not shown."""
    try:
        return ast.parse(code)
    except SyntaxError:
        return ast.parse(f"{{\n{code}}}")


@pytest.mark.parametrize("block", blocks("python"), ids=ids(blocks("python")))
def test_python_compiles(block):
    parsed(block.code)


@pytest.mark.parametrize("block", blocks("json"), ids=ids(blocks("json")))
def test_json_parses(block):
    json.loads(block.code)


@pytest.mark.parametrize("block", blocks("bash"), ids=ids(blocks("bash")))
def test_shell_commands_parse(block):
    done = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_imports_of_ours_exist():
    for block in blocks("python"):
        for node in ast.walk(parsed(block.code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("llmrec_django"):
                module = __import__(node.module, fromlist=["*"])
                for name in node.names:
                    assert hasattr(module, name.name), f"{block.page}: {node.module}.{name.name}"


def test_the_beat_schedule_names_tasks_and_queues_that_exist():
    from celery import Celery
    from celery.beat import Scheduler

    from llmrec_django import tasks

    app = Celery("reader", set_as_current=False)
    app.tasks.update({task.name: task for task in vars(tasks).values() if hasattr(task, "apply_async")})
    found = [block for block in blocks("python") if "CELERY_BEAT_SCHEDULE = {" in block.code]
    assert [block.page for block in found] == ["docs/install.md"]
    names: dict = {}
    exec(found[0].code, names)
    app.conf.beat_schedule = names["CELERY_BEAT_SCHEDULE"]
    scheduler = Scheduler(app, lazy=True)
    scheduler.setup_schedule()
    entries = {name: entry for name, entry in scheduler.schedule.items() if name.startswith("llmrec-")}
    assert {entry.task for entry in entries.values()} <= set(app.tasks)
    assert {entry.options["queue"] for entry in entries.values()} <= set(DEFAULTS["QUEUES"].values())
    worker = re.search(r"celery -A yoursite worker -Q (\S+)", (DOCS / "install.md").read_text(encoding="utf-8"))
    assert {entry.options["queue"] for entry in entries.values()} <= set(worker[1].split(","))
    assert all(entry.schedule.remaining_estimate(entry.last_run_at) is not None for entry in entries.values())


# Names


def test_every_setting_is_documented_with_its_default():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", prose(DOCS / "settings.md"), re.M))
    assert set(rows) == set(DEFAULTS)
    for key, shown in rows.items():
        if shown.startswith("`"):
            assert ast.literal_eval(shown.strip("`")) == DEFAULTS[key], key


def test_every_verb_is_documented_as_it_is():
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d.]+) \| (\w+) \| (yes|no) \| ([^|]+?) \|$", prose(DOCS / "settings.md"), re.M
    )

    def pause(days):
        if days is None:
            return "does not hide"
        return "never" if days == float("inf") else f"{days} day{'' if days == 1 else 's'}"

    assert rows == [
        (name, f"{verb.weight:g}", verb.effect, "yes" if verb.learner_may_send else "no", pause(verb.seen_days))
        for name, verb in DEFAULTS["VERBS"].items()
    ]


def test_every_setting_is_read_somewhere():
    code = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "llmrec_django").rglob("*.py") if path.name != "checks.py"
    )
    for key in DEFAULTS:
        assert re.search(rf"\bconf\.{key}\b|\bself\.{key}\b", code), key


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_a_page_names_exist(document):
    text = document.read_text(encoding="utf-8")
    found = set(re.findall(r"""LLMREC\[["']([A-Z_]+)["']\]""", text))
    for block in re.findall(r"^LLMREC = (\{.*?^\}|\{.*?\}$)", text, re.M | re.S):
        found |= set(re.findall(r"""^(?: {4}|\{)["']([A-Z_]+)["']:""", block, re.M))
    assert found <= set(DEFAULTS)


def our_commands():
    return {name for name, app in get_commands().items() if app == "llmrec_django"}


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_a_page_names_exist_and_have_its_options(document):
    text = document.read_text(encoding="utf-8")
    # Names of the app, its tables, its index, a tag and a folder.
    others = r"llmrec_(django\w*|vectors_space\w*|beacon|artifacts|web)"
    assert {name for name in re.findall(r"\bllmrec_\w+", text) if not re.fullmatch(others, name)} <= our_commands()
    for name, rest in re.findall(r"(?:manage\.py |`)(llmrec_[a-z]+)([^`\n|]*)", text):
        if name not in our_commands():
            continue
        parser = load_command_class("llmrec_django", name).create_parser("manage.py", name)
        known = {option for action in parser._actions for option in action.option_strings}
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest):
            assert option in known, f"{name} {option}"


def test_every_command_is_documented():
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name in our_commands():
        assert name in text, name


def test_documented_check_ids_are_those_of_the_code():
    code = "".join(
        (ROOT / "llmrec_django" / name).read_text(encoding="utf-8") for name in ("checks.py", "sources/checking.py")
    )
    in_code = set(re.findall(r"llmrec_django\.([EW]\d{3})", code))
    in_code |= set(re.findall(r"""_(?:error|warning)\(\s*["']([EW]\d{3})["']""", code))
    documented = set()
    for page in ("checks.md", "sources.md"):
        documented |= set(re.findall(r"^\| `llmrec_django\.([EW]\d{3})`", prose(DOCS / page), re.M))
    assert documented == in_code


def test_the_python_api_is_documented_whole():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)`", re.search(r"\| `api` \|.*", text)[0])) == {"api", *api.__all__}


# Running


def quickstart_steps():
    """Yield what the quickstart says to do, in order: ("file", path, text) or ("command", line)."""
    for match in FENCE.finditer((DOCS / "quickstart.md").read_text(encoding="utf-8")):
        code = match["code"]
        if match["language"] == "bash":
            yield from (("command", line) for line in code.splitlines())
        elif match["language"] in ("python", "html"):
            head = re.match(r"(?:# |<!-- )(\S+?\.\w+)", code)
            yield "file", head[1], code


def test_the_quickstart_ends_with_a_list_on_a_page(tmp_path):
    """The reader's steps, with a database of the test run and an encoder that downloads nothing."""
    with empty_database("quickstart") as entry:
        changes = f"\nDATABASES = {{'default': {entry!r}}}\n"
        changes += "LLMREC['ENCODERS'] = {'default': {'BACKEND': 'llmrec_django.testing.HashingEncoder'}}\n"
        environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        environment |= {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

        def run(line):
            done = subprocess.run(
                line,
                shell=True,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}"
            return done.stdout

        for kind, *step in quickstart_steps():
            if kind == "command":
                (line,) = step
                if not line.startswith(("python -m venv", "pip ", "docker ")) and "runserver" not in line:
                    run(line)
                continue
            name, text = step
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if ", at the end" in text.partition("\n")[0]:
                text = path.read_text(encoding="utf-8") + text + changes
            path.write_text(text, encoding="utf-8")
        said = run(
            'python manage.py shell -c "'
            "from django.test import Client; from django.contrib.auth.models import User; c = Client();"
            " c.force_login(User.objects.get()); print(c.get('/', headers={'host': 'localhost'}).content.decode());"
            " print('SECOND', c.get('/books/1/', headers={'host': 'localhost'}).content.decode())"
            '"'
        )
    home, _, book = said.partition("SECOND")
    titles = re.findall(r'data-llmrec-key="book:\d+">([^<]+)<', home)
    assert titles[0] == "Matrices at work", said
    assert len(titles) == 3
    assert "Linear algebra, gently" not in titles
    assert re.findall(r'data-llmrec-key="book:\d+">([^<]+)<', book)[0] == "Matrices at work"


@pytest.mark.skipif(find_spec("sphinx") is None, reason="Sphinx is not installed: pip install .[docs]")
def test_the_documentation_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path / "html")]
        + ["-d", str(tmp_path / "trees")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "quickstart.html").exists()
