"""The page of `lpips report` in a browser: what it asks for, and what it can do."""

import html
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import browser
from browser import ROOT, Browser, Driver

HOSTILE = "</script><img src=x onerror=alert(1)>$&"
ITEM = '"><svg onload=alert(2)>{{7*7}}${7*7}\u202e'


def lpips(*arguments, cwd):
    program = os.environ.get("LPIPS", ROOT / "target/debug/lpips")
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"lpips {' '.join(map(str, arguments))}: {done.stderr}")
    return done


def make_page(folder):
    """A run of the sample images, two of whose methods and items have hostile names."""
    samples = ROOT / "tests/data/sr"
    rows = ["ref,dist,item,method"]
    items = ["astronaut", "camera", "chelsea", "coffee", "hubble", "retina", "rocket"]
    for item in items:
        for method in ["bicubic", "lanczos", "nearest"]:
            name = HOSTILE if method == "nearest" else method
            shown = ITEM if item == "camera" else item
            cells = [samples / f"hr/{item}.png", samples / f"{method}/{item}.png", shown, name]
            rows.append(",".join('"' + str(cell).replace('"', '""') + '"' for cell in cells))
    (folder / "m.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    lpips("eval", "m.csv", "-o", "run", "--metrics", "lpips,psnr_y", "--quiet", cwd=folder)
    lpips("report", "run", "--html", "page.html", "--worst", "2", cwd=folder)
    return folder / "page.html"


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if reason := browser.skip_reason():
            raise unittest.SkipTest(reason)
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.page = make_page(cls.folder)
        cls.driver = Driver()
        cls.addClassCleanup(cls.driver.close)
        cls.browser = Browser(cls.driver)
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.log("browser")
        self.browser.log("performance")
        self.browser.view()
        self.browser.open(self.page)

    def load(self, **view):
        self.browser.view(**view)
        self.browser.open(self.page)

    def tearDown(self):
        if self._testMethodName.startswith("test_"):
            self.assertEqual(self.browser.run("return window.violations"), [])
            self.assertEqual(self.browser.log("browser"), [], "the console")

    def test_the_page_asks_for_nothing_and_logs_nothing(self):
        self.assertEqual(self.browser.requests(), [self.page.as_uri()])
        loaded = "return [...document.images].every((one) => one.complete && one.naturalWidth > 0)"
        self.assertTrue(self.browser.run(loaded))
        self.assertGreater(self.browser.run("return document.images.length"), 20)

    def test_the_policy_forbids_everything_else(self):
        """A script or a picture that is put into the page is blocked, and reported to the test."""
        tags = "<img src='https://example.invalid/x.png'><script>alert(1)</script></body>"
        text = self.page.read_text(encoding="utf-8").replace("</body>", tags)
        altered = self.folder / "altered.html"
        altered.write_text(text, encoding="utf-8")
        self.browser.open(altered)
        violations = " ".join(self.browser.run("return window.violations"))
        self.assertIn("img-src https://example.invalid/x.png", violations)
        self.assertIn("script-src-elem inline", violations)
        self.browser.log("browser")
        self.browser.open(self.page)

    def methods(self):
        rows = "return [...document.querySelectorAll('#ranking tbody.ranked th')].map((one) => one.textContent)"
        return self.browser.run(rows)

    def test_tables_are_sorted_by_keyboard(self):
        before = self.methods()
        self.assertEqual(sorted(before), sorted(["bicubic", "lanczos", HOSTILE]))
        self.browser.run("document.querySelector('#ranking th:nth-child(2) button').focus()")
        self.browser.keys(browser.ENTER)
        header = "return document.querySelector('#ranking th:nth-child(2)').getAttribute('aria-sort')"
        self.assertEqual(self.browser.run(header), "ascending")
        ascending = self.methods()
        self.browser.keys(browser.SPACE)
        self.assertEqual(self.browser.run(header), "descending")
        self.assertEqual(self.methods(), ascending[::-1])
        # The next header is the next stop.
        self.browser.keys(browser.TAB, browser.ENTER)
        self.assertIsNone(self.browser.run(header))
        self.assertEqual(self.methods(), before, "the first metric, the best first")
        self.assertIn("Sorted by lpips_alex", self.browser.run("return document.getElementById('status').textContent"))

    def visible(self):
        """Which views of the first pair are seen."""
        return self.browser.run("""
            const card = document.querySelector('.card');
            const seen = (one) => getComputedStyle(one).display !== 'none' && getComputedStyle(one).visibility !== 'hidden';
            return [...card.querySelectorAll('.view')].filter(seen).map((one) => one.classList[1]);
        """)

    def test_pairs_are_compared_side_by_side_and_in_modes(self):
        self.assertEqual(self.visible().count("reference"), 1)
        self.assertEqual(self.visible().count("distorted"), 3)
        self.assertEqual(self.visible().count("map"), 3)
        self.browser.click("#pair-1 [value=slider]")
        self.assertEqual(self.visible(), ["reference", "distorted"])
        clip = "return getComputedStyle(document.querySelector('#pair-1 .chosen .frame')).clipPath"
        self.assertEqual(self.browser.run(clip), "inset(0px 0px 0px 50%)")
        self.browser.type("#pair-1 .slide", browser.RIGHT * 10)
        self.assertEqual(self.browser.run(clip), "inset(0px 0px 0px 60%)")
        self.browser.click("#pair-1 [value=difference]")
        blend = "return getComputedStyle(document.querySelector('#pair-1 .chosen')).mixBlendMode"
        self.assertEqual(self.browser.run(blend), "difference")
        self.browser.click("#pair-1 [value=side]")
        self.assertEqual(len(self.visible()), 7)

    def test_blink_swaps_by_button_where_motion_is_reduced(self):
        self.load(calm=True)
        calm = self.browser
        calm.click("#pair-1 [value=blink]")
        chosen = "return getComputedStyle(document.querySelector('#pair-1 .chosen')).visibility"
        self.assertEqual(calm.run(chosen), "visible")
        calm.click("#pair-1 .swap")
        self.assertEqual(calm.run(chosen), "hidden")
        calm.click("#pair-1 .swap")
        self.assertEqual(calm.run(chosen), "visible")

    def test_all_pictures_of_a_pair_zoom_and_move_together(self):
        self.browser.type("#pair-1 .zoom", browser.RIGHT * 2)
        places = """
            const images = [...document.querySelectorAll('#pair-1 .frame img')];
            return [...new Set(images.map((one) => {
              const { a, e, f } = new DOMMatrix(getComputedStyle(one).transform);
              return [a, Math.round(100 * e / one.clientWidth), Math.round(100 * f / one.clientHeight)].join();
            }))];
        """
        self.assertEqual(self.browser.run(places), ["2,-50,-50"])
        self.browser.run("document.querySelector('#pair-1 .frame').focus()")
        self.browser.keys(browser.RIGHT)
        self.assertEqual(self.browser.run(places), ["2,-60,-50"])
        drag = """
            const frame = document.querySelector('#pair-1 .frame');
            const at = (kind, x) => frame.dispatchEvent(new PointerEvent(kind, { clientX: x, clientY: 9, pointerId: 1 }));
            frame.setPointerCapture = () => {};
            at('pointerdown', 0); at('pointermove', frame.clientWidth / 10); at('pointerup', 0);
        """
        self.browser.run(drag)
        self.assertEqual(self.browser.run(places), ["2,-50,-50"])
        self.browser.click("#pair-1 .reset")
        self.assertEqual(self.browser.run(places), ["1,0,0"])

    def test_the_scatter_plot_shows_chosen_methods_and_links_to_pairs(self):
        where = "return [...document.querySelectorAll('.points circle')].map((one) => one.getAttribute('cx')).join()"
        before = self.browser.run(where)
        self.browser.run("""
            const select = document.querySelector('select.x');
            select.selectedIndex = 2;
            select.dispatchEvent(new Event('change'));
        """)
        self.assertNotEqual(self.browser.run(where), before)
        links = self.browser.run("return [...document.querySelectorAll('.points a')].map((one) => one.getAttribute('href'))")
        self.assertGreater(len(links), 2)
        for link in links:
            self.assertTrue(self.browser.run("return document.querySelector(arguments[0]) !== null", link))

    def test_the_signature_is_copied_or_selected(self):
        self.browser.click("[data-copy='signature-0']")
        said = "return document.getElementById('status').textContent"
        shown = self.browser.run_async("""
            const done = arguments[0];
            const status = document.getElementById('status');
            const look = () => status.textContent ? done(status.textContent) : requestAnimationFrame(look);
            look();
        """)
        self.assertIn(shown.split(":")[0], ["Copied", "Selected"], self.browser.run(said))

    def test_hostile_names_are_text(self):
        text = self.browser.run("return document.body.textContent")
        self.assertIn(HOSTILE, text)
        self.assertIn(ITEM, text)
        self.assertEqual(self.browser.run("return document.querySelectorAll('img[src=x], svg[onload]').length"), 0)
        # Handlers and addresses that browsers would follow.
        attributes = self.browser.run("""
            const all = [...document.querySelectorAll('*')].flatMap((one) => [...one.attributes]);
            return all.filter((one) => one.name.startsWith('on') || one.name === 'style').map((one) => one.name);
        """)
        # The script itself sets custom properties of cards.
        self.assertEqual([name for name in attributes if name != "style"], [])
        source = self.page.read_text(encoding="utf-8")
        self.assertNotIn(HOSTILE, source)
        self.assertNotIn(" style=", source)
        self.assertIn(html.escape(HOSTILE, quote=False), source)

    def test_light_and_dark_can_be_chosen(self):
        paper = "return getComputedStyle(document.body).backgroundColor"
        light = self.browser.run(paper)
        self.browser.click("#theme")
        dark = self.browser.run(paper)
        self.assertNotEqual(light, dark)
        self.load(dark=True)
        self.assertEqual(self.browser.run(paper), dark)

    def test_without_scripts_tables_and_pictures_are_there(self):
        plain = Browser(self.driver, scripts=False)
        self.addCleanup(plain.close)
        plain.open(self.page)
        self.assertIsNone(plain.run("return document.documentElement.getAttribute('class')"))
        self.assertEqual(plain.run("return document.querySelectorAll('#ranking tbody.ranked tr').length"), 3)
        shown = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility()).length"
        self.assertGreater(plain.run(shown, ".view img"), 20)
        self.assertEqual(plain.run(shown, ".needs-script"), 0)
        self.assertEqual(plain.log("browser"), [])

    def test_axe_finds_no_violation(self):
        source = browser.axe()
        if source is None:
            print("SKIPPED: axe-core is not installed (scripts/browser installs it)", flush=True)
            self.skipTest("no axe-core")
        for width, dark in [(1280, False), (1280, True), (360, False)]:
            self.load(width=width, dark=dark)
            found = self.violations(source)
            with self.subTest(width=width, dark=dark):
                self.assertEqual(found, [], json.dumps(found, indent=1))

    def test_groups_have_regions_of_their_own(self):
        """The tables and charts of several groups, and an incomplete method."""
        rows = ["id,item,method,ref,dist,scale,width,height,lpips_alex,status,error_code,error"]
        for scale in ["x2", "x4"]:
            for item in range(8):
                for method, score in [("good", 0.1), ("bad", 0.3), ("torn", 0.2)]:
                    value = "" if method == "torn" and item == 5 else f"{score + item / 50:.3f}"
                    status = "ok,," if value else "failed,E_READ,gone"
                    cells = [f"{method}/{item}{scale}", str(item), method, "r.png", "d.png", scale]
                    rows.append(",".join([*cells, "64", "48", value, status]))
        (self.folder / "groups.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        lpips("report", "groups.csv", "--group-by", "scale", "--html", "groups.html", cwd=self.folder)
        self.browser.open(self.folder / "groups.html")
        below = self.browser.run("return document.querySelector('details.group tbody.incomplete').textContent")
        self.assertIn("not ranked: 1 of 8 items has no score", below)
        self.assertEqual(self.browser.run("return document.querySelectorAll('details.group').length"), 2)
        if source := browser.axe():
            self.assertEqual(self.violations(source), [])

    def violations(self, source):
        """What axe finds with everything unfolded."""
        self.browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        self.browser.run(source)
        return self.browser.run_async("""
            const done = arguments[0];
            axe.run(document, { resultTypes: ['violations'] }).then((found) => done(
              found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`)));
        """)

    def test_a_phone_scrolls_in_one_direction(self):
        self.load(width=360, height=740)
        self.assertEqual(self.browser.run("return document.documentElement.scrollWidth"), 360)


if __name__ == "__main__":
    unittest.main()
