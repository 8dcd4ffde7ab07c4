"""Turns templates into pages and serves the style sheet and the mark, named by a hash of what is in them."""

import hashlib
import mimetypes
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

HERE = Path(__file__).parent
FOREVER = "public, max-age=31536000, immutable"


class Assets:
    """The files below assets/, read once: `name.css` is served as `/assets/name.HASH.css`, to be kept for ever."""

    def __init__(self, folder: Path = HERE / "assets") -> None:
        self._paths: dict[str, str] = {}
        self._files: dict[str, tuple[bytes, str]] = {}
        for file in sorted(folder.iterdir()):
            content = file.read_bytes()
            hashed = f"{file.stem}.{hashlib.sha256(content).hexdigest()[:16]}{file.suffix}"
            self._paths[file.name] = f"/assets/{hashed}"
            self._files[hashed] = content, mimetypes.guess_type(file.name)[0] or "application/octet-stream"

    def path(self, name: str) -> str:
        """Return the path of a file; raises KeyError when there is none."""
        return self._paths[name]

    async def serve(self, request: Request) -> Response:
        """Answer with a file, or 404."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1], headers={"Cache-Control": FOREVER})


def _when(value: str) -> str:
    """Write an RFC 3339 time as it reads well; it is UTC."""
    at = datetime.fromisoformat(value)
    return f"{at.day} {at:%b %Y, %H:%M}"


ASSETS = Assets()
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_templates.globals["asset"] = ASSETS.path
_templates.filters["when"] = _when


def page(template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Render a template; everything in it is escaped."""
    return HTMLResponse(_templates.get_template(template).render(context), status)
