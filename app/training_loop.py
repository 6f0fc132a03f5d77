"""Running a training in the terminal: progress, interruption that saves, checkpoints on the way."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import UserError

if TYPE_CHECKING:
    from models.training.trainer import Trainer

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
SAVE_EVERY_S = 120.0


def train_until(
    trainer: Trainer, steps: int, checkpoint: Path, title: str = "", preview: Callable[[int], None] | None = None
) -> int:
    """0 when all steps are done, else the exit code of the signal that stopped it; the checkpoint is saved either way.

    preview(step) is called after each. Only the first of several processes writes and speaks. Raises UserError when the
    loss becomes infinite.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    first = trainer.ranks.first
    stop: list[int] = []
    before = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    saved_at, started, start_step = time.monotonic(), time.monotonic(), trainer.next_step
    shown: dict[str, float] = {}
    terminal = sys.stdout.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )

    with Progress(*columns, disable=not terminal or not first) as progress:
        task = progress.add_task(title or "training", total=steps, completed=trainer.next_step)

        def report(step: int, losses: dict[str, float]) -> None:
            nonlocal saved_at
            if not first:
                return
            for key, value in losses.items():
                shown[key] = 0.95 * shown.get(key, value) + 0.05 * value
            text = "  ".join(f"{key} {shown[key]:.4f}" for key in ("total", "G.colour", "W.colour") if key in shown)
            progress.update(task, completed=step, description=f"{title}  {text}" if title else text)
            if not terminal and step % 100 == 0:
                left = (time.monotonic() - started) / max(step - start_step, 1) * (steps - step) / 60
                print(f"{title + ': ' * bool(title)}step {step}/{steps}  {text}  {left:.0f} min left", flush=True)
            if preview is not None:
                preview(step)
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                trainer.save(checkpoint)
                saved_at = time.monotonic()

        try:
            done = trainer.run(steps, report, lambda: bool(stop))
        except FloatingPointError as error:
            raise UserError(f"training diverged: {error}; try another --seed, or fewer --pairs") from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if first:
        trainer.save(checkpoint)
    if done:
        return 0
    return EXIT_TERMINATED if stop and stop[0] == signal.SIGTERM else EXIT_INTERRUPTED
