"""A real Chromium for tests of pages; a machine that has none and can get none fails, it does not skip."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from services.browser import executable

PROJECT = Path(__file__).resolve().parent.parent


@dataclass
class Opened:
    """A page from disk, with every request that it made and everything that it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def all(self, script: str) -> Any:
        return self.page.evaluate(script)

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_text_contents()


@dataclass
class Opener:
    """Opens files in fresh contexts of one browser: offline, in a colour scheme, in a width."""

    browser: Browser

    def __call__(self, path: Path, *, scheme: str = "light", width: int = 1200, script: bool = True) -> Opened:
        context = self.browser.new_context(
            offline=True,
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 900},
            java_script_enabled=script,
            timezone_id="UTC",
        )
        opened = Opened(context.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda said: opened.complaints.append(said.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("dialog", lambda dialog: opened.complaints.append(dialog.message))
        opened.page.goto(path.as_uri())
        return opened

    def close(self) -> None:
        for context in self.browser.contexts:
            context.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for a module: an open one leaves an event loop running, in which a later test can start none."""
    path = executable(PROJECT, print)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Browser) -> Iterator[Opener]:
    opener = Opener(chromium)
    yield opener
    opener.close()
