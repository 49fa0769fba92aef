from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.io import openi
from cascade.io.openi import Rejected, iter_openi, parse_openi_report, read_openi
from cascade.io.openi_images import image_key, image_name

BOMB = """<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>
<eCitation><uId id="CXR9"/><MeSH><major>&b;</major></MeSH></eCitation>"""
EXTERNAL = """<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<eCitation><uId id="CXR9"/><MeSH><major>&a;</major></MeSH></eCitation>"""


def report(
    uid="CXR1", images=(), mesh=("normal",), automatic=("cough",), caption="PA", **sections
) -> bytes:
    texts = {"COMPARISON": "", "INDICATION": "Cough.", "FINDINGS": "Clear.", "IMPRESSION": "Fine."}
    texts |= sections
    return (
        '<?xml version="1.0" encoding="utf-8"?><eCitation>'
        f'<uId id="{uid}"/><MedlineCitation><Article><Abstract>'
        + "".join(f'<AbstractText Label="{k}">{v}</AbstractText>' for k, v in texts.items())
        + "</Abstract></Article></MedlineCitation><MeSH>"
        + "".join(f"<major>{term}</major>" for term in mesh)
        + "".join(f"<automatic>{term}</automatic>" for term in automatic)
        + "</MeSH>"
        + "".join(
            f'<parentImage id="{image}"><figureId>F1</figureId><caption>{caption}</caption>'
            "<panel><url>a.jpg</url></panel></parentImage>"
            for image in images
        )
        + "</eCitation>"
    ).encode()


def write_folder(root: Path, **files: bytes) -> Path:
    folder = root / "ecgen-radiology"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.xml").write_bytes(content)
    return root


def write_archive(path: Path, **files: bytes | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(f"ecgen-radiology/{name}.xml")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")


TWO = {
    "1": report("CXR1", ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]),
    "10": report("CXR10", ["CXR10_IM-0002-1001", "CXR10_IM-0002-2001"], ["Opacity/lung "]),
    "2": report("CXR2", ["CXR2_IM-0652-1001"], ["No Indexing"], COMPARISON="  None\n  here "),
}


# --- one report -----------------------------------------------------------------------------------


def test_a_report():
    read = parse_openi_report(
        report("CXR7", ["a", "b"], ["Technical Quality of Image Unsatisfactory ", "Opacity/lung"]),
        "7.xml",
    )
    assert read.images == ("a", "b")
    assert read.study.study_id == "CXR7"
    assert read.study.mesh == ("Technical Quality of Image Unsatisfactory", "Opacity/lung")
    assert (read.study.findings, read.study.impression) == ("Clear.", "Fine.")
    assert (read.study.indication, read.study.comparison) == ("Cough.", None)


def test_automatic_terms_and_captions():
    read = parse_openi_report(
        report(
            images=["a", "b"], automatic=["Pleural Effusion ", "", "opacity"], caption=" PA\n view"
        ),
        "7.xml",
    )
    assert read.study.mesh_automatic == ("Pleural Effusion", "opacity")
    assert read.study.mesh == ("normal",)
    assert read.captions == ("PA view", "PA view")
    bare = parse_openi_report(report(images=["a"], automatic=[], caption=""), "7.xml")
    assert (bare.study.mesh_automatic, bare.captions) == ((), (None,))


def test_elements_within_a_text_and_texts_of_one_section():
    content = report(FINDINGS="No <b>acute <i>disease</i></b><br/> seen &amp; &lt;b&gt;.<!-- x -->")
    content = content.replace(
        b"</Abstract>", b'<AbstractText Label="FINDINGS">End.</AbstractText></Abstract>'
    )
    content = content.replace(b"</Abstract>", b"<AbstractText>Nowhere.</AbstractText></Abstract>")
    assert parse_openi_report(content, "a").study.findings == "No acute disease seen & <b>. End."


def test_control_characters_are_dropped_from_texts():
    content = report(FINDINGS="a&#x9;\x85b\u200b&#x7f;c", mesh=["Opacity\x9f"])
    study = parse_openi_report(content, "a").study
    assert (study.findings, study.mesh) == ("a bc", ("Opacity",))


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"),
        ("latin-1", "iso-8859-1"),
        ("cp1252", "windows-1252"),
        ("utf-8-sig", "utf-8"),
    ],
)
def test_other_encodings_are_read_as_declared(encoding: str, declared: str):
    text = report(FINDINGS="caf\xe9").decode().replace("utf-8", declared)
    assert parse_openi_report(text.encode(encoding), "a").study.findings == "caf\xe9"


