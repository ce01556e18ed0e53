import builtins
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_core.config import DataConfig
from cxr_core.data.decode import decode, read_picture
from cxr_core.data.ingest import ingest
from cxr_core.data.refusal import ImageRefused
from cxr_core.data.scope import why_out_of_scope
from cxr_core.errors import MachineError

pydicom = pytest.importorskip("pydicom", reason="the dicom extra is not installed")
Chest = Callable[..., np.ndarray]


def _dicom(pixels: np.ndarray, photometric: str = "MONOCHROME2", bits: int | None = None, **tags: Any) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = "Secret^Child", "ID-4711"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_a_deflated_file_is_refused_before_it_is_unpacked(chest: Chest, monkeypatch: pytest.MonkeyPatch) -> None:
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    dataset = pydicom.dcmread(io.BytesIO(_dicom(chest())))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    monkeypatch.setattr("zlib.decompress", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(ImageRefused, match="deflated"):
        decode(buffer.getvalue())


@pytest.mark.parametrize(
    ("view", "aside"), [("LL", True), ("LATERAL", True), ("AP", False), ("PA", False), ("", False)]
)
def test_a_lateral_view_is_told_by_its_header_and_out_of_scope(view: str, aside: bool, chest: Chest) -> None:
    found = read_picture(_dicom(chest(), ViewPosition=view))
    assert found.view == view.strip().upper()
    assert ("from the side" in why_out_of_scope(found)) == aside


def test_eight_bit_values_come_through_unchanged(chest: Chest) -> None:
    found = read_picture(_dicom(chest()))
    assert np.array_equal(np.asarray(found.image), chest())
    assert found.mode == "MONOCHROME2"


def test_monochrome1_is_inverted(chest: Chest) -> None:
    assert np.array_equal(np.asarray(decode(_dicom(255 - chest(), "MONOCHROME1"))), chest())


def test_twelve_stored_bits_are_scaled_by_their_own_range(chest: Chest) -> None:
    deep = chest().astype(np.uint16) * 16
    grey = np.asarray(decode(_dicom(deep, bits=12)))
    assert np.array_equal(grey, np.rint(deep / 4095 * 255).astype(np.uint8))


def test_the_window_of_the_header_is_applied_or_not_as_asked() -> None:
    ramp = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (32, 1))
    content = _dicom(ramp, bits=12, WindowCenter=1024, WindowWidth=1024)
    windowed = np.asarray(decode(content, dicom_window="header"))
    full = np.asarray(decode(content, dicom_window="full"))
    inside = (ramp - 1023.5) / 1023 + 0.5  # DICOM PS3.3 C.11.2.1.2, function LINEAR
    assert np.array_equal(windowed, np.rint(np.clip(inside, 0, 1) * 255).astype(np.uint8))
    assert np.array_equal(full, np.rint(ramp / 4095 * 255).astype(np.uint8))


def test_rescaled_signed_values_span_their_range() -> None:
    ramp = np.tile(np.arange(-2048, 2048, 64, dtype=np.int16), (32, 1))
    grey = np.asarray(decode(_dicom(ramp, bits=12, RescaleSlope=2, RescaleIntercept=100)))
    assert np.array_equal(grey, np.rint((ramp + 2048) / 4095 * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("pixels", "options", "word"),
    [
        (np.zeros((32, 32, 3), np.uint8), {"photometric": "RGB"}, "RGB"),
        (np.zeros((64, 32), np.uint8), {"NumberOfFrames": 2, "Rows": 32}, "2 frame"),
    ],
)
def test_what_is_not_one_grey_frame_is_refused(pixels: np.ndarray, options: dict[str, Any], word: str) -> None:
    with pytest.raises(ImageRefused, match=word) as caught:
        decode(_dicom(pixels, **options))
    assert caught.value.reason == "dicom"


def test_shallow_values_bombs_and_broken_files_are_refused(chest: Chest) -> None:
    for content, reason, options in (
        (_dicom(chest().astype(np.uint16) * 16), "depth", {}),
        (_dicom(chest()), "bomb", {"largest_pixels": 1000}),
        (_dicom(chest())[:-500], "dicom", {}),
        (_dicom(chest())[:140], "dicom", {}),
    ):
        with pytest.raises(ImageRefused) as caught:
            decode(content, **options)
        assert caught.value.reason == reason


def test_a_look_up_table_is_refused_not_ignored(chest: Chest) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 8], bytes(range(256))
    content = _dicom(chest(), VOILUTSequence=pydicom.Sequence([table]))
    with pytest.raises(ImageRefused, match="look-up table"):
        decode(content)
    assert np.array_equal(np.asarray(decode(content, dicom_window="full")), chest())


def test_without_pydicom_the_message_names_the_extra(chest: Chest, monkeypatch: pytest.MonkeyPatch) -> None:
    content, real = _dicom(chest()), builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "pydicom":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MachineError, match=r"cxr\[dicom\]"):
        decode(content)


def test_a_dicom_folder_is_taken_in_and_no_patient_tag_is_copied(tmp_path: Path, chest: Chest) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for seed in range(3):
            (tmp_path / "set" / label / f"{seed}.dcm").write_bytes(_dicom(chest(seed + 10 * (label == "NORMAL"))))
    out = tmp_path / "out"
    out.mkdir()
    facts = ingest(folder=tmp_path / "set", out=out, config=DataConfig())
    assert facts["modes"] == {"MONOCHROME2": 6}
    left = b"".join(path.read_bytes() for path in out.iterdir()) + repr(facts).encode()
    assert b"Secret" not in left and b"4711" not in left
