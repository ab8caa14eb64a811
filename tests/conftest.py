"""How the project's own tests run; fixtures stay with the tests that use them."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says more of the machine's load than of our code.
settings.register_profile("rpicluster", deadline=None)
settings.load_profile("rpicluster")
