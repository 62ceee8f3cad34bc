"""The library as build systems take it: make, CMake, pkg-config, Meson, vcpkg and Conan. Projects
of examples/packaging are configured, built and run; all print the number that the header alone
gives. What is fetched comes from a git repository on this machine."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT

PACKAGING = ROOT / "examples/packaging"
VERSION = re.search(r"v(\d+\.\d+\.\d+)", (ROOT / "swin.h").read_text().splitlines()[0])[1]
ABI = VERSION.rsplit(".", 1)[0]
FLAGS = "-O0 -DSWIN_NO_SIMD"            # compiled in few seconds
STRANGERS = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "BUILD",
             "PREFIX", "DESTDIR", "PKG_CONFIG_PATH", "LD_LIBRARY_PATH", "GIT_DIR", "GIT_WORK_TREE",
             "GIT_INDEX_FILE")


def run(*command, folder=ROOT, **variables):
    environment = {k: v for k, v in os.environ.items() if k not in STRANGERS}
    environment |= {k: str(v) for k, v in variables.items()}
    try:
        return subprocess.run(list(map(str, command)), cwd=folder, env=environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=900)
    except FileNotFoundError:
        pytest.fail(f"there is no {command[0]}: `make test-setup` installs what tests need")


def checked(*command, **options):
    r = run(*command, **options)
    assert r.returncode == 0, f"{' '.join(map(str, command))}\n{r.stdout[-6000:]}"
    return r.stdout


def of_venv(name):
    """A program of a package in requirements.txt, which lies beside the interpreter."""
    return pathlib.Path(sys.executable).parent / name


def cmake(source, build, *options, flags=FLAGS):
    """Configures and builds a project; returns what was said."""
    said = checked("cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Debug", *options,
                   CFLAGS=flags)
    return said + checked("cmake", "--build", build)


def make_install(prefix, build, *options):
    return checked("make", "install", f"PREFIX={prefix}", f"BUILD={build}", f"CFLAGS={FLAGS}",
                   *options)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder that make lib and make install built in."""
    folder = tmp_path_factory.mktemp("made")
    make_install(folder / "prefix", folder)
    return folder


@pytest.fixture(scope="session")
def prefix(made):
    return made / "prefix"


@pytest.fixture(scope="session")
def says_right(tmp_path_factory, convert):
    """Fails where a program app does not print what the header alone gives, compiled by hand."""
    model = convert("seg-glam-upernet-g5-opti")
    program = tmp_path_factory.mktemp("app") / "app"
    checked("gcc", *FLAGS.split(), "-DSWIN_IMPLEMENTATION", f"-I{ROOT}", PACKAGING / "app.c", "-o",
            program, "-lm")
    expected = checked(program, model)
    assert re.fullmatch(rf"swin\.h {VERSION}: [0-9a-f]{{16}}\n", expected)

    def check(*programs, **variables):
        for program in programs:
            assert checked(program, model, **variables) == expected, program

    return check


@pytest.fixture
def project(tmp_path):
    """project(name): a copy of a project, with the program beside it."""
    def copy(name):
        shutil.copy(PACKAGING / "app.c", tmp_path)
        shutil.copytree(PACKAGING / name, tmp_path / name)
        return tmp_path / name

    return copy


