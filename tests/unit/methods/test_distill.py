"""Distillation: what a student learns, what it must not see, and the errors of teachers that do not fit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.methods.digit_runs import SMALL, interrupted, last_state, predictions, run
from tests.unit.methods.taught import FEW, TEACHER, listed, student

from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.engine.bank import Bank
from hdx.engine.build import assemble
from hdx.engine.export_model import export_model
from hdx.engine.launch import launch
from hdx.engine.loop import Loop
from hdx.engine.report import Report
from hdx.engine.teacher import build_teacher
from hdx.engine.trained import TrainedBodies
from hdx.errors import ConfigError, RunError, WeightsError
from hdx.store.rundir import RunDir
from hdx.teachers._base import Teacher

QUICK = ("+exp=kd_kd", *FEW, "trainer.epochs=2")
SESSIONS = ("protocol=class_incremental", "protocol.step=4", "protocol.shots=20", "trainer.epochs=6")


def config_of(folder: Path, *words: str) -> Any:
    return absolute_in(load([*words, *SMALL, f"output_dir={folder}"]))


def exported(taught: Path, model: Path) -> Path:
    """The teacher's run as a file."""
    config = absolute_in(load([*TEACHER, "accelerator=cpu", "threads=1", f"output_dir={taught}"]))
    export_model(config, RunDir(next(taught.glob("runs/kd_teacher/*"))), model)
    return model


def teacher_of(folder: Path, *words: str) -> Teacher:
    """The teacher of a config."""
    config = config_of(folder, *words)
    teacher = assemble(config.data, build_teacher).method.parts.teacher
    assert teacher is not None
    return teacher


def test_ten_labels_and_a_teacher_are_worth_more_than_ten_labels(taught: Path) -> None:
    alone = run(taught, "+exp=kd_student", *FEW, "trainer.epochs=60")
    distilled = student(taught, *QUICK)
    (session,) = distilled["sessions"]
    assert (session["n_train"], session["n_unlabelled"]) == (10, 1248) and alone["sessions"][0]["n_train"] == 10
    assert distilled["metrics"]["acc_last"] > alone["metrics"]["acc_last"] + 0.15
    assert distilled["images_trained"] == 2 * 2 * 1248


def test_hidden_labels_have_no_say(taught: Path, tmp_path: Path) -> None:
    """A run whose unlabelled rows have other labels in the dataset ends bit-equal."""

    def trained(folder: Path, shuffle: bool) -> dict[str, torch.Tensor]:
        config = config_of(taught, *QUICK[:-1], "trainer.epochs=1", listed())
        assembly = assemble(config.data, build_teacher)
        hidden, labels = assembly.sessions[0].unlabelled, assembly.dataset.train.labels
        assert hidden is not None
        truth = labels.copy()
        if shuffle:
            labels[hidden] = (labels[hidden] + 1 + np.arange(len(hidden)) % 9) % 10
        bank = Bank(folder / "bank", 64, "float32", assembly.device)
        loop = Loop(config, assembly, RunDir(folder), bank, TrainedBodies(folder / "bodies", "x"), Report())
        assert (loop.labels[hidden] == -1).all() and (loop.labels >= 0).sum() == 10
        loop.run()
        labels[:] = truth
        return {name: value.clone() for name, value in assembly.method.state_dict().items()}

    first, second = trained(tmp_path / "a", False), trained(tmp_path / "b", True)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sessions_learn_the_teachers_logits_of_the_classes_seen(taught: Path) -> None:
    distilled = student(taught, "+exp=kd_kd", *SESSIONS, "memory=replay", "memory.size=40")
    naive = run(taught, "+exp=finetune", *SESSIONS[1:], "trainer.lr=0.005")
    assert [session["classes_seen"] for session in distilled["sessions"]] == [4, 8, 10]
    assert distilled["metrics"]["acc_last"] > naive["metrics"]["acc_last"] + 0.2


