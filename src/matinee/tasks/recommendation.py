"""Recommend items to people by what they, people like them and their friends chose; predict ratings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from matinee.core.errors import DataError, SettingsError
from matinee.core.examples import Array, Examples
from matinee.core.meter import Meter
from matinee.core.pieces import Piece, Table
from matinee.core.progress import Progress
from matinee.core.settings import setting
from matinee.core.task import Batch, Data, Origin, Task
from matinee.core.watch import Watch
from matinee.media import interaction_files
from matinee.media.asked_histories import Catalogue, listed
from matinee.media.histories import WAYS, Division, Histories, each_once, held_back, histories, three_tastes, within
from matinee.media.interactions import Columns, Interactions, read_interactions
from matinee.media.named import RATINGS
from matinee.media.ranking_scores import RankingMeter, RatingMeter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from matinee.core.model import Model
    from matinee.nets.recommender_choices import Plan

RANKING = ("popular", "linear", "factors", "pairwise", "autoencoder", "graph", "sequence", "blend")
RATING = ("mean", "biases", "gaussian")
SHOWN = 10
LARGE = 12_000  # items from which on a weight for every pair of them is too much


@dataclass(frozen=True, kw_only=True)
class Recommendation(Task):
    """What a person may choose next, from the history alone."""

    asked: ClassVar[str] = '"A TITLE; ANOTHER" FILE...'
    rivals: ClassVar[tuple[str, str]] = ("the same for everybody", "simplest network that learns")
    layout: ClassVar[str] = (
        "  ratings.csv with the columns userId,movieId,rating,timestamp   (or user_id,item_id; asin; .inter)\n"
        "  ml-100k/ (u.data, u.item), ml-1m/ (ratings.dat, movies.dat)    MovieLens' files; u1.base brings u1.test\n"
        "  reviews.jsonl with reviewerID, asin, overall, unixReviewTime   Amazon's reviews\n"
        "  user_artists.dat, user_friends.dat; ratings.txt, trust.txt     with friends, or trust"
    )
    samples: ClassVar[Mapping[str, str]] = RATINGS

    items: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    people: int = 0
    links: int = 0
    rated: bool = False

    objective: str = setting("ranking", "what is learned", choices=("ranking", "rating"))
    network: str = setting("auto", "network", choices=("auto", *RANKING, *RATING))
    split: str = setting(
        "random", "how the test is held back: events by lot, by lot of each person, each one's last, the latest of all",
        choices=WAYS, reading=True,
    )  # fmt: skip
    units: int | None = setting(None, "factors of an item, or units of the code", low=1, high=4096, log=True)
    dropout: float = setting(0.5, "share of a history that is hidden while learning", low=0, high=0.95)
    regularisation: float | None = setting(
        None, "penalty of the linear network (auto: the best for people held back)", low=1e-3, high=1e7, log=True
    )
    long_histories: float = setting(
        0.5, "the linear network counts a person with n items n to the power of minus this", low=0, high=2
    )
    alike: float | None = setting(
        None, "share of what people alike chose in the linear network (0: EASE; auto: the best for people held back)",
        low=0, high=100,
    )  # fmt: skip
    length: int = setting(100, "last items of a history that the sequence network looks at", low=2, high=4096)
    social: bool = setting(True, "look at what friends chose, where links are known (linear, graph, blend)")
    fewest: int = setting(1, "leave out items that fewer people chose", low=1, high=1_000_000, reading=True)
    least_rating: float | None = setting(None, "leave out events that are rated less", low=-1e9, high=1e9, reading=True)
    user_column: str = setting("", "column that names the user", reading=True)
    item_column: str = setting("", "column that names the item", reading=True)
    rating_column: str = setting("", "column that holds the rating", reading=True)
    time_column: str = setting("", "column that holds the time", reading=True)

    def __post_init__(self) -> None:
        allowed = RATING if self.objective == "rating" else RANKING
        if self.network not in ("auto", *allowed):
            raise SettingsError(
                f"--network {self.network}: for --objective {self.objective} there are {', '.join(allowed)}."
            )
        if len({len(self.items), len(self.titles), len(self.kinds), len(self.counts)}) > 1:
            raise SettingsError("items, titles, kinds and counts: there must be equally many.")

    # -- reading

    @classmethod
    def recognise(cls, source: str) -> str | None:
        """Files of users and items, by their names and first rows."""
        return interaction_files.recognised(source)

    def read(self, source: str, progress: Progress) -> Data:
        """Who chose what, divided; a trained task keeps its items, others are left out and told."""
        progress.live(f"reading {source}")
        columns = Columns(self.user_column, self.item_column, self.rating_column, self.time_column)
        found = read_interactions(source, columns)
        data = self._divided(found, source)
        progress.clear()
        return data

    def _divided(self, found: Interactions, source: str) -> Data:
        from matinee.media.item_numbers import numbered, selected

        if self.split == "time" and not found.test.any() and np.isnan(found.time).all():
            raise DataError(f"{source}: there are no times to split by. Choose --split random, within-user or last.")
        if self.objective == "rating" and not found.rated:
            raise DataError(f"{source}: there are no ratings to predict. Leave --objective rating out.")
        found = selected(found, self.least_rating, self.fewest, self.items)
        division = Division(self.split, self.test_share, self.valid_share, self.split_seed)
        test = held_back(found, division)
        known, items = numbered(found, test, self.items)
        rows = histories(found, test, division, known)
        task = self if self.items else self._knowing(found, items, rows)
        origin = Origin(
            source, rows.manifest, rows.names, (*found.entries, *rows.entries),
            frozenset({"test"} if found.test.any() else ()), task._facts(found),
        )  # fmt: skip
        parts = {name: Examples(rows.columns, chosen) for name, chosen in rows.parts.items()}
        return Data(task, parts["train"], parts["valid"], parts["test"], origin)

    def _knowing(self, found: Interactions, items: Sequence[str], rows: Histories) -> Recommendation:
        examples = Examples(rows.columns, rows.parts["train"])
        chosen = examples.ragged("history").values[within(examples)]
        return dataclasses.replace(
            self,
            items=tuple(items),
            titles=tuple(found.titles.get(item, item) for item in items),
            kinds=tuple("|".join(found.attributes.get(item, ())) for item in items),
            counts=tuple(np.bincount(chosen, minlength=len(items) + 1)[1:].tolist()),
            people=len(examples),
            links=len(found.links),
            rated=found.rated,
        )

    def _facts(self, found: Interactions) -> dict[str, str]:
        way = {
            "random": f"{self.test_share:.0%} of all events by lot",
            "within-user": f"{self.test_share:.0%} of each user's events by lot",
            "last": "the last event of each user",
            "time": f"the latest {self.test_share:.0%} of all events",
        }[self.split]
        if self.split == "last" and np.isnan(found.time).all():
            way += ", as the file has them: it tells no times"
        test = "named by the source" if found.test.any() else f"{way}, seed {self.split_seed}"
        return {
            "users": f"{len(np.unique(found.person)):,}",
            "items": f"{len(self.items):,}",
            "events": f"{len(found):,}",
            **({"social links": f"{len(found.links):,}"} if len(found.links) else {}),
            "test": test,
        }

    def changes(self, source: str, manifest: Mapping[str, str]) -> dict[str, list[str]]:
        """Users whose events are no longer what they were."""
        now = self.read(source, Progress(quiet=True)).origin.manifest
        return {
            "changed": [name for name in manifest if name in now and now[name] != manifest[name]],
            "missing": [name for name in manifest if name not in now],
            "new": [name for name in now if name not in manifest],
        }

    def toy(self, seed: int = 0) -> Data:
        """Three tastes with twenty items each; everybody has one of them, and friends of the same."""
        found = three_tastes(seed)
        simple = {"ranking": "autoencoder", "rating": "gaussian"}[self.objective]
        task = dataclasses.replace(
            self, network=simple if self.network == "auto" else self.network, units=self.units or 16
        )
        data = task._divided(found, "made up")
        some = data.test.take(np.arange(90))
        return dataclasses.replace(data, test=some, origin=Origin("made up"))

    # -- the network and its training

    def choose(self, data: Data, minutes: float | None) -> Recommendation:
        """Closed forms for few people, all together for many, factors where there are too many items for pairs."""
        network = self.network
        if network == "auto" and self.objective == "rating":
            network = "gaussian"
        elif network == "auto":
            network = "factors" if len(self.items) > LARGE else "blend" if len(data.train) >= 500 else "linear"
        return dataclasses.replace(self, network=network)

    @property
    def _befriended(self) -> bool:
        return bool(self.links) and self.social and self.network in ("auto", "linear", "graph", "blend")

    @property
    def _plan(self) -> Plan:
        from matinee.nets.recommender_choices import Plan, size_of

        return Plan(
            self.network, len(self.items), self.people, size_of(self.network, self.units, self.people), self.dropout,
            self.length, self._befriended, self.regularisation, self.long_histories, self.alike,
        )  # fmt: skip

    def build(self) -> nn.Module:
        """The network called `network`."""
        from matinee.nets.recommender_choices import build

        return build(self._plan)

    def advice(self, examples: int) -> dict[str, Any]:
        """No steps for closed forms."""
        from matinee.nets.recommender_choices import ADVICE

        advice = dict(ADVICE.get(self.network, {"epochs": 0}))
        if "batch_size" in advice:  # of few people smaller batches, so that a pass has steps enough
            advice["batch_size"] = min(advice["batch_size"], max(8, examples // 20))
        return advice

    def prepare(self, network: nn.Module, examples: Examples) -> None:
        """Closed forms, neighbours and counts: all that a look at the training tells."""
        self.study(network, examples, Watch())

    def study(self, network: nn.Module, examples: Examples, watch: Watch) -> None:
        """The same within the time there is: settings are searched for, and rare items weighed, where it suffices."""
        import torch

        from matinee.nets.recommender_choices import fit_ranking, fit_rating
        from matinee.nets.recommenders_closed import Chosen

        if not len(examples):
            return
        examples = each_once(examples)
        device = next((t.device for t in network.state_dict().values()), torch.device("cpu"))

        def told(name: str, shares: str = "") -> Chosen:
            events = within(examples, name)
            item = torch.from_numpy(examples.ragged(name).values[events].astype(np.int64) - 1).to(device)
            person = torch.from_numpy(np.repeat(np.arange(len(examples)), examples.lengths(name))).to(device)
            share = torch.from_numpy(examples.ragged(shares).values[events]).to(device) if shares else None
            return Chosen(person, item, len(examples), len(self.items), share)

        if self.objective == "rating":
            fit_rating(network, told("history", "value"), torch.from_numpy(self._catalogue.table), watch)
        else:
            friends = told("friends", "often") if self._befriended else None
            fit_ranking(network, told("history"), self._plan, friends, watch)

    def calibrated_on(self) -> int:
        """As others, where shares are to be told."""
        return 4096 if self.network == "blend" else 0

    def calibrate(self, network: nn.Module, outputs: Any, targets: Any) -> None:
        """The shares of a blend, by what validation people had held back."""
        import torch

        from matinee.nets.recommenders import Blend
        from matinee.nets.recommenders_closed import fit_shares

        if isinstance(network, Blend) and "parts" in outputs:
            wanted = torch.zeros_like(outputs["scores"])
            for row, target in enumerate(targets[..., 0].long()):
                wanted[row, target[target > 0] - 1] = 1.0
            fit_shares(network, outputs["parts"], outputs["scores"].isneginf().float(), wanted)

    def collate(self, columns: Mapping[str, Tensor]) -> Batch:
        """Events (batch, length, 3): what the person chose, then what friends did; targets (batch, k, 2)."""
        import torch

        from matinee.nets.recommenders import FRIENDS, OWN, told

        own = told(columns["history"], columns["value"], OWN)
        if self._befriended:
            own = torch.cat([own, told(columns["friends"], columns["often"], FRIENDS)], 1)
        return Batch(own, torch.stack([columns["target"].float(), columns["wanted"].float()], -1))

    def lengths(self, examples: Examples) -> Array | None:
        """How long each history is, where that tells what a step costs: the others see every item in each."""
        return np.minimum(examples.lengths("history"), self.length) if self.network == "sequence" else None

    def infer(self, network: nn.Module, inputs: Tensor) -> Any:
        """Scores of all items, -inf for those of the history, in single precision: ranks need it.

        "ratings" (as predicted, nothing left out) for that objective; "top" and "because": the first items and, for
        each, the item of the history that speaks most for it (-1: none does); "new": scores of new items.
        """
        import torch

        from matinee.nets.recommenders import NEW, Blend, multi_hot, numbers, reasons

        with torch.autocast(inputs.device.type, enabled=False):
            parts = {"parts": network.parts(inputs)} if isinstance(network, Blend) else {}
            scores = network.joined(parts["parts"]) if isinstance(network, Blend) else network(inputs).float()
            free = scores.masked_fill(multi_hot(inputs, len(self.items)) > 0, -torch.inf)
            top = free.topk(min(SHOWN, free.shape[1]), 1).indices
            parts |= {"scores": free, "top": top, "because": reasons(network, inputs, top)}
            if self.objective == "rating":
                parts["ratings"] = scores
            if (numbers(inputs, NEW) > 0).any():
                parts["new"] = self._catalogue.score_new(inputs, scores)
        return parts

    def forward(self, network: nn.Module, batch: Batch) -> Any:
        """What the network makes of the histories that it learns from."""
        return network.learn(batch.inputs)  # type: ignore[operator]

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy over all items, and what a variational code costs."""
        from matinee.nets.recommender_choices import loss

        return loss(outputs)

    # -- scores and answers

    def meter(self) -> Meter:
        """Full rankings, or errors of ratings."""
        return RatingMeter() if self.objective == "rating" else RankingMeter(len(self.items), self.counts)

    def trivial(self, train: Examples) -> Model:
        """What is popular, or the mean rating."""
        from matinee.core.model import Model

        task = dataclasses.replace(self, network="mean" if self.objective == "rating" else "popular")
        network = task.build()
        task.prepare(network, train)
        return Model(task, network.eval())

    def simplest(self) -> Task | None:
        """The linear network, or biases."""
        name = "biases" if self.objective == "rating" else "linear" if len(self.items) <= LARGE else "popular"
        return None if self.network == name else dataclasses.replace(self, network=name)

    def contained(self, network: nn.Module, simplest: Task) -> nn.Module | None:
        """The linear member of a blend."""
        from matinee.nets.recommenders import Blend, Linear

        first = network.members["linear"] if isinstance(network, Blend) else None
        return first if isinstance(first, Linear) and simplest == self.simplest() else None

    def merge(self, outputs: Sequence[Any]) -> Any:
        """The mean of the scores."""
        import torch

        scores = torch.stack([each["scores"] for each in outputs]).mean(0)
        means = {name: torch.stack([each[name] for each in outputs]).mean(0) for name in ("ratings", "new")
                 if name in outputs[0]}  # fmt: skip
        top = scores.topk(min(SHOWN, scores.shape[1]), 1).indices
        return {"scores": scores, "top": top, "because": torch.full_like(top, -1), **means}

    def concatenate(self, outputs: Sequence[Any]) -> Any:
        """Rows under each other; targets as wide as the widest."""
        from matinee.nets.recommender_choices import stacked

        if isinstance(outputs[0], Mapping):
            return {name: stacked([each[name] for each in outputs]) for name in outputs[0]}
        return stacked(outputs)

    def logits(self, outputs: Any) -> Tensor:
        """The scores."""
        scores: Tensor = outputs["scores"]
        return scores

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self.items, self.titles, self.kinds)

    def encode_each(self, raws: Sequence[Any]) -> tuple[Tensor, Mapping[int, DataError]]:
        """Histories (lists of items, JSON objects, lines of items between semicolons) as events; known items only."""
        return self._catalogue.encode(raws)

    def inputs(self, places: Sequence[str]) -> Iterable[Any]:
        """Files of histories as their lines; anything else as a history itself."""
        return listed(places)

    def decode(self, outputs: Any) -> list[dict[str, Any]]:
        """The first items with scores and reasons."""
        return self._catalogue.decode(outputs, "rating" if self.objective == "rating" else "score")

    def show(self, inputs: Tensor, outputs: Any) -> list[Piece]:
        """A page for each person: the last of the history, and what is recommended, with the reason."""
        from matinee.nets.recommenders import numbers

        pieces: list[Piece] = []
        for row, answer in zip(numbers(inputs).tolist(), self.decode(outputs), strict=True):
            chosen = [self.titles[number - 1] for number in row if number > 0]
            listed_ = [
                (place + 1, each["title"], each.get("because", "")) for place, each in enumerate(answer["items"])
            ]
            caption = f"After {len(chosen):,} items, the last of them: {'; '.join(chosen[-8:])}"
            pieces.append(Table(("", "recommended", "because of"), listed_, caption))
        return pieces
