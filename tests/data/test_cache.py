import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cascade.data.cache import ImageCache, _decode, build_cache, to_uint8
from cascade.data.locks import locked, try_lock, unlock
from cascade.errors import InputError
from cascade.io.collection import Collection, Image, Study, write_collection


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


BUILD = """
import sys, time
from cascade.data.cache import build_cache
from cascade.io.collection import read_collection
decoded = []
cache = build_cache(read_collection(sys.argv[1]), 8, sys.argv[2], progress=lambda *a: (
    decoded.append(a), time.sleep(0.2)))
print(len(decoded), len(cache.rows))
"""


def test_two_processes_decode_once(collection, tmp_path):
    write_collection(collection, tmp_path / "written")
    words = [sys.executable, "-c", BUILD, str(tmp_path / "written"), str(tmp_path / "cache")]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].split() for process in both)
    assert said == [["0", "4"], ["5", "4"]]
    assert len(list((tmp_path / "cache").iterdir())) == 1  # neither a lock nor a second cache


def test_a_job_of_a_sweep_decodes_within_its_cores(collection, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "cascade.data.cache._decode_all",
        lambda tasks, workers: asked.append(workers) or map(_decode, tasks),
    )
    build_cache(collection, 8, tmp_path / "free", workers=3)
    monkeypatch.setenv("CASCADE_CORES", "2")
    build_cache(collection, 8, tmp_path / "two", workers=3)
    build_cache(collection, 8, tmp_path / "one", workers=1)
    assert asked == [3, 2, 1]


# --- locks


def test_a_lock_is_one_processs_until_it_lets_go(tmp_path):
    path = tmp_path / "lock"
    file = try_lock(path)
    assert file is not None
    assert try_lock(path) is None
    unlock(path, file)
    assert not path.exists()
    again = try_lock(path)
    assert again is not None
    unlock(path, again)


def test_a_killed_process_lets_go(tmp_path):
    path = tmp_path / "lock"
    code = "import sys, time; from cascade.data.locks import try_lock; "
    code += "try_lock(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", code, str(path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    assert try_lock(path) is None
    process.kill()
    process.communicate()
    file = try_lock(path)
    assert file is not None
    unlock(path, file)


def test_who_waits_is_told_and_gets_the_lock(tmp_path):
    path, order = tmp_path / "lock", []

    def second():
        with locked(path, lambda: order.append("waits")):
            order.append("has it")

    with locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        while not order:
            time.sleep(0.01)
        order.append("lets go")
    thread.join(10)
    assert order == ["waits", "lets go", "has it"]
    assert not path.exists()


def test_another_process_maps_the_same_file(collection, tmp_path):
    cache = build_cache(collection, 8, tmp_path / "cache")
    sent = pickle.dumps(cache)
    assert len(sent) < 1000  # the pixels stay where they are
    got = pickle.loads(sent)
    assert isinstance(got.pixels, np.memmap)
    assert np.array_equal(got.pixels, cache.pixels)
    assert (got.rows, got.failures) == (cache.rows, cache.failures)
    held = pickle.loads(pickle.dumps(ImageCache(np.ones((1, 8, 8), np.uint8), {"a": 0}, {})))
    assert held.pixels.sum() == 64
