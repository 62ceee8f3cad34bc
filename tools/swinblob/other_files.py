"""What a file is that was taken for a checkpoint: pointers, web pages, archives, other formats.

Only the first bytes and the names in an archive or folder are looked at."""

import json
import os
import re

from .values import enumerate_names

HEAD = 4096                     # bytes that are looked at
UNPACK = "unpack it and give the file in it"
EXPORTED = "convert the PyTorch checkpoint that it was exported from"
AGAIN = "download it again"

# (where, bytes, what the file is, what helps)
MAGICS = (
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK + " (or it is of PyTorch before 0.2)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow write",
     "convert a PyTorch checkpoint"),
    (4, b"TFL3", "a TensorFlow Lite model", EXPORTED),
    (0, b"GGUF", "a GGUF model", EXPORTED),
    (0, b"\x89SWIN\r\n\x1a", "a .swin model already", "--info prints what it holds"),
    (0, b"\x93NUMPY", "a NumPy array", "give a checkpoint"),
    (0, b"\x89PNG", "a PNG picture", "give a checkpoint"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give a checkpoint"),
    (0, b"%PDF", "a PDF document", "give a checkpoint"),
    (0, b"\0\5\x16\7", "a resource file of macOS", "give the file without ._ before its name"),
)
MARKUP = ((r"<!doctype html|<html|<head|<body|<script|<!--", "a web page"),
          (r"<\?xml|<[a-z]", "an XML text"))
ONNX = re.compile(rb"\x08[\x01-\x14](\x12.(pytorch|tf2onnx|onnx)|\x3a|\x12\0)", re.DOTALL)
WEB = "a server sent it instead of the checkpoint; " + AGAIN + ", signed in if that is needed"


def identify(data, name):
    """(what it is, what helps) of a file's first bytes and its name, or None."""
    head = bytes(data[:HEAD])
    for place, magic, what, helps in MAGICS:
        if head[place:place + len(magic)] == magic:
            return what, helps
    if len(head) >= 64 and not head.strip(b"\0"):
        return "a file that begins with nothing but zeros", "its download did not finish; " + AGAIN
    text = readable(head)
    return identify_text(text) if text else identify_message(head, name.lower())


def readable(head):
    """The text that these bytes are, or None."""
    try:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig",
                           "strict" if len(head) < HEAD else "ignore")
    except UnicodeDecodeError:
        return None
    good = all(c.isprintable() or c.isspace() for c in text)
    return text.strip() if good and len(text) >= 4 else None


def identify_text(text):
    if text.startswith("version https://git-lfs"):
        size = re.search(r"^size (\d{1,15})$", text, re.MULTILINE)
        return ("a pointer of Git LFS" + (f" to a file of {int(size[1]):,} bytes" if size else ""),
                "`git lfs pull` fetches the file itself")
    if re.match(r"\S*/annex/objects/", text):
        return "a pointer of git-annex", "`git annex get` fetches the file itself"
    for pattern, what in MARKUP:
        if re.match(pattern, text, re.IGNORECASE):
            return what, WEB
    if text[0] in "{[":
        return f"a JSON text, {excerpt(text)}", (
            WEB if re.search(r"error|message|detail", text, re.IGNORECASE)
            else "give the file with the weights, or the folder that holds both")
    return f"a text, {excerpt(text)}", "give the file with the weights"


def excerpt(text):
    return json.dumps(text[:40], ensure_ascii=False) + "..." * (len(text) > 40)


def identify_message(head, name):
    """Formats without a magic: a serialised message, or a pickle of text."""
    map_of_texts = b"\x81" <= head[:1] <= b"\x8f" and b"\xa0" <= head[1:2] <= b"\xbf"
    if map_of_texts or name.endswith(".msgpack"):
        return "a MessagePack file, as Flax writes", "convert a PyTorch checkpoint"
    if name.endswith(".onnx") or ONNX.match(head):
        return "an ONNX model", EXPORTED
    if name.endswith(".pb"):
        return "a TensorFlow model", "convert a PyTorch checkpoint"
    return None


# Zip archives and folders -------------------------------------------------------------------------

CHECKPOINTS = (".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".pth.tar", ".pkl")


def identify_zip(names):
    """(what it is, what helps) of a zip archive that torch.save did not write."""
    inner = [name for name in names if name.lower().endswith(CHECKPOINTS)]
    if inner:
        return f"a zip archive that holds {enumerate_names(inner)}", UNPACK
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)", "convert a PyTorch checkpoint"
    if "model.weights.h5" in names:
        return "a Keras model", "convert a PyTorch checkpoint"
    if any(name.endswith(("archive_format", "serialized_exported_program.json"))
           for name in names):
        return "a program that torch.export wrote", "save the model's state_dict() instead"
    return "a zip archive, but not of PyTorch: no folder in it has a data.pkl", "give a checkpoint"


def identify_folder(path, names):
    """(what it is, what helps) of a folder without a checkpoint."""
    if any(name.endswith(".distcp") for name in names):
        return ("a checkpoint of torch.distributed in pieces",
                "join them by `python -m torch.distributed.checkpoint.format_utils dcp_to_torch`")
    if any(name.endswith("_optim_states.pt") for name in names) or "zero_to_fp32.py" in names:
        return "a checkpoint of DeepSpeed in pieces", "join them by its zero_to_fp32.py"
    if "data.pkl" in names:
        return ("an unpacked PyTorch archive", "pack the folder again, without compression: "
                "`zip -0 -r model.pth FOLDER`, run beside it")
    if "saved_model.pb" in names:
        return "a TensorFlow model", "convert a PyTorch checkpoint"
    foreign = [name for name in names if name.endswith((".h5", ".msgpack", ".onnx", ".pb",
                                                        ".ckpt.index"))]
    if foreign:
        return (f"a folder with {enumerate_names(foreign)} only",
                "give one with a PyTorch checkpoint, such as model.safetensors")
    inside = [name for name in names if os.path.isdir(os.path.join(path, name))
              and any(part.endswith(CHECKPOINTS) for part in os.listdir(os.path.join(path, name)))]
    if inside:
        return "a folder whose folders hold checkpoints", "give one: " + enumerate_names(inside)
    return "a folder that holds no checkpoint", ("give one with model.safetensors, "
                                                 "pytorch_model.bin or a .pth file")
