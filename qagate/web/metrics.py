"""Figures for Prometheus. None carries patient data or a UID."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from qagate.certificates import certificates
from qagate.config import Settings
from qagate.store.engine import Store
from qagate.store.figures import figures
from qagate.store.refusals import Refusals

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Requests:
    """Counts the requests of this process by route, never by address or query."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count: Counter[tuple[str, str, str]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._sum_s: Counter[str] = Counter()

    def saw(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        bound = next((bound for bound in _BOUNDS_S if seconds <= bound), float("inf"))
        with self._lock:
            self._count[path, method, str(status)] += 1
            self._buckets[path, bound] += 1
            self._sum_s[path] += seconds  # type: ignore[assignment]

    def families(self) -> Iterator[Metric]:
        """The counts as metrics."""
        with self._lock:
            counts, buckets, sums = dict(self._count), dict(self._buckets), dict(self._sum_s)
        total = CounterMetricFamily(
            "qagate_web_requests", "Requests answered.", labels=("route", "method", "status")
        )
        for labels, count in sorted(counts.items()):
            total.add_metric(labels, count)
        times = HistogramMetricFamily("qagate_web_request_seconds", "Time to answer.", labels=("route",))
        for path, seconds in sorted(sums.items()):
            below, steps = 0, []
            for bound in (*_BOUNDS_S, float("inf")):
                below += buckets.get((path, bound), 0)
                steps.append((str(bound) if bound != float("inf") else "+Inf", below))
            times.add_metric((path,), steps, seconds)
        yield total
        yield times


class _Gate(Collector):
    """Reads the store when it is asked."""

    def __init__(self, store: Store, requests: Requests, settings: Settings) -> None:
        self._store, self._requests, self._settings = store, requests, settings

    def collect(self) -> Iterator[Metric]:
        now = figures(self._store)
        series = GaugeMetricFamily("qagate_series", "Series by state.", labels=("state",))
        for state, count in sorted(now.series.items()):
            series.add_metric((state,), count)
        yield series
        deliveries = GaugeMetricFamily(
            "qagate_deliveries", "Deliveries not yet sent, by destination.", labels=("destination", "state")
        )
        for (destination, state), count in sorted(now.deliveries.items()):
            deliveries.add_metric((destination, state), count)
        yield deliveries
        verdicts = GaugeMetricFamily(
            "qagate_verdicts_last_hour", "Verdicts of the last hour.", labels=("verdict",)
        )
        for verdict, count in sorted(now.verdicts_last_hour.items()):
            verdicts.add_metric((verdict,), count)
        yield verdicts
        yield GaugeMetricFamily(
            "qagate_oldest_waiting_seconds", "Since the oldest complete series waits for a worker.",
            value=now.oldest_waiting_s,
        )  # fmt: skip
        yield GaugeMetricFamily("qagate_held_series", "Series that wait for a release.", value=now.held)
        yield GaugeMetricFamily(
            "qagate_oldest_held_seconds", "Since the oldest held series was decided.", value=now.oldest_held_s
        )
        yield GaugeMetricFamily(
            "qagate_drift_alarms", "Stations and protocols whose baseline drifts.", value=now.alarms
        )
        refused = GaugeMetricFamily(
            "qagate_refused_last_day",
            "Instances, associations and connections refused in 24 hours.",
            labels=("reason",),
        )
        for reason, count in sorted(Refusals(self._store).today().items()):
            refused.add_metric((reason,), count)
        yield refused
        yield self._certificates()
        yield from self._requests.families()

    def _certificates(self) -> Metric:
        ends = GaugeMetricFamily(
            "qagate_certificate_expiry_timestamp_seconds",
            "When a certificate ends, Unix time; 0: it cannot be read.",
            labels=("role",),
        )
        for one in certificates(self._settings):
            ends.add_metric((one.label,), one.ends.timestamp() if one.ends else 0)
        return ends


def registry(store: Store, requests: Requests, settings: Settings) -> CollectorRegistry:
    """Everything there is to measure, read anew at each scrape."""
    made = CollectorRegistry(auto_describe=False)
    made.register(_Gate(store, requests, settings))
    return made
