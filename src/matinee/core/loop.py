"""The one training loop. Verbs change it through a Hook's four methods, which act by what they return."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from matinee.core import checkpoints, optimisers
from matinee.core.average import Average
from matinee.core.errors import BundleError, MatineeError, SettingsError
from matinee.core.measuring import measure, selecting
from matinee.core.meter import Meter
from matinee.core.moment import Moment
from matinee.core.plan import PROBE_STEPS, Plan, rate_at
from matinee.core.prefetch import ahead
from matinee.core.progress import Progress, seconds
from matinee.core.runtime import detached, machine, order_of, seed_of, seed_torch
from matinee.core.task import Batch, Data, Task
from matinee.core.train_settings import TrainSettings

Row = dict[str, float]


@dataclass
class Step:
    """What a hook sees."""

    task: Task
    network: nn.Module
    batch: Batch
    outputs: Any
    number: int
    epoch: int


class Hook:
    """Two-way by return value: what a hook changes, it returns."""

    def on_batch(self, step: Step) -> Batch:
        """The batch that the network will see."""
        return step.batch

    def on_loss(self, step: Step, loss: Tensor) -> Tensor:
        """The loss that will be differentiated."""
        return loss

    def on_step(self, step: Step) -> None:
        """The weights have moved."""

    def on_epoch(self, step: Step, scores: Row) -> bool:
        """A validation is done; True ends the training."""
        return False


@dataclass
class Standing:
    """Where a run stands: with the tensors, all that a resume needs. best: the selecting score of the best model."""

    plan: Plan
    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    spent: float = 0.0
    stopped: bool = False
    history: list[Row] = field(default_factory=list)


class Keeper(Protocol):
    """Who keeps a run on disk. The loop calls it; `core/runs.py` is one."""

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts of the last checkpoint, or None at a fresh start."""

    def due(self, step: int) -> bool:
        """Whether the loop should save now."""

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put a checkpoint in place."""

    def keep_best(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Put the best weights so far in place."""

    def best(self) -> dict[str, Tensor]:
        """The best weights so far."""

    def log(self, row: Row) -> None:
        """One line of metrics."""

    def events(self) -> list[dict[str, int]]:
        """What the clock decided in the run that is continued."""

    def record(self, events: list[dict[str, int]]) -> None:
        """Keep what the clock decided, before it takes effect."""


def fit(
    data: Data,
    network: nn.Module,
    settings: TrainSettings,
    *,
    budget: float = math.inf,
    hooks: Sequence[Hook] = (),
    keeper: Keeper | None = None,
    progress: Progress | None = None,
) -> Standing:
    """Train `network` in place and leave the best weights in it.

    Args:
        settings: with nothing left to "auto" (`TrainSettings.advised`).
        budget: seconds for this; the schedule ends with it.
        hooks: what verbs add to the loop.
        keeper: where checkpoints and metrics go; with one that holds a checkpoint, training continues there.

    Returns where it ended: `history` has a row per validation, `best_epoch` is the one that was kept. Raises
    MatineeError if the loss is no longer a number.
    """
    training = _Training(data, network, settings, budget, keeper, progress or Progress(quiet=True))
    task, now, device = data.task, training.now, training.machine.device
    # A checkpoint may have fallen on the last batch of a pass: then hooks hear of its end without a batch.
    step = Step(task, network, Batch(torch.empty(0), None), None, now.step, now.epoch)
    while now.plan.left and not now.stopped:
        network.train()
        for batch in training.stream():
            seed = seed_of(settings.seed, 1, now.step)
            seed_torch(device, seed)
            batch = task.augment(batch.to(device), Moment(seed, now.epoch, now.plan.share, run=settings.seed))
            step = Step(task, network, batch, None, now.step, now.epoch)
            for hook in hooks:
                step.batch = hook.on_batch(step)
            with training.machine.autocast():
                step.outputs = task.forward(network, step.batch)
                loss = task.loss(step.outputs, step.batch)
            for hook in hooks:
                loss = hook.on_loss(step, loss)
            training.move(loss, len(step.batch))
            for hook in hooks:
                hook.on_step(step)
            if training.pause():
                break
        scores = training.end_pass()
        now.stopped = now.plan.left == 0 or training.stale()
        if scores is not None:
            asked = [hook.on_epoch(step, scores) for hook in hooks]
            now.stopped = now.stopped or any(asked)
        training.checkpoint(now.stopped)
    training.finish()
    return now