def test_no_indexing_means_that_nobody_annotated():
    assert parse_openi_report(report(mesh=["No Indexing"]), "a").study.mesh == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not well-formed"),
        (b"plain text", "not well-formed"),
        (report()[:80], "not well-formed"),
        (b"<eCitation/>", "no uId"),
        (b'<?xml version="1.0" encoding="none-such"?><a/>', "not well-formed"),
        (
            report(FINDINGS="caf\xe9".encode("latin-1").decode("latin-1")).replace(
                "é".encode(), b"\xe9"
            ),
            "not well-formed",
        ),
        (BOMB.encode(), "forbidden construct"),
        (EXTERNAL.encode(), "forbidden construct"),
        (b'<!DOCTYPE x><eCitation><uId id="CXR1"/></eCitation>', r"forbidden construct \(DTD\)"),
        (BOMB.encode(), "declares the entity 'a'"),
        (EXTERNAL.encode(), "declares the external entity 'a'"),
        (EXTERNAL.encode("utf-16"), "declares the external entity 'a'"),
        (report(FINDINGS="&none;"), "undefined entity"),
        (report(FINDINGS="a\x00b"), "not well-formed"),
        (report(FINDINGS="a&#0;b"), "not well-formed"),
        (report().decode().encode("utf-16"), "not well-formed"),
        (report().replace(b"utf-8", b"shift_jis"), "not well-formed"),
        (report(FINDINGS="XX").replace(b"XX", b"caf\xe9"), r"byte \d+ is not UTF-8"),
        (report(uid=" "), "no uId"),
    ],
)
def test_what_is_no_report_names_the_file(content: bytes, words: str):
    with pytest.raises(InputError, match=rf"^9\.xml: .*{words}"):
        parse_openi_report(content, "9.xml")


# --- where the reports are ------------------------------------------------------------------------


def test_all_ways_in_lead_to_the_same(tmp_path: Path):
    write_folder(tmp_path / "unpacked", **TWO)
    (tmp_path / "packed").mkdir()
    archive = write_archive(tmp_path / "packed" / "NLMCXR_reports.tgz", **TWO)
    shutil.copytree(
        tmp_path / "unpacked/ecgen-radiology", tmp_path / "deep/NLMCXR_reports/ecgen-radiology"
    )
    roots = [
        tmp_path / "unpacked",
        tmp_path / "unpacked" / "ecgen-radiology",
        tmp_path / "packed",
        archive,
        tmp_path / "deep",
    ]
    for root in roots:
        collection = read_openi(root)
        studies = collection.studies
        assert studies["study_id"].tolist() == ["CXR1", "CXR2", "CXR10"], root
        assert studies["patient_id"].tolist() == studies["study_id"].tolist()
        assert studies["mesh"].tolist() == [["normal"], [], ["Opacity/lung"]]
        assert studies["comparison"].tolist() == [None, "None here", None]
        assert studies["split"].isna().all()
        assert collection.counts["images_named"] == 5
        assert collection.info["images_found"] == 0
        assert collection.info["unindexed"] == 1


def test_a_missing_download_says_what_to_download(tmp_path: Path):
    with pytest.raises(InputError, match=r"NLMCXR_reports\.tgz .* NLMCXR_png\.tgz"):
        read_openi(tmp_path)
    with pytest.raises(InputError, match="does not exist: download NLMCXR"):
        read_openi(tmp_path / "none")
    (tmp_path / "a.txt").touch()
    with pytest.raises(InputError, match="neither a folder nor an archive"):
        read_openi(tmp_path / "a.txt")
    with pytest.raises(InputError, match="holds no XML"):
        read_openi(write_archive(tmp_path / "empty.tgz"))


@pytest.mark.parametrize("cut", [10, 200, -20, -4])
def test_a_damaged_archive_is_named(cut: int, tmp_path: Path):
    path = write_archive(tmp_path / "a.tgz", **TWO)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_openi(path)
    tar = gzip.compress(gzip.decompress(whole)[:1024])  # ends behind the first report
    path.write_bytes(tar[:-1])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_openi(path)
    path.write_bytes(gzip.decompress(whole)[:1024])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_openi(path)
    path.write_bytes(b"not a tar at all")
    with pytest.raises(InputError, match="damaged or cut short after 0"):
        read_openi(path)


