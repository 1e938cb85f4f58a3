"""Validity: which records count (log protocol 3), rule by rule."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest

from eventstore.fencing import Fence, Verdict, declaration
from eventstore.records import (
    NO_CLAIM,
    NO_PREVIOUS,
    Barrier,
    Cause,
    Claim,
    Commit,
    Outcome,
    Release,
    encode_claim,
)

A, B, C = b"A" * 16, b"B" * 16, b"C" * 16
LOG = b"L" * 16


class Stored(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None


def claim(name: bytes, based_on: bytes, epoch: int, skips: tuple[int, ...] = ()) -> Claim:
    return Claim(name, epoch, based_on, LOG, skips)


def commit(name: bytes, sequence: int, epoch: int = 1) -> Commit:
    return Commit(name, epoch, sequence, 1, 0, NO_PREVIOUS, Outcome.APPLIED, Cause.REQUEST, 0, b"T")


@pytest.fixture
def fence() -> Fence:
    fence = Fence()
    assert fence.step(claim(A, NO_CLAIM, 1)) is Verdict.VALID
    return fence


def test_of_two_rival_claims_the_first_in_the_log_wins(fence: Fence) -> None:
    """Both were based on the same claim; the later one is void."""
    assert fence.step(claim(B, A, 2)) is Verdict.VALID
    assert fence.step(claim(C, A, 2)) is Verdict.VOID
    assert fence.claim == B


def test_commits_count_only_in_sequence_under_the_current_claim(fence: Fence) -> None:
    """The next sequence is valid, a repeated one void, a skipped one evidence of loss."""
    assert fence.step(commit(A, 0)) is Verdict.VALID
    assert fence.step(commit(A, 0)) is Verdict.VOID
    assert fence.step(commit(A, 2)) is Verdict.LOSS


def test_a_zombie_is_void_after_a_new_claim(fence: Fence) -> None:
    """Records of a displaced claim never count, whatever their sequence."""
    fence.step(claim(B, A, 2))
    assert fence.step(commit(A, 0)) is Verdict.VOID
    assert fence.step(commit(A, 99)) is Verdict.VOID
    assert fence.step(Barrier(A, 1)) is Verdict.VOID
    assert fence.step(commit(B, 0, epoch=2)) is Verdict.VALID


@pytest.mark.parametrize("record", [commit(C, 0, epoch=5), Release(C, 5, 0), Barrier(C, 5)])
def test_a_record_of_a_claim_never_read_is_evidence_of_loss(
    fence: Fence, record: Commit | Release | Barrier
) -> None:
    """Its epoch is above the current one, so its claim stood here and is gone."""
    assert fence.step(record) is Verdict.LOSS


@pytest.mark.parametrize("record", [commit(C, 0), Release(C, 1, 0), Barrier(C, 1)])
def test_another_claim_of_the_same_epoch_is_evidence_of_loss(
    fence: Fence, record: Commit | Release | Barrier
) -> None:
    """Two claims of one epoch are rivals; the loser writes nothing, so this one had won once."""
    assert fence.step(record) is Verdict.LOSS


def test_after_a_release_nothing_of_that_claim_counts(fence: Fence) -> None:
    """A release is the owner's last record."""
    assert fence.step(Release(A, 1, 0)) is Verdict.VALID
    assert fence.released
    assert fence.step(commit(A, 1)) is Verdict.VOID
    assert fence.step(claim(B, A, 2)) is Verdict.VALID
    assert not fence.released


def test_a_barrier_never_counts(fence: Fence) -> None:
    """It has no sequence and changes nothing."""
    assert fence.step(Barrier(A, 1)) is Verdict.VOID
    assert fence.step(commit(A, 0)) is Verdict.VALID


def test_an_unreadable_record_is_void_only_where_a_later_claim_says_so() -> None:
    """The claim must be based on the one current at that record and name its offset."""
    unreadable = Stored(6, None, b"\xe5S\x09")
    named = Stored(7, None, encode_claim(claim(B, A, 2, skips=(5,)), b"f" * 8))
    assert declaration(A, 5, [unreadable, named]) == (
        msgspec.structs.replace(claim(B, A, 2, skips=(5,)), body_at=66),
        7,
    )
    assert declaration(A, 6, [unreadable, named]) is None
    assert declaration(C, 5, [unreadable, named]) is None


def test_a_skipped_record_may_have_had_a_sequence_number(fence: Fence) -> None:
    """As many may be missing as were skipped under the claim, and no more."""
    fence.skip()
    assert fence.step(commit(A, 1)) is Verdict.VALID
    assert fence.step(commit(A, 1)) is Verdict.VOID
    assert fence.step(commit(A, 3)) is Verdict.LOSS
    fence.skip()
    fence.skip()
    assert fence.step(commit(A, 2)) is Verdict.VALID
    assert fence.copy().step(commit(A, 5)) is Verdict.VALID
    assert fence.step(claim(B, A, 2)) is Verdict.VALID
    assert fence.step(commit(B, 1, epoch=2)) is Verdict.LOSS
