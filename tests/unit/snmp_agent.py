"""A real SNMP agent (pysnmp's) that is a PoE switch: some ports, a community, and a user of SNMPv3."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto.rfc1902 import Integer32
from pysnmp.smi import error, exval, instrum

from cluster.power.poe_snmp import ADMIN_ENABLE, DELIVERS, DETECTION

ADMIN, DETECT = (tuple(map(int, text.split("."))) for text in (ADMIN_ENABLE, DETECTION))
TREE = ADMIN[:-1]
DISABLED, SEARCHING = 1, 2


class Ports(instrum.AbstractMibInstrumController):  # type: ignore[misc]  # its annotations are not known
    """Ports 1 and 2 of group 1; what is set counts at once, or never where they are `stuck`; in `empty` is nothing."""

    def __init__(self) -> None:
        self.states = {1: 1, 2: 1}
        self.stuck = False
        self.empty: set[int] = set()

    def read_variables(self, *bound: Any, **_: Any) -> list[Any]:
        """GET."""
        return [(name, self._value(tuple(name))) for name, _ in bound]

    def _value(self, name: tuple[int, ...]) -> Any:
        if (port := self._port(name, ADMIN)) is not None:
            return Integer32(self.states[port])
        if (port := self._port(name, DETECT)) is not None:
            enabled = SEARCHING if port in self.empty else DELIVERS
            return Integer32(enabled if self.states[port] == 1 else DISABLED)
        return exval.noSuchInstance

    def write_variables(self, *bound: Any, **about: Any) -> list[Any]:
        """SET, where the user may."""
        for name, value in bound:
            if about["acFun"]("write", (name, value), **about):
                raise error.NoAccessError(idx=0)
            port = self._port(tuple(name), ADMIN)
            if port is None:
                raise error.NoSuchInstanceError(idx=0)
            if not self.stuck:
                self.states[port] = int(value)
        return list(bound)

    def _port(self, name: tuple[int, ...], column: tuple[int, ...]) -> int | None:
        return int(name[-1]) if name[:-1] == (*column, 1) and name[-1] in self.states else None


class Agent:
    """Answers on loopback while entered; `community` may write, `reader` only read, `operator` is of SNMPv3."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host, self.ports = host, Ports()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind((host, 0))
            self.port: int = free.getsockname()[1]
        self._ready = threading.Event()

    def __enter__(self) -> Agent:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        engine = SnmpEngine()
        config.add_transport(engine, udp.DOMAIN_NAME, udp.UdpTransport().open_server_mode((self.host, self.port)))
        config.add_v1_system(engine, "writer", "community")
        config.add_v1_system(engine, "onlooker", "reader")
        config.add_v3_user(
            engine, "operator", config.USM_AUTH_HMAC96_SHA, "authentic-words",
            config.USM_PRIV_CFB128_AES, "private-words",
        )  # fmt: skip
        config.add_vacm_user(engine, 2, "writer", "noAuthNoPriv", TREE, TREE)
        config.add_vacm_user(engine, 2, "onlooker", "noAuthNoPriv", TREE, (1, 3, 6, 9))
        config.add_vacm_user(engine, 3, "operator", "authPriv", TREE, TREE)
        about = context.SnmpContext(engine)
        about.unregister_context_name(b"")
        about.register_context_name(b"", self.ports)
        cmdrsp.GetCommandResponder(engine, about)
        cmdrsp.SetCommandResponder(engine, about)
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        engine.close_dispatcher()
        self._loop.close()