def sources(folder):
    """The parts of the checkout that packages are built from."""
    for name in ("swin.h", "swin.pc.in", "LICENSE", "examples/swin.c", "examples/packaging"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    return folder


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The address of a git repository that holds them, on its branch main."""
    folder = sources(tmp_path_factory.mktemp("git") / "swin")
    git = ["git", "-C", folder, "-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c",
           "commit.gpgsign=false"]
    checked(*git, "init", "-q", "-b", "main")
    checked(*git, "add", "-A")
    checked(*git, "commit", "-q", "-m", "The parts that packages are built from")
    return folder.as_uri()


def with_address(text, repository):
    """A file's text with what users write in place of its placeholder."""
    assert text.count("THIS-REPOSITORY") == 1
    return text.replace("THIS-REPOSITORY", repository)


# make lib, make install ---------------------------------------------------------------------------

def functions():
    """What the header declares."""
    interface = (ROOT / "swin.h").read_text().split("/* SWIN_H: the interface ends here */")[0]
    return set(re.findall(r"^SWIN_API [^;]*?\b(swin_\w+)\(", interface, re.M))


def test_only_the_interface_is_exported_and_has_a_version(made):
    names = checked("nm", "-D", "--defined-only", made / "libswin.so").split("\n")
    exported = {tuple(line.split()[2].split("@@")) for line in names if " T " in line}
    assert exported == {(name, f"SWIN_{ABI}") for name in functions()} and len(exported) > 20
    assert [line.split()[1:] for line in names if line and " T " not in line] == [
        ["A", f"SWIN_{ABI}"]]
    assert f"soname: [libswin.so.{ABI}]" in checked("readelf", "-d", made / "libswin.so")
    assert os.readlink(made / "libswin.so") == f"libswin.so.{ABI}"
    assert os.readlink(made / f"libswin.so.{ABI}") == f"libswin.so.{VERSION}"
    archive = checked("nm", "-g", "--defined-only", made / "libswin.a")
    assert set(re.findall(r" [A-Z] (\w+)$", archive, re.M)) == functions()


def test_no_shared_library_where_symbols_cannot_have_versions(tmp_path):
    said = checked("make", "lib", f"BUILD={tmp_path}", "CC=tcc", "CFLAGS=-DSWIN_NO_SIMD")
    assert "note: no libswin.so, as tcc links none" in said
    assert [path.name for path in tmp_path.iterdir()] == ["libswin.a"]


def test_failed_library_leaves_nothing(tmp_path):
    (tmp_path / "libswin.so.0.1.0").touch()
    r = run("make", "lib", f"BUILD={tmp_path}", "CFLAGS=-DSWIN_MAX_SIDE=0")
    assert r.returncode and not list(tmp_path.iterdir())


def test_nothing_but_files_of_the_package_is_removed_by_clean(made, tmp_path):
    shutil.copytree(made, tmp_path / "made", symlinks=True)
    (tmp_path / "made/lib").mkdir()
    checked("make", "clean", f"BUILD={tmp_path / 'made'}")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"prefix", "lib"}


# CMake --------------------------------------------------------------------------------------------

def is_linked(program, library):
    return library in checked("readelf", "-d", program)


@pytest.mark.parametrize("shared", ["OFF", "ON"])
def test_find_package(prefix, tmp_path, says_right, shared):
    moved = shutil.copytree(prefix, tmp_path / "it's moved", symlinks=True)
    cmake(PACKAGING / "find_package", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={moved}",
          f"-DBUILD_SHARED_LIBS={shared}")
    says_right(tmp_path / "build/app", tmp_path / "build/app-header")
    assert is_linked(tmp_path / "build/app", f"libswin.so.{ABI}") == (shared == "ON")


MINOR = int(VERSION.split(".")[1])
ASKED = {f"0.{MINOR}": True, f"0.{MINOR}.0": True, f"0.{MINOR}.99": False,
         f"0.{MINOR + 1}": False, f"0.{MINOR - 1}": False, "1.0": False,
         f"0.1...0.{MINOR}.99": True, f"0.1...<{VERSION}": False, "0.1...0.1.9": False}


def fields(asked):
    """The variables that find_package sets for a version or a range."""
    low, _, high = asked.partition("...")
    major, minor = low.split(".")[:2]
    values = {"VERSION": low, "VERSION_MAJOR": major, "VERSION_MINOR": minor}
    if high:
        values |= {"VERSION_RANGE": asked, "VERSION_MIN": low, "VERSION_MAX": high.lstrip("<"),
                   "VERSION_RANGE_MAX": "EXCLUDE" if high.startswith("<") else "INCLUDE"}
    return [f"-DPACKAGE_FIND_{k}={v}" for k, v in values.items()]


@pytest.mark.parametrize("asked", ASKED)
def test_versions_that_programs_may_ask_for(prefix, tmp_path, asked):
    script = tmp_path / "ask.cmake"
    script.write_text(f'include("{prefix}/lib/cmake/swin/swin-config-version.cmake")\n'
                      'message("${PACKAGE_VERSION} ${PACKAGE_VERSION_COMPATIBLE}")\n')
    said = checked("cmake", *fields(asked), "-P", script).split()
    assert said == [VERSION, str(ASKED[asked]).upper()]


