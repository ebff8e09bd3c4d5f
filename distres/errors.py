"""Every error distres raises on purpose, with the exit code its command ends with."""


class DistresError(Exception):
    """Base of all errors; its message is one sentence a user can act on."""

    exit_code = 1


class UsageError(DistresError, ValueError):
    """A parameter, or a combination of parameters, cannot be used."""

    exit_code = 2


class InputError(DistresError, ValueError):
    """An input file or array cannot be used as it is."""

    exit_code = 3


class OutputExistsError(InputError, FileExistsError):
    """The output already holds a result; it is never replaced unless asked."""


class ResumeError(InputError):
    """The stored run was made with other inputs or parameters than those given."""


class ClusterError(DistresError, RuntimeError):
    """The cluster, its memory or its disk cannot carry the run."""

    exit_code = 4


class TileError(ClusterError):
    """A tile kept failing after its retries; the other tiles stay done."""


class RunInterrupted(DistresError):
    """The user stopped the run; it can be resumed."""

    exit_code = 130


class DistresWarning(UserWarning):
    """Base of all warnings, so that users can filter them."""


class TrustWarning(DistresWarning):
    """A result was computed that should not be trusted as it is."""
