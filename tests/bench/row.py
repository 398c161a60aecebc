"""A run of the bench as a row of a table; without arguments, the table's head."""

import json
import sys

HEAD = "| run | signal ms | floor | served ms | floor | ratio | reloads | failed loads | lost |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"


def spread(figures: dict | None) -> str:
    return f"{figures['median']} ({figures['min']}–{figures['max']})" if figures else "–"


def rows(name: str, run: dict) -> list[list]:
    if run["scenario"] == "latency":
        served = run.get("ratio_served", "–")
        signals, floor = spread(run["signal_ms"]), spread(run.get("floor_signal_ms"))
        reloads, failed = f"{run['reloads']} of {run['trials']}", sum(run["failed_loads"].values())
        times = [spread(run["served_ms"]), spread(run.get("floor_served_ms")), served]
        return [[name, signals, floor, *times, reloads, failed, run["lost"]]]
    if run["scenario"] == "burst":
        return [
            [f"{name}: {by['size']}", "–", "–", spread(by["all_served_ms"]), spread(by["floor_ms"]), by["ratio"],
             " ".join(map(str, by["reloads"])), by["failed_loads"], by["unserved"]]
            for by in run["by_size"]
        ]  # fmt: skip
    told = {key: run[key] for key in ("seconds", "run_ms", "wakeups", "rss_kib", "pss_kib") if key in run}
    return [[f"{name}: {told}", "", "", "", "", "", "", "", ""]]


if len(sys.argv) < 3:
    print(HEAD)
else:
    with open(sys.argv[2]) as file:
        for row in rows(sys.argv[1], json.load(file)):
            print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
