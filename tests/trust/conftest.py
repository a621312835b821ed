import os

import pytest

from tests.trust import corpus


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The corpus; nobody changes it."""
    before = os.environ.get("SPARSERNN_CACHE")
    try:
        yield corpus.make(tmp_path_factory.mktemp("corpus") / "whole")
    finally:
        os.environ.pop("SPARSERNN_CACHE")
        if before is not None:
            os.environ["SPARSERNN_CACHE"] = before
