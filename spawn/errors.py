"""Every error that a user of Spawn can meet, as one tree.

Over 400 lines: one tree, in one place.

    SpawnError
    |- CallError                 the call can't be served as it is: the caller's to mend
    |  |- UnknownType, UnknownAction, UnknownRevision, InvalidId, InvalidJson, InvalidHeader
    |  |- BodyMismatch, BodyTooLarge, KeyReused
    |  |- UnknownPath, MethodNotAllowed, InvalidRequest      HTTP only
    |  |- RequestTooSlow, InvalidQuery, Unauthorized, ForeignHost, ForeignOrigin
    |  |- Rejected               user code refused it; the code is the user's
    |- Unavailable               try again: this call was not executed
    |  |- NotStarted             its deadline passed, or its wait ended, before it was started
    |  |- MailboxFull, TooManyKeys, TooManySessions, TooManyWaiting, Draining, Fenced
    |  |- TooSlow                who follows an actor's events does not keep up
    |  |- LogUnreachable, StoreUnreachable, NodeUnreachable
    |  |- NewerCodeNeeded         newer code wrote this actor; nodes that have it can serve it
    |- NodeUntrusted             its certificate is not trusted: nothing was sent
    |- OutcomeUnknown            it may have been executed, now or later
    |  |- RequestTooOld          a numbered request came again after 15 minutes
    |- ActionFailed              user code raised; the actor's state is as it was
    |- ReplyGone                 it was executed, its reply is no longer stored
    |- RequestSettled            a numbered request that its session no longer waits for
    |- ActorParked               a record of this actor can't be read
    |- NotConfirmed              a change was shown and not confirmed: nothing was done
    |- UnknownPosition           the log has no such partition or record
    |- RepairRefused             that way out does not fit what is there
    |- ReplayDiffers             replay gives another state than the live run did
    |- LoopStuck                 told, not raised: a node's event loop hung, and it ended itself
    |- StartRefused              a node can't start
       |- InvalidSettings, InvalidTarget, PortTaken, ForeignLog, SchemaIncompatible, ClockWrong
       |- UnsafeTopic            its settings can lose acknowledged events
       |- PartitionStopped       the log lost records, has one that can't be read, or takes none
          |- PartitionsChanged   the topic has another number of partitions than it was made with

`code` is stable and the same in the exception, the HTTP problem body, the log line and the CLI;
`retryable` tells whether the same call may succeed later unchanged; `at` names the place and
`hint` the mend. Foreign exceptions are chained with `from`.

Over 400 lines: one tree, in one place.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ActionFailed",
    "ActorParked",
    "BodyMismatch",
    "BodyTooLarge",
    "CallError",
    "ClockWrong",
    "Draining",
    "Fenced",
    "ForeignHost",
    "ForeignLog",
    "ForeignOrigin",
    "InvalidHeader",
    "InvalidId",
    "InvalidJson",
    "InvalidQuery",
    "InvalidRequest",
    "InvalidSettings",
    "InvalidTarget",
    "KeyReused",
    "LogUnreachable",
    "LoopStuck",
    "MailboxFull",
    "MethodNotAllowed",
    "NewerCodeNeeded",
    "NodeUnreachable",
    "NodeUntrusted",
    "NotConfirmed",
    "NotStarted",
    "OutcomeUnknown",
    "PartitionStopped",
    "PartitionsChanged",
    "PortTaken",
    "Rejected",
    "RepairRefused",
    "ReplayDiffers",
    "ReplyGone",
    "RequestSettled",
    "RequestTooOld",
    "RequestTooSlow",
    "SchemaIncompatible",
    "SpawnError",
    "StartRefused",
    "StoreUnreachable",
    "TooManyKeys",
    "TooManySessions",
    "TooManyWaiting",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "UnknownAction",
    "UnknownPath",
    "UnknownPosition",
    "UnknownRevision",
    "UnknownType",
    "UnsafeTopic",
]


class SpawnError(Exception):
    """Root of the tree. `str(error)` is one sentence with the names and values concerned."""

    code: str = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, at: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint


class CallError(SpawnError):
    """The call can't be served as it is."""

    code = "bad-call"


class UnknownType(CallError):
    """No actor type of that name is here, or a named type has one actor, and not with that id."""

    code = "unknown-type"


class UnknownAction(CallError):
    """The actor type has no action of that name."""

    code = "unknown-action"


class UnknownRevision(CallError):
    """The actor has not come to that revision yet, or was not written yet at that time."""

    code = "unknown-revision"


class InvalidId(CallError):
    """The actor id is empty, over 255 bytes of UTF-8, or no UTF-8."""

    code = "invalid-id"


class InvalidJson(CallError):
    """The body is not JSON."""

    code = "invalid-json"


class InvalidHeader(CallError):
    """A header has a value that it can't have."""

    code = "invalid-header"


class BodyMismatch(CallError):
    """The body is JSON but does not fit the action's annotations; the text names the field."""

    code = "body-mismatch"


class BodyTooLarge(CallError):
    """Body, state or commit is over its limit; the text names the limit."""

    code = "too-large"


class KeyReused(CallError):
    """The idempotency key was used with this actor before, with another action or payload."""

    code = "key-reused"


class RequestSettled(SpawnError):
    """The numbered request is below its session's `low`: its sender said nobody waits for it."""

    code = "request-settled"


class UnknownPath(CallError):
    """The HTTP path leads nowhere."""

    code = "unknown-path"


class MethodNotAllowed(CallError):
    """The HTTP path is known, but not with this method; `Allow` names the right ones."""

    code = "method-not-allowed"


class InvalidRequest(CallError):
    """The bytes are not an HTTP request, or not one that ended."""

    code = "invalid-request"


