"""gRPC-Web as a service of HTTP: it knows nothing of whatever carries a request, so both meet here."""

from sigbridge.errors import SignalingError
from sigbridge.instant import Instant
from sigbridge.pending import Pending
from sigbridge_grpc.web import GrpcWeb, WebResponse
from sigbridge_net.pages import HttpRequest, Page
from sigbridge_net.wire import Client


class WebService:
    """A `sigbridge_net.pages.HttpService` of gRPC-Web's methods."""

    def __init__(self, web: GrpcWeb) -> None:
        self._web = web
        self.paths = web.paths
        self.max_body_bytes = web.max_body_bytes

    def answer(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        """A call, or a browser's question whether its page may make one."""
        if request.method == "OPTIONS":
            return _page(self._web.preflight(request.headers, request.client))
        if request.method != "POST":
            return Page(405, b"method not allowed\n", headers=[("allow", "POST, OPTIONS")])
        response = self._web.answer(request, now)
        return response.followed_by(_page_later) if isinstance(response, Pending) else _page(response)

    def turned_away(self, client: Client) -> None:
        """Hears of a client that is told of a shutdown in place of an answer."""
        self._web.turn_away(client)


def _page_later(response: WebResponse | SignalingError, _: Instant) -> Page | SignalingError:
    return response if isinstance(response, SignalingError) else _page(response)


def _page(response: WebResponse) -> Page:
    return Page(
        response.status,
        response.body,
        content_type=response.content_type,
        headers=response.headers,
        too_soon=response.too_soon,
    )
