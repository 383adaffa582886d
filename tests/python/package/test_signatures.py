"""Signatures agree with docstrings, docs/parameters.md, and the library's names and defaults."""

import ast
import inspect
import re

import damo
from damo import _choices
from support import CHECKOUT, Case

PARAMETERS = (CHECKOUT / "docs" / "parameters.md").read_text(encoding="utf-8")

# Names of PyTorch, and of the library.
OPTIMIZERS = {
    "SGD": {"lr": "gamma", "weight_decay": "lambda"},
    "FTRL": {"lr": "alpha"},
    "Adagrad": {"lr": "gamma", "weight_decay": "lambda", "lr_decay": "eta", "eps": "epsilon"},
    "RowwiseAdagrad": {"lr": "gamma", "weight_decay": "lambda", "eps": "epsilon"},
    "Adam": {"lr": "gamma", "eps": "epsilon", "weight_decay": "lambda"},
    "AMSGrad": {"lr": "gamma", "eps": "epsilon", "weight_decay": "lambda"},
    "AdamW": {"lr": "gamma", "eps": "epsilon", "weight_decay": "lambda"},
    "Lion": {"lr": "eta", "weight_decay": "lambda"},
    "NoOptimizer": {},
}
# The names of the library that are not the class's in lower case.
NAMES = {"RowwiseAdagrad": "rowwise_adagrad", "NoOptimizer": "none"}


def table(heading):
    """The rows of the first table under a heading of the page, each a list of cells."""
    text = PARAMETERS[PARAMETERS.index(f"\n## {heading}\n") :]
    lines = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def listed(cell):
    """{name: default, or None} of "**gamma** 1e-3, lambda 0"."""
    found = {}
    for part in cell.split(","):
        words = part.replace("*", "").split()
        if words:
            found[words[0]] = (
                ast.literal_eval({"true": "True", "false": "False"}.get(words[1], words[1]))
                if words[1:]
                else None
            )
    return found


def signature(cls):
    """{name: default} of what a class is made with."""
    parameters = inspect.signature(cls).parameters.values()
    return {one.name: None if one.default is one.empty else one.default for one in parameters}


