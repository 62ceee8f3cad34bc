"""Models of eight bits and of f16: how weights are rounded, what a blob holds, what is refused."""

import math
import os
import re
import stat
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from checkpoints import GLAM, SMALL, backbone_state, safetensors, uper_state
from checkpoints.convert import blob, canonical, convert_state, run, tool
from checkpoints.families import official_state
from conftest import BUILD
from convert_blob import MODELS, agree, reader, reseal      # noqa: F401
from swinblob import forms, number_types

quick = settings(max_examples=60, deadline=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])
SEGMENT = BUILD / "segment"
F32, F16, S8 = 0, 1, 3


# Rounding -----------------------------------------------------------------------------------------

def candidates(row):
    """(scale, whole numbers, sum of squared errors) of a row for each factor, one by one."""
    largest = max(abs(float(w)) for w in row)
    for step in range(21):
        scale = np.float32(largest / 127 * (1 - step / 100))
        whole = [max(-127, min(127, round(float(w) / float(scale)))) for w in row]
        yield scale, whole, math.fsum((q * float(scale) - float(w)) ** 2
                                      for q, w in zip(whole, row))


@st.composite
def matrices(draw):
    """Matrices as weights are, with outliers, ties and zeros, of any size of numbers."""
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    matrix = {"normal": rng.normal(size=(rows, columns)),
              "outliers": rng.standard_t(2, size=(rows, columns)),
              "few": rng.integers(-2, 3, (rows, columns)) / 2,
              "sparse": rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < 0.1)}
    scale = 2.0 ** draw(st.integers(-90, 120))
    return (matrix[draw(st.sampled_from(sorted(matrix)))] * scale).astype("f4")


@settings(max_examples=200, deadline=None)
@given(matrices())
def test_the_scale_of_an_output_has_the_least_error_of_the_factors(matrix):
    check_scales(matrix, *number_types.quantise(matrix))


def test_the_largest_weights_of_long_rows_are_clipped():
    """There a finer step for all is worth more than the few that are the largest."""
    matrix = np.random.default_rng(4).normal(size=(12, 3000)).astype("f4")
    whole, scales = number_types.quantise(matrix)
    check_scales(matrix, whole, scales)
    assert (scales < 0.995 * np.abs(matrix).max(1) / 127).sum() > 3
    assert (np.abs(whole) == 127).sum(1).max() > 1


def check_scales(matrix, whole, scales):
    assert whole.dtype == np.int8 and scales.dtype == np.float32
    assert np.abs(whole.astype(int)).max() <= 127
    for row, q, scale in zip(matrix, whole, scales):
        if not row.any():
            assert scale == 0 and not q.any()
            continue
        found = {float(s): (w, error) for s, w, error in candidates(row)}
        wanted, error = found[float(scale)]
        assert wanted == q.tolist()
        assert error <= min(error for _, error in found.values()) * (1 + 1e-9)


def test_ties_go_to_even():
    whole, scales = number_types.quantise(np.float32([[127, 0.5, 1.5, -0.5, -1.5, 2.5]]))
    assert scales == [1] and whole.tolist() == [[127, 0, 2, 0, -2, 2]]
    whole, scales = number_types.quantise(np.float32([[-3], [254]]))
    assert whole.tolist() == [[-127], [127]] and (scales == np.float32([3 / 127, 2])).all()


def test_rows_without_a_number_worth_keeping_have_no_scale():
    tiny = np.float32([[0, 0], [2.0 ** -101, -2.0 ** -149], [2.0 ** -100, 0]])
    whole, scales = number_types.quantise(tiny)
    assert scales[:2].tolist() == [0, 0] and not whole[:2].any()
    assert whole[2].tolist() == [127, 0] and scales[2] >= np.finfo("f4").tiny
    assert (number_types.dequantise(whole, scales)[:2] == 0).all()


def test_large_matrices_are_rounded_in_blocks_row_by_row(monkeypatch):
    matrix = np.random.default_rng(3).normal(size=(50, 7)).astype("f4")
    once = number_types.quantise(matrix)
    for block in (1, 8, 20):
        monkeypatch.setattr(number_types, "BLOCK", block)
        for a, b in zip(once, number_types.quantise(matrix), strict=True):
            assert (a == b).all()