@pytest.mark.parametrize("exp", ["kd_hint", "kd_dhkd"])
def test_stopped_in_the_middle_of_a_session_it_ends_bit_equal(
    exp: str, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trains beside the head (a regressor, an auxiliary head) is in the checkpoint as well."""
    model = exported(taught, tmp_path / "teacher.safetensors")
    words = (f"+exp={exp}", *SESSIONS, "trainer.epochs=3", "teacher=model", f"teacher.checkpoint={model}")
    words = tuple(word for word in words if word != "trainer.epochs=6")
    undisturbed = run(tmp_path / "a", *words)
    interrupted(tmp_path / "b", monkeypatch, *words, after=17)
    resumed = run(tmp_path / "b", *words)
    expected, found = last_state(undisturbed), last_state(resumed)
    assert sorted(expected) == sorted(found) and all(torch.equal(expected[name], found[name]) for name in expected)
    assert predictions(undisturbed) == predictions(resumed)


def test_a_teacher_is_the_same_by_its_words_its_id_its_folder_and_its_export(taught: Path, tmp_path: Path) -> None:
    folder = next(taught.glob("runs/kd_teacher/*"))
    run_id = f"kd_teacher/{folder.name}"
    by_words = config_of(taught, *QUICK, listed())
    names = [config_of(taught, *QUICK, "teacher=run", f"teacher.run={name}") for name in (run_id, folder, folder.name)]
    assert {config.group_hash for config in names} == {by_words.group_hash}
    other = config_of(taught, *QUICK, listed((*TEACHER, "seed=1")))
    assert other.group_hash != by_words.group_hash
    assert config_of(taught, *QUICK, listed((*TEACHER, "accelerator=cpu"))).group_hash == by_words.group_hash

    teachers = [teacher_of(taught, *QUICK, listed()), teacher_of(taught, *QUICK, "teacher=run", f"teacher.run={run_id}")]
    assert teachers[0].digest() == teachers[1].digest() and teachers[0].label == run_id
    model = exported(taught, tmp_path / "model.safetensors")
    of_file = teacher_of(taught, *QUICK, "teacher=model", f"teacher.checkpoint={model}")
    images = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(of_file(images).logits, teachers[0](images).logits, rtol=1e-4, atol=1e-4)
    assert of_file.classes == teachers[0].classes == [str(digit) for digit in range(10)]
    record = student(taught, *QUICK)
    assert record["teacher"] == {"name": run_id, "digest": teachers[0].digest(), "classes": 10, "image_size": 28}


def test_a_row_does_not_depend_on_its_neighbours(taught: Path) -> None:
    teacher = teacher_of(taught, *QUICK, listed())
    images = torch.randint(256, (70, 1, 8, 8), dtype=torch.uint8)
    whole = teacher(images)
    for rows in ([0], [69, 3], list(range(40))):
        some = teacher(images[rows])
        assert torch.equal(some.logits, whole.logits[rows]) and torch.equal(some.features, whole.features[rows])  # type: ignore[index, arg-type]
    assert not whole.logits.is_inference() and not whole.logits.requires_grad


# --- teachers that do not fit ---------------------------------------------------------------------------------------


def test_a_teacher_that_is_not_finished_comes_with_the_command_that_makes_it(tmp_path: Path) -> None:
    config = config_of(tmp_path, *QUICK, listed())
    with pytest.raises(ConfigError) as caught:
        launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), io.StringIO())
    line = str(caught.value)
    assert line.endswith(f"is not finished (not begun): make it first:  hdx train {' '.join(TEACHER)} output_dir={tmp_path}")
    assert not (tmp_path / "runs").exists()  # so that `hdx train` tries again once the teacher is there


def test_a_teacher_must_know_every_class(taught: Path, tmp_path: Path) -> None:
    model = exported(taught, tmp_path / "model.safetensors")
    words = [*QUICK, "teacher=model", f"teacher.checkpoint={model}"]
    with pytest.raises(ConfigError, match=r"teacher.classes: expected 10 names, one a logit of .*, got 2"):
        teacher_of(tmp_path, *words, "teacher.classes=[a,b]")
    with pytest.raises(ConfigError, match=r"lacks 1 of the dataset's 10 classes \(9\): it must know all that the student learns"):
        teacher_of(tmp_path, *words, "teacher.classes=['0','1','2','3','4','5','6','7','8',nine]")


def test_images_of_another_kind_are_refused(taught: Path, data_dir: Path) -> None:
    folder = next(taught.glob("runs/kd_teacher/*"))
    words = [*QUICK, "dataset=sign_digits", "teacher=run", f"teacher.run={folder}", f"data_dir={data_dir}"]
    with pytest.raises(ConfigError, match=r"was trained on images of 1 channel\(s\), the student's have 3"):
        teacher_of(taught, *words)


def test_a_checkpoint_of_another_number_of_classes(tmp_path: Path, data_dir: Path) -> None:
    tensors = load_file(data_dir / "resnet56_cifar10.safetensors")
    save_file(
        {name: value[:7] if name.startswith("linear") else value for name, value in tensors.items()}, tmp_path / "7.safetensors"
    )
    del tensors["linear.weight"]
    save_file(tensors, tmp_path / "body.safetensors")
    words = [*QUICK, "teacher=resnet56"]
    whole = teacher_of(tmp_path, *words, "teacher.checkpoint=resnet56_cifar10.safetensors", f"data_dir={data_dir}")
    assert whole.n_classes == 10  # found in the folder of datasets; digits happen to be as many
    with pytest.raises(ConfigError, match="7.safetensors has 7 classes and no names for them, the dataset has 10"):
        teacher_of(tmp_path, *words, f"teacher.checkpoint={tmp_path}/7.safetensors")
    with pytest.raises(WeightsError, match=r"expected a classifier on 64 features \(fc.weight, fc.bias\), got none"):
        teacher_of(tmp_path, *words, f"teacher.checkpoint={tmp_path}/body.safetensors")
    with pytest.raises(WeightsError, match="no file .*gone.safetensors"):
        teacher_of(tmp_path, *words, "teacher.checkpoint=gone.safetensors")


def test_logits_that_are_no_numbers_are_named(taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Teacher.forward

    def broken(self: Teacher, images: torch.Tensor) -> Any:
        outputs = whole(self, images)
        outputs.logits[0, 3] = torch.nan
        return outputs

    monkeypatch.setattr(Teacher, "forward", broken)
    config = config_of(taught, *QUICK, listed(), "teacher.cache=false", "seed=7")
    with pytest.raises(RunError, match=r"teacher kd_teacher/\S+ gives NaN or infinite logits for row \d+ of the train split"):
        launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), io.StringIO())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+exp=kd_kd", "teacher=none"], "method=distill learns from a teacher, and teacher=none: take teacher=run "),
        (["+exp=kd_kd", "method=finetune", "loss=cross_entropy"], "teacher=run has no effect with method=finetune"),
        (["+exp=kd_kd", "loss=cross_entropy"], "method=distill compares with a teacher, which loss=cross_entropy does not"),
        (["+exp=kd_student", "loss=kd"], "loss=kd compares with a teacher, which method=finetune does not ask"),
        (["+exp=kd_kd", "teacher=run"], "teacher=run is named by teacher.run=ID or by teacher.overrides="),
        (["+exp=kd_kd", "teacher.run=x"], "teacher=run is named by teacher.run=ID or by teacher.overrides="),
        (["+exp=kd_kd", "teacher.overrides=[]"], "teacher.overrides is empty"),
        (["+exp=kd_kd", "teacher.overrides=['+exp=kd_teacer']"], "exp 'kd_teacer' is unknown. Did you mean 'kd_teacher'?"),
        (["+exp=kd_kd", "teacher.overrides=['output_dir=x']"], "'output_dir=x' cannot be set there"),
        (
            ["+exp=kd_kd", "teacher=resnet56", "teacher.checkpoint=x", "teacher.backbone.depth=57"],
            "teacher.backbone.depth: expected",
        ),
        (["+exp=kd_kd", "teacher=model", "teacher.checkpoint=x", "+teacher.pool.p=1"], "teacher.pool.p is unknown to pool=avg"),
        (["+exp=kd_kd", "head=lda"], "head=lda is solved in closed form: take head=linear"),
        (["+exp=kd_dho", "head=linear"], "method=dho trains head=dual, not head=linear: take head=dual"),
        (["+exp=kd_kd", "head=dual"], "head=dual is trained by method=dho, not by method=distill"),
        (["+exp=kd_dho", "protocol.validation=0"], "method=dho chooses alpha and beta on validation rows"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(words)
    assert any(line in problem for problem in caught.value.problems), caught.value.problems
    assert all("\n" not in problem for problem in caught.value.problems)
