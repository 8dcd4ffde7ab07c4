"""The operator's page names what there is."""

import re
import tomllib
from pathlib import Path

from ghasi.billing.rates import OPTIONAL, REQUIRED
from ghasi.carriers.configuration import read_carriers_file
from ghasi.carriers.smpp.configuration import SmppConfiguration

PAGE = (Path(__file__).parents[1] / "docs" / "operating.md").read_text()


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_carriers_toml_is_one(tmp_path: Path) -> None:
    (named,) = tomllib.loads(example("toml"))["carrier"]
    assert set(named) <= set(SmppConfiguration.__struct_fields__)
    (tmp_path / "carriers.toml").write_text(example("toml"))
    (tmp_path / "north.pem").touch()
    assert [carrier.name for carrier in read_carriers_file(tmp_path / "carriers.toml").carriers] == ["north"]


def test_the_example_of_rates_has_every_column() -> None:
    assert tuple(example("csv").splitlines()[0].split(",")) == (*REQUIRED, *OPTIONAL)


def test_every_metric_named_exists() -> None:
    sources = "\n".join(file.read_text() for file in (Path(__file__).parents[1] / "ghasi").rglob("*.py"))
    for metric in re.findall(r"`(ghasi_\w+)", PAGE):
        assert metric in sources or metric.removesuffix("_total") in sources, metric
