# What find_package(swin) reads after `make install`. swin::header is the header alone; swin::swin
# is the compiled library, the shared one where BUILD_SHARED_LIBS is on and `make` could link one.
# Paths are taken from where this file lies, so that the prefix may be moved as a whole.

get_filename_component(swin_folder "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
get_filename_component(swin_libraries "${swin_folder}/../.." ABSOLUTE)
get_filename_component(swin_prefix "${swin_libraries}/.." ABSOLUTE)

if(NOT TARGET swin::header)
    add_library(swin::header INTERFACE IMPORTED)
    set_target_properties(swin::header PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${swin_prefix}/include")
    if(UNIX)
        set_target_properties(swin::header PROPERTIES INTERFACE_LINK_LIBRARIES m)
    endif()
endif()

if(NOT TARGET swin::swin)
    if(BUILD_SHARED_LIBS AND EXISTS "${swin_libraries}/libswin.so")
        add_library(swin::swin SHARED IMPORTED)
        set_target_properties(swin::swin PROPERTIES
            IMPORTED_LOCATION "${swin_libraries}/libswin.so")
    else()
        add_library(swin::swin STATIC IMPORTED)
        set_target_properties(swin::swin PROPERTIES
            IMPORTED_LOCATION "${swin_libraries}/libswin.a")
    endif()
    set_target_properties(swin::swin PROPERTIES INTERFACE_LINK_LIBRARIES swin::header)
endif()

unset(swin_folder)
unset(swin_libraries)
unset(swin_prefix)
