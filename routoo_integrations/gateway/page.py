"""The gateway's page: sign-in with a key, what its account may see, and for an administrator limits to change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from routoo_core.errors import ConfigurationError, InvalidRequest
from routoo_core.limit_changes import (
    LimitChange,
    change_limit,
    change_limit_in_ledger,
    find_account,
)
from routoo_core.router import Router
from routoo_core.threads import off_loop
from routoo_integrations.gateway.access import Access, Caller, check_own_machine, sent_key
from routoo_integrations.gateway.activity import ActivityLog
from routoo_integrations.gateway.dashboard import (
    DRAWING_HEIGHT,
    DRAWING_WIDTH,
    SHOWN_DRAWINGS,
    make_dashboard,
)
from routoo_integrations.gateway.keys import KeyStore
from routoo_integrations.gateway.problems import CallRefused, Problem, problem_of
from routoo_integrations.gateway.requests import read_form
from routoo_integrations.gateway.sessions import SESSION_S, Sessions

COOKIE = "routoo_session"
_FOLDER = Path(__file__).parent / "page_files"
_LARGEST_FORM = 8 * 1024
_FORM_TIMEOUT_S = 10.0
_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FILES = {"page.css": "text/css", "page.js": "text/javascript"}


class Page:
    """Answers browsers.

    Args:
        router: The router.
        keys: Whose holders may sign in; ``None`` where whoever reaches the gateway may look.
        access: Knows what a key may do.
        activity: The last calls.
        config: routoo.toml, where limits are changed too; ``None`` where there is none.
    """

    def __init__(
        self,
        router: Router,
        keys: KeyStore | None,
        access: Access,
        activity: ActivityLog,
        config: Path | None = None,
    ) -> None:
        self._router = router
        self._keys = keys
        self._access = access
        self._activity = activity
        self._config = config
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined
        )

    def routes(self) -> list[Route]:
        """The page's addresses."""
        return [
            Route("/", self._guarded(self._show)),
            Route("/sign-in", self._guarded(self._sign_in), methods=["POST"]),
            Route("/sign-out", self._guarded(self._sign_out), methods=["POST"]),
            Route("/limits", self._guarded(self._change_limit), methods=["POST"]),
            *(Route(f"/page/{name}", self._file(name)) for name in _FILES),
        ]

    def _guarded(
        self, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An answer with the headers of a page; errors become pages."""

        async def guarded(request: Request) -> Response:
            try:
                response = await answer(request)
            except Exception as error:  # noqa: BLE001 (the reader is told what may be said of it)
                problem = problem_of(error)
                response = self._render(
                    "problem.html.j2", {"message": problem.message}, problem.status
                )
            response.headers.update(_SECURITY_HEADERS)
            return response

        return guarded

    @cached_property
    def _sessions(self) -> Sessions:
        assert self._keys is not None  # noqa: S101
        return Sessions(self._keys)

    def _needs_key(self) -> bool:
        return self._keys is not None and self._keys.has_keys

    async def _viewer(self, request: Request) -> Caller | None:
        """Who looks; ``None`` for somebody who has to sign in.

        Raises:
            CallRefused: A key or a request that is not answered.
        """
        if not self._needs_key():
            check_own_machine(request.headers)
            return Caller()
        if sent_key(request.headers):
            return self._access.caller(request.headers)
        token = request.cookies.get(COOKIE)
        key = await off_loop(partial(self._sessions.key_of, token)) if token else None
        return None if key is None else self._access.caller_with(key)

    # Answers

    async def _show(self, request: Request) -> Response:
        viewer = await self._viewer(request)
        if viewer is None:
            return self._render("sign_in.html.j2", {"message": ""}, 401)
        return await self._show_to(viewer, request)

    async def _show_to(self, viewer: Caller, request: Request, message: str = "") -> Response:
        baseline = request.query_params.get("baseline")

        def render() -> Response:
            dashboard = make_dashboard(self._router, self._access, self._activity, viewer, baseline)
            values = {
                "dashboard": dashboard,
                "message": message,
                "may_change": viewer.account is None,
                "is_signed_in": viewer.key is not None,
                "shown_drawings": SHOWN_DRAWINGS,
                "width": DRAWING_WIDTH,
                "height": DRAWING_HEIGHT,
            }
            return self._render("page.html.j2", values, 400 if message else 200)

        return await off_loop(render)

    async def _sign_in(self, request: Request) -> Response:
        _check_same_origin(request.headers)
        form = await read_form(request, _LARGEST_FORM, _FORM_TIMEOUT_S)
        if not self._needs_key():
            check_own_machine(request.headers)
            return _to_page()
        key = form.get("key", "").strip()
        token = await off_loop(lambda: self._sessions.begin(key))
        if token is None:
            message = "This key opens nothing: it is unknown, revoked or expired."
            return self._render("sign_in.html.j2", {"message": message}, 401)
        response = _to_page()
        response.set_cookie(
            COOKIE,
            token,
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def _sign_out(self, request: Request) -> Response:
        _check_same_origin(request.headers)
        token = request.cookies.get(COOKIE)
        if token and self._needs_key():
            await off_loop(partial(self._sessions.end, token))
        response = _to_page()
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    async def _change_limit(self, request: Request) -> Response:
        """A new limit of an account, from an administrator."""
        _check_same_origin(request.headers)
        viewer = await self._viewer(request)
        if viewer is None:
            return self._render("sign_in.html.j2", {"message": ""}, 401)
        viewer.check_admin()
        form = await read_form(request, _LARGEST_FORM, _FORM_TIMEOUT_S)
        change = LimitChange(form.get("limit", "").strip() or "none")
        try:
            await off_loop(lambda: self._set_limit(form.get("account", ""), change))
        except (ConfigurationError, InvalidRequest) as error:
            return await self._show_to(viewer, request, str(error))
        return _to_page()

    def _set_limit(self, account: str, change: LimitChange) -> None:
        """Change a limit: in routoo.toml too, where the account stands there.

        Raises:
            ConfigurationError: The limit is none, or cannot be written.
            InvalidRequest: Nobody knows the account.
        """
        names = {budget.account for budget in self._router.budget.every_account()}
        if account in names and self._config is not None:
            change_limit(self._config, self._router.ledger, account, change)
            return
        of_keys = {budget.account: budget for budget in self._access.budgets_of_keys()}
        budget = of_keys.get(account) or find_account(
            self._router.budget, self._router.ledger, account
        )
        change_limit_in_ledger(self._router.ledger, budget, change)

    def _render(self, template: str, values: Mapping[str, object], status: int) -> Response:
        page = self._templates.get_template(template).render(values)
        return Response(page, status, media_type="text/html")

    def _file(self, name: str) -> Callable[[Request], Awaitable[Response]]:
        """A file of the page: it says nothing of anybody, so it needs no key."""
        content = (_FOLDER / name).read_text(encoding="utf-8")

        async def answer(request: Request) -> Response:
            headers = {**_SECURITY_HEADERS, "Cache-Control": "no-cache"}
            return Response(content, media_type=_FILES[name], headers=headers)

        return answer


def _to_page() -> Response:
    """Back to the page, wherever it is mounted."""
    return RedirectResponse("./", status_code=303)


def _check_same_origin(headers: Mapping[str, str]) -> None:
    """Refuse a form that another site sends through somebody's browser.

    Raises:
        CallRefused: It is one, or the browser does not say.
    """
    origin = headers.get("origin", "")
    site = headers.get("sec-fetch-site", "same-origin")
    if urlsplit(origin).netloc == headers.get("host") and site == "same-origin":
        return
    message = "This form was not sent by the gateway's own page; open the page and try again."
    raise CallRefused(Problem(403, "permission_error", message, "not_allowed"))
