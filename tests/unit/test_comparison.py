"""The directory compared with a batch's file: what a person is told, then the laws."""

from collections import Counter
from uuid import UUID

from hypothesis import given

from models.api import Difference
from models.hospital import HospitalRow, ListedHospital
from models.row import Row, RowStatus
from services.comparison import Comparison, compare
from tests.unit.strategies import BATCH_ID, FURTHER_ID, law, lists_of_a_batch, rows_of_a_batch

ACTIVE = RowStatus.CREATED_AND_ACTIVATED


def a_row(number: int, name: str, *, hospital_id: int | None = None) -> Row:
    return Row(HospitalRow(number, name, f"{name} Street", None), ACTIVE, hospital_id=hospital_id)


def a_hospital(
    hospital_id: int, name: str, *, active: bool = True, batch_id: UUID = BATCH_ID
) -> ListedHospital:
    return ListedHospital(hospital_id, name, f"{name} Street", "", batch_id, active)


def test_a_directory_that_holds_each_row_once_and_active_matches():
    rows = [a_row(1, "A"), a_row(2, "B"), a_row(3, "B")]
    further = a_hospital(1, "B", batch_id=FURTHER_ID)

    compared = compare(rows, [further, a_hospital(2, "B"), a_hospital(3, "A")])

    assert compared == Comparison((), (), ())
    assert compared.matches


def test_a_row_that_is_not_there_is_missing_however_well_it_is_remembered():
    rows = [a_row(1, "A", hospital_id=1), a_row(2, "B", hospital_id=2), a_row(3, "B")]

    compared = compare(rows, [a_hospital(2, "B")])

    assert compared.missing == (rows[0], rows[2])
    assert not compared.matches


def test_a_copy_too_many_is_surplus_and_the_rows_own_hospital_is_not():
    rows = [a_row(1, "A", hospital_id=8)]
    copies = [a_hospital(9, "A"), a_hospital(8, "A"), a_hospital(7, "A", active=False)]

    compared = compare(rows, copies)

    assert [one.id for one in compared.surplus] == [7, 9]
    assert not compared.missing
    assert not compared.inactive
    assert not compared.matches


def test_a_hospital_that_the_file_does_not_have_is_surplus():
    stranger = a_hospital(2, "Stranger")

    compared = compare([a_row(1, "A")], [a_hospital(1, "A"), stranger])

    assert compared.surplus == (stranger,)
    assert not compared.matches


def test_a_row_whose_hospital_is_not_active_is_told_with_it():
    rows = [a_row(1, "A"), a_row(2, "B")]
    asleep = a_hospital(2, "B", active=False)

    for listed in ([a_hospital(1, "A"), asleep], [a_hospital(1, "A", batch_id=FURTHER_ID), asleep]):
        compared = compare(rows, listed)
        assert compared.inactive == ((rows[1], asleep),)
        assert not compared.matches
        assert not compared.missing


def test_rows_that_are_not_to_be_in_the_directory_take_no_part():
    refused = Row(HospitalRow(1, "A", "A Street", None), RowStatus.FAILED, refused=True)
    skipped = Row(HospitalRow(2, "B", "B Street", None), RowStatus.FAILED, skipped=True)

    assert compare([refused, skipped], []).matches
    assert compare([refused, skipped], [a_hospital(1, "A")]).surplus == (a_hospital(1, "A"),)


def test_a_name_that_cannot_be_encoded_is_told_all_the_same():
    """A lone surrogate is legal in the directory's JSON; a null can stand there too."""
    odd = ListedHospital(1, "Odd \ud800", None, None, BATCH_ID, True)
    nameless = ListedHospital(2, None, None, None, BATCH_ID, True)

    assert '"name":"Odd ?"' in Difference.of(None, odd).model_dump_json()
    assert '"name":""' in Difference.of(None, nameless).model_dump_json()


@law
@given(rows_of_a_batch, lists_of_a_batch)
def test_what_is_told_is_the_difference_of_the_two_multisets(
    rows: list[Row], listed: list[ListedHospital]
):
    wanted = Counter(row.hospital.content for row in rows if not row.is_excluded)
    held = Counter(hospital.content for hospital in set(listed))

    compared = compare(rows, listed)

    assert Counter(row.hospital.content for row in compared.missing) == wanted - held
    assert Counter(one.content for one in compared.surplus) == held - wanted
    numbers = [row.hospital.row for row in compared.missing]
    numbers += [row.hospital.row for row, _ in compared.inactive]
    assert len(numbers) == len(set(numbers))
    for row, hospital in compared.inactive:
        assert row.hospital.content == hospital.content
        assert not hospital.active
    active = Counter(one.content for one in set(listed) if one.active)
    assert compared.matches == (wanted == held == active)


@law
@given(rows_of_a_batch, lists_of_a_batch)
def test_no_more_rows_are_called_inactive_than_active_hospitals_are_lacking(
    rows: list[Row], listed: list[ListedHospital]
):
    wanted = Counter(row.hospital.content for row in rows if not row.is_excluded)
    held = Counter(hospital.content for hospital in set(listed))
    active = Counter(one.content for one in set(listed) if one.active)

    compared = compare(rows, listed)

    assert Counter(row.hospital.content for row, _ in compared.inactive) == (wanted & held) - active