# --- one bad file loses nothing else --------------------------------------------------------------


def test_bad_files_are_rows_with_a_reason(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(openi, "MAX_REPORT_BYTES", 5000)
    link = tarfile.TarInfo("ecgen-radiology/link.xml")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    bad = {
        "bad": b"<eCitation>",
        "bomb": BOMB.encode(),
        "huge": report("CXR5", FINDINGS="a" * 6000),
        "twice": TWO["1"],
        "stolen": report("CXR6", ["CXR1_1_IM-0001-3001"]),
    }
    for root in (
        write_folder(tmp_path / "a", **TWO, **bad),
        write_archive(tmp_path / "a.tgz", **TWO, **bad, link=link),
    ):
        collection = read_openi(root)
        assert len(collection.studies) == 3
        reasons = {row["file"]: row["reason"] for row in collection.info["rejected"]}
        assert "not well-formed" in reasons["bad.xml"]
        assert (
            "forbidden construct (Entities" in reasons["bomb.xml"] or "DTD" in reasons["bomb.xml"]
        )
        assert "more than the limit" in reasons["huge.xml"]
        assert "read already" in reasons["twice.xml"]
        assert "another study" in reasons["stolen.xml"]
    assert reasons["link.xml"] == "not a regular file"


def test_nothing_but_bad_files_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"none of the 2 reports .* a\.xml: not well-formed"):
        read_openi(write_folder(tmp_path, a=b"<", b=b""))


def test_paths_in_an_archive_lead_nowhere(tmp_path: Path):
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("../../evil.xml")
        member.size = len(TWO["1"])
        archive.addfile(member, io.BytesIO(TWO["1"]))
    (tmp_path / "images").mkdir()
    assert len(read_openi(path, images=tmp_path / "images").studies) == 1
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.tgz", "images"]


def test_progress_is_told(tmp_path: Path):
    seen: list[int] = []
    read_openi(write_folder(tmp_path, **TWO), progress=seen.append)
    assert seen == [1, 2, 3]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path):
    path = tmp_path / "bomb.tgz"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(20):
            member = tarfile.TarInfo(f"{number}.xml")
            member.size = openi.MAX_REPORT_BYTES
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    start = time.process_time()
    with pytest.raises(InputError, match=r"bomb\.tgz unpacks to more than the limit of \d+ bytes"):
        read_openi(path)
    assert time.process_time() - start < 60  # 2 s on an idle core


def test_the_limits_are_the_module_s_own(tmp_path: Path, monkeypatch):
    path = write_archive(tmp_path / "a.tgz", **TWO)
    monkeypatch.setattr(openi, "MAX_ARCHIVE_BYTES", 4096)
    with pytest.raises(InputError, match="limit of 4096 bytes"):
        read_openi(path)


def test_a_report_of_ten_megabytes_is_read(tmp_path: Path):
    long = "The heart is normal. " * 500_000
    content = report("CXR3", FINDINGS=long)
    (read,) = list(iter_openi(write_folder(tmp_path, a=content)))
    assert not isinstance(read, Rejected)
    assert read.study.findings == long.strip()


def test_a_file_of_many_elements_or_deep_ones_takes_little_time(tmp_path: Path):
    many = b"<a/>" * 1_000_000 + b"<b>" * 100_000 + b"</b>" * 100_000
    content = report("CXR3").replace(b"</eCitation>", many + b"</eCitation>")
    start = time.process_time()
    assert parse_openi_report(content, "a").study.study_id == "CXR3"
    assert time.process_time() - start < 20  # half a second on an idle core


def test_reports_come_one_at_a_time_in_the_archive_s_order(tmp_path: Path):
    path = write_archive(tmp_path / "a.tgz", **TWO, bad=b"<", again=TWO["1"])
    items = iter_openi(path)
    first = next(items)
    assert not isinstance(first, Rejected)
    assert first.study.study_id == "CXR1"
    rest = list(items)
    assert [item.study.study_id for item in rest if not isinstance(item, Rejected)] == [
        "CXR10",
        "CXR2",
    ]
    assert [item for item in rest if isinstance(item, Rejected)][1] == Rejected(
        "again.xml", "study CXR1 was read already"
    )
    with pytest.raises(InputError, match="does not exist"):
        iter_openi(tmp_path / "none")


