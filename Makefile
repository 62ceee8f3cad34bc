# make            the programs, into build/
# make game       the game loop, which needs SDL2, into build/
# make gst        the GStreamer element swinsegment, into build/gst/
# make demo       segments the photos of examples/photos with the shipped model
# make test       all tests
# make fuzz       looks for inputs that break promises, for MINUTES=60
# make coverage   how much of swin.h the C tests run, and which places they do not
# make bench      measures speed and memory, against other engines where they install
# make ports      the same bits from all compilers and machines: builds, runs, README's table
# make sizes      what leaving kinds of models out saves, in bytes of code: README's table
# make web        a page that segments pictures in a browser: builds and serves it on this machine
# make bench-web  measures that page's module beside ONNX Runtime Web
# make lib        libswin.a and libswin.so, into build/
# make install    header, libraries, what CMake and pkg-config read, segment, the models and their
#                 terms below PREFIX
# make deps       what the other targets need, or those alone that are named beside it: make deps gst
# make test-setup what the tests need
# make clean
#
# demo, test, fuzz, coverage, ports, deps and test-setup install what is missing through apt-get, as
# root or through sudo. The others, and these where there is no apt-get, name it and stop.
#
# BUILD names another folder than build/; nothing else in the checkout is written to.

ifeq ($(origin CC),default)
CC       = gcc
endif
CFLAGS  ?= -O2
PREFIX  ?= /usr/local
PYTHON  ?= python3
BUILD   ?= build

# Set but empty, as an unset variable of a script leaves them: programs would go to /.
ifeq ($(strip $(BUILD)),)
override BUILD  = build
endif
ifeq ($(strip $(CC)),)
override CC     = gcc
endif
ifeq ($(strip $(PYTHON)),)
override PYTHON = python3
endif
export BUILD CC CFLAGS DESTDIR PREFIX PYTHON

# As many jobs as there are processors, where neither the command line nor the environment's
# MAKEFLAGS speaks of jobs. Up to make 4.3 only a shell sees the latter; -- begins its variables.
given := $(shell printf '%s' "$$MAKEFLAGS" | sed 's/ *-- .*//')
ifeq ($(findstring j,$(given)),)
MAKEFLAGS += --jobs=$(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
endif

STRICT  = -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow
COMPILE = $(CC) $(STRICT) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)
LIBS    = -lm -lpthread
BENCH   =
WEB     =

# BUILD as part of a target's name, where a space wants a backslash.
space  := $() $()
OUT     = $(subst $(space),\ ,$(BUILD))

# The sets of tools/need that the goals ask for, and whether what is missing is installed.
GOALS   = $(or $(MAKECMDGOALS),all)
NEED    = $(if $(filter demo test fuzz coverage ports deps test-setup,$(GOALS)),--install) \
          $(if $(filter-out lib,$(GOALS)),programs,library) \
          $(if $(filter test fuzz coverage ports test-setup,$(GOALS)),tests) \
          $(filter game gst page web bench coverage ports,$(GOALS)) \
          $(if $(filter bench-web,$(GOALS)),web bench bench-web) \
          $(if $(filter-out deps,$(GOALS)),,bench game gst web)

all: $(OUT)/minimal $(OUT)/segment $(OUT)/stream $(OUT)/tensor

need:
	@tools/need $(NEED)

$(OUT): | need
	@mkdir -p "$@"

$(OUT)/segment: examples/segment.c examples/common.h examples/picture.h swin.h | $(OUT)
	$(COMPILE) $< -o "$@" $(LIBS)

$(OUT)/stream: examples/stream.c examples/common.h examples/picture.h swin.h | $(OUT)
	$(COMPILE) $< -o "$@" $(LIBS)

$(OUT)/tensor: examples/tensor.c examples/common.h swin.h | $(OUT)
	$(COMPILE) $< -o "$@" $(LIBS)

$(OUT)/frame_loop: examples/frame_loop.c examples/common.h examples/picture.h swin.h | $(OUT)
	$(COMPILE) $< -o "$@" $$(sdl2-config --cflags --libs) $(LIBS)

game: $(OUT)/frame_loop

$(OUT)/bench: tools/bench/bench.c examples/common.h swin.h | $(OUT)
	$(COMPILE) $< -o "$@" $(LIBS)

$(OUT)/minimal: examples/minimal.c swin.h | $(OUT)
	$(COMPILE) $< -o "$@" -lm

lib: $(OUT)/libswin.a

$(OUT)/libswin.a: examples/swin.c examples/packaging/swin.map.in swin.h tools/library | $(OUT)
	tools/library "$(BUILD)"

# To be found in the folder that GST_PLUGIN_PATH names.
gst: $(OUT)/gst/libgstswin.so

$(OUT)/gst/libgstswin.so: examples/gst/gstswinsegment.c examples/common.h swin.h | $(OUT)
	@mkdir -p "$(BUILD)/gst"
	$(COMPILE) -shared -fPIC $< -o "$@" $$(pkg-config --cflags --libs gstreamer-video-1.0) $(LIBS)