class RequestTooSlow(CallError):
    """A request's head or body did not come whole in its time; the connection is closed."""

    code = "request-too-slow"

    @classmethod
    def of(cls, part: str) -> RequestTooSlow:
        """Return the error for a part of a request, `head` or `body`."""
        return cls(
            f"the request's {part} did not come whole in time",
            at=part,
            hint="nothing was executed; send it over a faster connection",
        )


class InvalidQuery(CallError):
    """A parameter behind the `?` of a URL is unknown, or has a value that it can't have."""

    code = "invalid-query"


class Unauthorized(CallError):
    """The node asks for a token, and the request has none or another one."""

    code = "unauthorized"


class ForeignHost(CallError):
    """The request names a host that is not this node: some website's name was made to lead here."""

    code = "foreign-host"


class ForeignOrigin(CallError):
    """A browser sent the request for a website that is not allowed to."""

    code = "foreign-origin"


class Rejected(CallError):
    """User code refuses the command: final, recorded, the actor's state unchanged.

    Raise it in an action with a code of your own and a text for the caller.
    """

    def __init__(self, code: str, message: str = "", *, at: str = "", hint: str = "") -> None:
        super().__init__(message or code, at=at, hint=hint)
        self.code = code


class Unavailable(SpawnError):
    """The call was not executed; the same call may succeed later."""

    code = "unavailable"
    retryable = True


class NotStarted(Unavailable):
    """The deadline passed before the action was started."""

    code = "not-started"


class MailboxFull(Unavailable):
    """The actor has as many commands waiting or uncommitted as its type allows."""

    code = "mailbox-full"


class TooManyKeys(Unavailable):
    """The actor can't remember one more idempotency key: all it has are younger than 15 min."""

    code = "too-many-keys"


class TooManySessions(Unavailable):
    """The partition can't remember one more numbered request, or one more session of them."""

    code = "too-many-sessions"


class TooManyWaiting(Unavailable):
    """The node holds as many waiting calls as it may."""

    code = "too-many-waiting"


class Draining(Unavailable):
    """The node is stopping and takes no new calls."""

    code = "draining"


class Fenced(Unavailable):
    """Another process owns the partition; this node has stopped writing it. Nothing is lost."""

    code = "fenced"


class TooSlow(Unavailable):
    """Who follows an actor's events takes them more slowly than they come; it may follow again."""

    code = "too-slow"


class LogUnreachable(Unavailable):
    """The event log does not answer, or does not let this node write."""

    code = "log-unreachable"


class StoreUnreachable(Unavailable):
    """The snapshot store does not answer, and the call needs it."""

    code = "store-unreachable"


class NewerCodeNeeded(Unavailable):
    """Newer code wrote what this node's code can't read without a loss; nodes that have it can."""

    code = "newer-code-needed"


class NodeUnreachable(Unavailable):
    """No node answers at the address; the call did not reach one."""

    code = "node-unreachable"


class NodeUntrusted(SpawnError):
    """The node's certificate is not trusted, or there is no TLS; the call did not reach it."""

    code = "node-untrusted"


class OutcomeUnknown(SpawnError):
    """The deadline passed while the action ran or its commit was on the way."""

    code = "outcome-unknown"


class RequestTooOld(OutcomeUnknown):
    """The numbered request was issued before the horizon: whether it ran is no longer known."""

    code = "request-too-old"


class ActionFailed(SpawnError):
    """User code raised something else than `Rejected`; the actor's state is as it was."""

    code = "action-failed"


class ReplyGone(SpawnError):
    """The command was executed before; the record with its reply is no longer in the log."""

    code = "reply-gone"


class ActorParked(SpawnError):
    """A stored record of this actor can't be read, so its state can't be rebuilt."""

    code = "actor-parked"


class ReplayDiffers(SpawnError):
    """What is stored gives another state than the actor had: `evolve` is not pure, for example."""

    code = "replay-differs"


class NotConfirmed(SpawnError):
    """What was to be done was shown and not confirmed; nothing was changed."""

    code = "not-confirmed"


class UnknownPosition(SpawnError):
    """The log has no such topic, partition or record."""

    code = "unknown-position"


class RepairRefused(SpawnError):
    """That way out does not fit what is there; nothing was changed."""

    code = "repair-refused"


class LoopStuck(SpawnError):
    """Code blocked the node's event loop for longer than `node.stuck`: the process ended itself."""

    code = "loop-stuck"


class StartRefused(SpawnError):
    """The node can't start as it is set up."""

    code = "start-refused"


class InvalidSettings(StartRefused):
    """One or more settings are wrong; the text lists every one of them."""

    code = "invalid-settings"


class InvalidTarget(StartRefused):
    """The target file or module can't be loaded or declares no actors."""

    code = "invalid-target"


class PortTaken(StartRefused):
    """A port that the node listens on is in use."""

    code = "port-taken"


class ForeignLog(StartRefused):
    """The topic was written by another system, or does not belong to these snapshots."""

    code = "foreign-log"


class SchemaIncompatible(StartRefused):
    """The code's event or state types can't read what the topic holds."""

    code = "schema-incompatible"


class UnsafeTopic(StartRefused):
    """A topic's settings can lose acknowledged events; the text names every one of them."""

    code = "unsafe-topic"


class ClockWrong(StartRefused):
    """This machine's clock and the database's differ by more than `node.clock_limit`."""

    code = "clock-wrong"


class PartitionStopped(StartRefused):
    """The log lost acknowledged records, holds one that can't be read, or takes no more of them."""

    code = "partition-stopped"


class PartitionsChanged(PartitionStopped):
    """The topic has another number of partitions than it was made with: every key would move."""

    code = "partitions-changed"
