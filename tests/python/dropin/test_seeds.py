"""The examples of the documents from which existing code was written, character for character.

Only where a document has an ellipsis for arguments that the reader knows, the test puts them.
"""

import numpy as np

import damo
from support import Case, parameters

# Embedding, "How to Create an Embedding"
CREATE = """\
import damo
storage = damo.PyStorage(...)
optimizer = damo.PyOptimizer(...)
initializer = damo.PyInitializer(...)
dimension = 16
group = 1
embedding = damo.PyEmbedding(storage, optimizer, initializer, dimension, group)
"""

# Embedding, "lookup: pull weight from embedding"
LOOKUP = """\
import numpy as np

# example
n = 8
keys = np.zeros(n).astype(np.int64)
for i in range(n):
    keys[i] = i+1

# array([1, 2, 3, 4, 5, 6, 7, 8], dtype=int64)

weight = np.zeros(n*dimension).astype(np.float32)

embedding.lookup(keys, weight)

# IT IS Easy To Extract Each Key's Weight
tmp = weight.reshape((n, dimension))
weight_dict = {k: v for k,v in zip(keys, tmp)}
"""

# Embedding, "apply_gradients: push gradients to embedding"
APPLY = """\
import numpy as np

gradients = np.random.random(n*dimension).astype(np.float32)

embedding.apply_gradients(keys, gradients)
"""


class Seeds(Case):
    def namespace(self):
        text = CREATE
        for call, argument in (
            ("PyStorage", "data_dir"),
            ("PyOptimizer", "op_params"),
            ("PyInitializer", "params"),
        ):
            text = text.replace(f"{call}(...)", f"{call}({argument})")
        names = {
            "data_dir": self.path("table"),
            "op_params": parameters(name="sgd", gamma=0.5),
            "params": parameters(name="random_uniform", min=-0.1, max=0.1, seed=3),
        }
        exec(text, names)
        return names

    def test_create_lookup_apply(self):
        names = self.namespace()
        exec(LOOKUP, names)
        weights = names["weight"].copy()
        self.assertEqual(weights.shape, (8 * 16,))
        self.assertTrue(((weights >= -0.1) & (weights <= 0.1) & (weights != 0)).all())
        self.assertEqual(sorted(names["weight_dict"]), [1, 2, 3, 4, 5, 6, 7, 8])
        np.testing.assert_array_equal(names["weight_dict"][3], weights[32:48])
        self.assertEqual(
            len(np.unique(weights.reshape(8, 16), axis=0)), 8, "each key has weights of its own"
        )

        exec(APPLY, names)
        gradients = names["gradients"].copy()
        exec(LOOKUP, names)
        np.testing.assert_allclose(
            names["weight"], weights - np.float32(0.5) * gradients, rtol=0, atol=1e-7
        )

    def test_both_calls_have_no_return_values(self):
        names = self.namespace()
        exec(LOOKUP, names)
        self.assertIsNone(names["embedding"].lookup(names["keys"], names["weight"]))
        self.assertIsNone(names["embedding"].apply_gradients(names["keys"], names["weight"]))

    def test_group_is_0_by_default(self):
        names = self.namespace()
        storage, optimizer, initializer = names["storage"], names["optimizer"], names["initializer"]
        default = damo.PyEmbedding(storage, optimizer, initializer, 16)
        zero = damo.PyEmbedding(storage, optimizer, initializer, 16, 0)
        keys, gradients, read = np.array([5]), np.ones(16, np.float32), np.zeros(16, np.float32)
        default.apply_gradients(keys, gradients)
        zero.lookup(keys, read)
        before = np.zeros(16, np.float32)
        default.lookup(keys, before)
        np.testing.assert_array_equal(read, before)
        names["embedding"].lookup(keys, before)  # group 1 has not been trained
        self.assertTrue((np.abs(before) <= 0.1).all() and (np.abs(read) > 0.1).all())

    def test_a_parameter_of_every_type(self):
        params = damo.Parameters()
        params.insert("name", "truncate_normal")
        params.insert("mean", 1)
        params.insert("stddev", 0.5)
        params.insert("seed", 7)
        w = np.zeros(8, np.float32)
        damo.PyInitializer(params).call(w)
        self.assertTrue(((w > 0) & (w < 2)).all())
