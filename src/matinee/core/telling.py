"""What a run that has ended says on the command line, and what must be known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matinee.core.command import Answer
from matinee.core.evaluation import called, difference, figure, names_of
from matinee.core.meter import Score
from matinee.core.model import Model
from matinee.core.progress import seconds
from matinee.core.runs import Run
from matinee.core.settings import to_json
from matinee.core.storage import sha256_of

if TYPE_CHECKING:
    from torch import nn

    from matinee.core.task import Task

NO_STEP = (
    "no step was asked for (--epochs 0), and this network learns by steps: it has learned nothing but what its first "
    "look at the examples told. Leave --epochs out, or give 1 or more."
)


def said(run: Run, model: Model) -> Answer:
    """The answer of a run that has ended."""
    told = run.result
    keys = ("run", "task", "seconds", "train_seconds", "epochs", "steps", "test", "valid")
    value = {
        **{key: told[key] for key in keys} | {"run": str(run.folder)},  # it may have been moved since
        "report": str(run.folder / "report.html"),
        "kept_epoch": told.get("kept_epoch", 0),
        "notes": told.get("notes", []),
    }
    value |= {
        "examples": len(model.manifest),
        "settings": to_json(model.task, settings_only=True),
        **_network_facts(model),
    }
    scores = told["test"] or told["valid"]
    first = next(iter(scores), "")
    meter = model.task.meter()
    names, share = names_of(model.task.rivals), bool(meter.shares([first]))
    lines = []
    if scores:
        lines.append(f"{'test' if told['test'] else 'valid'} {called(first)} {figure(scores[first], share)}")
        interval = told.get("scores", {}).get(first)
        if interval:
            lines[0] += f" (95 % interval {figure(interval['low'], share)} to {figure(interval['high'], share)})"
        rivals = told.get("baselines", {}).items()
        margins = told.get("margins", {})
        for name, other in rivals:
            by = Score(**margins.get(name, dict.fromkeys(("value", "low", "high"), 0.0)))
            sure = f" (the model is surely better, by {difference(by, share)[1]})" if by.low > 0 else ""
            lines += [f"  {names.get(name, name)}: {figure(other[first], share)}{sure}"] if first in other else []
    if not scores:
        lines.append("no example was held back, so nothing is known of how good the model is.")
    lines += [f"note: {note}" for note in value["notes"]]
    folder = run.folder
    lines += [f"{seconds(told['seconds'])} in all, {seconds(told['train_seconds'])} of it training"]
    lines += [f"report   {folder / 'report.html'}", "", "next"]
    own = f" --task {told['task']}" if "." in str(told["task"]) else ""
    lines += [f"  matinee evaluate {folder}{own}", f"  matinee predict {folder} {model.task.asked}{own}"]
    lines += [f"  tensorboard --logdir {folder}"]
    return Answer(value, "\n".join(lines))


def idle(task: Task, network: nn.Module, epochs: int | None) -> bool:
    """Whether a network that learns by steps was given none: not one whose task advises none, or with fixed weights."""
    return epochs == 0 and bool(task.advice(1).get("epochs", 1)) and any(p.requires_grad for p in network.parameters())


def unfinished(model: Model) -> list[str]:
    """That a model is the best so far of a run that has not ended, where it is."""
    if model.run is None or Run(model.run).finished:
        return []
    return [f"the training of {model.run} has not ended: this is its best model so far. matinee resume {model.run}"]


def cautions(asked: float, spent: float, idle: bool) -> list[str]:
    """What to know before trusting a run: that it took far longer than the seconds asked for, or made no step."""
    found = [NO_STEP] if idle else []
    if spent >= 1.25 * asked + 2:
        late = f"it took {seconds(spent)} where {seconds(asked)} were asked for: this data and network need longer."
        found.append(late)
    return found


def _network_facts(model: Model) -> dict[str, Any]:
    return {"parameters": sum(p.numel() for p in model.network.parameters()), "sha256": _weights(model)}


def _weights(model: Model) -> str:
    return sha256_of(model.run / "model" / "model.safetensors") if model.run is not None else ""
