"""Streams over a runner's own call: at once where each has a thread, and what goes wrong is told at the end."""

from threading import Barrier

import numpy as np
import pytest

from cxr_core.engines.contract import Images, Logits
from cxr_core.engines.streams import CallStream, ThreadStream
from cxr_core.errors import ModelError

ONE = np.ones((1, 1, 4, 4), np.float32)


class Meeting:
    """Answers once another of its kind has been asked too."""

    input_shape = (-1, 1, 4, 4)
    spans = None
    bound_images = 1

    def __init__(self, met: Barrier) -> None:
        self.met, self.closed = met, False

    def __call__(self, images: Images) -> Logits:
        self.met.wait(20)
        return images[:, 0, 0, :2]

    def __enter__(self) -> "Meeting":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


class Refusing(Meeting):
    def __call__(self, images: Images) -> Logits:
        raise ModelError("no")


def test_streams_with_threads_work_at_once_and_close_their_runners() -> None:
    met = Barrier(2)
    runners = [Meeting(met), Meeting(met)]
    streams = [ThreadStream(runner) for runner in runners]
    for number, stream in enumerate(streams):
        stream.begin(number * ONE)
    for number, stream in enumerate(streams):
        stream.end()
        np.testing.assert_array_equal(stream.answers(), [[number, number]])
        stream.close()
    assert [runner.closed for runner in runners] == [True, True]


def test_what_goes_wrong_in_a_thread_is_raised_at_the_end() -> None:
    stream = ThreadStream(Refusing(Barrier(1)))
    stream.begin(ONE)
    with pytest.raises(ModelError, match="no"):
        stream.end()
    stream.close()


def test_the_one_stream_of_a_runner_is_its_call_and_leaves_it_open() -> None:
    runner = Meeting(Barrier(1))
    stream = CallStream(runner)
    stream.load(3 * ONE)
    assert np.isnan(stream.answers()).all()
    stream.begin(None)
    np.testing.assert_array_equal(stream.answers(), [[3, 3]])
    stream.close()
    assert not runner.closed
