"""PyEmbedding: the arrays that it takes and fills in. It leaves alone what it refuses."""

import numpy as np

import damo
from support import Case, floats, initializer, keys, optimizer

DIM = 4


class Arrays(Case):
    def setUp(self):
        super().setUp()
        self.embedding = damo.PyEmbedding(
            self.storage(), optimizer("sgd", gamma=0.5), initializer("random_normal"), DIM, 3
        )

    def rows(self, numbers):
        w = np.zeros(len(numbers) * DIM, np.float32)
        self.embedding.lookup(numbers, w)
        return w

    def test_one_and_two_dimensions(self):
        numbers = keys(1, 2, 3)
        flat = self.rows(numbers)
        square = np.zeros((3, DIM), np.float32)
        self.embedding.lookup(numbers, square)
        np.testing.assert_array_equal(square.ravel(), flat)
        self.embedding.apply_gradients(numbers, np.ones((3, DIM), np.float32))
        np.testing.assert_array_equal(self.rows(numbers), flat - np.float32(0.5))
        self.embedding.apply_gradients(numbers, -np.ones(3 * DIM, np.float32))
        np.testing.assert_allclose(self.rows(numbers), flat, atol=1e-7)

    def test_keys_in_order_and_given_twice(self):
        both = self.rows(keys(8, 9, 8)).reshape(3, DIM)
        np.testing.assert_array_equal(both[0], both[2])
        self.assertFalse((both[0] == both[1]).any())
        np.testing.assert_array_equal(self.rows(keys(9, 8)).reshape(2, DIM), both[:2][::-1])
        # stepped once per occurrence
        self.embedding.apply_gradients(keys(8, 9, 8), np.ones(3 * DIM, np.float32))
        np.testing.assert_allclose(
            self.rows(keys(8, 9)).reshape(2, DIM), both[:2] - [[1], [0.5]], atol=1e-6
        )

    def test_uint64_keys_keep_their_bits(self):
        hashes = np.array([2**64 - 1, 2**63, 5], np.uint64)
        signed = hashes.view(np.int64)
        np.testing.assert_array_equal(self.rows(hashes), self.rows(signed))
        self.embedding.apply_gradients(hashes, np.ones(3 * DIM, np.float32))
        np.testing.assert_array_equal(self.rows(signed), self.rows(hashes))
        self.assertEqual(list(signed), [-1, -(2**63), 5])

    def test_no_keys(self):
        none = np.empty(0, np.int64)
        self.embedding.lookup(none, np.empty(0, np.float32))
        self.embedding.lookup(none, np.empty((0, DIM), np.float32))
        self.embedding.apply_gradients(none, np.empty(0, np.float32))

    def test_views_are_filled_in_place(self):
        whole = np.full((4, DIM), 9, np.float32)
        self.embedding.lookup(keys(1, 2), whole[1:3])
        np.testing.assert_array_equal(whole[1:3].ravel(), self.rows(keys(1, 2)))
        self.assertTrue((whole[0] == 9).all() and (whole[3] == 9).all())
        self.embedding.lookup(np.arange(10)[4:6], whole[:2])
        np.testing.assert_array_equal(whole[:2].ravel(), self.rows(keys(4, 5)))

    def test_read_only_keys_and_gradients_will_do(self):
        numbers, gradients = keys(1), np.ones(DIM, np.float32)
        numbers.flags.writeable = gradients.flags.writeable = False
        before = self.rows(numbers)
        self.embedding.apply_gradients(numbers, gradients)
        np.testing.assert_array_equal(self.rows(numbers), before - np.float32(0.5))

    def test_wrong_keys(self):
        w = np.full(2 * DIM, 9, np.float32)
        gradients = np.ones(2 * DIM, np.float32)
        wrong_types = [
            [1.0, 2], [True], ["1"], [2**64], [-(2**63) - 1], 5, None, "ab", b"0123456789abcdef",
            np.array([1.0, 2.0]), np.array([1, 2], ">i4"), np.array([True, False]),
            np.array([1, 2], np.int64).astype(">i8"), np.array([1, 2], object),
            np.array(["a", "b"]), np.array([1, 2], "datetime64[s]"), np.array([1 + 0j, 2]),
        ]  # fmt: skip
        for numbers in wrong_types:
            with self.subTest(numbers=numbers):
                self.assert_fails(TypeError, ["keys", "int64"], self.embedding.lookup, numbers, w)
                self.assert_fails(
                    TypeError, ["keys", "int64"], self.embedding.apply_gradients, numbers, gradients
                )
        wrong_shapes = [
            np.array([[1, 2]]),
            np.array(1),
            np.arange(4)[::2],
            np.arange(2)[::-1],
            np.array([[1], [2]]),
        ]
        for numbers in wrong_shapes:
            with self.subTest(shape=numbers.shape, strides=numbers.strides):
                self.assert_fails(ValueError, ["keys"], self.embedding.lookup, numbers, w)
                self.assert_fails(
                    ValueError, ["keys"], self.embedding.apply_gradients, numbers, gradients
                )
        self.assertTrue((w == 9).all())

    def test_wrong_weights(self):
        numbers = keys(1, 2)
        for w in (
            np.full(8, 9.0),
            np.full(8, 9, np.float16),
            np.full(8, 9, np.int32),
            np.full(8, 9, ">f4"),
        ):
            with self.subTest(dtype=w.dtype):
                self.assert_fails(TypeError, ["float32"], self.embedding.lookup, numbers, w)
                self.assertTrue((w == 9).all())
        for w in ([0.0] * 8, None, 1.0, bytearray(32)):
            with self.subTest(w=w):
                self.assert_fails(TypeError, ["float32"], self.embedding.lookup, numbers, w)
        read_only = np.full(8, 9, np.float32)
        read_only.flags.writeable = False
        self.assert_fails(ValueError, ["read-only"], self.embedding.lookup, numbers, read_only)
        for w in (
            np.full(7, 9, np.float32),
            np.full(9, 9, np.float32),
            np.full((DIM, 2), 9, np.float32),  # as many elements as (2, DIM)
            np.full((1, 8), 9, np.float32),
            np.full((2, DIM + 1), 9, np.float32),
            np.full((2, DIM, 1), 9, np.float32),
            np.full((1, 2, DIM), 9, np.float32),
            np.full(16, 9, np.float32)[::2],
            np.full((2, 8), 9, np.float32)[:, ::2],
            np.full((2, DIM), 9, np.float32, order="F"),
            np.full(8, 9, np.float32)[::-1],
            np.float32(9),
            np.array(9, np.float32),
        ):
            with self.subTest(shape=w.shape, strides=w.strides):
                self.assert_fails((TypeError, ValueError), [], self.embedding.lookup, numbers, w)
                self.assertTrue((w == 9).all())

    def test_wrong_gradients_change_nothing(self):
        numbers = keys(1, 2)
        before = self.rows(numbers)
        ones = np.ones(2 * DIM, np.float32)
        for gradients in (
            ones.astype(float),
            ones.astype(np.float16),
            ones.astype(int),
            ["1"] * 8,
            None,
        ):
            with self.subTest(type=type(gradients)):
                self.assert_fails(
                    TypeError, ["float32"], self.embedding.apply_gradients, numbers, gradients
                )
        for gradients in (
            ones[:7],
            np.ones(16, np.float32)[::2],
            np.ones((DIM, 2), np.float32),
            np.ones((2, 4, 1), np.float32),
        ):
            with self.subTest(shape=gradients.shape):
                self.assert_fails(
                    ValueError, [], self.embedding.apply_gradients, numbers, gradients
                )
        for bad, word in ((np.nan, "NaN"), (np.inf, "inf")):
            gradients = ones.copy()
            gradients[5] = bad
            self.assert_fails(
                ValueError,
                ["key 2", word],
                self.embedding.apply_gradients,
                numbers,
                gradients,
                status="INVALID_ARGUMENT",
            )
        np.testing.assert_array_equal(self.rows(numbers), before)

    def test_the_same_memory_for_keys_and_weights_is_refused(self):
        memory = np.zeros(8, np.int64)
        self.assert_fails(
            ValueError, ["overlap"], self.embedding.lookup, memory[:4], memory.view(np.float32)
        )

    def test_arguments_are_needed(self):
        self.assert_fails(TypeError, [], self.embedding.lookup, keys(1))
        self.assert_fails(TypeError, [], self.embedding.lookup)
        self.assert_fails(TypeError, [], self.embedding.apply_gradients, keys(1))

    def test_arguments_by_name(self):
        w = np.zeros(DIM, np.float32)
        self.embedding.lookup(keys=keys(1), w=w)
        self.embedding.apply_gradients(keys=keys(1), gds=floats(0, 0, 0, 0))
        np.testing.assert_array_equal(w, self.rows(keys(1)))

    def test_anything_with_a_buffer(self):
        import array

        numbers = array.array("q", [1, 2])
        w = array.array("f", [0] * 8)
        self.embedding.lookup(numbers, w)
        np.testing.assert_array_equal(np.array(w), self.rows(keys(1, 2)))
        square = memoryview(bytearray(32)).cast("f", (2, DIM))
        self.embedding.lookup(memoryview(numbers), square)
        self.assertEqual(square.tolist(), self.rows(keys(1, 2)).reshape(2, DIM).tolist())
        self.assert_fails(
            ValueError,
            ["read-only"],
            self.embedding.lookup,
            numbers,
            memoryview(bytes(32)).cast("f"),
        )
        with self.assertRaises(BufferError):  # held while a call runs, and let go of afterwards
            view = memoryview(numbers)
            numbers.append(3)
        view.release()
        numbers.append(3)


