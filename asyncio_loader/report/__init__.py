"""``asyncio-loader report RUN``: one page that shows what a run did and what held it up.

The charts are drawn by plotly (MIT). It makes figures in Python and brings the script that draws them in its package:
a page needs no network, can be pointed at and zoomed where something happened, and follows light and dark. matplotlib,
the other one that is kept up as well, makes pictures, on which nobody can read off the minute when the server began to
refuse. The price is a page of 5 MB, nearly all of it the script.

`run.write_report` does all; `finding` looks for the files of a run, `charts` makes the figures, `tables` and `page` the
HTML around them.
"""
