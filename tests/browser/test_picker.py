"""The picker in Chromium: every gesture reaches Python once, by id, and the view stays where the person put it."""

import re
from pathlib import Path

import pytest

try:
    from playwright.sync_api import expect
except ImportError:  # the browser fixture then skips, or fails in CI
    expect = None

APP = Path(__file__).with_name("picker_app.py")
STATE = "document.querySelector('[data-testid=stBidiComponentIsolated]')?.shadowRoot?.querySelector('.picker')?.picker.state()"


class Map:
    """The picker on a page, in a test's words."""

    def __init__(self, page):
        self.page = page
        self.wrap = page.locator(".picker")

    def open(self, address):
        self.page.goto(address)
        self.page.wait_for_function(f"() => {STATE}?.n > 0")
        expect(self.page.get_by_text(re.compile("^runs"))).to_be_visible()
        return self

    def state(self):
        return self.wrap.evaluate("e => e.picker.state()")

    def pixel(self, instance):
        at = self.wrap.evaluate("(e, id) => e.picker.pixel(id)", instance)
        return at["x"], at["y"]

    def lone(self, count=1):
        """Ids on the map with no other point within 18 pixels: a click there is not ambiguous."""
        return self.wrap.evaluate(
            """(e, [ids, count]) => {
                const at = ids.map((id) => e.picker.pixel(id));
                const alone = (i) => at.every((p, j) => j === i || Math.hypot(p.x - at[i].x, p.y - at[i].y) > 18);
                return ids.filter((_, i) => alone(i)).slice(0, count);
            }""",
            [[1000 + 7 * k for k in range(400)], count],
        )

    def click(self, instance, **options):
        self.page.mouse.click(*self.pixel(instance), **options)

    def drag(self, *path, button="left"):
        self.page.mouse.move(*path[0])
        self.page.mouse.down(button=button)
        for place in path[1:]:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up(button=button)

    def around(self, instance, reach=9):
        """Corners of a small loop around a point."""
        x, y = self.pixel(instance)
        return [(x - reach, y - reach), (x + reach, y - reach), (x + reach, y + reach), (x - reach, y + reach)]

    def says(self, count, gestures=None):
        """Python's set has ``count`` ids (after ``gestures`` gestures), and the browser agrees."""
        expect(self.page.get_by_text(re.compile(f"^forget {count}:"))).to_be_visible()
        if gestures is not None:
            expect(self.page.get_by_text(re.compile(f"^gestures {gestures}:"))).to_be_visible()
        self.page.wait_for_function(f"() => {STATE}.pending === 0")
        assert len(self.state()["selected"]) == count

    def forgotten(self):
        text = self.page.get_by_text(re.compile("^forget")).inner_text()
        return [int(word) for word in text.split(":")[1].split()]

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)


@pytest.fixture(params=["take", "pick"])
def both(request, serve, page):
    """The page may read gestures before drawing (take) or while drawing (pick)."""
    return Map(page).open(serve(APP, {"PICKER_TAKE": "1" if request.param == "take" else "0"}))


@pytest.fixture
def plot(serve, page):
    return Map(page).open(serve(APP, {"PICKER_TAKE": "1"}))


def test_click_toggles_in_every_tool(both):
    for name in ("Lasso", "Box", "Pan"):
        both.button(name).click()
        first = both.lone()[0]
        both.click(first)
        both.says(1)
        assert both.forgotten() == [first]
        both.click(first)
        both.says(0)


def test_lasso_box_and_subtract(both):
    a, b, c = both.lone(3)
    both.drag(*both.around(a))
    both.says(1)
    both.button("Box").click()
    both.drag(both.around(b)[0], both.around(b)[2])
    both.says(2)
    both.button("Lasso").click()
    both.drag(*both.around(c))
    both.says(3)
    both.page.keyboard.down("Alt")
    both.drag(*both.around(b))
    both.page.keyboard.up("Alt")
    both.says(2)
    assert both.forgotten() == [a, c]
    both.button("Subtract").click()
    both.drag(*both.around(a))
    both.says(1)
    both.button("Subtract").click()
    both.drag(*both.around(a))
    both.says(2, gestures=6)
    assert both.forgotten() == [c, a]


def test_lasso_of_everything(plot):
    box = plot.page.locator(".field").bounding_box()
    x, y, right, low = box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    plot.drag((x, y), (right, y), (right, low), (x, low))
    plot.says(400, gestures=1)
    expect(plot.page.locator(".count")).to_have_text("400 selected")


def test_undo_and_clear(both):
    a, b = both.lone(2)
    both.click(a)
    both.click(b)
    both.says(2)
    both.button("Undo").click()
    both.says(1)
    both.button("Clear selection").click()
    both.says(0)
    both.page.locator(".field").focus()
    both.page.keyboard.press("u")
    both.says(1, gestures=5)
    assert both.forgotten() == [a]
    expect(both.page.get_by_text(re.compile("undo keyboard 0"))).to_be_visible()