# WebAssembly without a C library: the headers alone are wasi-libc's. Linked without -O: clang would
# call the wasm-opt of an installed binaryen, and an older one does not know relaxed SIMD.
WASM_CC ?= clang-19
# Less is inlined than by -Os alone: 4 % less to download, 2 % more time.
WASM    = $(WASM_CC) --target=wasm32-wasi $(STRICT) -Os -mllvm -inline-threshold=20 \
          -matomics -mbulk-memory -msimd128 -c
LINK    = $(WASM_CC) --target=wasm32-wasi -nostdlib \
          -Wl,--no-entry,--import-memory,--shared-memory,--initial-memory=16777216 \
          -Wl,--max-memory=1073741824,--export=__stack_pointer,-z,stack-size=1048576,--strip-all
PAGE    = $(addprefix examples/web/,index.html style.css page.js worker.js offline.js swinh.js \
          helper.js swinh.d.ts package.json)

# What a page loads first, for most models; the whole one for all; the plain one for engines without
# relaxed SIMD, and for the same bits where it does not fuse.
FORMS   = $(addprefix $(OUT)/web/swinh,.wasm -whole.wasm -plain.wasm)
$(OUT)/web/swinh.wasm $(OUT)/web/swinh-whole.wasm: WASM += -mrelaxed-simd -DSWIN_NO_SCALAR
$(OUT)/web/swinh.wasm: WASM += -DSWIN_NO_UNET -DSWIN_NO_SMP_UNET -DSWIN_NO_MIT -DSWIN_NO_QUERIES \
                               -DSWIN_NO_BIREFNET

$(FORMS): examples/web/module.c swin.h | $(OUT)
	@mkdir -p "$(BUILD)/web"
	$(WASM) $< -o "$@.o"
	$(LINK) "$@.o" -o "$@" && rm "$@.o"

page: $(FORMS)
	cp $(PAGE) LICENSE weights/street.swin "$(BUILD)/web/"

# WEB='--port 8001' and other options of examples/web/serve.py
web: page
	"$(PYTHON)" examples/web/serve.py $(WEB) "$(BUILD)/web"

demo: $(OUT)/segment
	@mkdir -p "$(BUILD)/demo"
	"$(BUILD)/segment" -m weights/street.swin -o "$(BUILD)/demo/" examples/photos/*.jpg
	@echo; echo "The pictures are in $(BUILD)/demo:"; ls "$(BUILD)"/demo/*.png

# The tests' own interpreter, with the packages that these files pin.
$(OUT)/venv/.ready: tests/python-requirements.txt tests/requirements.txt | $(OUT)
	tools/venv "$(BUILD)/venv" $<

# That of tests/parity.py: the libraries are added alone, as some would bring another torch along.
$(OUT)/venv-parity/.ready: tests/requirements.txt tests/parity-requirements.txt | $(OUT)
	tools/venv "$(BUILD)/venv-parity" $< --alone tests/parity-requirements.txt

# The benchmark's own; an engine that does not install is not compared.
$(OUT)/venv-bench/.ready: tools/bench/requirements.txt tools/bench/engines.txt | $(OUT)
	tools/venv "$(BUILD)/venv-bench" $< --optional tools/bench/engines.txt

# stb of a newer release, for tests/pictures.py: what cannot be had is not compared.
$(OUT)/stb-newer: | $(OUT)
	@tools/newer-stb "$(BUILD)/stb-newer" || true

deps: need

test-setup: $(OUT)/venv/.ready $(OUT)/venv-parity/.ready $(OUT)/stb-newer

test: all lib game gst page test-setup
	"$(BUILD)/venv/bin/python" tests/run

fuzz: $(OUT)/venv/.ready
	"$(BUILD)/venv/bin/python" tests/run --fuzz $(or $(MINUTES),60)

coverage: need
	"$(PYTHON)" tests/coverage

# BENCH='--quick' and other options of tools/bench/bench.py
bench: $(OUT)/bench $(OUT)/tensor $(OUT)/venv-bench/.ready
	"$(BUILD)/venv-bench/bin/python" tools/bench/bench.py $(BENCH)

bench-web: page $(OUT)/segment $(OUT)/venv-bench/.ready
	"$(BUILD)/venv-bench/bin/python" tools/bench/web.py $(BENCH)

# Cross compilers, emulators and a hash: see tests/ports.py.
ports: $(OUT)/venv/.ready
	"$(BUILD)/venv/bin/python" tests/ports.py

sizes: need
	"$(PYTHON)" tools/sizes.py "$(BUILD)/sizes"

install: all lib
	tools/install "$(BUILD)"

# What was made, by name: BUILD may be a folder that holds other things too.
MADE = minimal segment stream tensor frame_loop gst web libswin.a libswin.so* bench demo tests \
       sizes coverage benchmark stb-newer swin.pc swin-header.pc swin-config-version.cmake venv \
       venv-parity venv-bench

clean:
	@if [ -d "$(BUILD)" ]; then cd "$(BUILD)" && rm -rf $(MADE); fi
	@rmdir "$(BUILD)" 2>/dev/null || true

.PHONY: all need lib game gst page web demo deps test-setup test fuzz coverage bench bench-web \
        ports sizes install clean
.DELETE_ON_ERROR:
