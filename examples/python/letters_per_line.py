"""Counts the letters of each line of a text: a workflow of two nodes that fans out, joins, and survives crashes.

The nodes are plain Python classes. The graph says how their states follow each other. The state manager keeps every
step, hands out what is due, and starts the join when all its branches have ended.
"""

import asyncio
import json
import logging
import os

import aiohttp
from exospherehost import BaseNode, GraphNodeModel, Runtime, StateManager, UnitesModel
from pydantic import BaseModel

NAMESPACE = "examples-python"
GRAPH = "letters-per-line"
TEXT = "every step is kept\neven when a worker dies\nthe run goes on"


class SplitText(BaseNode):
    """Splits a text. Each output of the list carries on as a branch of its own: that is a fan-out."""

    class Inputs(BaseModel):
        text: str
        by: str  # "line" or "word"

    class Outputs(BaseModel):
        part: str
        letters: str  # inputs and outputs are strings, numbers too

    async def execute(self) -> list[Outputs]:
        parts = self.inputs.text.splitlines() if self.inputs.by == "line" else self.inputs.text.split()
        print(f"  SplitText: {self.inputs.text!r} has {len(parts)} {self.inputs.by}s")
        return [self.Outputs(part=part, letters=str(sum(map(str.isalpha, part)))) for part in parts]


class SumUp(BaseNode):
    """Adds numbers up. Its input is what all branches came to, as one JSON array: that is a join."""

    class Inputs(BaseModel):
        title: str
        numbers: str

    class Outputs(BaseModel):
        total: str

    async def execute(self) -> Outputs:
        total = sum(int(number) for number in json.loads(self.inputs.numbers))
        print(f"  SumUp: {self.inputs.numbers} in {self.inputs.title!r} are {total}")
        return self.Outputs(total=str(total))


VERTICES = [
    GraphNodeModel(  # the root: one state for each line
        identifier="lines",
        node_name="SplitText",
        namespace=NAMESPACE,
        inputs={"text": "given by the trigger", "by": "line"},
        next_nodes=["words"],
    ),
    GraphNodeModel(  # one state for each word of each line
        identifier="words",
        node_name="SplitText",
        namespace=NAMESPACE,
        inputs={"text": "${{ lines.outputs.part }}", "by": "word"},
        next_nodes=["sum"],
    ),
    GraphNodeModel(  # waits for all words of a line, then runs once for that line
        identifier="sum",
        node_name="SumUp",
        namespace=NAMESPACE,
        inputs={"title": "${{ lines.outputs.part }}", "numbers": "${{ words.outputs.letters }}"},
        unites=UnitesModel(identifier="lines"),
    ),
]


async def get(path: str) -> dict:
    """What the state manager answers to a GET in our namespace."""
    url = f"{os.environ['EXOSPHERE_STATE_MANAGER_URI']}/v0/namespace/{NAMESPACE}/{path}"
    headers = {"x-api-key": os.environ["EXOSPHERE_API_KEY"]}
    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url, headers=headers) as response:
        return await response.json()


async def registered(nodes: set[str]) -> None:
    """Returns when the runtime has registered its nodes."""
    while not nodes <= {node["name"] for node in (await get("nodes/"))["nodes"]}:
        await asyncio.sleep(0.1)


async def ended(run_id: str) -> dict:
    """The run, when it has ended."""
    while True:
        runs = (await get("runs/1/100"))["runs"]
        run = next(run for run in runs if run["run_id"] == run_id)
        if run["status"] != "PENDING":
            return run
        await asyncio.sleep(0.1)


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    runtime = Runtime(namespace=NAMESPACE, name="letters", nodes=[SplitText, SumUp])
    working = runtime.start()  # inside an event loop: a task that executes states until it is cancelled
    await registered({"SplitText", "SumUp"})
    print("registered SplitText and SumUp")

    state_manager = StateManager(namespace=NAMESPACE)
    graph = await state_manager.upsert_graph(GRAPH, VERTICES, secrets={})
    print(f"put graph {GRAPH}: {graph['validation_status']}")

    run_id = (await state_manager.trigger(GRAPH, inputs={"text": TEXT}))["run_id"]
    print(f"started run {run_id}")
    run = await ended(run_id)
    print(f"the run ended: {run['status']}, {run['success_count']} of {run['total_count']} states succeeded")

    letters = {}
    for node in (await get(f"states/run/{run_id}/graph"))["nodes"]:
        if node["identifier"] == "sum":
            state = await get(f"graph/{GRAPH}/run/{run_id}/node/{node['id']}")
            letters[state["inputs"]["title"]] = state["outputs"]["total"]
    for line in TEXT.splitlines():
        print(f"{letters[line]} letters in {line!r}")
    working.cancel()


if __name__ == "__main__":
    asyncio.run(main())
