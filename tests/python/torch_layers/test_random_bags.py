"""Random bags through damo.Step and EmbeddingBagCollection against torch: see random_bags.py.

DAMO_RANDOM_INPUTS is the number of inputs (300), DAMO_RANDOM_SEED their seed.
"""

import os
import unittest

# Without torch it skips this file.
from random_bags import check

NUMBER = int(os.environ.get("DAMO_RANDOM_INPUTS", "300"))
SEED = os.environ.get("DAMO_RANDOM_SEED", "1")


class RandomBags(unittest.TestCase):
    def test_as_torch_or_refused(self):
        checks, failures = check(NUMBER, SEED)
        self.assertEqual(failures, {})
        self.assertEqual(
            checks.kinds["equal"] + checks.kinds["refused"] + checks.kinds["not made wrong"], NUMBER
        )
        if NUMBER >= 300:
            for kind in ("sum", "mean", "max", "weights", "padding", "empty bags", "refused"):
                self.assertGreater(checks.kinds[kind], 10, kind)
