"""A state_dict is loaded over rows of the same moment, or not at all."""

import copy

# Before the others: without torch it skips this file.
from support import Case, torch  # isort: skip

import damo
import damo.torch
from damo.torch import _moments

nn = torch.nn


def train(layer, *ids):
    for key in ids:
        layer(torch.tensor([key])).sum().backward()


class Stateful(Case):
    def setUp(self):
        super().setUp()
        self.users = self.layer()
        self.items = damo.torch.EmbeddingBag(
            self.users.rows.storage, "item", 4, optimizer=damo.Adam(), mode="sum"
        )
        # Dense parts before, between and behind the layers.
        self.model = nn.Sequential(
            nn.Linear(2, 2), self.users, nn.Sequential(nn.Linear(2, 2), self.items), nn.Linear(2, 2)
        )
        self.rows = self.users.rows.storage
        train(self.users, 1, 2, 3)
        self.items(torch.tensor([[5, 6]])).sum().backward()

    def saved(self):
        return copy.deepcopy(self.model.state_dict())

    def assert_same_moment(self, state):
        self.model.load_state_dict(state, strict=True)

    def assert_other_moment(self, state, *words):
        """The state is refused, and the dense part of the model does not change."""
        before = self.saved()
        state = {
            name: value + 1 if value.is_floating_point() else value for name, value in state.items()
        }
        for kind in (damo.torch.StateError, RuntimeError, ValueError):
            self.assert_fails(
                kind, [*words, "rows_of_any_moment"], self.model.load_state_dict, state
            )
        for name, value in self.saved().items():
            self.assertTrue(torch.equal(value, before[name]), name)
        with damo.torch.rows_of_any_moment():
            self.model.load_state_dict(state)
        self.assertTrue(torch.equal(self.model[0].weight, state["0.weight"]))


