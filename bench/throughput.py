"""How many GETs in flight are worth it, for a bucket and this machine: ``python bench/throughput.py --help``.

The same as ``asyncio-loader tune``, from a checkout, whatever is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # In place of this file's own directory, which the interpreter puts there: the checkout's package, not another one.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from asyncio_loader.cli import main, tune_parser

if __name__ == "__main__":
    sys.exit(main(parser=tune_parser("python bench/throughput.py")))
