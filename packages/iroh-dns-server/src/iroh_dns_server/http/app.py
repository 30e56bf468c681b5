"""HTTP/1.1: aiohttp parses, `Routes` answers."""

import functools

from aiohttp import web

from iroh_dns_server.http.body import answer_early, expect_continue, read_body
from iroh_dns_server.http.exchange import Ask
from iroh_dns_server.http.routes import Routes

__all__ = ["make_app"]


def make_app(routes: Routes) -> web.Application:
    """The aiohttp application that serves `routes`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        reply = await routes.answer(
            Ask(
                request.method,
                request.path,
                request.rel_url.raw_query_string,
                request.headers,
                request.remote,
                functools.partial(read_body, request),
            )
        )
        headers = dict(reply.headers)
        if reply.content_type is not None:
            headers["Content-Type"] = reply.content_type
        response = web.Response(status=reply.status, body=reply.body or None, headers=headers)
        return await answer_early(request, response)

    app = web.Application()
    app.on_response_prepare.append(_finish_headers)
    app.router.add_route("*", "/{path:.*}", handle, expect_handler=expect_continue)
    return app


async def _finish_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Do not tell the versions of our libraries, nor a type of what is not there."""
    response.headers.popall("Server", None)
    if response.status == 204:
        response.headers.popall("Content-Type", None)