class Moments(Stateful):
    def test_a_step_more_is_an_error_that_names_all_layers_at_once(self):
        state = self.saved()
        train(self.users, 1)
        self.assert_other_moment(state, "1: ", "'user'", "at step 3", "at step 4")
        self.items(torch.tensor([[5]])).sum().backward()
        self.assert_other_moment(state, "1: ", "2.1: ", "'item'", "step 1", "step 2")

    def test_of_many_layers_some_have_their_reason_and_all_their_name(self):
        layers = {
            f"feature_{number}": damo.torch.Embedding(self.rows, number, 4, optimizer=damo.SGD())
            for number in range(20, 32)
        }
        model = nn.ModuleDict(layers)
        state = copy.deepcopy(model.state_dict())
        for layer in layers.values():
            train(layer, 1, 2)
        words = [*layers, "and 7 more layers: ", "nothing was loaded"]
        self.assert_fails(damo.torch.StateError, words, model.load_state_dict, state)

    def test_rows_that_are_back_are_of_the_same_moment(self):
        self.rows.checkpoint(self.path("checkpoint"))
        state = self.saved()
        train(self.users, 1)
        self.assert_other_moment(state)
        self.rows.load_from_checkpoint(self.path("checkpoint"))
        self.assert_same_moment(state)

    def test_a_state_from_before_the_checkpoint(self):
        for number, taken in enumerate((0, 1, 2)):
            with self.subTest(checkpoints_before=number):
                state = self.saved()
                for more in range(taken):
                    self.rows.checkpoint(self.path(f"{number} {more}"))
                self.rows.checkpoint(self.path(f"{number}"))
                self.assert_same_moment(state)
                train(self.users, number)
                self.assert_other_moment(state)
                self.rows.load_from_checkpoint(self.path(f"{number}"))
                self.assert_same_moment(state)

    def test_a_state_from_before_the_checkpoint_in_a_storage_that_is_opened_anew(self):
        self.rows.checkpoint(self.path("parent"))
        train(self.users, 7)
        state = self.saved()
        self.rows.checkpoint(self.path("child"))
        other = self.storage("child")
        users = self.layer(storage=other)
        items = damo.torch.EmbeddingBag(other, "item", 4, optimizer=damo.Adam(), mode="sum")
        model = nn.Sequential(
            nn.Linear(2, 2), users, nn.Sequential(nn.Linear(2, 2), items), nn.Linear(2, 2)
        )
        model.load_state_dict(state)
        # The new layers have read nothing yet, and the next checkpoint has another id.
        again = model.state_dict()
        other.checkpoint(self.path("grandchild"))
        model.load_state_dict(again)
        model.load_state_dict(state)

    def test_rows_without_a_step_are_of_the_same_moment(self):
        layer = self.layer(storage=self.storage("fresh"))
        states = [layer.state_dict()]
        layer.rows.storage.checkpoint(self.path("empty"))
        layer.load_state_dict(states[0])
        states.append(layer.state_dict())
        layer.rows.storage.checkpoint(self.path("empty again"))
        layer.load_state_dict(states[1])
        layer(torch.tensor([1]))
        layer.load_state_dict(states[0])

    def test_rows_of_another_run_at_the_same_step(self):
        self.rows.checkpoint(self.path("start"))
        train(self.users, 1, 1)
        state = self.saved()
        self.rows.load_from_checkpoint(self.path("start"))
        train(self.users, 2, 2)
        self.assert_other_moment(state, "step 5", "key 1 has another row")
        self.rows.checkpoint(self.path("other"))
        self.assert_other_moment(state)
        self.rows.load_from_checkpoint(self.path("start"))
        train(self.users, 1, 1)
        self.assert_same_moment(state)

    def test_states_that_are_dicts(self):
        """Earlier versions saved dicts."""
        identity = self.rows.checkpoint(self.path("checkpoint"))
        told = {
            "version": 1,
            "storage": "/elsewhere",
            "group": 0,
            "name": "user",
            "dim": 4,
            "optimizer": "sgd",
            "step": 3,
        }
        for checkpoint in (identity, None):
            self.users.load_state_dict({"_extra_state": {**told, "checkpoint": checkpoint}})
        self.users.load_state_dict({"_extra_state": {"version": 1, "group": 0, "dim": 4}})
        load = self.users.load_state_dict
        for other in ({"checkpoint": "0" * 32}, {"step": 4}):
            self.assert_fails(
                damo.torch.StateError,
                ["step 3"],
                load,
                {"_extra_state": {**told, "checkpoint": identity, **other}},
            )
        for other, words in (
            ({"dim": 5}, "dim 5"),
            ({"name": "item"}, "'item'"),
            ({"optimizer": "adam"}, "'adam'"),
        ):
            with damo.torch.rows_of_any_moment():
                self.assert_fails(ValueError, [words], load, {"_extra_state": {**told, **other}})
        for wrong in ({"step": 5}, {**told, "version": 99}, None, "text"):
            self.assert_fails(ValueError, ["version 1"], load, {"_extra_state": wrong})

    def test_other_rows(self):
        state = self.users.state_dict()
        for options, words in (
            ({"dim": 5}, ["dim 4", "have 5"]),
            ({"optimizer": damo.Adam()}, ["'sgd'", "'adam'"]),
        ):
            other = self.layer(storage=self.storage(words[0]), **options)
            with damo.torch.rows_of_any_moment():
                self.assert_fails(ValueError, words, other.load_state_dict, state)
        other = damo.torch.Embedding(self.rows, "other", 4, optimizer=damo.SGD())
        self.assert_fails(ValueError, ["'user'", "'other'"], other.load_state_dict, state)
        # Opened by its number, it is the same group with the same name.
        same = damo.torch.Embedding(self.rows, 0, 4, optimizer=damo.SGD())
        self.assertEqual(same.rows.name, "user")
        same.load_state_dict(state)

    def test_the_longest_names(self):
        for name in ("n" * 255, "\U0001f600" * 63, '"' * 255):
            layer = damo.torch.Embedding(self.rows, name, 1, optimizer=damo.SGD())
            state = layer.state_dict()
            self.assertEqual(_moments.decode(state["_extra_state"])["name"], name)
            self.assertEqual(
                state["_extra_state"].shape, self.users.state_dict()["_extra_state"].shape
            )
            layer.load_state_dict(state)

    def test_anchors_may_be_there_or_not(self):
        state = {name: value for name, value in self.saved().items() if not name.endswith("anchor")}
        self.assert_same_moment(state)
        for anchor in (torch.zeros(0), torch.zeros(1), torch.zeros(7, 3)):
            self.assert_same_moment({**state, "1.anchor": anchor, "2.1.anchor": anchor})
        self.assertEqual(sum(float(p.detach().abs().sum()) for p in self.users.parameters()), 0)

    def test_what_torch_checks_is_torchs(self):
        for wrong in (None, 5, [1]):
            self.assert_fails(TypeError, ["state_dict"], self.model.load_state_dict, wrong)
        state = self.saved()
        state.pop("1._extra_state")
        self.assert_fails(
            RuntimeError, ["Missing key", "1._extra_state"], self.model.load_state_dict, state
        )
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        self.assertEqual((missing, unexpected), (["1._extra_state"], []))

    def test_weights_of_torchs_layers_are_told_the_way(self):
        state = self.saved()
        for old in ("1.weight", "2.1.weight"):
            weights = {**state, old: torch.ones(5, 4), "0.weight": torch.ones(2, 2)}
            for strict in (True, False):
                words = [old, "rows.insert", "convert", "nothing was loaded"]
                self.assert_fails(
                    damo.torch.StateError, words, self.model.load_state_dict, weights, strict=strict
                )
            self.assertTrue(torch.equal(self.model[0].weight, state["0.weight"]))
            with damo.torch.rows_of_any_moment():
                _, unexpected = self.model.load_state_dict(weights, strict=False)
            self.assertEqual(unexpected, [old])
            self.model.load_state_dict(state)
        alone = {**self.users.state_dict(), "weight": torch.ones(5, 4)}
        self.assert_fails(damo.torch.StateError, ["rows.insert"], self.users.load_state_dict, alone)

    def test_keys_that_a_hook_renames_are_compared_when_torch_comes_to_them(self):
        class Old(nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model
                self._register_load_state_dict_pre_hook(self.rename)

            def rename(self, state, prefix, *_):
                for name in [name for name in state if name.startswith(f"{prefix}old.")]:
                    state[f"{prefix}model.{name[len(prefix) + 4:]}"] = state.pop(name)

        old = Old(self.model)
        state = {f"old.{name}": value for name, value in self.saved().items()}
        old.load_state_dict(state)
        train(self.users, 1)
        words = ["step 3", "step 4", "may have been loaded"]
        self.assert_fails(damo.torch.StateError, words, old.load_state_dict, state)
