"""The whole loop in Chromium against the real app: point, unlearn, see, and lose nothing when something dies."""

import json
import os
import re
import signal
import time
from contextlib import suppress

import pytest

from unlearn_core.runs.demo import example_key
from unlearn_core.runs.store import Store
from unlearn_core.runs.worker import lock

from .conftest import start
from .test_picker import Map

try:
    from playwright.sync_api import expect
except ImportError:  # the browser fixture then skips, or fails in CI
    expect = None

IDLE = "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'"
LONG = {"Epochs": 1000, "Batch": 8}  # a minute and more: long enough to reload, cancel and kill
PROBES = ("/_stcore/health", "/_stcore/host-config")  # which Streamlit asks for below a page's own address first


class Server:
    """The app on a store of its own; what it started is ended with it."""

    def __init__(self, folder):
        self.folder, self.process, self.address = folder, None, ""
        self.log = (folder.parent / f"{folder.name}.log").open("ab")

    def start(self):
        self.process, self.address = start("app.py", {"UNLEARN_STORE": str(self.folder)}, self.log)
        return self

    def worker(self):
        return json.loads((self.folder / "worker.json").read_text())["pid"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        with suppress(FileNotFoundError, ProcessLookupError):
            os.killpg(self.worker(), signal.SIGKILL)
        self.log.close()


@pytest.fixture(scope="module")
def shared(browser, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("app")).start()
    yield server
    server.close()


@pytest.fixture
def alone(browser, tmp_path):
    server = Server(tmp_path).start()
    yield server
    server.close()


class Studio(Map):
    """The Studio page, in a test's words."""

    def open(self, address, query=""):
        self.page.goto(f"{address}/studio{query}")
        self.page.wait_for_function(
            "() => document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot?.querySelector('.picker')?.picker.state().n > 0"
        )
        return self.settled()

    def settled(self):
        self.page.wait_for_function(IDLE)
        return self

    def has(self, count):
        """Python's set has this many instances, and the map shows as many."""
        expect(self.page.get_by_text(f"{count} chosen to forget", exact=True).first).to_be_attached()
        expect(self.page.get_by_role("status").filter(has_text=f"{count} selected")).to_be_visible()

    def listed(self, instance):
        """The button that removes one chosen instance."""
        return self.page.locator(f".st-key-remove-{instance}:not([data-stale=true])")

    def tab(self, name):
        self.page.get_by_role("tab", name=re.compile(f"^{name}")).click()
        return self

    def lone(self, count=1):
        """Ids of points on the map with no other point within reach of a click there."""
        found = self.wrap.evaluate(
            """(e, [top, apart]) => {
                const at = [...Array(top).keys()].map((id) => [id, e.picker.pixel(id)]).filter(([, p]) => p);
                const clear = ([id, p]) => at.every(([other, q]) => other === id || Math.hypot(p.x - q.x, p.y - q.y) > apart);
                return at.filter(clear).map(([id]) => id);
            }""",
            [1797, 10],
        )
        return found[:count]

    def around(self, instance, reach=5):
        return super().around(instance, reach)

    def random(self, count, seed=0):
        self.tab("Select")
        for label, value in (("How many", count), ("Seed", seed)):
            field = self.page.get_by_role("tabpanel").get_by_label(label, exact=True).first
            field.fill(str(value))
            field.press("Enter")
            self.settled()
        self.page.get_by_role("button", name="Add", exact=True).click()
        self.has(count)
        return self

    def method(self, name, **numbers):
        self.tab("Unlearn")
        if name:
            self.page.get_by_role("combobox", name=re.compile("Method")).click()
            self.page.get_by_role("option", name=name).click()
            self.settled()
        for label, value in numbers.items():
            field = self.page.get_by_role("spinbutton", name=label, exact=True)
            if label == "Batch":
                self.page.get_by_role("tabpanel").get_by_text("More settings").click()
            field.fill(str(value))
            field.press("Enter")
            self.settled()
        return self

    def unlearn(self):
        self.page.get_by_role("button", name=re.compile("^Unlearn .*instance")).click()
        return self

    def long_run(self, seed):
        """A run that is under way and takes long."""
        self.random(5, seed).method("Stable fine-tuning", **LONG).unlearn()
        expect(self.cancel).to_be_visible()
        expect(self.page.get_by_text(re.compile("Unlearning: (?!waiting)"))).to_be_visible(timeout=30_000)
        return self

    @property
    def cancel(self):
        return self.page.get_by_role("button", name="Cancel", exact=True)

    @property
    def again(self):
        return self.page.get_by_role("button", name="Start again")

    @property
    def result(self):
        return self.page.get_by_text(re.compile("^What changed"))


@pytest.fixture
def studio(shared, page):
    return Studio(page).open(shared.address)


@pytest.fixture
def other(browser):
    """A second browser that knows nothing of the first."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield Studio(page)
    context.close()


def test_a_deep_link_is_the_first_request_and_the_map_is_there_before_the_worker(tmp_path, page):
    held = lock(Store(tmp_path))  # no worker can begin while this test holds its place
    server = Server(tmp_path).start()
    try:
        wrong = watch(page, server.address)
        studio = Studio(page).open(server.address, f"?run={example_key()}")
        expect(studio.result).to_be_visible()
        expect(page.get_by_role("heading", name="Two moons")).to_be_visible()
        expect(page.get_by_text("The worker is starting")).to_be_visible()
        held.close()
        expect(page.get_by_role("combobox", name="Device")).to_be_visible(timeout=60_000)
        assert not wrong
    finally:
        held.close()
        server.close()


def test_click_lasso_and_subtract(studio):
    a, b, c = studio.lone(3)
    studio.click(a)
    studio.has(1)
    studio.tab("Chosen")
    expect(studio.listed(a)).to_be_visible()
    studio.drag(*studio.around(b))
    studio.has(2)
    studio.drag(*studio.around(c))
    studio.has(3)
    studio.page.keyboard.down("Alt")
    studio.drag(*studio.around(b))
    studio.page.keyboard.up("Alt")
    studio.has(2)
    expect(studio.listed(c)).to_be_visible()
    expect(studio.listed(b)).to_have_count(0)


def test_zoom_survives_and_a_reload_keeps_the_selection(studio):
    a, b = studio.lone(2)
    studio.page.mouse.move(*studio.pixel(a))
    studio.page.mouse.wheel(0, -400)
    studio.page.wait_for_timeout(300)
    view = studio.state()["view"]
    studio.click(a)
    studio.has(1)
    studio.page.get_by_role("combobox", name=re.compile("Colour by")).click()
    studio.page.get_by_role("option", name="Loss").click()
    studio.settled()
    assert studio.state()["view"] == pytest.approx(view)
    studio.page.reload()
    studio.has(1)
    studio.tab("Chosen")
    expect(studio.listed(a)).to_be_visible()


def test_unlearning_is_seen_step_by_step_and_its_link_reopens_it(studio, other, shared):
    studio.random(50).method(None)
    studio.unlearn()
    expect(studio.cancel).to_be_visible()
    expect(studio.result).to_be_visible(timeout=40_000)
    expect(studio.page.get_by_text("prediction interval from 3 seeds")).to_be_visible(timeout=60_000)
    key = re.search(r"run=(\w+)", studio.page.url).group(1)
    other.open(shared.address, f"?run={key}")
    expect(other.result).to_be_visible()
    expect(other.page.get_by_text("prediction interval from 3 seeds")).to_be_visible()
    other.has(50)


def test_a_reload_and_a_second_tab_find_the_run_and_cancel_is_quick(studio, other, shared):
    studio.long_run(seed=1)
    studio.page.reload()
    expect(studio.cancel).to_be_visible()
    other.open(shared.address, "?" + studio.page.url.split("?")[1])
    expect(other.cancel).to_be_visible()
    other.cancel.click()
    began = time.monotonic()
    for tab in (other, studio):
        expect(tab.page.get_by_text("Cancelled: unlearning")).to_be_visible(timeout=4_000)
        expect(tab.again).to_be_visible()
    assert time.monotonic() - began < 4
    studio.again.click()
    expect(studio.cancel).to_be_visible()
    studio.cancel.click()
    expect(studio.page.get_by_text("Cancelled: unlearning")).to_be_visible(timeout=4_000)


def test_a_killed_worker_is_told_in_plain_words_and_replaced(studio, shared):
    studio.long_run(seed=2)
    old = shared.worker()
    os.kill(old, signal.SIGKILL)
    expect(studio.page.get_by_text("The worker process was ended from outside")).to_be_visible()
    studio.again.click()
    expect(studio.page.get_by_text(re.compile("Unlearning: (?!waiting)"))).to_be_visible(timeout=40_000)
    assert shared.worker() != old
    studio.cancel.click()
    expect(studio.page.get_by_text("Cancelled: unlearning")).to_be_visible(timeout=4_000)


def test_a_killed_server_loses_nothing(alone, page):
    studio = Studio(page).open(alone.address).long_run(seed=3)
    query, worker = page.url.split("?")[1], alone.worker()
    alone.kill()
    alone.start()
    studio.open(alone.address, f"?{query}")
    studio.has(5)
    assert alone.worker() == worker  # the old worker went on with its work
    expect(studio.cancel).to_be_visible()
    studio.cancel.click()
    expect(page.get_by_text("Cancelled: unlearning")).to_be_visible(timeout=4_000)


def watch(page, address):
    """A list that fills with errors in the browser and with requests to anything but the app itself."""
    wrong = []
    page.on(
        "console",
        lambda said: said.type == "error" and not said.location["url"].endswith(PROBES) and wrong.append(f"{said.text} {said.location}"),
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith((address, "data:", "blob:")) or wrong.append(f"asks the network: {asked.url}"))
    return wrong


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_sound(browser, shared, theme, width):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    page = context.new_page()
    wrong = watch(page, shared.address)
    try:
        for path in ("/", "/runs", "/studio", f"/studio?run={example_key()}"):
            page.goto(shared.address + path)
            expect(page.locator("h1, h2, h3").first).to_be_visible()
            sections = ("Utility", "Boundary", "Structure", "Privacy", "Files") if "run=" in path else (None,)
            for section in sections:
                if section:
                    page.get_by_role("radio", name=section, exact=True).click()
                page.wait_for_timeout(100)  # until the click reached the server
                page.wait_for_function(IDLE)
                assert page.get_by_test_id("stException").count() == 0
                assert "Traceback" not in page.inner_text("body")
                wide = page.evaluate(
                    "() => [document.documentElement, document.querySelector('[data-testid=stMain]')].some((e) => e.scrollWidth > e.clientWidth)"
                )
                assert not wide, f"{path} {section or ''} scrolls sideways"
        assert not wrong
    finally:
        context.close()
