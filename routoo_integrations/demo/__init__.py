"""The main job, to be seen: ``routoo demo``."""