@pytest.mark.parametrize("env", [{}, {"PICKER_SLOW": "0.5"}, {"PICKER_TAKE": "0", "PICKER_SLOW": "0.3"}])
def test_fast_clicks_all_arrive_once(serve, page, env):
    plot = Map(page).open(serve(APP, {"PICKER_TAKE": "1", **env}))
    ids = plot.lone(20)
    assert len(ids) == 20
    for instance in ids:
        plot.click(instance)
        page.wait_for_timeout(80)
    plot.says(20, gestures=20)
    assert sorted(plot.forgotten()) == sorted(ids)
    for instance in ids[:10]:
        plot.click(instance)
        page.wait_for_timeout(40)
    plot.says(10, gestures=30)


def test_view_survives_reruns_recolouring_selection_and_page_changes(plot):
    x, y = plot.pixel(plot.lone()[0])
    plot.page.mouse.move(x, y)
    plot.page.mouse.wheel(0, -400)
    plot.page.wait_for_function(f"() => {STATE}.view.k > 1.5")
    plot.button("Pan").click()
    plot.drag((x, y), (x + 60, y + 30))
    view = plot.state()["view"]

    plot.button("Rerun").click()
    expect(plot.page.get_by_text("runs 2")).to_be_visible()
    assert plot.state()["view"] == view
    plot.button("Add class 3").click()
    expect(plot.page.get_by_text(re.compile("^forget [1-9]"))).to_be_visible()
    assert plot.state()["view"] == view
    plot.page.get_by_text("loss", exact=True).click()
    expect(plot.page.locator(".legend .title")).to_have_text("Loss")
    assert plot.state()["view"] == view and plot.state()["selected"]

    plot.page.get_by_role("link", name="Other").click()
    expect(plot.page.get_by_text("another page")).to_be_visible()
    plot.page.get_by_role("link", name="Map").click()
    expect(plot.page.get_by_text(re.compile("^runs 5"))).to_be_visible()
    plot.page.wait_for_function(f"() => {STATE}?.n > 0")
    assert plot.state()["view"] == view
    assert plot.state()["tool"] == "pan" and plot.state()["selected"]


def test_wheel_keeps_the_point_under_the_cursor(plot):
    chosen = plot.lone()[0]
    before = plot.pixel(chosen)
    plot.page.mouse.move(*before)
    plot.page.mouse.wheel(0, -300)
    plot.page.wait_for_function(f"() => {STATE}.view.k > 1.5")
    assert plot.pixel(chosen) == pytest.approx(before, abs=1)


def test_middle_and_space_drag_pan_without_choosing(plot):
    x, y = plot.pixel(plot.lone()[0])
    plot.drag((x, y), (x + 40, y + 30), button="middle")
    plot.page.keyboard.down("Space")
    plot.drag((x, y), (x + 40, y + 30))
    plot.page.keyboard.up("Space")
    assert plot.state()["view"]["cx"] != 0
    plot.says(0, gestures=0)


def test_keyboard(plot):
    field = plot.page.locator(".field")
    field.focus()
    plot.page.keyboard.press("b")
    assert plot.state()["tool"] == "box"
    plot.page.keyboard.press("+")
    assert plot.state()["view"]["k"] == pytest.approx(1.4)
    before = plot.state()["view"]["cx"]
    plot.page.keyboard.press("ArrowRight")
    assert plot.state()["view"]["cx"] > before
    plot.page.keyboard.press("0")
    assert plot.state()["view"]["k"] == 1
    x, y = plot.pixel(plot.lone()[0])
    plot.page.mouse.move(x - 15, y - 15)
    plot.page.mouse.down()
    plot.page.mouse.move(x + 15, y + 15, steps=4)
    plot.page.keyboard.press("Escape")
    plot.page.mouse.up()
    plot.says(0, gestures=0)


def test_enter_chooses_the_point_nearest_the_middle(plot):
    target = plot.lone()[0]
    plot.page.locator(".field").focus()
    box = plot.page.locator(".field").bounding_box()
    x, y = plot.pixel(target)
    plot.drag((x, y), (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), button="middle")
    plot.page.keyboard.press("Enter")
    plot.says(1)
    assert plot.forgotten() == [target]
    expect(plot.page.get_by_text(re.compile("add keyboard 1"))).to_be_visible()


def test_reload_replays_nothing(both):
    both.click(both.lone()[0])
    both.says(1, gestures=1)
    both.page.reload()
    both.page.wait_for_function(f"() => {STATE}?.n > 0")
    both.says(0, gestures=0)
    both.button("Rerun").click()
    expect(both.page.get_by_text("runs 2")).to_be_visible()
    both.says(0, gestures=0)


def test_page_change_replays_and_loses_nothing(both):
    a, b = both.lone(2)
    both.click(a)
    both.says(1)
    both.page.get_by_role("link", name="Other").click()
    expect(both.page.get_by_text("another page")).to_be_visible()
    both.page.get_by_role("link", name="Map").click()
    both.page.wait_for_function(f"() => {STATE}?.n > 0")
    both.says(1, gestures=1)
    both.click(b)
    both.says(2, gestures=2)


