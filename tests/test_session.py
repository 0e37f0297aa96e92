"""A session that prepares its requests once sends what one does that always prepares them anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from receiver import Received, receiving

from langchain_logprobs.exporters import session as module
from langchain_logprobs.exporters.session import Session

BODY = bytes.fromhex("0a00")
"""A request with an empty resource: any number of them, one after another, is one."""


def sent(
    make: Callable[[], requests.Session], *steps: Callable[[requests.Session], object]
) -> Received:
    """What arrives of two requests after each of these steps."""
    with receiving() as received, make() as session:
        session.headers.update({"api-key": "first"})
        for size, step in enumerate((lambda _: None, *steps)):
            step(session)
            for more in (1, 2):
                session.request(
                    method="POST",
                    url=f"{received.endpoint}/v1/traces",
                    headers={"content-type": "application/x-protobuf"},
                    data=BODY * (10 * size + more),
                    timeout=10,
                    allow_redirects=False,
                )
    return received


STEPS: dict[str, Callable[[requests.Session], object]] = {
    "nothing": lambda _: None,
    "headers": lambda session: session.headers.update({"api-key": "second", "more": "1"}),
    "cookies": lambda session: session.cookies.set("node", "7", domain="127.0.0.1"),
    "password": lambda session: setattr(session, "auth", ("user", "secret")),
    "environment": lambda session: setattr(session, "trust_env", False),
    "agent": lambda session: session.headers.pop("user-agent"),
}


@pytest.mark.parametrize("step", STEPS)
def test_the_same_is_sent_whatever_the_session_is_told(step: str) -> None:
    ours, theirs = (sent(of, STEPS[step]) for of in (Session, requests.Session))

    def without_port(received: Received) -> list[dict[str, str]]:
        return [{**of, "host": ""} for of in received.headers]

    assert without_port(ours) == without_port(theirs)
    assert ours.bodies == theirs.bodies == [BODY * of for of in (1, 2, 11, 12)]


@pytest.mark.parametrize(
    "more",
    [
        {"data": None},
        {"data": b""},
        {"data": "text"},
        {"data": {"a": "1"}},
        {"json": {"a": "1"}},
        {"data": BODY, "auth": ("user", "secret")},
        {"data": BODY, "cookies": {"a": "1"}},
        {"data": BODY, "params": {"a": "1"}},
        {"data": BODY, "headers": {"a": "1"}},
        {"files": {"a": b"1"}},
    ],
)
def test_any_other_request_is_prepared_as_ever(more: dict[str, object]) -> None:
    def prepared(session: requests.Session) -> tuple[object, ...]:
        plain = requests.Request("POST", "http://localhost/v1/traces", data=BODY)
        session.prepare_request(plain)
        session.prepare_request(plain)
        of = session.prepare_request(requests.Request("POST", "http://localhost/v1/traces", **more))
        boundary = str(of.headers.get("Content-Type", "")).partition("boundary=")[2]
        body = of.body.replace(boundary.encode(), b"") if isinstance(of.body, bytes) else of.body
        headers = {
            key: value.replace(boundary, "") if boundary else value
            for key, value in of.headers.items()
        }
        return of.method, of.url, headers, body

    assert prepared(Session()) == prepared(requests.Session())


def test_parameters_and_hooks_that_a_session_is_given_later_are_those_of_its_requests() -> None:
    session, request = Session(), requests.Request("POST", "http://localhost/v1", data=BODY)
    session.prepare_request(request)

    session.params = {"tenant": "1"}
    assert session.prepare_request(request).url == "http://localhost/v1?tenant=1"
    session.hooks["response"].append(print)
    assert session.prepare_request(request).hooks["response"] == [print]


def test_a_password_in_the_users_file_is_sent_with_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(file))

    headers = sent(Session, STEPS["nothing"]).headers

    assert [of["authorization"] for of in headers] == ["Basic dXNlcjpzZWNyZXQ="] * 4


@pytest.mark.parametrize(("good_for", "found"), [(60.0, {}), (0.0, {"http": "http://proxy:3128"})])
def test_the_environment_is_looked_at_again_after_a_while(
    good_for: float, found: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "GOOD_FOR", good_for)
    session = Session()

    def proxies() -> object:
        arguments = ("http://receiver/v1/traces", {}, None, None, None)
        return session.merge_environment_settings(*arguments)["proxies"]

    assert proxies() == {}
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxies() == found
    session.trust_env = False
    assert proxies() == {}


def test_what_one_does_with_the_settings_it_was_given_is_its_own_affair() -> None:
    session = Session()
    arguments = ("http://receiver/v1/traces", {}, None, None, None)

    session.merge_environment_settings(*arguments)["proxies"]["http"] = "changed"

    assert "changed" not in session.merge_environment_settings(*arguments)["proxies"].values()


def test_threads_that_send_at_once_send_each_its_own() -> None:
    with receiving() as received, Session() as session:

        def send(size: int) -> None:
            for _ in range(20):
                session.post(f"{received.endpoint}/v1/traces", data=BODY * size, timeout=10)

        threads = [threading.Thread(target=send, args=(size,)) for size in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(map(len, received.bodies)) == [2] * 20 + [4] * 20 + [6] * 20 + [8] * 20
