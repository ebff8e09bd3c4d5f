"""Where log lines go: to the terminal through rich, and to a file when asked."""

import logging
from pathlib import Path


def start_logging(log_file: Path | None = None, *, level: int = logging.INFO) -> None:
    """Show the package's log lines on stderr, and keep them in `log_file` with their times."""
    from rich.console import Console
    from rich.logging import RichHandler

    console = RichHandler(
        console=Console(stderr=True), show_path=False, show_level=False, markup=False
    )
    handlers: list[logging.Handler] = [console]
    if log_file is not None:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(log_file)
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(to_file)
    for name in ("distres", "tomo"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = handlers
        logger.propagate = False
