"""``s3://`` for OpenMMLab itself: importing this package registers it with mmengine, mmcv 1.x, or both.

One line in any config does it::

    custom_imports = dict(imports=["asyncio_loader.openmmlab"])

Every process that reads needs the import. A forked DataLoader worker inherits it, and fork is what OpenMMLab's runners
set; a spawned one has it if what it unpickles comes from here, such as a `PrefetchDataset`.
"""

from __future__ import annotations

from asyncio_loader.openmmlab.registration import register

__all__ = ["register"]

register()
