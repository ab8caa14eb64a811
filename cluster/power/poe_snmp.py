"""Ports of a PoE switch, by SNMP: `power: {driver: cluster.power.poe_snmp, options: {host: ..., secret: ...}}`.

Any switch with the POWER-ETHERNET-MIB (RFC 3621).  `secret` names the file with the community (SNMPv2c); with `user` it
is SNMPv3, authenticated by SHA with the passphrase in `secret` and encrypted by AES with that in `privacy`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import Field
from pysnmp.hlapi.v3arch.asyncio import (
    CommunityData,
    ContextData,
    ObjectIdentity,
    ObjectType,
    SnmpEngine,
    UdpTransportTarget,
    UsmUserData,
    get_cmd,
    set_cmd,
    usmAesCfb128Protocol,
    usmHMACSHAAuthProtocol,
)
from pysnmp.proto.rfc1902 import Integer32

from cluster.power.switching import ASK_S, Options, PowerError, Switching

ADMIN_ENABLE = "1.3.6.1.2.1.105.1.1.1.3"
"""pethPsePortAdminEnable, by group and port (RFC 3621); a TruthValue (RFC 2579): 1 is true, 2 is false."""
DETECTION = "1.3.6.1.2.1.105.1.1.1.6"
"""pethPsePortDetectionStatus: what became of it; a port that is enabled may still be searching (2), or at fault (4)."""
TRUE, FALSE = 1, 2
DELIVERS = 3
TRIES = 2


class Port(Options):
    """A node's port: `group` is the module of a stack, most switches have one."""

    host: str
    port: int = Field(ge=1)
    group: int = Field(1, ge=1)
    secret: str
    user: str | None = None
    privacy: str | None = None
    udp: int = Field(161, ge=1, le=65535)


class Driver(Switching[Port]):
    """Switches the power of a port, not its link."""

    OPTIONS = Port

    def place(self, node: str) -> str:
        """The port."""
        where = self.options(node)
        return f"port {where.port} of {where.host}"

    def switch(self, node: str, on: bool) -> None:
        """Set it."""
        self._ask(node, {ADMIN_ENABLE: Integer32(TRUE if on else FALSE)}, set_cmd)

    def is_on(self, node: str) -> bool:
        """Whether it delivers power; of a switch that does not tell, whether it is enabled."""
        value, state = self._ask(node, {ADMIN_ENABLE: None, DETECTION: None}, get_cmd)
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = 0
        if number not in (TRUE, FALSE):
            told = type(value).__name__ if not number else str(number)
            raise PowerError(f"poe_snmp: {node}: {self.place(node)} is no PoE port: the switch says {told}")
        return int(state) == DELIVERS if isinstance(state, Integer32) else number == TRUE

    def _ask(self, node: str, what: Mapping[str, Any], command: Any) -> list[Any]:
        where = self.options(node)
        return asyncio.run(self._exchange(node, where, self._who(where), what, command))

    async def _exchange(
        self, node: str, where: Port, who: CommunityData | UsmUserData, what: Mapping[str, Any], command: Any
    ) -> list[Any]:
        engine = SnmpEngine()
        try:
            target = await UdpTransportTarget.create((where.host, where.udp), timeout=ASK_S / TRIES, retries=TRIES - 1)
            wanted = (
                ObjectType(ObjectIdentity(f"{column}.{where.group}.{where.port}"), *([] if value is None else [value]))
                for column, value in what.items()
            )
            failed, status, _, bound = await command(engine, who, target, ContextData(), *wanted)
        except Exception as error:  # the library raises its own of many kinds, for a name that is not known too
            raise PowerError(f"poe_snmp: {node}: {where.host} cannot be asked: {error}") from None
        finally:
            engine.close_dispatcher()
        if failed:
            if "no snmp response" in str(failed).lower():
                why = "it is unreachable" + ("" if where.user else ", or it does not accept the community")
                raise PowerError(f"poe_snmp: {node}: no answer from {where.host}: {why}")
            raise PowerError(f"poe_snmp: {node}: {where.host} does not let us in: {failed}")
        if status:
            raise PowerError(f"poe_snmp: {node}: {self.place(node)}: the switch refuses: {status.prettyPrint()}")
        return [value for _, value in bound]

    def _who(self, where: Port) -> CommunityData | UsmUserData:
        if where.user is None:
            return CommunityData(self.secret(where.secret), mpModel=1)
        keys = {"authKey": self.secret(where.secret), "authProtocol": usmHMACSHAAuthProtocol}
        if where.privacy is not None:
            keys |= {"privKey": self.secret(where.privacy), "privProtocol": usmAesCfb128Protocol}
        return UsmUserData(where.user, **keys)
