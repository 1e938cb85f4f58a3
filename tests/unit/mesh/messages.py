"""Messages of every kind, drawn."""

from __future__ import annotations

from hypothesis import strategies as st

from spawn.mesh.wire import (
    Bye,
    Commits,
    Follow,
    Handover,
    HandoverAnswer,
    Hello,
    Invoke,
    Message,
    Numbered,
    Opinion,
    Owner,
    OwnerNews,
    Past,
    Ping,
    Pong,
    Redirect,
    Refusal,
    Reply,
    Standing,
    Taken,
    ToldCommit,
    Unfollow,
)

__all__ = ["KINDS", "messages"]

_number = st.integers(0, 2**63 - 1)
_text = st.text(max_size=12)
_bytes = st.binary(max_size=24)
_numbered = st.builds(Numbered, _bytes, _number, _number, _number)
_owner = st.builds(Owner, _text, _number, _number, _text)
_commit = st.builds(
    ToldCommit,
    *(_number, _number, _number, _text, _text),
    st.lists(st.tuples(_text, _bytes), max_size=2),
    st.none() | _bytes,
    st.booleans(),
)

KINDS: dict[type[Message], st.SearchStrategy[Message]] = {
    Hello: st.builds(Hello, _number, _number, _text, _text, _text, _text),
    Bye: st.builds(Bye, _text, _text),
    Ping: st.builds(Ping, _number),
    Pong: st.builds(Pong, _number),
    Invoke: st.builds(
        Invoke,
        *(_number, _text, _number, _text, _bytes, _text, _bytes, _number),
        st.none() | _numbered,
        *(_text, _text),
        st.none() | st.dictionaries(_text, _text, max_size=3),
        st.booleans(),
        _number,
    ),
    Reply: st.builds(Reply, _number, _bytes, _number, st.integers(-1, 2**62), _number),
    Refusal: st.builds(
        Refusal, _number, _text, _text, _text, _text, st.booleans(), st.booleans(), _number
    ),
    Redirect: st.builds(Redirect, _number, _text, _number),
    OwnerNews: st.builds(OwnerNews, st.lists(_owner, max_size=4)),
    Handover: st.builds(Handover, _number, _text, _number, _text),
    HandoverAnswer: st.builds(HandoverAnswer, _number, _text, _number, st.just(-1), _text),
    Opinion: st.builds(Opinion, _text, _text),
    Standing: st.builds(Standing, _text),
    Follow: st.builds(Follow, _number, _text, _number, _text, _bytes, st.integers(-1, 9)),
    Past: st.builds(
        Past,
        *(_number, _text, _number, _text, _bytes, _number, _number, _number),
        st.booleans(),
    ),
    Commits: st.builds(Commits, _number, _number, st.lists(_commit, max_size=3), st.booleans()),
    Taken: st.builds(Taken, _number, _number),
    Unfollow: st.builds(Unfollow, _number),
}

messages: st.SearchStrategy[Message] = st.one_of(*KINDS.values())
