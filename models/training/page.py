"""One self-contained HTML page: headings, tables, and plots as pictures inside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from headgate.core.errors import ConfigError

_DPI = 110

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff;
       max-width: 1020px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d8dee6; }
p.lead { color: #55606e; margin-top: 0; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #e6eaef;
         font-variant-numeric: tabular-nums; }
th { font-weight: 600; color: #55606e; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; display: block; margin: .6rem 0; }
"""


class Page:
    """A page that is being written.

    Args:
        title: Its heading.
        lead: A sentence below it.
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self._title = title
        self._parts = [f"<h1>{html.escape(title)}</h1>"]
        if lead:
            self._parts.append(f'<p class="lead">{html.escape(lead)}</p>')

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; its first column holds names, the others numbers."""
        # Names of figures may break where they have a blank.
        names = [cell.replace("_", " ") for cell in header]
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def picture(self, content: bytes, what: str) -> None:
        """A plot.

        Args:
            content: The plot as PNG.
            what: What it shows, for those who can't see it.
        """
        text = base64.b64encode(content).decode()
        self._parts.append(f'<img alt="{html.escape(what)}" src="data:image/png;base64,{text}">')

    def html(self) -> str:
        """The whole page."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f"<title>{html.escape(self._title)}</title><style>{_STYLE}</style></head>"
            f"<body>{''.join(self._parts)}</body></html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page; raises ConfigError where it can't be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.html(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: expected a file that can be written: {error}") from error


def new_figure(width: float, height: float) -> Figure:
    """An empty plot of so many inches, drawn without a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """A plot as PNG; equal plots give equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DPI, metadata={"Software": None})
    return content.getvalue()
