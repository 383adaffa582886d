"""A state_dict has only tensors: files, averages and tracers that need this take it."""

import importlib.util
import io
import unittest
import warnings

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch
from damo.torch import _moments

nn = torch.nn


def has(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class Formats(Case):
    def setUp(self):
        super().setUp()
        self.table = self.layer(initializer=damo.Zeros())
        self.model = nn.Sequential(self.table, nn.Linear(4, 1))
        self.train(1)

    def ignore_warnings(self):
        """torch warns that there is one process, and that an exporter is old."""
        caught = warnings.catch_warnings()
        caught.__enter__()
        self.addCleanup(caught.__exit__, None, None, None)
        warnings.simplefilter("ignore")

    def train(self, *ids):
        for key in ids:
            self.model(torch.tensor([key])).sum().backward()
            with torch.no_grad():
                for parameter in self.model[1].parameters():
                    parameter.add_(1)

    def assert_loads(self, state):
        """The state loads over rows of its moment, and not over rows of another step."""
        step = self.table.rows.step
        self.model.load_state_dict(state)
        self.table.rows.step = step + 1
        self.assert_fails(
            damo.torch.StateError, [f"step {step + 1}"], self.model.load_state_dict, state
        )
        self.table.rows.step = step
        self.model.load_state_dict(state)

    def test_tensors_alone(self):
        state = self.model.state_dict()
        self.assertTrue(all(isinstance(value, torch.Tensor) for value in state.values()))
        self.assertEqual(state["0._extra_state"].dtype, torch.uint8)
        self.assert_loads({name: value.clone() for name, value in state.items()})
        self.assert_loads({name: value.to(torch.float16) for name, value in state.items()})

    def test_torch_files(self):
        file = io.BytesIO()
        torch.save(self.model.state_dict(), file)
        file.seek(0)
        self.assert_loads(torch.load(file, weights_only=True))

    @unittest.skipUnless(has("safetensors"), "safetensors is not installed")
    def test_safetensors(self):
        from safetensors.torch import load_file, load_model, save_file, save_model

        save_file(self.model.state_dict(), self.path("file"))
        self.assert_loads(load_file(self.path("file")))
        save_model(self.model, self.path("model"))
        load_model(self.model, self.path("model"))
        self.train(1)
        self.assert_fails(ValueError, ["at step 2"], load_model, self.model, self.path("model"))

    @unittest.skipUnless(has("torch.distributed.checkpoint.state_dict"), "needs torch 2.2")
    def test_distributed_checkpoints(self):
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import (
            get_model_state_dict,
            set_model_state_dict,
        )

        self.ignore_warnings()
        dcp.save({"model": get_model_state_dict(self.model)}, checkpoint_id=self.path("saved"))
        expected = self.model[1].weight.detach().clone()
        self.table.rows.storage.checkpoint(self.path("rows"))
        self.train(1, 1)
        for take, put in (
            (get_model_state_dict, set_model_state_dict),
            (nn.Module.state_dict, nn.Module.load_state_dict),
        ):
            # dcp loads into the tensors of now: other values of the same shape.
            read = {"model": take(self.model)}
            dcp.load(read, checkpoint_id=self.path("saved"))
            self.assert_fails(damo.torch.StateError, ["at step 3"], put, self.model, read["model"])
        self.table.rows.storage.load_from_checkpoint(self.path("rows"))
        set_model_state_dict(self.model, read["model"])
        self.assertTrue(torch.equal(self.model[1].weight, expected))

    def average(self, ids, update):
        mean = {name: value.clone() for name, value in self.model.state_dict().items()}
        for key in ids:
            self.train(key)
            for name, value in self.model.state_dict().items():
                mean[name] = update(mean[name], value)
        return mean

    def test_averages_of_values(self):
        """An average of several moments loads over the rows of the last one."""
        self.table.rows.storage.checkpoint(self.path("first"))

        def rounded_down(mean, value):
            return mean.copy_(0.9 * mean + 0.1 * value)

        updates = {
            "exact": lambda mean, value: 0.9 * mean + 0.1 * value,
            "lerp": lambda mean, value: torch.lerp(mean.float(), value.float(), 0.1),
            "rounded down": rounded_down,
            "the last of integers": lambda mean, value: (
                0.9 * mean + 0.1 * value if value.is_floating_point() else value
            ),
        }
        for name, update in updates.items():
            with self.subTest(name):
                self.table.rows.storage.load_from_checkpoint(self.path("first"))
                first = self.model[1].weight.detach().clone()
                mean = self.average(range(30), update)
                self.model.load_state_dict(mean)
                self.assertTrue((self.model[1].weight > first).all())
                other = self.layer(dim=5, storage=self.storage(f"other {name}"))
                state = {"_extra_state": mean["0._extra_state"]}
                self.assert_fails(ValueError, ["dim 4"], other.load_state_dict, state)
                if name == "rounded down":
                    continue
                self.table.rows.storage.load_from_checkpoint(self.path("first"))
                self.assert_fails(ValueError, ["step 1"], self.model.load_state_dict, mean)

    def test_averages_of_one_moment_are_that_moment(self):
        state = self.model.state_dict()
        self.assert_loads({name: 0.7 * value + 0.3 * value for name, value in state.items()})
        self.assert_loads({name: (value.float() * 3 / 3) for name, value in state.items()})

    def test_what_is_no_state_is_said_and_can_be_passed_over(self):
        state = self.model.state_dict()["0._extra_state"]
        wrong = (
            torch.zeros_like(state),
            torch.full_like(state, 255),
            state[:-1],
            state.roll(1),
            state.float() * float("nan"),
            torch.zeros(0),
            state.to(torch.complex64),
        )
        for tensor in wrong:
            load = self.table.load_state_dict
            self.assert_fails(ValueError, ["may have been changed"], load, {"_extra_state": tensor})
            with damo.torch.rows_of_any_moment():
                self.table.load_state_dict({"_extra_state": tensor})
        self.assertIsNone(_moments.decode(wrong[0]))

    @unittest.skipUnless(has("onnx"), "onnx is not installed")
    def test_onnx_of_what_does_not_read_rows(self):
        class Dense(nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def forward(self, rows):
                return self.model[1](rows)

        self.ignore_warnings()
        arguments = (Dense(self.model), (torch.zeros(1, 4),), self.path("dense.onnx"))
        torch.onnx.export(*arguments, dynamo=False)
        import onnx

        names = {value.name for value in onnx.load(self.path("dense.onnx")).graph.initializer}
        self.assertIn("model.1.weight", names)
        arguments = (self.model, (torch.tensor([1]),), self.path("whole.onnx"))
        self.assert_fails(RuntimeError, ["trace"], torch.onnx.export, *arguments, dynamo=False)
