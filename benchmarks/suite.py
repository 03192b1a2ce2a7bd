"""Matinee beside what else would be used, on this machine: `python benchmarks/suite.py [--full] [--rounds N] [ROW...]`.

Each row runs Matinee and its rivals in turn, every one in a process of its own, and prints medians, spreads and ratios.
Without --full the short rows (under 10 minutes on two cores), with it all of them (under an hour), or those named. The
data are looked for in the folder that MATINEE_DATA names (cifar10/train/<class>/*.jpg and test/..., mnist/,
hymenoptera/); a row whose data or rivals are not there is left out, and the table says so. Results go to
benchmarks/results.json and results.md; rows of earlier runs on the same machine stay there until they are run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rows_parts as parts
import rows_training as training
from measure import HERE, Bench, FailedError, Line, SkippedError

QUICK: dict[str, Callable[[Bench], list[Line]]] = {
    "machine": parts.machine,
    "startup": parts.startup,
    "decode": parts.decode,
    "step": parts.step,
    "overhead": parts.overhead,
    "batches": parts.batches,
    "memory": parts.memory,
    "predict": parts.predict,
    "mnist": training.mnist,
    "lightning": training.lightning,
    "fastai": training.fastai,
}
LONG: dict[str, Callable[[Bench], list[Line]]] = {
    "tutorial": training.tutorial,
    "keras": training.keras,
    "cifar-time": training.cifar_time,
    "resnet18": training.resnet18,  # after cifar-time, whose run it uses
    "larger-than-memory": training.larger_than_memory,
    "cifar-best": training.cifar_best,
}
ROWS = QUICK | LONG
HEAD = ("row", "what", "unit", "Matinee", "compared with", "its figure", "Matinee / it", "goal", "rounds")


def main() -> None:
    """Run the rows that are asked for, and write after each."""
    asked = arguments()
    names = asked.rows or list(ROWS if asked.full else QUICK)
    results = known(described())
    bench_data = os.environ.get("MATINEE_DATA")
    kept: dict[str, Any] = {"rounds asked": asked.rounds}
    for name in names:
        with tempfile.TemporaryDirectory() as room:
            bench = Bench(
                data=Path(bench_data).resolve() if bench_data else None,
                room=Path(room),
                full=asked.full,
                rounds=asked.rounds or 3,
                kept=kept,
            )
            results["rows"][name] = measured(name, bench)
        print("\n".join(table({name: results["rows"][name]})), flush=True)
        results["rows"] = {row: results["rows"][row] for row in ROWS if row in results["rows"]}
        write(results)
    print(f"\n{HERE / 'results.md'}")


def arguments() -> argparse.Namespace:
    """The command line. Exits where a row does not exist."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--full", action="store_true", help="the long rows as well")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of every row (3; of rows of many minutes 1)")
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return asked


def measured(name: str, bench: Bench) -> dict[str, Any]:
    """One row: its lines, or why there are none."""
    print(f"\n{name}: {' '.join((ROWS[name].__doc__ or '').split())}", flush=True)
    began, load = time.perf_counter(), os.getloadavg()[0]
    row: dict[str, Any] = {"date": time.strftime("%Y-%m-%d %H:%M"), "load": round(load, 1), "code": code()}
    try:
        row["lines"] = [line.to_json() for line in ROWS[name](bench)]
    except SkippedError as reason:
        row["skipped"] = str(reason)
    except FailedError as error:
        row["failed"] = str(error)
    except (LookupError, ValueError, TypeError, ArithmeticError, OSError) as error:  # an answer of another shape
        row["failed"] = f"{type(error).__name__}: {error}"
    return {**row, "seconds": round(time.perf_counter() - began, 1)}


def code() -> str:
    """The commit that is measured; empty where there is no git."""
    try:
        asked = ["git", "-C", str(HERE), "describe", "--always", "--dirty"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def described() -> dict[str, Any]:
    """The machine in words, with its measured rates; nothing heavy is imported here, where it would weigh on all."""
    rates = Bench(None, Path(tempfile.gettempdir())).probe("rates")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "sysconf" in dir(os) else 0
    return {
        "processor": rates["processor"],
        "device": rates["device"],
        "memory_gb": round(pages / 1e9, 1),
        "torch": rates["torch"],
        "load": round(os.getloadavg()[0], 1),
        "bf16_tflops": round(rates["bf16_tflops"], 3),
        "fp32_tflops": round(rates["fp32_tflops"], 3),
        "copy_gbs": round(rates["copy_gbs"], 2),
    }


def known(machine: dict[str, Any]) -> dict[str, Any]:
    """Earlier results of the same machine and torch, with the machine as it is now."""
    try:
        old = json.loads((HERE / "results.json").read_text("utf-8"))
        same = all(old["machine"][key] == machine[key] for key in ("processor", "device", "torch"))
        rows = old["rows"] if same else {}
    except (OSError, ValueError, LookupError, TypeError):
        rows = {}
    return {"machine": machine, "rows": rows}


def write(results: dict[str, Any]) -> None:
    """Both files."""
    (HERE / "results.json").write_text(json.dumps(results, indent=1), "utf-8")
    machine = results["machine"]
    words = (
        f"{machine['processor']}, {machine['memory_gb']:.0f} GB, computing on {machine['device']}, torch "
        f"{machine['torch']}, load {machine['load']} at the start. Matrix products: {machine['bf16_tflops']} TFLOP/s "
        f"in bf16, {machine['fp32_tflops']} in fp32; copies: {machine['copy_gbs']} GB/s."
    )
    lines = [
        "# Benchmarks",
        "",
        words,
        "",
        "Medians (least - most) of the rounds; ratios are taken round by round.",
        "",
    ]
    notes = {n for row in results["rows"].values() for line in row.get("lines", ()) if (n := line["note"])}
    load = [f"{name} {row['load']}" for name, row in results["rows"].items()]
    lines += [
        *table(results["rows"]),
        "",
        *(f"* {note}" for note in sorted(notes)),
        "",
        f"Load: {', '.join(load)}.",
        "",
    ]
    (HERE / "results.md").write_text("\n".join(lines), "utf-8")


def table(rows: dict[str, Any]) -> list[str]:
    """Rows as a Markdown table."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for name, row in rows.items():
        for why in ("skipped", "failed"):
            if why in row:
                words = " ".join(row[why].split()).replace("|", "/")[-300:]
                lines.append(f"| {name} | {why}: {words} |" + " |" * (len(HEAD) - 2))
        for line in row.get("lines", ()):
            ours, theirs, ratio = (shown(line[key]) for key in ("matinee", "theirs", "ratio"))
            count = len(line["matinee"].get("all", ()))
            cells = (name, line["what"], line["unit"], ours, line["rival"], theirs, ratio, line["goal"], str(count))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def shown(values: dict[str, Any]) -> str:
    """A median with its spread, in four digits."""
    if not values:
        return ""
    if len(values["all"]) == 1:
        return digits(values["median"])
    return f"{digits(values['median'])} ({digits(values['low'])} - {digits(values['high'])})"


def digits(value: float) -> str:
    """Four digits that count, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    main()
