# An overlay port: vcpkg install swin --overlay-ports=examples/packaging/vcpkg
# REF is the commit of the version's tag, which vcpkg wants in full.

vcpkg_from_git(
    OUT_SOURCE_PATH SOURCE_PATH
    URL THIS-REPOSITORY
    REF THIS-COMMIT
)
vcpkg_cmake_configure(
    SOURCE_PATH "${SOURCE_PATH}/examples/packaging/cmake"
    OPTIONS -DSWIN_INSTALL=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/swin)
vcpkg_fixup_pkgconfig()
vcpkg_copy_pdbs()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
