"""What the gateway counts for operators, by operation of the contract; never by account, address or path."""

from prometheus_client import Counter, Gauge, Histogram

_requests = Counter("ghasi_gateway_requests", "Requests answered", ("operation", "status"))
_seconds = Histogram(
    "ghasi_gateway_request_seconds",
    "Time from a request's first byte to its answer",
    ("operation",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_rejected = Counter("ghasi_gateway_rejected", "Requests that the gateway answered itself", ("reason",))
_broken_off = Counter(
    "ghasi_gateway_streams_broken_off", "Streamed answers that ended before their end", ("operation", "by")
)
_limits_failing = Gauge(
    "ghasi_gateway_limits_failing", "1 while Redis fails and no request is counted", multiprocess_mode="livemax"
)
_uncounted = Counter("ghasi_gateway_limits_uncounted", "Requests that passed uncounted, for Redis failed")
_counters: dict[tuple[str, int], Counter] = {}
_histograms: dict[str, Histogram] = {}


def answered(operation: str, status: int, seconds: float) -> None:
    """Count an answer."""
    counter = _counters.get((operation, status))
    if counter is None:
        counter = _counters[operation, status] = _requests.labels(operation, str(status))
    counter.inc()
    histogram = _histograms.get(operation)
    if histogram is None:
        histogram = _histograms[operation] = _seconds.labels(operation)
    histogram.observe(seconds)


def rejected(reason: str) -> None:
    """Count a refusal by its reason."""
    _rejected.labels(reason).inc()


def broken_off(operation: str, by: str) -> None:
    """Count a streamed answer that the `upstream` or the `client` ended before its end."""
    _broken_off.labels(operation, by).inc()


def limits_failing(*, failing: bool) -> None:
    """Say whether limits are not counted now."""
    _limits_failing.set(failing)


def uncounted() -> None:
    """Count a request that passed because limits were failing."""
    _uncounted.inc()
