"""The other side of the retry benchmark: a flow with one task, which always fails."""

from prefect import flow, task


@task
def nothing() -> None:
    """Fail at once."""
    raise ValueError("as the benchmark wants it")


@flow
def empty() -> None:
    """Run it."""
    nothing()
