"""The converter's description of a config against swin.h's tables, field by field."""

import subprocess

import pytest

from checkpoints.convert import blob
from conftest import ROOT
from swinblob import heads, records


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    """The lines that tests/records.c prints of swin.h's tables."""
    program = tmp_path_factory.mktemp("records") / "records"
    subprocess.run(["gcc", "-std=c99", "-O0", ROOT / "tests" / "records.c", "-o", program, "-lm",
                    "-lpthread"], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def described():
    """The same lines of the converter's tables."""
    for record in records.RECORDS:
        yield f"record {record.name} {record.times}"
        for field in record.fields:
            yield f"field {field.name} {field.type} {field.count} {field.low:.9g} {field.high:.9g}"
            for number, member in enumerate(field.kind or ()):
                assert number == member
                yield f"kind {field.name} {number} SWIN_{member.word}"


def test_the_converter_describes_models_as_the_header_does(header):
    assert header == list(described())


def test_a_field_that_differs_is_noticed(header, monkeypatch):
    """By its name, place, type, count, range or kinds."""
    width, depth = records.STAGE.fields[:2]
    for field, name, value in ((width, "name", "channels"), (width, "type", "bits"),
                               (width, "count", 2), (width, "low", 0), (width, "high", 32767),
                               (records.HEAD.fields[0], "kind", list(records.Head)[:-1])):
        with monkeypatch.context() as changed:
            changed.setattr(field, name, value)
            assert header != list(described()), name
    with monkeypatch.context() as changed:
        changed.setattr(records.STAGE, "fields", (depth, width, *records.STAGE.fields[2:]))
        assert header != list(described())
    assert header == list(described())


def test_every_kind_of_head_has_a_row():
    assert list(heads.HEADS) == list(records.Head)


def test_the_header_and_the_converter_are_of_one_version(header):
    text = (ROOT / "swin.h").read_text(encoding="utf-8")
    assert f"the file format, version {blob.VERSION}" in text
