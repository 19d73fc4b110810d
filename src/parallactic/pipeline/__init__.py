"""Recipes: tasks, their parameters and their order in one file, run by one executor from end to end."""

from __future__ import annotations

from parallactic.pipeline.outcome import RunFailed, RunResult, StepResult
from parallactic.pipeline.runner import run
from parallactic.pipeline.steps import Plan, make_plan

__all__ = ["Plan", "RunFailed", "RunResult", "StepResult", "make_plan", "run"]
