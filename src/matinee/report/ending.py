"""What a run that has ended leaves in its folder: the model, those to compare with, the report and the result."""

from __future__ import annotations

from collections.abc import Mapping

from matinee.core.model import Model, remove_unfinished
from matinee.core.reading import task_name
from matinee.core.runs import Run
from matinee.report.story import Story, write


def save(model: Model, run: Run) -> None:
    """The model, in place of an earlier one."""
    model.save(run.folder / "model")
    remove_unfinished(run.folder)


def put(story: Story, compared: Mapping[str, Model], source: str) -> None:
    """All of it beside the model that was saved; the result comes last, and says that nothing is missing."""
    run, model, history, evaluation = story.run, story.model, story.history, story.evaluation
    model.tell_again(run.folder / "model")  # the scores
    for name, other in compared.items():
        other.save(run.folder / "baselines" / name)
    write(run.folder / "report.html", story)
    scores = evaluation.to_json() if evaluation is not None else {}
    if evaluation is not None:
        run.write("evaluation.json", {"run": str(run.folder), "source": source, **scores})
    run.write(
        "result.json",
        {
            "run": str(run.folder),
            "task": task_name(type(model.task)),
            "source": source,
            "train_seconds": history[-1]["seconds"] if history else 0.0,
            "seconds": story.seconds,
            "epochs": history[-1]["epoch"] if history else 0,
            "steps": history[-1]["step"] if history else 0,
            "kept_epoch": story.kept,
            "valid": model.facts["valid"],
            "test": model.facts.get("test", {}),
            **{k: v for k, v in scores.items() if k != "seconds"},
        },
    )
