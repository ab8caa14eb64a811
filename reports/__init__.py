"""HTML from recorded runs; every page is a pure function of a run's folder."""
