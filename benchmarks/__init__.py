"""Measurements of the platform; they print figures and judge nothing."""
