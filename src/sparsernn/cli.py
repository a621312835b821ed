"""The command line: one function a command, which parses, calls and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

import sparsernn
from sparsernn.errors import UserError

WIDTH_WITHOUT_TERMINAL = 150


class Commands(TyperGroup):
    """Commands whose wrong values are one message on the standard error stream and exit status 2."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            from sparsernn.recipes.typed import unknown

            with_one_message(lambda: raise_(unknown("command", args[0], list(self.commands), "sparsernn")))
        return super().resolve_command(context, args)

    def invoke(self, context: click.Context) -> Any:
        return with_one_message(lambda: super(Commands, self).invoke(context))
