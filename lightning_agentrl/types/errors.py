"""What goes wrong behind the policy's back."""


class InfrastructureError(RuntimeError):
    """The machinery behind a tool or an environment failed, through no fault of the policy.

    Never shown to the policy: the call is tried again, then the state is rebuilt in a fresh episode, and if that fails
    too the whole group is dropped and counted. Learning from half a group, or from an error that the policy did not
    cause, would bias it.
    """
