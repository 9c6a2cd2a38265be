"""The page's modules, in one Node process for all tests of a module."""

from collections.abc import Iterator

import pytest

from tests.support.page.page_modules import PageModules, page_modules


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageModules]:
    with page_modules(tmp_path_factory.mktemp("page")) as modules:
        yield modules
