"""``python -m routoo_core`` is ``routoo``; ``accelerate launch -m routoo_core train`` trains on several devices."""

from importlib.metadata import entry_points

if __name__ == "__main__":
    (command,) = entry_points(group="console_scripts", name="routoo")
    command.load()()
