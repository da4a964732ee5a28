"""An opener of addresses that speaks http and https and nothing else, wherever a server sends it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from typing import Any


def http_opener(*, on_redirect: Callable[[HTTPMessage], None]) -> urllib.request.OpenerDirector:
    """Build an opener that honours the proxies of the environment.

    It is assembled by hand because urllib's default opener also reads ``file:``, ``ftp:`` and ``data:`` addresses.

    Args:
        on_redirect: Given the headers of every redirect that is followed.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(on_redirect),
    ):
        opener.add_handler(handler)
    return opener


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https down to http."""

    def __init__(self, on_redirect: Callable[[HTTPMessage], None]) -> None:
        self.on_redirect = on_redirect

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to follow with, or refuse."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme == "http"):
            refusal = f"a redirect to {scheme}:// is not followed"
            raise urllib.error.HTTPError(newurl, code, refusal, headers, fp)
        self.on_redirect(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
