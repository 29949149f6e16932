"""The HTML pages of ``fleetalign_plugin``, read-only from the store.

They are open to users who may read the DAG ``release_promote``. The package computes their content
(``fleetalign.watch``); this module has the routes, the permissions and the rules for browsers. HTML from the store is
always shown without scripts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fleetalign_links import BASE, made, url
from starlette.exceptions import HTTPException as StarletteHTTPException

from fleetalign.config import store_uri
from fleetalign.errors import BadInput, ConfigError, Corrupt, FleetalignError, NotFound, UsageError
from fleetalign.explain.explain import explained
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.connect import open_store
from fleetalign.storage.store import Store
from fleetalign.watch import entity_list, pages, readable
from fleetalign.watch import fleet as fleet_view

READ = "release_promote"
"""Users who may read this DAG may see the pages."""
OURS = "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
STORED = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
"""Policy for HTML from the store: no scripts, no forms, no requests."""

Text = Annotated[str, Query(max_length=1024)]
ID = "^[0-9a-f]{16}$"
PathId = Annotated[str, Path(pattern=ID)]

# Every route inherits the dependency: a mounted app has no login of its own.
app = FastAPI(
    title="fleetalign",
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    redirect_slashes=False,
    dependencies=[Depends(requires_access_dag("GET", param_dag_id=READ))],
)


@cache
def _store(uri: str) -> tuple[Store, entity_list.EntityPages]:
    store = open_store(uri)
    return store, entity_list.EntityPages(store)


def the_store() -> Store:
    return _store(store_uri())[0]


def site_of(user: GetUserDep) -> pages.Site:
    may_act = get_auth_manager().is_authorized_dag(
        method="POST", access_entity=DagAccessEntity.RUN, details=DagDetails(id="release_rollback"), user=user
    )
    return pages.Site(url, lambda path: f"{BASE}/{path}", may_act, datetime.now(UTC))


StoreDep = Annotated[Store, Depends(the_store)]
SiteDep = Annotated[pages.Site, Depends(site_of)]


@app.middleware("http")
async def headers(request: Request, call_next: Any) -> Response:
    answer = await call_next(request)
    answer.headers.setdefault("Content-Security-Policy", OURS)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.headers["Cache-Control"] = "private, no-store"
    return answer


@app.get("/fleet", response_class=HTMLResponse)
def fleet(
    store: StoreDep,
    site: SiteDep,
    channel: Text = "champion",
    order: Literal["moved", "name"] = "moved",
    kind: Text = "",
    state: Text = "",
    text: Text = "",
    attribute: Text = "",
    page: Annotated[int, Query(ge=1, le=10_000_000)] = 1,
) -> str:
    view = fleet_view.fleet_view(store, channel, site.now)
    query = entity_list.Query(order, kind, state, text, page, attribute)
    entities = None
    if view.chosen is not None:
        pointer = view.chosen.pointer
        entities = _store(store_uri())[1].page(pointer.release_id, pointer.previous, query)
    return pages.fleet(site, channel, view, entities, query)


@app.get("/release/{release_id}", response_class=HTMLResponse)
def release(store: StoreDep, site: SiteDep, release_id: PathId) -> str:
    found = fleet_view.read_release(store, release_id)
    pointers = [channels.read(store, name) for name in channels.names(store)]
    here = [p.channel for p in pointers if p is not None and p.release_id == release_id]
    provenance = store.get_json(layout.release(release_id, "provenance.json"))
    return pages.release(site, found, provenance, here)


@app.get("/plan/{plan_id}")
def plan(store: StoreDep, plan_id: PathId) -> Response:
    return RedirectResponse(url(f"release/{fleet_view.release_of_plan(store, plan_id)}"), 303)


@app.get("/run")
def run(site: SiteDep, user: GetUserDep, dag_id: Text, run_id: Text) -> Response:
    allowed = get_auth_manager().is_authorized_dag(
        method="GET", access_entity=DagAccessEntity.XCOM, details=DagDetails(id=dag_id), user=user
    )
    if not allowed:
        raise HTTPException(403, f"this needs the permission to read the results of {dag_id}")
    found = made(dag_id, run_id)
    if "Promotion verdict" in found and "Drift report" not in found:
        return RedirectResponse(found["Release"], 303)
    return HTMLResponse(pages.links(site, f"What {run_id} of {dag_id} made", found))


@app.get("/entity", response_class=HTMLResponse)
def entity(store: StoreDep, site: SiteDep, release: Annotated[str, Query(pattern=ID)], kind: Text, entity: Text) -> str:
    name, lines = explained(store, release, f"{kind}/{entity}")
    return pages.entity(site, release, name, lines)


@app.get("/validations", response_class=HTMLResponse)
def validations(store: StoreDep, site: SiteDep, key: Text) -> str:
    found = {found: url(found.removesuffix("/result.json")) for found in fleet_view.validations(store, key)}
    return pages.links(site, f"Validation of {key}", found)


@app.get("/validation/{partition:path}", response_class=HTMLResponse)
def validation(store: StoreDep, site: SiteDep, partition: str) -> str:
    key = f"validation/{partition}/result.json"
    readable.media_type(key)
    docs = [info.key for info in store.list(layout.data_docs_of(key))]
    return pages.validation(site, key, store.get_json(key), docs)


@app.get("/store/{key:path}")
def stored(store: StoreDep, key: str) -> Response:
    media_type = readable.media_type(key)
    return Response(store.get(key), media_type=media_type, headers={"Content-Security-Policy": STORED})


@app.get("/assets/{name}")
def asset(name: str) -> Response:
    data, media_type = pages.asset(name)
    return Response(data, media_type=media_type)


def _refuse(request: Request, status: int, title: str, text: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": text}, status)
    site = pages.Site(url, lambda path: f"{BASE}/{path}", False, datetime.now(UTC))
    return HTMLResponse(pages.sentence(site, title, text), status)


@app.exception_handler(StarletteHTTPException)
async def http_error(request: Request, error: StarletteHTTPException) -> Response:
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), 302)
    titles = {401: "Not logged in", 403: "Not allowed", 404: "No such page"}
    return _refuse(request, error.status_code, titles.get(error.status_code, "Not possible"), str(error.detail))


@app.exception_handler(RequestValidationError)
async def bad_request(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    return _refuse(request, 422, "Not possible", f"{first['loc'][-1]}: {first['msg']}")


@app.exception_handler(FleetalignError)
async def fleetalign_error(request: Request, error: FleetalignError) -> Response:
    if isinstance(error, NotFound):
        return _refuse(request, 404, "Not found", str(error))
    if isinstance(error, Corrupt):
        return _refuse(request, 500, "Damaged", str(error))
    if isinstance(error, UsageError | BadInput) and not isinstance(error, ConfigError):
        return _refuse(request, 400, "Not possible", str(error))
    return _refuse(request, 503, "The store cannot be read", str(error))