class Documents(Case):
    def test_optimizers(self):
        rows = {name.strip("`"): cell for name, cell, *_ in table("Optimizers")}
        rows.update({name: cell.replace("as adam", rows["adam"]) for name, cell in rows.items()})
        self.assertEqual(len(rows), len(OPTIMIZERS))
        for cls, names in OPTIMIZERS.items():
            with self.subTest(cls=cls):
                made = signature(getattr(damo, cls))
                documented = listed(rows[NAMES.get(cls, cls.lower())])
                self.assertIsNone(made.pop("scheduler", None))
                if "betas" in made:
                    made["beta1"], made["beta2"] = made.pop("betas")
                if made.get("weight_decay", 0) is None:
                    made["weight_decay"] = getattr(damo, cls)._weight_decay
                ours = {names.get(name, name): default for name, default in made.items()}
                self.assertEqual(ours, documented)
                self.assertLessEqual(set(documented), set(_choices.OptimizerParams.__annotations__))

    def test_initializers(self):
        for names, aliases, cell in table("Initializers"):
            for name in re.findall(r"`(\w+)`", names):
                others = {
                    "random_uniform": "Uniform",
                    "random_normal": "Normal",
                    "truncate_normal": "TruncatedNormal",
                }
                cls = getattr(damo, others.get(name, name.title().replace("_", "")))
                with self.subTest(name=name):
                    documented = listed(cell.split(";")[0]) if "within" not in cell else {}
                    made = signature(cls)
                    self.assertEqual(made.pop("seed", 0), 0)
                    if name == "constant":  # The class must be told.
                        documented = {"value": None}
                    self.assertEqual(made, documented)
                for one in [name, *re.findall(r"`(\w+)`", aliases)]:
                    damo.Initializer(one)
                    self.assertIn(one, _choices.InitializerName.__args__)

    def test_schedulers(self):
        for names, cell in table("Schedulers"):
            for name in re.findall(r"`(\w+)`", names):
                cls = getattr(damo, name.title().replace("_", ""))
                with self.subTest(name=name):
                    self.assertEqual(signature(cls), {**listed(cell), "warmup_steps": 0})
                    self.assertIn(name, _choices.SchedulerName.__args__)

    def test_choices_are_the_library_s(self):
        for cls, names, of in (
            (damo.Optimizer, _choices.OptimizerName, "sgd"),
            (damo.Initializer, _choices.InitializerName, "zeros"),
            (damo.Scheduler, _choices.SchedulerName, "cosine_decay"),
        ):
            with self.assertRaises(ValueError) as caught:
                cls("nobody's")
            known = set(re.findall(r"'(\w+)'", str(caught.exception))) - {"nobody"}
            self.assertEqual(set(names.__args__), known)
            self.assertIn(of, known)
        storage = self.storage()
        for duplicates in _choices.Duplicates.__args__:
            storage.embedding(duplicates, dim=2, optimizer=damo.SGD(), duplicates=duplicates)
        for format in _choices.DumpFormat.__args__:
            storage.dump(self.path(f"{format}.dump"), format=format)
        for value_type in _choices.ValueType.__args__:
            storage.dump(self.path(value_type), value_type=value_type)
        for durability in _choices.Durability.__args__:
            self.storage(durability, durability=durability)
        for choice in _choices.AutoOrOff.__args__:
            self.storage(choice, mapped_reads=choice, io_uring=choice)
        for name in _choices.StatName.__args__:
            storage.stat(name)

    def test_filters(self):
        rows = [name.strip("`") for name, *_ in table("Filters")]
        self.assertEqual(list(signature(damo.Filter)), rows)

    def test_docstrings_name_every_parameter(self):
        # What needs no word beside its name and type.
        plain = {"self", "path", "keys", "key", "weights", "filter"}
        checked = 0
        for cls in (damo.Storage, damo.Embedding, damo.Step, damo.Filter, damo.Table):
            for name, function in inspect.getmembers(cls, inspect.isfunction):
                if name.startswith("_") and name != "__init__":
                    continue
                # Methods of Storage make these.
                if cls in (damo.Embedding, damo.Step) and name == "__init__":
                    continue
                text = (cls if name == "__init__" else function).__doc__
                for parameter in set(inspect.signature(function).parameters) - plain:
                    with self.subTest(method=f"{cls.__name__}.{name}", parameter=parameter):
                        self.assertRegex(text, rf"\b{parameter}\b")
                    checked += 1
        self.assertGreater(checked, 30)

    def test_docstrings_name_nothing_else(self):
        """`name: ...` in a docstring explains a parameter."""
        for cls in (damo.Storage, damo.Embedding, damo.Step, damo.Filter, damo.Table):
            functions = [(cls.__doc__, cls)] + [
                (one.__doc__, one) for _, one in inspect.getmembers(cls, inspect.isfunction)
            ]
            for text, function in functions:
                explained = re.findall(r"(?:^|[.;] |\n\s*)([a-z]+_[a-z_]+): ", text or "")
                with self.subTest(function=function):
                    self.assertLessEqual(
                        set(explained), set(inspect.signature(function).parameters)
                    )

    def test_methods_are_named_as_the_public_class_s(self):
        """Python's own errors name a method by the class that defines it."""
        for cls in (damo.Storage, damo.Embedding):
            for name, method in inspect.getmembers(cls, inspect.isfunction):
                owner = method.__qualname__.split(".")[0]
                if not name.startswith("_") and owner != "Handle":
                    self.assertEqual(owner, cls.__name__, name)
        for cls in (damo.DumpResult, damo.GradientSums):
            self.assertEqual(cls.__module__, "damo")

    def test_every_call_of_the_documents(self):
        """Calls in the tour and the READMEs use names that there are."""
        checked = 0
        for document in ("README.md", "python/README.md", "docs/tutorial.md"):
            text = (CHECKOUT / document).read_text(encoding="utf-8")
            for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
                for call in (
                    node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)
                ):
                    function = call.func
                    if not (
                        isinstance(function, ast.Attribute)
                        and isinstance(function.value, ast.Name)
                        and function.value.id == "damo"
                    ):
                        continue
                    known = inspect.signature(getattr(damo, function.attr)).parameters
                    for keyword in call.keywords:
                        with self.subTest(document=document, call=ast.unparse(call)):
                            self.assertIn(keyword.arg, known)
                        checked += 1
        self.assertGreater(checked, 10)