def test_nothing_is_lost_silently(tmp_path: Path):
    bad = {"bad": b"<", "latin": b"\xe9", "empty": b"", "none": b"<a/>", "twice": TWO["2"]}
    collection = read_openi(write_folder(tmp_path, **TWO, **bad))
    (tmp_path / "ecgen-radiology" / "folder.xml").mkdir()
    again = read_openi(tmp_path)
    assert len(collection.studies) + len(collection.info["rejected"]) == len(TWO) + len(bad)
    assert {row["file"] for row in again.info["rejected"]} == {
        *(f"{name}.xml" for name in bad),
        "folder.xml",
    }
    assert all(set(row) == {"file", "reason"} and row["reason"] for row in again.info["rejected"])


@pytest.mark.parametrize("uid", ["CXR" + "9" * 5000, "CXR\u00b2", "\u0663", "-", "CXR07"])
def test_odd_ids_are_sorted_too(uid: str, tmp_path: Path):
    collection = read_openi(write_folder(tmp_path, a=report(uid), **TWO))
    assert len(collection.studies) == 4


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CXR1_1_IM-0001-4001", "1_IM-0001-4001"),
        ("CXR1_1_IM-0001-4001.png", "1_IM-0001-4001"),
        ("1_IM-0001-4001.dcm.png", "1_IM-0001-4001"),
        ("CXR1000_IM-0003-3001.dcm", "1000_IM-0003-3001"),
        ("CXR11_1_IM-1.JPG", "11_1_IM-1"),
    ],
)
def test_image_key(name, key):
    assert image_key(name) == key


@pytest.mark.parametrize("name", ["CXR1_1_IM-0001-4001", "CXR10_IM-0002-1001", "CXR11_IM-1-2-3"])
def test_image_name_undoes_image_key(name):
    assert image_name(image_key(name)) == name


def paths(collection) -> dict[str, str]:
    table = collection.images.dropna(subset="path")
    return dict(zip(table["image_id"], table["path"], strict=True))


def test_images_are_matched_in_every_naming_scheme(tmp_path: Path):
    write_folder(tmp_path, **TWO)
    touch(
        tmp_path,
        "a/CXR1_1_IM-0001-3001.png",
        "a/1_IM-0001-4001.dcm.png",
        "b/CXR10_IM-0002/1.png",
        "c/CXR2_IM-0652-1001.dcm",
        "c/notes.txt",
    )
    collection = read_openi(tmp_path)
    assert paths(collection) == {
        "CXR1_1_IM-0001-3001": "a/CXR1_1_IM-0001-3001.png",
        "CXR1_1_IM-0001-4001": "a/1_IM-0001-4001.dcm.png",
        "CXR10_IM-0002-2001": "b/CXR10_IM-0002/1.png",
        "CXR2_IM-0652-1001": "c/CXR2_IM-0652-1001.dcm",
    }
    assert collection.info["files_unused"] == {"count": 0, "first": []}


def test_files_that_fit_nowhere_are_counted(tmp_path: Path):
    write_folder(tmp_path, **TWO)
    touch(
        tmp_path,
        "a/CXR10_IM-0002-1001.png",
        "b/CXR10_IM-0002-1001.png",
        "c/CXR10_IM-0002/0.png",
        "c/CXR10_IM-0002/2.png",
        "c/CXR10_IM-9999/0.png",
        "c/CXR10_IM-0002/\u00b2.png",
        "c/holiday.jpg",
    )
    collection = read_openi(tmp_path)
    assert paths(collection) == {"CXR10_IM-0002-1001": "a/CXR10_IM-0002-1001.png"}
    assert collection.info["files_unused"]["count"] == 6


def test_masks_are_no_images(tmp_path: Path):
    write_folder(tmp_path, **TWO)
    touch(tmp_path, "truth/masks/CXR10_IM-0002-1001.png")
    collection = read_openi(tmp_path)
    assert paths(collection) == {}
    assert collection.info["files_unused"]["count"] == 1


def test_r2gen_folder_of_a_longer_common_name(tmp_path: Path):
    images = ["CXR3_IM-7-1001-0001", "CXR3_IM-7-1001-0002", "CXR3_IM-7-2001"]
    write_folder(tmp_path, a=report("CXR3", images))
    touch(tmp_path, "CXR3_IM-7-1001/0.png", "CXR3_IM-7-1001/1.png")
    assert list(paths(read_openi(tmp_path))) == images[:2]


