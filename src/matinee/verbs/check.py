"""Tell what is in a source: what is broken, duplicated, leaked, mislabelled or rare.

Exit code 1 where training on it as it is would be unsafe, with the reason.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from matinee.core.command import Answer, Call, Command, argument
from matinee.core.duplicates import groups
from matinee.core.errors import DataError
from matinee.core.ledger import Entry
from matinee.core.reading import read, task_name
from matinee.core.settings import setting
from matinee.core.tables import table_text
from matinee.core.task import Data

# A few lost or leaked examples are told; from these shares on, scores or models would be wrong.
LOST = 0.1  # of the files that should have been examples
LEAKED = 0.01  # of the examples of a validation or test split
TWO_LABELS = 0.01  # of all examples
RARE = 100  # the most common class over the rarest
SHOWN = 5  # files named for a problem where people read
_VARYING = re.compile(r"\d+(?:[.,]\d+)*|\(.*?\)|'[^']*'|\"[^\"]*\"")  # what differs from file to file for one reason
NOT_MEANT = {"ignored": "passed over", "event": "read with a remark"}
"""Kinds of ledger lines that were never examples, and what was done with those; all others are left out."""


@dataclass(frozen=True)
class Problem:
    """One finding. severity: "error" where training would be unsafe, else "warning"."""

    kind: str
    severity: str
    words: str
    count: int
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What `check` found. counts: split -> class -> examples."""

    source: str
    task: str
    counts: Mapping[str, Mapping[str, int]]
    facts: Mapping[str, str]
    problems: tuple[Problem, ...]
    ledger: Mapping[str, int]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make training unsafe."""
        return tuple(p for p in self.problems if p.severity == "error")

    def to_json(self) -> dict[str, Any]:
        """For programs: every file of every problem."""
        value = asdict(self)
        value["problems"] = [asdict(problem) for problem in self.problems]
        return {**value, "safe": not self.errors}


def check(data: Data, *, thorough: bool = True) -> Findings:
    """What is wrong with the data.

    thorough: near duplicates too, which takes seconds; without, only what reading has told already.
    """
    problems = [*_reading(data), *_classes(data), *_held_back(data), *_duplicates(data)]
    if thorough and _examples(data):
        problems += _near_duplicates(data)
    order = {"error": 0, "warning": 1}
    kinds: dict[str, int] = defaultdict(int)
    for entry in data.origin.entries:
        kinds[entry.kind] += 1
    return Findings(
        data.origin.source,
        task_name(type(data.task)),
        _counts(data),
        data.origin.facts,
        tuple(sorted(problems, key=lambda p: order[p.severity])),
        dict(kinds),
    )


def _examples(data: Data) -> int:
    return sum(len(part) for part in data.splits().values())


def _counts(data: Data) -> dict[str, dict[str, int]]:
    names, counts = data.task.names(), {}
    for split, examples in data.splits().items():
        labels = data.task.labels(examples) if len(examples) else np.zeros(0, np.int64)
        if labels is None or not names:
            counts[split] = {"examples": len(examples)}
        else:
            counted = np.bincount(labels, minlength=len(names))
            counts[split] = {name: int(n) for name, n in zip(names, counted, strict=True)}
    return counts


def _reading(data: Data) -> list[Problem]:
    """Files that are not examples."""
    kinds: dict[str, list[Entry]] = defaultdict(list)
    for entry in data.origin.entries:
        kinds[entry.kind].append(entry)
    examples = _examples(data)
    lost = sum(len(v) for kind, v in kinds.items() if kind not in NOT_MEANT)
    severity = "error" if lost > LOST * (examples + lost) else "warning"
    problems = [
        Problem(
            kind,
            "warning" if kind in NOT_MEANT else severity,
            f"{_files(list(dict.fromkeys(e.file for e in entries)))} {NOT_MEANT.get(kind, 'left out')} ({kind})"
            f"{_reasons(entries)}",
            len(entries),
            tuple(entry.file for entry in entries),
        )
        for kind, entries in kinds.items()
    ]
    if not examples:
        problems.append(Problem("nothing-to-read", "error", "not one example could be read.", 0))
    return problems


def _reasons(entries: Sequence[Entry]) -> str:
    """What is said of these entries: how often where that differs, numbers and names in it aside, and an example."""
    alike: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        alike[_VARYING.sub("", entry.reason.replace(entry.file, ""))].append(entry)
    sets = sorted(alike.values(), key=len, reverse=True)
    if len(sets) == 1:
        return f"{', the first' if len({e.reason for e in entries}) > 1 else ''}: {entries[0].reason}"
    told = [f"{len(each):,} as {each[0].file}: {each[0].reason}" for each in sets[:SHOWN]]
    more = sum(len(each) for each in sets[SHOWN:])
    return ", " + "; ".join([*told, *([f"{more:,} for other reasons"] if more else [])])


def _files(names: Sequence[str]) -> str:
    """How many there are of what the names in a ledger stand for: files, their rows (a.csv#3), columns."""
    kinds = {"row" if "#" in name else "column" if name.startswith("column ") else "file" for name in names}
    s = "s" if len(names) != 1 else ""
    return f"{len(names):,} {' or '.join(f'{kind}{s}' for kind in sorted(kinds))}"


def _classes(data: Data) -> list[Problem]:
    """Too few classes or examples, and great differences between classes."""
    names = data.task.names()
    if not names or not len(data.train):
        empty = Problem("no-training", "error", "no examples are left to train on.", 0)
        return [empty] if names and any(len(part) for part in data.splits().values()) else []
    labels = data.task.labels(data.train)
    counts = np.bincount(labels if labels is not None else np.zeros(0, np.int64), minlength=len(names))
    problems = []
    if len(names) < 2:
        words = f"there is one class only ({names[0]}): there is nothing to tell it from. Add examples of another."
        problems.append(Problem("one-class", "error", words, 1))
    without = [name for name, n in zip(names, counts, strict=True) if not n]
    if without:
        words = f"{len(without)} of {len(names)} classes have no example to train on: {_some(without)}."
        problems.append(Problem("empty-class", "error", words, len(without)))
    few = [name for name, n in zip(names, counts, strict=True) if 0 < n < 2]
    if few and len(names) > 1:
        whole = len(few) + len(without) == len(names)
        words = f"{len(few)} of {len(names)} classes have a single example to train on: {_some(few)}."
        problems.append(Problem("tiny-class", "error" if whole else "warning", words, len(few)))
    present = counts[counts > 0]
    if present.max() >= RARE * present.min():
        rare, common = names[int(np.where(counts > 0, counts, counts.max()).argmin())], names[int(counts.argmax())]
        words = (
            f"{common} has {present.max():,} examples and {rare} has {present.min():,}: accuracy alone will mislead. "
            "Look at recall and F1; --balanced or --class-weights balanced help."
        )
        problems.append(Problem("imbalance", "warning", words, int(present.max() // present.min())))
    return problems


def _held_back(data: Data) -> list[Problem]:
    """Nothing, or nothing of a class, that could be held back to score on, though a share was asked for."""
    task, problems = data.task, []
    blind = {
        "test": "nothing will be known of how good the model is",
        "valid": "the last weights are kept, good or not",
    }
    for split, share in (("test", task.test_share), ("valid", task.valid_share)):
        part = data.splits()[split]
        if not share or split in data.origin.given or not len(data.train):
            continue
        lacking = _all_in_one_group(data)
        if not len(part):
            why, mend = "too few examples or groups", "Add examples."
            if lacking:
                why = "every class lies in one group, and a group is not divided"
                mend = "Group by something that each class has several of."
            words = f"no example could be held back for the {split} split ({why}): {blind[split]}. {mend}"
            problems.append(Problem(f"no-{split}", "warning", words, 0))
        elif lacking:
            words = (
                f"{len(lacking)} of {len(task.names())} classes have no example in the {split} split, as all of theirs "
                f"lie in one group, and a group is not divided: {_some(lacking)}."
            )
            problems.append(Problem(f"no-{split}", "warning", words, len(lacking)))
    return problems


def _all_in_one_group(data: Data) -> list[str]:
    """Classes with several examples, all of which are there to train on because they are in one group."""
    together, labels = data.task.together(data.train), data.task.labels(data.train)
    if together is None or labels is None:
        return []
    others = [data.task.labels(part) for part in (data.valid, data.test) if len(part)]
    there = {code for codes in others if codes is not None for code in codes.tolist()}
    found = []
    for code, name in enumerate(data.task.names()):
        own = together[labels == code]
        if code not in there and len(own) > 1 and own[0] >= 0 and (own == own[0]).all():
            found.append(name)
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _placed(data: Data) -> list[tuple[int, str, str, int]]:
    """(row, file, split, class) of every example; class -1 where there are none."""
    placed = []
    for split, examples in data.splits().items():
        labels = data.task.labels(examples) if len(examples) else None
        known = labels.tolist() if labels is not None else [-1] * len(examples)
        names = data.origin.names
        placed += [
            (row, names[row] if len(names) else str(row), split, label)
            for row, label in zip(examples.rows.tolist(), known, strict=True)
        ]
    return placed


def _duplicates(data: Data) -> list[Problem]:
    """The same bytes more than once: in two splits, under two labels, or simply twice."""
    same: dict[str, list[tuple[int, str, str, int]]] = defaultdict(list)
    for example in _placed(data):
        digest = data.origin.manifest.get(example[1])
        if digest is not None:
            same[digest].append(example)
    sets = [members for members in same.values() if len({file for _, file, _, _ in members}) > 1]  # not parts of one
    return _judged(data, sets, "duplicate", "the same content")


def _near_duplicates(data: Data) -> list[Problem]:
    """Pictures that differ in size or compression alone, texts in a few words: what the task calls alike."""
    from matinee.core.examples import Examples

    placed = _placed(data)
    everything = Examples(data.train.columns, np.array([row for row, *_ in placed], np.int64))
    prints, threshold = data.task.fingerprint(everything)
    alike: dict[int, list[tuple[int, str, str, int]]] = defaultdict(list)
    for example, number in zip(placed, groups(prints, threshold).tolist(), strict=True):
        alike[number].append(example)
    manifest = data.origin.manifest
    # Sets of exact duplicates alone are told already.
    sets = [m for m in alike.values() if len(m) > 1 and len({manifest.get(e[1], e[1]) for e in m}) > 1]
    return _judged(data, sets, "near-duplicate", "nearly the same content")


def _judged(data: Data, sets: list[list[tuple[int, str, str, int]]], kind: str, what: str) -> list[Problem]:
    if not sets:
        return []
    exact, total = kind == "duplicate", _examples(data)
    problems = []
    harm = {"test": "the score would be too good", "valid": "weights would be chosen by what they learned from"}
    for split, others in (("test", ("train", "valid")), ("valid", ("train",))):
        leaked = [e for m in sets for e in m if e[2] == split and any(o[2] in others for o in m)]
        if leaked:
            share = len(leaked) / max(1, len(data.splits()[split]))
            have, them = ("have", "them") if len(leaked) > 1 else ("has", "it")
            words = (
                f"{_files([e[1] for e in leaked])} of the {split} split ({100 * share:.1f} %) {have} {what} as one of "
                f"{' or '.join(others)}: {harm[split]}. Remove {them} from one side."
            )
            bad = share >= (LEAKED if exact else 5 * LEAKED)
            problems.append(_problem("leak" if exact else "near-leak", bad, words, leaked))
    torn = [m for m in sets if len({e[3] for e in m}) > 1]
    if torn:
        members = [e for m in torn for e in m]
        labels = data.task.names()
        first = " and ".join(sorted({str(labels[e[3]]) for e in torn[0]}))
        number = _files([e[1] for e in members])
        sure = "is" if exact else "may be"
        words = f"{number} have {what} under different labels (such as {first}): one of them {sure} wrong."
        problems.append(_problem("two-labels" if exact else "near-two-labels",
                                 exact and len(members) >= TWO_LABELS * total, words, members))  # fmt: skip
    members = [e for m in sets for e in m]
    number = f"{len(sets):,} set{'s' if len(sets) > 1 else ''}"
    words = f"{_files([e[1] for e in members])} have {what} as another (in {number}); they count more than once."
    problems.append(_problem(kind, False, words, members))
    return problems


def _problem(kind: str, bad: bool, words: str, members: list[tuple[int, str, str, int]]) -> Problem:
    return Problem(kind, "error" if bad else "warning", words, len(members), tuple(e[1] for e in members))


def refuse(findings: Findings) -> None:
    """Raises DataError where training would be unsafe."""
    if findings.errors:
        reasons = "\n".join(f"  {problem.words}" for problem in findings.errors)
        raise DataError(
            f"{findings.source}: training would be unsafe.\n{reasons}\n"
            f"  matinee check {findings.source} names the files; --anyway trains all the same."
        )


@dataclass(frozen=True, kw_only=True)
class Check(Command):
    """`matinee check SOURCE`."""

    reads: ClassVar[bool] = True

    source: str = argument("a folder, archive, table of files or well-known name")
    task: str = setting("", "task, where the layout alone does not tell it")

    def run(self, call: Call) -> Answer:
        """Read and check; exit code 1 for what makes training unsafe."""
        try:
            data = read(self.source, task=self.task or None, progress=call.progress, **call.tasks)
        except DataError as error:
            problem = Problem("unreadable-source", "error", str(error), 1)
            findings = Findings(self.source, self.task, {}, {}, (problem,), {})
        else:
            findings = check(data)
        return Answer(findings.to_json(), _text(findings), 1 if findings.errors else 0)


def _text(findings: Findings) -> str:
    lines = [f"{findings.source}: {findings.task}" if findings.task else findings.source]
    lines += [f"  {name}: {value}" for name, value in findings.facts.items()]
    if findings.counts:
        lines += ["", _count_table(findings.counts)]
    lines.append("")
    for problem in findings.problems:
        lines.append(f"{'UNSAFE ' if problem.severity == 'error' else 'note   '} {problem.words}")
        shown = [*problem.files[:SHOWN], *(["..."] if len(problem.files) > SHOWN else [])]
        lines += [f"          {name!r}" if not name.isprintable() else f"          {name}" for name in shown]
    if not findings.problems:
        lines.append("nothing wrong was found.")
    if findings.errors:
        lines += ["", "Training on this as it is would be unsafe."]
    return "\n".join(lines)


def _count_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    names = list(dict.fromkeys(name for split in counts.values() for name in split))
    if names == ["examples"]:  # there are no classes
        return table_text(["", *counts], [["examples", *(split["examples"] for split in counts.values())]])
    rows: list[Sequence[Any]] = [[name, *(counts[split].get(name, 0) for split in counts)] for name in names]
    if len(rows) > 30:
        rows = [*rows[:15], ["...", *[""] * len(counts)], *rows[-15:]]
    rows.append(["all", *(sum(split.values()) for split in counts.values())])
    return table_text(["class", *counts], rows)
