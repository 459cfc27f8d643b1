"""The report: what a check found, as text for people, as data for programs, as a tree."""

from __future__ import annotations

from assembler.report.report import Report

__all__ = ["Report"]
