import os

import numpy as np
import pytest

from cascade.data.cache import build_cache, to_uint8
from cascade.errors import InputError
from cascade.io.collection import Collection, Image, Study


def test_pixels_are_letterboxed_bytes():
    pixels = to_uint8(np.array([[0.0, 1.0, 0.5, 0.5]], dtype=np.float32), 4)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (4, 4)
    assert pixels.max() == 255


def test_reads_what_it_can_and_names_the_rest(collection, tmp_path):
    calls = []
    cache = build_cache(collection, 8, tmp_path / "cache", progress=lambda *a: calls.append(a))
    assert sorted(cache.rows) == ["a0", "a1", "b0", "c0"]
    assert list(cache.failures) == ["b1"]
    assert cache.pixels[cache.rows["b0"]][4, 4] == 30
    assert calls[-1] == (5, 5)
    assert cache.size == 8


def test_second_call_decodes_nothing(collection, tmp_path):
    build_cache(collection, 8, tmp_path / "cache")
    calls = []
    cache = build_cache(collection, 8, tmp_path / "cache", progress=lambda *a: calls.append(a))
    assert calls == []
    assert cache.pixels[cache.rows["a0"]][4, 4] == 10


def test_a_changed_file_makes_another_cache(collection, tmp_path):
    build_cache(collection, 8, tmp_path / "cache")
    os.utime(tmp_path / "a0.png", ns=(1, 1))
    build_cache(collection, 8, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_two_workers_give_the_same(collection, tmp_path):
    one = build_cache(collection, 8, tmp_path / "one")
    two = build_cache(collection, 8, tmp_path / "two", workers=2)
    assert one.rows == two.rows
    assert (one.pixels == two.pixels).all()


def test_no_file_is_an_error(tmp_path):
    missing = Collection.build([Study("a", "p")], [Image("i", "a", None)], tmp_path)
    with pytest.raises(InputError, match="none of the 1 images"):
        build_cache(missing, 8, tmp_path / "cache")


def test_nothing_readable_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    broken = Collection.build([Study("a", "p")], [Image("i", "a", "bad.png")], tmp_path)
    with pytest.raises(InputError, match="none of the 1 image files could be read"):
        build_cache(broken, 8, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
