"""A plain NATS client that submits a sweep, watches it to its end and reads its rows.

Sends the bytes that the documented `nats req` and `nats kv watch` commands send; nothing of jetsweep is on this side.

    client.py URL BATCH SPEC_FILE

Prints one JSON object: {"submitted": ..., "again": ..., "refused": ..., "states": [...], "status": ..., "rows": [...]}.
"""

import asyncio
import json
import sys

import nats

TIMEOUT = 60


async def main(url: str, batch: str, spec_file: str) -> None:
    with open(spec_file, "rb") as file:
        spec = file.read()
    client = await nats.connect(url)
    headers = {"Jetsweep-Batch": batch}

    submitted = await client.request("jetsweep.planner.submit", spec, timeout=TIMEOUT, headers=headers)
    again = await client.request("jetsweep.planner.submit", spec, timeout=TIMEOUT, headers=headers)
    refused = await client.request("jetsweep.planner.submit", b"name = 1", timeout=TIMEOUT)

    bucket = await client.jetstream().key_value("jetsweep-batches")
    states, status = [], None
    watcher = await bucket.watch(f"{batch}.status")
    while status is None or status["state"] not in ("completed", "cancelled", "refused"):
        entry = await watcher.updates(timeout=TIMEOUT)
        if entry is None:  # the present values end here
            continue
        status = json.loads(entry.value)
        states.append([status["state"], status["succeeded"]])
    await watcher.stop()

    sql = f"SELECT run, symbol, strategy, params, sharpe FROM backtest_results WHERE batch_id = '{batch}' ORDER BY run"
    rows = await client.request("jetsweep.consolidator.query", sql.encode(), timeout=TIMEOUT)

    print(
        json.dumps(
            {
                "submitted": json.loads(submitted.data),
                "again": json.loads(again.data),
                "refused": {"code": refused.headers["Nats-Service-Error-Code"], "body": json.loads(refused.data)},
                "states": states,
                "status": status,
                "rows": json.loads(rows.data),
            }
        )
    )
    await client.close()


asyncio.run(main(*sys.argv[1:]))
