"""The CUDA sources as a library for CPU tensors: launches and torch's CUDA calls are rewritten, the kernels stay as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hdx.ops import build

HERE = Path(__file__).parent
BIND = {
    "torch::stable::accelerator::DeviceGuard guard_;": "struct Guard { explicit Guard(int) {} } guard_;",
    "aoti_torch_get_current_cuda_stream(device, &found)": "AOTI_TORCH_SUCCESS",
    "STD_CUDA_KERNEL_LAUNCH_CHECK();": "",
    "STABLE_TORCH_LIBRARY_IMPL(hdx, CUDA, m)": "STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m)",
}


def on_cpu(path: Path) -> str:
    """The source with `kernel<<<blocks, threads, bytes, stream>>>(arguments)` as a call of the emulator."""
    text = path.read_text()
    for old, new in BIND.items() if path.name == "bind.cpp" else ():
        assert old in text, old
        text = text.replace(old, new)
    text = re.sub(r"extern __shared__ (\w+) (\w+)\[\];", r"\1* \2 = reinterpret_cast<\1*>(emulated::shared_memory.data());", text)
    while (launch := re.search(r"(\w+)<<<(.*?),\s*stream>>>\(", text, re.DOTALL)) is not None:
        end, depth = launch.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        call = f"emulated::launch({launch[2]}, [&] {{ {launch[1]}({text[launch.end() : end - 1]}); }})"
        text = text[: launch.start()] + call + text[end:]
    return text


def make(folder: Path) -> Path:
    """Compile into `folder`; needs nvcc for the headers of CUDA."""
    include = (f"-I{build.SOURCES}", f"-I{build.SOURCES / 'cuda'}", f"-I{build.torch_root() / 'include'}")
    first = [str(build.nvcc()), "-x", "c++", *build.COMMON[:1], *build.COMMON[2:], "-O1", "-DUSE_CUDA", *include]
    first += ["-include", str(HERE / "cuda_on_cpu.h"), "-Xcompiler=-fPIC,-fvisibility=hidden,-ffp-contract=off"]
    objects = []
    for path in build.sources("cuda"):
        (source := folder / f"{path.stem}.cpp").write_text(on_cpu(path))
        objects.append(([*first, "-c", str(source), "-o", str(source.with_suffix(".o"))], source.with_suffix(".o")))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_run, [command for command, _ in objects]))
    library = folder / "hdx_emulated.so"
    made = [str(path) for _, path in objects]
    _run([str(build.compiler()), "-shared", *made, "-o", str(library), f"-L{build.torch_root() / 'lib'}", "-ltorch_cpu"])
    return library


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
