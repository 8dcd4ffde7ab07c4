"""A curl command for each operation, for the reference (`x-codeSamples`): made from the row and the shape's example.

Owns how a row reads in a shell. What differs from caller to caller is a shell variable, so no sample has a secret.
"""

import json
import re

from ghasi.contract.emit.examples import EXAMPLES, component_name
from ghasi.contract.row import Auth, Row


def curl(row: Row, api_url: str) -> str:
    """Return the command that calls an operation of the API at `api_url` (without a trailing slash)."""
    path = re.sub(r"{(\w+)}", lambda found: "$" + _variable(found[1]), row.path)
    url = f'"{api_url}{path}"' if "$" in path else f"{api_url}{path}"
    parts = [f"curl {url}" if row.method == "GET" else f"curl -X {row.method} {url}"]
    if row.auth is Auth.BEARER:
        parts.append(f'-H "Authorization: Bearer ${"GHASI_API_KEY" if row.scope else "GHASI_ACCESS_TOKEN"}"')
    if row.auth is Auth.REFRESH_COOKIE:
        parts.append('--cookie "ghasi_refresh=$GHASI_REFRESH_TOKEN"')
    if row.idempotent_by_key:
        parts.append('-H "Idempotency-Key: $(uuidgen)"')
    if row.body is not None:
        example = json.dumps(EXAMPLES.get(component_name(row.body.__name__), {}), ensure_ascii=False, indent=2)
        parts += ['-H "Content-Type: application/json"', "-d '" + example.replace("'", "'\\''") + "'"]
    if row.media is not None:
        parts.append(f"-o {row.operation}.{row.media.partition(';')[0].rpartition('/')[2]}")
    return " \\\n  ".join(parts)


def _variable(parameter: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).upper()
