"""Pages agree with the code, with the results and with each other."""

import importlib.util
import re
import subprocess
import sys
import tomllib

import pytest

import sparsernn
from sparsernn import folders, listing
from sparsernn.cli import app
from sparsernn.reports import tables
from tests.docs.blocks import PAGES, ROOT
from tests.test_layers import BOTTOM, TABLE

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
MARKDOWN = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "LOG.md"]


@pytest.fixture(scope="module")
def generate():
    """docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Names of a page's headings in a link."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name} links to {link}"


def test_pages_of_the_site_link_only_within_it():
    for page in (ROOT / "docs").glob("*.md"):
        assert not [link for link in LINK.findall(page.read_text(encoding="utf-8")) if link.startswith("..")], page.name


def test_lists_are_those_of_the_code(generate):
    assert [page.name for page in generate.outdated()] == [], "run python docs/generate.py"


def test_tables_are_those_of_the_results(generate):
    assert tables.check(PAGES, ROOT / "results", generate.published) == []


def test_the_page_of_a_recipe_has_its_deviations(generate):
    text = generate.reference("recipes.*").partition("### `liu2021_table4`")[2].partition("### ")[0]
    assert "**Deviations:**" in text and "`task.unknown`" in text and "**Scaled:**" in text


def test_every_recipe_with_results_has_its_table():
    recipes = {file.parent.name for file in (ROOT / "results").glob("*/*.json")} & set(folders.names("recipes"))
    pages = "".join(read(f"docs/{page.name}") for page in (ROOT / "docs").glob("recipes*.md"))
    shown = {name.partition("/")[0] for name in re.findall(r"^<!-- table: (\S+) -->$", pages, re.MULTILINE)}
    assert recipes <= shown


def test_reference_has_every_public_name(generate):
    text = generate.on_page_markdown(read("docs/reference.md"))
    headings = set(re.findall(r"^### `(.*)`$", text, re.MULTILINE))
    assert {f"sparsernn.{name}" for name in sparsernn.__all__} <= headings
    for kind, folder in listing.FOLDERS.items():
        assert set(folders.names(folder)) <= headings, kind
    assert "<!-- reference" not in text


def test_slots_of_a_docstring_become_a_list(generate):
    text = "First line.\n\nMore * text.\n\nArguments:\n    a, b: two\n        lines.\n    c: one.\nRaises: UserError.\n"
    assert generate.slots(text) == (
        "First line.\n\nMore \\* text.\n\n"
        "**Arguments:**\n\n- `a, b`: two lines.\n- `c`: one.\n\n**Raises:** UserError.\n"
    )


def test_lists_name_everything():
    for folder, page in (("methods", "choose-a-method"), ("cells", "cells")):
        text = read(f"docs/{page}.md")
        assert all(f"| `{name}` |" in text for name in folders.names(folder))


def test_every_command_is_explained():
    text = "".join(read(f"docs/{page.name}") for page in (ROOT / "docs").glob("*.md"))
    for command in app.registered_commands:
        assert f"sparsernn {command.name or command.callback.__name__}" in text


def test_the_table_of_imports_is_the_one_that_is_checked():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", read("docs/how-it-fits.md").partition("## Five")[0], re.MULTILINE)
    shown = {name: set(re.findall(r"`([\w.]+)`", granted)) for name, granted in rows}
    assert shown == {name: granted for name, granted in TABLE.items() if name not in BOTTOM | {"listing", "options"}}


def test_the_tree_of_the_readme_is_the_tree():
    text = read("README.md")
    picture = text[text.index("src/sparsernn/\n") : text.index("```", text.index("src/sparsernn/\n"))]
    inside = set(re.findall(r"^  (\w+)/ ", picture, re.MULTILINE))
    there = {
        path.name for path in (ROOT / "src" / "sparsernn").iterdir() if path.is_dir() and not path.name.startswith("_")
    }
    assert inside == there


def test_the_changelog_knows_this_version():
    assert f"## [{sparsernn.__version__}]" in read("CHANGELOG.md")


def test_the_extras_of_the_readme_are_those_of_the_package():
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    text = read("README.md")
    table = text[text.index("| extra |") : text.index("A C++ compiler")]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)))) == set(extras)


def test_the_site_is_built_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        assert not re.search(
            r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+href="https?:', page.read_text(encoding="utf-8")
        )
    reference = (tmp_path / "reference.html").read_text(encoding="utf-8")
    assert all(f"sparsernn.{name}" in reference for name in sparsernn.__all__)
