#!/usr/bin/env python3
"""peers.py ENGINE FOLDER THREADS - runs a work of works.py in another engine, for bench.py.
peers.py ENGINE FOLDER --prepare - makes the files that the engine reads, unless they are there.

Loads the work, runs it once and prints a line of JSON. Then each line of standard input is answered
by one: "run" by the milliseconds of a run, "save" when FOLDER/ENGINE.N.npz has the outputs for
input N. ENGINE may end in the numbers that it computes with: openvino-bf16.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

BF16 = {"avx512_bf16", "amx_bf16"}      # what computes with bf16

# Each engine: a function of (folder, threads) that loads the work and returns a function, which runs
# it on an input and returns the list of outputs. Those of int8 are calibrated on all inputs, the
# photos, which their loss is measured on, too.


def onnxruntime(folder, threads, model="work.onnx"):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(folder / model, options,
                                           providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})


def onnxruntime_int8(folder, threads):
    return onnxruntime(folder, threads, "int8.onnx")


def quantise_for_onnxruntime(folder):
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Photos(quantization.CalibrationDataReader):
        def __init__(self):
            self.inputs = iter(np.load(folder / "inputs.npy"))

        def get_next(self):
            return next(({"input": x} for x in self.inputs), None)

    made = folder / "int8.onnx"
    if made.exists():
        return
    with tempfile.TemporaryDirectory() as temporary:
        simplified = pathlib.Path(temporary) / "simplified.onnx"
        quant_pre_process(folder / "work.onnx", simplified, skip_symbolic_shape=True)
        quantization.quantize_static(simplified, made, Photos(), per_channel=True,
                                     quant_format=quantization.QuantFormat.QDQ)


def openvino_core():
    """What reads and compiles models. OpenVINO has deformable convolutions, as BiRefNet's, but of
    its own accord it does not read them from ONNX files."""
    import openvino
    from openvino.frontend.onnx import ConversionExtension
    core = openvino.Core()
    core.add_extension(ConversionExtension("DeformConv", "", deformable_convolution))
    return core


def deformable_convolution(node):
    """OpenVINO's for a node of ONNX; outside the map lie zeros, which samples at its edge mix in."""
    from openvino import opset8
    x, weight, offsets, _, factors = (node.get_input(i) for i in range(5))
    pads = node.get_attribute("pads")
    return opset8.deformable_convolution(x, offsets, weight, [1, 1], pads[:2], pads[2:], [1, 1],
                                         factors, bilinear_interpolation_pad=True).outputs()


def openvino(folder, threads, model="work.onnx", hint="f32"):
    compiled = openvino_core().compile_model(folder / model, "CPU", {
        "INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads})
    request = compiled.create_infer_request()

    def run(x):
        results = request.infer({0: x}, share_inputs=True, share_outputs=True)
        return [results[output] for output in compiled.outputs]

    return run


def openvino_bf16(folder, threads):
    """Elsewhere OpenVINO takes the hint, too, and computes in float32."""
    if not BF16 & processor_flags():
        raise RuntimeError(f"this processor has none of {', '.join(sorted(BF16))}")
    return openvino(folder, threads, hint="bf16")


def processor_flags():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.startswith("flags") for flag in line.split()}


def openvino_int8(folder, threads):
    return openvino(folder, threads, "int8.xml")


def quantise_for_openvino(folder):
    """As NNCF does it unasked: what it has for transformers loses ten times as much here, at the
    same speed."""
    import nncf
    import openvino
    made = folder / "int8.xml"
    if not made.exists():
        model = openvino_core().read_model(folder / "work.onnx")
        openvino.save_model(nncf.quantize(model, nncf.Dataset(np.load(folder / "inputs.npy"))),
                            made)


def torch(folder, threads, compiled=False):
    import torch
    import works
    torch.set_num_threads(threads)
    task = works.load(folder)
    if compiled:
        task = torch.compile(task)

    @torch.inference_mode()
    def run(x):
        outputs = task(torch.from_numpy(x))
        return [o.numpy() for o in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


def torch_compile(folder, threads):
    return torch(folder, threads, compiled=True)


def convert_for_mnn(folder):
    import _tools       # its own script, MNN.tools, also installs and calls a telemetry service
    if not (folder / "work.mnn").exists():
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(folder / "work.onnx"),
                           "--MNNModel", str(folder / "work.mnn"), "--bizCode", "bench"])


def mnn(folder, threads, model="work.mnn"):
    import MNN
    net = MNN.Interpreter(str(folder / model))
    session = net.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
    target = net.getSessionInput(session)

    def run(x):
        target.copyFrom(MNN.Tensor(x.shape, MNN.Halide_Type_Float, x,
                                   MNN.Tensor_DimensionType_Caffe))
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


def mnn_int8(folder, threads):
    return mnn(folder, threads, "int8.mnn")


def quantise_for_mnn(folder):
    """By moving averages: with its other methods, KL and ADMM, mnnquant crashes on these models.
    Eight-bit weights alone, which its converter writes, are computed with in float32."""
    import _tools
    from works import MEAN, PHOTOS, STD
    made, settings = folder / "int8.mnn", folder / "mnn.json"
    if made.exists():
        return
    convert_for_mnn(folder)
    height, width = np.load(folder / "inputs.npy", mmap_mode="r").shape[-2:]
    settings.write_text(json.dumps({
        "format": "RGB", "mean": MEAN, "normal": [1 / std for std in STD], "width": width,
        "height": height, "path": f"{folder / 'photos'}/", "used_image_num": len(PHOTOS),
        "batch_size": 1, "feature_quantize_method": "EMA", "weight_quantize_method": "MAX_ABS"}))
    _tools.mnnquant(["mnnquant", str(folder / "work.mnn"), str(made), str(settings)])


def ncnn(folder, threads):
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

    def run(x):
        extractor = net.create_extractor()
        extractor.input("x0", ncnn.Mat(x[0]))
        _, out = extractor.extract(f"x{len(layers)}")
        return [np.array(out)[None]]

    return run


ENGINES = {"onnxruntime": onnxruntime, "onnxruntime-int8": onnxruntime_int8,
           "openvino": openvino, "openvino-bf16": openvino_bf16, "openvino-int8": openvino_int8,
           "torch": torch, "torch-compile": torch_compile, "mnn": mnn, "mnn-int8": mnn_int8,
           "ncnn": ncnn}
PREPARE = {"onnxruntime-int8": quantise_for_onnxruntime, "openvino-int8": quantise_for_openvino,
           "mnn": convert_for_mnn, "mnn-int8": quantise_for_mnn}


def main(engine, folder, threads):
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)               # what an engine prints is no answer
    inputs = np.load(folder / "inputs.npy")
    start = time.perf_counter()
    run = ENGINES[engine](folder, threads)
    loaded = time.perf_counter()
    run(inputs[0])
    ran = time.perf_counter()
    print(json.dumps({"made_ms": 1e3 * (loaded - start), "first_ms": 1e3 * (ran - loaded)}),
          file=answers)
    for line in sys.stdin:
        if line.strip() == "save":
            for i, x in enumerate(inputs):
                np.savez(folder / f"{engine}.{i}.npz", *run(x))
            print("saved", file=answers)
            continue
        start = time.perf_counter()
        run(inputs[0])
        print(1e3 * (time.perf_counter() - start), file=answers)


if __name__ == "__main__":
    name, place = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    if sys.argv[3] != "--prepare":
        main(name, place, int(sys.argv[3]))
    elif name in PREPARE:
        os.chdir(place)         # MNN's tools leave files where they are called
        PREPARE[name](place)
