"""A client of the application of the fake model."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.servers import MANIFEST, fake
from tuning.serving import app


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app.make_app(fake, MANIFEST), base_url="http://127.0.0.1:8000") as made:
        yield made
