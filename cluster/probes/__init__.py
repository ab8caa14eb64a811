"""One look at a service or a node: a value or `ProbeFailed`; judging is for specs and claims."""