class Making(Case):
    def test_arguments_are_checked(self):
        storage, sgd, ones = self.storage(), optimizer(), initializer()
        make = damo.PyEmbedding
        for dim in (0, -1, 262145, 2**70):
            self.assert_fails(
                (ValueError, OverflowError), ["dim", str(dim)], make, storage, sgd, ones, dim
            )
        for group in (-1, 65536, 2**32, 2**70):
            self.assert_fails(
                (ValueError, OverflowError),
                ["group", str(group)],
                make,
                storage,
                sgd,
                ones,
                4,
                group,
            )
        for arguments in (
            (), (storage,), (storage, sgd, ones), (storage, sgd, ones, "4"),
            (storage, sgd, ones, 4.0), (storage, sgd, ones, 4, None), (storage, ones, sgd, 4),
            (sgd, sgd, ones, 4), ("path", sgd, ones, 4), (storage, sgd, ones, 4, 0, 0, 0, 0, 0),
        ):  # fmt: skip
            with self.subTest(arguments=len(arguments)):
                self.assert_fails(TypeError, [], make, *arguments)
        for position in range(3):
            arguments = [storage, sgd, ones, 4]
            for wrong in (
                None,
                3,
                "path",
                damo.Parameters(),
                damo.PyStorage,
                self.embedding_of(storage),
            ):
                arguments[position] = wrong
                what = ("storage", "optimizer", "initializer")[position]
                self.assert_fails(TypeError, [what, type(wrong).__name__], make, *arguments)

    def embedding_of(self, storage):
        return damo.PyEmbedding(storage, optimizer(), initializer(), 4, 9)

    def test_numbers_of_numpy(self):
        made = damo.PyEmbedding(
            self.storage(), optimizer(), initializer(), np.int64(4), np.uint16(65535)
        )
        w = np.zeros(4, np.float32)
        made.lookup(keys(1), w)
        self.assertEqual(list(w), [1, 1, 1, 1])

    def test_a_group_keeps_its_dim_and_optimizer(self):
        storage, ones = self.storage(), initializer()
        first = damo.PyEmbedding(storage, optimizer("sgd"), ones, 4, group=2)
        error = self.assert_fails(
            FileExistsError,
            ["group 2", "dim 4", "dim 5"],
            damo.PyEmbedding,
            storage,
            optimizer("sgd"),
            ones,
            5,
            2,
        )
        self.assertEqual(error.status.name, "ALREADY_EXISTS")
        self.assert_fails(
            ValueError, ["sgd", "adam"], damo.PyEmbedding, storage, optimizer("adam"), ones, 4, 2
        )
        del first

    def test_groups_are_apart(self):
        storage = self.storage()
        one = damo.PyEmbedding(storage, optimizer("sgd", gamma=1), initializer("ones"), 2, 1)
        two = damo.PyEmbedding(storage, optimizer("adagrad"), initializer("zeros"), 3, 2)
        one.apply_gradients(keys(5), floats(1, 2))
        a, b = np.zeros(2, np.float32), np.full(3, 9, np.float32)
        one.lookup(keys(5), a)
        two.lookup(keys(5), b)
        self.assertEqual((list(a), list(b)), ([0, -1], [0, 0, 0]))