def test_a_click_just_before_leaving_the_page_is_kept(serve, page):
    plot = Map(page).open(serve(APP, {"PICKER_TAKE": "1", "PICKER_SLOW": "0.5"}))
    chosen = plot.lone()[0]
    plot.click(chosen)
    page.get_by_role("link", name="Other").click()
    expect(page.get_by_text("another page")).to_be_visible()
    page.get_by_role("link", name="Map").click()
    page.wait_for_function(f"() => {STATE}?.n > 0")
    plot.says(1, gestures=1)
    assert plot.forgotten() == [chosen]


def test_hover_shows_the_right_thumbnail(plot):
    """The sprite's tile k is one colour made of k; the order of ids is shuffled."""
    for chosen in plot.lone(3):
        plot.page.mouse.move(*plot.pixel(chosen))
        card = plot.page.locator(".card")
        expect(card).to_have_attribute("data-id", str(chosen))
        expect(card).to_be_visible()
        expect(card.locator(".caption")).to_have_text(re.compile(f"^id {chosen} · label"))
        row = plot.wrap.evaluate("(e, id) => e.picker.row(id)", chosen)
        thumb = card.locator(".thumb")
        expect(thumb).to_have_attribute("data-tile", f"{row % 25},{row // 25}")
        colour = thumb.evaluate("c => [...c.getContext('2d').getImageData(3, 3, 1, 1).data]")
        assert colour[:3] == [row % 256, row // 256, 90]
        inside = plot.page.locator(".stage").bounding_box()
        at = card.bounding_box()
        assert inside["x"] <= at["x"] and at["x"] + at["width"] <= inside["x"] + inside["width"]
        assert inside["y"] <= at["y"] and at["y"] + at["height"] <= inside["y"] + inside["height"]


def test_tiles_come_when_they_are_looked_at(serve, page):
    """Of 3,000 thumbnails only those around the pointer are sent; the right one is shown, the page does not run, and gestures count."""
    plot = Map(page).open(serve(APP, {"PICKER_TILES": "1", "PICKER_N": "3000"}))
    runs = page.get_by_text(re.compile("^runs")).inner_text()
    assert plot.state()["got"] == 0
    card, thumb = page.locator(".card"), page.locator(".card .thumb")
    ids = [1000 + 7 * k for k in range(0, 3000, 600)]
    for count, chosen in enumerate(ids, 1):
        page.mouse.move(*plot.pixel(chosen))
        expect(card).to_be_visible()
        size = card.bounding_box()
        expect(thumb).not_to_have_attribute("data-tile", "")
        row = int(thumb.get_attribute("data-tile"))
        assert row == plot.wrap.evaluate("(e, id) => e.picker.row(id)", int(card.get_attribute("data-id")))
        assert thumb.evaluate("c => [...c.getContext('2d').getImageData(3, 3, 1, 1).data]") == [row % 256, row // 256, 90, 255]
        assert card.bounding_box() == size  # nothing jumps when the picture comes
        assert plot.state()["got"] <= count * 48 * 8 * 8 * 3
    got = plot.state()["got"]
    corner = page.locator(".field").bounding_box()
    page.mouse.move(corner["x"] + 2, corner["y"] + 2)
    expect(card).to_be_hidden()
    page.mouse.move(*plot.pixel(ids[-1]))
    expect(thumb).not_to_have_attribute("data-tile", "")
    page.wait_for_timeout(300)
    assert page.get_by_text(re.compile("^runs")).inner_text() == runs
    assert plot.state()["got"] == got  # what was seen is kept
    plot.click(ids[0])
    plot.says(1, gestures=1)


def test_looking_right_after_choosing_loses_neither(serve, page):
    plot = Map(page).open(serve(APP, {"PICKER_TILES": "1", "PICKER_SLOW": "0.5"}))
    first, second = plot.lone(2)
    plot.click(first)
    page.mouse.move(*plot.pixel(second))
    thumb = page.locator(".card .thumb")
    expect(page.locator(".card")).to_have_attribute("data-id", str(second))
    expect(thumb).not_to_have_attribute("data-tile", "")
    plot.says(1, gestures=1)
    assert plot.forgotten() == [first]


def test_legend_dims_without_choosing(plot):
    entry = plot.page.get_by_role("button", name="class 2")
    entry.click()
    expect(entry).to_have_attribute("aria-pressed", "true")
    expect(plot.page.get_by_role("button", name="class 4")).to_have_class(re.compile("dim"))
    entry.click()
    expect(plot.page.get_by_role("button", name="class 4")).not_to_have_class(re.compile("dim"))
    plot.says(0, gestures=0)


def test_has_names_for_a_screen_reader(plot):
    expect(plot.page.get_by_role("application", name="Synthetic points in eight classes")).to_be_visible()
    expect(plot.page.get_by_role("status")).to_have_text("0 selected")
    for name in ("Lasso", "Box", "Pan", "Subtract", "Undo", "Clear selection", "Zoom in", "Zoom out", "Reset zoom"):
        expect(plot.button(name)).to_be_visible()
