"""Says in one sentence what a tool lacks, where an import would end in a traceback.

Written in the Python of 2016, so that an old interpreter gets far enough to say so.
"""

import importlib
import sys


def python(tool, *oldest):
    """Ends the program unless Python is as new as (major, minor)."""
    if sys.version_info[:2] < oldest:
        sys.exit("%s: needs Python %d.%d or newer; this is Python %d.%d"
                 % ((tool,) + oldest + sys.version_info[:2]))


def package(tool, module, name, debian=None, pip=None, oldest=()):
    """Ends the program unless a package can be imported and is as new as `oldest`.

    name: what it is called; debian, pip: the packages that bring it (pip: default `module`)."""
    advice = "python3 -m pip install %s" % (pip or module)
    if debian:
        advice = "Debian: apt install %s; elsewhere: %s" % (debian, advice)
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        if getattr(error, "name", None) == module:
            sys.exit("%s: needs %s, which is not installed (%s)" % (tool, name, advice))
        sys.exit("%s: needs %s, which cannot be imported (%s)"
                 % (tool, name, (str(error).strip() or "no reason given").splitlines()[0]))
    version = getattr(found, "__version__", "0")
    if numbers(version) < oldest:
        sys.exit("%s: needs %s %s or newer; this is %s (%s)"
                 % (tool, name, ".".join(map(str, oldest)), version, advice))


def numbers(version):
    """The numbers that a version begins with: (1, 19, 5) of 1.19.5rc1."""
    result = []
    for part in version.split("."):
        digits = part[:len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        result.append(int(digits))
    return tuple(result)
