import html.parser
import shutil
import subprocess

import made_runs
import numpy as np
import pytest

from sparsernn.errors import UserError
from sparsernn.reports import page
from sparsernn.reports.reading import read_run, read_runs

HOSTILE = "<script>alert('x')</script>"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
VOID = {"meta", "img", "br", "hr", "link"}


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [(name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return made_runs.make_recipe(tmp_path_factory.mktemp("quickstart"))


def test_the_page_holds_everything_and_needs_nothing(runs):
    text = page.render(read_runs(runs))
    reader = Reader(text)
    shown = " ".join(reader.texts)
    for words in ("Results", "Trade-off", "Training", "Confusion matrix", "Environment", "ST-RNN 90 %", "97.25 %"):
        assert words in shown
    assert "sparsernn run quickstart --out runs/quickstart" in shown
    assert "6 networks. Best accuracy: dense, 97.25 % with 59.2 kB. Smallest: ST-RNN 90 %" in shown
    assert reader.tags.count("img") == 2 + 3 + 4
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    for name, value in reader.values:
        if name in ("src", "href"):
            assert value.startswith("data:image/svg+xml;base64,")
    assert "http://" not in text and "https://" not in text and "url(" not in text


def test_hostile_names_are_shown_as_text(tmp_path):
    confusion = made_runs.confusion([HOSTILE, "b"])
    metrics = {"accuracy": 0.9, "confusion": confusion}
    masks = {f"{HOSTILE}.weight": np.ones((4, 4), dtype=bool)}
    folder = made_runs.make_run(
        tmp_path / "a", HOSTILE, metrics, masks=masks, gates=(), recipe=HOSTILE, command=HOSTILE
    )
    (folder / "environment.json").write_text('{"<script>": "<script>"}')
    text = page.render([read_run(folder)], title=HOSTILE, summary=HOSTILE)
    assert "<script" not in text.lower()
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert HOSTILE in " ".join(Reader(text).texts)


def test_a_run_that_has_not_ended_has_a_page(tmp_path):
    folder = made_runs.make_run(tmp_path / "a", "dense", {})
    (folder / "result.json").unlink()
    assert "Not finished: a." in page.render([read_run(folder)])


def test_many_classes_are_a_picture_with_the_worst_mistakes(tmp_path):
    confusion = made_runs.confusion([f"class {k}" for k in range(30)])
    confusion["matrix"][3][7] = 99
    folder = made_runs.make_run(tmp_path / "a", "dense", {"accuracy": 0.9, "confusion": confusion})
    text = " ".join("".join(Reader(page.render([read_run(folder)])).texts).split())
    assert "class 3 taken for class 7 (99)" in text


def test_a_malformed_confusion_matrix_is_left_out(tmp_path):
    wrong = {"labels": ["a"], "matrix": [[1, 2]]}
    folder = made_runs.make_run(tmp_path / "a", "dense", {"accuracy": 0.9, "confusion": wrong})
    assert "Confusion" not in page.render([read_run(folder)])


def test_writing_is_whole_or_not_at_all(runs, tmp_path):
    path = page.write(runs[:1], tmp_path / "new" / "page.html")
    assert [child.name for child in path.parent.iterdir()] == ["page.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        page.write(runs[:1], tmp_path / "file" / "page.html")
    with pytest.raises(UserError, match="no run to report"):
        page.write([], tmp_path / "page.html")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium: install the Debian package chromium")
@pytest.mark.parametrize("width, dark", [(390, False), (768, False), (1400, False), (1400, True)])
def test_the_page_fits_a_browser_window(runs, tmp_path, width, dark):
    path = page.write(runs, tmp_path / "page.html")
    picture = tmp_path / "page.png"
    size = [f"--window-size={width},2400", f"--user-data-dir={tmp_path / 'profile'}"]
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [BROWSER, *OPTIONS, *size, *scheme, f"--screenshot={picture}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]  # [height width 3]
    assert pixels.shape[1] == width
    ground = pixels[0, 0]
    assert (np.abs(pixels[:, :8] - ground).max() < 0.02) and (np.abs(pixels[:, -8:] - ground).max() < 0.02)
    assert pixels.std() > 0.05 and (ground.max() < 0.2 if dark else ground.min() > 0.9)


def test_the_page_says_where_figures_are_from_and_what_older_runs_do_not_say(tmp_path):
    stated = {
        "splits": {"scored": "valid"},
        "provenance": {"commit": "0123abc+", "precision": "bfloat16", "test_in_sight": "no"},
    }
    folder = made_runs.make_run(tmp_path / "new", "new", {"accuracy": 0.5}, **stated)
    text = page.render([read_run(folder)])
    assert "0123abc+" in text and "bfloat16" in text and "accuracy on validation" in text
    older = made_runs.make_run(tmp_path / "old", "old", {"accuracy": 0.5}, recipe="mine")
    assert page.render([read_run(older)]).count("not stated") == 4