@quick
@given(matrices(), st.sampled_from([F16, S8]))
def test_the_loss_is_the_rms_error_over_the_rms(matrix, type_):
    with np.errstate(over="ignore"):
        numbers, scales = number_types.encode(matrix, type_)
    if not np.isfinite(numbers).all():
        return
    kept = numbers.astype(float) if scales is None else np.float32(
        numbers * scales[:, None].astype("f4"))
    error = math.fsum(np.square(kept - matrix.astype(float)).ravel())
    square = math.fsum(np.square(matrix.astype(float)).ravel())
    loss = number_types.relative_error(matrix, numbers, scales)
    assert loss == pytest.approx(math.sqrt(error / square) if square else 0, rel=1e-6)


# The blob -----------------------------------------------------------------------------------------

@quick
@given(st.integers(1, 40), st.integers(1, 40))
def test_quads_hold_every_number_at_its_place(outputs, inputs):
    matrix = np.random.default_rng(0).integers(1, 128, (outputs, inputs)).astype("i1")
    stored = blob.pack(matrix, forms.QUADS)
    assert stored.shape == blob.stored_shape(matrix.shape, forms.QUADS)
    flat, quads = stored.tobytes(), -(-inputs // 4)
    assert len(flat) == -(-outputs // 16) * quads * 64
    for n, k in np.ndindex(outputs, inputs):
        assert flat[((n // 16) * quads + k // 4) * 64 + n % 16 * 4 + k % 4] == matrix[n, k]
    assert np.count_nonzero(stored) == matrix.size              # all the rest is zero
    assert (blob.unpack(stored, matrix.shape, forms.QUADS) == matrix).all()


def entries(data):
    """[(name, number type, layout, outputs, inputs, offset, bytes)] of a blob's directory."""
    first, count = struct.unpack_from("<2Q", data, 48)
    found = []
    for at in range(first, first + 128 * count, 128):
        name, type_, layout, n, k, *_, offset, size = struct.unpack_from("<64s6I2Q", data, at)
        found.append((name.rstrip(b"\0").decode(), type_, layout, n, k, offset, size))
    return found


def raw_matrix(data, entry):
    """A tensor of two dimensions, number by number as the format says."""
    _, type_, layout, n, k, offset, size = entry
    format_, item = {F32: ("<f", 4), F16: ("<e", 2), S8: ("<b", 1)}[type_]
    place = {1: lambda i, j: i * (-(-k // 16) * 16) + j,
             2: lambda i, j: (i // 16 * k + j) * 16 + i % 16,
             3: lambda i, j: (i // 16 * -(-k // 4) + j // 4) * 64 + i % 16 * 4 + j % 4}[layout]
    assert all(place(i, j) * item < size for i, j in ((n - 1, k - 1), (0, k - 1), (n - 1, 0)))
    return np.array([[struct.unpack_from(format_, data, offset + item * place(i, j))[0]
                      for j in range(k)] for i in range(n)])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """models(kind): the paths of its blobs in f32, int8 and f16."""
    folder, made = tmp_path_factory.mktemp("smaller"), {}

    def make(kind):
        if kind not in made:
            state, arguments = MODELS[kind]
            paths = [folder / f"{len(made)}-{end}.swin" for end in ("f32", "int8", "f16")]
            for path, option in zip(paths, ([], ["--int8"], ["--f16"]), strict=True):
                model = convert_state(state, *arguments, *option)
                if option:
                    tool.make_smaller(model, tool.parse_arguments(["X", "-o", "Y", *option]))
                blob.write(path, model)
            made[kind] = paths
        return made[kind]

    return make


@pytest.mark.parametrize("kind", MODELS)
def test_a_smaller_blob_holds_what_the_formulas_make_of_the_f32_one(models, kind):
    exact, int8, f16 = (path.read_bytes() for path in models(kind))
    parsed = blob.parse(exact)
    for data, smaller in ((int8, S8), (f16, F16)):
        found = entries(data)
        listed = {entry[0]: entry for entry in found}
        followers = {a[0]: b[0] for a, b in zip(found, found[1:])}
        changed = 0
        for name, _, layout, n, k, offset, size in entries(exact):
            entry = listed.pop(name)
            is_layer = layout == 2 and name != "embed.weight"
            is_table = layout == 1 and n > 1 or name.endswith(".tokens")
            wanted_type = (smaller if is_layer else F16 if is_table else F32)
            assert entry[1] == wanted_type, name
            changed += wanted_type != F32
            if wanted_type == F32:
                assert entry[2:5] == (layout, n, k)
                assert data[entry[5]:entry[5] + size] == exact[offset:offset + size], name
                continue
            matrix = parsed.matrix(parsed.spec(name))
            if wanted_type == F16:
                assert entry[2:5] == (layout, n, k) and entry[6] == size // 2
                assert (raw_matrix(data, entry) == matrix.astype("f2")).all(), name
                continue
            scale = listed.pop(name[:-len("weight")] + "scale")
            assert followers[name] == scale[0]
            assert scale[1:5] == (F32, 1, 1, n) and entry[2:5] == (3, n, k)
            assert entry[6] == -(-n // 16) * -(-k // 4) * 64
            whole, scales = number_types.quantise(matrix)
            assert (raw_matrix(data, entry) == whole).all(), name
            assert (raw_matrix(data, scale)[0] == scales).all(), name
        assert not listed and changed
        read = blob.parse(data)
        assert [spec.name for spec in read.specs] == [entry[0] for entry in found]
        for spec in read.specs:
            if spec.type == S8:
                exact_matrix = parsed.matrix(parsed.spec(spec.name))
                assert number_types.relative_error(
                    exact_matrix, read.numbers(spec), read.numbers(spec.scale())[0]) < 0.02


@pytest.mark.parametrize("kind", ["upernet", "glam", "classifier", "cross", "v2"])
@pytest.mark.parametrize("option", ["--int8", "--f16"])
def test_a_swin_file_gives_the_same_as_its_checkpoint(models, tmp_path, kind, option):
    exact, int8, f16 = models(kind)
    again = tmp_path / "again.swin"
    assert run(exact, option, "-o", again, "--program", os.devnull) == 1        # no file
    assert run(exact, option, "-o", again, "--program", fake(tmp_path)) == 0
    a, b = (blob.read(path) for path in (again, int8 if option == "--int8" else f16))
    assert a.description == b.description and a.class_names == b.class_names
    assert a.class_colors == b.class_colors
    assert [spec.name for spec in a.specs] == [spec.name for spec in b.specs]
    for spec in a.specs:
        assert (a.numbers(spec).tobytes() == b.numbers(b.spec(spec.name)).tobytes()), spec.name


def field_of_entry(data, name, field):
    first, count = struct.unpack_from("<2Q", data, 48)
    names = [entry[0] for entry in entries(data)]
    return first + 128 * names.index(name) + {"type": 64, "layout": 68}[field]


@pytest.mark.parametrize("name,field,value,words", [
    ("embed.weight", "type", F16, "embed.weight has the number type 1, not one of f32"),
    ("embed.bias", "type", S8, "embed.bias has the number type 3, not one of f32"),
    ("stage0.block0.attn.bias", "type", F16, "not one of f32"),
    ("stage0.tokens", "type", S8, "stage0.tokens has the number type 3, not one of f32, f16"),
    ("stage0.block0.mlp.fc1.weight", "type", 2, "number type 2, not one of f32, f16, s8"),
    ("stage0.block0.mlp.fc1.weight", "type", F32, r"\(stage0.block0.mlp.fc1.weight\)"),
    ("stage0.block0.mlp.fc1.weight", "layout", 2, r"\(stage0.block0.mlp.fc1.weight\)"),
    ("stage0.block0.mlp.fc1.scale", "type", S8, r"\(stage0.block0.mlp.fc1.scale\)"),
    ("stage0.block0.mlp.fc1.scale", "layout", 3, r"\(stage0.block0.mlp.fc1.scale\)"),
    ("stage0.tokens", "type", F32, r"\(stage0.tokens\)")])
def test_types_and_layouts_that_do_not_fit_are_named(models, name, field, value, words):
    data = bytearray(models("glam")[1].read_bytes())
    struct.pack_into("<I", data, field_of_entry(data, name, field), value)
    with pytest.raises(blob.BlobError, match=words):
        blob.parse(reseal(data))


@pytest.mark.parametrize("value,good", [(0.0, True), (1e30, True), (-1e-9, False),
                                        (math.nan, False), (math.inf, False)])
def test_scales_are_numbers_and_not_negative(models, value, good):
    data = bytearray(models("glam")[1].read_bytes())
    entry = next(e for e in entries(data) if e[0] == "head.classify.scale")
    struct.pack_into("<f", data, entry[5] + 4 * (entry[4] - 1), value)
    if good:
        blob.parse(reseal(data))
        return
    with pytest.raises(blob.BlobError, match="head.classify.scale holds a scale that is no number"):
        blob.parse(reseal(data))


@settings(max_examples=300, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 30000), st.integers(1, 255)), min_size=1, max_size=4))
def test_damage_never_raises_anything_but_bloberror(models, flips):
    data = bytearray(models("glam")[1].read_bytes())
    for place, bits in flips:
        data[place % len(data)] ^= bits
    try:
        blob.parse(reseal(data))
    except blob.BlobError:
        pass


def test_a_count_of_tensors_beyond_the_file_is_refused(models):
    for count in (0, 1, 2 ** 20, 2 ** 63):
        data = bytearray(models("glam")[1].read_bytes())
        struct.pack_into("<Q", data, 56, count)
        with pytest.raises(blob.BlobError):
            blob.parse(reseal(data))


# Which layers -------------------------------------------------------------------------------------

def types_of(path):
    return {spec.name: spec.type for spec in blob.read(path).specs}


def fake(folder, script="", name="program"):
    """A program in the place of segment. A shell starts it: the path of Python may have spaces, which
    a first line with #! does not take."""
    path, source = folder / name, folder / (name + ".py")
    source.write_text(f"import json, pathlib, sys\n{script}\n")
    path.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{source}' \"$@\"\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def smaller(tmp_path, capsys):
    """smaller(arguments...): the exit code, standard output and error of converting exact.swin to
    out.swin, without the C program."""
    def convert(*arguments, source="exact.swin", **options):
        capsys.readouterr()
        code = run(tmp_path / source, *arguments, "-o", tmp_path / "out.swin", "--program",
                   options.get("program") or fake(tmp_path))
        said = capsys.readouterr()
        return code, said.out, said.err

    return convert


def write_exact(folder, state, *arguments):
    path = safetensors(state, folder / "c.safetensors")
    assert run(path, "-o", folder / "exact.swin", *arguments) == 0


@pytest.mark.parametrize("keep,stay", [
    ("head.classify", r"head\.classify\."), ("stage1", r"stage1\."), ("head", r"head\."),
    ("head.lateral,head.fpn", r"head\.(lateral|fpn)\d"), ("head.pool1", r"head\.pool1\."),
    ("stage0.block1.attn.qkv", r"stage0\.block1\.attn\.qkv"),
    ("stage0.block0.mlp.fc1.weight", r"stage0\.block0\.mlp\.fc1\.weight"),
    ("*.attn.qkv", r".*\.attn\.qkv\."), ("stage*.block0.mlp", r"stage\d\.block0\.mlp\."),
    ("stage", r"stage\d"), ("stage0.tokens,embed", r"stage0\.tokens$")])
def test_layers_that_are_kept_stay_f32_and_no_others(smaller, tmp_path, keep, stay):
    write_exact(tmp_path, GLAM)
    code, out, _ = smaller("--int8")
    whole = types_of(tmp_path / "out.swin")
    assert code == 0 and "kept in f32" not in out
    code, out, _ = smaller("--int8", "--keep", keep)
    found = types_of(tmp_path / "out.swin")
    assert code == 0
    for name, type_ in whole.items():
        if name in found and not re.match(stay, name):
            assert found[name] == type_, name
        elif name in found:
            assert found[name] == F32, name
        else:
            assert name.endswith(".scale") and re.match(stay, name[:-5] + "weight"), name
    assert found != whole
    assert blob.read(tmp_path / "out.swin").notes["numbers"].endswith(
        "; kept in f32: " + keep.replace(",", ", "))


def test_a_name_ends_where_a_number_does(tmp_path, smaller):
    """block1 is none of block10 and block11."""
    write_exact(tmp_path, {**backbone_state(depths=(12, 1)), **uper_state()})
    assert smaller("--int8", "--keep", "stage0.block1")[0] == 0
    found = types_of(tmp_path / "out.swin")
    for block in (0, 2, 10, 11):
        assert found[f"stage0.block{block}.mlp.fc1.weight"] == S8
    assert found["stage0.block1.mlp.fc1.weight"] == F32


@pytest.mark.parametrize("keep,named", [
    ("head.clasify", "head.clasify"), ("stage7", "stage7"), ("head.classify,stag", "stag"),
    ("stage0.block", None), ("head.", "head."), ("stage0.block0.mlp.fc", None), ("S", "S"),
    ("stage0.block0.mlp.fc1.w", "fc1.w"), (".*", ".*"), ("*.qkvs", "qkvs")])
def test_names_that_fit_nothing_are_refused_by_name(smaller, tmp_path, keep, named):
    write_exact(tmp_path, SMALL)
    code, out, err = smaller("--int8", "--keep", keep)
    if named is None:
        assert code == 0, err
        return
    assert code == 1 and err.count("\n") == 1 and not out
    assert f"--keep {keep.split(',')[-1]} fits no layer; there are stage0.block0" in err
    assert not (tmp_path / "out.swin").exists()


def test_a_model_of_which_nothing_gets_smaller_is_refused(smaller, tmp_path):
    write_exact(tmp_path, SMALL)
    code, _, err = smaller("--int8", "--keep", "stage,head")
    assert code == 1 and "no layer is left that could be s8 (--keep stage,head)" in err


def test_f16_leaves_what_it_cannot_hold(smaller, tmp_path):
    name = "backbone.layers.0.blocks.0.mlp.fc1.weight"
    for largest, fits in ((65504, True), (65505, False)):
        weights = GLAM[name].copy()
        weights[1, 2] = -largest
        write_exact(tmp_path, {**GLAM, name: weights})
        code, out, _ = smaller("--f16")
        assert code == 0
        found = types_of(tmp_path / "out.swin")
        assert found["stage0.block0.mlp.fc1.weight"] == (F16 if fits else F32)
        sentence = "note       stage0.block0.mlp.fc1 stays float32: 65505 is among its weights, " \
                   "and f16 ends at 65504"
        assert (sentence in out) == (not fits)


def test_layers_of_too_many_inputs_stay_f32(smaller, tmp_path, monkeypatch):
    write_exact(tmp_path, SMALL)
    data = blob.read(tmp_path / "exact.swin")
    widest = max(spec.form.shape[1] for spec in data.specs if spec.form.layout == forms.PANELS)
    assert smaller("--int8")[0] == 0
    too_wide = (tmp_path / "out.swin").read_bytes()
    monkeypatch.setattr(number_types, "S8_INPUTS", widest - 1)
    code, out, _ = smaller("--int8")
    wide = [spec.layer for spec in data.specs if spec.form.layout == forms.PANELS
            and spec.form.shape[1] == widest]
    found = types_of(tmp_path / "out.swin")
    assert code == 0 and wide
    for layer in wide:
        assert found[layer + ".weight"] == F32
        assert f"{layer} stays float32: its {widest} inputs are more than the {widest - 1}" in out
    with pytest.raises(blob.BlobError, match=f"{wide[0]}.weight has 8 bits and more than"):
        blob.parse(too_wide)


def test_sums_of_the_most_inputs_fit_32_bits():
    assert 127 * 127 * number_types.S8_INPUTS < 2 ** 31


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("option", ["--int8", "--f16"])
def test_weights_that_are_no_numbers_are_refused_by_name(smaller, tmp_path, value, option):
    write_exact(tmp_path, SMALL)
    path = tmp_path / "exact.swin"
    data = bytearray(path.read_bytes())
    for name in ("stage0.block0.mlp.fc1.weight", "stage0.block0.norm1.bias"):
        entry = next(e for e in entries(data) if e[0] == name)
        changed = bytearray(data)
        struct.pack_into("<f", changed, entry[5], value)
        path.write_bytes(reseal(changed))
        code, _, err = smaller(option)
        assert code == 1 and err.count("\n") == 1
        assert f"{name} holds numbers that are not finite" in err
        assert not (tmp_path / "out.swin").exists()


# The command --------------------------------------------------------------------------------------

def test_the_table_says_what_is_lost_and_what_is_saved(smaller, tmp_path):
    write_exact(tmp_path, GLAM)
    code, out, _ = smaller("--int8", "--keep", "head.classify")
    exact, read = blob.read(tmp_path / "exact.swin"), blob.read(tmp_path / "out.swin")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if " % " in line}
    sums = dict.fromkeys((F32, F16, S8), 0)
    for spec in read.specs:
        if not spec.name.endswith(".scale"):
            scales = blob.stored_bytes(spec.scale()) if spec.type == S8 else 0
            sums[spec.type] += blob.stored_bytes(spec) + scales
            assert spec.type == F32 or spec.layer in rows
            assert spec.type != F32 or spec.name[:-len(".weight")] not in rows
        if spec.type != F32:
            matrix = exact.matrix(exact.spec(spec.name)).astype(float)
            error = read.matrix(spec) - matrix
            loss = math.sqrt((error ** 2).mean() / (matrix ** 2).mean())
            type_, _, share, _, told, _ = rows[spec.layer]
            assert type_ == {F16: "f16", S8: "s8"}[spec.type]
            assert float(told) == pytest.approx(100 * loss, rel=6e-3)
            whole = blob.stored_bytes(exact.spec(spec.name))
            assert float(share) == pytest.approx(
                100 * (blob.stored_bytes(spec) + scales) / whole, abs=0.051)
    for type_, name in ((F32, "f32"), (F16, "f16"), (S8, "s8")):
        kib = re.search(rf"^all \d+ in {name} +([\d.]+)", out, re.M)[1]
        assert float(kib) == pytest.approx(sums[type_] / 1024, abs=0.051)
    assert code == 0 and not any(line != line.rstrip() for line in out.splitlines())


def test_the_note_tells_the_numbers_types(smaller, tmp_path):
    write_exact(tmp_path, GLAM, "--note", "training=long", "--name", "mine", "--licence", "MIT")
    assert "numbers" not in blob.read(tmp_path / "exact.swin").notes
    assert smaller("--int8", "--note", "more=text")[0] == 0
    read = blob.read(tmp_path / "out.swin")
    notes = read.notes
    counts = dict.fromkeys(("s8", "f16", "f32"), 0)
    for spec in canonical.tensors(read.description):
        kind = read.spec(spec.name).type
        counts[{S8: "s8", F16: "f16", F32: "f32"}[kind]] += math.prod(spec.form.natural)
    total = sum(counts.values())
    shares = re.fullmatch(rf"s8 ([\d.]+) %, f16 ([\d.]+) %, f32 ([\d.]+) % of {total:,} parameters",
                          notes["numbers"]).groups()
    for share, count in zip(shares, counts.values(), strict=True):
        assert float(share) == pytest.approx(100 * count / total, rel=6e-3)
    assert notes["training"] == "long" and notes["more"] == "text"
    assert notes["name"] == "mine" and notes["licence"] == "MIT"
    assert smaller("--f16", "--name", "other")[0] == 0
    assert blob.read(tmp_path / "out.swin").notes["name"] == "other"


def test_info_lists_the_types(smaller, tmp_path, capsys):
    write_exact(tmp_path, GLAM)
    smaller("--int8")
    assert run("--info", tmp_path / "out.swin") == 0
    text = capsys.readouterr().out
    for words in ("s8 quads ", "f16 rows ", "f32 rows ", "mlp.fc1.scale\n", "numbers: s8 "):
        assert words in text


def test_what_is_smaller_already_is_refused(smaller, tmp_path):
    write_exact(tmp_path, GLAM)
    assert smaller("--f16")[0] == 0
    (tmp_path / "out.swin").rename(tmp_path / "half.swin")
    code, _, err = smaller("--int8", source="half.swin")
    assert code == 1 and "stage0.tokens is f16 already: give the float32 model" in err


def test_a_swin_file_needs_a_number_type(tmp_path, capsys):
    write_exact(tmp_path, SMALL)
    assert run(tmp_path / "exact.swin", "-o", tmp_path / "out.swin") == 1
    assert "a .swin model already: --int8 or --f16" in capsys.readouterr().err
    assert run(tmp_path / "exact.swin", "--int8", "-o", tmp_path / "exact.swin") == 1
    assert "would replace" in capsys.readouterr().err


@pytest.mark.parametrize("option", [
    ["--entry", "model"], ["--pool-scales", "1,2,3,6"], ["--align-corners"],
    ["--no-align-corners"], ["--heads", "1,2"], ["--image-size", "48x48"], ["--window", "3"],
    ["--pretrained-windows", "3,3"], ["--threshold", "0.5"], ["--backbone"], ["--model"],
    ["--max-size", "64x64"]])
def test_options_about_checkpoints_have_no_meaning_for_swin_files(smaller, tmp_path, option):
    write_exact(tmp_path, SMALL)
    code, _, err = smaller("--int8", *option)
    named = option[0].replace("--no-", "--")
    assert code == 1 and f"{named} is about checkpoints, and this is a .swin model" in err


def test_options_about_pictures_have(smaller, tmp_path):
    write_exact(tmp_path, SMALL)
    assert smaller("--int8", "--size", "99", "--mean", "1,2,3", "--bgr")[0] == 0
    d = blob.read(tmp_path / "out.swin").description
    assert d["resize_a"] == 99 and d["mean"] == [1, 2, 3] and d["bgr"] == 1


@pytest.mark.parametrize("arguments", [
    ["--int8", "--f16"], ["--keep", "head"], ["--check", "a.png"], ["--program", "p"],
    ["--int8", "--keep", ""], ["--int8", "--keep", "a,,b"], ["--int8", "--check"]])
def test_wrong_usage(tmp_path, arguments):
    assert run(tmp_path / "x.swin", "-o", tmp_path / "o.swin", *arguments) == 2


def test_damaged_models_are_refused(smaller, tmp_path):
    write_exact(tmp_path, SMALL)
    path = tmp_path / "exact.swin"
    path.write_bytes(path.read_bytes()[:-64])
    code, _, err = smaller("--int8")
    assert code == 1 and err.count("\n") == 1 and "exact.swin: size is" in err


# With the C program -------------------------------------------------------------------------------

ARGUMENTS = "pathlib.Path({0!r}).open('a').write(json.dumps(sys.argv[1:]) + '\\n')"


def test_the_reference_is_recorded_for_the_new_file(smaller, tmp_path):
    write_exact(tmp_path, SMALL)
    data = bytearray((tmp_path / "exact.swin").read_bytes())
    at = blob.CONFIG_OFFSET + struct.unpack_from("<Q", data, 40)[0] - 32
    struct.pack_into("<4I", data, at, 1, 5, 64, 48)
    (tmp_path / "exact.swin").write_bytes(reseal(data))
    assert blob.read(tmp_path / "exact.swin").description["reference_seed"] == 5
    log = tmp_path / "log"
    program = fake(tmp_path, ARGUMENTS.format(str(log)))
    code, out, _ = smaller("--int8", program=program)
    assert code == 0 and f"was recorded by {program}" in out
    assert log.read_text() == f'["-m", "{tmp_path / "out.swin"}", "--record"]\n'
    d = blob.read(tmp_path / "out.swin").description
    assert d["reference_present"] == d["reference_seed"] == d["reference_width"] == 0


def test_a_program_that_fails_is_told(smaller, tmp_path):
    write_exact(tmp_path, SMALL)
    program = fake(tmp_path, "sys.exit('segment: out.swin: no such type')")
    code, out, _ = smaller("--int8", program=program)
    assert code == 0 and f"self-test  nothing is recorded, as {program} failed: segment: " in out
    assert (tmp_path / "out.swin").exists()


def test_a_program_that_cannot_be_started_is_told(smaller, tmp_path, monkeypatch):
    write_exact(tmp_path, SMALL)
    program = fake(tmp_path, name="segment")
    monkeypatch.chdir(tmp_path)
    assert "was recorded by" in smaller("--int8", program="segment")[1]     # not one in PATH
    program.chmod(0o644)
    code, out, _ = smaller("--int8", program=program)
    assert code == 0 and "nothing is recorded, as" in out and "Permission denied" in out


def test_without_the_program(tmp_path, capsys, monkeypatch):
    write_exact(tmp_path, SMALL)
    command = [tmp_path / "exact.swin", "--int8", "-o", tmp_path / "out.swin"]
    monkeypatch.setattr(tool, "__file__", str(tmp_path / "tools/convert.py"))
    monkeypatch.delenv("SWIN_SEGMENT", raising=False)
    capsys.readouterr()
    assert run(*command) == 0
    assert f"segment -m {tmp_path / 'out.swin'} --record" in capsys.readouterr().out
    (tmp_path / "out.swin").unlink()
    assert run(*command, "--check", "a.png") == 1
    assert "--check runs build/segment, which is not there" in capsys.readouterr().err
    monkeypatch.setenv("SWIN_SEGMENT", str(tmp_path / "nothing"))
    assert run(*command) == 1
    assert f"there is no program {tmp_path / 'nothing'}" in capsys.readouterr().err
    assert not (tmp_path / "out.swin").exists()
    monkeypatch.setenv("SWIN_SEGMENT", str(fake(tmp_path)))
    assert run(*command) == 0 and "was recorded" in capsys.readouterr().out


COMPARE = """
arguments = sys.argv[1:]
if "--against" in arguments:
    new, exact = (pathlib.Path(arguments[arguments.index(o) + 1]) for o in ("-m", "--against"))
    pathlib.Path({0!r}).write_bytes(exact.read_bytes())
    assert arguments[arguments.index("--") + 1:] == ["a.png", "b.png"]
    print("a.png: 1 of 9 pixels change")
    if {1!r}:
        sys.exit({1!r})
"""


@pytest.mark.parametrize("source", ["exact.swin", "c.safetensors"])
def test_check_compares_with_the_same_model_in_f32(smaller, tmp_path, source):
    write_exact(tmp_path, SMALL)
    program = fake(tmp_path, COMPARE.format(str(tmp_path / "copy"), ""))
    code, out, _ = smaller("--int8", "--check", "a.png", "b.png", source=source, program=program)
    assert code == 0 and out.endswith("\na.png: 1 of 9 pixels change\n")
    exact, copy = blob.read(tmp_path / "exact.swin"), blob.read(tmp_path / "copy")
    for spec in exact.specs:
        assert exact.numbers(spec).tobytes() == copy.numbers(copy.spec(spec.name)).tobytes()
    code, out, err = smaller("--int8", "--check", "a.png", "b.png", program=fake(
        tmp_path, COMPARE.format(str(tmp_path / "copy"), "segment: b.png: is cut")))
    assert code == 1 and "a.png: 1 of 9" in out and err.count("\n") == 1
    assert "--check: segment: b.png: is cut" in err


@pytest.mark.parametrize("state", [official_state(), backbone_state()],
                         ids=["classifier", "features"])
def test_models_without_class_maps(smaller, tmp_path, state):
    write_exact(tmp_path, state)
    code, out, _ = smaller("--int8")
    assert code == 0 and "self-test  none: only models that give maps of classes" in out
    (tmp_path / "out.swin").unlink()
    code, _, err = smaller("--int8", "--check", "a.png")
    assert code == 1 and "--check compares maps of classes, and this model has none" in err
    assert not (tmp_path / "out.swin").exists()


def test_check_writes_over_no_picture(smaller, tmp_path):
    write_exact(tmp_path, SMALL)
    picture = tmp_path / "out.swin"
    picture.write_bytes(b"a picture by that name")
    code, _, err = smaller("--int8", "--check", picture)
    assert code == 1 and "would replace" in err
    assert picture.read_bytes() == b"a picture by that name"


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "features"])
def test_the_c_program_reads_and_runs_what_is_written(models, tmp_path, kind):
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3)).astype("u1")).save(
        tmp_path / "p.png")
    for path in models(kind)[1:]:
        done = subprocess.run([SEGMENT, "-m", path, "--info"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        names = {F32: "f32", F16: "f16", S8: "s8"}
        listed = [line.split()[0::6] for line in done.stdout.splitlines() if " %  " in line][
            :len(entries(path.read_bytes()))]
        assert listed == [[names[e[1]], e[0]] for e in entries(path.read_bytes())]
        what = ["--json"] if kind in ("classifier", "v2") else ["--against", models(kind)[0]]
        done = subprocess.run([SEGMENT, "-m", path, *what, "--size", "48", tmp_path / "p.png"],
                              capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.parametrize("option", ["--int8", "--f16"])
def test_the_recorded_reference_holds_on_every_instruction_set(models, tmp_path, option, cpus,
                                                               capsys):
    out = tmp_path / "out.swin"
    assert run(models("glam")[0], option, "-o", out, "--program", SEGMENT) == 0
    assert f"was recorded by {SEGMENT}" in capsys.readouterr().out
    done = subprocess.run([SEGMENT, "-m", out, "--self-test"], capture_output=True, text=True)
    assert done.returncode == 0 and "the same bits" in done.stdout, done.stderr
    assert {line.split()[0] for line in done.stdout.splitlines()} == set(cpus)
    for cpu in cpus:
        done = subprocess.run([SEGMENT, "-m", out, "--self-test", "--cpu", cpu],
                              capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.split()[0] == cpu, done.stderr


@pytest.mark.parametrize("which", [1, 2], ids=["int8", "f16"])
def test_python_and_c_accept_the_same_smaller_blobs(models, reader, which):
    """Number types, layouts, shapes, names and scales, one field changed at a time."""
    data, rng = models("glam")[which].read_bytes(), np.random.default_rng(6)
    first, count = struct.unpack_from("<2Q", data, 48)
    scales = [entry for entry in entries(data) if entry[0].endswith(".scale")]
    blobs = [data]
    for _ in range(300):
        changed = bytearray(data)
        kind = rng.integers(4)
        if kind == 3 and scales:
            _, _, _, _, outputs, offset, _ = scales[rng.integers(len(scales))]
            value = [0, -0.0, 1e-40, 3e38, -1e-9, math.nan, math.inf][rng.integers(7)]
            struct.pack_into("<f", changed, offset + 4 * int(rng.integers(outputs)), value)
        else:
            field = 64 + 4 * int(rng.integers(6)) if kind else int(rng.integers(104))
            place = first + 128 * int(rng.integers(count)) + field // 4 * 4
            struct.pack_into("<I", changed, place, int(rng.integers(5)))
        blobs.append(reseal(changed))
    agree(blobs, reader)
