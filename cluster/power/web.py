"""How plugs with a web server are asked: one request, its JSON, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import requests
from pydantic import Field
from requests.auth import AuthBase

from cluster.power.switching import ASK_S, Options, PowerError, Switching


class Plug(Options):
    """A node's plug; `secret` is the file with its password, where it has one."""

    host: str
    relay: int
    port: int = Field(80, ge=1, le=65535)
    user: str = "admin"
    secret: str | None = None


P = TypeVar("P", bound=Plug)


class Plugs(Switching[P]):
    """Nodes that hang on plugs."""

    def place(self, node: str) -> str:
        """The relay."""
        plug = self.options(node)
        return f"relay {plug.relay} of {plug.host}"


def ask(who: str, url: str, query: Mapping[str, str], auth: AuthBase | None = None) -> dict[str, Any]:
    """The JSON object of a plug's answer; raises PowerError, which never shows the query: it may hold secrets."""
    try:
        answer = requests.get(url, params=dict(query), auth=auth, timeout=ASK_S, allow_redirects=False)
    except requests.RequestException as error:
        why = "no answer" if isinstance(error, requests.Timeout) else "not reachable"
        raise PowerError(f"{who}: {url}: {why}; is the plug on the network?") from None
    if answer.status_code in (401, 403):
        raise PowerError(f"{who}: {url}: it does not let us in (HTTP {answer.status_code}); check user and secret")
    if answer.status_code != 200:
        raise PowerError(f"{who}: {url}: HTTP {answer.status_code}; is this such a plug?")
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise PowerError(f"{who}: {url}: the answer is no JSON object; is this such a plug?")
    return told
