"""The one training loop. Verbs change it through a Hook's four methods, which act by what they return."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from matinee.core import checkpoints, optimisers, processes
from matinee.core.average import Average
from matinee.core.errors import BundleError, MatineeError, SettingsError
from matinee.core.measuring import figure, luck, measure, selecting
from matinee.core.moment import Moment
from matinee.core.plan import PROBE_STEPS, Event, Plan, outlook, rate_at
from matinee.core.prefetch import ahead
from matinee.core.progress import Progress, seconds
from matinee.core.runtime import Memory, detached, keep_memory, machine, of_like_lengths, order_of, seed_of, seed_torch
from matinee.core.sharding import part_of
from matinee.core.standing import Keeper, Row, Standing
from matinee.core.task import Batch, Data, Task
from matinee.core.together import Team
from matinee.core.train_settings import TrainSettings

LOOK = 0.2  # seconds between two steps in which several processes agree on what the clock and the signals say


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
    task, now, team, device = data.task, training.now, training.team, training.machine.device
    # A checkpoint may have fallen on the last batch of a pass: then hooks hear of its end with an empty batch.
    step = Step(task, network, Batch(torch.empty(0), None), None, max(0, now.step - 1), now.epoch)
    with team:
        while not now.stopped:
            network.train()
            for batch in training.stream():
                seed = seed_of(settings.seed, 1, now.step)
                seed_torch(device, seed + team.processes.rank)
                moment = Moment(seed, now.epoch, now.plan.share, first=team.first, run=settings.seed)
                batch = task.augment(batch.to(device), moment)
                step = Step(task, network, batch, None, now.step, now.epoch)
                for hook in hooks:
                    step.batch = hook.on_batch(step)
                with training.machine.autocast():
                    step.outputs = task.forward(network, step.batch)
                    loss = task.loss(step.outputs, step.batch)
                for hook in hooks:
                    loss = hook.on_loss(step, loss)
                training.move(loss)
                for hook in hooks:
                    hook.on_step(step)
                if training.pause():
                    break
            scores = training.end_pass()
            now.stopped = now.plan.left == 0 or training.stale()
            for hook in hooks if scores else ():
                now.stopped |= hook.on_epoch(step, scores)
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
        # The last batch of a pass is dropped where it is not full, unless it is the only one.
        self.size = max(1, min(max(int(settings.batch_size or 1), processes.current().size), len(data.train)))
        self.select = selecting(data.task.meter(), settings.select)
        self.team = Team(network, self.machine, settings, self.size)
        with self.team.unless_it_fails():
            self._begin(network, settings, budget)

    def _begin(self, network: nn.Module, settings: TrainSettings, budget: float) -> None:
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        steps = self.data.task.steps(self.data.train, self.size)
        self.now = Standing(Plan.of(steps, settings.epochs if self.parameters else 0, budget))
        self.optimiser = optimisers.build(
            str(settings.optimiser),
            network,
            rate=float(settings.learning_rate or 0.0),
            weight_decay=float(settings.weight_decay or 0.0),
            momentum=float(settings.momentum or 0.0),
            precision=self.machine.precision,
        )
        self.team.adapt(self.optimiser)
        self.peaks = [float(group["lr"]) for group in self.optimiser.param_groups]
        self.average = Average(network, float(settings.average or 0.0))
        self.penalised = [p for p in self.parameters if p.dim() > 1] if settings.l1 else []
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.machine.device)
        if self.machine.device.type == "cpu":
            keep_memory()
        self.memory = Memory()
        self.look = 0  # the next step after which the clock and the signals are looked at
        self.news: Event | None = None  # what the clock decided and the other processes do not know yet
        self.loss_count = 0
        self.best: dict[str, Tensor] | None = None
        self.recorded: list[Event] = []
        self._restore()
        self.began = time.perf_counter() - self.now.spent
        self.probe = (self.now.step, self.spent(), self.now.plan.share)
        self.warm = self.now.step + PROBE_STEPS  # the first steps pay for memory and kernels: they are not timed
        self.validation = 0.0  # seconds; guessed until the first one

    def spent(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return time.perf_counter() - self.began

    def stream(self) -> Any:
        """The batches that are left of this pass."""
        task, examples, now = self.data.task, self.data.train, self.now
        if not now.plan.left:  # none is wanted, or the checkpoint fell between the last one and its validation
            return ()
        labels = task.labels(examples) if self.settings.balanced else None
        if self.settings.balanced and labels is None:
            raise SettingsError("--balanced: this task has no classes to balance.")
        seed = seed_of(self.settings.seed, 2, now.epoch)
        order = order_of(len(examples), seed, labels)
        if (lengths := task.lengths(examples)) is not None:
            order = of_like_lengths(order, lengths, self.size, seed)
        size, order = self.team.part(order)
        return ahead(task.batches(examples, self.network, size, order, now.batch), task.prefetch)

    def move(self, loss: Tensor) -> None:
        """One step of the optimiser."""
        settings, now = self.settings, self.now
        loss = self.team.weighed(loss)
        self.loss_sum += loss.detach()
        self.loss_count += 1
        if self.penalised:
            penalty = settings.l1 * torch.stack([p.abs().sum() for p in self.penalised]).sum()
            loss = loss + self.team.weighed(penalty)
        self.optimiser.zero_grad(set_to_none=True)
        self.team.backward(loss)
        if settings.clip:
            nn.utils.clip_grad_norm_(self.parameters, settings.clip, foreach=True)
        share = rate_at(now.plan.share, str(settings.schedule), float(settings.warmup or 0.0))
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.optimiser.step()
        now.step += 1
        now.batch += 1
        self.average.update(now.step)
        now.plan.advance()
        self.memory.at(self.data.task.effort(now.plan.share))

    def pause(self) -> bool:
        """Between two steps: the clock, the checkpoint, the live line. True where the schedule has ended."""
        now = self.now
        if now.step == self.warm:
            self.probe = (now.step, self.spent(), now.plan.share)
        if self.recorded:
            self._replay()
        if now.step >= self.look and self.data.task.prefetch:  # else a pass cannot be entered midway
            if not self.recorded and self.team.processes.first and now.plan.due(now.step, self.spent(), self.probe[0]):
                self._replan()
            self.checkpoint(False)
        if self.progress.due():
            self._draw()
        return now.plan.left == 0

    def checkpoint(self, ended: bool) -> None:
        """Save all that a resume needs where it is time to, and stop where somebody asked for that."""
        now, keeper = self.now, self.keeper
        asked, due = (keeper.asked, keeper.due(now.step)) if keeper is not None else (False, False)
        if not self.team.processes.alone:
            asked, due, ended = self._agree(asked, due, ended)
        if keeper is None or not (asked or due or ended):
            return
        if asked:
            self.progress.note("stopping: the checkpoint is written first.")
        now.spent = self.spent()
        tensors, groups = checkpoints.flatten(self.network, self.average, self.optimiser, keeper.here)
        losses = self.team.processes.gathered(np.array([self.loss_sum.item()]))
        tensors["loop.loss_sum"] = torch.from_numpy(losses)  # one number for each process
        keeper.save(tensors, {**vars(now), "plan": now.plan.to_json(), "groups": groups, "loss_count": self.loss_count})
        if asked:
            keeper.stop(now.step)

    def _agree(self, asked: bool, due: bool, ended: bool) -> tuple[bool, bool, bool]:
        """The same, for all processes: the clock of the first one, and whatever any of them was asked.

        They say so to each other in steps that the first one names the last time, so that most steps need no word.
        """
        now, group = self.now, self.team.processes
        news = self.news or {"left": 0, "every": 0}
        clock = [float(due), float(self.news is not None), news["left"], news["every"], self._next_look()]
        said = group.sums([float(asked), float(ended), *(clock if group.first else [0.0] * len(clock))])
        if said[3] and not group.first:
            event = {"step": now.step, "epoch": now.epoch, "left": int(said[4]), "every": int(said[5])}
            now.plan.apply(event)
        self.news, self.look = None, int(said[6])
        now.stopped = said[1] > 0
        return said[0] > 0, said[2] > 0, said[1] > 0

    def _next_look(self) -> int:
        steps, every = int(LOOK / max(self._per_step(), 1e-6)), self.settings.checkpoint_steps
        return self.now.step + max(1, min(steps, every - self.now.step % every) if every else steps)

    def _per_step(self) -> float:
        steps = self.now.step - self.probe[0]
        if not steps:  # the clock was set back this very step
            return self.spent() / max(1, self.now.step)
        return (self.spent() - self.probe[1]) / steps

    def _rate(self, per_step: float) -> float:
        """Examples a second; 0 where no step was taken."""
        return self.size / per_step if per_step and self.now.step else 0.0

    def _replay(self) -> None:
        """What the clock decided at this very point of the run that is continued, within a pass or at its end."""
        now = self.now
        while self.recorded and (self.recorded[0]["step"], self.recorded[0]["epoch"]) == (now.step, now.epoch):
            now.plan.apply(self.recorded.pop(0))

    def _replan(self) -> None:
        now = self.now
        known = len(now.plan.events)
        per_step = self._per_step() * outlook(self.data.task.effort, self.probe[2], now.plan.share)
        guess = 0.4 * len(self.data.valid) / self.size * per_step
        now.plan.fit((now.step, now.epoch), now.plan.budget - self.spent(), per_step, self.validation or guess)
        self.probe = (now.step, self.spent(), now.plan.share)
        if len(now.plan.events) > known:
            self.news = now.plan.events[-1]
            if self.keeper is not None:
                self.keeper.record(now.plan.events)

    def end_pass(self) -> Row:
        """The end of a pass over the examples: validate where it is time to, log, remember the best; {} where not."""
        now = self.now
        now.epoch, now.batch = now.epoch + 1, 0
        if now.epoch % now.plan.every and now.plan.left:
            return {}
        loss = sum(self.team.processes.sums([self.loss_sum.item()])) / max(1, self.loss_count)
        if not math.isfinite(loss):
            raise MatineeError(
                f"the loss is no longer a number after {now.step} steps: the learning rate "
                f"{self.settings.learning_rate:g} is too high for this. Try --learning-rate "
                f"{float(self.settings.learning_rate or 0) / 10:g}."
            )
        began, per_step, valid = self.spent(), self._per_step(), self.data.valid
        with self.average.worn():
            scores = measure(self.data.task, self.network, valid, self.machine) if len(valid) else {}
            self._remember(scores)
        row = {"epoch": now.epoch, "step": now.step, "loss": loss, **scores}
        self.validation = (ended := self.spent()) - began
        row |= {"seconds": ended, "examples_per_second": self._rate(per_step)}
        now.history.append(row)
        self.loss_sum.zero_()
        self.loss_count = 0
        self._log(row)
        if self.recorded:
            self._replay()
        elif not math.isinf(now.plan.budget) and now.plan.left and self.team.processes.first:
            self._replan()
        self.probe = (now.step, self.spent(), now.plan.share)
        return row

    def _remember(self, scores: Row) -> None:
        now, meter = self.now, self.data.task.meter()
        if scores:
            new, better = scores[self.select], meter.better(self.select, scores[self.select], now.best)
            now.stale = 0 if better else now.stale + 1
            slack = 0.0 if now.plan.left else luck(meter, self.select, now.best or 0.0, len(self.data.valid))
            if not better and (now.best is None or abs(new - now.best) > slack):
                return
            now.best = new if better or now.best is None else now.best
        now.best_epoch = now.epoch
        self.best = detached(self.network.state_dict())
        if self.keeper is not None:
            best = checkpoints.snapshot(self.best, self.keeper.here)
            self.keeper.keep_best(best, {"epoch": now.epoch, "scores": scores})

    def stale(self) -> bool:
        """Whether early stopping has waited long enough."""
        return bool(self.settings.patience) and self.now.stale >= self.settings.patience

    def _restore(self) -> None:
        keeper, group = self.keeper, self.team.processes
        if keeper is None:
            return
        tensors, facts, events = checkpoints.found(keeper, group)
        if facts is None:
            return
        try:
            self._take_up(keeper, tensors, facts, events)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise BundleError("the checkpoint is of another run, or damaged: it does not fit this network.") from error

    def _take_up(self, keeper: Keeper, tensors: dict[str, Tensor], facts: dict[str, Any], events: list[Event]) -> None:
        group, network = self.team.processes, self.network
        checkpoints.restore(network, self.average, self.optimiser, tensors, facts.pop("groups"), group)
        losses = facts.pop("losses")
        self.loss_sum.fill_(losses[group.rank] if len(losses) == group.size else sum(losses) * group.first)
        self.loss_count = facts.pop("loss_count")
        self.now = Standing(**{**facts, "plan": Plan.from_json(facts["plan"])})
        self.recorded = events[len(self.now.plan.events) :]
        if self.now.best_epoch:
            best = dict(group.spread(group.leading(keeper.best) or {}))
            self.best = {name: part_of(best[name], tensor) for name, tensor in network.state_dict().items()}

    def finish(self) -> None:
        """Leave the best weights in the network."""
        if self.best is not None:
            self.network.load_state_dict(self.best)
        self.network.eval()
        if self.keeper is not None:
            self.keeper.settle()
        self.memory.give()
        self.progress.clear()

    def _log(self, row: Row) -> None:
        if self.keeper is not None:
            self.keeper.log(row)
        shown = f", {self.select} {self._figure(row[self.select])}" if self.select in row else ""
        if not self.now.step:
            self.progress.note(f"no step is made{shown}")
            return
        epoch, rate = f"{row['epoch']:>3.0f}", f"{row['examples_per_second']:,.0f} examples/s"
        self.progress.note(f"epoch {epoch}  loss {row['loss']:.4f}{shown}  {rate}")

    def _figure(self, value: float) -> str:
        return figure(self.data.task.meter(), self.select, value)

    def _draw(self) -> None:
        now, per_step = self.now, self._per_step()
        loss = self.loss_sum.item() / max(1, self.loss_count) / self.team.share
        best = "" if now.best is None else f"  best {self.select} {self._figure(now.best)}"
        epochs = now.epoch + math.ceil((now.batch + now.plan.left) / now.plan.steps_per_epoch)
        settled = now.plan.wanted is not None or now.plan.events
        dearer = outlook(self.data.task.effort, self.probe[2], now.plan.share)
        left = f"  {seconds(now.plan.left * per_step * dearer)} left" if settled else "  measuring the speed"
        told = f"epoch {now.epoch + 1}{f'/{epochs}' * bool(settled)}  {self._rate(per_step):,.0f} examples/s"
        self.progress.live(f"{told}  loss {loss:.4f}{best}{left}")
