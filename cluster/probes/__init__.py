"""One look at a service or a node: returns a value or raises `ProbeFailed`; judging is for specs and claims."""
