from collections.abc import Iterator

import pytest

from langchain_logprobs.local import LocalModel, local_model


@pytest.fixture(scope="session")
def local() -> Iterator[LocalModel]:
    """The real local model, started once for the whole session."""
    pytest.importorskip("xllamacpp", reason='needs the extra "local"', exc_type=ImportError)
    with local_model() as model:
        yield model
