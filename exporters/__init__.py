"""Exporters: one file per artifact format."""
