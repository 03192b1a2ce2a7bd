"""n-grams of tokens with interpolated modified Kneser-Ney smoothing, as tables that back off.

Chen and Goodman, "An empirical study of smoothing techniques for language modeling" (1998), section 3. Tokens are any
strings without blanks; probabilities are natural logarithms.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

BEGIN: Final = "<s>"
END: Final = "</s>"
UNKNOWN: Final = "<unk>"
MARKS: Final = frozenset((BEGIN, END, UNKNOWN))
FLOOR: Final = -5.0 * math.log(10)
"""Of a token that is unknown to a model which does not say how likely such ones are."""
MOST: Final = 400_000
"""n-grams that are kept: where there are more, those that were seen least often are left out, the longest first."""

Context = tuple[str, ...]
Counts = dict[Context, dict[str, int]]
_USUAL: Final = (0.5, 1.0, 1.5)  # discounts where there are too few n-grams to tell them


@dataclass(frozen=True)
class Ngrams:
    """A model that backs off: p(w | context) where that n-gram is known, else `backoff` of the context and p(w | the
    context without its first token).

    follow: context -> token -> ln p. backoff: context -> ln of its weight, 0 where it is not there.
    """

    order: int
    follow: Mapping[Context, Mapping[str, float]]
    backoff: Mapping[Context, float]

    @property
    def size(self) -> int:
        """How many n-grams are known, of all lengths."""
        return sum(len(tokens) for tokens in self.follow.values())

    def knows(self, token: str) -> bool:
        """Whether a token was seen."""
        return token in self.follow[()]

    def log_probability(self, token: str, context: Sequence[str]) -> float:
        """ln p(token | the tokens before it, the newest last). What was never seen is as likely as `<unk>`."""
        if not self.knows(token):
            token = UNKNOWN
        before = tuple(context[max(0, len(context) - self.order + 1) :])
        total = 0.0
        while True:
            found = self.follow.get(before)
            if found is not None and token in found:
                return total + found[token]
            if not before:
                return total + FLOOR
            total += self.backoff.get(before, 0.0)
            before = before[1:]

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """exp of the mean surprise of a token, the end of each sentence included; infinite where there is none."""
        total, count = 0.0, 0
        for sentence in sentences:
            tokens = [BEGIN, *sentence, END]
            total += sum(self.log_probability(tokens[at], tokens[:at]) for at in range(1, len(tokens)))
            count += len(tokens) - 1
        return math.exp(-total / count) if count else math.inf


def fit(sentences: Iterable[Sequence[str]], order: int, most: int = MOST) -> Ngrams:
    """A model of these sentences, each a sequence of tokens.

    Unigrams are interpolated with all tokens being equally likely, one that was never seen among them. Tokens that
    look like the marks of a model (`<s>`) are taken for unknown ones. At most about `most` n-grams are kept.
    """
    counts = _adjusted(_seen(sentences, order))
    cuts = _cuts(counts, most)
    vocabulary = [*(token for token in counts[0].get((), {}) if token not in (END, UNKNOWN)), END, UNKNOWN]
    follow: dict[Context, dict[str, float]] = {(): dict.fromkeys(vocabulary, -math.log(len(vocabulary)))}
    backoff: dict[Context, float] = {}
    for length, contexts in enumerate(counts):
        discounts, shorter = _discounts(contexts), Ngrams(max(1, length), follow, backoff)
        found: dict[Context, dict[str, float]] = {}
        for context, tokens in contexts.items():
            whole, least = sum(tokens.values()), cuts[length]
            kept = {t: (n - discounts[min(n, 3) - 1]) / whole for t, n in tokens.items() if n > least}
            if not kept:
                continue
            rest = max(1 - sum(kept.values()), 1e-9)
            for token in kept if length else vocabulary:
                below = math.exp(shorter.log_probability(token, context[1:]))
                found.setdefault(context, {})[token] = math.log(kept.get(token, 0.0) + rest * below)
            if length:
                backoff[context] = math.log(rest)
        follow = {**follow, **found}
    return Ngrams(order, follow, backoff)


def _seen(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Context]]:
    """How often each n-gram occurs, for each length."""
    counts: list[Counter[Context]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        tokens = [BEGIN, *(UNKNOWN if token in MARKS else token for token in sentence), END]
        for length, counter in enumerate(counts, 1):
            counter.update(tuple(tokens[first : first + length]) for first in range(len(tokens) - length + 1))
    return counts


def _adjusted(seen: Sequence[Counter[Context]]) -> list[Counts]:
    """Context -> token -> count; of all but the longest n-grams, how many different tokens stood before them.

    Before a beginning nothing can stand: n-grams that start there keep how often they occur.
    """
    found: list[Counts] = []
    for length, counter in enumerate(seen):
        before = Counter(gram[1:] for gram in seen[length + 1]) if length + 1 < len(seen) else counter
        contexts: Counts = defaultdict(dict)
        for gram, count in counter.items():
            if gram != (BEGIN,):
                contexts[gram[:-1]][gram[-1]] = count if gram[0] == BEGIN else before[gram]
        found.append(dict(contexts))
    return found


def _discounts(contexts: Counts) -> tuple[float, float, float]:
    """What is taken from counts of one, two, and three or more (Chen and Goodman, 1998, equation 26)."""
    often = Counter(count for tokens in contexts.values() for count in tokens.values() if count <= 4)
    one, two, three, four = (often[count] for count in (1, 2, 3, 4))
    if not (one and two and three and four):
        return _USUAL
    share = one / (one + 2 * two)
    found = (1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three)
    good = all(0 < discount < count for count, discount in enumerate(found, 1))
    return (found[0], found[1], found[2]) if good else _USUAL


def _cuts(counts: Sequence[Counts], most: int) -> list[int]:
    """For each length, the count up to which n-grams are left out, so that about `most` are kept; never words."""
    cuts = [0] * len(counts)
    often = [Counter(count for tokens in contexts.values() for count in tokens.values()) for contexts in counts]
    sizes = [sum(counter.values()) for counter in often]
    while sum(sizes) > most and any(sizes[1:]):
        length = max(range(1, len(counts)), key=lambda at: (sizes[at], at))
        cuts[length] += 1
        sizes[length] -= often[length][cuts[length]]
    return cuts
