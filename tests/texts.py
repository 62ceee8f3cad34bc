"""What the texts say of each other: links lead somewhere, licences are whole, figures agree."""

import re
import urllib.parse

import pytest

from conftest import ROOT

TEXTS = [ROOT / "README.md", *sorted(path for folder in (".github", "examples", "tests", "weights")
                                     for path in (ROOT / folder).rglob("*.md"))]
BENCH = ROOT / "tests/bench/README.md"


def anchors(text):
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if not urllib.parse.urlsplit(link).scheme:
            name, _, anchor = link.partition("#")
            page = path.parent / name if name else path
            assert page.exists(), link
            assert not anchor or anchor in anchors(page.read_text()), link


def test_header_ends_with_its_changes_and_the_licence():
    """Users copy one file: what goes with it stands in it, word for word."""
    code, changes, licence = re.split("\n/\\* -+ \\*/\n/\\* (?=CHANGES\n|LICENCE\n)",
                                      (ROOT / "swin.h").read_text())
    numbers = re.findall(r"#define SWIN_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", code)
    assert f" v{'.'.join(numbers)} " in code.splitlines()[0]
    assert re.search(rf"^   {re.escape('.'.join(numbers))}    ", changes, re.M)
    text = "".join(line[3:] + "\n" for line in licence.splitlines())
    assert text.endswith("\n" + (ROOT / "LICENSE").read_text() + "\n")
    assert licence.endswith("\n*/\n")


def test_models_have_their_terms():
    terms = {path.stem: path.read_text() for path in (ROOT / "weights").glob("*.LICENSE")}
    assert set(terms) == {path.stem for path in (ROOT / "weights").glob("*.swin")}
    assert terms["aerial"].endswith("\n\n" + (ROOT / "LICENSE").read_text())
    assert "academic and non-commercial use only" in terms["street"]


def test_figures_are_one_set():
    """Milliseconds of the README and of the models' page are those of BENCH: of its first table,
    and with weights of eight bits of the one that has them."""
    readme, bench = (ROOT / "README.md").read_text(), BENCH.read_text()
    pair = r"([\d.]+) / ([\d.]+)[^|]*\|"
    one, two = map(float, re.search(rf"^\| street\.swin to .*?\| {pair}", bench, re.M).groups())
    street = re.search(r"\| the street model in float32.*?\| (\d+) ms .*\n"
                       r".*?two threads \| (\d+) ms ", readme)
    assert street.groups() == (f"{one:.0f}", f"{two:.0f}")
    row = re.search(r"^\| street\.swin's layers .*$", bench, re.M)[0]
    one, two = map(float, re.findall(pair, row)[2])
    models = re.search(r"\| (\d+) ms on one core, (\d+) on two \|",
                       (ROOT / "weights/README.md").read_text())
    small = re.search(r"\| the street model's layers.*?\| \d+ ms \| (\d+) ms ", readme)
    assert models.groups() == (f"{one:.0f}", f"{two:.0f}") and small[1] == models[1]


def test_each_home_of_the_readme_is_tried_on_a_bare_machine():
    text = (ROOT / "README.md").read_text()
    part = text.split("\n## Use it in…\n")[1].split("\n## ")[0]
    homes = set(re.findall(r"^### (.*)$", part, re.M))
    script = (ROOT / "tests/homes.sh").read_text()
    typed = {a or b for a, b in re.findall(r"block sh (?:'([^']+)'|(\w+))", script)}
    assert typed == homes | {"Memory and threads"}
    names = re.search(r"set -- --homes (.*)", (ROOT / "tests/bare.sh").read_text())[1].split()
    assert len(names) == len(typed)
    assert all(re.search(rf"^{name}\(\) {{$", script, re.M) for name in names)
