"""What a run that has ended says on the command line."""

from __future__ import annotations

from typing import Any

from matinee.core.command import Answer
from matinee.core.evaluation import difference, figure, names_of
from matinee.core.meter import Score
from matinee.core.model import Model
from matinee.core.progress import seconds
from matinee.core.runs import Run
from matinee.core.settings import to_json
from matinee.core.storage import sha256_of


def said(run: Run, model: Model) -> Answer:
    """The answer of a run that has ended."""
    told = run.result
    keys = ("run", "task", "seconds", "train_seconds", "epochs", "steps", "test", "valid")
    value = {
        **{key: told[key] for key in keys} | {"run": str(run.folder)},  # it may have been moved since
        "report": str(run.folder / "report.html"),
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
        lines.append(f"{'test' if told['test'] else 'valid'} {first.replace('_', ' ')} {figure(scores[first], share)}")
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
    lines += [f"  matinee evaluate {folder}{own}", f"  matinee predict {folder} FILE...{own}"]
    lines += [f"  tensorboard --logdir {folder}"]
    return Answer(value, "\n".join(lines))


def _network_facts(model: Model) -> dict[str, Any]:
    return {"parameters": sum(p.numel() for p in model.network.parameters()), "sha256": _weights(model)}


def _weights(model: Model) -> str:
    return sha256_of(model.run / "model" / "model.safetensors") if model.run is not None else ""
