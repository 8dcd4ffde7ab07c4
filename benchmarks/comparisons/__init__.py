"""What is compared, a module each: what is measured, its ceiling, and how both are run."""

from benchmarks.comparing import Comparison
from benchmarks.comparisons.accept import ACCEPT
from benchmarks.comparisons.cycle import CYCLE
from benchmarks.comparisons.pages import PORTAL_PAGES
from benchmarks.comparisons.peers import PEERS
from benchmarks.comparisons.reads import READS
from benchmarks.comparisons.start import START
from benchmarks.comparisons.submit import SUBMIT
from benchmarks.comparisons.webhooks import WEBHOOKS

ALONE: list[Comparison] = [ACCEPT, CYCLE, READS, PORTAL_PAGES, WEBHOOKS, SUBMIT, START]
"""What `make bench` runs; peers need Kannel, and have a command of their own."""
ALL = {comparison.name: comparison for comparison in (*ALONE, PEERS)}
