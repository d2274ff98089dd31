"""A link opens once and not for long; nothing but what was given out opens anything."""

from __future__ import annotations

from flows.services.keys import LINK_SECONDS, Keys


def test_a_link_opens_one_session_once() -> None:
    keys = Keys()
    link, other = keys.new_link(), keys.new_link()
    session = keys.open_link(link)
    assert session is not None
    assert keys.knows_session(session)
    assert keys.open_link(link) is None
    assert keys.open_link(other) not in (None, session)


def test_a_link_is_void_after_an_hour() -> None:
    now = 0.0
    keys = Keys(clock=lambda: now)
    old = keys.new_link()
    now = LINK_SECONDS
    fresh = keys.new_link()
    assert keys.open_link(old) is None
    assert keys.open_link(fresh) is not None


def test_what_was_not_given_out_opens_nothing() -> None:
    keys, before = Keys(), Keys()
    session = before.open_link(before.new_link())
    assert session is not None
    for wrong in ("", "é", before.secret, before.new_link(), session, keys.secret[:-1]):
        assert keys.open_link(wrong) is None
        assert not keys.knows_session(wrong)
        assert not keys.is_secret(wrong)
    assert keys.is_secret(keys.secret)
    assert not keys.knows_session(keys.secret)
