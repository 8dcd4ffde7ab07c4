"""A stand-in for Kong 3.9 without a database, for what our configuration uses of it.

A second reading of Kong's documented rules and of its source, written from those and not from what we emit: the
router of the flavour `traditional_compatible`, which instance of a plugin applies, the order of plugins, what the
limiter counts by, jwt's answers, the balancer's retries. The real Lua runs in a real LuaJIT, in the names that the
default sandbox has.
"""

from tests.kong.standin.app import Kong, running

__all__ = ["Kong", "running"]
