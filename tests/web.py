"""examples/web: the page in headless Chromium, and the package swinh in node."""

import json
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from conftest import BUILD, ROOT

sys.path.insert(0, str(ROOT / "examples" / "web"))
import serve    # noqa: E402

PAGE = BUILD / "web"
MODEL = ROOT / "weights" / "street.swin"
PHOTO = ROOT / "examples" / "photos" / "lund_parked_cars.jpg"
LIMIT = 200_000     # bytes of the page and its module
PATIENCE = 300      # seconds, of a machine that is busy with other things


@pytest.fixture(scope="session")
def picture(tmp_path_factory):
    """A photo without loss, which all decoders read alike: 480 x 360."""
    path = tmp_path_factory.mktemp("picture") / "street.png"
    Image.open(PHOTO).convert("RGB").resize((480, 360)).save(path)
    return path


def native_of(picture, model=MODEL):
    """What build/segment makes of a picture: RGB of the class map, and the classes that occur."""
    segment = [BUILD / "segment", "-m", model]
    mask = picture.with_name("mask.png")
    subprocess.run([*segment, "--mask", "-o", mask, picture], check=True)
    said = subprocess.run([*segment, "--json", picture], check=True, capture_output=True, text=True)
    return np.asarray(Image.open(mask).convert("RGB")), json.loads(said.stdout)["classes"]


@pytest.fixture(scope="session")
def native(picture):
    return native_of(picture)


def rgb_of(color):
    return [int(color[i:i + 2], 16) for i in (1, 3, 5)]


# ---- the page ----

class Served:
    """A folder on the loopback address, until it is stopped."""

    def __init__(self, folder, isolated=True):
        self.server = serve.server_of(folder, isolated=isolated)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def served():
    s = Served(PAGE)
    yield s
    s.stop()


@pytest.fixture
def browser(tmp_path):
    """A Chromium of its own, with nothing kept, whose camera shows a test picture."""
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                   "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
                   "--window-size=1100,1200", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


def status(browser):
    return browser.find_element(By.ID, "status")


def wait_for(browser, text):
    """The status that holds the text; any error ends the waiting."""
    found = lambda b: (text in status(b).text or "error" in status(b).get_attribute("class"))
    WebDriverWait(browser, PATIENCE, 0.1).until(found)
    assert text in status(browser).text
    return status(browser).text


def wait_for_error(browser):
    WebDriverWait(browser, PATIENCE, 0.1).until(
        lambda b: "error" in status(b).get_attribute("class"))
    return status(browser).text


def open_page(browser, url):
    browser.get(url)
    wait_for(browser, "Ready for a picture")


def choose(browser, path):
    browser.find_element(By.ID, "file").send_keys(str(path))


def segment(browser, path):
    choose(browser, path)
    wait_for(browser, f"{path.name}, ")


def legend(browser):
    """class name: percent, as written"""
    entries = browser.find_elements(By.CSS_SELECTOR, "#legend li")
    return {e.find_element(By.TAG_NAME, "span").text: e.find_element(By.TAG_NAME, "b").text
            for e in entries}


def map_colours(browser):
    """RGB of the class map, [height][width][3]."""
    width, height, flat = browser.execute_script("""
        const map = document.getElementById('map');
        const data = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
        return [map.width, map.height, Array.from(data)];""")
    return np.array(flat, np.uint8).reshape(height, width, 4)[..., :3]


def test_module_and_page_are_small():
    texts = [p.name for p in PAGE.iterdir() if p.suffix in (".html", ".css", ".js")]
    files = ["swinh.wasm", *texts]
    assert len(texts) == 7
    assert sum((PAGE / name).stat().st_size for name in files) < LIMIT


def test_class_map_and_legend_are_the_native_ones(browser, served, picture, native):
    open_page(browser, served.url)
    segment(browser, picture)
    mask, classes = native
    assert np.array_equal(map_colours(browser), mask)
    assert legend(browser) == {c["name"]: f"{100 * c['share']:.1f} %" for c in classes}
    assert list(legend(browser)) == [c["name"] for c in
                                     sorted(classes, key=lambda c: -c["pixels"])]
    speed = browser.find_element(By.ID, "speed").text
    assert re.fullmatch(r"\d+ ms a picture, \d+ threads?; the bits of every other machine", speed)