def test_fetch_content(project, repository, tmp_path, says_right):
    lists = project("fetch_content") / "CMakeLists.txt"
    lists.write_text(with_address(lists.read_text(), repository))
    cmake(lists.parent, tmp_path / "build")
    says_right(tmp_path / "build/app")


def test_project_of_the_readme(repository, tmp_path, says_right):
    """It is complete, of ten lines at most, with the program that the README names beside it."""
    text = (ROOT / "README.md").read_text()
    lists = re.search(r"^```cmake\n(.*?)^```$", text, re.M | re.S)[1]
    assert lists.count("\n") <= 10
    (tmp_path / "CMakeLists.txt").write_text(with_address(lists, repository))
    shutil.copy(ROOT / re.search(r"\]\((\S*/app\.c)\)", text)[1], tmp_path)
    cmake(tmp_path, tmp_path / "build")
    says_right(tmp_path / "build/app")


# Ends the project: what a program's own settings are after swin.h came in.
SETTINGS = """
get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
foreach(name CMAKE_C_FLAGS CMAKE_C_STANDARD CMAKE_BUILD_TYPE BUILD_SHARED_LIBS BUILD_TESTING
        CMAKE_POSITION_INDEPENDENT_CODE CMAKE_RUNTIME_OUTPUT_DIRECTORY CMAKE_INSTALL_LIBDIR
        root title VERSION ABI alone type)
    message("${name}=<${${name}}>")
endforeach()
get_directory_property(options COMPILE_OPTIONS)
get_directory_property(definitions COMPILE_DEFINITIONS)
message("options=<${options}${definitions}>")
"""


def settings(said):
    return sorted(re.findall(r"^\S+=<.*>$", said, re.M))


def test_add_subdirectory_has_no_side_effects(project, tmp_path, says_right):
    """Nothing of the project changes, and all that is built or installed is what it asks for."""
    lists = project("subdirectory") / "CMakeLists.txt"
    sources(lists.parent / "third_party/swin")
    text = lists.read_text()
    lists.write_text(text + SETTINGS)
    said = cmake(lists.parent, tmp_path / "with", flags=f"{FLAGS} -ffast-math")
    says_right(tmp_path / "with/app")
    checked("cmake", "--install", tmp_path / "with", "--prefix", tmp_path / "installed")
    assert not (tmp_path / "installed").exists()
    lists.write_text(re.sub(r"add_executable.*|target_link_libraries.*", "", text) + SETTINGS)
    unused = cmake(lists.parent, tmp_path / "unused", flags=f"{FLAGS} -ffast-math")
    assert "swin.c" not in unused
    lists.write_text(re.sub(r"add_\w+\(.*|target_link_libraries.*", "", text) + SETTINGS)
    without = cmake(lists.parent, tmp_path / "without", flags=f"{FLAGS} -ffast-math")
    assert settings(said) == settings(unused) == settings(without) and len(settings(said)) == 15


