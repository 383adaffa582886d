"""What the tests of Step share."""

import damo
from support import Case


class StepCase(Case):
    """A storage with two groups of ones."""

    def setUp(self):
        super().setUp()
        self.table = self.storage()
        self.user = self.users(self.table, dim=2)
        self.tag = self.table.embedding(
            "tag", dim=3, optimizer=damo.SGD(lr=1.0), initializer=damo.Ones()
        )

    def step(self, **options):
        options = {"pooling": {"tags": "sum"}, **options}
        made = self.table.step({"user": self.user, "tags": self.tag}, **options)
        self.addCleanup(made.close)
        return made

    GIVEN = {"user": [1, 2, 1], "tags": ([5, 6, 5], [0, 2, 2])}
