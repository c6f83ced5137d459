"""A matrix: which cells it has, what they are called, and what is filled into them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstack_core._workflow.load import load_workflows
from dstack_core._workflow.matrix import MOST, cell_name, encoded, parse, read_name
from dstack_core._workflow.raw import RawWorkflow
from dstack_core.errors import InputError, NotFoundError

AXES = {"lr": ["0.1", "0.01"], "model": ["small", "big"]}
SHORT = "matrix: {lr: [0.1, 0.01], model: [small, big]}"
LONG = "matrix: {values: {lr: [0.1, 0.01], model: [small, big]}, max_parallel: 2}"
CELLS = [
    "w[lr=0.1,model=small]", "w[lr=0.1,model=big]", "w[lr=0.01,model=small]", "w[lr=0.01,model=big]",
]  # fmt: skip


def write(project, properties, more=""):
    project.write(f"workflows:\n  - name: w\n    provider: bash\n    commands: [echo]\n    {properties}\n{more}")
    return load_workflows(project.root)


def test_both_forms_are_the_same_cells(project):
    assert write(project, SHORT).jobs("w") == write(project, LONG).jobs("w") == CELLS
    assert [write(project, m).get(CELLS[0]).of.max_parallel for m in (SHORT, LONG)] == [None, 2]


def test_the_order_of_the_keys_changes_no_name(project):
    turned = write(project, "matrix: {model: [small, big], lr: [0.1, 0.01]}")
    assert sorted(turned.jobs("w")) == sorted(CELLS)


def test_a_workflow_without_a_matrix_is_one_job(project):
    assert write(project, "env: {A: 1}").jobs("w") == ["w"]


def test_some_cells_left_out_and_some_added():
    found = parse({"values": AXES, "exclude": [{"lr": "0.1"}], "include": [{"lr": "7", "model": "huge"}]})
    assert [tuple(cell.values()) for cell in found.cells] == [("0.01", "small"), ("0.01", "big"), ("7", "huge")]


@pytest.mark.parametrize(
    ("matrix", "place", "part"),
    [
        ("matrix: []", "5:13", "must be a mapping"),
        ("matrix: {}", "5:13", "is empty"),
        ("matrix: {a: 1}", "5:17", "write `a: [VALUE, ...]`"),
        ("matrix: {a: []}", "5:17", "must be a list"),
        ("matrix: {a: [[1]]}", "5:18", "must be one text value"),
        ("matrix: {a: [1, null]}", "5:21", "is empty"),
        ("matrix: {a: [1, 2, 1]}", "5:24", "`1` is there twice"),
        ("matrix: {a-b: [1]}", "5:14", "`a-b` is not a key"),
        (
            "matrix: {a: [1], max_parallel: 2}",
            "5:22",
            "write `matrix: {values: {KEY: [VALUE, ...]}, max_parallel: ...}`",
        ),
        ("matrix: {values: [1]}", "5:22", "must be a mapping"),
        ("matrix: {values: {a: [1]}, max_paralel: 2}", "5:32", "did you mean `max_parallel`?"),
        ("matrix: {values: {a: [1]}, max_parallel: 0}", "5:46", "from 1 to"),
        ("matrix: {values: {a: [1]}, exclude: [{b: 1}]}", "5:46", "is no key"),
        ("matrix: {values: {a: [1]}, exclude: [{a: 2}]}", "5:46", "`2` is none of its values"),
        ("matrix: {values: {a: [1]}, exclude: [{a: 1}]}", "5:13", "has 0 cells"),
        ("matrix: {values: {a: [1], b: [1]}, include: [{a: 2}]}", "5:50", "must have all of a, b"),
        ("matrix: {values: {a: [1]}, include: [{a: 1}]}", "5:42", "is there already"),
        ("artifacts: ['${{ matrix.lr }}']", "5:17", "${{ matrix.NAME }}"),
    ],
)
def test_what_is_wrong_and_where(project, matrix, place, part):
    def jobs():
        return project.resolve(write(project, matrix).jobs("w")[0])

    message = project.error(jobs, InputError)
    assert message.startswith(f".dstack/workflows.yaml:{place}: ")
    assert part in message


def test_a_reference_to_a_key_that_is_not_there(project):
    for properties in (
        "artifacts: ['m/${{ matrix.modle }}']",
        "env: {A: '${{ matrix.modle }}'}",
        "setup: ['${{ matrix.modle }}']",
    ):
        write(project, f"{SHORT}\n    {properties}")
        message = project.error(lambda: project.resolve(CELLS[0]), InputError)
        assert message.startswith(".dstack/workflows.yaml:6:")
        assert "the matrix has no `modle` | did you mean `matrix.model`?" in message
    project.write("workflows: [{name: w, provider: bash, commands: ['${{ matrix.lr }}']}]")
    assert "the workflow has no `matrix`" in project.error(project.resolve, InputError)


def test_too_many_cells_are_refused_before_they_are_made():
    with pytest.raises(ValueError, match=f"has 1,000,000,000 cells; at most {MOST:,} can be"):
        parse({letter: [str(n) for n in range(1000)] for letter in "abc"})
    assert len(parse({letter: [str(n) for n in range(100)] for letter in "ab"}).cells) == MOST


def test_paths_deps_and_resources_are_filled_in_and_the_rest_is_left_to_the_runner(project):
    write(project, """matrix: {size: [1, 2], lang: [de, "a,b"]}
    artifacts: ["m/${{ matrix.size }}"]
    deps: ["data[lang=${{ matrix.lang }}]", ":tag-${{matrix.size}}"]
    resources: {memory: "${{ matrix.size }}GB", cpu: "${{ matrix.size }}"}
    python: 3.1${{ matrix.size }}
    env: ["A=${{ matrix.lang }}"]
    retry: "${{ matrix.size }}"
