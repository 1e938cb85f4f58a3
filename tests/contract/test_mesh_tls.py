"""Mutual TLS between nodes."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from spawn.errors import InvalidSettings
from spawn.mesh.grpc_mesh import GrpcMesh
from spawn.mesh.grpc_tls import MeshTls
from spawn.mesh.link import Ending
from spawn.mesh.wire import (
    Opinion,
    Ping,
    Pong,
)
from tests.contract.grpc_world import GrpcWorld, grpc_world
from tests.services.certificates import Authority
from tests.services.mesh_receiver import KeepingReceiver, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs certificates of nodes."""
    if not Authority.can_be_made():
        pytest.skip("openssl is not here")
    return Authority(tmp_path_factory.mktemp("mesh"))


def tls_of(authority: Authority, name: str, hosts: str = "IP:127.0.0.1") -> MeshTls:
    """Return a node's files."""
    pair = authority.sign(name, hosts=hosts)
    return MeshTls(ca=str(authority.cert), cert=str(pair.cert), key=str(pair.key))


async def test_nodes_with_certificates_talk(authority: Authority) -> None:
    """Each shows one of the authority that the other trusts."""
    async with grpc_world() as w:
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await w.node("b", b, tls=tls_of(authority, "b"))
        mesh.open(other.hello.endpoint).post(Ping(1))
        other.open(mesh.hello.endpoint).post(Ping(2))
        await until(lambda: a.messages == [Pong(1)] and b.messages == [Pong(2)])


async def test_a_changed_certificate_is_used(authority: Authority, tmp_path: Path) -> None:
    """Without a restart, at both ends; what is half written does no harm."""
    files = [tmp_path / name for name in ("ca", "cert", "key")]

    def write(name: str, days: int) -> None:
        pair = authority.sign(name, hosts="IP:127.0.0.1", days=days)
        for source, target in zip((authority.cert, pair.cert, pair.key), files, strict=True):
            shutil.copyfile(source, target)

    write("expired", -1)
    tls = MeshTls(ca=str(files[0]), cert=str(files[1]), key=str(files[2]))
    async with grpc_world() as w:
        a, b = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await w.node("b", b, tls=tls)
        mesh.open(other.hello.endpoint)
        other.open(mesh.hello.endpoint)
        await until(lambda: a.ends and b.ends)
        files[1].write_text("half")
        mesh.open(other.hello.endpoint)
        await until(lambda: len(a.ends) == 2)
        write("renewed", 30)
        mesh.open(other.hello.endpoint)
        other.open(mesh.hello.endpoint)
        await until(lambda: len(a.links) == 2)


Stranger = Callable[[GrpcWorld, KeepingReceiver, Authority, Path], Awaitable[GrpcMesh]]


async def plain(w: GrpcWorld, r: KeepingReceiver, _: Authority, path: Path) -> GrpcMesh:
    """Return a node without TLS."""
    return await w.node("x", r)


async def foreign(w: GrpcWorld, r: KeepingReceiver, _: Authority, path: Path) -> GrpcMesh:
    """Return a node with a certificate of another authority, that trusts ours."""
    return await w.node("x", r, tls=tls_of(Authority(path, "other"), "x"))


async def misnamed(w: GrpcWorld, r: KeepingReceiver, ours: Authority, path: Path) -> GrpcMesh:
    """Return a node with a certificate for another host."""
    return await w.node("x", r, tls=tls_of(ours, "elsewhere", hosts="DNS:elsewhere.example"))


@pytest.mark.parametrize("stranger", [plain, foreign])
async def test_a_stranger_is_not_let_in(
    authority: Authority, tmp_path: Path, stranger: Stranger
) -> None:
    """Nor called."""
    async with grpc_world() as w:
        a, x = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await stranger(w, x, authority, tmp_path)
        for caller, receiver, target in ((other, x, mesh), (mesh, a, other)):
            link = caller.open(target.hello.endpoint)
            link.post(Opinion("secret", ""))
            await receiver.has_ends()
            assert receiver.ends[0][1].ending in (Ending.REFUSED, Ending.TIMED_OUT, Ending.RESET)
            assert receiver.ends[0][1].unsent == [Opinion("secret", "")]
        assert a.links == x.links == []
        assert a.messages == x.messages == []


async def test_another_hosts_certificate_is_not_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    """Who has one node's certificate can't pass for another node's host."""
    async with grpc_world() as w:
        a, x = KeepingReceiver(), KeepingReceiver()
        mesh = await w.node("a", a, tls=tls_of(authority, "a"))
        other = await misnamed(w, x, authority, tmp_path)
        mesh.open(other.hello.endpoint).post(Ping(1))
        await until(lambda: a.ends)
        assert a.ends[0][1].ending is Ending.REFUSED
        assert a.ends[0][1].unsent == [Ping(1)]


async def test_missing_files_are_named(authority: Authority) -> None:
    """The node does not start."""
    pair = authority.sign("a", hosts="IP:127.0.0.1")
    async with grpc_world() as w:
        with pytest.raises(InvalidSettings, match=r"nothing\.pem"):
            await w.node(
                "a",
                KeepingReceiver(),
                tls=MeshTls(ca="nothing.pem", cert=str(pair.cert), key=str(pair.key)),
            )
