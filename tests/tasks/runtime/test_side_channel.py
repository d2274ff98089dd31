"""After a failure nothing is tried for a while; the run never notices."""

from __future__ import annotations

from tasks.runtime.side_channel import PAUSE_SECONDS, SideChannel


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """What is published, and whether the next try fails."""

    def __init__(self) -> None:
        self.tries = 0
        self.fails = False

    def publish(self) -> None:
        self.tries += 1
        if self.fails:
            raise TimeoutError


def test_a_failure_is_told_in_one_line_and_pauses_the_channel() -> None:
    said, clock, server = list[str](), Clock(), Server()
    channel = SideChannel(said.append, now=clock)
    channel.publish_best_effort("the table", server.publish)
    server.fails = True
    for _ in range(3):
        channel.publish_best_effort("the table", server.publish)
    assert server.tries == 2
    assert said == ["warning: Prefect's page will not show the table (TimeoutError)"]


def test_it_is_tried_again_after_the_pause() -> None:
    said, clock, server = list[str](), Clock(), Server()
    channel = SideChannel(said.append, now=clock)
    server.fails = True
    channel.publish_best_effort("a", server.publish)
    clock.now += PAUSE_SECONDS - 1
    channel.publish_best_effort("b", server.publish)
    assert server.tries == 1
    clock.now += 1
    channel.publish_best_effort("c", server.publish)
    assert server.tries == 2
    assert [line.partition("show ")[2] for line in said] == [
        "a (TimeoutError)", "c (TimeoutError)",
    ]  # fmt: skip


def test_an_interrupt_by_hand_is_not_kept_back() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    channel = SideChannel(lambda line: None)
    try:
        channel.publish_best_effort("a", interrupted)
    except KeyboardInterrupt:
        return
    raise AssertionError("the interrupt was lost")
