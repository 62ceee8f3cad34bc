"""What bench.py measured, as Markdown and as a plot."""

from xml.sax.saxutils import escape

NAMES = {"swin": "swin.h", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO",
         "torch": "PyTorch", "torch-compile": "torch.compile", "mnn": "MNN", "ncnn": "ncnn"}
COLOURS = {"swin": "#1f7a4d", "onnxruntime": "#4878a8", "openvino": "#7a6fb0",
           "torch": "#c8704a", "torch-compile": "#d9a066", "mnn": "#8c8c8c", "ncnn": "#b8b8b8"}


def select(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def unique(rows, key):
    return list(dict.fromkeys(row[key] for row in rows))


def markdown(header, lines):
    return "\n".join("| " + " | ".join(cells) + " |"
                     for cells in [header, ["---"] + ["---:"] * (len(header) - 1)] + lines) + "\n"


def times(rows, engines, titles, threads):
    """Milliseconds, and how many times swin.h's they are."""
    lines = []
    for work in unique(rows, "work"):
        found = {row["engine"]: row for row in select(rows, work=work, threads=threads)}
        own = found.get("swin", {}).get("ms")
        cells = [titles[work]]
        for engine in engines:
            ms = found.get(engine, {}).get("ms")
            cell = f"{ms:.0f}" if ms and ms >= 100 else f"{ms:.1f}" if ms else "-"
            cells.append(cell + (f" ({ms / own:.2f}x)" if ms and own and engine != "swin" else ""))
        peak = found.get("swin", {}).get("machine_gflops")
        cells.append(f"{2e5 * found['swin']['gmadd'] / own / peak:.0f} %" if own and peak else "-")
        lines.append(cells)
    header = [f"ms, {threads} thread{'s' if threads > 1 else ''}", *(NAMES[e] for e in engines)]
    return markdown(header + ["swin.h of fp32 peak"], lines)


def resources(rows, titles):
    """Memory, the way to the first result, and how far the outputs are from PyTorch's."""
    lines = []
    for row in rows:
        if "ms" not in row:
            lines.append([titles[row["work"]], NAMES[row["engine"]], str(row["threads"]),
                          "-", "-", "-", row.get("failed", "-")])
            continue
        workspace, peak = row.get("workspace"), row.get("peak_bytes")
        lines.append([
            titles[row["work"]], NAMES[row["engine"]], str(row["threads"]),
            f"{workspace / 2**20:.1f}" if workspace else "-",
            f"{peak / 2**20:.0f}" if peak else "-",
            f"{row['first_seconds']:.2f}", f"{row['difference']:.1e}"])
    return markdown(["work", "engine", "threads", "workspace MiB", "process peak MiB",
                     "start to first result, s", "difference from PyTorch"], lines)


def table(facts, titles):
    rows = facts["rows"]
    engines = [engine for engine in NAMES if select(rows, engine=engine)]
    text = (f"{facts['processor']}; float32; medians of {facts['runs']} runs in turns. "
            "In brackets: how many times swin.h's time.\n\n")
    for threads in unique(rows, "threads"):
        text += times(rows, engines, titles, threads) + "\n"
    return text + resources(rows, titles)


def plot(facts, titles):
    """Bars of all engines' times, each work scaled to its slowest; one thread count."""
    rows = [row for row in facts["rows"] if "ms" in row]
    threads = min(unique(rows, "threads"))
    rows = select(rows, threads=threads)
    width, bar, left, y = 760, 18, 130, 34
    shapes = [f'<text x="12" y="20" font-weight="bold">Milliseconds, {threads} thread'
              f'{"s" if threads > 1 else ""}, float32 - shorter is faster</text>']
    for work in unique(rows, "work"):
        group = sorted(select(rows, work=work), key=lambda row: row["ms"])
        y += 22
        shapes.append(f'<text x="12" y="{y - 6}">{escape(titles[work])}</text>')
        for row in group:
            length = (width - left - 90) * row["ms"] / group[-1]["ms"]
            weight = ' font-weight="bold"' if row["engine"] == "swin" else ""
            shapes += [
                f'<text x="{left - 8}" y="{y + 13}" text-anchor="end"{weight}>'
                f'{NAMES[row["engine"]]}</text>',
                f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{bar - 4}" '
                f'fill="{COLOURS[row["engine"]]}"/>',
                f'<text x="{left + length + 6:.1f}" y="{y + 13}"{weight}>{row["ms"]:.1f}</text>']
            y += bar
        y += 8
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" '
            'font-family="sans-serif" font-size="12">\n'
            f'<rect width="{width}" height="{y + 10}" fill="white"/>\n'
            + "\n".join(shapes) + "\n</svg>\n")
