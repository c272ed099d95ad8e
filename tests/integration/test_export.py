"""Exported models: the file predicts what the run predicted, plain torch and timm load it, and nothing in it can run code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hdx.cli.main import main
from hdx.config.validate import load_saved
from hdx.datasets.digits import Digits
from hdx.engine.export_model import export_model, snippet
from hdx.engine.plain_head import plain_head
from hdx.engine.predict import Model
from hdx.engine.restored import restored
from hdx.errors import RunError, WeightsError
from hdx.heads.cosine import Cosine
from hdx.heads.lda import LDA
from hdx.heads.linear import Linear
from hdx.heads.ncm import NCM
from tests.integration.harness import arrays_of, run_dir_of
from tests.integration.images import write_classes

Record = Callable[..., dict[str, Any]]
FILM = ("+exp=fsa_film", "protocol.first=4", "protocol.step=6")
RESNET = ("+exp=fsa_film", "backbone=timm", "backbone.model=resnet18", "backbone.image_size=32", "trainer.epochs=1", *FILM[1:])


def export(record: dict[str, Any], path: Path) -> dict[str, Any]:
    run_dir = run_dir_of(record)
    return export_model(load_saved(run_dir.config_file), run_dir, path)


def pixels(record: dict[str, Any], outputs: Path) -> np.ndarray:
    """The test images of the last session, in the order of its predictions."""
    return Digits(None, outputs / "cache").test.fetch(arrays_of(record)[-1]["index"]).numpy()


def own_logits(record: dict[str, Any], images: np.ndarray) -> torch.Tensor:
    """What the run's own body and head say, adapter not merged."""
    run_dir = run_dir_of(record)
    method = restored(load_saved(run_dir.config_file), run_dir).method
    with torch.inference_mode():
        return method.head(method.body.embed(torch.from_numpy(images))).double()


def centred(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("exp", "head"),
    [("fsa_film", "lda"), ("fsa_na", "ncm"), ("fsa_na", "ncm_cosine"), ("fsa_na", "linear"), ("fsa_na", "cosine")],
)
def test_predictions_are_the_runs_own(exp: str, head: str, record: Record, shared: Path, tmp_path: Path) -> None:
    run = record(f"+exp={exp}", *FILM[1:], f"head={head}")
    about = export(run, tmp_path / "model.safetensors")
    stored = arrays_of(run)[-1]
    model = Model(tmp_path / "model.safetensors", torch.device("cpu"))
    found = model.probabilities(pixels(run, shared))
    np.testing.assert_array_equal(found.argmax(1).numpy(), stored["prediction"])
    np.testing.assert_allclose(found.max(1).values.numpy(), stored["confidence"], atol=1e-4)
    assert model.classes == [name for session in run["sessions"] for name in session["new_classes"]]
    assert (
        about["adapter"] == ("film" if exp == "fsa_film" else "none")
        and about["metrics"] == run["metrics"]
        and about["backbone"]["pretrained"] is False
    )