class _Training:
    """What `fit` holds between steps, and the parts of a step that are the same for everyone."""

    def __init__(
        self,
        data: Data,
        network: nn.Module,
        settings: TrainSettings,
        budget: float,
        keeper: Keeper | None,
        progress: Progress,
    ) -> None:
        self.data, self.network, self.settings, self.keeper, self.progress = data, network, settings, keeper, progress
        self.machine = machine(settings.device, settings.precision, settings.threads)
        self.machine.place(network)
        self.select = selecting(data.task.meter(), settings.select)
        self.size = int(settings.batch_size or 1)
        steps = data.task.steps(data.train, self.size)
        self.now = Standing(Plan.of(steps, settings.epochs, budget))
        self.optimiser = optimisers.build(
            str(settings.optimiser),
            network,
            rate=float(settings.learning_rate or 0.0),
            weight_decay=float(settings.weight_decay or 0.0),
            momentum=float(settings.momentum or 0.0),
        )
        self.peaks = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.average = Average(network, float(settings.average or 0.0))
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.penalised = [p for p in self.parameters if p.dim() > 1] if settings.l1 else []
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.machine.device)
        self.loss_count = 0
        self.best: dict[str, Tensor] | None = None
        self.recorded: list[dict[str, int]] = []
        self._restore()
        self.began = time.perf_counter() - self.now.spent
        self.probe = (self.now.step, self.spent())
        self.warm = self.now.step + PROBE_STEPS  # the first steps pay for memory and kernels: they are not timed
        self.validation = 0.4 * len(data.valid) / self.size  # in steps; measured at the first one

    def spent(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return time.perf_counter() - self.began

    def stream(self) -> Any:
        """The batches that are left of this pass."""
        task, examples, now = self.data.task, self.data.train, self.now
        labels = task.labels(examples) if self.settings.balanced else None
        if self.settings.balanced and labels is None:
            raise SettingsError("--balanced: this task has no classes to balance.")
        order = order_of(len(examples), seed_of(self.settings.seed, 2, now.epoch), labels)
        return ahead(task.batches(examples, self.network, self.size, order, now.batch), task.prefetch)

    def move(self, loss: Tensor, count: int) -> None:
        """One step of the optimiser."""
        settings, now = self.settings, self.now
        self.loss_sum += loss.detach() * count
        self.loss_count += count
        if self.penalised:
            loss = loss + settings.l1 * torch.stack([p.abs().sum() for p in self.penalised]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip:
            nn.utils.clip_grad_norm_(self.parameters, settings.clip, foreach=True)
        share = rate_at(now.plan.share, str(settings.schedule), float(settings.warmup or 0.0))
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.optimiser.step()
        now.step += 1
        now.batch += 1
        self.average.update(self.network, now.step)
        now.plan.advance()

    def pause(self) -> bool:
        """Between two steps: the clock, the checkpoint, the live line. True where the schedule has ended."""
        now = self.now
        if now.step == self.warm:
            self.probe = (now.step, self.spent())
        if self.recorded:
            self._replay()
        elif now.plan.due(now.step, self.spent(), self.probe[0]):
            self._replan(self.validation * self._per_step())
        if self.keeper is not None and self.keeper.due(now.step):
            self.checkpoint(True)
        if self.progress.due():
            self._draw()
        return now.plan.left == 0

    def _per_step(self) -> float:
        steps = self.now.step - self.probe[0]
        if not steps:  # the clock was set back this very step
            return self.spent() / max(1, self.now.step)
        return (self.spent() - self.probe[1]) / steps

    def _replay(self) -> None:
        """What the clock decided at this very point of the run that is continued, within a pass or at its end."""
        now, event = self.now, self.recorded[0]
        if (event["step"], event["epoch"]) == (now.step, now.epoch):
            now.plan.apply(self.recorded.pop(0))

    def _replan(self, per_validation: float) -> None:
        now = self.now
        known = len(now.plan.events)
        now.plan.fit((now.step, now.epoch), now.plan.budget - self.spent(), self._per_step(), per_validation)
        if self.keeper is not None and len(now.plan.events) > known:
            self.keeper.record(now.plan.events)

    def end_pass(self) -> Row | None:
        """The end of a pass over the examples: validate where it is time to, log, remember the best."""
        now = self.now
        now.epoch, now.batch = now.epoch + 1, 0
        if now.epoch % now.plan.every and now.plan.left:
            return None
        loss = (self.loss_sum / max(1, self.loss_count)).item()
        if not math.isfinite(loss):
            raise MatineeError(
                f"the loss is no longer a number after {now.step} steps: the learning rate "
                f"{self.settings.learning_rate:g} is too high for this. Try --learning-rate "
                f"{float(self.settings.learning_rate or 0) / 10:g}."
            )
        began, per_step = self.spent(), self._per_step()
        network = self.average.network(self.network)
        scores = measure(self.data.task, network, self.data.valid, self.machine) if len(self.data.valid) else {}
        row = {"epoch": now.epoch, "step": now.step, "loss": loss, **scores}
        self._remember(network, scores)
        ended = self.spent()
        row |= {"seconds": ended, "examples_per_second": self.size / per_step if per_step else 0.0}
        now.history.append(row)
        self.loss_sum.zero_()
        self.loss_count = 0
        self._log(row)
        if not math.isinf(now.plan.budget) and now.plan.left and not self.recorded:
            self._replan(ended - began)
        elif self.recorded:
            self._replay()
        self.probe = (now.step, self.spent())
        return row

    def _remember(self, network: nn.Module, scores: Row) -> None:
        now, meter = self.now, self.data.task.meter()
        if scores:
            new, better = scores[self.select], meter.better(self.select, scores[self.select], now.best)
            now.stale = 0 if better else now.stale + 1
            if not better and (now.best is None or abs(new - now.best) > self._slack(meter)):
                return
            now.best = new if better or now.best is None else now.best
        now.best_epoch = now.epoch
        self.best = detached(network.state_dict())
        if self.keeper is not None:
            self.keeper.keep_best(self.best, {"epoch": now.epoch, "scores": scores})

    def _slack(self, meter: Meter) -> float:
        """How much worse than the best a later model may score and still be kept.

        Nothing, but at the end of the schedule: a share of few examples is mostly luck, and the last weights are the
        settled ones, so there they may be one standard error below the luckiest (Breiman et al., 1984).
        """
        best = self.now.best or 0.0
        if self.now.plan.left or self.select not in meter.proportions:
            return 0.0
        return math.sqrt(max(0.0, best * (1.0 - best)) / len(self.data.valid))

    def stale(self) -> bool:
        """Whether early stopping has waited long enough."""
        return bool(self.settings.patience) and self.now.stale >= self.settings.patience

    def checkpoint(self, at_once: bool) -> None:
        """Save all that a resume needs, where there is a keeper and it is time."""
        if self.keeper is None or not (at_once or self.keeper.due(self.now.step)):
            return
        now = self.now
        now.spent = self.spent()
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state().items()}
        state, groups = checkpoints.flatten(self.optimiser)
        tensors |= {f"optimiser.{k}": v for k, v in state.items()}
        tensors["loop.loss_sum"] = self.loss_sum
        facts = {**vars(now), "plan": now.plan.to_json(), "groups": groups, "loss_count": self.loss_count}
        self.keeper.save(tensors, facts)

    def _restore(self) -> None:
        found = self.keeper.restore() if self.keeper is not None else None
        if found is None or self.keeper is None:
            return
        try:
            self._take_up(self.keeper, *found)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise BundleError("the checkpoint is of another run, or damaged: it does not fit this network.") from error

    def _take_up(self, keeper: Keeper, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        self.network.load_state_dict(_under(tensors, "network."))
        self.average.load(_under(tensors, "average."))
        checkpoints.restore(self.optimiser, _under(tensors, "optimiser."), facts.pop("groups"))
        self.loss_sum, self.loss_count = tensors["loop.loss_sum"].to(self.machine.device), facts.pop("loss_count")
        self.now = Standing(**{**facts, "plan": Plan.from_json(facts["plan"])})
        self.recorded = keeper.events()[len(self.now.plan.events) :]
        self.best = keeper.best() if self.now.best_epoch else None

    def finish(self) -> None:
        """Leave the best weights in the network."""
        if self.best is not None:
            self.network.load_state_dict(self.best)
        self.network.eval()
        self.progress.clear()

    def _log(self, row: Row) -> None:
        if self.keeper is not None:
            self.keeper.log(row)
        shown = f", {self.select} {self._figure(row[self.select])}" if self.select in row else ""
        self.progress.note(
            f"epoch {row['epoch']:>3.0f}  loss {row['loss']:.4f}{shown}  {row['examples_per_second']:,.0f} examples/s"
        )

    def _figure(self, value: float) -> str:
        return f"{value:.4f}" if self.select in self.data.task.meter().lower_is_better else f"{100 * value:.2f} %"

    def _draw(self) -> None:
        now, per_step = self.now, self._per_step()
        loss = (self.loss_sum / max(1, self.loss_count)).item()
        best = f"  best {self.select} {self._figure(now.best)}" if now.best is not None else ""
        epochs = now.epoch + math.ceil((now.batch + now.plan.left) / now.plan.steps_per_epoch)
        settled = now.plan.wanted is not None or now.plan.events
        left = f"  {seconds(now.plan.left * per_step)} left" if settled else "  measuring the speed"
        of = f"/{epochs}" if settled else ""
        rate = self.size / per_step if per_step else 0.0
        self.progress.live(f"epoch {now.epoch + 1}{of}  {rate:,.0f} examples/s  loss {loss:.4f}{best}{left}")


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
