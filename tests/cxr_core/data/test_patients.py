import pytest

from cxr_core.data.patients import label_in_name, patient_of


@pytest.mark.parametrize(
    ("stem", "kind", "patient", "number"),
    [
        ("person12_virus_34", "virus", "virus-person12", "person12"),
        ("person12_bacteria_48", "bacteria", "bacteria-person12", "person12"),
        ("person447_virus_921_1", "virus", "virus-person447", "person447"),
        ("IM-0115-0001", "normal", "IM-0115", "IM-0115"),
        ("NORMAL2-IM-0115-0001", "normal", "NORMAL2-IM-0115", "IM-0115"),
        ("IM-0011-0001-0002", "normal", "IM-0011", "IM-0011"),
    ],
)
def test_published_names(stem: str, kind: str, patient: str, number: str) -> None:
    who = patient_of(stem, "NORMAL" if kind == "normal" else "PNEUMONIA")
    assert (who.kind, who.patient, who.number, who.published) == (kind, patient, number, True)


@pytest.mark.parametrize(("label", "kind"), [("NORMAL", "normal"), ("PNEUMONIA", "unspecified")])
def test_any_other_name_is_a_patient_of_its_own(label: str, kind: str) -> None:
    one, other = patient_of("scan_001", label), patient_of("scan_002", label)
    assert one.patient != other.patient and one.number != other.number
    assert one.kind == kind and not one.published


@pytest.mark.parametrize(
    ("stem", "label"),
    [
        ("person1_virus_6", "PNEUMONIA"),
        ("NORMAL2-IM-0007-0001", "NORMAL"),
        ("scan", None),
        ("person1_fungus_6", None),
    ],
)
def test_a_label_is_implied_only_by_a_known_name(stem: str, label: str | None) -> None:
    assert label_in_name(stem) == label
