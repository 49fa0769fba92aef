"""The phantom: truth measured from the images, and files as a raw download would have them."""

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from defusedxml.ElementTree import parse
from PIL import Image

from cascade.errors import InputError
from cascade.io.phantom import KINDS, Finding, draw_study, write_phantom
from cascade.io.phantom import findings as phantom_findings
from cascade.io.phantom.language import write_report
from cascade.io.phantom.study import PhantomStudy

SIDES = ("right", "left", "bilateral")
SITES = (
    "upper lobe",
    "middle lobe",
    "lingula",
    "lower lobe",
    "base",
    "apex",
    "mediastinum",
    "abdomen",
)
DEGREES = ("borderline", "mild", "moderate", "severe", "small", "large", "patchy", "multiple")


@pytest.fixture
def show(monkeypatch):
    """Draw a study with the findings given instead of those of its index."""

    def draw(*shown: Finding, index: int = 0, size: int = 128, **options) -> PhantomStudy:
        monkeypatch.setattr(
            "cascade.io.phantom.study.draw_findings", lambda seed, index: (shown, False)
        )
        return draw_study(7, index, size, **{"lateral_share": 0.0, **options})

    return draw


def darkness(study: PhantomStudy, rows: slice, columns: slice) -> float:
    return float(study.views[0].pixels[rows, columns].mean()) / 65535


def width(mask: np.ndarray) -> int:
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[-1] - columns[0] + 1)


# --- what is drawn


@pytest.mark.parametrize(
    ("degree", "low", "high"),
    [
        (None, 0.38, 0.475),
        ("borderline", 0.50, 0.52),
        ("mild", 0.545, 0.575),
        ("moderate", 0.60, 0.635),
        ("severe", 0.67, 0.72),
    ],
)
def test_heart_width_over_chest_width_is_in_the_band_of_its_degree(show, degree, low, high):
    shown = [Finding("cardiomegaly", degree=degree, token=5)] if degree else []
    for index in (0, 1, 2):
        regions = show(*shown, index=index, size=256).views[0].regions
        ratio = width(regions == 3) / width(regions > 0)
        # A patient who leans shows both widths a little longer or shorter.
        assert low - 0.02 <= ratio <= high + 0.02


def test_the_patients_right_lung_is_at_the_images_left(show):
    regions = show().views[0].regions
    assert np.flatnonzero((regions == 1).any(axis=0)).mean() < 64
    assert np.flatnonzero((regions == 2).any(axis=0)).mean() > 64


@pytest.mark.parametrize(("side", "label"), [("right", 1), ("left", 2)])
def test_an_effusion_brightens_the_costophrenic_corner_of_its_side_alone(show, side, label):
    healthy = show()
    ill = show(Finding("effusion", side=side, degree="small", token=1))
    regions = healthy.views[0].regions
    rise = ill.views[0].pixels.astype(float) - healthy.views[0].pixels

    def corner(lung: int) -> np.ndarray:
        rows = np.arange(128)[:, None]
        outer = np.flatnonzero((regions == lung).any(axis=0))
        near = outer[:6] if lung == 1 else outer[-6:]
        column = np.zeros((128, 128), bool)
        column[:, near] = True
        lowest = np.flatnonzero((regions == lung).any(axis=1))[-1]
        return (regions == lung) & column & (rows > lowest - 10)

    assert rise[corner(label)].mean() > 0.05 * 65535
    assert abs(rise[corner(3 - label)]).mean() < 0.01 * 65535


def test_a_larger_effusion_reaches_higher(show):
    tops = [
        show(Finding("effusion", side="left", degree=size, token=3)).views[0].boxes[0].y0
        for size in ("small", "moderate", "large")
    ]
    assert tops[0] > tops[1] + 5
    assert tops[1] > tops[2] + 5


