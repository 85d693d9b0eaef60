"""The parameters in front of a context code."""

import dataclasses
import math

from kwc.coding import bits
from kwc.coding.context.layout import ORDERS, Scan, scan
from kwc.coding.errors import CodingError

MATRIX, STACK, SPLIT_ROWS, SPLIT_COLUMNS = range(4)
"""Ways to fold a shape into three axes."""

PRIORS = 16
SETTINGS = ((255, 8), (1023, 2), (255, 16), (127, 4))
"""Pairs of the model's `limit` and `step`."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a reader must know before the first bit.

    Attributes:
        fold: MATRIX, STACK, SPLIT_ROWS or SPLIT_COLUMNS.
        order: index into ORDERS.
        divisor: where rows or columns are split, the length of the inner axis; else 1.
        offset: subtracted from every value.
        has_negative: whether a value minus the offset can be negative.
        has_large: whether its magnitude can be above 1.
        prior: 0 to 15, for the probability that a value is not the offset.
        settings: index into SETTINGS.
        smooth: 0 to 3, along how many axes neighbours are alike, the slowest first.
    """

    fold: int = MATRIX
    order: int = 0
    divisor: int = 1
    offset: int = 0
    has_negative: bool = True
    has_large: bool = True
    prior: int = 0
    settings: int = 0
    smooth: int = 0

    def to_bytes(self) -> bytes:
        """Returns two bytes, and the divisor and the offset where they are needed."""
        flags = (self.offset != 0) << 2 | self.has_large << 1 | self.has_negative
        parts = [bytes([(flags * 4 + self.fold) * len(ORDERS) + self.order])]
        parts.append(bytes([(self.smooth * len(SETTINGS) + self.settings) * PRIORS + self.prior]))
        if self.fold >= SPLIT_ROWS:
            parts.append(bits.varint(self.divisor))
        if self.offset:
            parts.append(bits.zigzag(self.offset))
        return b"".join(parts)

    def scan(self, shape: tuple[int, ...]) -> Scan:
        """Returns the order in which an array of this shape is scanned.

        Raises:
            CodingError: if the divisor does not divide.
        """
        *outer, middle, last = (1, 1, *shape)
        rows = math.prod(outer) * middle
        length = {SPLIT_ROWS: rows, SPLIT_COLUMNS: last}.get(self.fold, 1)
        if length % self.divisor:
            raise CodingError(f"corrupt data: an axis of {length} split by {self.divisor}")
        parts = length // self.divisor
        lengths = {
            MATRIX: (1, rows, last),
            STACK: (math.prod(outer), middle, last),
            SPLIT_ROWS: (parts, self.divisor, last),
            SPLIT_COLUMNS: (rows, parts, self.divisor),
        }[self.fold]
        return scan(lengths, self.order)


def read_header(reader: bits.Reader) -> Header:
    """Reads what `Header.to_bytes` wrote.

    Raises:
        CodingError: if the bytes are none of a header.
    """
    head, order = divmod(reader.byte(), len(ORDERS))
    flags, fold = divmod(head, 4)
    rest, prior = divmod(reader.byte(), PRIORS)
    smooth, settings = divmod(rest, len(SETTINGS))
    if flags > 7:
        raise CodingError("corrupt data: unknown parameters of a context code")
    divisor = reader.varint() if fold >= SPLIT_ROWS else 1
    offset = reader.zigzag() if flags & 4 else 0
    if not divisor or (flags & 4 and not offset):
        raise CodingError("corrupt data: a parameter of a context code is 0")
    return Header(
        fold=fold,
        order=order,
        divisor=divisor,
        offset=offset,
        has_negative=bool(flags & 1),
        has_large=bool(flags & 2),
        prior=prior,
        settings=settings,
        smooth=smooth,
    )
