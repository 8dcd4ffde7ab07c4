"""Kong's declarative configuration (format 3.0, Kong OSS 3.9), made from the contract's table.

It is for a stock Kong: bundled plugins, the default sandbox. `configuration` is the text, `entities` what it says,
`checking` what Kong would not say of it, `keys` the published keys, `sync` keeps a running Kong in step with them.
"""


class KongError(Exception):
    """The settings can't be said in Kong's configuration, or a Kong does not take it; the text says why."""
