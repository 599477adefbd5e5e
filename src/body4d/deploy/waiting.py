"""Waiting until a Space stands, saying each time how it does."""

import time
from collections.abc import Callable

from body4d.config import SpaceSettings
from body4d.core.errors import SpaceError
from body4d.deploy.space import HubAway, SpaceOnHub
from body4d.deploy.status import UNDER_WAY, Condition, judge


def wait_until_settled(
    space: SpaceOnHub,
    settings: SpaceSettings,
    tell: Callable[[Condition], None],
    *,
    changed: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Condition:
    """Ask until the Space is no longer on its way, ``tell`` each new condition, and give the last. Raises SpaceError.

    ``changed``: something was pushed or restarted just now, so what it was before is not believed until the Hub has taken notice. A Hub
    that is silent or not well for a while is asked again; its refusals end the wait.
    """
    begun = clock()
    end, notice, before = begun + settings.wait_most_s, begun + (settings.notice_s if changed else 0), None
    while True:
        try:
            found = judge(space.facts(settings.tail_lines))
        except HubAway:
            if clock() >= end:
                raise
            sleep(settings.poll_s)
            continue
        on_its_way = found.state in UNDER_WAY
        if on_its_way or clock() >= notice:
            if found != before:
                tell(found)
            if not on_its_way:
                return found
            notice, before = begun, found
        if clock() >= end:
            raise SpaceError(
                f"{space.name} is still not up after {settings.wait_most_s / 60:.0f} minutes ({found.said.rstrip('.')}): `body4d space "
                "status` and `body4d space logs` show more, and space.wait_most_s waits longer."
            )
        sleep(settings.poll_s)