def test_free_air_is_darker_and_on_its_side(show):
    healthy, ill = show(), show(Finding("pneumothorax", side="right", degree="large", token=2))
    box = ill.views[0].boxes[0]
    middle = slice((box.y0 + box.y1) // 2 - 8, (box.y0 + box.y1) // 2 + 8)
    edge = slice(box.x0 + 2, box.x0 + 7)
    assert box.x1 < 70
    assert darkness(ill, middle, edge) < darkness(healthy, middle, edge)


def test_lung_volumes_follow_the_annotation(show):
    def height(*shown: Finding) -> int:
        regions = show(*shown).views[0].regions
        return len(np.flatnonzero((regions == 1).any(axis=1)))

    low, mild = height(Finding("hypoinflation")), height(Finding("hypoinflation", degree="mild"))
    assert low < mild < height() < height(Finding("hyperdistention"))


@pytest.mark.parametrize("kind", ["nodule", "granuloma", "opacity"])
@pytest.mark.parametrize(
    ("site", "side", "left", "upper"),
    [
        ("upper lobe", "right", False, True),
        ("upper lobe", "left", True, True),
        ("lower lobe", "right", False, False),
        ("lower lobe", "left", True, False),
        ("lingula", None, True, False),
    ],
)
def test_a_focus_is_in_its_lobe_and_brighter(show, kind, site, side, left, upper):
    healthy, ill = show(), show(Finding(kind, site, side, token=11))
    box = ill.views[0].boxes[0]
    regions = healthy.views[0].regions
    rows = np.flatnonzero((regions == (2 if left else 1)).any(axis=1))
    row, column = (box.y0 + box.y1) // 2, (box.x0 + box.x1) // 2
    assert regions[row, column] in ((2, 3) if left else (1, 3))
    assert (row < rows.mean()) == upper
    place = slice(row - 1, row + 2), slice(column - 1, column + 2)
    assert darkness(ill, *place) > darkness(healthy, *place) + 0.02


def test_a_nodule_is_at_least_five_pixels_wide(show):
    for token in range(5):
        box = show(Finding("nodule", "upper lobe", "left", token=token)).views[0].boxes[0]
        assert box.x1 - box.x0 >= 5
        assert box.y1 - box.y0 >= 5


def test_scoliosis_bends_the_spine_to_its_side(show):
    right = show(Finding("scoliosis", side="right", token=0)).views[0].boxes[0]
    left = show(Finding("scoliosis", side="left", token=0)).views[0].boxes[0]
    assert right.x0 + right.x1 < left.x0 + left.x1 - 4


def test_every_choice_is_drawn_with_a_box_inside_the_image(show):
    for kind, choices in phantom_findings._CHOICES.items():
        for number, choice in enumerate(choices):
            study = show(Finding(kind, *choice, token=number), size=64)
            (box,) = study.views[0].boxes
            assert box.finding == study.mesh[0]
            assert 0 <= box.x0 < box.x1 <= 64
            assert 0 <= box.y0 < box.y1 <= 64


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_finding_changes_the_image(show, kind):
    choice = next(iter(phantom_findings._CHOICES[kind]))
    ill = show(Finding(kind, *choice, token=4)).views[0].pixels.astype(float)
    assert np.abs(ill - show().views[0].pixels).max() > 0.08 * 65535


def test_a_lateral_view_shows_the_findings_that_it_can(show):
    nodule = Finding("nodule", "lower lobe", "right", token=1)
    frontal, lateral = show(nodule, lateral_share=1.0).views
    assert (frontal.view, lateral.view) == ("frontal", "lateral")
    assert frontal.image_id.rsplit("-", 1)[0] == lateral.image_id.rsplit("-", 1)[0]
    assert [box.finding for box in lateral.boxes] == ["Nodule/lung/lower lobe/right"]
    assert lateral.regions is None


# --- determinism


def test_a_study_depends_on_seed_and_index_alone():
    first, again = draw_study(3, 17, 64), draw_study(3, 17, 64)
    draw_study(3, 4, 64)
    assert np.array_equal(first.views[0].pixels, again.views[0].pixels)
    assert (first.mesh, first.report, first.patient) == (again.mesh, again.report, again.patient)
    other = draw_study(4, 17, 64)
    assert not np.array_equal(first.views[0].pixels, other.views[0].pixels)


def test_a_larger_image_shows_the_same_study():
    small, large = draw_study(3, 5, 64), draw_study(3, 5, 256)
    assert small.mesh == large.mesh
    reduced = np.asarray(Image.fromarray(large.views[0].pixels.astype(np.float32)).reduce(4))
    assert np.corrcoef(reduced.ravel(), small.views[0].pixels.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("size", [32, 1024])
def test_the_smallest_and_a_large_image_are_drawn(show, size):
    frontal, lateral = show(
        Finding("effusion", side="left", degree="large"), size=size, lateral_share=1
    ).views
    assert frontal.pixels.shape == lateral.pixels.shape == (size, size)
    assert frontal.pixels.dtype == np.uint16
    assert len(frontal.boxes) == len(lateral.boxes) == 1


def test_the_files_do_not_depend_on_workers_or_on_how_many_studies(tmp_path):
    write_phantom(tmp_path / "a", studies=6, size=32, seed=1)
    write_phantom(tmp_path / "b", studies=5, size=32, seed=1, workers=2)
    for file in sorted((tmp_path / "b").rglob("*.*")):
        if file.suffix in (".dcm", ".xml"):
            same = tmp_path / "a" / file.relative_to(tmp_path / "b")
            assert file.read_bytes() == same.read_bytes()
    long = (tmp_path / "a" / "truth" / "boxes.csv").read_text()
    assert long.startswith((tmp_path / "b" / "truth" / "boxes.csv").read_text())


def test_a_patient_keeps_the_body_and_comes_back():
    drawn = [draw_study(0, index, 32, lateral_share=0.0) for index in range(60)]
    by_patient: dict[str, list[PhantomStudy]] = {}
    for study in drawn:
        by_patient.setdefault(study.patient.patient_id, []).append(study)
    assert 30 < len(by_patient) < 55
    for studies in by_patient.values():
        assert len({study.patient for study in studies}) == 1
        assert [study.has_prior for study in studies] == [False] + [True] * (len(studies) - 1)
    several = [studies for studies in by_patient.values() if len(studies) > 1]
    assert any(one.mesh == two.mesh for one, two, *_ in several)
    assert any(one.mesh != two.mesh for one, two, *_ in several)


# --- annotation and report


def test_frequencies_are_imbalanced_as_in_open_i_and_none_is_too_rare():
    counts = dict.fromkeys(KINDS, 0)
    sizes = [0] * 5
    for index in range(4000):
        shown, _ = phantom_findings.draw_findings(0, index)
        sizes[len(shown)] += 1
        for finding in shown:
            counts[finding.kind] += 1
    assert 0.34 < sizes[0] / 4000 < 0.40
    assert sizes[1] > sizes[2] > sizes[3] > sizes[4] > 0
    assert min(counts.values()) / 4000 > 0.012
    assert max(counts.values()) > 4 * min(counts.values())


def test_annotations_follow_the_grammar_in_a_fixed_order():
    heads = "|".join(map(re.escape, KINDS.values()))
    tail = "".join(f"(/({'|'.join(words)}))?" for words in (SITES, SIDES, DEGREES))
    order = list(KINDS.values())
    for index in range(1500):
        shown, _ = phantom_findings.draw_findings(2, index)
        terms = [finding.mesh for finding in shown]
        for term in terms:
            assert re.fullmatch(f"({heads}){tail}", term), term
        begun = [next(i for i, head in enumerate(order) if t.startswith(head)) for t in terms]
        assert begun == sorted(set(begun))


WORDS = {
    "cardiomegaly": "cardiomegaly|enlarge",
    "hypoinflation": "hypoinflat|low",
    "hyperdistention": "hyperinflat|hyperexpan",
    "effusion": "effusion",
    "pneumothorax": "pneumothorax",
    "opacity": "opacity",
    "atelectasis": "atelectasis",
    "nodule": "nodule",
    "granuloma": "granuloma",
    "scoliosis": "scoliosis",
    "degenerative": "degenerative",
    "catheter": "catheter",
    "clips": "clips",
}
CLEARED = {
    "cardiomegaly": "heart size|normal in size|silhouette (is|and)|heart and mediastinum",
    "hypoinflation": "well expanded|normal lung volumes",
    "hyperdistention": "well expanded|normal lung volumes",
    "effusion": "lungs are clear|costophrenic .* sharp",
    "pneumothorax": "lungs are clear",
    "opacity": "lungs are clear|clear lungs|focal (airspace|consol)",
    "atelectasis": "lungs are clear",
    "nodule": "lungs are clear|clear lungs",
    "granuloma": "lungs are clear|clear lungs",
    "scoliosis": "bony structures are intact|osseous structures|xxxx are intact",
    "degenerative": "bony structures are intact|osseous structures|xxxx are intact",
    "catheter": "normal chest",
    "clips": "mediastinal contours are normal",
}


def sentences(text: str | None) -> list[str]:
    return [part.strip().lower() for part in re.split(r"(?<=\.)\s", text or "") if part.strip()]


def test_a_report_mentions_each_finding_and_denies_none():
    for index in range(1200):
        shown, has_prior = phantom_findings.draw_findings(4, index)
        patient = phantom_findings.draw_patient(4, index)
        rng = phantom_findings.generator(4, "text", index)
        report = write_report(shown, patient, has_prior, rng)
        told = report.findings or report.impression
        assert told
        every = sentences(report.findings) + sentences(report.impression)
        denials = [s for s in every if re.match(r"(no|there is no|normal chest)\b", s)]
        for finding in shown:
            stated = [s for s in sentences(told) if re.search(WORDS[finding.kind], s)]
            stated = [s for s in stated if s not in denials]
            assert stated, (finding, report)
            words = {finding.side, finding.degree} - {None, "bilateral"}
            if finding.kind == "effusion" and finding.side == "bilateral":
                words.add("bilateral")
            if finding.site not in (None, "base", "apex", "mediastinum", "lingula"):
                words.add(finding.site)
            assert any(
                all(word.split()[-1][:4] in s or word in ("right", "left") for word in words)
                and (finding.side not in ("right", "left") or side_said(finding, s))
                for s in stated
            ), (finding, stated)
            for sentence in denials:
                assert "normal chest" not in sentence
                assert not re.search(WORDS[finding.kind], sentence), (finding, sentence)
            for sentence in every:
                assert not re.search(CLEARED[finding.kind], sentence), (finding, sentence)


def side_said(finding: Finding, sentence: str) -> bool:
    if finding.kind == "scoliosis":
        curve = {"right": "dextro", "left": "levo"}[str(finding.side)]
        return curve in sentence or str(finding.side) in sentence
    return str(finding.side) in sentence


def test_reports_vary():
    reports = [draw_study(0, index, 32, lateral_share=0.0) for index in range(80)]
    normal = [study.report for study in reports if study.mesh == ("normal",)]
    texts = [report.findings for report in normal if report.findings]
    assert len(set(texts)) > 0.9 * len(texts)
    assert any(study.report.findings is None for study in reports)
    assert any(study.report.indication is None for study in reports)
    assert any("XXXX" in (study.report.findings or "") for study in reports)


# --- files


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "raw"
    finished: list[int] = []
    write_phantom(
        folder,
        studies=24,
        size=48,
        lateral_share=0.5,
        monochrome1_share=0.4,
        masks=True,
        progress=finished.append,
    )
    assert sum(finished) == 24
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_xml_has_the_elements_of_open_i(written):
    for index in range(24):
        study = draw_study(0, index, 48, lateral_share=0.5)
        root = parse(written / "ecgen-radiology" / f"{study.study_id}.xml").getroot()
        assert root.find("uId").get("id") == study.study_id
        assert tuple(m.text for m in root.findall("MeSH/major")) == study.mesh
        names = [image.get("id") for image in root.findall("parentImage")]
        assert names == [view.image_id for view in study.views]
        assert all(image.find("panel/url").text for image in root.findall("parentImage"))
        texts = {t.get("Label"): t.text for t in root.iter("AbstractText")}
        assert texts["FINDINGS"] == study.report.findings
        assert texts["IMPRESSION"] == study.report.impression


def test_dicom_holds_the_pixels_and_monochrome1_is_really_inverted(written):
    kinds = set()
    for index in range(24):
        for view in draw_study(0, index, 48, lateral_share=0.5).views:
            data = pydicom.dcmread(written / "images" / f"{view.image_id}.dcm")
            kinds.add((data.PhotometricInterpretation, data.Modality))
            stored = data.pixel_array.astype(int)
            if data.PhotometricInterpretation == "MONOCHROME1":
                stored = 2**data.BitsStored - 1 - stored
            assert np.array_equal(stored, view.pixels >> (16 - data.BitsStored))
            assert data.ViewPosition == {"frontal": "PA", "lateral": "LL"}[view.view]
            assert data.BodyPartExamined == "CHEST"
            assert data.SOPInstanceUID.is_valid
            assert data.StudyInstanceUID.is_valid
    assert {kind for kind, _ in kinds} == {"MONOCHROME1", "MONOCHROME2"}
    assert {modality for _, modality in kinds} == {"CR", "DX"}


def test_tables_beside_the_images_agree_with_the_studies(written):
    projections = rows(written / "projections.csv")
    assert {row["projection"] for row in projections} == {"Frontal", "Lateral"}
    assert {row["filename"] for row in projections} == {
        path.name for path in (written / "images").iterdir()
    }
    patients = {row["uid"]: row["patient_id"] for row in rows(written / "patients.csv")}
    assert patients["CXR5"] == draw_study(0, 4, 48).patient.patient_id
    for row in rows(written / "truth" / "boxes.csv"):
        x0, y0, x1, y1 = (int(row[name]) for name in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= 48
        assert 0 <= y0 < y1 <= 48
    info = json.loads((written / "phantom.json").read_text())
    assert (info["seed"], info["studies"], info["size"]) == (0, 24, 48)
    assert info["patients"] == len(set(patients.values()))
    mask = np.asarray(Image.open(written / "truth" / "masks" / "CXR1_IM-0001-1001.png"))
    assert np.array_equal(mask, draw_study(0, 0, 48).views[0].regions)


def test_png_is_16_bit_and_bone_bright(tmp_path):
    write_phantom(tmp_path / "raw", studies=1, size=32, image_format="png", monochrome1_share=1)
    pixels = np.asarray(Image.open(tmp_path / "raw" / "images" / "CXR1_IM-0001-1001.png"))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, draw_study(0, 0, 32).views[0].pixels)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"studies": 0}, "studies=0"),
        ({"size": 8}, "size=8"),
        ({"size": 100_000}, "size=100000"),
        ({"seed": -1}, "seed=-1"),
        ({"image_format": "tiff"}, "'tiff'"),
        ({"lateral_share": 1.5}, "lateral_share=1.5"),
        ({"monochrome1_share": -0.1}, "monochrome1_share=-0.1"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(tmp_path, wrong, named):
    with pytest.raises(InputError, match=re.escape(named)):
        write_phantom(tmp_path / "raw", **{"studies": 1, "size": 32, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_phantom(tmp_path, studies=1, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_in_mid_work_leaves_nothing(tmp_path):
    def stop(finished: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "raw", studies=3, size=32, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_findings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Finding("nodule").kind = "opacity"
