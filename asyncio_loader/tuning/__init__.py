"""How many GETs at the same time are worth it, for a bucket and a machine: measured, not guessed.

``arguments`` and the listing say what to fetch → one process per concurrency measures it (``process`` starts it,
``probe`` is what it does) → ``knee`` and ``advice`` make options of the measurements → table, JSON and plot.
"""
