"""Makes checkpoints: files of every container, opcode by opcode, and states of small models."""

import io
import json
import struct
import zipfile

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


# Pickles and files --------------------------------------------------------------------------------

class Global:
    """A class or function by name."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """An object that unpickling makes by calling `function`; `state` is given to BUILD."""

    def __init__(self, function, *args, state=None):
        self.function, self.args, self.state = function, args, state


class Persistent:
    def __init__(self, *id_):
        self.id = id_


class Raw(bytes):
    """Opcodes, as they are."""


def dumps(value, protocol=2):
    """A pickle as PyTorch writes it (without a memo)."""
    out = io.BytesIO()

    def write(v):
        if isinstance(v, Raw):
            out.write(v)
        elif v is None or v is True or v is False:
            out.write({None: b"N", True: b"\x88", False: b"\x89"}[v])
        elif isinstance(v, int):
            body = v.to_bytes(v.bit_length() // 8 + 1, "little", signed=True)
            out.write(b"\x8a" + bytes([len(body)]) + body)
        elif isinstance(v, float):
            out.write(b"G" + struct.pack(">d", v))
        elif isinstance(v, str):
            body = v.encode("utf-8")
            out.write(b"X" + struct.pack("<I", len(body)) + body)
        elif isinstance(v, bytes):
            out.write(b"B" + struct.pack("<I", len(v)) + v)
        elif isinstance(v, Global):
            out.write(f"c{v.module}\n{v.name}\n".encode())
        elif isinstance(v, Call):
            write(v.function)
            write(v.args)
            out.write(b"R")
            if v.state is not None:
                write(v.state)
                out.write(b"b")
        elif isinstance(v, Persistent):
            write(v.id)
            out.write(b"Q")
        elif isinstance(v, tuple):
            out.write(b"(")
            for item in v:
                write(item)
            out.write(b"t")
        elif isinstance(v, list):
            out.write(b"](")
            for item in v:
                write(item)
            out.write(b"e")
        elif isinstance(v, dict):
            out.write(b"}(")
            for key, item in v.items():
                write(key)
                write(item)
            out.write(b"u")
        else:
            raise TypeError(type(v))

    out.write(b"\x80" + bytes([protocol]))
    write(value)
    out.write(b".")
    return out.getvalue()


STORAGE_OF = {np.dtype("f4"): "FloatStorage", np.dtype("f8"): "DoubleStorage",
              np.dtype("f2"): "HalfStorage", np.dtype("i8"): "LongStorage",
              np.dtype("i4"): "IntStorage", np.dtype("u1"): "ByteStorage",
              np.dtype("?"): "BoolStorage"}
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def storage(key, kind, count):
    return Persistent("storage", Global("torch", kind), key, "cpu", count)


class File:
    """A checkpoint in the making: storages, and the object that refers to them."""

    def __init__(self):
        self.storages = {}      # key -> (kind, count, bytes)

    def raw(self, kind, count, data):
        key = str(len(self.storages))
        self.storages[key] = (kind, count, bytes(data))
        return key

    def tensor(self, array):
        array = np.asarray(array)
        flat = np.ascontiguousarray(array)
        key = self.raw(STORAGE_OF[array.dtype], array.size, flat.tobytes())
        strides = tuple(s // array.itemsize for s in np.empty(array.shape, array.dtype).strides)
        return self.view(key, 0, array.shape, strides)

    def view(self, key, offset, shape, stride):
        kind, count, _ = self.storages[key]
        return Call(REBUILD, storage(key, kind, count), offset, tuple(shape), tuple(stride), False,
                    Call(Global("collections", "OrderedDict")))

    def state(self, arrays):
        return {name: array if isinstance(array, Call) else self.tensor(array)
                for name, array in arrays.items()}

    def zip(self, root, path, folder="archive", extra=(), method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr(f"{folder}/data.pkl", root if type(root) is bytes else dumps(root))
            for key, (_, _, data) in self.storages.items():
                archive.writestr(f"{folder}/data/{key}", data)
            for name, data in extra:
                archive.writestr(f"{folder}/{name}", data)
        return path

    def legacy(self, root, path, keys=None, counts=None):
        keys = list(self.storages) if keys is None else keys
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}
        data = b"".join(map(dumps, (LEGACY_MAGIC, 1001, system)))
        data += root if type(root) is bytes else dumps(root)
        data += dumps(keys)
        for key in keys:
            _, count, body = self.storages[key]
            data += struct.pack("<q", (counts or {}).get(key, count)) + body
        path.write_bytes(data)
        return path


SAFE_TYPES = {np.dtype("f4"): "F32", np.dtype("f8"): "F64", np.dtype("f2"): "F16",
              np.dtype("i8"): "I64", np.dtype("u2"): "BF16"}


def safetensors(arrays, path, metadata=None):
    """arrays: name -> array; 16-bit unsigned numbers are written as bfloat16."""
    header, body = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": SAFE_TYPES[np.asarray(array).dtype],
            "shape": list(np.shape(array)),
            "data_offsets": [len(body), len(body) + len(data)]
        }
        body += data
    return raw_safetensors(json.dumps(header).encode(), body, path)


def raw_safetensors(header, body, path):
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return path


# States of models ---------------------------------------------------------------------------------

UPSTREAM = [("layers.", "stages."), (".attn.", ".attn.w_msa."),
            ("patch_embed.proj.", "patch_embed.projection."), (".mlp.fc1.", ".ffn.layers.0.0."),
            (".mlp.fc2.", ".ffn.layers.1.")]


def backbone_state(E=4, depths=(2, 1), heads=(1, 2), window=3, ratio=2, tokens=0, opti=False,
                   patch_norm=True, qkv_bias=True, ape=0, seed=0, widths=None):
    """Random weights under the names of the Swin authors' fork (and of GLAM).

    widths: channels of each stage, E << stage where None."""
    rng = np.random.default_rng(seed)
    widths = widths or [E << i for i in range(len(depths))]
    E, state = widths[0], {}

    def add(name, *shape, dtype="f4"):
        state["backbone." + name] = rng.normal(0.5, 0.3, shape).astype(dtype)

    def pair(name, *shape, bias=True):
        add(name + ".weight", *shape)
        if bias:
            add(name + ".bias", shape[0])

    pair("patch_embed.proj", E, 3, 4, 4)
    if patch_norm:
        pair("patch_embed.norm", E)
    if ape:
        add("absolute_pos_embed", 1, E, ape, ape + 1)
    for i, (depth, n) in enumerate(zip(depths, heads)):
        C, stage = widths[i], f"layers.{i}"
        if tokens:
            add(stage + ".global_token", tokens, C)
            add(stage + ".pe", (45 * tokens // 2 ** i) ** 2, C)
        for j in range(depth):
            block = f"{stage}.blocks.{j}"
            pair(block + ".norm1", C)
            pair(block + ".norm2", C)
            add(block + ".attn.relative_position_bias_table", (2 * window - 1) ** 2, n)
            state[f"backbone.{block}.attn.relative_position_index"] = np.zeros((window**2, ) * 2,
                                                                               "i8")
            for attention in ["attn"
                              ] + ["gt_attn"] * (bool(tokens) and not (opti and j == depth - 1)):
                pair(f"{block}.{attention}.qkv", 3 * C, C, bias=qkv_bias)
                pair(f"{block}.{attention}.proj", C, C)
            pair(block + ".mlp.fc1", int(ratio * C), C)
            pair(block + ".mlp.fc2", C, int(ratio * C))
        if i < len(depths) - 1:
            add(stage + ".downsample.reduction.weight", widths[i + 1], 4 * C)
            pair(stage + ".downsample.norm", 4 * C)
        pair(f"norm{i}", C)
    return state


def conv_module(state, name, outputs, inputs, k, rng):
    state[name + ".conv.weight"] = rng.normal(size=(outputs, inputs, k, k)).astype("f4")
    for part in ("weight", "bias", "running_mean", "running_var"):
        state[f"{name}.bn.{part}"] = rng.uniform(0.5, 2, outputs).astype("f4")
    state[name + ".bn.num_batches_tracked"] = np.array(7, "i8")


def uper_state(E=4, features=(0, 1), ch=5, K=3, pools=4, seed=1, widths=None):
    """widths: channels of the features, E << feature where None."""
    rng, state = np.random.default_rng(seed), {}
    widths = widths or [E << i for i in features]
    head = "decode_head."
    for p in range(pools):
        conv_module(state, f"{head}psp_modules.{p}.1", ch, widths[-1], 1, rng)
    conv_module(state, head + "bottleneck", ch, widths[-1] + pools * ch, 3, rng)
    for l, C in enumerate(widths[:-1]):
        conv_module(state, f"{head}lateral_convs.{l}", ch, C, 1, rng)
        conv_module(state, f"{head}fpn_convs.{l}", ch, ch, 3, rng)
    conv_module(state, head + "fpn_bottleneck", ch, len(widths) * ch, 3, rng)
    state[head + "conv_seg.weight"] = rng.normal(size=(K, ch, 1, 1)).astype("f4")
    state[head + "conv_seg.bias"] = rng.normal(size=K).astype("f4")
    state["auxiliary_head.conv_seg.bias"] = rng.normal(size=K).astype("f4")
    return state


def fcn_state(E=4, feature=1, ch=5, K=3, convs=2, concat=True, k=3, seed=2):
    rng, state, C = np.random.default_rng(seed), {}, E << feature
    for n in range(convs):
        conv_module(state, f"decode_head.convs.{n}", ch, ch if n else C, k, rng)
    if concat:
        conv_module(state, "decode_head.conv_cat", ch, C + ch, k, rng)
    state["decode_head.conv_seg.weight"] = rng.normal(size=(K, ch if convs else C, 1,
                                                            1)).astype("f4")
    state["decode_head.conv_seg.bias"] = rng.normal(size=K).astype("f4")
    return state


def psp_state(E=4, feature=1, ch=5, K=3, pools=4, seed=6):
    """UPerHead's pools and bottleneck, and the classes."""
    state = uper_state(E=E, features=(feature,), ch=ch, K=K, pools=pools, seed=seed)
    return {name: a for name, a in state.items()
            if name.startswith(("decode_head.psp", "decode_head.bottle", "decode_head.conv_seg"))}