@pytest.mark.parametrize("build_type, flag", [("", "-O2"), ("Debug", "-g")])
def test_library_is_optimised_where_no_build_type_is_chosen(tmp_path, build_type, flag):
    checked("cmake", "-S", PACKAGING / "cmake", "-B", tmp_path, f"-DCMAKE_BUILD_TYPE={build_type}",
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    command = json.loads((tmp_path / "compile_commands.json").read_text())[0]["command"].split()
    assert flag in command and ("-O2" in command) == (flag == "-O2") and "-fno-fast-math" in command


@pytest.mark.parametrize("shared", ["OFF", "ON"])
def test_installed_by_cmake(tmp_path, says_right, shared):
    """Found by CMake and pkg-config where it was installed, which is not where it was configured
    for."""
    cmake(PACKAGING / "cmake", tmp_path / "swin", f"-DBUILD_SHARED_LIBS={shared}",
          "-DCMAKE_INSTALL_LIBDIR=lib/machine")
    prefix = tmp_path / "prefix"
    checked("cmake", "--install", tmp_path / "swin", "--prefix", prefix)
    cmake(PACKAGING / "find_package", tmp_path / "build",
          f"-Dswin_DIR={prefix}/lib/machine/cmake/swin")
    says_right(tmp_path / "build/app", tmp_path / "build/app-header")
    flags = checked("pkg-config", "--cflags", "--libs", "--static", "swin",
                    PKG_CONFIG_PATH=prefix / "lib/machine/pkgconfig").split()
    include, library = (pathlib.Path(flag[2:]) for flag in flags if flag[:2] in ("-I", "-L"))
    assert (include / "swin.h").exists() and flags[2:] == ["-lswin", "-lm"]
    names = [f"libswin.so.{VERSION}", "libswin.so"] if shared == "ON" else ["libswin.a"]
    assert all((library / name).exists() for name in names)
    if shared == "ON":
        exported = checked("nm", "-D", "--defined-only", library / "libswin.so")
        assert set(re.findall(r" T (\S+)", exported)) == {f"{f}@@SWIN_{ABI}" for f in functions()}


def test_windows_library_exports_the_interface(tmp_path):
    cmake(PACKAGING / "cmake", tmp_path, "-DBUILD_SHARED_LIBS=ON", "-DCMAKE_SYSTEM_NAME=Windows",
          "-DCMAKE_C_COMPILER=x86_64-w64-mingw32-gcc")
    said = checked("x86_64-w64-mingw32-objdump", "-p", tmp_path / "libswin.dll")
    assert set(re.findall(r"^\s+\[ *\d+\].* (\w+)$", said.split("[Ordinal/Name Pointer]")[1],
                          re.M)) == functions()


# pkg-config, Meson, vcpkg, Conan ------------------------------------------------------------------

def test_pkg_config(project, prefix, says_right):
    folder = project("pkg-config")
    checked("make", "-C", folder, f"PKG_CONFIG_PATH={prefix}/lib/pkgconfig", f"CFLAGS={FLAGS}")
    says_right(folder / "app", folder / "app-static", folder / "app-header",
               LD_LIBRARY_PATH=prefix / "lib")
    assert is_linked(folder / "app", f"libswin.so.{ABI}")
    path = {"PKG_CONFIG_PATH": prefix / "lib/pkgconfig"}
    assert checked("pkg-config", "--libs", "swin", **path).split()[1:] == ["-lswin"]
    assert checked("pkg-config", "--libs", "--static", "swin", **path).split()[1:] == [
        "-lswin", "-lm"]
    assert checked("pkg-config", "--libs", "swin-header", **path).split() == ["-lm"]


def test_meson_wrap(project, repository, says_right):
    folder = project("meson")
    wrap = folder / "subprojects/swin.wrap"
    wrap.write_text(with_address(wrap.read_text(), repository))
    meson = of_venv("meson")
    checked(meson, "setup", "build", "--wrap-mode=forcefallback", "--buildtype=debug",
            folder=folder, CFLAGS=FLAGS)
    checked(meson, "compile", "-C", "build", folder=folder)
    says_right(folder / "build/app", folder / "build/app-header")


def test_meson_finds_an_installed_library(project, prefix, says_right):
    folder = project("meson")
    shutil.rmtree(folder / "subprojects")
    meson = of_venv("meson")
    checked(meson, "setup", "build", folder=folder, CFLAGS=FLAGS,
            PKG_CONFIG_PATH=prefix / "lib/pkgconfig")
    checked(meson, "compile", "-C", "build", folder=folder)
    says_right(folder / "build/app", folder / "build/app-header", LD_LIBRARY_PATH=prefix / "lib")


# vcpkg's functions, as far as the port calls them.
VCPKG = """
function(vcpkg_from_git)
    cmake_parse_arguments(A "" "OUT_SOURCE_PATH;URL;REF" "" ${ARGN})
    set(${A_OUT_SOURCE_PATH} "${ROOT}" PARENT_SCOPE)
endfunction()
function(vcpkg_cmake_configure)
    cmake_parse_arguments(A "" "SOURCE_PATH" "OPTIONS" ${ARGN})
    execute_process(COMMAND ${CMAKE_COMMAND} -S ${A_SOURCE_PATH} -B ${WORK}
        -DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR} -DCMAKE_BUILD_TYPE=Debug ${A_OPTIONS}
        COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_install)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${WORK} --target install
        COMMAND_ERROR_IS_FATAL ANY)
endfunction()
function(vcpkg_cmake_config_fixup)
    cmake_parse_arguments(A "" "CONFIG_PATH" "" ${ARGN})
    file(RENAME "${CURRENT_PACKAGES_DIR}/${A_CONFIG_PATH}" "${CURRENT_PACKAGES_DIR}/share/${PORT}")
endfunction()
function(vcpkg_fixup_pkgconfig)
endfunction()
function(vcpkg_copy_pdbs)
endfunction()
function(vcpkg_install_copyright)
    cmake_parse_arguments(A "" "" "FILE_LIST" ${ARGN})
    file(COPY_FILE ${A_FILE_LIST} "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright")
endfunction()
file(MAKE_DIRECTORY "${CURRENT_PACKAGES_DIR}/share")
include("${ROOT}/examples/packaging/vcpkg/swin/portfile.cmake")
"""


def test_vcpkg_port(tmp_path):
    """The port's paths and files; vcpkg itself, which wants a network, is a few functions here."""
    script, package = tmp_path / "vcpkg.cmake", tmp_path / "package"
    script.write_text(VCPKG)
    checked("cmake", f"-DROOT={ROOT}", f"-DWORK={tmp_path}/work", "-DPORT=swin",
            f"-DCURRENT_PACKAGES_DIR={package}", "-P", script, CFLAGS=FLAGS)
    assert (package / "share/swin/copyright").read_bytes() == (ROOT / "LICENSE").read_bytes()
    for name in ("include/swin.h", "lib/libswin.a", "lib/pkgconfig/swin.pc", "share/swin/usage",
                 "share/swin/swin-config.cmake", "share/swin/swin-config-version.cmake"):
        assert (package / name).exists(), name


def test_conan_recipe(tmp_path):
    """Conan builds the package and find_package's project against it, and runs that project."""
    conan, home = of_venv("conan"), {"CONAN_HOME": tmp_path / "conan"}
    checkout = sources(tmp_path / "checkout")
    (checkout / "weights").symlink_to(ROOT / "weights")
    checked(conan, "profile", "detect", **home)
    for shared in (False, True):
        said = checked(conan, "create", checkout / "examples/packaging/conan", "-s",
                       "build_type=Debug", "-o", f"swin/*:shared={shared}", "-c",
                       f"tools.build:cflags={FLAGS.split()}", **home)
        assert f"swin/{VERSION}" in said
        assert len(re.findall(rf"^swin\.h {VERSION}: [0-9a-f]{{16}}$", said, re.M)) == 2


def test_versions_are_one():
    patterns = {"meson/subprojects/packagefiles/swin/meson.build": r"version: '([\d.]+)'",
                "vcpkg/swin/vcpkg.json": r'"version-semver": "([\d.]+)"'}
    for name, pattern in patterns.items():
        assert re.search(pattern, (PACKAGING / name).read_text())[1] == VERSION
    for path in (PACKAGING / "find_package/CMakeLists.txt", PACKAGING / "README.md",
                 ROOT / "README.md"):
        assert set(re.findall(r"find_package\(swin ([\d.]+)", path.read_text())) == {ABI}


# the programs beside ------------------------------------------------------------------------------

def test_source_file_is_two_lines():
    lines = (ROOT / "examples/swin.c").read_text().splitlines()
    assert lines == ["#define SWIN_IMPLEMENTATION", '#include "swin.h"']


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_raii(tmp_path, convert, compiler):
    checked(compiler, "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow",
            "-Werror", "-O1", "-DSWIN_NO_SIMD", ROOT / "examples/raii.cpp", "-o", tmp_path / "raii",
            "-lm")
    said = checked(tmp_path / "raii", convert("seg-glam-upernet-g5-opti"))
    assert re.fullmatch(r"the middle of the picture is .+\n", said)
    r = run(tmp_path / "raii", tmp_path / "missing.swin")
    assert r.returncode == 1 and "missing.swin" in r.stdout and r.stdout.count("\n") == 1
