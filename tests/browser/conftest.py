"""A campus of its own, started as its readers start it, and a Chromium to look at it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.campus.running import Campus
from tests.testapp.models import Member

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
LOOKS = [
    *((size, scheme, "en-GB") for size in SIZES for scheme in ("light", "dark")),
    ("phone", "light", "zh-CN"),
    ("desktop", "dark", "zh-CN"),
]
POLICY = "default-src 'self'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'"


class StrictPolicy:
    """Forbid everything inline and everything from elsewhere."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response


@pytest.fixture(scope="module")
def campus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campus]:
    campus = Campus(tmp_path_factory.mktemp("campus"), encoder="minilm")
    try:
        yield campus
    finally:
        campus.stop()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Playwright's event loop runs in this thread; Django would take that for a mistake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture(scope="module")
def browser(one_thread: None) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=LOOKS, ids="-".join)
def page(request: pytest.FixtureRequest, browser: Browser, live_server, settings, client) -> Iterator[Page]:
    """Give a page of a member of staff; complain about anything the browser complained about."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.browser.conftest.StrictPolicy"]
    size, scheme, language = request.param
    context = browser.new_context(
        viewport=dict(zip(("width", "height"), SIZES[size], strict=True)), color_scheme=scheme, locale=language
    )
    client.force_login(Member.objects.create_superuser("boss@example.org", "secret"))
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    page = context.new_page()
    complaints: list[str] = []
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda failed: complaints.append(f"{failed.url} {failed.failure}"))
    page.name = f"{size}-{scheme}-{language[:2]}"
    yield page
    context.close()
    assert complaints == []
