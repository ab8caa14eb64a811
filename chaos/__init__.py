"""Faults on purpose: broken, measured from outside, undone, and only then judged."""
