"""Every code block of README and docs runs, in the order of its page."""

import pytest

from tests.docs.blocks import LANGUAGES, PAGES, added_files, blocks_of, run, stories


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page):
    fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("```")]
    blocks = blocks_of(page)
    assert len(fences) == 2 * len(blocks)
    assert {block.language for block in blocks} <= set(LANGUAGES)


@pytest.mark.parametrize("story", stories(), ids=lambda story: str(story[0]))
def test_blocks_run(story, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPARSERNN_CACHE", str(tmp_path / "cache"))
    with added_files(tmp_path):
        run(story, tmp_path)
