"""Commands whose modules are imported when they run, so that the command line itself starts at once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from routoo_core.errors import ConfigurationError


class OptionNamingCommand(TyperCommand):
    """A command whose errors name its options.

    The library names settings: ``count: 0 is too few``. Where the command sets ``count`` by ``--n``, its user reads
    ``--n: 0 is too few``.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            lines = [self._with_option(line) for line in str(error).split("\n")]
            error.args = ("\n".join(lines),)
            raise

    def _with_option(self, line: str) -> str:
        """A line of an error, with the option in place of the setting that it begins with."""
        setting, colon, problem = line.partition(":")
        for parameter in self.params:
            if colon and parameter.name == setting and parameter.param_type_name == "option":
                return f"{parameter.opts[0]}:{problem}"
        return line


class LazyCommand(TyperCommand):
    """Stands for a command where commands are listed, and imports it when it runs.

    Args:
        name: What the user types.
        target: ``module:function`` in this package.
        line: What the list of commands says.
    """

    def __init__(self, name: str, target: str, line: str) -> None:
        super().__init__(name, help=line)
        self.target = target

    def load(self) -> Any:
        """Import the function, and make it a command."""
        module_name, _, function_name = self.target.partition(":")
        module = import_module(f"{__package__}.{module_name}")
        function = getattr(module, function_name)

        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(self.name, cls=OptionNamingCommand)(function)
        return get_command(single)

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Parse the arguments of the command that was imported."""
        return self.load().make_context(info_name, args, parent, **extra)


def lazy_group(commands: Mapping[str, tuple[str, str]]) -> type[TyperGroup]:
    """A class for a group of commands.

    Args:
        commands: Name → ``module:function`` in this package, and a line for the list of commands.
    """

    class LazyGroup(TyperGroup):
        """Has the commands of the table first, then the groups that were added to it."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            groups = self.commands
            self.commands = {}
            for name, (target, line) in commands.items():
                self.commands[name] = LazyCommand(name, target, line)
            self.commands.update(groups)

    return LazyGroup
