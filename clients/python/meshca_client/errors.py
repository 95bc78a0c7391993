"""Refusals and failures as the server tells them."""

from __future__ import annotations

import grpc

from meshca_client._pb import signing_pb2

_RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class MeshcaError(Exception):
    """Decide by `code`, or by `status` for a code that you do not know. The texts can change."""

    def __init__(
        self,
        status: grpc.StatusCode,
        code: str,
        message: str,
        next_step: str = "",
        request_id: str = "",
        refusal_id: str = "",
    ) -> None:
        super().__init__(f"{code or status.name}: {message}" + (f" ({next_step})" if next_step else ""))
        self.status = status
        self.code = code
        self.message = message
        self.next_step = next_step
        self.request_id = request_id
        self.refusal_id = refusal_id

    @property
    def retryable(self) -> bool:
        """Whether the same request, with the same ID and key, can succeed later."""
        return self.status in _RETRYABLE or self.code == "RATE_LIMITED"

    @staticmethod
    def of_call(error: grpc.RpcError, cause: BaseException | None = None) -> MeshcaError:
        """Reads the trailers. `cause`: why the connection could not be made."""
        trailers = {key: value for key, value in (error.trailing_metadata() or ())}
        message = error.details() or ""
        if cause is not None and "meshca-code" not in trailers:
            message = f"{message}: {cause}"
        return MeshcaError(
            error.code(),
            trailers.get("meshca-code", ""),
            message,
            trailers.get("meshca-next", ""),
            trailers.get("meshca-request-id", ""),
            trailers.get("meshca-refusal-id", ""),
        )

    @staticmethod
    def of_item(refusal: signing_pb2.SignRefusal) -> MeshcaError:
        """The refusal of one item of a batch or stream."""
        return MeshcaError(
            grpc.StatusCode.UNKNOWN,
            refusal.code,
            refusal.message,
            refusal.next,
            refusal_id=refusal.refusal_id,
        )
