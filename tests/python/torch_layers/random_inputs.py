"""Random inputs for layers, and the tables of weights that torch.nn gets for the same rows."""

import random

# Before the others: without torch it skips the file that imports this.
from support import torch  # isort: skip

import damo

INT32_IDS = [0, 5, 7, -1, 1000, -(2**31), 2**31 - 1]
# Those of 2**32 + n are n once they are cut off to 32 bits.
IDS = [*INT32_IDS, 2**31, 2**32, 2**32 + 5, 7 - 2**32, -(2**63), 2**63 - 1]
PADDINGS = [None, *IDS]
# These never have a row.
WITHOUT_ROWS = [123456789, 2**50, -(2**31) + 1]
DIM = 3
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = (torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Tables:
    """A group for each padding, with a row for each of IDS; layers step by the gradient itself."""

    def __init__(self, storage):
        self._rows = {
            padding: storage.embedding(
                f"of {padding}", dim=DIM, optimizer=damo.SGD(lr=1.0), padding_key=padding
            )
            for padding in PADDINGS
        }

    def fresh(self, padding, draw):
        """The rows of this padding with new weights, and their table: IDS, then WITHOUT_ROWS."""
        rows = self._rows[padding]
        table = draw.floats((len(IDS) + len(WITHOUT_ROWS), DIM), 0.5)
        table[len(IDS) :] = 0
        if padding is not None:
            table[IDS.index(padding)] = 0
        kept = [place for place, number in enumerate(IDS) if number != padding]
        rows.insert([IDS[place] for place in kept], table[kept].numpy())
        return rows, table

    @staticmethod
    def stored(rows):
        """What is in the storage now, for all of IDS."""
        return torch.from_numpy(rows.peek(IDS)[0])


class Draw(random.Random):
    """Random choices of one input, the same for the same seed and number."""

    def __init__(self, seed, number):
        super().__init__(f"{seed} {number}")

    def floats(self, shape, limit):
        """Between -limit and limit, float32."""
        generator = torch.Generator().manual_seed(self.getrandbits(62))
        return (torch.rand(shape, generator=generator) * 2 - 1) * limit

    def layout(self, tensor):
        """The same elements, now and then with other strides."""
        kind = self.randrange(4)
        if kind == 0 and tensor.dim():
            apart = torch.stack([tensor, torch.zeros_like(tensor)], -1)
            return apart[..., 0]
        if kind == 1 and tensor.dim() > 1:
            return tensor.transpose(0, -1).contiguous().transpose(0, -1)
        if kind == 2 and tensor.dim():
            return torch.cat([tensor[:1], tensor])[min(1, len(tensor)) :]
        return tensor

    def device(self):
        return self.choice(DEVICES)

    def dtype_of_ids(self):
        return self.choice((torch.int64, torch.int32))

    def ids(self, shape, dtype, with_rows_only):
        """Ids of this shape and dtype, and the places in a table of Tables.fresh that they have."""
        numbers = IDS if dtype == torch.int64 else INT32_IDS
        places = list(range(len(numbers)))
        if not with_rows_only:
            places += [
                len(IDS) + n
                for n, number in enumerate(WITHOUT_ROWS)
                if abs(number) < 2**31 or dtype == torch.int64
            ]
        # Few different ones, so that some repeat.
        places = self.choices(places, k=self.randint(1, len(places)))
        all_ids = torch.tensor(IDS + WITHOUT_ROWS)
        size = int(torch.tensor(shape, dtype=torch.int64).prod())
        chosen = torch.tensor(self.choices(places, k=size), dtype=torch.int64).view(shape)
        return self.layout(all_ids[chosen].to(dtype)), chosen

    def sizes(self):
        """How many ids each bag has; many have none."""
        return [
            self.choice((0, 0, 1, 1, 2, 3, self.randint(0, 8)))
            for _ in range(self.choice((0, 1, 2, 3, 6)))
        ]

    def offsets(self, sizes, include_last_offset):
        """A list of where bags of these sizes begin."""
        begins = [sum(sizes[:number]) for number in range(len(sizes) + 1)]
        return begins if include_last_offset else begins[:-1]

    def wrong_offsets(self, sizes, include_last_offset):
        """Like offsets, and no longer right; None when the draw found no way."""
        offsets, ids = self.offsets(sizes, include_last_offset), sum(sizes)
        kind = self.randrange(6)
        if kind == 0:
            return [] if ids or include_last_offset else None
        if not offsets:
            return None
        place = self.randrange(len(offsets))
        if kind == 1:
            offsets[place] = -self.choice((1, 2, 2**31, 2**62))
        elif kind == 2:
            offsets[place] = ids + self.choice((1, 2, 2**31, 2**62))
        elif kind == 3:
            offsets[0] = 1 if ids else -1
        elif kind == 4:
            offsets.append(offsets[-1] - 1)
        elif include_last_offset and ids:
            offsets[-1] = self.randrange(ids)
        else:
            return None
        return offsets