""")  # fmt: skip
    found = project.resolve("w[lang=a%2Cb,size=2]", {"input": ["x${{ matrix.size }}"]})
    assert [artifact.path for artifact in found.artifacts] == ["m/2"]
    assert [dep.name for dep in found.deps] == ["data[lang=a%2Cb]", "tag-2"]
    assert (found.resources.memory, found.resources.cpu, found.python) == (2_000_000_000, 2, "3.12")
    assert (found.env, found.retry.attempts, found.inputs) == ({"A": "${{ matrix.lang }}"}, 2, ("x2",))
    assert (found.name, found.cell.values) == ("w[lang=a%2Cb,size=2]", {"size": "2", "lang": "a,b"})


def test_what_a_value_makes_of_a_property_is_checked(project):
    write(project, "matrix: {a: [../x]}\n    artifacts: ['${{ matrix.a }}/..']")
    assert "leads out of the folder" in project.error(lambda: project.resolve("w[a=../x]"), InputError)


@pytest.mark.parametrize("typed", ["w[lr=0.1,model=big]", "w[model=big,lr=0.1]", "w[model=big, lr=0.1]"])
def test_a_cell_is_found_however_its_keys_are_ordered(project, typed):
    assert write(project, SHORT).get(typed).name == "w[lr=0.1,model=big]"


def test_a_cell_that_is_not_there(project):
    with pytest.raises(NotFoundError, match="`w` has no cell") as caught:
        write(project, SHORT).get("w[lr=0.1,model=bigg]")
    assert caught.value.hint == "did you mean `w[lr=0.1,model=big]`?"
    for name in ("w[]", "w[lr]", "x[lr=0.1]", "w[lr=0.1", "]"):
        with pytest.raises(NotFoundError):
            write(project, SHORT).get(name)


def test_a_cell_may_not_be_called_like_a_workflow(project):
    more = "  - {name: 'w[a=1]', provider: bash, commands: [echo]}\n"
    assert "is called" not in project.error(lambda: write(project, "matrix: {a: [1]}", more).jobs("w"), InputError)


@given(st.lists(st.text(max_size=80), min_size=2, max_size=2, unique=True))
def test_names_are_unique_visible_and_found_again(values):
    one, other = ({"a": value, "b": "x"} for value in values)
    assert cell_name("w", one) != cell_name("w", other)
    for cell in (one, other):
        name = cell_name("w", cell)
        assert name.isprintable()
        assert "/" not in name
        assert len(name) < 100
        assert ("w", name) in list(read_name(name))


@given(st.text(alphabet="a,=[]%/ \n\té~", max_size=200))
def test_an_encoded_value_stays_as_it_is_when_read_and_written_again(value):
    (read,) = itertools.islice(read_name(f"w[a={encoded(value)}]"), 1)
    assert read == ("w", f"w[a={encoded(value)}]")


def test_expanding_leaves_the_entry_as_it_was():
    data = {"provider": "bash", "commands": ["x"], "matrix": {"a": ["1"]}, "artifacts": ["${{ matrix.a }}"]}
    from dstack_core._workflow.cells import cells_of

    (cell,) = cells_of(raw := RawWorkflow("w", data)).values()
    assert cell.data["artifacts"] == ["1"]
    assert raw.data["artifacts"] == ["${{ matrix.a }}"]
