"""What is counted of a relay, for Prometheus. Everything is counted on the event loop."""

from collections.abc import Callable

from prometheus_client import (
    GC_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

_FORWARD_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0)


class _PerType(dict[str, Counter]):
    """The counter of each type of message, made when the first comes: types are few."""

    def __init__(self, counter: Counter, direction: str) -> None:
        super().__init__()
        self._counter = counter
        self._direction = direction

    def __missing__(self, kind: str) -> Counter:
        self[kind] = self._counter.labels(direction=self._direction, type=kind)
        return self[kind]


class Meters:
    """Every figure of one relay, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._connections = Gauge(
            "camagent_relay_connections", "Open WebSockets.", ["kind"], registry=self.registry
        )
        self._messages = Counter(
            "camagent_relay_messages",
            "Messages by type and direction.",
            ["direction", "type"],
            registry=self.registry,
        )
        self._sessions_ended = Counter(
            "camagent_relay_sessions_ended",
            "Watch sessions that ended, by why.",
            ["outcome"],
            registry=self.registry,
        )
        self._limited = Counter(
            "camagent_relay_rate_limited",
            "What was refused because there was too much of it.",
            ["limit"],
            registry=self.registry,
        )
        self._auth_failures = Counter(
            "camagent_relay_auth_failures",
            "Clients that were not who they had to be.",
            ["kind"],
            registry=self.registry,
        )
        self.outbox_drops = Counter(
            "camagent_relay_outbox_drops",
            "Messages that nobody took: their client was cut off.",
            registry=self.registry,
        )
        self.forward_s = Histogram(
            "camagent_relay_forward_seconds",
            "From a signal's receipt to its being on its way to the other end.",
            buckets=_FORWARD_BUCKETS_S,
            registry=self.registry,
        )
        for collector in (GC_COLLECTOR, PROCESS_COLLECTOR):
            self.registry.register(collector)
        self.of_device = self._of("device")
        self.of_viewer = self._of("viewer")

    def _of(self, kind: str) -> "Meter":
        return Meter(
            self,
            kind=kind,
            owner_field="user_id" if kind == "viewer" else "device_id",
            connections=self._connections.labels(kind=kind),
            received=_PerType(self._messages, f"from_{kind}"),
            sent=_PerType(self._messages, f"to_{kind}"),
        )

    def watch(self, *, sessions: Callable[[], int], devices: Callable[[], int]) -> None:
        """Ask these for how many there are, whenever somebody asks."""
        for name, text, count in (
            ("sessions", "Live watch sessions.", sessions),
            ("devices", "Devices that are online here.", devices),
        ):
            gauge = Gauge(f"camagent_relay_{name}", text, registry=self.registry)
            gauge.set_function(count)

    def session_ended(self, outcome: str) -> None:
        """Count the end of a watch session."""
        self._sessions_ended.labels(outcome=outcome).inc()

    def limited(self, limit: str) -> None:
        """Count something that was too much; `limit` names which."""
        self._limited.labels(limit=limit).inc()

    def auth_failed(self, kind: str) -> None:
        """Count somebody who was not let in."""
        self._auth_failures.labels(kind=kind).inc()


class Meter:
    """What connections of one kind count. Shared by all of them.

    `owner_field` is what log lines call the one whose connection it is.
    """

    def __init__(
        self,
        meters: Meters,
        *,
        kind: str,
        owner_field: str,
        connections: Gauge,
        received: dict[str, Counter],
        sent: dict[str, Counter],
    ) -> None:
        self.meters = meters
        self.kind = kind
        self.owner_field = owner_field
        self.connections = connections
        self.received = received
        self.sent = sent
