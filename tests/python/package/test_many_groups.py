"""Thousands of groups: what is done to one takes no longer than with a few."""

import time

import damo
from support import Case, floats


class ManyGroups(Case):
    def test_opening_does_not_describe_all(self):
        storage, sgd = self.storage(), damo.SGD(lr=1.0)
        described, describe = [], storage.describe
        storage.describe = lambda: described.append(1) or describe()
        opened = [storage.embedding(group, dim=1, optimizer=sgd) for group in range(50)]
        opened += [storage.embedding(f"u{one}", dim=1, optimizer=sgd) for one in range(50)]
        for users in opened:
            users.insert([1], floats(1, 1))
        self.assertEqual(described, [])
        self.assertEqual([opened[0].name, opened[99].name], [None, "u49"])

    def test_a_name_is_known_when_it_is_asked_for(self):
        with self.storage() as storage:
            by_name = storage.embedding("user", dim=1, optimizer=damo.SGD())
            by_number = storage.embedding(by_name.group, dim=1, optimizer=damo.SGD())
            self.assertEqual((by_name.name, by_number.name), ("user", "user"))
            self.assertIn("'user' (group 0)", repr(by_number))
            nameless = storage.embedding(7, dim=1, optimizer=damo.SGD())
            unasked = storage.embedding(by_name.group, dim=1, optimizer=damo.SGD())
            self.assertIsNone(nameless.name)
            self.assertIn("embedding group 7".lower(), repr(nameless).lower())
        for closed in (by_name, by_number, nameless, unasked):
            self.assertIn("closed", repr(closed))

    def test_2000_groups_are_opened_in_seconds(self):
        storage, sgd, started = self.storage(), damo.SGD(), time.monotonic()
        for group in range(2000):
            storage.embedding(group * 3, dim=1, optimizer=sgd)
        # Half a second; with a description of all at each it is more than a minute.
        self.assertLess(time.monotonic() - started, 20)
        self.assertEqual(len(storage.describe()["groups"]), 2000)
