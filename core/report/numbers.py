"""Numbers as people read them."""

from modelpress.result import Measurement

TITLES = {
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "rmse": "Root mean squared error",
    "mae": "Mean absolute error",
    "r2": "R²",
    "agreement": "Agreement with the original",
    "relative_error": "Relative error to the original",
    "parameters": "Parameters",
    "nonzeros": "Non-zero parameters",
    "macs": "MACs of one sample",
    "bytes": "File size",
    "load_ms": "Load time",
    "peak_memory_bytes": "Peak memory, load and one run",
}
PREFIXES = {
    "latency_ms_b": "Latency, batch {}",
    "latency_p95_ms_b": "Latency, 95th percentile, batch {}",
    "speedup_b": "Speed-up, batch {}",
}
NOTHING = "–"
UNITS = ((1e9, " G"), (1e6, " M"), (1e3, " k"))


def title(metric: str) -> str:
    for prefix, text in PREFIXES.items():
        if metric.startswith(prefix):
            return text.format(metric.removeprefix(prefix))
    return TITLES.get(metric, metric)


def number(value: float | None, metric: str = "", unit: str = "") -> str:
    """A value in the way its metric is read: percent, bytes, milliseconds, counts."""
    if value is None:
        return NOTHING
    if unit == "fraction":
        return f"{100 * value:.2f} %"
    if unit == "bytes":
        return size(value)
    if unit == "ms":
        return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"
    if metric.startswith("speedup"):
        return f"{value:.2f} ×"
    return count(value) if float(value).is_integer() else f"{value:.4g}"


def measured(measurement: Measurement | None) -> str:
    return number(measurement.value, measurement.metric, measurement.unit) if measurement else NOTHING


def interval(measurement: Measurement | None) -> str:
    """The 95 % interval, or nothing."""
    if measurement is None or measurement.low is None or measurement.high is None:
        return ""
    low, high = (number(end, measurement.metric, measurement.unit) for end in (measurement.low, measurement.high))
    return f"{low.removesuffix(' %').removesuffix(' ms').removesuffix(' ×')} to {high}"


def count(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value < 10_000:
        return f"{value:,.0f}"
    factor, unit = next((f, u) for f, u in UNITS if value >= f)
    return f"{value / factor:.3g}{unit}" if value / factor < 1000 else f"{value / factor:,.0f}{unit}"


def size(value: float | None) -> str:
    if value is None:
        return NOTHING
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}" if value / factor < 1000 else f"{value / factor:,.0f} {unit}"
    return f"{value:,.0f} B"


def change(before: Measurement | None, after: Measurement | None) -> str:
    """From before to after: points for fractions, a factor for costs."""
    if before is None or after is None or before.value is None or after.value is None:
        return ""
    if before.metric in ("agreement", "relative_error"):
        return ""  # the original agrees with itself
    if before.unit == "fraction":
        return f"{100 * (after.value - before.value):+.2f} points"
    if after.value <= 0 or before.value <= 0:
        return ""
    ratio = before.value / after.value
    if abs(ratio - 1) < 0.005:
        return "same"
    return f"÷ {ratio:.2f}" if ratio > 1 else f"× {1 / ratio:.2f}"
