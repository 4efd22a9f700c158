import ast
from pathlib import Path

import pytest

from trading_pipeline_tests.faults import rows

TESTS = Path(__file__).resolve().parents[1]
PROOFS = [(line.split()[0], line.split()[-1]) for line in rows.__doc__.splitlines() if "::" in line]


def test_every_row_of_the_matrix_has_its_proof():
    assert {row for row, _ in PROOFS} == set(rows.ROWS)


@pytest.mark.parametrize("proof", sorted({proof for _, proof in PROOFS}))
def test_every_proof_that_is_named_exists(proof):
    path, _, name = proof.partition("::")

    functions = [node.name for node in ast.parse((TESTS / path).read_text()).body if isinstance(node, ast.FunctionDef)]

    assert name in functions


def test_every_test_that_is_named_for_a_row_is_in_the_table():
    source = ast.parse((TESTS / "faults" / "test_fault_matrix.py").read_text())
    names = {node.name for node in source.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}

    assert names == {proof.partition("::")[2] for _, proof in PROOFS if proof.startswith("faults/test_fault_matrix.py")}