@pytest.mark.parametrize("query, threads", [
    ("?threads=1", "1 thread;"), ("?threads=3", "3 threads;"), ("?threads=2&exact", "2 threads;")])
def test_threads(browser, served, picture, native, query, threads):
    open_page(browser, served.url + query)
    segment(browser, picture)
    assert threads in browser.find_element(By.ID, "speed").text
    assert np.array_equal(map_colours(browser), native[0])


def test_page_that_is_not_isolated_takes_one_thread(browser, picture, native):
    s = Served(PAGE, isolated=False)
    open_page(browser, s.url + "?threads=3")
    segment(browser, picture)
    assert "1 thread;" in browser.find_element(By.ID, "speed").text
    assert np.array_equal(map_colours(browser), native[0])
    s.stop()


def test_slider_fades_the_class_map(browser, served, picture):
    open_page(browser, served.url)
    segment(browser, picture)
    opacity = lambda: float(browser.find_element(By.ID, "map").value_of_css_property("opacity"))
    assert opacity() == 0.55
    slider = browser.find_element(By.ID, "opacity")
    slider.send_keys("\ue010")      # End
    assert opacity() == 1
    slider.send_keys("\ue011")      # Home
    assert opacity() == 0


@pytest.mark.parametrize("x, y", [(0.1, 0.1), (0.5, 0.95), (0.9, 0.5)])
def test_pointer_names_the_class_below_it(browser, served, picture, native, x, y):
    open_page(browser, served.url)
    segment(browser, picture)
    canvas = browser.find_element(By.ID, "map")
    width, height = canvas.size["width"], canvas.size["height"]
    left, top = round((x - 0.5) * width), round((y - 0.5) * height)
    ActionChains(browser).move_to_element_with_offset(canvas, left, top).perform()
    mask, classes = native
    colours = mask[int(y * 360) - 1:int(y * 360) + 2, int(x * 480) - 1:int(x * 480) + 2]
    assert (colours == colours[1, 1]).all()     # a place where a pixel more or less is no matter
    expected = [c["name"] for c in classes if rgb_of(c["color"]) == list(colours[1, 1])]
    assert [browser.find_element(By.ID, "pointer").text] == expected


def test_dropped_picture(browser, served, picture, native):
    open_page(browser, served.url)
    browser.execute_script("""
        const bytes = Uint8Array.from(arguments[0]), files = new DataTransfer();
        files.items.add(new File([bytes], 'dropped.png', { type: 'image/png' }));
        document.getElementById('stage').dispatchEvent(
            new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));""",
        list(picture.read_bytes()))
    wait_for(browser, "dropped.png, 480 × 360")
    assert np.array_equal(map_colours(browser), native[0])


def test_camera(browser, served):
    open_page(browser, served.url)
    browser.find_element(By.ID, "camera").click()
    wait_for(browser, "Camera")
    first = browser.find_element(By.ID, "speed").text
    WebDriverWait(browser, PATIENCE, 0.05).until(
        lambda b: b.find_element(By.ID, "speed").text != first)
    browser.find_element(By.ID, "camera").click()
    assert browser.find_element(By.ID, "camera").text == "Use the camera"


def test_broken_picture_is_an_error_and_the_next_one_works(browser, served, picture, tmp_path):
    broken, text = tmp_path / "broken.png", tmp_path / "notes.txt"
    broken.write_bytes(picture.read_bytes()[:50])
    text.write_text("no picture")
    open_page(browser, served.url)
    for path in (broken, text):
        choose(browser, path)
        assert wait_for_error(browser) == f"{path.name} is no picture that this browser can read"
        segment(browser, picture)


def damaged(data):
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


@pytest.mark.parametrize("change, words", [
    (None, "The model other.swin could not be loaded (HTTP 404)"),
    (damaged, "checksum"),
    (lambda data: data[:-64], f"its header says {MODEL.stat().st_size}"),
    (lambda data: b"", "not a .swin model"), (lambda data: b"<html>" * 1000, "not a .swin model"),
], ids=["missing", "damaged", "cut", "empty", "something else"])
def test_model_that_cannot_be_used(browser, tmp_path, change, words):
    folder = tmp_path / "page"
    shutil.copytree(PAGE, folder)
    if change:
        (folder / "other.swin").write_bytes(change(MODEL.read_bytes()))
    s = Served(folder)
    browser.get(s.url + "?model=other.swin")
    assert words in wait_for_error(browser)
    s.stop()


