"""`ghasi contract mock`: the mock of the contract in a process, and what it tells of itself. It needs no database.

Owns what is printed. The environment's settings change nothing: a mock is the same everywhere.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from ghasi.contract.emit.openapi import DEFAULTS
from ghasi.gateway.mock.app import Mock
from ghasi.gateway.mock.sign_in import IDENTITY, PROJECT_ID
from ghasi.processes.lifetime import Lifetime
from ghasi.processes.listening import HttpServer, bind, port_of

_READY = """\
ready
  API    {url}
  key    {key}
  token  {token}

Try it:
  curl {url}/v1/messages -H "Authorization: Bearer {key}"
  curl {url}/v1/messages -H "Authorization: Bearer {key}" \\
    -H "Content-Type: application/json" -d '{{"to": "+93701234567", "body": "Your bread is ready."}}'
  curl -i {url}/v1/messages -H "Prefer: code=429"
  curl -i -X POST {url}/v1/messages -H "Prefer: problem=invalid_number"

The portal over it:
  GHASI_API_URL={url} GHASI_API_INTERNAL_URL={url} GHASI_FIREBASE_PROJECT_ID={project} \\
    GHASI_FIREBASE_AUTH_URL={url}{identity} ghasi serve portal"""


async def serve_mock(
    host: str, port: int, origins: Sequence[str], limits: Mapping[str, int], tell: Callable[[str], None]
) -> int:
    """Serve the mock until SIGTERM; `limits` are requests a minute by setting. Raises CannotListen."""
    lifetime = Lifetime()
    listener = await bind(host, port, "--port", on_wait=tell)
    settings = DEFAULTS.model_copy(update={"host": host, "api_port": port_of(listener), **limits})
    mock = Mock(settings, origins=origins)
    server = HttpServer(mock, listener)
    serving = asyncio.create_task(server.run_until_stopped())
    try:
        await mock.start()
        url = settings.public_api_url
        tell(_READY.format(url=url, key=mock.api_key, token=mock.access_token, project=PROJECT_ID, identity=IDENTITY))
        await lifetime.stopping.wait()
    finally:
        server.stop()
        await serving
        await mock.close()
    return 0