def fpn_state(E=4, features=(0, 1), ch=5, Cn=6, K=3, convs=(1, 2), seed=7):
    rng, state = np.random.default_rng(seed), {}
    for l, feature in enumerate(features):
        for name, shape in ((f"neck.lateral_convs.{l}", (Cn, E << feature, 1, 1)),
                            (f"neck.fpn_convs.{l}", (Cn, Cn, 3, 3))):
            state[name + ".conv.weight"] = rng.normal(size=shape).astype("f4")
            state[name + ".conv.bias"] = rng.normal(size=Cn).astype("f4")
        for n in range(convs[l]):
            conv_module(state, f"decode_head.scale_heads.{l}.{2 * n}", ch, ch if n else Cn, 3, rng)
    return {**state, **classify_state(ch, K, rng)}


def classify_state(ch, K, rng, name="conv_seg"):
    return {f"decode_head.{name}.weight": rng.normal(size=(K, ch, 1, 1)).astype("f4"),
            f"decode_head.{name}.bias": rng.normal(size=K).astype("f4")}


def segformer_state(E=4, features=(0, 1), ch=5, K=3, seed=8):
    rng, state = np.random.default_rng(seed), {}
    for l, feature in enumerate(features):
        conv_module(state, f"decode_head.convs.{l}", ch, E << feature, 1, rng)
    conv_module(state, "decode_head.fusion_conv", ch, len(features) * ch, 1, rng)
    return {**state, **classify_state(ch, K, rng)}


