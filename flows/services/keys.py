"""Who may speak to a running `threeloops up`: its secret, one-time links and browser sessions."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

LINK_SECONDS = 3600.0


class Keys:
    """Made anew with every start, so that nothing of an earlier one opens anything.

    Programs of this user present `secret`. A browser opens a link, once, and gets a session, which
    lasts until `up` ends. Links and sessions are kept and looked up as digests, so that the time of
    an answer says nothing about them.
    """

    def __init__(self, secret: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.secret = secret or secrets.token_urlsafe(32)
        self._clock = clock
        self._links: dict[bytes, float] = {}
        self._sessions: set[bytes] = set()

    def new_link(self) -> str:
        """A token that opens one session, within an hour."""
        now = self._clock()
        self._links = {known: end for known, end in self._links.items() if end > now}
        token = secrets.token_urlsafe(32)
        self._links[_digest(token)] = now + LINK_SECONDS
        return token

    def open_link(self, token: str) -> str | None:
        """A new session for a token that was not used and is not too old, else None."""
        if self._links.pop(_digest(token), 0.0) <= self._clock():
            return None
        session = secrets.token_urlsafe(32)
        self._sessions.add(_digest(session))
        return session

    def knows_session(self, session: str) -> bool:
        """Whether a browser got this session from a link of ours."""
        return _digest(session) in self._sessions

    def is_secret(self, given: str) -> bool:
        """Whether a program knows the secret."""
        return hmac.compare_digest(given.encode(), self.secret.encode())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
