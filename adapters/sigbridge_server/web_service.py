"""gRPC-Web on the HTTP wire: the two adapters know nothing of each other, so they meet here."""

from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge_grpc.web import GrpcWeb, WebResponse
from sigbridge_http.wire import HttpRequest, Page


class WebService:
    """A `sigbridge_http.wire.HttpService` of gRPC-Web's methods."""

    def __init__(self, web: GrpcWeb) -> None:
        self._web = web
        self.max_body_bytes = web.max_body_bytes

    def answer(self, request: HttpRequest, now: Instant) -> Page | Pending[Page] | None:
        """A call, or a browser's question whether its page may make one."""
        if request.path not in self._web.paths:
            return None
        if request.method == "OPTIONS":
            return _page(self._web.preflight(request.headers))
        if request.method != "POST":
            return Page(405, b"method not allowed\n", headers=[("allow", "POST, OPTIONS")])
        response = self._web.answer(request.path, request.headers, request.body, request.client, request.floods, now)
        return response.followed_by(_page_later) if isinstance(response, Pending) else _page(response)


def _page_later(response: WebResponse | SignalingError, _: Instant) -> Page | SignalingError:
    return response if isinstance(response, SignalingError) else _page(response)


def _page(response: WebResponse) -> Page:
    return Page(response.status, response.body, content_type=response.content_type, headers=response.headers)
