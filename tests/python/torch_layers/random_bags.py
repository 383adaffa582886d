"""Random bags through damo.Step and EmbeddingBagCollection, against torch.nn.EmbeddingBag.

    python3 tests/python/torch_layers/random_bags.py --inputs 10000 --seed 1

An input has one to six features on one to three tables. Bags, gradients of rows and gradients of
weights must be those of torch in float64 to 1e-6, or the input is refused: with a message that
names the feature, and nothing is changed. The numbers of inputs of each kind and the largest errors
are printed. test_random_bags.py goes through some hundred inputs. PYTHONPATH must have the package.
"""

import argparse
import collections
import contextlib
import sys
import tempfile
import time
from typing import Any

# Before the others: without torch it skips the file that imports this.
from support import torch  # isort: skip
from bag_inputs import ALL_IDS, Groups, Input, wrong
from random_inputs import IDS, WITHOUT_ROWS, Draw

import damo

TOLERANCE = 1e-6


class Torch:
    """torch's bags by features, and its gradients: of tables, and of weights by features."""

    def __init__(self, given: Input):
        tables = {table.name: table.as_torch() for table in given.tables}
        weights: dict[str, Any] = {}
        self.bags, loss = {}, 0
        for one in given.features:
            begins = torch.tensor([0, *one.sizes[:-1]]).cumsum(0)[: len(one.sizes)]
            if one.weights is not None:
                weights[one.name] = one.weights.detach().double().reshape(-1).requires_grad_()
            bags = tables[one.table.name](one.places.reshape(-1), begins, weights.get(one.name))
            self.bags[one.name] = bags.detach()
            loss = loss + (bags * one.gradient).sum()
        loss.backward()
        self.gradients = {name: table.weight.grad for name, table in tables.items()}
        self.of_weights = {name: weight.grad for name, weight in weights.items()}


