"""Experts that share a server: how long they take when it must load the weights of another first."""

from __future__ import annotations

import statistics

from routoo_core.experts import Pool
from routoo_core.latency import Latencies


class ServerLatencies(Latencies):
    """Mean seconds of each expert's replies, with what its server takes to load its weights first.

    An expert that was not measured yet is expected to take as long as those that share its server.

    Args:
        pool: The experts.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._siblings = pool.siblings()
        self._servers = {expert.name: expert.server for expert in pool}
        self._swap_s = {expert.name: expert.swap_s for expert in pool}
        self._last_used: dict[str, str] = {}

    def observe(self, expert: str, seconds: float) -> None:
        """Add a reply; what its server took to load the expert's weights is taken off."""
        own_seconds = max(0.0, seconds - self._swap_of(expert))
        super().observe(expert, own_seconds)
        server = self._servers.get(expert)
        if server is not None:
            self._last_used[server] = expert

    def of(self, expert: str) -> float | None:
        """Seconds to expect now; ``None`` before the first reply of the expert or of one that shares its server."""
        seconds = super().of(expert)
        if seconds is None:
            seconds = self._of_siblings(expert)
        return None if seconds is None else seconds + self._swap_of(expert)

    def _of_siblings(self, expert: str) -> float | None:
        """The mean of the experts that share a server."""
        means = []
        for sibling in self._siblings.get(expert, ()):
            mean = super().of(sibling)
            if mean is not None:
                means.append(mean)
        return statistics.fmean(means) if means else None

    def _swap_of(self, expert: str) -> float:
        """Seconds that its server takes to load its weights now; 0 where they are loaded, or nobody knows."""
        server = self._servers.get(expert)
        last_used = None if server is None else self._last_used.get(server)
        return 0.0 if last_used in {None, expert} else self._swap_s[expert]
