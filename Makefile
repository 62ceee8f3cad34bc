# make            the programs, into build/
# make demo       segments the photos of examples/photos with the shipped model
# make test       all tests
# make bench      measures speed and memory, against other engines where they install
# make install    header, pkg-config file, program and weights below PREFIX
# make clean
#
# What is missing is installed through apt-get, as root or through sudo; elsewhere make names it
# and stops.

CC      = gcc
CFLAGS  = -O2
PREFIX  = /usr/local
DESTDIR =
PYTHON  = python3

MAKEFLAGS += --jobs=$(shell nproc)

STRICT  = -std=c99 -Wall -Wextra -Wpedantic -Wconversion -Wshadow
COMPILE = $(CC) $(STRICT) $(CFLAGS) $(CPPFLAGS) $(LDFLAGS)
LIBS    = -lm -lpthread
VENV    = build/venv
PARITY  = build/venv-parity
ENGINES = build/venv-bench
BENCH   =
VERSION = $(shell sed -n '1s/.*swin.h - v\([0-9.]*\).*/\1/p' swin.h)

# $(call need,CHECK,PACKAGES): installs Debian packages unless CHECK succeeds.
need = @{ $(1); } >/dev/null 2>&1 || tools/need $(2)
have_stb = $(call need,echo '\#include <stb/stb_image.h>' | $(CC) -E -,libstb-dev)

all: build/minimal build/segment build/tensor

build:
	@mkdir -p build

build/segment: examples/segment.c examples/common.h examples/picture.h swin.h | build
	$(have_stb)
	$(COMPILE) $< -o $@ $(LIBS)

build/tensor: examples/tensor.c examples/common.h swin.h | build
	$(COMPILE) $< -o $@ $(LIBS)

build/bench: tools/bench/bench.c examples/common.h swin.h | build
	$(COMPILE) $< -o $@ $(LIBS)

build/minimal: examples/minimal.c swin.h | build
	$(COMPILE) $< -o $@ -lm

demo: build/segment
	@mkdir -p build/demo
	build/segment -m weights/street.swin -o build/demo/ examples/photos/*.jpg
	@echo; echo "The pictures are in build/demo:"; ls build/demo/*.png

# The tests' own interpreter, with the packages that tests/requirements.txt pins.
$(VENV)/.ready: tests/requirements.txt | build
	$(call need,$(PYTHON) -c 'import ensurepip; import venv',python3-venv)
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# That of tests/parity.py: the libraries are added alone, as some would bring another torch along.
$(PARITY)/.ready: tests/requirements.txt tests/parity-requirements.txt | build
	$(call need,$(PYTHON) -c 'import ensurepip; import venv',python3-venv)
	$(PYTHON) -m venv --clear $(PARITY)
	$(PARITY)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	$(PARITY)/bin/pip install --quiet --disable-pip-version-check --no-deps \
	    -r tests/parity-requirements.txt
	@touch $@

test: all $(VENV)/.ready $(PARITY)/.ready
	$(call need,command -v clang,clang)
	$(call need,command -v clang++ && command -v g++,clang g++)
	$(call need,command -v aarch64-linux-gnu-gcc,gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
	$(call need,command -v qemu-aarch64,qemu-user)
	$(call need,echo '\#include <simde/x86/avx512.h>' | $(CC) -E -,libsimde-dev)
	$(VENV)/bin/python tests/run

# The benchmark's own interpreter and packages; an engine that does not install is not compared.
$(ENGINES)/.ready: tools/bench/requirements.txt tools/bench/engines.txt | build
	$(call need,$(PYTHON) -c 'import ensurepip; import venv',python3-venv)
	$(PYTHON) -m venv --clear $(ENGINES)
	$(ENGINES)/bin/pip install --quiet --disable-pip-version-check -r tools/bench/requirements.txt
	@while read engine; do \
	    $(ENGINES)/bin/pip install --quiet --disable-pip-version-check "$$engine" \
	        || echo "$$engine does not install here"; \
	done < tools/bench/engines.txt
	@touch $@

# BENCH='--quick' and other options of tools/bench/bench.py
bench: build/bench build/tensor $(ENGINES)/.ready
	$(ENGINES)/bin/python tools/bench/bench.py $(BENCH)

install: all
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/swin
	install -m 644 swin.h $(DESTDIR)$(PREFIX)/include/swin.h
	install -m 755 build/segment $(DESTDIR)$(PREFIX)/bin/segment
	install -m 644 weights/*.swin $(DESTDIR)$(PREFIX)/share/swin/
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' swin.pc.in > build/swin.pc
	install -m 644 build/swin.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/swin.pc

clean:
	rm -rf build

.PHONY: all demo test bench install clean
