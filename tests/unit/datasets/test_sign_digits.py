from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from hdx.datasets.sign_digits import SignDigits


def test_real_counts_and_pinned_split(data_dir: Path, real_cache: Path) -> None:
    data = SignDigits(data_dir, real_cache)
    assert data.classes == list("0123456789")
    assert (len(data.train), len(data.test)) == (1544, 518)
    assert set(np.bincount(data.test.labels)) == {51, 52}
    assert not set(data.train.rows) & set(data.test.rows)
    assert hashlib.sha256(data.test.rows.tobytes()).hexdigest()[:16] == "df4c5162652a5e64"
    assert data.train.image_shape == (3, 64, 64)
    assert 60 < data.train.fetch(np.arange(100)).float().mean() < 200


def test_real_image_equals_pillows_decoding(data_dir: Path, real_cache: Path) -> None:
    import io
    import zipfile

    from PIL import Image

    data = SignDigits(data_dir, real_cache, image_size=96)
    with zipfile.ZipFile(data_dir / "sign_digits.zip") as archive:
        names = sorted(archive.namelist())
        for i in (0, 700, 1543):
            expected = np.asarray(Image.open(io.BytesIO(archive.read(names[data.train.rows[i]]))))
            assert np.array_equal(data.train.fetch(np.array([i]))[0].numpy(), expected.transpose(2, 0, 1))
