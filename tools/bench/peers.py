#!/usr/bin/env python3
"""peers.py ENGINE FOLDER THREADS - runs a work of works.py in another engine, for bench.py.

Loads the work, runs it once and prints a line of JSON. Then each line of standard input is
answered by one: "run" by the milliseconds of a run, "save" when FOLDER/ENGINE.npz has the outputs.
"""

import json
import os
import pathlib
import sys
import time

import numpy as np

# Each engine: a function of (folder, threads, x) that loads the work and returns a function, which
# runs it on x and returns the list of outputs.


def onnxruntime(folder, threads, x):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / "work.onnx", options,
                                           providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": x})


def openvino(folder, threads, x):
    import openvino
    compiled = openvino.Core().compile_model(folder / "work.onnx", "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads})
    request = compiled.create_infer_request()

    def run():
        results = request.infer({0: x}, share_inputs=True, share_outputs=True)
        return [results[output] for output in compiled.outputs]

    return run


def torch(folder, threads, x, compiled=False):
    import torch
    import works
    torch.set_num_threads(threads)
    task = works.load(folder)
    if compiled:
        task = torch.compile(task)
    x = torch.from_numpy(x)

    @torch.inference_mode()
    def run():
        outputs = task(x)
        return [o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


def torch_compile(folder, threads, x):
    return torch(folder, threads, x, compiled=True)


def mnn(folder, threads, x):
    import _tools       # its own script, MNN.tools, also installs and calls a telemetry service
    import MNN
    converted = folder / "work.mnn"
    if not converted.exists():
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(folder / "work.onnx"),
                           "--MNNModel", str(converted), "--bizCode", "bench"])
    net = MNN.Interpreter(str(converted))
    session = net.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    target = net.getSessionInput(session)
    source = MNN.Tensor(x.shape, MNN.Halide_Type_Float, x, MNN.Tensor_DimensionType_Caffe)

    def run():
        target.copyFrom(source)
        net.runSession(session)
        found = net.getSessionOutputAll(session)
        outputs = []
        for name in sorted(found):
            tensor = found[name]
            kind = np.int32 if tensor.getDataType() == MNN.Halide_Type_Int else np.float32
            host = MNN.Tensor(tensor.getShape(), tensor.getDataType(),
                              np.empty(tensor.getShape(), kind), MNN.Tensor_DimensionType_Caffe)
            tensor.copyToHostTensor(host)
            outputs.append(np.array(host.getNumpyData()))
        return outputs

    return run


def ncnn(folder, threads, x):
    """Convolutions alone: its converters do not take the rest of these models."""
    import ncnn
    import torch
    state = torch.load(folder / "model.pth")["state_dict"]
    head = {name.removeprefix("decode_head."): t.double().numpy() for name, t in state.items()}
    if "convs.0.conv.weight" not in head:
        raise RuntimeError("ncnn runs the convolution alone")
    norm = {name: head[f"convs.0.bn.{name}"]
            for name in ("weight", "bias", "running_mean", "running_var")}
    scale = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
    layers = [
        (head["convs.0.conv.weight"] * scale[:, None, None, None],
         norm["bias"] - norm["running_mean"] * scale),
        (head["conv_seg.weight"], head["conv_seg.bias"])]
    text = ["7767517", "3 3", "Input input 0 1 x0"]
    with open(folder / "work.ncnn.bin", "wb") as binary:
        for i, (weight, bias) in enumerate(layers):
            outputs, _, kernel, _ = weight.shape
            relu = int(i < len(layers) - 1)
            text.append(f"Convolution conv{i} 1 1 x{i} x{i + 1} 0={outputs} 1={kernel} "
                        f"4={kernel // 2} 5=1 6={weight.size} 9={relu}")
            binary.write(bytes(4) + weight.astype("<f4").tobytes() + bias.astype("<f4").tobytes())
    net = ncnn.Net()
    net.opt.num_threads = threads
    for half in ("packed", "storage", "arithmetic"):
        setattr(net.opt, f"use_fp16_{half}", False)
    net.load_param_mem("\n".join(text) + "\n")
    net.load_model(str(folder / "work.ncnn.bin"))
    source = ncnn.Mat(x[0])

    def run():
        extractor = net.create_extractor()
        extractor.input("x0", source)
        _, out = extractor.extract(f"x{len(layers)}")
        return [np.array(out)[None]]

    return run


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino, "torch": torch,
           "torch-compile": torch_compile, "mnn": mnn, "ncnn": ncnn}


def main(engine, folder, threads):
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)               # what an engine prints is no answer
    x = np.load(folder / "input.npy")
    start = time.perf_counter()
    run = ENGINES[engine](folder, threads, x)
    loaded = time.perf_counter()
    outputs = run()
    ran = time.perf_counter()
    print(json.dumps({"made_ms": 1e3 * (loaded - start), "first_ms": 1e3 * (ran - loaded)}),
          file=answers)
    for line in sys.stdin:
        if line.strip() == "save":
            np.savez(folder / f"{engine}.npz", *outputs)
            print("saved", file=answers)
            continue
        start = time.perf_counter()
        run()
        print(1e3 * (time.perf_counter() - start), file=answers)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]))
