"""``asyncio-loader report RUN``: one page that shows what a run did and what held it up.

The charts are drawn by plotly, out of what was looked at on 2026-11-26: it is kept up by a company that lives on it
(7.1, MIT), makes its figures in Python, and brings the script that draws them in the package, so that a page needs no
network, can be zoomed and read off, and prints. Bokeh does as much with twice the scripts on the page; Altair wants a
network, or another package that brings a browser's engine; matplotlib makes pictures, on which nobody can point at the
minute when the server began to refuse. The price is a page of 5 MB, nearly all of it the script.

`run.report` does all; `finding` looks for the files of a run, `charts` makes the figures, `tables` and `page` the HTML.
"""
