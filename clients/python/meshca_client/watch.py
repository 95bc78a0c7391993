"""Follows the trust bundle, and confirms what was applied."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import grpc

from meshca_client._pb import signing_pb2
from meshca_client.digest import set_digest
from meshca_client.errors import MeshcaError

if TYPE_CHECKING:
    from meshca_client.client import Client, Generation


@dataclass(frozen=True)
class Bundle:
    """The whole present state."""

    trust: signing_pb2.TrustSet = field(default_factory=signing_pb2.TrustSet)
    crls: signing_pb2.CrlSet = field(default_factory=signing_pb2.CrlSet)
    taints: signing_pb2.TaintSet = field(default_factory=signing_pb2.TaintSet)
    renew_now: signing_pb2.RenewNow = field(default_factory=signing_pb2.RenewNow)


@dataclass(frozen=True)
class Holdings:
    """What this program tells of those whom it serves. It reports its own roots by itself."""

    consumers: Sequence[signing_pb2.WatchConsumer] = ()
    names_all_holders: bool = False
    replaced_serials: Sequence[str] = ()


Apply = Callable[[Bundle], Holdings]


class Watcher:
    """One process of a control plane. Owner of its present stream."""

    def __init__(
        self,
        client: Client,
        hello: signing_pb2.WatchHello,
        apply: Apply,
        without_jwt: bool,
        on_error: Callable[[MeshcaError], None] | None,
    ) -> None:
        self._client = client
        self._hello = hello
        self._apply = apply
        self._without_jwt = without_jwt
        self._on_error = on_error
        self._wait = 0.5

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._client.generation() as generation:
                try:
                    self._once(generation, stop)
                except grpc.RpcError as error:
                    if generation.retired.is_set() or stop.is_set():
                        continue
                    if self._on_error is not None:
                        self._on_error(self._client.error_of(error))
            stop.wait(self._wait * random.uniform(0.5, 1))
            self._wait = min(2 * self._wait, 60)

    def _once(self, generation: Generation, stop: threading.Event) -> None:
        outgoing: queue.SimpleQueue[signing_pb2.WatchBundleRequest | None] = queue.SimpleQueue()
        outgoing.put(signing_pb2.WatchBundleRequest(hello=self._hello))
        call = generation.api.WatchBundle(_until_none(outgoing))
        ended = threading.Event()

        def end_with_connection() -> None:
            while not ended.wait(0.2):
                if generation.retired.is_set() or stop.is_set():
                    call.cancel()
                    return

        threading.Thread(target=end_with_connection, daemon=True).start()
        bundle = Bundle()
        try:
            for message in call:
                self._wait = 0.5
                bundle = _merged(bundle, message)
                report = self._report(bundle, self._apply(bundle))
                outgoing.put(signing_pb2.WatchBundleRequest(report=report))
        finally:
            ended.set()
            outgoing.put(None)
            call.cancel()

    def _report(self, bundle: Bundle, holdings: Holdings) -> signing_pb2.WatchReport:
        return signing_pb2.WatchReport(
            authority_set_digest=set_digest(bundle.trust.roots_der),
            jwt_set_digest=b""
            if self._without_jwt
            else set_digest(key.spki_der for key in bundle.trust.jwt_keys),
            consumers=holdings.consumers,
            names_all_holders=holdings.names_all_holders,
            replaced_serials=holdings.replaced_serials,
        )


def _until_none(
    outgoing: queue.SimpleQueue[signing_pb2.WatchBundleRequest | None],
) -> Iterator[signing_pb2.WatchBundleRequest]:
    while (message := outgoing.get()) is not None:
        yield message


def _merged(bundle: Bundle, message: signing_pb2.WatchBundleResponse) -> Bundle:
    parts = ("trust", "crls", "taints", "renew_now")
    return replace(
        bundle, **{part: getattr(message, part) for part in parts if message.HasField(part)}
    )
