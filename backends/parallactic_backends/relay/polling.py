"""Serve a client through a link that must be looked at: nothing tells when a message has come."""

from __future__ import annotations

from parallactic_backends.relay.agent import Agent
from parallactic_backends.relay.backoff import BackOff, sharpen_sleep
from parallactic_backends.relay.link import Link, Report, Way
from parallactic_backends.relay.watch import PollingWatch

__all__ = ["serve"]


def serve(link: Link) -> bool:
    """Serve until the client says goodbye.

    Returns
    -------
    bool
        Whether the client said that all is in order.

    Raises
    ------
    LinkLost
        If the client is gone.
    """
    watch = PollingWatch()
    agent = Agent(link, watch)
    try:
        _serve_orders(agent, link, watch)
    finally:
        agent.end_run()
    link.post(Way.AGENT, Report.LEFT)
    while link.busy:
        link.progress()
    return not agent.bereft


def _serve_orders(agent: Agent, link: Link, watch: PollingWatch) -> None:
    pauses, heard = BackOff(), False
    sharpen_sleep()
    while True:
        arrivals = link.progress()
        for arrival in arrivals:
            if not agent.obey(arrival):
                return
        agent.look_at_clock()
        heard = watch.look(pauses.next(moved=bool(arrivals) or heard, busy=link.busy, in_use=agent.in_use))
