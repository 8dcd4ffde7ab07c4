"""The operator's page names what there is."""

import re
from pathlib import Path

from ghasi.billing.rates.files import COLUMNS

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_rates_has_every_column() -> None:
    assert tuple(example("csv").splitlines()[0].split(",")) == COLUMNS


def test_every_metric_named_exists() -> None:
    sources = "\n".join(file.read_text() for file in (Path(__file__).parents[1] / "ghasi").rglob("*.py"))
    for metric in re.findall(r"`(ghasi_\w+)", PAGE):
        assert metric in sources or metric.removesuffix("_total") in sources, metric
