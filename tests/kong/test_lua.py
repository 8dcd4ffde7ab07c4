"""Kong's Lua, run by LuaJIT as Kong runs it, in a stand-in for Kong's sandbox: see caller_test.lua."""

import subprocess
from pathlib import Path

from ghasi.contract.kong.configuration import lua
from ghasi.settings import Settings
from tests.engines import found

HERE = Path(__file__).parent


def test_the_lua_does_what_its_own_tests_say(tmp_path: Path) -> None:
    luajit = found("luajit")
    source = tmp_path / "caller.lua"
    source.write_text(lua(Settings.model_construct()), encoding="utf-8")
    done = subprocess.run(
        [luajit, str(HERE / "caller_test.lua"), str(source)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed, of, total = done.stdout.split()[-4:-1]
    assert (of, passed) == ("of", total)
