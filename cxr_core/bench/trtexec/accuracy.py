"""Accuracies as some script printed them, and how many images can stand behind the digits."""

import re
from collections.abc import Iterable, Mapping
from itertools import chain, combinations
from pathlib import Path

from cxr_core.bench.trtexec.files import read_file
from cxr_core.errors import UsageError
from cxr_core.refs import Frozen, Precision

_PRECISION = re.compile(rf"(?<![a-z0-9])({'|'.join(kind.value for kind in Precision)})(?![a-z0-9])", re.IGNORECASE)
_ACCURACY = re.compile(r"accuracy\s*[:=]\s*([0-9]*\.?[0-9]+)\s*(%?)", re.IGNORECASE)
# Also what would be read as another number: with a sign, an exponent, a decimal comma, or two points.
_NO_NUMBER = re.compile(
    r"accuracy\s*[:=]\s*([-+]?(nan|inf)|[-+][0-9.]|[0-9.]+e[-+]?[0-9]|[0-9]*,[0-9]|[0-9]*\.[0-9]*\.[0-9])",
    re.IGNORECASE,
)


class Printed(Frozen):
    """An accuracy (0..1) and half the last digit that it was printed with."""

    value: float
    half: float

    def right_of(self, total: int) -> int | None:
        """How many of ``total`` images were right, None where no whole number rounds to what was printed."""
        right = round(self.value * total)
        # A hair more than half a digit: a value halfway between two digits is printed as either.
        return right if abs(right / total - self.value) <= self.half * (1 + 1e-6) + 1e-12 else None


def read_accuracies(path: Path) -> dict[Precision, Printed]:
    """``accuracy = X`` of each precision: that named last before it, on the same line or one above.

    Raises:
        UsageError: it cannot be read, holds no accuracy, one out of range, or one without a precision.
    """
    try:
        text = read_file(path).decode(errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); mend accuracy_log in the context") from error
    current: Precision | None = None
    texts: dict[Precision, tuple[str, bool]] = {}
    for line in text.splitlines():
        if named := _PRECISION.findall(line):
            current = Precision(named[-1].lower())
        if _NO_NUMBER.search(line):
            raise UsageError(
                f"{path}: {line.strip()!r} is no accuracy; score that engine again, or write it 0.9215 or 92.15%"
            )
        if found := _ACCURACY.search(line):
            if current is None:
                raise UsageError(f"{path}: {line.strip()!r} belongs to no precision; name one on or above that line")
            texts[current] = (found[1], bool(found[2]))
    if not texts:
        raise UsageError(f"{path} holds no line 'accuracy = ...'; name the log of the scores")
    return _printed(texts, path)


def _printed(texts: Mapping[Precision, tuple[str, bool]], path: Path) -> dict[Precision, Printed]:
    # Trailing zeros may have been dropped: all of a log in one unit are printed with the digits of the longest.
    digits = {percent: 0 for _, percent in texts.values()}
    for text, percent in texts.values():
        digits[percent] = max(digits[percent], len(text.partition(".")[2]))
    found = {}
    for precision, (text, percent) in texts.items():
        unit = 100 if percent else 1
        if not 0 <= float(text) / unit <= 1:
            raise UsageError(
                f"{path}: an accuracy of {text} for {precision} is out of range; write 0..1, or 0..100 with %"
            )
        found[precision] = Printed(value=float(text) / unit, half=0.5 * 10.0 ** -digits[percent] / unit)
    return found


def sample_size(accuracies: Iterable[Printed], dataset: Mapping[str, int]) -> tuple[int, str] | None:
    """The fewest images, and the splits they may be, of which every accuracy is a whole number of right answers."""
    kept = list(accuracies)
    names = list(dataset)
    sums = chain.from_iterable(combinations(names, count) for count in range(1, len(names) + 1))
    sized = sorted((sum(dataset[name] for name in chosen), " + ".join(chosen)) for chosen in sums)
    return next((pair for pair in sized if all(one.right_of(pair[0]) is not None for one in kept)), None)