class Checks:
    """Checks inputs, and counts them."""

    def __init__(self, seed):
        self.seed = seed
        self.kinds: collections.Counter = collections.Counter()
        self.errors = dict.fromkeys(("bags", "rows", "weights"), 0.0)
        self._folder = tempfile.TemporaryDirectory(prefix="damo-bags-")
        self.storage = damo.Storage(f"{self._folder.name}/table", cache_bytes=1 << 24)
        self.groups = Groups(self.storage)

    def close(self):
        self.storage.close()
        self._folder.cleanup()

    def run(self, number):
        """Raises AssertionError."""
        draw = Draw(self.seed, number)
        if draw.random() < 0.15:
            self._refused(Input(draw, self.groups, is_wrong=True))
            return
        given = Input(draw, self.groups)
        expected = Torch(given)
        self._count(given)
        self._collection(given, expected)
        given.reset()
        self._step(given, expected)

    def _count(self, given):
        self.kinds["equal"] += 1
        kinds = set()
        for one in given.features:
            kinds.add(one.table.mode)
            kinds.add("int32 ids" if one.ids.dtype == torch.int32 else "int64 ids")
            has_padding = one.table.padding is not None and one.table.padding in one.ids.long()
            kinds.add("padding" if has_padding else "")
            kinds.add("weights" if one.weights is not None else "")
            kinds.add("empty bags" if 0 in one.sizes else "")
            kinds.add("an id twice" if len(one.places.unique()) < one.ids.numel() else "")
            kinds.add("bags of one size" if one.offsets is None else "")
        kinds.add("the last offset" if given.has_last else "")
        kinds.add("two features on a table" if len(given.features) > len(given.tables) else "")
        kinds.add("a KeyedJaggedTensor" if given.is_keyed else "")
        kinds.add("one matrix" if given.is_matrix else "")
        kinds.add("eval mode, peek" if not given.training else "")
        self.kinds.update(kinds - {""})

    def near(self, what, mine, theirs, name):
        assert mine.shape == theirs.shape, (what, name, mine.shape, theirs.shape)
        if not mine.numel():
            return
        difference = (mine.double() - theirs).abs()
        # Of numbers above 1 the relative error counts.
        error = float((difference / theirs.abs().clamp(min=1)).max())
        assert error <= TOLERANCE, f"{what} of {name}: {error}"
        self.errors[what] = max(self.errors[what], error)

    def _stepped(self, given, expected, frozen, before, with_rows_only):
        for table in given.tables:
            # Two tables never have one group.
            is_frozen = table.is_frozen and frozen
            assert table.rows.step == before[table.name] + (not is_frozen), table
            wanted = table.weight.double()
            if not is_frozen:
                wanted = wanted - expected.gradients[table.name]
            stored = given.stored(table)
            count = len(IDS) if with_rows_only else len(ALL_IDS)
            self.near("rows", stored[:count], wanted[:count], table)
            if with_rows_only:
                assert not stored[count:].any(), table

    def _collection(self, given, expected):
        collection = given.collection()
        before = {table.name: table.rows.step for table in given.tables}
        out = collection(given.given())
        if given.is_matrix:
            dims = [one.table.rows.dim for one in given.features]
            out = dict(zip(collection.features, out.split(dims, 1)))
        loss = 0
        for one in given.features:
            self.near("bags", out[one.name].detach(), expected.bags[one.name], one)
            loss = loss + (out[one.name] * one.gradient).sum()
        can_step = not all(table.is_frozen for table in given.tables)
        if loss.requires_grad:
            loss.backward()
        assert loss.requires_grad or not can_step
        self._stepped(given, expected, True, before, True)
        for one in given.features:
            if one.weights is not None and one.weights.requires_grad:
                found = one.weights.grad.reshape(-1)
                self.near("weights", found, expected.of_weights[one.name], one)

    def _step(self, given, expected):
        draw, features = given.draw, given.flat()
        before = {table.name: table.rows.step for table in given.tables}
        gradients = {one.name: one.gradient for one in given.features}
        with given.step() as step:
            read = step.lookup if given.training else step.peek
            if given.is_matrix:
                shape = (len(given.features[0].sizes), step.dim)
                matrix = read(features, out=torch.empty(shape).numpy())
                bags = torch.from_numpy(matrix).split(list(step.dims.values()), 1)
                found = dict(zip(step.features, bags))
                gradients = torch.cat(list(gradients.values()), 1)
            else:
                found = {name: torch.from_numpy(bags) for name, bags in read(features).items()}
            for name, bags in found.items():
                self.near("bags", bags, expected.bags[name], name)
            has_max = any(table.mode == "max" for table in given.tables)
            again = {} if has_max or draw.random() < 0.5 else {"features": features}
            step.apply_gradients(gradients, **again)
        # A key without a row gets one by its step.
        self._stepped(given, expected, False, before, False)

    def _refused(self, given):
        """Changes an input so that it is wrong. It must be refused, and nothing changed."""
        reason, words, features = wrong(given)
        if reason is None:
            self.kinds["not made wrong"] += 1
            return
        before = [(table.rows.step, given.stored(table)) for table in given.tables]
        collection, step = given.collection(), given.step()
        flat = given.flat()
        flat.update({name: given for name, given in features.items() if isinstance(given, tuple)})
        flat = {name: given for name, given in flat.items() if features.get(name, 0) is not None}
        mine = {
            **{one.name: one.given() for one in given.features},
            **{name: as_tensors(some) for name, some in features.items()},
        }
        mine = {name: some for name, some in mine.items() if some is not None}
        for call, some in ((collection, mine), (step.lookup, flat), (step.peek, flat)):
            self._fails(call, some, words)
        step.close()
        for table, (number, stored) in zip(given.tables, before):
            assert table.rows.step == number and torch.equal(given.stored(table), stored), table
            assert not table.rows.peek(WITHOUT_ROWS)[1].any(), "a row was made"
        self.kinds["refused"] += 1
        self.kinds[f"refused: {reason}"] += 1

    @staticmethod
    def _fails(call, given, words):
        try:
            call(given)
        except (TypeError, ValueError) as error:
            missing = [word for word in words if word not in str(error)]
            assert not missing, f"no {missing} in {error}"
        else:
            raise AssertionError(f"not refused by {call}: {given}")


def as_tensors(given):
    return None if given is None else tuple(torch.from_numpy(part) for part in given)


def check(inputs, seed, report=lambda number: None):
    """Checks that many inputs. Returns Checks, and the failures by their numbers."""
    checks, failures = Checks(seed), {}
    with contextlib.closing(checks):
        for number in range(inputs):
            try:
                checks.run(number)
            except Exception as error:  # noqa: BLE001
                failures[number] = f"{type(error).__name__}: {error}"
            report(number)
    return checks, failures


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    started = time.monotonic()

    def report(number):
        if number % 1000 == 999:
            print(f"{number + 1} inputs", file=sys.stderr, flush=True)

    checks, failures = check(options.inputs, options.seed, report)
    print(
        f"torch {torch.__version__}, seed {options.seed}, {options.inputs} inputs in"
        f" {time.monotonic() - started:.0f} s: {len(failures)} failed"
    )
    for kind, count in checks.kinds.most_common():
        print(f"  {count:6d}  {kind}")
    print("largest errors:", ", ".join(f"{what} {x:.1e}" for what, x in checks.errors.items()))
    for number, failure in list(failures.items())[:20]:
        print(f"input {number}: {failure}")
    raise SystemExit(1 if failures else 0)


if __name__ == "__main__":
    main()
