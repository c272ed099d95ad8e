"""What a finished run leaves for other runs beside its model: `artefact/<kind>.safetensors`."""

from __future__ import annotations

import json

from safetensors.torch import save

from hdx.config.config import Config
from hdx.engine.build import Assembly
from hdx.store.files import write_bytes
from hdx.store.rundir import RunDir


def leave(config: Config, assembly: Assembly, run_dir: RunDir) -> dict[str, str]:
    """Write the method's artefact, where it has one. Returns: what the run record says of it.

    The file's metadata hold one JSON document under the key `hdx`: what the method says, the dataset's options and class names.
    """
    found = assembly.method.artefact()
    if found is None:
        return {}
    tensors, about = found
    about = {**about, "dataset": config.data["dataset"], "classes": list(assembly.dataset.classes)}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    name = f"artefact/{about['kind']}.safetensors"
    write_bytes(run_dir.path / name, save(plain, metadata={"hdx": json.dumps(about, ensure_ascii=False)}))
    return {"artefact": name}