def test_off_line_afterwards(browser, picture, native):
    s = Served(PAGE)
    open_page(browser, s.url)
    s.stop()
    open_page(browser, s.url)
    segment(browser, picture)
    assert np.array_equal(map_colours(browser), native[0])
    assert browser.execute_script("return crossOriginIsolated")


def test_screenshot_shows_picture_map_and_legend(browser, served, picture, tmp_path):
    open_page(browser, served.url)
    segment(browser, picture)
    shot = tmp_path / "page.png"
    assert browser.find_element(By.ID, "stage").screenshot(str(shot))
    seen = np.asarray(Image.open(shot).convert("RGB").resize((480, 360)), float)
    photo = np.asarray(Image.open(picture), float)
    mask = map_colours(browser).astype(float)
    assert np.abs(seen - (0.45 * photo + 0.55 * mask)).mean() < 6
    assert np.abs(seen - photo).mean() > 12


# ---- the package, in node ----

def node(folder, script, *arguments):
    source = folder / "script.mjs"
    source.write_text(script)
    r = subprocess.run(["node", "--no-warnings", source, *map(str, arguments)], cwd=folder,
                       capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project that has the package, as `npm pack` makes it, among its modules."""
    folder = tmp_path_factory.mktemp("project")
    said = subprocess.run(["npm", "pack", "--json", "--pack-destination", folder, PAGE.resolve()],
                          check=True, capture_output=True, text=True)
    about = json.loads(said.stdout)[0]
    assert {f["path"] for f in about["files"]} == {
        "package.json", "LICENSE", "swinh.js", "swinh.d.ts", "helper.js", "swinh.wasm",
        "swinh-whole.wasm", "swinh-plain.wasm"}
    (folder / "package.json").write_text('{"private": true}')
    subprocess.run(["npm", "install", "--offline", "--no-audit", "--no-fund",
                    folder / about["filename"]], cwd=folder, check=True, capture_output=True)
    return folder


SEGMENT = """
import fs from 'node:fs';
import { load } from 'swinh';
const [model, pixels, width, height, threads, exact] = process.argv.slice(2);
const m = await load(fs.readFileSync(model), { threads: +threads, exact: exact === 'exact' });
const image = { width: +width, height: +height, data: fs.readFileSync(pixels) };
const r = m.segment(image), again = m.segment(image);
console.log(JSON.stringify({ ids: Array.from(r.ids), classes: r.classes, exact: r.exact,
    same: r.ids.every((id, i) => id === again.ids[i]), all: m.classes.length }));
m.close();
"""


def segment_in_node(project, picture, threads, exact, model=MODEL):
    image = Image.open(picture).convert("RGBA")
    pixels = project / "pixels"
    pixels.write_bytes(image.tobytes())
    return node(project, SEGMENT, model, pixels, *image.size, threads, exact)


def wrong_pixels(result, mask):
    """The share of pixels whose class is not that of the map."""
    colours = np.zeros((256, 3), np.uint8)
    for c in result["classes"]:
        colours[c["id"]] = rgb_of(c["color"])
    return (colours[result["ids"]].reshape(mask.shape) != mask).any(2).mean()


@pytest.mark.parametrize("threads", [1, 3])
def test_package_gives_the_native_classes(project, picture, native, threads):
    r = segment_in_node(project, picture, threads, "fast")
    assert r["same"] and r["all"] == 11
    assert wrong_pixels(r, native[0]) <= (0 if r["exact"] else 1e-3)
    shares = {c["name"]: c["share"] for c in native[1]}
    assert {c["name"] for c in r["classes"]} == set(shares)
    assert all(abs(c["share"] - shares[c["name"]]) <= 1e-3 for c in r["classes"])
    assert r["classes"] == sorted(r["classes"], key=lambda c: -c["share"])


@pytest.mark.parametrize("case", ["seg-swin-unet", "seg-smp-unet", "seg-segformer-mmseg",
                                  "seg-mask2former-mmseg", "seg-birefnet-rows-half"])
def test_package_takes_what_the_small_module_leaves_out(project, picture, convert, tmp_path, case):
    small, model = tmp_path / "small.png", convert(case)
    Image.open(picture).resize((96, 64)).save(small)
    r = segment_in_node(project, small, 2, "fast", model)
    assert r["same"] and wrong_pixels(r, native_of(small, model)[0]) <= (0 if r["exact"] else 1e-2)


def test_helpers_change_nothing(project, picture):
    """In the first load, whose functions are not optimised yet, and in those after it; the second
    picture lets the memory grow while helpers wait."""
    small = Image.open(picture).convert("RGBA").resize((240, 180))
    (project / "small").write_bytes(small.tobytes())
    (project / "large").write_bytes(Image.open(picture).convert("RGBA").tobytes())
    script = """
        import fs from 'node:fs';
        import { load } from 'swinh';
        const model = fs.readFileSync(process.argv[2]), maps = [];
        const pictures = [{ width: 240, height: 180, data: fs.readFileSync('small') },
                          { width: 480, height: 360, data: fs.readFileSync('large') }];
        for (const threads of [3, 3, 2, 1]) {
            const m = await load(model, { threads });
            for (const picture of pictures) {
                const runs = [1, 2, 3].map(() => Buffer.from(m.segment(picture).ids).toString('hex'));
                maps.push(...runs);
            }
            m.close();
        }
        console.log(JSON.stringify({ maps: maps.length, different: new Set(maps).size }));
        process.exit(0);"""
    assert node(project, script, MODEL) == {"maps": 24, "different": 2}


def test_package_is_exact_on_request(project, picture, tmp_path):
    small = tmp_path / "small.png"
    Image.open(picture).resize((48, 36)).save(small)
    r = segment_in_node(project, small, 2, "exact")
    assert r["exact"] and r["same"] and wrong_pixels(r, native_of(small)[0]) == 0


# What the README's script asks of the library that decodes pictures, with pixels that are there.
SHARP = """
import fs from 'node:fs';
const data = fs.readFileSync(new URL('pixels', import.meta.url));
const info = { width: 480, height: 360, channels: 4 };
const picture = { toBuffer: async () => ({ data, info }) };
export default file => (fs.accessSync(file), { ensureAlpha: () => ({ raw: () => picture }) });
"""


def test_script_of_the_readme(project, picture, native):
    sharp = project / "node_modules/sharp"
    sharp.mkdir()
    (sharp / "package.json").write_text('{"type": "module", "main": "index.js"}')
    (sharp / "index.js").write_text(SHARP)
    (sharp / "pixels").write_bytes(Image.open(picture).convert("RGBA").tobytes())
    (project.parent / "swin").symlink_to(ROOT)
    page = (ROOT / "README.md").read_text()
    (project / "street.mjs").write_text(re.search(r"^```js\n(.*?)^```$", page, re.M | re.S)[1])
    r = subprocess.run(["node", "street.mjs"], cwd=project, capture_output=True, text=True,
                       timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    most = max(native[1], key=lambda c: c["share"])
    name, share = r.stdout.rsplit(maxsplit=1)
    assert name == most["name"] and abs(float(share) - most["share"]) <= 1e-3


REFUSED = {
    "load(new Uint8Array(1000))": "SwinhError: not a .swin model: .*",
    "load('street.swin')": "TypeError: load wants the bytes of a model: .*",
    "load(model, { threads: 0 })": "TypeError: load takes 1 to 16 threads",
    "load(model).then(m => m.segment())": "TypeError: segment wants an ImageData: width .*",
    "load(model).then(m => m.segment({ width: 2, height: 2, data: new Uint8Array(12) }))":
        "TypeError: segment wants an ImageData: data are 16 bytes",
    "load(model).then(m => m.segment({ width: 1.5, height: 2, data: new Uint8Array(12) }))":
        "TypeError: segment wants an ImageData: width .*",
    "load(model).then(m => { m.close(); m.segment({ width: 1, height: 1, data: new Uint8Array(4) }) "
    "})": "SwinhError: the model was closed",
    "load(model).then(m => m.segment({ width: 20000, height: 1, data: new Uint8Array(80000) }))":
        "SwinhError: .*20000.*",
}


@pytest.mark.parametrize("call", REFUSED)
def test_package_refuses_in_a_sentence(project, call):
    script = """
        import fs from 'node:fs';
        import { load } from 'swinh';
        const model = fs.readFileSync(process.argv[2]);
        const said = await CALL.then(() => 'nothing', e => `${e.name}: ${e.message}`);
        console.log(JSON.stringify(said));""".replace("CALL", call)
    assert re.fullmatch(REFUSED[call], node(project, script, MODEL))