def glam_segformer_state(E=4, features=(0, 1), ch=6, K=3, seed=9):
    rng, state = np.random.default_rng(seed), {}
    for l, feature in enumerate(features):
        name = f"decode_head.linear_c{l + 1}.proj"
        state[name + ".weight"] = rng.normal(size=(ch, E << feature)).astype("f4")
        state[name + ".bias"] = rng.normal(size=ch).astype("f4")
    conv_module(state, "decode_head.linear_fuse", ch, len(features) * ch, 1, rng)
    return {**state, **classify_state(ch, K, rng, "linear_pred"), **classify_state(9, 30, rng)}


def upstream_names(state):
    """The same weights as upstream mmseg stores them, the merging's channels by explicit loops."""
    result = {}
    for name, value in state.items():
        new = name
        if name.startswith("backbone."):
            for old, other in UPSTREAM:
                new = new.replace(old, other)
        if ".downsample." in name:
            C = value.shape[-1] // 4
            moved = np.empty_like(value)
            for c in range(C):
                for row in range(2):
                    for column in range(2):
                        moved[..., c * 4 + row * 2 + column] = value[...,
                                                                     (column * 2 + row) * C + c]
            value = moved
        result[new] = value
    return result


SMALL = {**backbone_state(), **uper_state()}
GLAM = {**backbone_state(tokens=1), **uper_state()}
WIDTHS = (4, 6, 15)             # of stages, as no family's code makes them
ODD = {**backbone_state(widths=WIDTHS, depths=(1, 2, 1), heads=(2, 3, 5)),
       **uper_state(widths=WIDTHS)}
DEEP = {**backbone_state(depths=(1, 2, 1, 1, 1), heads=(1, 2, 1, 1, 4), tokens=1),
        **uper_state(features=(0, 4))}
FCN = {**backbone_state(ape=3, qkv_bias=False, patch_norm=False), **fcn_state()}
