"""A pytest plugin: what was skipped is said in the last lines, and with CI=true a skip is a failure.

`--skips-file` carries what earlier runs skipped on to the last one, whose closing lines are what people read.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest

CI = os.environ.get("CI", "").lower() in {"1", "true"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skips-file", type=Path, help="where runs that follow each other keep what was skipped")


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, as its author wrote it."""
    longrepr = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a skip a failure in CI; an expected failure is none."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = f"skipped, which CI=true does not allow: {reason(report)}"
        report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    file: Path | None = config.getoption("--skips-file")
    if file is None or hasattr(config, "workerinput"):  # a worker's reports come to the one that started it
        return
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if before:
        terminalreporter.section("skipped by the tests before", "=")
        terminalreporter.write(before)
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            before + "".join(f"SKIPPED {report.nodeid}: {reason(report)}\n" for report in skipped), encoding="utf-8"
        )
