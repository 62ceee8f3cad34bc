"""Conan recipe (Conan 2): conan create examples/packaging/conan"""

import pathlib
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, rmdir


class Swin(ConanFile):
    name = "swin"
    description = "Swin Transformer and GLAM semantic segmentation on the CPU, one C99 header"
    license = "MIT"
    topics = ("computer-vision", "segmentation", "swin-transformer", "single-header")
    package_type = "library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False]}
    default_options = {"shared": False, "fPIC": True}
    implements = ["auto_shared_fpic"]
    languages = "C"

    def _repository(self):
        return pathlib.Path(self.recipe_folder).parents[2]

    def set_version(self):
        title = (self._repository() / "swin.h").read_text(encoding="utf-8").splitlines()[0]
        self.version = re.search(r"v(\d+\.\d+\.\d+)", title)[1]

    def export_sources(self):
        for pattern in ("swin.h", "swin.pc.in", "LICENSE", "examples/swin.c",
                        "examples/packaging/*.in", "examples/packaging/cmake/*"):
            copy(self, pattern, str(self._repository()), self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeToolchain(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder="examples/packaging/cmake")
        cmake.build()

    def package(self):
        CMake(self).install()
        package = pathlib.Path(self.package_folder)
        copy(self, "LICENSE", self.source_folder, str(package / "licenses"))
        for folder in ("cmake", "pkgconfig"):       # Conan's generators write these
            rmdir(self, str(package / "lib" / folder))

    def package_info(self):
        math = ["m"] if self.settings.os in ("Linux", "FreeBSD") else []
        self.cpp_info.set_property("cmake_file_name", "swin")
        header = self.cpp_info.components["header"]
        header.set_property("cmake_target_name", "swin::header")
        header.set_property("pkg_config_name", "swin-header")
        header.libdirs, header.bindirs, header.system_libs = [], [], math
        library = self.cpp_info.components["swin"]
        library.set_property("cmake_target_name", "swin::swin")
        library.set_property("pkg_config_name", "swin")
        library.libs, library.requires = ["swin"], ["header"]
