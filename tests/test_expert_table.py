"""One value for each prompt and expert, under outcomes, predictions and observed scores alike."""

import numpy as np
import pytest

from routoo_core.errors import OutcomesError
from routoo_core.expert_table import ExpertTable, join_expert_tables


@pytest.fixture
def table():
    values = np.array([[0.0, 1.0], [1.0, np.nan], [0.5, 0.25]], dtype=np.float32)
    return ExpertTable(("p1", "p2", "p3"), ("cheap", "dear"), values)


def test_experts_are_selected_by_name_in_the_order_asked_for(table):
    swapped = table.select(["dear", "cheap"])
    assert swapped.experts == ("dear", "cheap")
    assert swapped.row_ids == table.row_ids
    np.testing.assert_array_equal(swapped.values, table.values[:, ::-1])
    np.testing.assert_array_equal(swapped.column("cheap"), [0, 1, 0.5])


def test_rows_are_taken_by_number_with_their_ids(table):
    taken = table.take([2, 0])
    assert taken.row_ids == ("p3", "p1")
    np.testing.assert_array_equal(taken.values, [[0.5, 0.25], [0, 1]])
    assert len(table.take([])) == 0


def test_a_row_is_complete_where_every_expert_was_observed(table):
    assert list(table.complete_rows()) == [0, 2]
    assert list(table.select(["cheap"]).complete_rows()) == [0, 1, 2]
    assert table.observed.sum() == 5


def test_an_expert_that_is_not_there_is_named_beside_those_that_are(table):
    with pytest.raises(OutcomesError, match="no outcomes for other; known: cheap, dear"):
        table.select(["dear", "other"])


def test_joined_tables_impute_nothing(table):
    other = ExpertTable(("q1",), ("dear", "third"), np.array([[1.0, 0.0]], dtype=np.float32))
    both = join_expert_tables([table, other])
    assert both.row_ids == ("p1", "p2", "p3", "q1")
    assert both.experts == ("cheap", "dear", "third")
    assert list(both.complete_rows()) == []
    np.testing.assert_array_equal(both.values[3], [np.nan, 1, 0])
    np.testing.assert_array_equal(both.values[:3, :2], table.values)
    with pytest.raises(OutcomesError, match="row 'p1' is in a table twice"):
        join_expert_tables([table, table])


def test_nothing_is_observed_in_an_empty_table():
    empty = ExpertTable.empty(["p1"], ["cheap", "dear"])
    assert not empty.observed.any()
    assert empty.values.dtype == np.float32


def test_a_table_of_another_shape_than_its_names_is_refused():
    with pytest.raises(OutcomesError, match=r"1 rows and 2 experts has values of shape \(2, 2\)"):
        ExpertTable(("p1",), ("cheap", "dear"), np.zeros((2, 2)))
    with pytest.raises(OutcomesError, match="expert 'cheap' is in a table twice"):
        ExpertTable(("p1",), ("cheap", "cheap"), np.zeros((1, 2)))
