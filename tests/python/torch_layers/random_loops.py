"""Random training loops: each step is drawn once, and run on damo's layers and on torch.nn's."""

import random

# Before the others: without torch it skips the file that imports this.
from support import Fails, torch  # isort: skip
from torch.utils.checkpoint import checkpoint

nn = torch.nn
IDS, DIM, PADDING = 12, 4, 3
LAYERS = ("user", "user_again", "item", "item_bag")
clip_norm, clip_value = nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_
# torch 1.13 cannot have one kind of checkpoint inside the other.
NESTED = () if torch.__version__.startswith("1.") else ((False, False), (True, False))


class Net(nn.Module):
    """Two tables with two layers each, and a dense part."""

    def __init__(self, *layers):
        super().__init__()
        self.user, self.user_again, self.item, self.item_bag = layers
        self.dense = nn.Parameter(torch.linspace(-1, 1, DIM))

    def freeze(self, name, is_frozen):
        """Freezes both layers on a table; those of torch.nn share a weight."""
        for layer in (getattr(self, name), getattr(self, LAYERS[LAYERS.index(name) + 1])):
            layer.requires_grad_(not is_frozen)


class Bag(nn.Module):
    """nn.EmbeddingBag on another layer's weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, ids):
        return nn.functional.embedding_bag(ids, self.weight, mode="sum", padding_idx=PADDING)


class Loss:
    """A loss over some layers and ids, sometimes within torch.utils.checkpoint."""

    def __init__(self, draw):
        self.parts = [
            (
                name,
                torch.tensor(
                    [[draw.randrange(IDS) for _ in range(2)] for _ in range(draw.randint(1, 3))]
                ),
            )
            for name in draw.sample(LAYERS, draw.randint(1, 4))
        ]
        self.size = draw.choice((1, 1, 1, 1e-6, 1e4, 0.3)) * draw.uniform(-2, 2)
        self.reentrant = draw.choice(((), (), (True,), (False,), (True, True), *NESTED))

    def plain(self, model, dense):
        total = 0
        for name, ids in self.parts:
            rows = getattr(model, name)(ids.to(dense.device))
            rows = rows.sum(1) if rows.dim() == 3 else rows
            total = total + (rows * dense).sum()
        return total * self.size

    def __call__(self, model):
        function = lambda dense: self.plain(model, dense)
        for reentrant in self.reentrant:
            function = self.within(function, reentrant)
        return function(model.dense)

    @staticmethod
    def within(function, reentrant):
        return lambda dense: checkpoint(function, dense, use_reentrant=reentrant) * 2


def backward(loss, **options):
    if loss.requires_grad:
        loss.backward(**options)


class Draw(random.Random):
    """step() draws a function of (model, optimizer). If it returns a float, floats are compared."""

    def step(self):
        kind = self.choice(
            ["backward"] * 6
            + ["step", "zero"] * 3
            + [
                "clip",
                "clip",
                "scale",
                "norm",
                "mode",
                "freeze",
                "grad",
                "twice",
                "parts",
                "fails",
                "inputs",
                "closure",
                "state",
            ]
        )
        return kind, getattr(self, f"_{kind}")(Loss(self))

    def _backward(self, loss):
        return lambda model, _: backward(loss(model))

    def _twice(self, loss):
        def run(model, _):
            made = loss(model)
            backward(made, retain_graph=True)
            backward(made)

        return run

    def _parts(self, loss):
        name, ids = loss.parts[0]

        def run(model, _):
            rows = getattr(model, name)(ids.to(model.dense.device))
            backward((rows[:1] * model.dense).sum(), retain_graph=True)
            backward((rows[-1:] * loss.size).sum())

        return run

    def _fails(self, loss):
        is_kept, kept = self.random() < 0.5, []

        def run(model, optimizer):
            try:
                Fails.apply(loss(model) + model.dense.sum()).backward()
            except OSError as error:
                if is_kept:
                    kept.append(error)
            # torch does not say what it accumulates before a failure.
            optimizer.zero_grad()

        return run

    def _inputs(self, loss):
        is_dense, loss.reentrant = self.random() < 0.3, ()

        def run(model, _):
            wanted = (
                [model.dense]
                if is_dense
                else [one for one in model.parameters() if one.requires_grad]
            )
            loss(model).backward(inputs=wanted)

        return run

    def _grad(self, loss):
        loss.parts, loss.reentrant = loss.parts[:1], ()

        def run(model, _):
            wanted = [one for one in model.parameters() if one.requires_grad]
            found = torch.autograd.grad(loss(model), wanted, allow_unused=True)
            return norm_of(found)

        return run

    def _norm(self, _):
        return lambda model, _: norm_of([one.grad for one in model.parameters()])

    def _step(self, _):
        zeroes = self.random() < 0.5

        def run(_, optimizer):
            optimizer.step()
            if zeroes:
                optimizer.zero_grad()

        return run

    def _closure(self, loss):
        def run(model, optimizer):
            def closure():
                optimizer.zero_grad()
                made = loss(model)
                backward(made)
                return made

            optimizer.step(closure)

        return run

    def _zero(self, _):
        return self.choice(
            (
                lambda _, optimizer: optimizer.zero_grad(),
                lambda _, optimizer: optimizer.zero_grad(set_to_none=False),
                lambda model, _: model.zero_grad(),
                lambda model, _: model.zero_grad(set_to_none=False),
                lambda model, _: [setattr(one, "grad", None) for one in model.parameters()],
                lambda model, _: [one.grad.zero_() for one in with_gradients(model)],
            )
        )

    def _clip(self, _):
        limit, kind = self.choice((1e-3, 0.1, 1.0, 100.0)), self.choice((2.0, 2.0, float("inf")))
        return lambda model, _: float(clip_norm(model.parameters(), limit, norm_type=kind))

    def _scale(self, _):
        by, way = self.choice((0.5, -2.0, 1e-3)), self.randrange(3)

        def run(model, _):
            for one in with_gradients(model):
                if way == 0:
                    one.grad.mul_(by)
                elif way == 1:
                    one.grad.data.mul_(by)
                else:
                    one.grad = one.grad * by

        return run

    def _mode(self, _):
        training = self.random() < 0.5
        return lambda model, _: model.train(training)

    def _freeze(self, _):
        name, is_frozen = self.choice(("user", "item")), self.random() < 0.5
        return lambda model, _: model.freeze(name, is_frozen)

    def _state(self, _):
        return lambda model, _: model.load_state_dict(model.state_dict())


def with_gradients(model):
    return [one for one in model.parameters() if one.grad is not None]


def norm_of(gradients):
    return float(
        torch.stack(
            [torch.zeros(()), *(one.norm().cpu() for one in gradients if one is not None)]
        ).norm()
    )
