"""A runtime of the published SDK. It puts its graphs and then works until it is stopped; the test triggers the runs."""

import asyncio
import hashlib
import time
from collections import Counter
from datetime import timedelta

from exospherehost import (
    BaseNode,
    GraphNodeModel,
    PruneSignal,
    ReQueueAfterSignal,
    RetryPolicyModel,
    RetryStrategyEnum,
    Runtime,
    StateManager,
    StoreConfigModel,
    UnitesModel,
    UnitesStrategyEnum,
)
from pydantic import BaseModel

NAMESPACE = "sdk"
calls: Counter[tuple[str, str]] = Counter()


def now_ms() -> str:
    return str(time.time_ns() // 1_000_000)


class Begin(BaseNode):
    """Says when it ran, and proves that it got the secret."""

    class Inputs(BaseModel):
        batch: str

    class Outputs(BaseModel):
        started_ms: str
        token_sha256: str

    class Secrets(BaseModel):
        token: str

    async def execute(self) -> Outputs:
        digest = hashlib.sha256(self.secrets.token.encode()).hexdigest()
        return self.Outputs(started_ms=now_ms(), token_sha256=digest)


class Spread(BaseNode):
    """Fans out: one output for each kind of work."""

    class Inputs(BaseModel):
        kinds: str

    class Outputs(BaseModel):
        kind: str

    async def execute(self) -> list[Outputs]:
        return [self.Outputs(kind=kind) for kind in self.inputs.kinds.split(",")]


class Work(BaseNode):
    """Does what its kind says, and keeps the moments of its calls."""

    class Inputs(BaseModel):
        kind: str
        batch: str

    class Outputs(BaseModel):
        result: str

    async def execute(self) -> Outputs:
        kind = self.inputs.kind
        calls[self.inputs.batch, kind] += 1
        call = calls[self.inputs.batch, kind]
        if kind == "prune":
            raise PruneSignal({"because": "nothing to do"})
        if kind == "requeue" and call == 1:
            raise ReQueueAfterSignal(timedelta(milliseconds=300))
        if kind == "flaky" and call <= 2:
            raise RuntimeError(f"flaky call {call}")
        if kind == "hopeless":
            raise RuntimeError(f"hopeless call {call}")
        return self.Outputs(result=f"{kind} after {call}")


class Collect(BaseNode):
    """The join."""

    class Inputs(BaseModel):
        results: str
        started_ms: str

    class Outputs(BaseModel):
        results: str

    async def execute(self) -> Outputs:
        return self.Outputs(results=self.inputs.results)


def graph(strategy: UnitesStrategyEnum) -> list[GraphNodeModel]:
    return [
        GraphNodeModel(
            node_name="Begin",
            namespace=NAMESPACE,
            identifier="begin",
            inputs={"batch": "${{ store.batch }}"},
            next_nodes=["spread"],
        ),
        GraphNodeModel(
            node_name="Spread",
            namespace=NAMESPACE,
            identifier="spread",
            inputs={"kinds": "${{ store.kinds }}"},
            next_nodes=["work"],
        ),
        GraphNodeModel(
            node_name="Work",
            namespace=NAMESPACE,
            identifier="work",
            inputs={"kind": "${{ spread.outputs.kind }}", "batch": "${{ store.batch }}"},
            next_nodes=["collect"],
        ),
        GraphNodeModel(
            node_name="Collect",
            namespace=NAMESPACE,
            identifier="collect",
            inputs={"results": "${{ work.outputs.result }}", "started_ms": "${{ begin.outputs.started_ms }}"},
            unites=UnitesModel(identifier="begin", strategy=strategy),
        ),
    ]


async def main() -> None:
    runtime = Runtime(
        namespace=NAMESPACE,
        name="sdk-runtime",
        nodes=[Begin, Spread, Work, Collect],
        poll_interval=0.1,  # type: ignore[arg-type]
    )
    # What Runtime.start() does first: a graph is only valid when its nodes are registered.
    await runtime._register()
    state_manager = StateManager(namespace=NAMESPACE)
    for strategy in UnitesStrategyEnum:
        answer = await state_manager.upsert_graph(
            strategy.value.lower(),
            graph(strategy),
            secrets={"token": "only the node may see this"},
            retry_policy=RetryPolicyModel(
                max_retries=2, strategy=RetryStrategyEnum.EXPONENTIAL, backoff_factor=100, exponent=2
            ),
            store_config=StoreConfigModel(required_keys=["batch"], default_values={"kinds": "plain"}),
        )
        print("put", strategy.value.lower(), answer["validation_status"], flush=True)
    for delay_ms, name, kinds in [
        (0, "all_success", "plain,prune,requeue,flaky"),
        (0, "all_done", "plain,hopeless"),
        (1000, "all_success", "plain"),
    ]:
        store = {"batch": f"{name} {delay_ms}", "kinds": kinds}
        asked_ms = now_ms()
        run = await state_manager.trigger(name, store=store, start_delay=delay_ms)
        print("triggered", name, delay_ms, asked_ms, run["run_id"], flush=True)
    await runtime.start()


asyncio.run(main())
