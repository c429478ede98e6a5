"""``python -m routoo_core`` is ``routoo``; ``accelerate launch -m routoo_core train`` trains on several devices."""

from routoo_core.cli import main

if __name__ == "__main__":
    main()
