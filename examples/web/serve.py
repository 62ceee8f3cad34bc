#!/usr/bin/env python3
"""serve.py [--port N] [--not-isolated] FOLDER - serves the page on the loopback address.

The page is cross-origin isolated, which threads ask for, unless --not-isolated is given. Prints the
page's address. Port 0 takes any that is free; the default is 8000.
"""

import argparse
import functools
import http.server

ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Embedder-Policy": "require-corp"}


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map,
                      ".wasm": "application/wasm", ".js": "text/javascript"}

    def end_headers(self):
        self.send_header("Cache-Control", "no-cache")
        for name, value in self.server.extra_headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *args):
        pass


def server_of(folder, port=0, isolated=True):
    handler = functools.partial(Handler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.extra_headers = ISOLATED if isolated else {}
    return server


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--not-isolated", action="store_true")
    options.add_argument("folder")
    given = options.parse_args()
    try:
        server = server_of(given.folder, given.port, not given.not_isolated)
    except OSError as error:
        raise SystemExit(f"port {given.port} cannot be used: {error.strerror}; try --port 0")
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
