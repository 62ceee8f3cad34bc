"""Builds ../../find_package's project against the package, and runs it where it can."""

import pathlib

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, cmake_layout


class SwinTest(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "CMakeToolchain"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder="../../find_package")
        cmake.build()

    def test(self):
        models = pathlib.Path(self.recipe_folder).parents[3] / "weights"
        for program in ("app", "app-header") if can_run(self) else ():
            path = pathlib.Path(self.build_folder, self.cpp.build.bindir, program)
            self.run(f'"{path}" "{models / "aerial.swin"}"', env="conanrun")
