"""``python -m asyncio_loader``: the command line."""

from __future__ import annotations

import sys

from asyncio_loader.cli import main

sys.exit(main())
