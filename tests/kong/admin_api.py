"""A small stand-in of Kong's Admin API: what `ghasi kong sync` uses of it, with a database and without."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.kong.standin.loading import load

PAGE = 2


@dataclass
class AdminApi:
    """`document` is a configuration where there is no database; `log` is what was asked that changes something."""

    document: str | None = None
    header: tuple[str, str] | None = None
    consumers: dict[str, str] = field(default_factory=dict)
    secrets: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    held_at_once: list[set[str]] = field(default_factory=list)
    broken: int | None = None

    @property
    def kids(self) -> list[str]:
        return sorted(secret["key"] for secret in self.secrets)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._about),
                Route("/config", self._config, methods=["GET", "POST"]),
                Route("/consumers/{name}", self._consumer, methods=["GET", "PUT"]),
                Route("/consumers/{name}/jwt", self._list),
                Route("/consumers/{name}/jwt/{secret:path}", self._secret, methods=["PUT", "DELETE"]),
            ]
        )

    async def _about(self, request: Request) -> Response:
        if self.header is not None and request.headers.get(self.header[0]) != self.header[1]:
            return JSONResponse({"message": "Invalid credentials"}, 401)
        return JSONResponse({"configuration": {"database": "postgres" if self.document is None else "off"}})

    async def _consumer(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "PUT":
            self.log.append(f"PUT consumer {name}")
            self.consumers[name] = str(uuid4())
        if name not in self.consumers:
            return JSONResponse({"message": "Not found"}, 404)
        return JSONResponse({"id": self.consumers[name], "username": name})

    async def _list(self, request: Request) -> Response:
        start = int(request.query_params.get("offset", 0))
        more = start + PAGE < len(self.secrets)
        path = f"/consumers/{request.path_params['name']}/jwt?offset={start + PAGE}"
        return JSONResponse({"data": self.secrets[start : start + PAGE], "next": path if more else None})

    async def _secret(self, request: Request) -> Response:
        asked = request.path_params["secret"]
        found = [item for item in self.secrets if asked in {item["id"], item["key"]}]
        if request.method == "DELETE":
            self.log.append(f"DELETE {found[0]['key'] if found else asked}")
            self.secrets = [item for item in self.secrets if item not in found]
            self.held_at_once.append(set(self.kids))
            return Response(status_code=204)
        body = await request.json()
        if self.broken is not None:
            return JSONResponse({"message": "schema violation"}, self.broken)
        # an id in the path is the entity's own, and then its key is what the body says or a random one
        given = {"id": asked} if _is_uuid(asked) else {"id": found[0]["id"] if found else str(uuid4()), "key": asked}
        entity = {"key": str(uuid4()), "secret": "random"} | given | body
        self.log.append(f"PUT {entity['key']}")
        others = [item for item in self.secrets if item["id"] != entity["id"]]
        if any(item["key"] == entity["key"] for item in others):
            return JSONResponse({"message": "UNIQUE violation"}, 409)
        self.secrets = [*others, entity]
        self.held_at_once.append(set(self.kids))
        return JSONResponse(entity)

    async def _config(self, request: Request) -> Response:
        assert self.document is not None
        if request.method == "GET":
            return JSONResponse({"config": exported(self.document)})
        self.log.append("POST config")
        self.document = flat(yaml.safe_load((await request.json())["config"]))
        load(self.document)
        return JSONResponse({}, 201)


def exported(document: str) -> str:
    """As Kong exports it: every entity on its own, foreign ones by their ids, what is not set as null."""
    loaded = load(document)
    consumers = yaml.safe_load(document)["consumers"]
    ids = {item["username"]: f"id-of-{item['username']}" for item in consumers}
    return yaml.safe_dump(
        {
            "_format_version": "3.0", "_transform": False,
            "services": yaml.safe_load(document)["services"],
            "consumers": [
                {"id": ids[item["username"]], "username": item["username"], "custom_id": None} for item in consumers
            ],
            "jwt_secrets": [
                {"id": secret["id"], "key": key, "algorithm": secret["algorithm"], "secret": "random", "tags": None,
                 "rsa_public_key": secret["rsa_public_key"], "consumer": ids[secret["consumer"]["username"]]}
                for key, secret in loaded.secrets.items()
            ] or None,
        }
    )  # fmt: skip


def flat(document: dict[str, Any]) -> str:
    """What was posted, in the form that the stand-in loads: credentials within their consumers."""
    for consumer in document["consumers"]:
        own = [item for item in document.get("jwt_secrets") or [] if item["consumer"] == consumer.get("id")]
        consumer["jwt_secrets"] = [
            {name: item[name] for name in ("key", "algorithm", "rsa_public_key")} for item in own
        ]
    kept = {name: value for name, value in document.items() if name != "jwt_secrets"}
    kept["consumers"] = [{name: item[name] for name in ("username", "jwt_secrets")} for item in kept["consumers"]]
    return yaml.safe_dump(kept)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
