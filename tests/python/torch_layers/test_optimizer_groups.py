"""param_groups, state_dict and refusals of damo.torch.Optimizer."""

import copy
import gc

# Before the others: without torch it skips this file.
from support import close, torch  # isort: skip
from pair import Net, Pair, loss_of

import damo
import damo.torch

nn = torch.nn


class Groups(Pair):
    def test_what_stands_for_rows_leaves_dense(self):
        ours, _, optimizer, _ = self.made()
        anchor = ours.table.anchor
        self.assertFalse(
            any(
                held is anchor for group in optimizer.dense.param_groups for held in group["params"]
            )
        )
        self.assertIs(optimizer.param_groups[0], optimizer.dense.param_groups[0])
        self.assertIs(optimizer.param_groups[1]["params"][0], anchor)
        self.assertEqual(optimizer.param_groups[1]["rows"], "user")
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.25})
        self.assertEqual([group["lr"] for group in optimizer.param_groups], [0.5, 0.25, 0.5])

    def test_weight_decay_of_rows_is_refused(self):
        model = Net(self.layer())
        dense = torch.optim.AdamW(model.parameters())
        self.assert_fails(
            ValueError, ["weight_decay", "dense_parameters"], damo.torch.Optimizer, dense, model
        )
        self.assertTrue(any(held is model.table.anchor for held in dense.param_groups[0]["params"]))
        dense = torch.optim.AdamW(damo.torch.dense_parameters(model), weight_decay=0.1)
        optimizer = damo.torch.Optimizer(dense, model)
        optimizer.param_groups[1]["weight_decay"] = 0.1
        loss_of(model, 1).backward()
        before = [parameter.detach().clone() for parameter in model.dense.parameters()]
        self.assert_fails(ValueError, ["weight_decay", "damo.Adam"], optimizer.step)
        self.assertEqual(model.table.rows.step, 0)
        for parameter, was in zip(model.dense.parameters(), before):
            close(parameter.detach(), was, 0)

    def test_both_step_or_none(self):
        ours, _, optimizer, _ = self.made()
        (ours(torch.tensor([3])) * float("nan")).sum().backward()
        before = ours.dense.weight.detach().clone()
        self.assert_fails(ValueError, ["key 3"], optimizer.step)
        self.assert_fails(ValueError, ["key 3"], optimizer.step, lambda: 0)
        close(ours.dense.weight.detach(), before, 0)
        self.assertEqual(ours.table.rows.step, 0)
        optimizer.zero_grad()
        loss_of(ours, 1).backward()
        optimizer.step()
        self.assertEqual(ours.table.rows.step, 1)

    def test_state_dict_has_the_form_of_torchs(self):
        ours, _, optimizer, _ = self.made(dense=torch.optim.Adam, lr=0.1)
        for number in range(3):
            optimizer.zero_grad()
            loss_of(ours, number).backward()
            optimizer.step()
        optimizer.param_groups[1]["lr"] = 0.125
        state = copy.deepcopy(optimizer.state_dict())
        self.assertEqual([group["params"] for group in state["param_groups"]], [[0, 1], [2]])
        self.assertEqual(set(state["state"]), {0, 1})
        again, _, other, _ = self.made(dense=torch.optim.Adam, lr=0.1, name="other")
        other.load_state_dict(state)
        self.assertEqual(other.param_groups[1]["lr"], 0.125)
        self.assertIs(other.param_groups[0], other.dense.param_groups[0])
        self.assertIs(other.state, other.dense.state)
        wrong = {
            **state,
            "param_groups": [
                *state["param_groups"][:1],
                {**state["param_groups"][1], "rows": "item"},
            ],
        }
        self.assert_fails(ValueError, ["'item'", "'user'"], other.load_state_dict, wrong)
        self.assert_fails(
            ValueError, ["param_groups"], other.load_state_dict, optimizer.dense.state_dict()
        )

    def test_what_is_refused(self):
        model = Net(self.layer())
        dense = torch.optim.SGD(model.parameters(), lr=0.1)
        self.assert_fails(
            TypeError, ["torch.optim.Optimizer", "Net"], damo.torch.Optimizer, model, dense
        )
        self.assert_fails(ValueError, ["layers"], damo.torch.Optimizer, dense, nn.Linear(1, 1))
        optimizer = damo.torch.Optimizer(dense, model)
        self.assert_fails(TypeError, ["dense"], damo.torch.Optimizer, optimizer, model)
        self.assert_fails(TypeError, ["state_dict"], copy.deepcopy, optimizer)

    def test_one_that_is_closed_or_gone_collects_no_more(self):
        for end in (lambda optimizer: optimizer.close(), lambda _: None):
            ours, _, optimizer, _ = self.made(name=str(end))
            end(optimizer)
            del optimizer
            gc.collect()
            ours(torch.tensor([1])).sum().backward()
            self.assertEqual((ours.table.rows.step, ours.table.anchor.grad), (1, None))

    def test_an_anchor_that_is_replaced_is_noticed(self):
        ours, _, optimizer, _ = self.made()
        loss_of(ours, 1).backward()
        ours.table.anchor = nn.Parameter(torch.zeros(64, 64))  # As fully_shard does.
        self.assert_fails(RuntimeError, ["fully_shard", "ignored_params"], optimizer.step)
        self.assertEqual(ours.table.rows.step, 0)
        optimizer.zero_grad()
        optimizer.step()
        loss_of(ours, 1).backward()
        optimizer.step()
        self.assertEqual(ours.table.rows.step, 1)
