"""Many certificates over one call, as fast as the server gives credits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass

import grpc

from meshca_client._pb import signing_pb2, signing_pb2_grpc
from meshca_client.errors import MeshcaError


@dataclass(frozen=True)
class Signed:
    """A certificate, and the present roots of the trust domain."""

    svid: signing_pb2.SignResponse
    roots_der: tuple[bytes, ...]


class SignStream:
    """Owner of the credits and of the requests without an answer."""

    def __init__(
        self,
        api: signing_pb2_grpc.SigningStub,
        error_of: Callable[[grpc.RpcError], MeshcaError],
        release: Callable[[], None],
    ) -> None:
        self._error_of = error_of
        self._release = release
        self._outgoing: queue.SimpleQueue[signing_pb2.SignStreamRequest | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._credits = 0
        self._next = 0
        self._waiting: dict[str, Future[Signed]] = {}
        self._roots: tuple[bytes, ...] = ()
        self.error: Exception | None = None
        self._call = api.SignStream(self._requests())
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def sign(self, request: signing_pb2.SignRequest, timeout: float = 60.0) -> Signed:
        """Waits for a credit, and for the answer. Raises MeshcaError for a refused request."""
        return self.submit(request, timeout).result(timeout)

    def submit(self, request: signing_pb2.SignRequest, timeout: float = 60.0) -> Future[Signed]:
        """Waits for a credit only."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._credits > 0 or self.error, timeout):
                raise TimeoutError("the server gave no credit in time")
            if self.error is not None:
                raise self.error
            self._credits -= 1
            self._next += 1
            answer: Future[Signed] = Future()
            self._waiting[str(self._next)] = answer
            self._outgoing.put(signing_pb2.SignStreamRequest(id=str(self._next), item=request))
            return answer

    def close(self) -> None:
        """Lets the server answer what was sent, and ends the stream."""
        self._outgoing.put(None)
        self._thread.join()

    def _requests(self) -> Iterator[signing_pb2.SignStreamRequest]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def _receive(self) -> None:
        error: Exception = EOFError("the stream has ended")
        try:
            for message in self._call:
                self._take(message)
        except grpc.RpcError as thrown:
            error = self._error_of(thrown)
        with self._changed:
            self.error = error
            waiting, self._waiting = self._waiting, {}
            self._changed.notify_all()
        for answer in waiting.values():
            answer.set_exception(error)
        self._outgoing.put(None)
        self._release()

    def _take(self, message: signing_pb2.SignStreamResponse) -> None:
        if message.roots_der:
            self._roots = tuple(message.roots_der)
        with self._changed:
            self._credits += message.credits
            answer = self._waiting.pop(message.id, None)
            self._changed.notify_all()
        if answer is None:
            return
        if message.result.HasField("refusal"):
            answer.set_exception(MeshcaError.of_item(message.result.refusal))
        else:
            answer.set_result(Signed(message.result.svid, self._roots))
