"""Optuna's gRPC proxy and its client, such that outages are told from errors and waited out.

Optuna's own server answers both with UNKNOWN. This one says UNAVAILABLE of an outage, which
`storage.outages` waits for, at the client alone, who may be asked to end meanwhile. Optuna's
client waits for ever on a peer that is gone without a word, and up to two minutes before it looks
for one that is back; this one does neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache
from optuna.storages._grpc.servicer import OptunaStorageProxyService

from spaces.errors import StorageError
from storage.outages import impatient, is_outage, reason_of
from storage.patient_storage import SharedStorage

# As many calls at a time; each takes a connection to the database for a moment.
THREADS = 10
# Of one call; reading a study of 5,000 trials takes a few.
CALL_SECONDS = 120.0
RECONNECT_MILLISECONDS = 5000


def start_proxy(storage: SharedStorage, host: str, port: int) -> tuple[grpc.Server, int]:
    """A server that answers until it is stopped, and its port.

    Args:
        storage: Of the database.
        host: To listen at.
        port: 0: any that is free.

    Raises:
        StorageError: The port is taken, or the host is not this machine's.
    """
    server = grpc.server(
        ThreadPoolExecutor(THREADS),
        interceptors=(_Translator(),),
        options=(
            ("grpc.so_reuseport", 0),  # a second proxy must not share the port unseen
            ("grpc.max_receive_message_length", -1),
        ),
    )
    service = OptunaStorageProxyService(storage)
    add: Callable[..., None] = api_pb2_grpc.add_StorageServiceServicer_to_server
    add(service, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise StorageError(
            f"proxy: expected to listen at {host}:{port}, found that it cannot be; another "
            f"program may be there: choose another --port"
        ) from error
    server.start()
    return server, bound


class ProxyClient(GrpcStorageProxy):
    """Optuna's client, whose calls end, and which looks for a lost proxy every few seconds."""

    def _setup(self) -> None:
        """As Optuna's, on another channel."""
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MILLISECONDS),
        ]
        self._channel = grpc.insecure_channel(f"{self._host}:{self._port}", options)
        channel = grpc.intercept_channel(self._channel, _Deadline())
        stub: Callable[..., Any] = api_pb2_grpc.StorageServiceStub
        self._stub = stub(channel)
        self._cache = GrpcClientCache(self._stub)


# grpc has no types: what is derived from its classes is of no known class, where mypy finds it.
class _Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc,unused-ignore]
    """Gives each call a time by which it must be answered."""

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], details: Any, request: Any
    ) -> Any:
        """As gRPC wants it."""
        return continuation(details._replace(timeout=CALL_SECONDS), request)


class _Translator(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Names the kind of what a call raises."""

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """As gRPC wants it."""
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with _translating(context), impatient():
                return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


@contextmanager
def _translating(context: grpc.ServicerContext) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is: its kind is told to the client, and it is raised
        if context.code() is None:  # else the service has said it itself
            away = isinstance(error, sa.exc.SQLAlchemyError | StorageInternalError) and is_outage(
                error
            )
            code = grpc.StatusCode.UNAVAILABLE if away else grpc.StatusCode.INTERNAL
            context.abort(code, reason_of(error))
        raise
