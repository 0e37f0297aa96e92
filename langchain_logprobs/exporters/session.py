"""A session whose requests differ in nothing but their bodies: the rest is prepared once."""

from __future__ import annotations

import time
from typing import Any

import requests
from requests import PreparedRequest, Request

GOOD_FOR = 60.0
"""Seconds after which the environment (proxies, certificates, `.netrc`) is looked at again."""


class Known:
    """What was found out for some arguments; for the last ones, and not for ever."""

    def __init__(self) -> None:
        self._known: tuple[float, object, Any] | None = None

    def get(self, arguments: object) -> Any:
        """What was found out for these, or `None`."""
        known = self._known
        is_good = known and known[0] > time.monotonic() and known[1] == arguments
        return known[2] if known and is_good else None

    def set(self, arguments: object, found: Any) -> None:
        """Notes what was found out."""
        self._known = time.monotonic() + GOOD_FOR, arguments, found


class Session(requests.Session):
    """What `requests` calls a session, for one receiver.

    A third of what a batch's way through `requests` takes is to prepare the request, and each time
    proxies and passwords are looked for in the environment. All batches go the same way, though.
    """

    def __init__(self) -> None:
        super().__init__()
        self._prepared, self._settings = Known(), Known()

    def prepare_request(self, request: Request) -> PreparedRequest:
        """The request with what the session adds."""
        if not _is_plain(request) or self.auth or len(self.cookies) or any(self.hooks.values()):
            return super().prepare_request(request)
        own = (dict(self.headers), dict(self.params), self.trust_env)
        arguments = (request.method, request.url, dict(request.headers), own)
        known: PreparedRequest | None = self._prepared.get(arguments)
        if known is None:
            prepared = super().prepare_request(request)
            self._prepared.set(arguments, prepared.copy())
            return prepared
        prepared = known.copy()
        prepared.prepare_body(request.data, None)
        return prepared

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """What else to send it with: the session's settings, and those of the environment."""
        own = (dict(self.proxies), self.stream, self.verify, self.cert, self.trust_env)
        arguments = (url, dict(proxies or {}), stream, verify, cert, own)
        settings = self._settings.get(arguments)
        if settings is None:
            settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
            self._settings.set(arguments, settings)
        return {**settings, "proxies": dict(settings["proxies"])}


def _is_plain(request: Request) -> bool:
    """Whether a request is bytes to send, and all else about it is in its headers."""
    others = (request.files, request.json, request.params, request.auth, request.cookies)
    hooks = (hook for of in request.hooks.values() for hook in of)
    is_sent = type(request.data) is bytes and len(request.data) > 0
    return is_sent and not any(others) and not any(hooks)
