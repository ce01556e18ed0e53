"""Everything this package raises on purpose, by who must act.

    CxrError
    ├── UsageError          exit 2    the caller: a wrong argument, profile, folder or file
    │   ├── DataError                 the caller: the data set as a whole cannot be used
    │   └── ModelError                the caller: weights or a graph that do not fit
    ├── MachineError        exit 3    the machine: something is missing here, the message says what to install
    ├── RefusedError        exit 1    nobody yet: a check did its work (parity gate, required verdict)
    ├── BranchError         exit 1    the operator: a child process crashed, ran out of time or was killed
    └── StoreError          exit 3    the operator: the artifact store cannot be used or is damaged
        ├── MissingArtifact           an artifact that a record names is not there
        ├── DamagedArtifact           bytes that do not have the digest they are stored under
        ├── StoreFull                 no room, with what was needed and what there is
        └── MirrorError               a mirror cannot be reached, or is none that can be used

A message says what was expected, what was found, where, and how to mend it.
"""


class CxrError(Exception):
    """Base of all errors raised on purpose. ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(CxrError):
    """The caller asked for something that cannot be: a wrong argument, profile, folder or file."""

    exit_code = 2


class DataError(UsageError):
    """The data set as a whole cannot be used."""


class ModelError(UsageError):
    """Weights or a graph that do not fit what was asked for."""


class MachineError(CxrError):
    """This machine lacks something. The message says what to install."""

    exit_code = 3


class RefusedError(CxrError):
    """A check refused the result: the parity gate, or a verdict that the profile requires."""


class BranchError(CxrError):
    """A child process crashed, ran out of time or was killed."""


class StoreError(CxrError):
    """The artifact store cannot be used."""

    exit_code = 3


class MissingArtifact(StoreError):
    """An artifact that a record names is not in the store."""


class DamagedArtifact(StoreError):
    """Stored bytes do not have the digest that they are stored under."""


class StoreFull(StoreError):
    """The store's file system has no room."""


class MirrorError(StoreError):
    """A mirror of the store cannot be reached, read or written, or is none that can be used."""
