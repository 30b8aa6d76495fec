import asyncio

import pytest

from keras_distill.serving.client.async_client import AsyncEmbeddingClient
from keras_distill.serving.client.client import EmbeddingClient


class InLoop:
    """An asynchronous client whose methods are called like those of the blocking one."""

    def __init__(self, client, runner):
        self._client, self._runner = client, runner

    def __getattr__(self, name):
        def call(*arguments, **options):
            return self._runner.run(getattr(self._client, name)(*arguments, **options))

        return call


@pytest.fixture(params=["blocking", "asyncio"])
def make_client(request, served):
    """Makes clients of either kind, for the model `birds` of the fake server."""
    clients = []

    def make(address=None, *, model="birds", **options):
        address = address or served.address
        if request.param == "blocking":
            clients.append(EmbeddingClient(address, model=model, **options))
        else:
            clients.append(InLoop(AsyncEmbeddingClient(address, model=model, **options), runner))
        return clients[-1]

    with asyncio.Runner() as runner:
        yield make
        for client in clients:
            client.close()


@pytest.fixture
def client(make_client):
    return make_client()