def test_a_timm_model_loads_in_ten_lines_of_torch_and_timm(record: Record, shared: Path, tmp_path: Path) -> None:
    run = record(*RESNET)
    path = tmp_path / "model.safetensors"
    code = snippet(export(run, path), str(path))
    assert code is not None and len(code.splitlines()) <= 10 and "hdx." not in code
    images = pixels(run, shared)[:64]
    size, mean_std = json.loads(_metadata(path))["transform"], {}
    assert size["size"] == 32
    exec(code, mean_std)  # what the README shows
    model = Model(path, torch.device("cpu"))
    resized = model.body.transform._resize(torch.from_numpy(images).float() / 255).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        plain = mean_std["logits"](model.body.transform._centre_crop(resized)).double()
    torch.testing.assert_close(centred(plain), centred(own_logits(run, images)), atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(plain.argmax(1).numpy(), arrays_of(run)[-1]["prediction"][:64])


def _metadata(path: Path) -> str:
    with safe_open(path, "pt") as file:
        return str(file.metadata()["hdx"])


def test_hdx_predict_reads_folders_zips_and_files(
    record: Record, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = record(*FILM, "head=lda")
    path = tmp_path / "model.safetensors"
    export(run, path)
    folder = tmp_path / "images"
    folder.mkdir()
    for i, image in enumerate(pixels(run, shared)[:30]):
        Image.fromarray(image[0]).save(folder / f"{i:03d}.png")
    names = [name for session in run["sessions"] for name in session["new_classes"]]
    wanted = [names[i] for i in arrays_of(run)[-1]["prediction"][:30]]
    assert main(["predict", str(path), str(folder), "--top", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["classes"][0] for each in found] == wanted
    assert all(len(each["classes"]) == 3 and each["probabilities"] == sorted(each["probabilities"])[::-1] for each in found)
    (folder / "broken.png").write_bytes(b"no image")
    assert main(["predict", str(path), str(folder / "000.png"), str(folder), "--csv"]) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "file,rank,class,probability" and [line.split(",")[2] for line in lines[1:]] == [wanted[0], *wanted]
    assert "broken.png" in err and "Traceback" not in err
    assert main(["predict", str(path), str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_folder_of_photographs_is_decoded_as_it_was_for_the_run(record: Record, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "data" / "train", {"a": 8, "b": 8})
    write_classes(tmp_path / "data" / "test", {"a": 4, "b": 4})
    words = ("dataset=folder", f"dataset.path={tmp_path / 'data'}", "dataset.image_size=20", "protocol=offline", "head=ncm")
    run = record(*words)
    export(run, tmp_path / "model.safetensors")
    model = Model(tmp_path / "model.safetensors", torch.device("cpu"))
    found = list(model.predict([folder.parent / "test"]))
    predicted = arrays_of(run)[-1]["prediction"]
    assert [each["classes"][0] for each in found] == [model.classes[i] for i in predicted]


def test_heads_become_plain_up_to_a_constant_of_each_sample() -> None:
    torch.manual_seed(0)
    x, y, probe = torch.randn(200, 6) + 5, torch.arange(200) % 4, 3 * torch.randn(50, 6) + 5
    heads = [LDA(6, prior="empirical"), NCM(6), NCM(6, metric="cosine"), Linear(6, bias=False), Cosine(6, learn_scale=True)]
    for head in heads:
        head.expand(5)  # the last class has no samples
        head.update(x, y)
        with torch.no_grad():
            own, plain = head(probe).double(), plain_head(head).logits(probe).double()
        torch.testing.assert_close(plain.softmax(1), own.softmax(1), atol=1e-6, rtol=1e-6)
    assert plain_head(heads[0]).bias[4] == -torch.inf
    lda, own = plain_head(heads[0]), heads[0](probe)
    constant = (own - lda.logits(probe))[:, :4]
    assert float((constant - constant[:, :1]).abs().max()) < 1e-9


def test_a_head_that_nobody_told_of_is_probed() -> None:
    class Doubled(Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(features)

    class Quadratic(Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return super().forward(features) ** 2

    heads = [Doubled(6), Quadratic(6)]
    for head in heads:
        head.expand(3)
    probe = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = heads[0](probe).double().softmax(1)
    torch.testing.assert_close(plain_head(heads[0]).logits(probe).softmax(1), own, atol=1e-6, rtol=1e-6)
    with pytest.raises(RunError, match="head Quadratic has no plain form"):
        plain_head(heads[1])


def test_a_strange_file_is_refused_in_one_line(record: Record, tmp_path: Path) -> None:
    path, bad = tmp_path / "model.safetensors", tmp_path / "bad.safetensors"
    export(record(*FILM, "head=lda"), path)
    about, tensors = json.loads(_metadata(path)), load_file(path)

    def spoiled(**changes: Any) -> str:
        save_file(tensors, bad, metadata={"hdx": json.dumps({**about, **changes})})
        with pytest.raises(Exception) as caught:
            Model(bad, torch.device("cpu"))
        assert isinstance(caught.value, WeightsError) or type(caught.value).__name__ == "ConfigError"
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "expected a file of hdx export" in spoiled(format=99)
    assert "backbone 'os.system' is unknown" in spoiled(backbone={"name": "os.system"})
    assert "has no option _target_" in spoiled(backbone={**about["backbone"], "_target_": "os.system"})
    assert "expected head weights of shape [3, 192], got [10, 192]" in spoiled(classes=["a", "b", "c"])
    assert "its transform is" in spoiled(transform={"size": 7})
    assert Model(path, torch.device("cpu")).about["backbone"]["checkpoint"] is None
    bad.write_bytes(b"\x80\x04nonsense")
    with pytest.raises(WeightsError, match=r"expected a \.safetensors file of hdx export"):
        Model(bad, torch.device("cpu"))


def test_only_finished_runs_are_exported(record: Record, shared: Path, tmp_path: Path) -> None:
    run_dir = run_dir_of(record(*FILM, "head=lda"))
    copy = tmp_path / "outputs" / "runs" / "x" / "0000-s0"
    copy.mkdir(parents=True)
    (copy / "config.yaml").write_bytes(run_dir.config_file.read_bytes())
    assert main(["export", str(copy), "--out", str(tmp_path / "m.safetensors"), f"output_dir={shared}"]) == 2
    assert not (tmp_path / "m.safetensors").exists()
