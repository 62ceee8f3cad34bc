"""What bench.py measured, as Markdown and as a plot."""

from xml.sax.saxutils import escape

F32 = "f32"
PIXELS, ERROR = "pixels", "error"       # what a loss is a share of
LOSS = ("Loss: the pixels of the photos that are of another class than PyTorch's in float32 makes "
        "them, of logits at their own size; for scores and features the differences' root mean "
        "square as a share of theirs. Engines of int8 that calibrate did so on the same photos. "
        "Weights are random, which leaves classes closer together than training does.")
NAMES = {"swin": "swin.h", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO",
         "torch": "PyTorch", "torch-compile": "torch.compile", "mnn": "MNN", "ncnn": "ncnn"}
COLOURS = {"swin": "#1f7a4d", "onnxruntime": "#4878a8", "openvino": "#7a6fb0",
           "torch": "#c8704a", "torch-compile": "#d9a066", "mnn": "#8c8c8c", "ncnn": "#b8b8b8"}


OWN, OWN_INT8 = NAMES["swin"], f"{NAMES['swin']} int8"


def select(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def unique(rows, key):
    return list(dict.fromkeys(row[key] for row in rows))


def markdown(header, lines):
    return "\n".join("| " + " | ".join(cells) + " |"
                     for cells in [header, ["---"] + ["---:"] * (len(header) - 1)] + lines) + "\n"


def label(row):
    """Engine and, where it is not float32, numbers."""
    return NAMES[row["engine"]] + ("" if row["numbers"] == F32 else f" {row['numbers']}")


def loss(row):
    value = row["loss"]
    return f"{100 * value:.2g} % of pixels" if row["loss_in"] == PIXELS else f"{value:.1e} rms"


def measured(rows, **wanted):
    return [row for row in select(rows, **wanted) if "ms" in row]


def milliseconds(ms):
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}"


def entrants_in(rows):
    """Labels of all that were to run, engine by engine."""
    ordered = sorted(rows, key=lambda row: list(NAMES).index(row["engine"]))
    return list(dict.fromkeys(map(label, ordered)))


def times(rows, titles, threads):
    """Milliseconds of float32, and how many times swin.h's they are."""
    rows = select(rows, threads=threads, numbers=F32)
    engines, lines = entrants_in(rows), []
    for work in unique(rows, "work"):
        found = {label(row): row for row in measured(rows, work=work)}
        own = found.get(OWN, {}).get("ms")
        cells = [titles[work]]
        for engine in engines:
            ms = found.get(engine, {}).get("ms")
            cell = milliseconds(ms) if ms else "-"
            cells.append(cell + (f" ({ms / own:.2f}x)" if ms and own and engine != OWN else ""))
        peak = found.get(OWN, {}).get("machine_gflops")
        cells.append(f"{2e5 * found[OWN]['gmadd'] / own / peak:.0f} %" if own and peak else "-")
        lines.append(cells)
    return markdown([f"ms, {counted(threads)}", *engines, "swin.h of fp32 peak"], lines)


def counted(threads):
    return f"{threads} thread{'s' if threads > 1 else ''}"


def smaller(rows, titles, threads):
    """Milliseconds of other numbers beside what they lose, and how many times swin.h's in eight
    bits they are. Empty where nothing else than float32 ran."""
    rows = select(rows, threads=threads)
    columns = [OWN] + entrants_in([row for row in rows if row["numbers"] != F32])
    lines = []
    for work in unique(rows, "work"):
        found = {label(row): row for row in measured(rows, work=work)}
        own = found.get(OWN_INT8, {}).get("ms")
        cells = [titles[work]]
        for name in columns:
            row = found.get(name)
            share = f" ({row['ms'] / own:.2f}x)" if row and own and name != OWN_INT8 else ""
            cells.append(f"{milliseconds(row['ms'])}{share}, {loss(row)}" if row else "-")
        lines.append(cells)
    return markdown([f"ms and loss, {counted(threads)}", *columns], lines) if columns[1:] else ""


def scaling(rows, titles):
    """How many times faster the most threads are than one; empty where either was not measured."""
    most = max(unique(rows, "threads"))
    lines = []
    for row in measured(rows, threads=1) if most > 1 else []:
        for other in measured(rows, work=row["work"], threads=most):
            if label(other) == label(row):
                lines.append([titles[row["work"]], label(row), milliseconds(row["ms"]),
                              milliseconds(other["ms"]), f"{row['ms'] / other['ms']:.2f}"])
    header = ["work", "engine", "ms, 1 thread", f"ms, {counted(most)}", "times faster"]
    return markdown(header, lines) if lines else ""


def resources(rows, titles):
    """Memory, the way to the first result, and how far the outputs are from PyTorch's."""
    lines = []
    for row in rows:
        if "ms" not in row:
            lines.append([titles[row["work"]], label(row), str(row["threads"]),
                          "-", "-", "-", "-", row.get("failed", "-")])
            continue
        workspace, peak = row.get("workspace"), row.get("peak_bytes")
        lines.append([
            titles[row["work"]], label(row), str(row["threads"]),
            f"{workspace / 2**20:.1f}" if workspace else "-",
            f"{peak / 2**20:.0f}" if peak else "-",
            f"{row['first_seconds']:.2f}", loss(row), f"{row['difference']:.1e}"])
    return markdown(["work", "engine", "threads", "workspace MiB", "process peak MiB",
                     "start to first result, s", "loss", "difference from PyTorch"], lines)


def table(facts, titles):
    rows = facts["rows"]
    text = (f"{facts['processor']}; float32 where nothing else is said; medians of "
            f"{facts['runs']} runs in turns. In brackets: how many times the time of swin.h in the "
            f"same table, in float32 or in int8.\n\n{LOSS}\n\n")
    parts = [part(rows, titles, threads) for threads in unique(rows, "threads")
             for part in (times, smaller)]
    return text + "\n".join(filter(None, parts + [scaling(rows, titles), resources(rows, titles)]))


def plot(facts, titles):
    """Bars of all engines' times, each work scaled to its slowest; one thread count."""
    threads = min(unique(facts["rows"], "threads"))
    rows = measured(facts["rows"], threads=threads)
    width, bar, left, y = 760, 18, 130, 34
    shapes = [f'<text x="12" y="20" font-weight="bold">Milliseconds, '
              f'{counted(threads)} - shorter is faster</text>']
    for work in unique(rows, "work"):
        group = sorted(select(rows, work=work), key=lambda row: row["ms"])
        y += 22
        shapes.append(f'<text x="12" y="{y - 6}">{escape(titles[work])}</text>')
        for row in group:
            length = (width - left - 90) * row["ms"] / group[-1]["ms"]
            weight = ' font-weight="bold"' if row["engine"] == "swin" else ""
            shapes += [
                f'<text x="{left - 8}" y="{y + 13}" text-anchor="end"{weight}>'
                f'{label(row)}</text>',
                f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{bar - 4}" '
                f'fill="{COLOURS[row["engine"]]}"/>',
                f'<text x="{left + length + 6:.1f}" y="{y + 13}"{weight}>{row["ms"]:.1f}</text>']
            y += bar
        y += 8
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" '
            'font-family="sans-serif" font-size="12">\n'
            f'<rect width="{width}" height="{y + 10}" fill="white"/>\n'
            + "\n".join(shapes) + "\n</svg>\n")
