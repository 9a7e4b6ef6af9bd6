"""The file's rows against the directory's rows: rule by rule, then the laws."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.hospital import HospitalRow, ListedHospital
from models.row import Row, RowStatus
from services.reconciliation import Plan, reconcile
from tests.unit.strategies import BATCH_ID, FURTHER_ID, law, lists_of_a_batch, rows_of_a_batch

MAY_EXIST = frozenset(RowStatus) - {RowStatus.PENDING}


def a_row(
    number: int,
    name: str,
    status: RowStatus = RowStatus.PENDING,
    *,
    hospital_id: int | None = None,
    refused: bool = False,
    phone: str | None = None,
) -> Row:
    hospital = HospitalRow(number, name, f"{name} Street", phone)
    return Row(hospital, status, hospital_id=hospital_id, refused=refused)


def a_copy(
    hospital_id: int,
    name: str | None,
    *,
    active: bool = False,
    phone: str | None = None,
    batch_id: UUID = BATCH_ID,
) -> ListedHospital:
    address = None if name is None else f"{name} Street"
    return ListedHospital(hospital_id, name, address, phone, batch_id, active)


def a_plan(
    adopt: dict[int, ListedHospital] | None = None,
    send: tuple[int, ...] = (),
    stranded: dict[int, ListedHospital] | None = None,
    surplus: tuple[ListedHospital, ...] = (),
    foreign: tuple[ListedHospital, ...] = (),
    closed: Iterable[UUID] = (),
) -> Plan:
    """The plan that asks for nothing but what is named."""
    return Plan(adopt or {}, send, stranded or {}, surplus, foreign, frozenset(closed))


class TestAdopting:
    def test_rows_are_matched_by_content_in_whatever_order_the_directory_lists_them(self):
        rows = [a_row(1, "A"), a_row(2, "B")]
        a, b = a_copy(9, "A"), a_copy(3, "B")

        assert a_plan(adopt={1: a, 2: b}) == reconcile(rows, [b, a], settled=True)

    def test_a_row_that_is_listed_is_adopted_at_once_whatever_its_status(self):
        """Looking too early can only miss a row, never invent one."""
        rows = [a_row(1 + place, f"H{place}", status) for place, status in enumerate(RowStatus)]
        copies = [a_copy(1 + place, f"H{place}") for place in range(len(rows))]

        plan = reconcile(rows, copies, settled=False)

        assert a_plan(adopt={copy.id: copy for copy in copies}) == plan

    def test_identical_rows_want_as_many_hospitals(self):
        rows = [a_row(1, "A"), a_row(2, "A"), a_row(3, "A")]
        first, second = a_copy(4, "A"), a_copy(8, "A")

        plan = reconcile(rows, [second, first], settled=True)

        assert a_plan(adopt={1: first, 2: second}, send=(3,)) == plan

    def test_a_copy_stays_with_the_row_that_knows_its_id(self):
        """Clients have been told which row has which id."""
        rows = [a_row(1, "A"), a_row(2, "A", RowStatus.CREATED, hospital_id=4)]
        known, other = a_copy(4, "A"), a_copy(8, "A")

        plan = reconcile(rows, [known, other], settled=True)

        assert a_plan(adopt={1: other, 2: known}) == plan

    def test_two_rows_that_know_their_ids_the_other_way_round_keep_them(self):
        rows = [
            a_row(1, "A", RowStatus.CREATED, hospital_id=8),
            a_row(2, "A", RowStatus.CREATED, hospital_id=4),
        ]
        four, eight = a_copy(4, "A"), a_copy(8, "A")

        assert a_plan(adopt={1: eight, 2: four}) == reconcile(rows, [four, eight], settled=True)

    def test_an_id_that_now_belongs_to_other_content_is_not_adopted_for_it(self):
        """The directory counts ids from 1 again after a restart."""
        rows = [
            a_row(1, "A", RowStatus.CREATED, hospital_id=1),
            a_row(2, "B", RowStatus.CREATED, hospital_id=2),
        ]
        restarted = a_copy(1, "B")

        plan = reconcile(rows, [restarted], settled=True)

        assert a_plan(adopt={2: restarted}, send=(1,)) == plan

    @pytest.mark.parametrize(("in_file", "listed"), [(None, ""), (None, None), ("1", "1")])
    def test_no_phone_and_an_empty_phone_are_the_same(
        self, in_file: str | None, listed: str | None
    ):
        copy = a_copy(1, "A", phone=listed)

        plan = reconcile([a_row(1, "A", phone=in_file)], [copy], settled=True)

        assert a_plan(adopt={1: copy}) == plan

    @pytest.mark.parametrize(
        "other",
        [
            a_copy(1, "A", phone="5550101"),
            a_copy(1, "a", phone="5550100"),
            a_copy(1, "A "),
            a_copy(1, None),
            ListedHospital(1, "A", None, "5550100", BATCH_ID, active=False),
        ],
    )
    def test_content_that_differs_anywhere_is_not_the_row(self, other: ListedHospital):
        row = a_row(1, "A", phone="5550100")

        assert a_plan(send=(1,), foreign=(other,)) == reconcile([row], [other], settled=True)

    def test_an_id_that_is_listed_twice_is_one_hospital(self):
        rows = [a_row(1, "A"), a_row(2, "A")]
        copy = a_copy(1, "A")

        plan = reconcile(rows, [copy, copy], settled=True)

        assert a_plan(adopt={1: copy}, send=(2,)) == plan

    def test_directory_batches_with_inactive_hospitals_are_still_to_be_activated(self):
        rows = [a_row(1, "A"), a_row(2, "B"), a_row(3, "C")]
        active = a_copy(1, "A", active=True)
        further = [a_copy(2, "B", batch_id=FURTHER_ID), a_copy(3, "C", batch_id=FURTHER_ID)]

        plan = reconcile(rows, [active, *further], settled=True)

        assert Counter({FURTHER_ID: 2}) == plan.inactive


class TestSendingAndWaiting:
    def test_a_row_that_was_never_sent_may_be_sent_at_once(self):
        assert a_plan(send=(1,)) == reconcile([a_row(1, "A")], [], settled=False)

    @pytest.mark.parametrize("status", sorted(MAY_EXIST))
    def test_a_row_that_may_exist_waits_for_a_settled_look(self, status: RowStatus):
        """A create may be stored seconds after its connection is gone, and is not idempotent."""
        row = a_row(1, "A", status)

        plans = [reconcile([row], [], settled=settled) for settled in (False, True)]

        assert [a_plan(), a_plan(send=(1,))] == plans

    def test_of_identical_rows_only_the_one_that_was_never_sent_goes_before_settling(self):
        rows = [a_row(1, "A", RowStatus.VERIFYING), a_row(2, "A")]

        assert a_plan(send=(2,)) == reconcile(rows, [], settled=False)

    def test_refused_rows_take_no_part(self):
        rows = [a_row(1, "A", RowStatus.FAILED, refused=True), a_row(2, "A")]

        assert a_plan(send=(2,)) == reconcile(rows, [], settled=True)

    def test_a_copy_of_a_refused_row_is_foreign(self):
        copy = a_copy(1, "A")
        rows = [a_row(1, "A", RowStatus.FAILED, refused=True)]

        assert a_plan(foreign=(copy,)) == reconcile(rows, [copy], settled=True)


class TestSurplusCopies:
    def test_none_is_deleted_until_settled(self):
        """Of two copies one may yet become the active one, or belong to a row under way."""
        rows = [a_row(1, "A")]
        first, second = a_copy(1, "A"), a_copy(2, "A")

        plans = [reconcile(rows, [first, second], settled=settled) for settled in (False, True)]

        kept = {1: first}
        assert [a_plan(adopt=kept), a_plan(adopt=kept, surplus=(second,))] == plans

    def test_the_smallest_id_stays_even_if_the_row_knows_another(self):
        rows = [a_row(1, "A", RowStatus.CREATED, hospital_id=5)]
        small, known = a_copy(3, "A"), a_copy(5, "A")

        plan = reconcile(rows, [known, small], settled=True)

        assert a_plan(adopt={1: small}, surplus=(known,)) == plan

    def test_an_active_copy_stays_whatever_its_id(self):
        rows = [a_row(1, "A")]
        early, active, late = a_copy(1, "A"), a_copy(2, "A", active=True), a_copy(3, "A")

        plan = reconcile(rows, [early, active, late], settled=True)

        assert a_plan(adopt={1: active}, surplus=(early, late), closed={BATCH_ID}) == plan

    def test_a_second_active_copy_is_surplus_too(self):
        rows = [a_row(1, "A")]
        first, second = a_copy(1, "A", active=True), a_copy(2, "A", active=True)

        plan = reconcile(rows, [second, first], settled=True)

        assert a_plan(adopt={1: first}, surplus=(second,), closed={BATCH_ID}) == plan


class TestForeignContent:
    def test_content_that_the_file_does_not_have_is_named_and_never_deleted(self):
        rows = [a_row(1, "A")]
        ours, foreign = a_copy(1, "A"), a_copy(2, "X")

        plan = reconcile(rows, [foreign, ours], settled=True)

        assert a_plan(adopt={1: ours}, foreign=(foreign,)) == plan

    def test_a_hospital_whose_texts_are_null_is_foreign(self):
        nulls = a_copy(2, None)

        assert a_plan(foreign=(nulls,)) == reconcile([], [nulls], settled=True)

    def test_without_any_row_listed_everything_is_missing(self):
        rows = [a_row(3, "C"), a_row(1, "A")]

        assert a_plan(send=(1, 3)) == reconcile(rows, [], settled=True)


class TestActiveRows:
    """A directory batch with an active row is closed: it is never activated again."""

    def test_a_missing_row_is_sent_elsewhere(self):
        rows = [a_row(1, "A"), a_row(2, "B")]
        active = a_copy(1, "A", active=True)

        plan = reconcile(rows, [active], settled=True)

        assert a_plan(adopt={1: active}, send=(2,), closed={BATCH_ID}) == plan

    def test_an_inactive_row_beside_it_is_stranded(self):
        rows = [a_row(2, "B"), a_row(1, "A")]
        active, inactive = a_copy(1, "A", active=True), a_copy(2, "B")

        plan = reconcile(rows, [active, inactive], settled=True)

        assert a_plan(adopt={1: active}, stranded={2: inactive}, closed={BATCH_ID}) == plan

    def test_a_stranded_row_is_in_the_directory_and_not_sent_while_it_is(self):
        rows = [a_row(1, "A"), a_row(2, "B", RowStatus.VERIFYING)]
        active, inactive = a_copy(1, "A", active=True), a_copy(2, "B")

        plan = reconcile(rows, [active, inactive], settled=False)

        assert a_plan(adopt={1: active}, stranded={2: inactive}, closed={BATCH_ID}) == plan

    def test_a_row_that_may_still_appear_waits(self):
        rows = [a_row(1, "A"), a_row(2, "B", RowStatus.VERIFYING)]
        active = a_copy(1, "A", active=True)

        plan = reconcile(rows, [active], settled=False)

        assert a_plan(adopt={1: active}, closed={BATCH_ID}) == plan

    def test_a_copy_that_can_still_be_activated_stays_instead_of_an_older_one_that_cannot(self):
        rows = [a_row(1, "A"), a_row(2, "B")]
        active, left = a_copy(1, "A", active=True), a_copy(2, "B")
        anew = a_copy(3, "B", batch_id=FURTHER_ID)

        plan = reconcile(rows, [active, left, anew], settled=True)

        assert a_plan(adopt={1: active, 2: anew}, surplus=(left,), closed={BATCH_ID}) == plan

    def test_an_active_row_closes_its_own_directory_batch_only(self):
        rows = [a_row(1, "A"), a_row(2, "B")]
        inactive, active = a_copy(1, "A"), a_copy(2, "B", active=True, batch_id=FURTHER_ID)

        plan = reconcile(rows, [inactive, active], settled=True)

        assert a_plan(adopt={1: inactive, 2: active}, closed={FURTHER_ID}) == plan

    def test_a_foreign_active_row_closes_it_too(self):
        rows = [a_row(1, "A"), a_row(2, "B")]
        ours, foreign = a_copy(1, "A"), a_copy(2, "X", active=True)

        plan = reconcile(rows, [ours, foreign], settled=True)

        expected = a_plan(send=(2,), stranded={1: ours}, foreign=(foreign,), closed={BATCH_ID})
        assert expected == plan

    def test_an_inactive_copy_of_an_active_row_is_surplus(self):
        rows = [a_row(1, "A")]
        active, late = a_copy(1, "A", active=True), a_copy(2, "A")

        plan = reconcile(rows, [active, late], settled=True)

        assert a_plan(adopt={1: active}, surplus=(late,), closed={BATCH_ID}) == plan


class TestLaws:
    @law
    @given(rows_of_a_batch, lists_of_a_batch, st.booleans())
    def test_adopted_content_is_the_rows_content(
        self, rows: list[Row], listed: list[ListedHospital], settled: bool
    ):
        adopt = reconcile(rows, listed, settled=settled).adopt
        content = {row.hospital.row: row.hospital.content for row in rows}

        assert {n: content[n] for n in adopt} == {n: copy.content for n, copy in adopt.items()}

    @law
    @given(rows_of_a_batch, lists_of_a_batch, st.booleans())
    def test_each_row_that_takes_part_is_adopted_sent_or_stranded_once_settled_and_no_other(
        self, rows: list[Row], listed: list[ListedHospital], settled: bool
    ):
        """Before that, a row that is not listed may still appear, and waits."""
        plan = reconcile(rows, listed, settled=settled)

        placed = Counter([*plan.adopt, *plan.send, *plan.stranded])
        wanted = Counter(row.hospital.row for row in rows if not row.refused)
        assert placed == wanted if settled else placed <= wanted

    @law
    @given(rows_of_a_batch, lists_of_a_batch, st.booleans())
    def test_a_row_that_may_exist_is_never_sent_before_it_is_settled(
        self, rows: list[Row], listed: list[ListedHospital], settled: bool
    ):
        plan = reconcile(rows, listed, settled=settled)
        status = {row.hospital.row: row.status for row in rows}

        assert settled or {RowStatus.PENDING} >= {status[number] for number in plan.send}

    @law
    @given(rows_of_a_batch, lists_of_a_batch, st.booleans())
    def test_each_listed_id_is_adopted_stranded_surplus_or_foreign_and_only_one_of_them(
        self, rows: list[Row], listed: list[ListedHospital], settled: bool
    ):
        """Surplus copies wait for a settled look, and are then all deleted."""
        plan = reconcile(rows, listed, settled=settled)

        assert settled or not plan.surplus
        surplus = plan.surplus if settled else _surplus(rows, listed)
        kinds = [*plan.adopt.values(), *plan.stranded.values(), *surplus, *plan.foreign]
        assert Counter({copy.id for copy in listed}) == Counter(copy.id for copy in kinds)

    @law
    @given(rows_of_a_batch, lists_of_a_batch, st.booleans())
    def test_what_is_to_be_activated_is_never_in_a_directory_batch_with_an_active_row(
        self, rows: list[Row], listed: list[ListedHospital], settled: bool
    ):
        plan = reconcile(rows, listed, settled=settled)
        closed = {copy.batch_id for copy in listed if copy.active}

        assert closed == plan.closed
        assert not closed & plan.inactive.keys()

    @law
    @given(rows_of_a_batch, lists_of_a_batch)
    def test_of_identical_copies_an_active_one_stays_then_the_smallest_id(
        self, rows: list[Row], listed: list[ListedHospital]
    ):
        plan = reconcile(rows, listed, settled=True)

        worse = [
            (kept, gone)
            for kept in plan.adopt.values()
            for gone in plan.surplus
            if kept.content == gone.content
            and _worth(gone, plan.closed) < _worth(kept, plan.closed)
        ]
        assert not worse

    @law
    @given(rows_of_a_batch, lists_of_a_batch, st.booleans())
    def test_the_order_of_the_list_does_not_matter(
        self, rows: list[Row], listed: list[ListedHospital], settled: bool
    ):
        orders = (listed, listed[::-1])

        here, there = (reconcile(rows, order, settled=settled) for order in orders)

        assert _in_order(here) == _in_order(there)

    @law
    @given(rows_of_a_batch, lists_of_a_batch)
    def test_carrying_settled_plans_out_makes_the_directory_equal_to_the_file(
        self, rows: list[Row], listed: list[ListedHospital]
    ):
        """Twice at the most, since a stranded row is deleted before it is sent anew."""
        once = _carried_out(rows, listed)

        twice = _carried_out(rows, once)

        plan = reconcile(rows, twice, settled=True)
        wanted = Counter(row.hospital.content for row in rows if not row.refused)
        ours = Counter(copy.content for copy in twice if copy not in plan.foreign)
        assert wanted == ours
        assert not any((plan.send, plan.surplus, plan.stranded))


def _surplus(rows: Iterable[Row], listed: Iterable[ListedHospital]) -> list[ListedHospital]:
    """Copies beyond what the file wants, which wait for a settled look."""
    wanted = Counter(row.hospital.content for row in rows if not row.refused)
    unique = {copy.id: copy for copy in listed}.values()
    closed = frozenset(copy.batch_id for copy in unique if copy.active)
    surplus = []
    for copy in sorted(unique, key=lambda copy: _worth(copy, closed)):
        if copy.content in wanted:
            wanted[copy.content] -= 1
            if wanted[copy.content] < 0:
                surplus.append(copy)
    return surplus


def _worth(copy: ListedHospital, closed: frozenset[UUID | None]) -> tuple[int, int]:
    """Active before what can be activated before what cannot, then by id."""
    return (0 if copy.active else 1 if copy.batch_id not in closed else 2, copy.id)


def _carried_out(rows: list[Row], listed: list[ListedHospital]) -> list[ListedHospital]:
    """What the directory shows after the plan for *listed*: rows go into a new directory batch."""
    unique = list({copy.id: copy for copy in listed}.values())
    plan = reconcile(rows, unique, settled=True)
    hospitals = {row.hospital.row: row.hospital for row in rows}
    gone = {copy.id for copy in (*plan.surplus, *plan.stranded.values())}
    new_id = max((copy.id for copy in unique), default=0) + 1
    sent = [
        ListedHospital(new_id + n, row.name, row.address, row.phone, uuid4(), active=False)
        for n, row in enumerate(hospitals[number] for number in plan.send)
    ]
    return [copy for copy in unique if copy.id not in gone] + sent


def _in_order(plan: Plan) -> Plan:
    return replace(
        plan,
        surplus=tuple(sorted(plan.surplus, key=lambda copy: copy.id)),
        foreign=tuple(sorted(plan.foreign, key=lambda copy: copy.id)),
    )
