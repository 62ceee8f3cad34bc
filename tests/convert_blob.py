"""The blob as the converter writes and reads it: layouts, fields, damage."""

import struct
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from checkpoints import (DEEP, FCN, GLAM, ODD, SMALL, backbone_state, fpn_state, glam_segformer_state,
                         psp_state)
from checkpoints.convert import blob, convert_state, write_small
from checkpoints.families import (glam_unet_state, hucao_state, official_state,
                                  torchvision_state)
from conftest import ROOT
from swinblob import forms, records
from swinblob.canonical import Refused

quick = settings(max_examples=60, deadline=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


SLIDE = ("--mode", "slide", "--crop", "60x90")
MODELS = {                          # name: tensors, options
    "upernet": (SMALL, SLIDE), "glam": (GLAM, ()), "fcn": (FCN, ()),
    "psp": ({**backbone_state(), **psp_state()}, ()),
    "fpn": ({**backbone_state(), **fpn_state()}, ()),
    "segformer": ({**backbone_state(tokens=1), **glam_segformer_state()}, ()),
    "classifier": (official_state(ape=True), ()),
    "v2": (torchvision_state(official_state(version=2)), ()), "unet": (hucao_state(), ()),
    "cross": (glam_unet_state(tokens=2, cross=True), SLIDE), "features": (backbone_state(), ()),
    "odd widths": (ODD, SLIDE), "five stages": (DEEP, ())}


def plain_checksum(data):
    a = b = 0
    for word, in struct.iter_unpack("<I", data):
        a = (a + word) % 2 ** 32
        b = (b + a) % 2 ** 32
    return a, b


@quick
@given(st.lists(st.binary(max_size=300).map(lambda b: b[:len(b) // 4 * 4]), max_size=4))
def test_checksum_is_fletchers_however_it_is_fed(pieces):
    checksum = blob.Checksum()
    for piece in pieces:
        checksum.feed(piece)
    assert checksum.sums == plain_checksum(b"".join(pieces))


def test_checksum_of_large_words_in_many_pieces():
    data = b"\xff\xff\xff\xff" * 3000
    checksum = blob.Checksum()
    checksum.feed(data * 700)
    once = blob.Checksum()
    for _ in range(700):
        once.feed(data)
    assert checksum.sums == once.sums
    n = 3000 * 700
    assert checksum.sums == (-n % 2 ** 32, -n * (n + 1) // 2 % 2 ** 32)


@quick
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([blob.PLAIN, blob.ROWS,
                                                                blob.PANELS]))
def test_layouts_hold_every_number_at_its_place(rows, columns, layout):
    matrix = np.arange(1, rows * columns + 1, dtype="f4").reshape(rows, columns)
    stored = blob.pack(matrix, layout)
    assert stored.shape == blob.stored_shape(matrix.shape, layout)
    assert (blob.unpack(stored, matrix.shape, layout) == matrix).all()
    assert np.count_nonzero(stored) == matrix.size           # all the rest is zero
    flat = stored.tobytes()
    n, k = rows - 1, columns // 2
    place = {blob.PLAIN: n * columns + k, blob.ROWS: n * (-(-columns // 16) * 16) + k,
             blob.PANELS: (n // 16 * columns + k) * 16 + n % 16}[layout]
    assert struct.unpack_from("<f", flat, 4 * place)[0] == matrix[n, k]


def test_forms_follow_the_formulas_of_the_format():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 3, 2, 2))
    form = forms.Convolution(5, 3, 2)
    assert form.pack(x)[4, (1 * 2 + 0) * 3 + 2] == x[4, 2, 1, 0]

    C, heads, d = 6, 2, 3
    x = rng.normal(size=(3 * C, C))
    packed = forms.Heads((3 * C, C), 0, 3, heads, blob.PANELS, query=True).pack(x)
    assert packed.shape == (3 * heads * 16, C)
    for part, head, t, k in ((0, 1, 2, 3), (1, 0, 1, 5), (2, 1, 0, 0)):
        factor = d ** -0.5 if part == 0 else 1
        assert packed[(part * heads + head) * 16 + t, k] == x[part * C + head * d + t, k] * factor
    assert not packed.reshape(3 * heads, 16, C)[:, d:].any()

    x = rng.normal(size=(C, C))
    packed = forms.Heads((C, C), 1, 1, heads, blob.PANELS).pack(x)
    assert packed.shape == (C, heads * 16) and packed[4, 1 * 16 + 2] == x[4, 1 * d + 2]

    wh, ww = 3, 2
    x = rng.normal(size=((2 * wh - 1) * (2 * ww - 1), heads))
    packed = forms.BiasTable(wh, ww, heads).pack(x)
    for qr, qc, kr, kc in np.ndindex(wh, ww, wh, ww):
        row = (qr - kr + wh - 1) * (2 * ww - 1) + (qc - kc + ww - 1)
        assert (packed[:, kr - qr + wh - 1, kc - qc + ww - 1] == x[row]).all()


@quick
@given(st.integers(1, 4), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 1))
def test_heads_come_back(heads, d, parts, axis):
    natural = (5, 5)
    natural = (parts * heads * d, 5) if axis == 0 else (5, parts * heads * d)
    x = np.random.default_rng(d).normal(size=natural)
    form = forms.Heads(natural, axis, parts, heads, blob.PANELS)
    packed = form.pack(x)
    assert packed.shape == form.shape
    assert np.allclose(form.unpack(packed), x, rtol=1e-15)


@quick
@given(st.integers(1, records.MAX_STAGES), st.integers(0, 2 ** 32 - 1))
def test_records_come_back_whatever_they_hold(stages, seed):
    rng = np.random.default_rng(seed)
    d = {}
    for record in records.RECORDS:
        for field in record.fields:
            count = stages if record is records.STAGE else field.count
            values = (rng.normal(size=count).astype("f4").tolist() if field.type == "number"
                      else rng.integers(0, 2 ** 32, count).tolist())
            d[field.key] = values if count > 1 or record is records.STAGE else values[0]
    data = blob.config_bytes(d)
    assert len(data) == sum((16 + record.size) * (stages if record is records.STAGE else 1)
                            for record in records.RECORDS)
    assert blob.config_from_bytes(data) == d


def test_an_optional_record_is_written_where_a_field_is_not_zero():
    d = {**records.new_description(), **{key: [1] for key in records.new_stages(1)}}
    assert b"rules" not in blob.config_bytes(d)
    assert blob.config_from_bytes(blob.config_bytes(d))["corner_rule"] == records.Corners.AS_HEAD
    for key, value in (("corner_rule", records.Corners.ALIGNED), ("feature_eps", 1e-6)):
        data = blob.config_bytes({**d, key: value})
        assert data.count(b"rules") == 1
        assert blob.config_from_bytes(data)[key] == np.float32(value)
    rules = data[data.index(b"rules"):][:16 + records.RULES.size]
    for bad in (data + rules, data.replace(rules, 2 * rules), rules + data):
        with pytest.raises(blob.BlobError, match="the record rules stands where"):
            blob.config_from_bytes(bad)


def test_fields_have_names_of_their_own_and_defaults_in_their_ranges():
    fields = [field for record in records.RECORDS for field in record.fields]
    d = records.new_description()
    assert len({field.key for field in fields}) == len(fields) == len(d)
    assert all(len(record.name) <= 12 for record in records.RECORDS)
    for field in fields:
        if field not in records.STAGE.fields:
            values = d[field.key] if field.count > 1 else [d[field.key]]
            assert len(values) == field.count and not any(map(field.fault, values)), field.key


def pieces(config):
    """The records of a config part: (name, bytes of its fields) each."""
    found, at = [], 0
    while at < len(config):
        name, size = struct.unpack_from("<12sI", config, at)
        found.append((name.rstrip(b"\0").decode(), config[at + 16:at + 16 + size]))
        at += 16 + size
    return found


def join(found):
    return b"".join(struct.pack("<12sI", name.encode(), len(data)) + data for name, data in found)


def with_config(data, config):
    """A blob with another config part; all else is as it was."""
    parts = list(struct.unpack_from("<8Q", data, 32))
    end = -(-(128 + len(config)) // 64) * 64
    by = end - parts[2]
    parts[1] = len(config)
    for part in (2, 4, 6):
        parts[part] += by
    strings_end = parts[4] + parts[5]
    changed = bytearray(data[:128] + config + bytes(end - 128 - len(config)) + data[end - by:])
    assert by % 64 == 0 and strings_end <= parts[6]
    struct.pack_into("<Q", changed, 16, len(changed))
    struct.pack_into("<8Q", changed, 32, *parts)
    for n in range(parts[3]):
        place = parts[2] + n * 128 + 88
        offset, = struct.unpack_from("<Q", changed, place)
        struct.pack_into("<Q", changed, place, offset + by)
    return reseal(changed)


def test_records_may_move_all_that_follows(small_blob):
    """The helper above changes nothing where the config stays, whatever its size."""
    assert with_config(small_blob, config_of(small_blob)) == small_blob


def config_of(data):
    return data[128:128 + struct.unpack_from("<Q", data, 40)[0]]


RECORD_FAULTS = {               # what is done to the records, and what the refusal says
    "unknown": (lambda r: r[:1] + [("spectrum", b"abcd")] + r[1:], "spectrum"),
    "unknown last": (lambda r: r + [("later", b"")], "later"),
    "unprintable": (lambda r: [("mod\x1bl", r[0][1])] + r[1:], r"mod\\x1bl"),
    "twice": (lambda r: r + r[-1:], "reference stands where the end"),
    "missing": (lambda r: r[:-1], "missing"),
    "another order": (lambda r: r[1:] + r[:1], "stage stands where model"),
    "no stages": (lambda r: [p for p in r if p[0] != "stage"], "head stands where stage"),
    "nine stages": (lambda r: r[:1] + r[1:2] * 9 + r[3:], "more than 8 stages"),
    "stages apart": (lambda r: r[:2] + r[3:] + r[2:3], "stage stands where the end"),
    "longer": (lambda r: [(r[0][0], r[0][1] + bytes(4))] + r[1:], "record model has 84 bytes"),
    "shorter": (lambda r: [(n, d[:-4] if n == "head" else d) for n, d in r], "record head has")}


@pytest.mark.parametrize("fault", RECORD_FAULTS)
def test_records_that_are_not_these_are_refused_by_name(small_blob, fault):
    change, message = RECORD_FAULTS[fault]
    config = join(change(pieces(config_of(small_blob))))
    with pytest.raises(blob.BlobError, match=message):
        blob.parse(with_config(small_blob, config))


def test_a_config_that_ends_inside_a_record_is_refused(small_blob):
    config = config_of(small_blob)
    for cut in (1, 8, len(config) - 4, len(config) - 20, len(config) - 129):
        with pytest.raises(blob.BlobError, match="cut short"):
            blob.parse(with_config(small_blob, config[:cut]))


def place_of(data, key, stage=0):
    """Where a blob has a field: the offset of its first value."""
    at = 128
    for record in records.RECORDS:
        if record.is_left_out(blob.parse(data).description):
            continue
        for i in range(len(blob.parse(data).description["width"])
                       if record is records.STAGE else 1):
            at += 16
            for field in record.fields:
                if field.key == key and i == stage * (record is records.STAGE):
                    return at
                at += 4 * field.count
    raise KeyError(key)


@pytest.mark.parametrize("key,stage,value,message", [
    ("patch", 0, 33, "patch is 33, not 1..32"), ("width", 1, 0, r"width\[1\] is 0, not 1..32768"),
    ("shift_w", 1, 64, r"shift_w\[1\] is 64, not 0..63"), ("neck_convs", 0, 9, r"neck_convs\[0\]"),
    ("head", 0, 99, "head is 99, not one of HEAD_NONE, HEAD_UPER, "), ("planes", 0, 4, "planes is 4"),
    ("resize_filter", 0, 4, "resize_filter is 4, not one of FILTER_BILINEAR, "),
    ("version", 0, 3, "version is 3"),
    ("eps", 0, 0, "eps is 0"), ("mean", 0, 0x7FC00000, r"mean\[0\] is nan, not .*--mean"),
    ("reference_width", 0, 1025, "reference_width is 1025"), ("bgr", 0, 2, "bgr is 2"),
    ("hidden", 0, 0xFFFFFFFF, r"hidden\[0\] is 4294967295, not 1..65536")])
def test_fields_out_of_range_are_named(small_blob, key, stage, value, message):
    changed = bytearray(small_blob)
    struct.pack_into("<I", changed, place_of(small_blob, key, stage), value)
    with pytest.raises(blob.BlobError, match="config: " + message):
        blob.parse(reseal(changed))


def reseal(data):
    """A blob with a right checksum whatever was changed."""
    checksum = blob.Checksum()
    checksum.feed(bytes(data[blob.CHECKED_FROM:]))
    data[24:32] = struct.pack("<2I", *checksum.sums)
    return bytes(data)


@pytest.mark.parametrize("kind", MODELS)
def test_a_blob_gives_back_what_was_written(tmp_path, kind):
    state, arguments = MODELS[kind]
    model = write_small(tmp_path / "m.swin", state, *arguments)
    read = blob.read(tmp_path / "m.swin")
    assert read.description == blob.config_from_bytes(blob.config_bytes(model.description))
    assert read.class_names == model.class_names and read.notes == model.notes
    assert read.class_colors == [tuple(c) for c in model.class_colors]
    assert [spec.name for spec in read.specs] == list(read.offsets)
    for spec in read.specs:
        assert np.allclose(read.natural(spec.name), model.weights[spec.name].load(), rtol=2e-7,
                           atol=0)
        assert read.offsets[spec.name] % 64 == 0
    assert plain_checksum(read.data[32:]) == struct.unpack_from("<2I", read.data, 24)


# Fields of the small model that no other value fits
BOUND = ("version", "body", "patch", "planes", "input_rule", "input_h", "input_w", "shift_rule",
         "roll_before_pad", "patch_norm", "qkv_bias", "merge_norm", "final_norm", "tokens", "width",
         "head", "head_channels", "head_inputs", "pool_count", "classes", "mode")


def test_every_damaged_byte_of_the_fixed_parts_is_noticed(tmp_path):
    write_small(tmp_path / "m.swin")
    data = (tmp_path / "m.swin").read_bytes()
    free = set()                    # bytes that may hold other values
    for record in records.RECORDS:
        if record.times == records.OPTIONAL:        # none is in this blob
            continue
        for field in record.fields:
            if field.key not in BOUND:
                for i in range(2 if record is records.STAGE else 1):
                    first = place_of(data, field.key, i)
                    free.update(range(first, first + 4 * field.count))
    directory, = struct.unpack_from("<Q", data, 48)
    for place in range(0, directory + 3 * blob.ENTRY.size):
        changed = bytearray(data)
        changed[place] ^= 0x40
        with pytest.raises(blob.BlobError):
            blob.parse(bytes(changed))
        if 24 <= place < 32 or place in free:
            continue
        with pytest.raises(blob.BlobError):
            blob.parse(reseal(changed))


def test_fields_that_imply_tensors_are_bound_to_the_directory(tmp_path):
    write_small(tmp_path / "m.swin", GLAM)
    data = (tmp_path / "m.swin").read_bytes()
    for key in ("depth", "heads", "hidden", "window_h", "window_w", "feature_norms", "tokens",
                "token_rows", "pool_count", "classes", "head_channels", "width", "patch_norm",
                "qkv_bias", "merge_norm", "final_norm", "position_h"):
        changed = bytearray(data)
        changed[place_of(data, key)] ^= 3
        with pytest.raises(blob.BlobError):
            blob.parse(reseal(changed))


def test_truncated_blobs_are_refused(tmp_path):
    write_small(tmp_path / "m.swin")
    data = (tmp_path / "m.swin").read_bytes()
    for end in [*range(0, len(data), 1600), *range(0, 700, 7)]:
        with pytest.raises(blob.BlobError):
            blob.parse(data[:end])
    with pytest.raises(blob.BlobError):
        blob.parse(data + bytes(64))


@settings(max_examples=300,
          deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 30000), st.integers(1, 255)), min_size=1, max_size=4))
def test_resealed_damage_never_raises_anything_but_bloberror(small_blob, flips):
    changed = bytearray(small_blob)
    for place, bits in flips:
        changed[place % len(changed)] ^= bits
    try:
        blob.parse(reseal(changed))
    except blob.BlobError:
        pass


@pytest.fixture(scope="module")
def small_blob(tmp_path_factory):
    path = tmp_path_factory.mktemp("blob") / "m.swin"
    write_small(path)
    return path.read_bytes()


BLOBS = 400
READER = r"""
#define SWIN_IMPLEMENTATION
#include "swin.h"
int main(void)          /* stdin: sizes (u32) and blobs; stdout: a line each, 0 where it opens */
{
    uint32_t size;
    while (fread(&size, 4, 1, stdin) == 1) {
        void *blob = malloc(size + 1);
        swin_model model;
        swin_error error = {0};
        if (!blob || fread(blob, 1, size, stdin) != size) return 1;
        printf("%d %s\n", (int)swin_open(&model, blob, size, SWIN_VERIFY, &error), error.text);
        free(blob);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """reader(blobs) -> what swin_open says to each."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "reader.c").write_text(READER)
    subprocess.run(["gcc", "-std=c99", "-O0", "-I", ROOT, folder / "reader.c", "-o",
                    folder / "reader", "-lm"], check=True)

    def read(blobs):
        data = b"".join(struct.pack("<I", len(data)) + data for data in blobs)
        done = subprocess.run([folder / "reader"], input=data, capture_output=True, check=True)
        return done.stdout.decode().splitlines()

    return read


def agree(blobs, reader, unseen=None):
    """Fails unless Python and swin_open accept the same blobs, some but no half of them; what
    Python refuses with the word `unseen` may be accepted."""
    accepted = 0
    for changed, line in zip(blobs, reader(blobs), strict=True):
        try:
            blob.parse(changed)
            error = None
        except blob.BlobError as refusal:
            error = refusal
        if unseen is None or unseen not in str(error):
            assert (error is None) == line.startswith("0 "), (error, line)
        accepted += error is None
    assert 1 < accepted < len(blobs) / 2


@pytest.mark.parametrize("kind", MODELS)
def test_python_and_c_accept_the_same_blobs(tmp_path, reader, kind):
    state, arguments = MODELS[kind]
    write_small(tmp_path / "m.swin", state, *arguments)
    data, rng = (tmp_path / "m.swin").read_bytes(), np.random.default_rng(5)
    config_words = len(config_of(data)) // 4
    blobs = [data, data[:-64], data + bytes(64)]
    for _ in range(BLOBS):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 3)):
            kind = rng.integers(10)
            if kind < 7:            # a word of the config
                word = 128 + 4 * int(rng.integers(config_words))
                old, = struct.unpack_from("<I", changed, word)
                new = [int(rng.integers(0, 20)), old + 1, old - 1, old * 2,
                       1 << int(rng.integers(32)), 0x7FC00000][rng.integers(6)]
                struct.pack_into("<I", changed, word, new % 2 ** 32)
            else:                   # any byte of header, directory or strings
                end = min(len(data), 20000)
                changed[int(rng.integers(128 if kind == 7 else end))] ^= 1 << int(rng.integers(8))
        blobs.append(reseal(changed))
    agree(blobs, reader, unseen="padding")      # bytes that swin_open never looks at


def test_texts_that_are_no_texts_are_refused(tmp_path):
    for text in ("a\0b", "bell\a", "\x7f", "\ud800"):
        model = convert_state(SMALL)
        model.notes = {"name": text}
        with pytest.raises(Refused):
            blob.write(tmp_path / "m.swin", model)
    assert not list(tmp_path.iterdir())


def test_a_class_has_a_name_of_1023_bytes_at_most(tmp_path, reader):
    model = convert_state(SMALL)
    more = [f"class {k}" for k in range(1, len(model.class_names))]
    model.class_names = ["ü" * 511 + "x"] + more
    blob.write(tmp_path / "m.swin", model)
    assert reader([(tmp_path / "m.swin").read_bytes()])[0].startswith("0 ")
    model.class_names[0] += "x"
    with pytest.raises(Refused, match="class 0"):
        blob.write(tmp_path / "longer.swin", model)
