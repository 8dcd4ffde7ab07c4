"""What the README shows is what examples/quickstart.sh does, and the links it makes lead somewhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ghasi.contract.emit.documents import variable
from ghasi.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "examples" / "quickstart.sh").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^# begin (.+)\n((?:.*\n)*?)# end \1$", SCRIPT, re.MULTILINE))
SHOWN = dict(re.findall(r"^<!-- quickstart: (.+) -->\n```bash\n((?:.*\n)*?)```$", README, re.MULTILINE))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_shows_every_section_of_the_script_and_nothing_else() -> None:
    assert len(SECTIONS) >= 8
    assert list(SHOWN) == list(SECTIONS)
    for name, commands in SHOWN.items():
        assert commands == SECTIONS[name], name
    assert README.count("```bash") == len(SHOWN)


def test_the_script_is_bash_that_parses() -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-n", ROOT / "examples" / "quickstart.sh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readme_names_make_targets_and_settings_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z]+)`", README):
        assert f"\n{target}:" in makefile, target
    known = {variable(name) for name in Settings.model_fields}
    assert set(re.findall(r"GHASI_[A-Z_]+", README)) - known - {"GHASI_IDENTITY_URL"} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (page.parent / link).exists(), link
