"""``engine=ray`` on a local Ray of two workers gives the rows of ``engine=local``."""

from functools import partial

import pytest

from cascade.errors import CascadeError
from cascade.inference.archive import annotate_archive
from cascade.inference.tables import read_table

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

MODULE = """
import os, signal, time
import numpy as np
from cascade.inference.prediction import Prediction
from cascade.io.image import read_radiograph

class Bright:
    model_id, version, labels, views = "bright", "1", ["bright"], 1
    def predict(self, images, indications=None):
        return [self._one([image]) for image in images]
    def predict_studies(self, studies, indications=None):
        return [self._one(images) for images in studies]
    def _one(self, images):
        mean = float(np.mean([image.mean() for image in images]))
        return Prediction("opacity", "Opacity.", 0.5, {"bright": mean})

class Broken(Bright):
    def predict(self, images, indications=None):
        raise RuntimeError("no memory")

def read(path):
    word = path.name.partition("-")[0]
    if word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "hang":
        time.sleep(600)
    return read_radiograph(path)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A local Ray whose workers can import the module above."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "for_ray.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        paths = {"env_vars": {"PYTHONPATH": f"{folder}:{_root()}"}}
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, runtime_env=paths)
        import for_ray

        yield for_ray
        ray.shutdown()


def _root():
    from pathlib import Path

    import cascade

    return Path(cascade.__file__).parents[1]


def on_ray(module, name="Bright"):
    from cascade.inference.engines.ray import RayEngine

    return partial(RayEngine, load=getattr(module, name), workers=2)


@pytest.fixture
def archive(tmp_path, dicom):
    for number in range(40):
        dicom(
            f"in/{number:02}.dcm",
            instance=f"1.2.{number - 1 if number % 10 == 9 else number}",
            bright=1 + number % 3,
            StudyInstanceUID=f"1.3.{number // 2}",
        )
    dicom("in/crash-1.dcm", instance="1.9.1", StudyInstanceUID="1.9")
    dicom("in/crash-2.dcm", instance="1.9.2", StudyInstanceUID="1.9")
    dicom("in/hang-1.dcm", instance="1.9.3", StudyInstanceUID="1.9")
    dicom("in/nice-1.dcm", instance="1.9.4", StudyInstanceUID="1.9")
    (tmp_path / "in" / "zero.dcm").write_bytes(b"")
    return tmp_path / "in"


def timeless(out, kind):
    return [row | {"time": None} for row in read_table(out, kind)]


def test_a_cluster_gives_the_rows_of_one_machine(tmp_path, archive, cluster):
    options = {"read": cluster.read, "workers": 2, "file_seconds": 3, "batch_size": 4}
    summaries = [
        annotate_archive(archive, cluster.Bright(), tmp_path / out, **options, **more)
        for out, more in (("local", {}), ("ray", {"make_engine": on_ray(cluster)}))
    ]
    assert summaries[0] == summaries[1]
    for kind in ("images", "studies"):
        assert timeless(tmp_path / "ray", kind) == timeless(tmp_path / "local", kind)
    rows = {row["path"]: row for row in read_table(tmp_path / "ray", "images")}
    assert rows["crash-1.dcm"]["reason"] == "the decoder died on this file"
    assert rows["hang-1.dcm"]["reason"] == "the decoder took longer than 3 seconds"
    assert rows["nice-1.dcm"]["status"] == "draft"


def test_an_interrupted_cluster_goes_on(tmp_path, archive, cluster):
    class Stop(BaseException):
        """As a kill would."""

    def stop(stage, done, total, failed):
        if stage == "annotating" and done >= 10:
            raise Stop

    options = {"read": cluster.read, "workers": 2, "file_seconds": 3, "batch_size": 4}
    options["make_engine"] = on_ray(cluster)
    with pytest.raises(Stop):
        annotate_archive(archive, cluster.Bright(), tmp_path / "out", progress=stop, **options)
    summary = annotate_archive(archive, cluster.Bright(), tmp_path / "out", **options)
    assert summary.resumed >= 10
    paths = [row["path"] for row in read_table(tmp_path / "out", "images")]
    assert len(paths) == len(set(paths)) == summary.found == 45


def test_a_network_that_fails_on_the_cluster_is_one_line(tmp_path, archive, cluster):
    with pytest.raises(CascadeError, match=r"the cluster failed .*run again to go on"):
        annotate_archive(
            archive,
            cluster.Broken(),
            tmp_path / "out",
            batch_size=4,
            make_engine=on_ray(cluster, "Broken"),
        )