def test_images_elsewhere(tmp_path: Path):
    write_folder(tmp_path / "reports", **TWO)
    touch(tmp_path / "images", "CXR2_IM-0652-1001.png")
    collection = read_openi(tmp_path / "reports", images=tmp_path / "images")
    assert paths(collection) == {"CXR2_IM-0652-1001": "CXR2_IM-0652-1001.png"}
    assert collection.image_root == tmp_path / "images"
    with pytest.raises(InputError, match="image folder .* does not exist"):
        read_openi(tmp_path / "reports", images=tmp_path / "none")


# --- what lies beside -----------------------------------------------------------------------------


def test_views_and_patients(tmp_path: Path):
    write_folder(tmp_path, **TWO)
    (tmp_path / "projections.csv").write_text(
        "uid,filename,projection\n1,1_IM-0001-4001.dcm.png,Frontal\n"
        "1,1_IM-0001-3001.dcm.png,Lateral\n2,2_IM-0652-1001.dcm.png,Oblique\n"
    )
    (tmp_path / "patients.csv").write_text("uid,patient_id\nCXR1,anna\n10,anna\n")
    collection = read_openi(tmp_path)
    views = dict(zip(collection.images["image_id"], collection.images["view"], strict=True))
    assert views == {
        "CXR1_1_IM-0001-3001": "lateral",
        "CXR1_1_IM-0001-4001": "frontal",
        "CXR2_IM-0652-1001": "unknown",
        "CXR10_IM-0002-1001": "unknown",
        "CXR10_IM-0002-2001": "unknown",
    }
    assert collection.studies["patient_id"].tolist() == ["anna", "CXR2", "anna"]
    (tmp_path / "projections.csv").write_text("uid,file\n1,2\n")
    with pytest.raises(InputError, match="no column 'filename', 'projection'"):
        read_openi(tmp_path)
    with pytest.raises(InputError, match="is missing"):
        read_openi(tmp_path, projections=tmp_path / "none.csv")


def test_the_official_split(tmp_path: Path):
    write_folder(tmp_path, **TWO)
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["CXR1_1_IM-0001"], "test": [{"id": "CXR2_IM-0652"}]}))
    collection = read_openi(tmp_path, split_file=split)
    assert collection.studies["split"].tolist() == ["train", "test", None]
    assert collection.info["split_file"]["studies_outside"] == 1
    for content, words in (
        ("[]", "not a split file"),
        ('{"dev": []}', "not a split file"),
        ('{"train": "CXR1"}', "must be a list"),
        ('{"train": [3]}', "must be a list"),
        ('{"train": ["CXR1_a"], "test": ["CXR1_b"]}', "stands in train and test"),
    ):
        split.write_text(content)
        with pytest.raises(InputError, match=words):
            read_openi(tmp_path, split_file=split)


# --- the real archive -----------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_archive(real_data: Path):
    start = time.perf_counter()
    collection = read_openi(real_data / "openi", split_file=real_data / "openi/r2gen_split.json")
    assert time.perf_counter() - start < 20  # 2 s on an idle core
    assert collection.counts["studies"] == 3955
    assert collection.counts["images_named"] == 7470
    assert collection.info["images_found"] == 13
    assert collection.info["files_unused"]["count"] == 0
    assert collection.info["rejected"] == []
    assert collection.info["unindexed"] == 95
    assert collection.studies["split"].value_counts().to_dict() == {
        "train": 2069,
        "val": 296,
        "test": 590,
    }
    assert collection.images["view"].value_counts().to_dict() == {
        "frontal": 3818,
        "lateral": 3648,
        "unknown": 4,
    }
    assert collection.studies["mesh_automatic"].map(len).sum() == 7047
    assert collection.images["caption"].notna().sum() == 7468
    for path in collection.images["path"].dropna():
        assert collection.image_path(path).is_file()
    # the copy in R2Gen's folder is the second image that the report names, a frontal view
    row = collection.images.set_index("image_id").loc["CXR2843_IM-1254-1001-0002"]
    assert row["path"] == "r2gen_images/CXR2843_IM-1254-1001/1.png"
    assert row["view"] == "frontal"
