"""Pictures of the page of the sample images, for docs/: desktop light and dark, and a phone."""

import shutil
import tempfile
from pathlib import Path

import browser
from browser import ROOT, Browser, Driver
from test_report import lpips

PICTURES = ROOT / "docs/pictures"


def shoot(driver, page, name, below=None, **window):
    view = Browser(driver, **window)
    view.open(page)
    if below:
        view.run("document.querySelector(arguments[0]).scrollIntoView()", below)
    view.screenshot(PICTURES / f"{name}.png")
    view.close()


def main():
    if reason := browser.missing():
        raise SystemExit(f"there is no {reason}")
    PICTURES.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp())
    driver = Driver()
    try:
        manifest = ROOT / "tests/data/sr/manifest.csv"
        metrics = ["--metrics", "lpips,psnr_y,ssim_y", "--quiet"]
        lpips("eval", manifest, "-o", "run", *metrics, cwd=folder)
        lpips("report", "run", "--html", "page.html", "--worst", "2", cwd=folder)
        page = folder / "page.html"
        shoot(driver, page, "report_light", width=1200, height=1000)
        shoot(driver, page, "report_dark", below="#pair-1", width=1200, height=1000, dark=True)
        shoot(driver, page, "report_phone", width=360, height=740)
    finally:
        driver.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
