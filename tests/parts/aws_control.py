"""What tests may do to the emulated AWS beyond calling it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from aws_accounts import Accounts
from aws_app import App
from aws_census import empty, leftovers
from aws_instances import Instances
from aws_spot import close_requests
from cloud_faults import Fault
from cloud_inbound import Inbound
from moto.ec2.models import ec2_backends


class Verbs:
    """Each public method is a verb of the control interface; arguments and answers are JSON."""

    def __init__(
        self, state: threading.RLock, accounts: Accounts, instances: Instances, app: App, inbound: Inbound,
        expose: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._state = state
        self._accounts = accounts
        self._instances = instances
        self._app = app
        self._inbound = inbound
        self._expose = expose

    def table(self) -> dict[str, Callable[..., Any]]:
        return {name: getattr(self, name) for name in dir(self) if not name.startswith("_") and name != "table"}

    # --- accounts ---

    def account(self, region: str) -> dict[str, str]:
        with self._state:
            return self._accounts.create(region)

    def image(self, account: str, region: str, **options: Any) -> str:
        with self._state:
            return self._accounts.image(account, region, **options)

    def key(self, account: str, user: str) -> dict[str, str]:
        with self._state:
            return self._accounts.key(account, user)

    def expire(self, key: str) -> None:
        self._accounts.expire(key)

    def settings(self, account: str, environment: dict[str, str], ports: list[int], clock: str | None) -> None:
        """Add to how later machines are booted."""
        for port in ports:
            self._expose(port)
        with self._state:
            settings = self._accounts.settings[account]
            settings.environment |= environment
            settings.ports += [port for port in ports if port not in settings.ports]
            settings.clock = settings.clock if clock is None else clock

    def price(self, account: str, kind: str, price: float, zone: str) -> None:
        with self._state:
            self._app.market.set_price(account, kind, price, zone)

    def quota(self, account: str, code: str, value: float) -> None:
        with self._state:
            self._app.quotas.set(account, code, value)

    def leftovers(self, account: str) -> list[str]:
        with self._state:
            for backend in ec2_backends[account].values():
                close_requests(self._instances, account, backend)
            return leftovers(account, self._instances, self._instances.machines)

    def empty(self, account: str) -> None:
        self._app.faults.lift_all(account)
        with self._state:
            empty(account, self._instances)
            self._accounts.close(account)
        self._app.events.forget(account)

    # --- calls ---

    def events(self, account: str, after: int) -> list[dict[str, Any]]:
        return self._app.events.of(account, after)

    def fault(self, **what: Any) -> str:
        return self._app.faults.add(Fault(**what))

    def met(self, fault: str) -> int:
        return self._app.faults.met(fault)

    def lift(self, fault: str) -> int:
        return self._app.faults.lift(fault)

    # --- machines ---

    def lose(self, instance: str, told: bool) -> None:
        self._instances.lose(instance, told)

    def warn(self, instance: str, seconds: float) -> None:
        self._instances.warn(instance, seconds)

    def reclaim(self, instance: str) -> None:
        self._instances.reclaim(instance)

    def plug(self, instance: str, plugged: bool) -> None:
        self._instances.machines.plug(instance, plugged)

    def reach(self, instance: str, port: int) -> tuple[str, int]:
        return self._inbound.open(instance, self._instances.records[instance].address, port)

    def leave(self, host: str, port: int) -> None:
        self._inbound.close(host, port)

    def ways(self, instance: str) -> list[tuple[str, int]]:
        return self._inbound.of(instance)

    def cut(self, instance: str, cut: bool) -> None:
        self._inbound.cut(instance, cut)

    def run(self, instance: str, command: list[str]) -> dict[str, Any]:
        done = self._instances.machines.run(instance, command)
        return {"code": done.code, "out": done.out}

    def console(self, instance: str) -> str:
        return self._instances.console(instance)
