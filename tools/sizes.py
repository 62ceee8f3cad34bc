#!/usr/bin/env python3
"""sizes.py FOLDER - measures how many bytes of code each SWIN_NO_... of swin.h saves, and writes
them into README.md's table. The objects that it compiles are left in FOLDER.

CC names the compiler; default: gcc.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CC = os.environ.get("CC") or "gcc"
FLAGS = "-std=c99 -Os -DSWIN_NO_SIMD -fno-asynchronous-unwind-tables".split()
TABLE = re.compile(r"(?<=<!-- make sizes -->\n).*?(?=<!-- end of sizes -->)", re.S)


def options():
    """{name of an option: what it leaves out}, as swin.h lists them."""
    rows = (ROOT / "swin.h").read_text().split("#define SWIN__OPTIONS(X)")[1].split("\n\n")[0]
    return {f"SWIN_NO_{name}": what for name, what in re.findall(r'X\((\w+), +"(.*)"\)', rows)}


def builds():
    """{name: options}: nothing left out, each option alone, all of them."""
    each = {option: [option] for option in options()}
    return {"whole": [], **each, "all": list(each)}


def compile_header(path, left_out, *flags):
    """Makes an object of swin.h without what these options leave out."""
    subprocess.run([CC, *FLAGS, *flags, *(f"-D{option}" for option in left_out), f"-I{ROOT}", "-c",
                    ROOT / "examples/swin.c", "-o", path], check=True)
    return path


def bytes_of(path):
    """Code and constants of an object."""
    table = subprocess.run(["size", path], check=True, capture_output=True, text=True).stdout
    code, data = table.splitlines()[1].split()[:2]
    return int(code) + int(data)


def compile_all(folder, *flags):
    """{name: object} of all builds."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        made = {name: workers.submit(compile_header, folder / f"{name}.o", left_out, *flags)
                for name, left_out in builds().items()}
        return {name: job.result() for name, job in made.items()}


def table(sizes):
    """The table of {name: bytes}."""
    whole = sizes["whole"]
    version = subprocess.run([CC, "--version"], capture_output=True, text=True).stdout
    rows = [f"| `{option}` | {what} | {whole - sizes[option]:,} |"
            for option, what in options().items()]
    return "\n".join([
        f"Measured with {version.splitlines()[0]}, `-Os -DSWIN_NO_SIMD`, of {whole:,} bytes.",
        "", "| | leaves out | saves, bytes |", "|---|---|---:|", *rows,
        f"| all of them | | {whole - sizes['all']:,} |", ""])


def main():
    said = argparse.ArgumentParser(usage="sizes.py FOLDER", description=__doc__.split(" - ")[1])
    said.add_argument("folder", metavar="FOLDER", help="is made where it is missing")
    folder = said.parse_args().folder
    sizes = {name: bytes_of(path) for name, path in compile_all(folder).items()}
    readme = ROOT / "README.md"
    readme.write_text(TABLE.sub(lambda _: table(sizes), readme.read_text(), count=1))


if __name__ == "__main__":
    main()
