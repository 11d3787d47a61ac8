"""The report: one value with all that was found, and the same as one HTML page, as JSON and as Markdown."""

from rlsgen.proof.report.data import Report
from rlsgen.proof.report.gather import gather
from rlsgen.proof.report.html import to_html
from rlsgen.proof.report.markdown import to_markdown

__all__ = ["Report", "gather", "to_html", "to_markdown"]
