"""A share, and a connection to it."""

import pytest

from iroh.protocols.files import FILES_ALPN, Collection, FileShare


@pytest.fixture
def sharing(bind):
    """Share a collection; gives a connection to it."""

    async def sharing(collection: Collection, on_event=lambda _event: None):
        server = await bind(protocols={FILES_ALPN: FileShare(collection, on_event)})
        client = await bind()
        return await client.connect(server.addr(), FILES_ALPN)

    return sharing
